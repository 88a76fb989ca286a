//! WebSocket over HTTP/2: a CONNECT with a protocol becomes an upgrade of HTTP/1.1, which may become a CONNECT again on the way to a
//! back end, and bytes go both ways after that.
//! Source: RFC 8441.

use std::rc::Rc;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::header::{self, HeaderName};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};

use super::request::push_field;
use crate::http::forward::Relay;
use crate::http::record::Exchange;
use crate::http::websocket;
use crate::net::{Http2Body, Http2Tunnel};
use crate::upstream::Upstream;
use crate::worker::Local;

/// What one direction reads at once.
const BLOCK: usize = 16 * 1024;

/// A client's wish to speak WebSocket on its stream.
pub(in crate::http) struct Upgrade {
    /// What HTTP/1.1's handshake wants, and HTTP/2's has not: 16 random bytes in base64.
    key: String,
}

impl Upgrade {
    /// The wish of `request`, if it has one.
    pub(super) fn of(request: &Request<RecvStream>, local: &Local) -> Option<Self> {
        let protocol = request.extensions().get::<Protocol>()?;
        if request.method() != Method::CONNECT || protocol.as_str() != "websocket" {
            return None;
        }
        let random = u128::from(local.draw()) << 64 | u128::from(local.draw());
        Some(Self { key: websocket::key(random) })
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
}

/// What a back end has agreed to.
pub(super) struct Agreement {
    relay: Relay,
    exchange: Box<Exchange>,
}

impl Agreement {
    pub(super) fn new(relay: Relay, exchange: Box<Exchange>) -> Self {
        Self { relay, exchange }
    }

    /// Passes bytes both ways until both sides have ended.
    pub(super) async fn pass(self, mut sender: SendStream<Bytes>, received: RecvStream) {
        let Self { relay, mut exchange } = self;
        let local = Rc::clone(exchange.record.local());
        local.memory.give_back_out(relay.out);
        let mut upstream = relay.upstream;
        let ahead = relay.response.leftover().to_vec();
        local.memory.give_back(relay.response);
        exchange.record.has_waited = true;
        let mut received = Http2Body::new(received);
        let client = Http2Tunnel::new(&mut sender, &mut received);
        let passed = match &mut upstream {
            Upstream::Http1(connection) => pass(client, &mut connection.stream, &ahead).await,
            Upstream::Http2(stream) => match stream.tunnel() {
                Some(back_end) => pass(client, back_end, &ahead).await,
                None => return,
            },
        };
        // Whoever ends it, that is how a WebSocket ends.
        if let Ok((up, down)) = passed {
            exchange.record.request_bytes = up;
            exchange.record.response_bytes = down;
        }
    }
}

async fn pass<C, B>(mut client: C, mut back_end: B, ahead: &[u8]) -> std::io::Result<(u64, u64)>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    client.write_all(ahead).await?;
    let (up, down) = copy_bidirectional_with_sizes(&mut client, &mut back_end, BLOCK, BLOCK).await?;
    Ok((up, down + ahead.len() as u64))
}
