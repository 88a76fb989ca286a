//! One client connection, from its first byte to its end. Limits are those of PROMISES.md, section 2.

use std::cell::Cell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::io::ClientIo;
use crate::http::{exchange, peer_value};
use crate::telemetry::ListenerId;
use crate::worker::{ConnectionGuard, Deadline, Local};

/// From the first byte of a request to the end of its head.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// To the first byte of a connection that came shortly before a drain: its request may be on its way.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(1);
/// For an HTTP/2 client to answer our goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// For a client to take an answer that came before its request had ended.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// A client that takes nothing of its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Request line and header fields.
const HEAD_BYTES_MAX: usize = 60 * 1024;
/// What may wait in memory for one stream, each way.
const BUFFER_MAX: usize = 64 * 1024;
/// Streams that a client may have open at once.
const STREAMS_MAX: u32 = 100;
/// What may wait in memory for one HTTP/2 connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// The first bytes of an HTTP/2 connection with prior knowledge. Source: RFC 9113, 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// What is known of a connection, and the deadlines that hold for it.
pub(crate) struct Connection {
    /// The worker's state.
    pub(crate) local: Rc<Local>,
    /// Address of the listener as the Gateway says it.
    pub(crate) listener: SocketAddr,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The client's address as a header's value.
    pub(crate) peer_value: HeaderValue,
    /// Our address, as the client dialled it.
    pub(crate) here: SocketAddr,
    metrics: Option<ListenerId>,
    phase: Cell<Phase>,
    requests: Cell<u32>,
    /// Whether bytes are the beginning of a head; on HTTP/2 they may be frames of any kind.
    heads_only: Cell<bool>,
    silence: Deadline,
    stall: Deadline,
    /// To the head of the answer, for the one request that HTTP/1.1 has under way.
    pub(crate) answer: Deadline,
    /// For a client that opens no window for what it asked for.
    windows: Deadline,
    /// Parts of answers that wait for a window.
    parts_owed: Cell<u32>,
    /// Whether something that the client sends is not read.
    lingers: Cell<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// A part of a head has come.
    Head,
    /// At least one request is being served.
    Busy,
}

impl Connection {
    fn new(local: Rc<Local>, listener: SocketAddr, peer: SocketAddr, here: SocketAddr) -> Rc<Self> {
        let deadline = || Deadline::new(&local.deadlines);
        let (silence, stall, answer, windows) = (deadline(), deadline(), deadline(), deadline());
        silence.set(IDLE_LIMIT);
        let metrics = local.pin().listener(listener).map(|listener| listener.metrics.clone());
        if let Some(metrics) = &metrics {
            local.shard.borrow_mut().downstream_connection_opened(metrics);
        }
        Rc::new(Self {
            local,
            listener,
            peer,
            peer_value: peer_value(peer.ip()),
            here,
            metrics,
            phase: Cell::new(Phase::Idle),
            requests: Cell::new(0),
            heads_only: Cell::new(true),
            silence,
            stall,
            answer,
            windows,
            parts_owed: Cell::new(0),
            lingers: Cell::new(false),
        })
    }

    /// What the client speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        if self.heads_only.get() { Protocol::Http1 } else { Protocol::Http2 }
    }

    /// So many more, or fewer, parts of answers wait for the client to take them. On HTTP/1.1 its socket tells.
    pub(crate) fn owed(&self, change: i32) {
        if self.heads_only.get() {
            return;
        }
        self.parts_owed.set(self.parts_owed.get().saturating_add_signed(change));
        if self.parts_owed.get() == 0 { self.windows.clear() } else { self.windows.set(WRITE_LIMIT) }
    }

    /// The client may still be sending when the connection closes.
    pub(crate) fn linger(&self) {
        self.lingers.set(true);
    }

    /// A request has come.
    pub(crate) fn request_begins(&self) {
        self.requests.set(self.requests.get() + 1);
        self.phase.set(Phase::Busy);
        self.silence.clear();
    }

    /// A request has been answered or given up.
    pub(crate) fn request_ends(&self) {
        self.requests.set(self.requests.get() - 1);
        if self.requests.get() == 0 {
            self.phase.set(Phase::Idle);
            self.silence.set(IDLE_LIMIT);
        }
    }

    pub(super) fn bytes_came(&self) {
        if self.phase.get() == Phase::Idle && self.heads_only.get() {
            self.phase.set(Phase::Head);
            self.silence.set(HEAD_LIMIT);
        }
    }

    pub(super) fn write_blocked(&self, blocked: bool) {
        if blocked {
            self.stall.set_once(WRITE_LIMIT);
        } else {
            self.stall.clear();
        }
    }

    fn verdict(&self, cx: &Context<'_>) -> Option<Verdict> {
        self.silence.register(cx.waker());
        self.stall.register(cx.waker());
        self.windows.register(cx.waker());
        if self.stall.passed() || self.windows.passed() {
            Some(Verdict::Reset)
        } else if !self.silence.passed() {
            None
        } else if self.phase.get() == Phase::Head {
            Some(Verdict::HeadTooSlow)
        } else {
            Some(Verdict::Idle)
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            self.local.shard.borrow_mut().downstream_connection_closed(metrics);
        }
    }
}

