//! A connected socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::TlsStream;
use super::socket::{is_quiet, poll_receive, poll_receive_told, poll_send, push};

/// A connection to a client or a back end.
#[derive(Debug)]
pub(crate) enum Stream {
    /// TCP, without Nagle's algorithm.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

/// What is known of a connection on which nothing is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// Nothing has happened.
    Quiet,
    /// The other side closed it, or sent what nobody asked for.
    Ended,
}

impl Stream {
    /// Waits until there is something to be read, without holding memory for it.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
            Self::Tls(stream) => stream.poll_read_ready(cx),
        }
    }

    /// Whether there surely is something to be read. Costs less than [`Stream::poll_read_ready`], but has nobody woken, and
    /// doesn't count towards a task's turn.
    pub(crate) fn is_read_ready(&self) -> bool {
        self.beneath().is_some_and(|socket| socket.try_io(Interest::READABLE, || Ok(())).is_ok())
    }

    /// Reads; zero at the end of what comes.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => poll_receive(socket, cx, buffer),
            Self::Tls(stream) => stream.poll_read(cx, buffer),
            Self::Unix(socket) => {
                let mut buffer = ReadBuf::new(buffer);
                ready!(Pin::new(socket).poll_read(cx, &mut buffer))?;
                Poll::Ready(Ok(buffer.filled().len()))
            }
        }
    }

    /// The same for who has just been told by [`Stream::poll_read_ready`] that there is something.
    pub(crate) fn poll_read_told(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => poll_receive_told(socket, cx, buffer),
            Self::Tls(stream) => stream.poll_read_told(cx, buffer),
            Self::Unix(_) => self.poll_read(cx, buffer),
        }
    }

    /// Writes `slices`, one after another, as far as there is room. Who is told to wait comes again with the same bytes, perhaps
    /// with more behind them: TLS has made records of them already.
    #[inline]
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => poll_send(socket, cx, slices, false),
            Self::Tls(stream) => stream.poll_write(cx, slices),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    /// The same. What `is_last` is followed by the end of the connection at once, and may leave together with it, which saves a
    /// segment, and the other side a wake-up.
    #[inline]
    pub(crate) fn poll_write_perhaps_last(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        is_last: bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(socket) => poll_send(socket, cx, slices, is_last),
            Self::Unix(_) | Self::Tls(_) => self.poll_write(cx, slices),
        }
    }

    /// Has the system take some of `bytes`, or of what waits in front of them, though it has not said that there is room. Yields how
    /// many of them it has taken; nothing if nobody takes anything.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Tcp(socket) => push(socket, bytes),
            Self::Tls(stream) => stream.push().then_some(0),
            Self::Unix(_) => None,
        }
    }

    /// Waits until all that was written is with the system.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    /// Looks at a connection that should be quiet. Costs no call to the system unless something has happened.
    pub(crate) fn liveness(&mut self) -> Liveness {
        let is_quiet = match self {
            Self::Tcp(socket) => is_quiet(socket),
            Self::Unix(socket) => {
                socket.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(stream) => return stream.liveness(),
        };
        if is_quiet { Liveness::Quiet } else { Liveness::Ended }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_shutdown(cx),
        }
    }

    /// Says so as far as that can be done at once, for a connection that is about to be closed.
    pub(crate) fn say_goodbye(&mut self) {
        if let Self::Tls(stream) = self {
            stream.say_goodbye();
        }
    }

    /// Makes the close that follows a reset: the other side sees a broken connection, and the kernel keeps no unsent bytes.
    pub(crate) fn reset_on_close(&self) {
        if let Some(socket) = self.beneath() {
            // Without it the close is merely a polite one.
            let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
        }
    }

    /// Our end.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.beneath()?.local_addr().ok()
    }

    /// The socket of TCP, whatever is spoken over it.
    fn beneath(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Tls(stream) => Some(stream.socket()),
            Self::Unix(_) => None,
        }
    }

    /// The socket, if bytes can go from it to another in the kernel.
    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Unix(_) | Self::Tls(_) => None,
        }
    }
}
