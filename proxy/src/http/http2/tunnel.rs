//! WebSocket over HTTP/2: a CONNECT with a protocol becomes an upgrade of HTTP/1.1, and bytes go both ways after that.
//! Source: RFC 8441.

use std::rc::Rc;

use http::header::{self, HeaderName};
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};

use super::connection::Busy;
use super::request::push_field;
use crate::http::forward::Relay;
use crate::http::record::Exchange;
use crate::net::Stream;
use crate::upstream::{BackEndIo, Upstream};
use crate::worker::Local;

/// What one direction reads at once.
const BLOCK: usize = 16 * 1024;

/// A client's wish to speak WebSocket on its stream.
pub(in crate::http) struct Upgrade {
    stream: OnUpgrade,
    /// What HTTP/1.1's handshake wants, and HTTP/2's has not: 16 random bytes in base64.
    key: String,
}

impl Upgrade {
    /// Takes it from `request`, if it is that.
    pub(super) fn take(request: &mut Request<Incoming>, local: &Local) -> Option<Self> {
        let protocol = request.extensions_mut().remove::<Protocol>();
        if request.method() != Method::CONNECT || protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
            return None;
        }
        let random = u128::from(local.draw()) << 64 | u128::from(local.draw());
        Some(Self { stream: hyper::upgrade::on(request), key: base64(&random.to_be_bytes()) })
    }

    /// Whether a field belongs to a handshake of HTTP/1.1.
    pub(super) fn says(name: &HeaderName) -> bool {
        [header::CONNECTION, header::UPGRADE, header::CONTENT_LENGTH, header::SEC_WEBSOCKET_KEY].contains(name)
    }

    /// Appends the fields of the handshake.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        push_field(out, b"connection", b"upgrade");
        push_field(out, b"upgrade", b"websocket");
        push_field(out, b"sec-websocket-key", self.key.as_bytes());
    }

    /// Passes bytes both ways in a task of its own, from when the client has been told so until both sides have ended.
    pub(super) fn begin(self, relay: Relay, exchange: Exchange, busy: Busy) {
        let local = Rc::clone(exchange.record.local());
        local.memory.give_back_out(relay.out);
        let Upstream::Http1(mut upstream) = relay.upstream else { return };
        let ahead = relay.response.leftover().to_vec();
        local.memory.give_back(relay.response);
        tokio::task::spawn_local(async move {
            let mut exchange = exchange;
            exchange.record.has_waited = true;
            if let Ok(client) = self.stream.await {
                let mut back_end = BackEndIo(&mut upstream.stream);
                // Whoever ends it, that is how a WebSocket ends.
                if let Ok((up, down)) = pass(client, &mut back_end, &ahead).await {
                    exchange.record.request_bytes = up;
                    exchange.record.response_bytes = down;
                }
            }
            drop((exchange, upstream, busy));
        });
    }
}

async fn pass(client: Upgraded, back_end: &mut BackEndIo<&mut Stream>, ahead: &[u8]) -> std::io::Result<(u64, u64)> {
    let mut client = TokioIo::new(client);
    client.write_all(ahead).await?;
    let (up, down) = copy_bidirectional_with_sizes(&mut client, back_end, BLOCK, BLOCK).await?;
    Ok((up, down + ahead.len() as u64))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let padded = group.iter().chain(&[0, 0]).take(3).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4_usize {
            let digit = padded >> (18 - 6 * place) & 63;
            text.push(if place > group.len() { '=' } else { char::from(DIGITS[digit as usize]) });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[255; 16]).len(), 24);
    }
}
