//! WebSocket over HTTP/2: a CONNECT with a protocol becomes an upgrade of HTTP/1.1, which may become a CONNECT again on the way to a
//! back end, and bytes go both ways after that.
//! Source: RFC 8441.

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::header::{self, HeaderName};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

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
        let (up, down) = (Cell::new(0), Cell::new(0));
        // Whoever ends it, that is how a WebSocket ends.
        let _ = match &mut upstream {
            Upstream::Http1(connection) => pass(client, &mut connection.stream, &ahead, (&up, &down)).await,
            Upstream::Http2(stream) => match stream.tunnel() {
                Some(back_end) => pass(client, back_end, &ahead, (&up, &down)).await,
                None => return,
            },
        };
        exchange.record.request_bytes = up.get();
        exchange.record.response_bytes = down.get();
    }
}

/// Passes bytes both ways, those that came with the head of the answer first, and counts those that have gone.
async fn pass<C, B>(mut client: C, back_end: B, ahead: &[u8], (up, down): (&Cell<u64>, &Cell<u64>)) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    client.write_all(ahead).await?;
    down.set(ahead.len() as u64);
    let ((client_source, client_sink), (source, sink)) = (tokio::io::split(client), tokio::io::split(back_end));
    tokio::try_join!(pass_one_way(client_source, sink, up), pass_one_way(source, client_sink, down))?;
    Ok(())
}

async fn pass_one_way(
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
    moved: &Cell<u64>,
) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let count = source.read(&mut block).await?;
        if count == 0 {
            return sink.shutdown().await;
        }
        sink.write_all(block.get(..count).unwrap_or_default()).await?;
        sink.flush().await?;
        moved.set(moved.get() + count as u64);
    }
}
