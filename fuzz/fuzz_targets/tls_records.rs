//! Records of TLS, damaged and cut anywhere, for either side of a session: no panic, nothing is used that wasn't there, what is to be
//! sent stays small, and before the handshake is over no data comes out.
//!
//! The first byte of the input picks a side and how far the handshake has come, the second the size of the pieces. Then come three
//! changes to what the other side sends, each a place of two bytes and what stands there, and bytes that are sent behind it.

#![no_main]

#[allow(dead_code, reason = "the data plane uses the rest")]
#[path = "../../proxy/src/net/tls/records.rs"]
mod records;

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use records::{Outgoing, Session, Wish};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Far more than any answer to what fits into an input.
const SENT_MAX: usize = 64 * 1024;

static CONFIGURATIONS: LazyLock<(Arc<ClientConfig>, Arc<ServerConfig>)> = LazyLock::new(|| {
    let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).expect("a key");
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![own.cert.der().clone()], key).expect("both fit");
    (Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()), Arc::new(server))
});

/// A session and what it has not used yet.
struct End {
    session: Session,
    held: Vec<u8>,
}

impl End {
    fn feed(&mut self, wish: Wish<'_>) -> (Vec<u8>, bool) {
        let (mut plain, mut out) = (0, Outgoing::default());
        let before = self.held.len();
        let was_shaking = self.session.common().is_handshaking();
        let (used, progress) = self.session.advance(&mut self.held, |part| plain += part.len(), &mut out, wish);
        assert!(used <= before && out.filled().len() <= SENT_MAX);
        assert!(
            plain == 0 || !was_shaking || !self.session.common().is_handshaking(),
            "data before the handshake is over"
        );
        self.held.drain(..used);
        (out.filled().to_vec(), progress.is_ok())
    }
}

fn ends() -> (End, End) {
    let (client, server) = &*CONFIGURATIONS;
    let name = ServerName::try_from("a.example").expect("a name");
    let client = UnbufferedClientConnection::new(Arc::clone(client), name).expect("a client");
    let server = UnbufferedServerConnection::new(Arc::clone(server)).expect("a server");
    let end = |session| End { session, held: Vec::new() };
    (end(Session::Client(client)), end(Session::Server(server)))
}

fuzz_target!(|input: &[u8]| {
    let [choice, piece, a, b, c, d, e, f, g, h, i, extra @ ..] = input else { return };
    let (client, server) = ends();
    let is_server = choice & 1 == 0;
    let (mut target, mut other) = if is_server { (server, client) } else { (client, server) };
    let mut sent = Vec::new();
    // So many flights go as they should.
    for _ in 0..choice >> 1 & 7 {
        other.held.append(&mut target.feed(Wish::None).0);
        sent = other.feed(Wish::None).0;
        target.held.extend_from_slice(&sent);
    }
    if !other.session.common().is_handshaking() {
        for wish in [Wish::Data(b"one"), Wish::Data(b"two"), Wish::CloseNotify] {
            sent.extend(other.feed(wish).0);
        }
    } else {
        sent = other.feed(Wish::None).0;
    }
    for [high, low, byte] in [[a, b, c], [d, e, f], [g, h, i]] {
        let place = usize::from(u16::from_be_bytes([*high, *low]));
        if let Some(known) = sent.get_mut(place) {
            *known = *byte;
        }
    }
    sent.extend_from_slice(extra);
    for part in sent.chunks(usize::from(*piece) + 1) {
        target.held.extend_from_slice(part);
        if !target.feed(Wish::None).1 {
            return;
        }
    }
});
