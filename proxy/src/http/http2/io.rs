//! The client's socket as hyper sees it: bytes read ahead come first, and stalls are noticed.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::connection::State;
use crate::net::{Stream, TlsStream};

/// A socket with what was read ahead of it.
pub(super) struct ClientIo {
    socket: Transport,
    ahead: Bytes,
    state: Rc<State>,
}

/// What HTTP/2 is spoken over.
enum Transport {
    Tcp(TokioIo<TcpStream>),
    Tls(Box<TlsStream>),
}

impl ClientIo {
    /// `ahead` has been read from `stream` already. Nothing for a stream that no client could have.
    pub(super) fn new(stream: Stream, ahead: Bytes, state: Rc<State>) -> Option<Self> {
        let socket = match stream {
            Stream::Tcp(socket) => Transport::Tcp(TokioIo::new(socket)),
            Stream::Tls(stream) => Transport::Tls(stream),
            Stream::Unix(_) => return None,
        };
        Some(Self { socket, ahead, state })
    }

    /// Notes whether the client takes what it is sent.
    fn written<T>(&self, result: Poll<T>) -> Poll<T> {
        self.state.write_blocked(result.is_pending());
        result
    }
}

impl Read for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.has_remaining() {
            let length = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        match &mut self.socket {
            Transport::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Transport::Tls(stream) => {
                let limit = buffer.remaining();
                stream.poll_take(cx, limit, |bytes| buffer.put_slice(bytes))
            }
        }
    }
}

impl Write for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = match &mut self.socket {
            Transport::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Transport::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(bytes)]),
        };
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = match &mut self.socket {
            Transport::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Transport::Tls(stream) => stream.poll_write(cx, slices),
        };
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Transport::Tcp(socket) => Pin::new(socket).poll_flush(cx),
            Transport::Tls(stream) => stream.poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Transport::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Transport::Tls(stream) => stream.poll_shutdown(cx),
        }
    }
}
