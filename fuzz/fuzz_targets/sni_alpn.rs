//! The first bytes of a connection as a ClientHello: what is said of them does not change with what comes behind, only more bytes
//! change that more are needed, and rustls, where it takes the same bytes, finds no other server name.

#![no_main]

#[allow(dead_code, reason = "the limits are for whoever reads from sockets")]
#[path = "../../proxy/src/listener/hello.rs"]
mod hello;

use hello::Hello;
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

fuzz_target!(|bytes: &[u8]| {
    let mut known = Hello::Incomplete;
    for end in 1..=bytes.len() {
        let found = hello::read(&bytes[..end]);
        assert!(known == Hello::Incomplete || known == found, "{known:?}, then {found:?} with {end} bytes");
        known = found;
    }
    let Hello::Complete(name) = known else { return };
    if let Some(name) = &name {
        assert!(name.len() <= 253 && name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
    }
    let mut acceptor = Acceptor::default();
    if acceptor.read_tls(&mut &*bytes).is_ok()
        && let Ok(Some(accepted)) = acceptor.accept()
        && let Some(other) = accepted.client_hello().server_name()
    {
        // RFC 6066, 3 has no dot at the end. rustls drops one that is there; we keep what was sent, which no host matches.
        let name = name.as_deref().map(|name| name.strip_suffix('.').unwrap_or(name));
        assert_eq!(name, Some(&*other.to_ascii_lowercase()));
    }
});