/// Why a connection ends before HTTP ends it.
enum Verdict {
    /// It was idle for too long.
    Idle,
    /// A head didn't come to its end.
    HeadTooSlow,
    /// The client takes nothing.
    Reset,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    local: Rc<Local>,
    guard: ConnectionGuard,
    listener: SocketAddr,
    mut socket: TcpStream,
    peer: SocketAddr,
) {
    let Ok(here) = socket.local_addr() else { return };
    // Fails only for a socket that is gone already.
    let _ = socket.set_nodelay(true);
    let connection = Connection::new(local, listener, peer, here);
    if let Some((protocol, ahead)) = first_bytes(&connection, &mut socket).await {
        let io = ClientIo::new(socket, ahead, Rc::clone(&connection));
        match protocol {
            Protocol::Http1 => serve_http1(connection, io).await,
            Protocol::Http2 => serve_http2(connection, io).await,
        }
    }
    drop(guard);
}

/// Reads until HTTP/1 and HTTP/2 can be told apart; nothing if the client is silent for too long, or leaves.
async fn first_bytes(connection: &Connection, socket: &mut TcpStream) -> Option<(Protocol, Bytes)> {
    let mut ahead = BytesMut::with_capacity(1024);
    loop {
        let read = std::pin::pin!(socket.read_buf(&mut ahead));
        let count = Timely { connection, inner: read, hurried: false }.await?.ok()?;
        if count == 0 {
            return None;
        }
        connection.bytes_came();
        if ahead.starts_with(PREFACE) {
            return Some((Protocol::Http2, ahead.freeze()));
        }
        if !PREFACE.starts_with(&ahead) {
            return Some((Protocol::Http1, ahead.freeze()));
        }
    }
}

/// A future that yields nothing when the connection has to end first.
struct Timely<'a, F> {
    connection: &'a Connection,
    inner: F,
    /// Whether it knows that we drain.
    hurried: bool,
}

impl<F: Future + Unpin> Future for Timely<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.connection.local.draining.get() && !std::mem::replace(&mut self.hurried, true) {
            self.connection.silence.set(FIRST_BYTES_LIMIT);
        }
        if let Poll::Ready(output) = Pin::new(&mut self.inner).poll(cx) {
            return Poll::Ready(Some(output));
        }
        if self.connection.verdict(cx).is_some() { Poll::Ready(None) } else { Poll::Pending }
    }
}

async fn serve_http1(connection: Rc<Connection>, io: ClientIo) {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(BUFFER_MAX).max_header_size(HEAD_BYTES_MAX).half_close(false).header_read_timeout(None);
    // Once we drain, the request whose first bytes are here is served, and is the last.
    let mut leaving = connection.local.draining.get();
    builder.keep_alive(!leaving);
    let service = service_fn(|request| exchange(Rc::clone(&connection), request));
    let mut http = builder.serve_connection(io, service);
    let verdict = std::future::poll_fn(|cx| {
        if let Some(verdict) = connection.verdict(cx) {
            return Poll::Ready(Some(verdict));
        }
        // First, so that a request that has come already is served before an idle connection is closed.
        let mut polled = Pin::new(&mut http).poll(cx);
        if polled.is_pending() && connection.local.draining.get() && !std::mem::replace(&mut leaving, true) {
            Pin::new(&mut http).graceful_shutdown();
            polled = Pin::new(&mut http).poll(cx);
        }
        polled.map(|_| None)
    })
    .await;
    let socket = || http.into_parts().io.into_socket();
    match verdict {
        Some(Verdict::HeadTooSlow) => refuse_slow_head(socket()).await,
        Some(Verdict::Reset) => reset(&socket()),
        None if connection.lingers.get() => linger(socket()).await,
        Some(Verdict::Idle) | None => {}
    }
}

async fn serve_http2(connection: Rc<Connection>, io: ClientIo) {
    connection.heads_only.set(false);
    connection.phase.set(Phase::Idle);
    connection.silence.set(IDLE_LIMIT);
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(u32::from(u16::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32);
    let owner = Rc::clone(&connection);
    let service = service_fn(move |request| exchange(Rc::clone(&owner), request));
    let mut http = builder.serve_connection(io, service);
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        let verdict = connection.verdict(cx);
        let idle = matches!(verdict, Some(Verdict::Idle));
        if !leaving && (connection.local.draining.get() || idle) {
            leaving = true;
            Pin::new(&mut http).graceful_shutdown();
            if connection.requests.get() == 0 {
                // The goodbye ends with the client's answer to a PING, which may never come.
                connection.silence.set(GOODBYE_LIMIT);
            }
        }
        match verdict {
            Some(Verdict::Reset) => Poll::Ready(()),
            Some(Verdict::Idle) if connection.silence.passed() => Poll::Ready(()),
            _ => Pin::new(&mut http).poll(cx).map(|_| ()),
        }
    })
    .await;
}

/// Says why, if the client listens, and closes.
async fn refuse_slow_head(mut socket: TcpStream) {
    let answer = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    // The client has been given its chance; an answer that it doesn't take at once is lost.
    let _ = socket.try_write(answer);
    let _ = socket.shutdown().await;
}

/// Reads what still comes, for a moment: closing at once would make the kernel drop the answer unsent.
async fn linger(mut socket: TcpStream) {
    let mut rest = [0; 4096];
    let read = async { while matches!(socket.read(&mut rest).await, Ok(1..)) {} };
    // The client has had its moment.
    let _ = tokio::time::timeout(LINGER_LIMIT, read).await;
}

/// Closes so that the client sees a broken connection and the kernel keeps no unsent bytes.
fn reset(socket: &TcpStream) {
    // Without it the close is merely a polite one.
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Spawns on the worker's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
