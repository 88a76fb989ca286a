//! A socket whose small writes are gathered and leave together: HTTP/2's library writes frame by frame, and a call to the system
//! costs more than copying what it writes.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;

/// What is gathered at most; beyond that it leaves together with what doesn't fit. Source: a record of TLS, RFC 8446, 5.1.
const GATHERED_MAX: usize = 16 * 1024;
/// What is kept of a write for which there is no room, so that it can be pushed.
const KEPT_MAX: usize = 64 * 1024;

/// A socket, shared by the library, for which a flush does nothing, and its owner, who has what was written sent when nothing
/// more is to be written for now.
#[derive(Clone)]
pub(crate) struct Gathered(Rc<RefCell<Socket>>);

struct Socket {
    stream: Stream,
    /// What had been read before.
    ahead: Bytes,
    /// What was written; without memory when it has left.
    out: Vec<u8>,
    is_blocked: bool,
    /// Whether what can't be written any more is as good as written.
    hears_out: bool,
    /// Whether that has happened.
    is_deaf: bool,
}

impl Gathered {
    /// `ahead` has been read from `stream` already.
    pub(crate) fn new(stream: Stream, ahead: Bytes) -> Self {
        let (out, is_blocked, hears_out, is_deaf) = (Vec::new(), false, false, false);
        Self(Rc::new(RefCell::new(Socket { stream, ahead, out, is_blocked, hears_out, is_deaf })))
    }

    /// The same to a back end. One that takes nothing more may have answered before that, and reading tells how it ends: the library
    /// would give up at the first write that fails, with answers unread.
    pub(crate) fn to_back_end(stream: Stream) -> Self {
        let socket = Self::new(stream, Bytes::new());
        socket.0.borrow_mut().hears_out = true;
        socket
    }

    /// Sends what was written. Pending while there is no room for it.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_send(cx)
    }

    /// Has the system take some of what was written, though it has not said that there is room; false if it takes nothing.
    pub(crate) fn push(&self) -> bool {
        let mut socket = self.0.borrow_mut();
        let Socket { stream, out, .. } = &mut *socket;
        let taken = stream.push(out);
        out.drain(..taken.unwrap_or(0));
        taken.is_some()
    }

    /// Whether the other side took nothing when something was sent last.
    pub(crate) fn is_blocked(&self) -> bool {
        self.0.borrow().is_blocked
    }
}

