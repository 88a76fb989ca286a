//! Bodies that go from socket to socket inside the kernel. Source: splice(2).

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds. Larger ones gain nothing: socket buffers are of this order.
const PIPE_BYTES: usize = 256 * 1024;

/// Two ends of a pipe, and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    out_of: OwnedFd,
    into: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty pipe.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let (out_of, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // The system's bound on the memory of pipes may be reached; the usual size will do then.
        let _ = fcntl_setpipe_size(&into, PIPE_BYTES);
        Ok(Self { out_of, into, held: 0 })
    }

    /// Bytes that were taken and not given on.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes up to `limit` bytes from `socket`. Zero at the end of what comes.
    pub(crate) fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        limit: u64,
    ) -> Poll<io::Result<usize>> {
        let length = usize::try_from(limit).unwrap_or(usize::MAX).min(PIPE_BYTES);
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let taken = socket.try_io(Interest::READABLE, || {
                Ok(splice(socket, None, &self.into, None, length, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
            });
            match taken {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(count) => {
                    self.held += count;
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Gives on some of what is held though the system has not said that there is room; zero if nothing is taken.
    pub(crate) fn push(&mut self, socket: &TcpStream) -> usize {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let given = splice(&self.out_of, None, socket, None, self.held, flags).unwrap_or(0);
        self.held -= given;
        given
    }

    /// Gives on what is held, as far as `socket` has room. Never zero.
    pub(crate) fn poll_give(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<io::Result<usize>> {
        loop {
            ready!(socket.poll_write_ready(cx))?;
            let given = socket.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.out_of, None, socket, None, self.held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
            });
            match given {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.held -= count;
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
