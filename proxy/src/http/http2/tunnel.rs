//! WebSocket over HTTP/2: a CONNECT with a protocol becomes an upgrade of HTTP/1.1, which may become a CONNECT again on the way to a
//! back end, and bytes go both ways after that.
//! Source: RFC 8441.

use std::rc::Rc;

use http::header::{self, HeaderName};
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};

use super::connection::Busy;
use super::request::push_field;
use crate::http::forward::Relay;
use crate::http::record::Exchange;
use crate::http::websocket;
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
        Some(Self { stream: hyper::upgrade::on(request), key: websocket::key(random) })
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
        let mut upstream = relay.upstream;
        let ahead = relay.response.leftover().to_vec();
        local.memory.give_back(relay.response);
        tokio::task::spawn_local(async move {
            let mut exchange = exchange;
            exchange.record.has_waited = true;
            if let Ok(client) = self.stream.await {
                let passed = match &mut upstream {
                    Upstream::Http1(connection) => pass(client, BackEndIo(&mut connection.stream), &ahead).await,
                    Upstream::Http2(stream) => pass(client, stream, &ahead).await,
                };
                // Whoever ends it, that is how a WebSocket ends.
                if let Ok((up, down)) = passed {
                    exchange.record.request_bytes = up;
                    exchange.record.response_bytes = down;
                }
            }
            drop((exchange, upstream, busy));
        });
    }
}

async fn pass<B>(client: Upgraded, mut back_end: B, ahead: &[u8]) -> std::io::Result<(u64, u64)>
where
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut client = TokioIo::new(client);
    client.write_all(ahead).await?;
    let (up, down) = copy_bidirectional_with_sizes(&mut client, &mut back_end, BLOCK, BLOCK).await?;
    Ok((up, down + ahead.len() as u64))
}