impl Socket {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            ready!(self.poll_send_with(cx, &[]))?;
        }
        if self.is_deaf {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(self.stream.poll_flush(cx));
        self.is_deaf = flushed.is_err() && self.hears_out;
        Poll::Ready(if self.is_deaf { Ok(()) } else { flushed })
    }

    /// Sends what was written and `slices` behind it; yields how much of these.
    fn poll_send_with(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.is_deaf {
            let sent = ready!(self.try_to_send_with(cx, slices));
            if sent.is_ok() || !self.hears_out {
                return Poll::Ready(sent);
            }
            (self.out, self.is_deaf) = (Vec::new(), true);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn try_to_send_with(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut all: SmallVec<[IoSlice<'_>; 4]> = SmallVec::new();
            if !self.out.is_empty() {
                all.push(IoSlice::new(&self.out));
            }
            all.extend(slices.iter().copied());
            let sent = self.stream.poll_write(cx, &all);
            drop(all);
            self.is_blocked = sent.is_pending();
            let sent = ready!(sent)?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(beyond) = sent.checked_sub(self.out.len()) {
                self.out = Vec::new();
                if beyond > 0 || slices.is_empty() {
                    return Poll::Ready(Ok(beyond));
                }
            } else {
                self.out.drain(..sent);
            }
        }
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        if !socket.ahead.is_empty() {
            let length = socket.ahead.len().min(buffer.remaining());
            buffer.put_slice(&socket.ahead.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut socket.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut socket = self.0.borrow_mut();
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        if wanted == 0 || socket.is_deaf {
            return Poll::Ready(Ok(wanted));
        }
        if socket.out.len() + wanted > GATHERED_MAX {
            match socket.poll_send_with(cx, slices) {
                // Something has to be here that can be pushed, and TLS may have taken the slices already.
                Poll::Pending if socket.out.is_empty() && wanted <= KEPT_MAX => {}
                sent => return sent,
            }
        }
        if socket.out.is_empty() {
            socket.out.reserve(GATHERED_MAX.max(wanted));
        }
        slices.iter().for_each(|slice| socket.out.extend_from_slice(slice));
        Poll::Ready(Ok(wanted))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The owner does it, by [`Gathered::poll_send`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut socket = self.0.borrow_mut();
        ready!(socket.poll_send(cx))?;
        socket.stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    fn pair() -> (Gathered, UnixStream) {
        let (own, other) = UnixStream::pair().unwrap();
        (Gathered::new(Stream::Unix(own), Bytes::from_static(b"ahead")), other)
    }

    #[tokio::test]
    async fn small_writes_leave_when_the_owner_says_so() {
        let (socket, mut other) = pair();
        let mut library = socket.clone();
        library.write_all(b"one, ").await.unwrap();
        library.flush().await.unwrap();
        library.write_all(b"two").await.unwrap();
        let nothing = other.try_read(&mut [0; 8]).map_err(|error| error.kind());
        assert_eq!(nothing, Err(io::ErrorKind::WouldBlock));
        poll_fn(|cx| socket.poll_send(cx)).await.unwrap();
        let mut text = [0; 8];
        other.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"one, two");
        assert_eq!(socket.0.borrow().out.capacity(), 0);
    }

    #[tokio::test]
    async fn what_is_too_much_to_be_kept_leaves_in_order() {
        let (socket, mut other) = pair();
        let mut library = socket.clone();
        let long: Vec<u8> = (0..200_000_u32).map(|count| (count % 251) as u8).collect();
        let writing = async {
            library.write_all(b"start").await.unwrap();
            library.write_all(&long).await.unwrap();
            library.shutdown().await.unwrap();
        };
        let mut text = Vec::new();
        let ((), read) = tokio::join!(writing, other.read_to_end(&mut text));
        read.unwrap();
        assert_eq!(text.strip_prefix(b"start"), Some(&*long));
        assert!(!socket.is_blocked());
    }

    #[tokio::test]
    async fn a_back_end_that_takes_nothing_more_is_heard_out() {
        let (own, mut other) = UnixStream::pair().unwrap();
        let mut socket = Gathered::to_back_end(Stream::Unix(own));
        other.write_all(b"answered").await.unwrap();
        drop(other);
        for length in [1, 100_000] {
            socket.write_all(&vec![0; length]).await.unwrap();
            poll_fn(|cx| socket.poll_send(cx)).await.unwrap();
        }
        let mut text = Vec::new();
        socket.read_to_end(&mut text).await.unwrap();
        assert_eq!(&text, b"answered");
    }

    #[tokio::test]
    async fn it_is_known_that_the_other_side_takes_nothing() {
        let (socket, other) = pair();
        let mut library = socket.clone();
        let block = vec![0; 64 * 1024];
        poll_fn(|cx| {
            while Pin::new(&mut library).poll_write(cx, &block).is_ready() {}
            Poll::Ready(())
        })
        .await;
        assert!(socket.is_blocked());
        drop(other);
    }

    #[tokio::test]
    async fn what_has_no_room_is_taken_when_the_other_side_has_taken_a_part() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let own = tokio::net::TcpSocket::new_v4().unwrap();
        own.set_send_buffer_size(1 << 20).unwrap();
        let own = own.connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut library = Gathered::new(Stream::Tcp(own), Bytes::new());
        let socket = library.clone();
        let mut fill = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            loop {
                while Pin::new(&mut library).poll_write(&mut cx, &[0; 40_000]).is_ready() {}
                if !socket.push() {
                    break;
                }
            }
        };
        fill();
        assert!(socket.is_blocked() && !socket.push());
        for _ in 0..3 {
            std::io::Read::read_exact(&mut other, &mut [0; 512 * 1024]).unwrap();
            assert!(socket.push(), "it has taken something");
            fill();
        }
        assert!(!socket.push(), "it takes nothing");
    }

    #[tokio::test]
    async fn what_was_read_ahead_comes_first() {
        let (socket, mut other) = pair();
        other.write_all(b", then the rest").await.unwrap();
        let mut text = [0; 20];
        socket.clone().read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"ahead, then the rest");
    }
}
