//! Reading from and writing to a TCP socket, straight by the kernel's calls: the C library makes each of its own a point where
//! a thread may be cancelled, which costs more than our side of the call.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Reads; zero at the end of what comes.
pub(super) fn poll_receive(socket: &TcpStream, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
    ready!(socket.poll_read_ready(cx))?;
    poll_receive_told(socket, cx, buffer)
}

/// The same for who has been told that there is something to be read, and doesn't ask again unless that was wrong.
pub(super) fn poll_receive_told(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        let room = buffer.len();
        let receive = || Ok(rustix::net::recv(socket, &mut *buffer, RecvFlags::empty())?.0);
        if let Some(received) = transfer(socket, Interest::READABLE, room, receive) {
            return Poll::Ready(received);
        }
        ready!(socket.poll_read_ready(cx))?;
    }
}

/// Writes `slices`, one after another, as far as there is room. One that `is_last` may wait for the end of the connection, and go
/// with it.
#[inline]
pub(super) fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
    is_last: bool,
) -> Poll<io::Result<usize>> {
    match slices {
        // One slice costs the kernel less than a list of them.
        [one] => {
            let more = if is_last { SendFlags::MORE } else { SendFlags::empty() };
            poll_call(socket, cx, one.len(), || Ok(rustix::net::send(socket, one, SendFlags::NOSIGNAL | more)?))
        }
        _ => {
            let length = slices.iter().map(|slice| slice.len()).sum();
            poll_call(socket, cx, length, || Ok(rustix::io::writev(socket, slices)?))
        }
    }
}

/// Writes though the system has not said that there is room, which it does only when much of what waits has gone: a slow reader
/// looks like one that takes nothing until then. Yields how much was taken, if anything was.
pub(super) fn push(socket: &TcpStream, bytes: &[u8]) -> Option<usize> {
    let sent = rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    // What is wrong, if anything, is met again by who waits for room.
    sent.ok().filter(|sent| *sent > 0)
}

/// Writes `length` bytes by `send`, as far as there is room.
fn poll_call(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    length: usize,
    send: impl Fn() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        // Mostly there is room. What is written was read before: it is reading that lets other tasks have their turn.
        if let Some(sent) = transfer(socket, Interest::WRITABLE, length, &send) {
            return Poll::Ready(sent);
        }
        ready!(socket.poll_write_ready(cx))?;
    }
}

/// Whether nothing has happened on a socket of which nothing is expected. Costs no call unless something has.
pub(super) fn is_quiet(socket: &TcpStream) -> bool {
    let mut is_told = false;
    let result = socket.try_io(Interest::READABLE, || {
        is_told = true;
        Ok(rustix::net::recv(socket, &mut [0; 1], RecvFlags::empty())?)
    });
    if !is_told {
        // The runtime's own error, which holds nothing that would have to be dropped.
        std::mem::forget(result);
        return true;
    }
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Moves up to `wanted` bytes by `call`; nothing if the socket was not ready after all.
fn transfer(
    socket: &TcpStream,
    interest: Interest,
    wanted: usize,
    call: impl FnOnce() -> io::Result<usize>,
) -> Option<io::Result<usize>> {
    let mut moved = None;
    let result = socket.try_io(interest, || {
        let count = call()?;
        moved = Some(count);
        // Less than was wanted: the next call would be told to wait, so the readiness is given up without asking.
        if count > 0 && count < wanted { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if let Some(count) = moved {
        // The error, if any, is the one above, which holds nothing that would have to be dropped.
        std::mem::forget(result);
        return Some(Ok(count));
    }
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => Some(Err(error)),
        Ok(()) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;
    use std::task::Waker;

    use super::*;

    #[tokio::test]
    async fn the_last_bytes_leave_with_the_end_of_the_connection_and_others_at_once() {
        for is_last in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (mut other, _) = listener.accept().unwrap();
            let slices = [IoSlice::new(b"bye")];
            let sent = poll_send(&socket, &mut Context::from_waker(Waker::noop()), &slices, is_last);
            assert!(matches!(sent, Poll::Ready(Ok(3))));
            other.set_nonblocking(true).unwrap();
            let early = other.peek(&mut [0; 8]);
            match is_last {
                true => assert_eq!(early.unwrap_err().kind(), ErrorKind::WouldBlock),
                false => assert_eq!(early.unwrap(), 3),
            }
            drop(socket);
            other.set_nonblocking(false).unwrap();
            let mut all = Vec::new();
            other.read_to_end(&mut all).unwrap();
            assert_eq!(all, b"bye");
        }
    }
}
