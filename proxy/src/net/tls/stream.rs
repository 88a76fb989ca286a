//! Reading and writing through a session.

use std::cell::{RefCell, RefMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::records::{Outgoing, Progress, Session, Wish};
use crate::net::Liveness;
use crate::net::socket::{poll_receive, poll_receive_told, poll_send, push};

/// A record with the most that may be in it and around it. Source: RFC 8446, 5.2.
const RECORD_MAX: usize = 5 + 16 * 1024 + 256;
/// What is read at once.
const READ_MAX: usize = 64 * 1024;
/// What is written at once: two full records. A client that takes nothing holds so much memory.
const WRITE_MAX: usize = 32 * 1024;

/// Memory that all TLS connections of a worker use in turn. Taken only while bytes move.
#[derive(Debug, Default)]
pub(crate) struct TlsScratch {
    incoming: RefCell<Vec<u8>>,
    gathered: RefCell<Vec<u8>>,
    outgoing: RefCell<Outgoing>,
}

/// A connection with TLS in it.
pub(crate) struct TlsStream {
    socket: TcpStream,
    session: Session,
    scratch: Rc<TlsScratch>,
    /// The beginning of a record whose rest has not come.
    partial: Vec<u8>,
    /// What was in records and didn't fit where it was read into.
    plain: Vec<u8>,
    plain_taken: usize,
    /// Records that the socket didn't take.
    pending: Vec<u8>,
    pending_sent: usize,
    /// Bytes of the last call to write, which are in `pending` and not told as written yet.
    claimed: usize,
    /// Nothing more comes.
    ended: bool,
    /// The session is broken.
    failed: bool,
    /// We have said that nothing more goes.
    closing: bool,
}

impl TlsStream {
    /// A session that begins. `received` has been read from `socket` already.
    pub(crate) fn new(socket: TcpStream, session: Session, scratch: Rc<TlsScratch>, received: Vec<u8>) -> Self {
        Self {
            socket,
            session,
            scratch,
            partial: received,
            plain: Vec::new(),
            plain_taken: 0,
            pending: Vec::new(),
            pending_sent: 0,
            claimed: 0,
            ended: false,
            failed: false,
            closing: false,
        }
    }

    /// What has been agreed on.
    pub(crate) fn common(&self) -> &CommonState {
        self.session.common()
    }

    /// The socket beneath.
    pub(crate) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Takes the handshake as far as it comes with what has been received. What is to be sent is for [`Self::poll_flush`].
    ///
    /// # Errors
    /// If there is nothing to agree on; the other side is told by the next flush.
    pub(crate) fn step(&mut self) -> Result<(), rustls::Error> {
        let scratch = Rc::clone(&self.scratch);
        let mut out = scratch.outgoing();
        let stepped = self.seal(Wish::None, &mut out);
        self.pending.extend_from_slice(out.filled());
        stepped
    }

    /// Whether both sides have to say more before data can go.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// Reads more of a handshake.
    ///
    /// # Errors
    /// If the other side has left.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut incoming = self.scratch.incoming(RECORD_MAX);
        match ready!(poll_receive(&self.socket, cx, &mut incoming))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            count => {
                self.partial.extend_from_slice(incoming.get(..count).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Writes what waits to be written.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest @ [_, ..]) = self.pending.get(self.pending_sent..) {
            match ready!(poll_send(&self.socket, cx, &[IoSlice::new(rest)], false))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.pending_sent += sent,
            }
        }
        if self.pending_sent > 0 {
            self.pending = Vec::new();
            self.pending_sent = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Has the system take some of the records that wait, though it has not said that there is room; false if it takes none.
    pub(crate) fn push(&mut self) -> bool {
        let sent = self.pending.get(self.pending_sent..).and_then(|rest| push(&self.socket, rest));
        self.pending_sent += sent.unwrap_or(0);
        sent.is_some()
    }

    /// Waits until there is something to be read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.plain_taken < self.plain.len() || self.ended || self.failed {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_read_ready(cx)
    }

    /// Reads; zero at the end of what comes.
    ///
    /// # Errors
    /// If the connection or the session breaks. An end that the other side has not announced is an error towards a back end,
    /// whose answer it would cut.
    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.read(cx, buffer, poll_receive)
    }

    /// The same for who has been told that the socket has something to be read.
    pub(crate) fn poll_read_told(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.read(cx, buffer, poll_receive_told)
    }

    /// Reads, at first by `receive`.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        mut receive: fn(&TcpStream, &mut Context<'_>, &mut [u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(count) = self.take_plain(buffer) {
                return Poll::Ready(Ok(count));
            }
            if self.failed {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            let scratch = Rc::clone(&self.scratch);
            let mut incoming = scratch.incoming(self.partial.len() + buffer.len().clamp(RECORD_MAX, READ_MAX));
            let held = self.partial.len();
            let (start, space) = incoming.split_at_mut(held);
            let received = ready!(std::mem::replace(&mut receive, poll_receive)(&self.socket, cx, space))?;
            if received == 0 {
                self.ended = true;
                let is_cut = matches!(self.session, Session::Client(_));
                return Poll::Ready(if is_cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(0) });
            }
            start.copy_from_slice(&self.partial);
            let count = self.open(incoming.get_mut(..held + received).unwrap_or_default(), buffer);
            if !self.pending.is_empty() {
                // What the socket doesn't take now goes with the next write.
                let _ = self.poll_flush(cx)?;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
        }
    }

    /// Opens records; what is in them goes to `buffer`, and the rest is kept.
    fn open(&mut self, incoming: &mut [u8], buffer: &mut [u8]) -> usize {
        let scratch = Rc::clone(&self.scratch);
        let mut out = scratch.outgoing();
        let Self { session, plain, .. } = self;
        let mut taken = 0;
        let mut take = |payload: &[u8]| {
            let space = buffer.get_mut(taken..).unwrap_or_default();
            let length = payload.len().min(space.len());
            let (now, later) = payload.split_at(length);
            if let Some(space) = space.get_mut(..length) {
                space.copy_from_slice(now);
            }
            taken += length;
            plain.extend_from_slice(later);
        };
        let (used, progress) = session.advance(incoming, &mut take, &mut out, Wish::None);
        self.pending.extend_from_slice(out.filled());
        match progress {
            Ok(progress) => self.ended |= progress == Progress::PeerClosed,
            Err(_error) => self.failed = true,
        }
        let rest = incoming.get(used..).unwrap_or_default();
        if !rest.is_empty() || !self.partial.is_empty() {
            self.partial = rest.to_vec();
        }
        taken
    }

    fn take_plain(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let rest = self.plain.get(self.plain_taken..).filter(|rest| !rest.is_empty())?;
        let length = rest.len().min(buffer.len());
        buffer.get_mut(..length)?.copy_from_slice(rest.get(..length)?);
        self.plain_taken += length;
        if self.plain_taken == self.plain.len() {
            self.plain = Vec::new();
            self.plain_taken = 0;
        }
        Some(length)
    }

    /// Writes `slices`. Bytes count as written when the socket has taken the records that they are in, so that nothing has to
    /// be flushed; whoever is told to wait comes again with the same bytes.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        // Perhaps somebody else has flushed since.
        let claimed = std::mem::take(&mut self.claimed);
        if claimed > 0 {
            return Poll::Ready(Ok(claimed));
        }
        if self.closing || self.failed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let scratch = Rc::clone(&self.scratch);
        let mut gathered = scratch.gathered.borrow_mut();
        let data = gather(slices, &mut gathered);
        let mut out = scratch.outgoing();
        self.seal(Wish::Data(data), &mut out).map_err(broken)?;
        let mut sent = 0;
        while let Some(rest @ [_, ..]) = out.filled().get(sent..) {
            match poll_send(&self.socket, cx, &[IoSlice::new(rest)], false) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => sent += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.pending = rest.to_vec();
                    self.claimed = data.len();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(data.len()))
    }

    /// Appends what `wish` asks for to `out`.
    fn seal(&mut self, wish: Wish<'_>, out: &mut Outgoing) -> Result<(), rustls::Error> {
        let Self { session, partial, plain, .. } = self;
        let (used, progress) = session.advance(partial, |payload| plain.extend_from_slice(payload), out, wish);
        keep_rest(partial, used);
        match progress {
            Ok(progress) => self.ended |= progress == Progress::PeerClosed,
            Err(error) => {
                self.failed = true;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Looks at a connection that should be quiet. The protocol's own messages don't count.
    pub(crate) fn liveness(&mut self) -> Liveness {
        loop {
            if self.plain_taken < self.plain.len() || self.ended || self.failed {
                return Liveness::Ended;
            }
            let scratch = Rc::clone(&self.scratch);
            let mut incoming = scratch.incoming(self.partial.len() + RECORD_MAX);
            let held = self.partial.len();
            let Some(space) = incoming.get_mut(held..) else { return Liveness::Ended };
            match self.socket.try_read(space) {
                Ok(count @ 1..) => {
                    if let Some(start) = incoming.get_mut(..held) {
                        start.copy_from_slice(&self.partial);
                    }
                    self.open(incoming.get_mut(..held + count).unwrap_or_default(), &mut []);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Liveness::Quiet,
                _ => return Liveness::Ended,
            }
        }
    }

    /// Says that nothing more will be written.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.queue_goodbye();
        // The socket is closed whether the other side hears it or not.
        let _ = ready!(self.poll_flush(cx));
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Says so as far as the socket takes it at once: the connection is about to be closed.
    pub(crate) fn say_goodbye(&mut self) {
        self.queue_goodbye();
        if let Some(rest @ [_, ..]) = self.pending.get(self.pending_sent..) {
            let _ = self.socket.try_write(rest);
        }
    }

    fn queue_goodbye(&mut self) {
        if !std::mem::replace(&mut self.closing, true) && !self.failed {
            let scratch = Rc::clone(&self.scratch);
            let mut out = scratch.outgoing();
            // A session that is broken has nothing to say any more.
            let _ = self.seal(Wish::CloseNotify, &mut out);
            self.pending.extend_from_slice(out.filled());
        }
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream").field("socket", &self.socket).finish_non_exhaustive()
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl TlsScratch {
    fn incoming(&self, length: usize) -> RefMut<'_, [u8]> {
        let mut incoming = self.incoming.borrow_mut();
        if incoming.len() < length {
            incoming.resize(length.max(READ_MAX), 0);
        }
        RefMut::map(incoming, |incoming| incoming.get_mut(..length).unwrap_or_default())
    }

    fn outgoing(&self) -> RefMut<'_, Outgoing> {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.clear();
        outgoing
    }
}

/// Drops what is used up, and the memory with it.
fn keep_rest(partial: &mut Vec<u8>, used: usize) {
    if used > 0 {
        *partial = partial.get(used..).unwrap_or_default().to_vec();
    }
}

/// The bytes of `slices`, as many as are written at once, in one piece.
fn gather<'a>(slices: &'a [IoSlice<'_>], gathered: &'a mut Vec<u8>) -> &'a [u8] {
    if let [one] = slices {
        return one.get(..WRITE_MAX).unwrap_or(one);
    }
    gathered.clear();
    for slice in slices {
        let room = WRITE_MAX - gathered.len();
        gathered.extend_from_slice(slice.get(..room).unwrap_or(slice));
    }
    gathered
}
