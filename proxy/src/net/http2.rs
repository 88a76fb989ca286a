//! What comes on a stream of HTTP/2, and a stream that has become a tunnel: the same to clients and to back ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A body as it comes, part by part.
pub(crate) struct Http2Body {
    stream: RecvStream,
    /// What is here.
    chunk: Bytes,
    trailers: Option<HeaderMap>,
    has_ended: bool,
}

impl Http2Body {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { has_ended: stream.is_end_stream(), stream, chunk: Bytes::new(), trailers: None }
    }

    /// What is here.
    pub(crate) fn data(&self) -> &[u8] {
        &self.chunk
    }

    /// Notes that so much of it has gone: the other side may send as much again.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.chunk.len());
        self.chunk.advance(count);
        self.release(count);
    }

    /// All that is here.
    pub(crate) fn take(&mut self) -> Bytes {
        let chunk = std::mem::take(&mut self.chunk);
        self.release(chunk.len());
        chunk
    }

    fn release(&mut self, count: usize) {
        // Fails only for more than has come.
        let _ = self.stream.flow_control().release_capacity(count);
    }

    /// Whether nothing follows what is here.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The trailers, if it has ended with any.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }

    /// Waits until more is here, or the end is known.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while self.chunk.is_empty() && !self.has_ended {
            match ready!(self.stream.poll_data(cx)) {
                Some(data) => {
                    self.chunk = data?;
                    self.has_ended = self.stream.is_end_stream();
                }
                None => {
                    self.trailers = ready!(self.stream.poll_trailers(cx))?;
                    self.has_ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Waits for room for some of `wanted` bytes; never zero. Nothing if the stream is over.
pub(crate) fn poll_room(
    sender: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<Option<Result<usize, h2::Error>>> {
    sender.reserve_capacity(wanted);
    loop {
        let room = sender.capacity();
        if room > 0 {
            return Poll::Ready(Some(Ok(room.min(wanted))));
        }
        match ready!(sender.poll_capacity(cx)) {
            Some(Ok(_)) => {}
            ended => return Poll::Ready(ended),
        }
    }
}

/// Both directions of a stream that carries bytes, and not messages.
pub(crate) struct Http2Tunnel<'a> {
    sender: &'a mut SendStream<Bytes>,
    body: &'a mut Http2Body,
}

impl<'a> Http2Tunnel<'a> {
    pub(crate) fn new(sender: &'a mut SendStream<Bytes>, body: &'a mut Http2Body) -> Self {
        Self { sender, body }
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for Http2Tunnel<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.body.poll_fill(cx)).map_err(broken)?;
        let count = self.body.data().len().min(buffer.remaining());
        buffer.put_slice(self.body.data().get(..count).unwrap_or_default());
        self.body.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Tunnel<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let sender = &mut *self.get_mut().sender;
        let Some(room) = ready!(poll_room(sender, cx, bytes.len())) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let part = Bytes::copy_from_slice(bytes.get(..room.map_err(broken)?).unwrap_or(bytes));
        let count = part.len();
        Poll::Ready(sender.send_data(part, false).map(|()| count).map_err(broken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().sender.send_data(Bytes::new(), true).map_err(broken))
    }
}
