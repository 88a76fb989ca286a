//! Where bodies come from: a client's or a back end's HTTP/1 connection, an HTTP/2 stream, or what was kept of a request for
//! another try.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use http1::{BodyFault, Message};
use tokio::net::TcpStream;

use super::messages::Direction;
use super::pump::{Source, SourceFault};
use crate::net::Stream;
use crate::upstream::Http2Stream;
use crate::worker::Memory;

/// How much of a body is read at once to where it is kept.
const PIECE_MAX: usize = 64 * 1024;
/// So many times what has come of a body is made ready for what comes next, so that nobody takes memory by a promise.
const TRUST: usize = 8;

/// The body of a message on an HTTP/1 connection.
pub(super) struct StreamBody<'a> {
    message: &'a mut Message,
    stream: &'a mut Stream,
    /// Whether the head is still needed.
    keeps_head: bool,
}

impl<'a> StreamBody<'a> {
    /// The body of a request, whose head may be sent again or logged.
    pub(super) fn of_request(message: &'a mut Message, stream: &'a mut Stream) -> Self {
        Self { message, stream, keeps_head: true }
    }

    /// The body of a response, whose head has been written out.
    pub(super) fn of_response(message: &'a mut Message, stream: &'a mut Stream) -> Self {
        Self { message, stream, keeps_head: false }
    }

    /// Gives memory back while nothing comes.
    pub(super) fn rest(&mut self, memory: &Memory) {
        if let Some(block) = self.message.take_block() {
            memory.give_back_block(block);
        } else if !self.keeps_head && self.message.capacity() > 0 {
            memory.give_back_block(self.message.take_head_buffer());
        }
    }

    /// What [`Source::plain`] yields.
    pub(super) fn into_plain(mut self, memory: &Memory) -> Option<(&'a mut Stream, u64)> {
        let length = self.message.remaining();
        if length == 0 || !self.message.leftover().is_empty() {
            return None;
        }
        self.rest(memory);
        Some((self.stream, length))
    }

    fn make_room(&mut self, memory: &Memory) {
        if self.keeps_head && self.message.fits_in_place() {
            return;
        }
        if self.message.has_block() || !self.keeps_head && self.message.capacity() > 0 {
            self.message.rewind();
        } else {
            self.message.give_block(memory.block());
        }
    }
}

impl Source for StreamBody<'_> {
    fn data(&self) -> &[u8] {
        self.message.data()
    }

    fn consume(&mut self, count: usize) {
        self.message.consume(count);
    }

    fn has_ended(&self) -> bool {
        self.message.has_ended()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Poll<Result<(), SourceFault>> {
        loop {
            self.message.decode()?;
            if !self.message.data().is_empty() || self.message.has_ended() {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(ready) = self.stream.poll_read_ready(cx) else {
                self.rest(memory);
                return Poll::Pending;
            };
            ready?;
            self.make_room(memory);
            let count = ready!(self.stream.poll_read_told(cx, self.message.space()))?;
            if count == 0 { self.message.closed()? } else { self.message.filled(count) }
        }
    }

    fn unseen(&self) -> Option<(&TcpStream, u64)> {
        let length = self.message.remaining();
        if length == 0 || !self.message.leftover().is_empty() {
            return None;
        }
        Some((self.stream.tcp()?, length))
    }

    fn pass_by(&mut self, count: u64) {
        self.message.pass_by(count);
    }
}

/// The body of an answer on a stream to a back end.
impl Source for Http2Stream {
    fn data(&self) -> &[u8] {
        self.data()
    }

    fn consume(&mut self, count: usize) {
        self.consume(count);
    }

    fn has_ended(&self) -> bool {
        self.has_ended()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, _: &Memory) -> Poll<Result<(), SourceFault>> {
        self.poll_fill(cx).map_err(SourceFault::from)
    }
}

/// A body that comes on a stream of its own.
pub(super) trait Streamed: Body<Data = Bytes, Error: Into<SourceFault>> + Unpin {}

impl<B: Body<Data = Bytes, Error: Into<SourceFault>> + Unpin> Streamed for B {}

/// The body of a request on a stream. Trailers end it; HTTP/1.1 back ends don't get them.
pub(super) struct IncomingBody<B> {
    incoming: B,
    chunk: Bytes,
    trailers: Option<Box<HeaderMap>>,
    /// How many there may be.
    trailers_max: usize,
    has_ended: bool,
}

impl<B: Streamed> IncomingBody<B> {
    /// The body of a request whose head has so many fields.
    pub(super) fn new(incoming: B, fields: usize) -> Self {
        let has_ended = incoming.is_end_stream();
        let trailers_max = http1::FIELDS_MAX.saturating_sub(fields);
        Self { incoming, chunk: Bytes::new(), trailers: None, trailers_max, has_ended }
    }
}

impl<B: Streamed> Source for &mut IncomingBody<B> {
    fn data(&self) -> &[u8] {
        &self.chunk
    }

    fn consume(&mut self, count: usize) {
        self.chunk.advance(count.min(self.chunk.len()));
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, _: &Memory) -> Poll<Result<(), SourceFault>> {
        loop {
            if !self.chunk.is_empty() || self.has_ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.chunk = data;
                        self.has_ended = self.incoming.is_end_stream();
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok().map(Box::new);
                        if self.trailers.as_ref().is_some_and(|trailers| trailers.len() > self.trailers_max) {
                            return Poll::Ready(Err(BodyFault::TrailersTooLarge.into()));
                        }
                        self.has_ended = true;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => self.has_ended = true,
            }
        }
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }
}

