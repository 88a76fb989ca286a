//! One client connection: what is known of it, and its first bytes, which tell what it speaks.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use config_model::model::{FilterChains, RouteConfigurationIndex};
use http1::Message;
use tokio::net::TcpStream;

use super::chain;
use super::sniff::PREFACE;
use crate::http::{peer_text, serve_http1, serve_http2};
use crate::net::Stream;
use crate::snapshot::ListenerRuntime;
use crate::telemetry::ListenerId;
use crate::worker::{ConnectionGuard, Deadline, Local, Pinned};

/// To the first bytes of a connection.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// The same, when it came shortly before a drain: its request may be on its way.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(1);

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// What is known of a connection.
pub(crate) struct Connection {
    /// The worker's state.
    pub(crate) local: Rc<Local>,
    /// Address of the listener as the Gateway says it.
    pub(crate) listener: SocketAddr,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The client's address as `x-forwarded-for` has it.
    pub(crate) peer_text: Box<[u8]>,
    /// Our address, as the client dialled it.
    pub(crate) here: SocketAddr,
    /// For whatever its task waits for.
    pub(crate) deadline: Deadline,
    protocol: Cell<Protocol>,
    /// The snapshot that was asked last, by its address, and the listener's place in it.
    place: Cell<(usize, usize)>,
    metrics: Option<ListenerId>,
}

impl Connection {
    fn new(local: Rc<Local>, listener: SocketAddr, peer: SocketAddr, here: SocketAddr) -> Self {
        let metrics = local.pin().listener(listener).map(|listener| listener.metrics.clone());
        if let Some(metrics) = &metrics {
            local.shard.borrow_mut().downstream_connection_opened(metrics);
        }
        Self {
            deadline: Deadline::new(&local.deadlines),
            peer_text: peer_text(peer.ip()),
            protocol: Cell::new(Protocol::Http1),
            place: Cell::new((0, usize::MAX)),
            local,
            listener,
            peer,
            here,
            metrics,
        }
    }

    /// Its listener in the snapshot that is pinned; none if it has just been removed.
    fn listener<'p>(&self, pinned: &'p Pinned) -> Option<&'p ListenerRuntime> {
        let snapshot = Arc::as_ptr(&pinned.snapshot) as usize;
        if self.place.get().0 != snapshot {
            self.place.set((snapshot, pinned.listener_place(self.listener).unwrap_or(usize::MAX)));
        }
        // Another snapshot may have come to lie where that one was.
        let listener = pinned.snapshot.listeners.get(self.place.get().1);
        match listener.filter(|listener| listener.address == self.listener) {
            None => pinned.listener(self.listener),
            found => found,
        }
    }

    /// The routes of its requests in the snapshot that is pinned; none if they have just been removed.
    pub(crate) fn routes(&self, pinned: &Pinned) -> Option<RouteConfigurationIndex> {
        self.listener(pinned)?.plain_routes()
    }

    /// What becomes of the connections of its listener; nothing if it has just been removed.
    pub(super) fn chains<'p>(&self, pinned: &'p Pinned) -> Option<&'p FilterChains> {
        let place = pinned.listener_place(self.listener)?;
        pinned.snapshot.model.listeners.get(place).map(|listener| &listener.chains)
    }

    /// Whether its listener takes HTTP in plain text and nothing else.
    fn is_plain_http(&self) -> bool {
        self.listener(&self.local.pin()).is_none_or(|listener| listener.is_plain_http)
    }

    /// What the client speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol.get()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            self.local.shard.borrow_mut().downstream_connection_closed(metrics);
        }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(
    local: Rc<Local>,
    guard: ConnectionGuard,
    listener: SocketAddr,
    socket: TcpStream,
    peer: SocketAddr,
) {
    let Ok(here) = socket.local_addr() else { return };
    // Fails only for a socket that is gone already.
    let _ = socket.set_nodelay(true);
    let connection = Rc::new(Connection::new(local, listener, peer, here));
    let mut stream = Stream::Tcp(socket);
    if !connection.is_plain_http() {
        // Boxed, as the futures of plain connections would have to have room for it.
        Box::pin(chain::serve(Rc::clone(&connection), stream)).await;
    } else if let Some((protocol, first)) = first_bytes(&connection, &mut stream).await {
        serve_http(Rc::clone(&connection), stream, protocol, first).await;
    }
    drop(connection);
    drop(guard);
}

/// Serves HTTP on a connection of which `first` has been read.
pub(super) async fn serve_http(connection: Rc<Connection>, stream: Stream, protocol: Protocol, first: Box<Message>) {
    connection.protocol.set(protocol);
    match protocol {
        Protocol::Http1 => serve_http1(connection, stream, first).await,
        // Boxed, as the futures of HTTP/1 connections would have to have room for it.
        Protocol::Http2 => Box::pin(serve_http2(connection, stream, first)).await,
    }
}

/// Reads until HTTP/1 and HTTP/2 can be told apart; nothing if the client is silent for too long, or leaves.
async fn first_bytes(connection: &Connection, stream: &mut Stream) -> Option<(Protocol, Box<Message>)> {
    let mut first = None;
    let mut hurried = false;
    connection.deadline.set(IDLE_LIMIT);
    let protocol = std::future::poll_fn(|cx| {
        loop {
            match poll_more(cx, connection, stream, &mut first) {
                Poll::Ready(Some(protocol)) => return Poll::Ready(protocol),
                Poll::Ready(None) => {}
                Poll::Pending => break,
            }
        }
        if connection.local.draining.get() && !std::mem::replace(&mut hurried, true) {
            connection.deadline.set(FIRST_BYTES_LIMIT);
        }
        if connection.deadline.has_passed(cx) { Poll::Ready(None) } else { Poll::Pending }
    })
    .await;
    match (protocol, first) {
        (Some(protocol), Some(first)) => Some((protocol, first)),
        (_, first) => {
            first.into_iter().for_each(|first| connection.local.memory.give_back(first));
            None
        }
    }
}

/// Reads some bytes. Yields the protocol if they tell, nothing within if the client has left, and nothing if they don't tell.
fn poll_more(
    cx: &mut Context<'_>,
    connection: &Connection,
    stream: &mut Stream,
    first: &mut Option<Box<Message>>,
) -> Poll<Option<Option<Protocol>>> {
    if ready!(stream.poll_read_ready(cx)).is_err() {
        return Poll::Ready(Some(None));
    }
    let message = first.get_or_insert_with(|| connection.local.memory.message());
    let count = ready!(stream.poll_read(cx, message.space())).unwrap_or(0);
    message.filled(count);
    let received = message.received();
    Poll::Ready(if count == 0 {
        Some(None)
    } else if received.starts_with(PREFACE) {
        Some(Some(Protocol::Http2))
    } else if PREFACE.starts_with(received) {
        None
    } else {
        Some(Some(Protocol::Http1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an asynchronous function with these arguments yields, without calling it.
    fn size_of_future<A, B, C, D, E, F: Future>(_: impl Fn(A, B, C, D, E) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        // Its task, its socket's registration and its deadline have to stay under 4 KiB in all.
        let size = size_of_future(serve);
        assert!(size <= 2048, "{size} bytes");
    }
}
