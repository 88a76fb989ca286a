//! Requests that have come on a TLS connection that was made for another host: 421, so that the client asks again on one of
//! its own. Source: RFC 9110, 15.5.20; RFC 9113, 9.1.1 (reuse of connections).
//!
//! A host on its own connection may be served by another filter chain, with other routes, and with other rules for clients'
//! certificates, which nobody may get around.

use std::sync::Arc;

use routing::authority::split_port;

use super::{ClientTls, Protocol};
use crate::tls::Chains;

/// Whether a request for `authority` has to come again. `chains` are those in force now.
pub(super) fn is_misdirected(tls: &ClientTls, chains: &Chains, authority: &[u8], protocol: Protocol) -> bool {
    let server_name = tls.server_name.as_deref();
    let own = chains.find(server_name);
    // The rules may have changed since the handshake.
    if own.is_some_and(|own| !Arc::ptr_eq(own, &tls.chain) && !own.has_client_rules_of(&tls.chain)) {
        return true;
    }
    // Only clients of HTTP/2 and later use a connection for several hosts by themselves, and have to look at the certificate.
    let names_count = protocol != Protocol::Http1 && server_name.is_some();
    if chains.is_one() && !names_count {
        return false;
    }
    let host = split_port(authority).host;
    if server_name.is_some_and(|name| host.eq_ignore_ascii_case(name.as_bytes())) {
        return false;
    }
    let Ok(host) = std::str::from_utf8(host).map(str::to_ascii_lowercase) else { return false };
    let (Some(own), Some(meant)) = (own, chains.find(Some(&host))) else { return false };
    if Arc::ptr_eq(own, meant) {
        return names_count && !covers(tls, &host);
    }
    true
}

fn covers(tls: &ClientTls, host: &str) -> bool {
    tls.certificates.iter().filter_map(|certificate| certificate.own()).any(|facts| facts.names.covers(host))
}
