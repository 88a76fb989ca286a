//! Tunnels through HTTP: a back end that is a proxy is asked to pass all that follows on to another place. Bytes go both ways
//! then as they are (CONNECT), or as the bodies of a request and its answer (POST, HTTP/2).
//! Source: RFC 9110, 9.3.6; Envoy, `TunnelingConfig` and its `HttpUpstream`. Start at [`Tunnel::open`].

mod ask;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use balance::{AttemptError, Entry};
use config_model::model::{self, TunnelMethod};
use http1::{ChunkFrame, Message};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::connect::connect_or_refuse;
use super::{Http2Stream, Security, UpstreamConnection, acquire};
use crate::net::{Ends, WrittenAddress};
use crate::snapshot::ClusterRuntime;
use crate::tls::Offer;
use crate::worker::Local;
use ask::{ask, in_time, poll_agreed, request};

/// A tunnel that its proxy has agreed to.
pub(crate) enum Tunnel {
    /// Over a connection of its own.
    Http1 {
        connection: Box<UpstreamConnection>,
        /// The answer, as long as its body has to be decoded, or some of it has come with the head.
        answer: Option<Box<Message>>,
        /// How the request's body is framed; nothing if the bytes go as they are.
        chunks: Option<Chunks>,
    },
    /// A stream of a connection that others share.
    Http2(Box<Http2Stream>),
}

/// The body of a request on its way out.
#[derive(Default)]
pub(crate) struct Chunks {
    frame: ChunkFrame,
    /// Data of the chunk under way that has gone.
    gone: usize,
    has_ended: bool,
}

impl Tunnel {
    /// Asks the endpoint for a tunnel. The cluster's limit for connecting holds for the connection, and again for the answer.
    ///
    /// # Errors
    /// If it can't be reached, doesn't answer in time, or refuses.
    pub(crate) async fn open(
        local: &Rc<Local>,
        cluster: &ClusterRuntime,
        entry: &Entry,
        (security, ends): (Option<&Security>, Option<Ends>),
        wanted: &model::Tunnel,
    ) -> Result<Self, AttemptError> {
        let limit = cluster.definition.connect_timeout;
        // As in Envoy a cluster that follows its clients speaks HTTP/2 for those of whom nothing is known.
        if cluster.definition.protocol.is_http2(true) {
            let lease = acquire(local, cluster, entry, security).await?;
            let mut stream = Http2Stream::begin(lease, request(wanted, security.is_some())?, false)?;
            in_time(limit, std::future::poll_fn(|cx| poll_agreed(cx, &mut stream))).await?;
            return Ok(Self::Http2(stream));
        }
        let mut connection = connect_or_refuse(local, cluster, entry, security, ends, Offer::Http1).await?;
        let answer = in_time(limit, ask(&mut connection, wanted, &local.memory)).await?;
        let chunks = (wanted.method == TunnelMethod::Post).then(Chunks::default);
        Ok(Self::Http1 { connection, answer, chunks })
    }

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<&WrittenAddress> {
        match self {
            Self::Http1 { connection, .. } => connection.local_address.as_ref(),
            Self::Http2(stream) => stream.local_address(),
        }
    }

    /// Waits until there is something to be read.
    pub(crate) fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1 { connection, answer, .. } => {
                // A fault is met again by whoever reads.
                let has_some =
                    |answer: &mut Message| answer.decode().is_err() || !answer.data().is_empty() || answer.has_ended();
                match answer.as_mut().is_some_and(|answer| has_some(answer)) {
                    true => Poll::Ready(Ok(())),
                    false => connection.stream.poll_read_ready(cx),
                }
            }
            Self::Http2(stream) => stream.poll_fill(cx).map_err(io::Error::from),
        }
    }

    /// Reads; zero at the end of what comes.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1 { connection, answer, chunks } => {
                let Some(body) = answer else { return connection.stream.poll_read(cx, buffer) };
                ready!(poll_body(cx, connection, body))?;
                let count = copy(body.data(), buffer);
                body.consume(count);
                if chunks.is_none() && body.data().is_empty() && body.leftover().is_empty() {
                    *answer = None;
                }
                Poll::Ready(Ok(count))
            }
            Self::Http2(stream) => {
                ready!(stream.poll_fill(cx))?;
                let count = copy(stream.data(), buffer);
                stream.consume(count);
                Poll::Ready(Ok(count))
            }
        }
    }

    /// Writes what there is room for. Who is told to wait comes again with the same bytes, perhaps with more behind them.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Http1 { connection, chunks: None, .. } => connection.stream.poll_write(cx, &[IoSlice::new(bytes)]),
            Self::Http1 { connection, chunks: Some(chunks), .. } => {
                if chunks.frame.is_done() {
                    chunks.frame = ChunkFrame::new(bytes.len());
                }
                chunks.poll(cx, connection, bytes)
            }
            Self::Http2(stream) => match stream.tunnel() {
                Some(mut both) => Pin::new(&mut both).poll_write(cx, bytes),
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            },
        }
    }

    /// Says that nothing more will be written: the end of the request's body, or of the bytes if they go as they are.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Http1 { connection, chunks: None, .. } => connection.stream.poll_shutdown(cx),
            Self::Http1 { connection, chunks: Some(chunks), .. } => {
                if !std::mem::replace(&mut chunks.has_ended, true) {
                    chunks.frame = ChunkFrame::new(0);
                }
                if !chunks.frame.is_done() {
                    ready!(chunks.poll(cx, connection, b""))?;
                }
                connection.stream.poll_flush(cx)
            }
            Self::Http2(stream) => match stream.tunnel() {
                Some(mut both) => Pin::new(&mut both).poll_shutdown(cx),
                None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            },
        }
    }

    /// The socket, if the bytes go over it as they are.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Http1 { connection, answer: None, chunks: None } => connection.stream.tcp(),
            Self::Http1 { .. } | Self::Http2(_) => None,
        }
    }

    /// Makes the close that follows a reset. A stream is reset anyway if it is dropped before its end.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Http1 { connection, .. } = self {
            connection.stream.reset_on_close();
        }
    }
}

impl Chunks {
    /// Sends what is left of the chunk under way, whose data `bytes` begin with. Yields how long the data was.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut UpstreamConnection,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let data = bytes.get(self.gone..self.gone + self.frame.data()).unwrap_or_default();
            let slices = [self.frame.head(), data, self.frame.tail()].map(IoSlice::new);
            let sent = ready!(connection.stream.poll_write(cx, &slices))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gone += self.frame.advance(sent);
            if self.frame.is_done() {
                return Poll::Ready(Ok(std::mem::take(&mut self.gone)));
            }
        }
    }
}

/// Waits until some of the answer's body is there, or its end is known.
fn poll_body(cx: &mut Context<'_>, connection: &mut UpstreamConnection, answer: &mut Message) -> Poll<io::Result<()>> {
    let malformed = |fault| io::Error::new(io::ErrorKind::InvalidData, fault);
    loop {
        answer.decode().map_err(malformed)?;
        if !answer.data().is_empty() || answer.has_ended() {
            return Poll::Ready(Ok(()));
        }
        answer.rewind();
        match ready!(connection.stream.poll_read(cx, answer.space()))? {
            0 => answer.closed().map_err(malformed)?,
            count => answer.filled(count),
        }
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..count), to.get_mut(..count)) {
        to.copy_from_slice(from);
    }
    count
}