/// What was kept of a request's body, so that it can be sent again.
#[derive(Default)]
pub(super) struct Kept {
    /// Nothing if there is no body, or if it isn't kept.
    body: Option<Box<KeptBody>>,
    /// Whether it stays where it has come, which the message knows.
    is_in_place: bool,
    /// Whether all that was taken from the client is here.
    is_whole: bool,
}

/// All that was taken from the client.
struct KeptBody {
    /// The body, and behind it room for more.
    memory: Vec<u8>,
    /// How long the body is.
    length: usize,
    /// How much may be kept; beyond it the request can't be sent again.
    limit: usize,
}

impl Kept {
    /// Keeps nothing, which is all as long as nothing comes.
    pub(super) fn nothing() -> Self {
        Self { body: None, is_in_place: false, is_whole: true }
    }

    /// Keeps what the request's message keeps.
    pub(super) fn in_place() -> Self {
        Self { is_in_place: true, ..Self::nothing() }
    }

    /// Keeps up to `limit` bytes in `memory`, whatever is in it.
    pub(super) fn up_to(limit: usize, memory: Vec<u8>) -> Self {
        Self { body: Some(Box::new(KeptBody { memory, length: 0, limit })), ..Self::nothing() }
    }

    /// Gives back what it was kept in.
    pub(super) fn give_back(self, memory: &Memory) {
        if let Some(body) = self.body {
            memory.give_back_body(body.memory);
        }
    }

    fn bytes(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], |body| body.bytes())
    }

    fn length(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.length)
    }

    /// All of the body of `request`, unless something is missing.
    pub(super) fn whole<'a>(&'a self, request: &'a Message) -> Option<&'a [u8]> {
        self.is_whole.then(|| if self.is_in_place { request.body_in_place() } else { self.bytes() })
    }

    /// Has `request` begin with its body again, if that is kept there.
    pub(super) fn read_again(&self, request: &mut Message) {
        if self.is_in_place {
            request.read_body_again();
        }
    }

    /// Whether nothing is here.
    pub(super) fn is_empty(&self) -> bool {
        self.length() == 0
    }

    /// Whether there is a body that is kept.
    pub(super) fn has_body(&self) -> bool {
        self.body.is_some()
    }

    /// Whether the request can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn keep(&mut self, data: &[u8]) {
        let is_kept = data.is_empty() || self.is_in_place || self.body.as_mut().is_some_and(|body| body.keep(data));
        if !is_kept {
            *self = Self::default();
        }
    }
}

impl KeptBody {
    fn bytes(&self) -> &[u8] {
        self.memory.get(..self.length).unwrap_or_default()
    }

    /// False if that is too much.
    fn keep(&mut self, data: &[u8]) -> bool {
        let fits = self.length + data.len() <= self.limit;
        if fits {
            self.room(data.len()).copy_from_slice(data);
            self.length += data.len();
        }
        fits
    }

    /// Room for so many bytes behind what is here.
    fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.length + length;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        self.memory.get_mut(self.length..end).unwrap_or_default()
    }

    /// Room for what is read next of a body of which `left` bytes are still to come, if it may be read to where it is kept.
    fn room_for(&mut self, left: u64) -> Option<&mut [u8]> {
        let left = usize::try_from(left).ok()?;
        let piece = left.min(PIECE_MAX);
        let fits = self.length + left <= self.limit;
        (fits && piece <= TRUST * self.length).then(|| self.room(piece))
    }
}

