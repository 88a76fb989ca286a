//! A client's socket as the library has it, with a meter of what goes by.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::meter::Meter;
use crate::net::Gathered;
use crate::worker::Deadlines;

/// A socket, shared by the library and its owner.
#[derive(Clone)]
pub(super) struct Metered {
    socket: Gathered,
    meter: Rc<RefCell<Meter>>,
    deadlines: Rc<Deadlines>,
}

impl Metered {
    /// `socket`, of which nothing has been read.
    pub(super) fn new(socket: Gathered, deadlines: &Rc<Deadlines>) -> Self {
        Self { socket, meter: Rc::new(RefCell::new(Meter::new())), deadlines: Rc::clone(deadlines) }
    }

    /// The socket itself.
    pub(super) fn gathered(&self) -> &Gathered {
        &self.socket
    }

    /// Reads what comes, and looks at none of it. Yields how much it was; zero if nothing comes any more.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, memory: &mut [u8]) -> Poll<usize> {
        let mut buffer = ReadBuf::new(memory);
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
        Poll::Ready(if read.is_ok() { buffer.filled().len() } else { 0 })
    }

    /// Whether the client has gone too far. Nothing more is read of it then.
    pub(super) fn has_exceeded(&self) -> bool {
        self.meter.borrow().has_exceeded()
    }

    /// How many bytes of answers the client has been sent.
    pub(super) fn data_sent(&self) -> u64 {
        self.meter.borrow().data_sent()
    }

    /// The tick in which a head has begun that has not ended.
    pub(super) fn head_since(&self) -> Option<u32> {
        self.meter.borrow().head_since()
    }
}

impl AsyncRead for Metered {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.has_exceeded() {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.meter.borrow_mut().received(read, self.deadlines.now());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices))?;
        self.meter.borrow_mut().sent(slices, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
