//! Where bodies come from: a client's or a back end's HTTP/1 connection, an HTTP/2 stream, or what was kept of a request for
//! another try.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body;
use http1::Message;
use tokio::net::TcpStream;

use super::pump::{Source, SourceFault};
use crate::net::Stream;
use crate::upstream::Http2Stream;
use crate::worker::Memory;

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

    fn make_room(&mut self, memory: &Memory) {
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
    trailers: Option<HeaderMap>,
    has_ended: bool,
}

impl<B: Streamed> IncomingBody<B> {
    /// The body of a request.
    pub(super) fn new(incoming: B) -> Self {
        let has_ended = incoming.is_end_stream();
        Self { incoming, chunk: Bytes::new(), trailers: None, has_ended }
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
                        self.trailers = frame.into_trailers().ok();
                        self.has_ended = true;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(error.into())),
                None => self.has_ended = true,
            }
        }
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

/// What was kept of a request's body, so that it can be sent again.
#[derive(Default)]
pub(super) struct Kept {
    bytes: Vec<u8>,
    /// How much may be kept; beyond it the request can't be sent again.
    limit: usize,
    /// Whether all that was taken from the client is here.
    is_whole: bool,
}

impl Kept {
    /// Keeps up to `limit` bytes in `memory`, which is empty.
    pub(super) fn up_to(limit: usize, memory: Vec<u8>) -> Self {
        Self { bytes: memory, limit, is_whole: true }
    }

    /// The memory.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// All of it, unless something is missing.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.is_whole.then_some(&*self.bytes)
    }

    /// Whether nothing is here.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the request can be sent again.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn keep(&mut self, data: &[u8]) {
        if !self.is_whole || data.is_empty() {
            return;
        }
        if self.bytes.len() + data.len() > self.limit {
            self.is_whole = false;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(data);
        }
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
}

impl<S: Source> Source for Replayed<'_, S> {
    fn data(&self) -> &[u8] {
        match self.kept.bytes.get(*self.resent..) {
            None | Some([]) => self.live.data(),
            Some(rest) => rest,
        }
    }

    fn consume(&mut self, count: usize) {
        if *self.resent < self.kept.bytes.len() {
            *self.resent += count;
            return;
        }
        self.kept.keep(self.live.data().get(..count).unwrap_or_default());
        *self.resent = self.kept.bytes.len();
        self.live.consume(count);
    }

    fn has_ended(&self) -> bool {
        *self.resent >= self.kept.bytes.len() && self.live.has_ended()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Poll<Result<(), SourceFault>> {
        self.live.poll_fill(cx, memory)
    }

    fn trailers(&self) -> Option<&HeaderMap> {
        self.live.trailers()
    }

    fn unseen(&self) -> Option<(&TcpStream, u64)> {
        // What goes another way can't be kept.
        if self.kept.is_whole && self.kept.limit > 0 { None } else { self.live.unseen() }
    }

    fn pass_by(&mut self, count: u64) {
        self.live.pass_by(count);
        self.kept.is_whole = false;
    }
}