/// A request's body in one of its tries: what was kept first, then what still comes.
pub(super) struct Replayed<'a, S> {
    /// What still comes.
    pub(super) live: S,
    /// What has come.
    pub(super) kept: &'a mut Kept,
    /// How much of that this try has sent.
    pub(super) resent: &'a mut usize,
    /// Counts what comes, if it is a gRPC call's.
    pub(super) messages: Option<&'a mut Direction>,
}

impl<S: Source> Replayed<'_, S> {
    /// Reads to where it is kept; nothing if that can't be.
    fn poll_keep(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Option<Poll<Result<(), SourceFault>>> {
        let kept = self.kept.body.as_mut()?;
        let (stream, left) = self.live.plain(memory)?;
        let room = kept.room_for(left)?;
        Some(match stream.poll_read(cx, room) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(BodyFault::BrokenOff.into())),
            Poll::Ready(Ok(count)) => {
                kept.length += count;
                self.live.pass_by(count as u64);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        })
    }

    /// Has more of it here, without waiting, before the first of it goes.
    // Out of the way of requests without a body.
    #[inline(never)]
    pub(super) fn gather(&mut self, cx: &mut Context<'_>, memory: &Memory) {
        if *self.resent < self.kept.length() || !self.live.has_filled_memory() {
            return;
        }
        let data = self.live.data();
        if self.kept.body.as_mut().is_some_and(|body| body.keep(data)) {
            let count = data.len();
            self.live.consume(count);
            // What goes wrong is met again.
            let _ = self.poll_keep(cx, memory);
        }
    }
}

impl<S: Source> Source for Replayed<'_, S> {
    fn data(&self) -> &[u8] {
        match self.kept.bytes().get(*self.resent..) {
            None | Some([]) => self.live.data(),
            Some(rest) => rest,
        }
    }

    fn consume(&mut self, count: usize) {
        if *self.resent < self.kept.length() {
            *self.resent += count;
            return;
        }
        let data = self.live.data().get(..count).unwrap_or_default();
        if let Some(messages) = &mut self.messages {
            messages.see(data);
        }
        self.kept.keep(data);
        *self.resent = self.kept.length();
        self.live.consume(count);
    }

    fn has_ended(&self) -> bool {
        *self.resent >= self.kept.length() && self.live.has_ended()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Poll<Result<(), SourceFault>> {
        self.poll_keep(cx, memory).unwrap_or_else(|| self.live.poll_fill(cx, memory))
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        self.live.trailers()
    }

    fn unseen(&self) -> Option<(&TcpStream, u64)> {
        // What goes another way can't be kept.
        if self.kept.body.is_some() || self.kept.is_in_place { None } else { self.live.unseen() }
    }

    fn pass_by(&mut self, count: u64) {
        self.live.pass_by(count);
        self.kept.is_whole = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_to_where_it_is_kept_has_room_by_what_has_come_and_within_the_limit() {
        for (limit, came, left, room) in [
            (1 << 20, 0, 10, None),
            (1 << 20, 100, 801, None),
            (1 << 20, 100, 800, Some(800)),
            (1 << 20, 8000, 60_000, Some(60_000)),
            (1 << 20, 10_000, 1_000_000, Some(PIECE_MAX)),
            (1 << 20, 10_000, 1_038_577, None),
            (9000, 1000, 8001, None),
            (9000, 1000, 8000, Some(8000)),
        ] {
            let mut kept = Kept::up_to(limit, vec![1; 10]);
            kept.keep(&vec![b'a'; came]);
            let got = kept.body.as_mut().unwrap().room_for(left).map(|room| room.len());
            assert_eq!(got, room, "{came} of {limit} came, {left} are left");
            assert_eq!(kept.whole(&Message::default()), Some(&*vec![b'a'; came]));
        }
    }

    #[test]
    fn a_body_that_is_too_long_is_not_kept() {
        let mut kept = Kept::up_to(3, vec![1; 10]);
        kept.keep(b"abc");
        assert_eq!(kept.whole(&Message::default()), Some(&b"abc"[..]));
        kept.keep(b"d");
        assert_eq!((kept.whole(&Message::default()), kept.is_empty()), (None, true));
        kept.keep(b"e");
        assert_eq!((kept.whole(&Message::default()), kept.is_empty()), (None, true));
        let mut nothing = Kept::nothing();
        nothing.keep(b"");
        assert_eq!(nothing.whole(&Message::default()), Some(&b""[..]));
        nothing.keep(b"a");
        assert_eq!(nothing.whole(&Message::default()), None);
    }
}
