//! One direction of an exchange: a head, then a body, from where it comes to the socket that it goes to. Nothing is read
//! before what was read has been written, so that a slow side slows the other down. Start at [`Pump::poll`].

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http1::{BodyFault, ChunkFrame, Framing};
use tokio::net::TcpStream;

use crate::net::{Pipe, Stream};
use crate::upstream::{Http2Stream, StreamFault};
use crate::worker::{Deadlines, Memory};

/// A body without a byte. Source: PROMISES.md, section 2.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// A side that takes nothing. Source: PROMISES.md, section 2.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Up to this length a head and what is here of its body are put together and sent as one: a list of slices costs the kernel
/// more than the copy (165 ns against 20 for 1 KiB, on the machine of docs/performance.md).
const GATHERED_MAX: usize = 4 * 1024;
/// From here on the kernel moves a body from socket to socket.
const SPLICED_MIN: u64 = 64 * 1024;

/// Where a body comes from.
pub(super) trait Source {
    /// What is here of it.
    fn data(&self) -> &[u8];

    /// Notes that so much of it has gone.
    fn consume(&mut self, count: usize);

    /// Whether nothing will come behind what is here.
    fn has_ended(&self) -> bool;

    /// Waits until more is here, or the end is known. Called when all that was here is consumed.
    fn poll_fill(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Poll<Result<(), SourceFault>>;

    /// What came behind the body, when it has ended, if that is passed on.
    fn trailers(&self) -> Option<&HeaderMap> {
        None
    }

    /// Whether it has filled the memory that it was read into, so that more is likely to have come.
    fn has_filled_memory(&self) -> bool {
        false
    }

    /// Where the rest of the body, which is so long, comes from as it is. Memory that was held for it is given back.
    fn plain(&mut self, _memory: &Memory) -> Option<(&mut Stream, u64)> {
        None
    }

    /// The socket that so many bytes, at least, are still to come from, if they need not be seen.
    fn unseen(&self) -> Option<(&TcpStream, u64)> {
        None
    }

    /// Notes that so many bytes were taken from there.
    fn pass_by(&mut self, _count: u64) {}
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceFault {
    /// It is malformed, or the connection was closed too early.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// It is HTTP/2's, and was reset.
    #[error(transparent)]
    Stream(#[from] h2::Error),
    /// The same of a back end.
    #[error(transparent)]
    BackEnd(#[from] StreamFault),
}

/// Why a pump stopped.
#[derive(Debug)]
pub(super) enum PumpError {
    /// Nothing more comes.
    Source(SourceFault),
    /// Nothing more goes.
    Sink(io::Error),
}

/// For whom a pump waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// For whom the body comes from.
    Source,
    /// For whom it goes to.
    Sink,
}

/// A direction of an exchange.
pub(super) struct Pump {
    /// A head.
    prefix: Vec<u8>,
    prefix_sent: usize,
    /// How the body goes out.
    chunked: bool,
    frame: ChunkFrame,
    is_last_framed: bool,
    /// How long the body may be without a byte.
    silence: Duration,
    /// Whether the sink is closed as soon as all has gone.
    closes: bool,
    pipe: Option<Box<Pipe>>,
    /// Bytes of the body that have gone.
    pub(super) moved: u64,
    /// For whom it waits, and the tick in which that has taken too long.
    waits: Option<(Side, u32)>,
    is_done: bool,
}

impl Pump {
    /// Sends `prefix`, then a body framed like this, which may be without a byte for so long.
    pub(super) fn new(prefix: Vec<u8>, framing: Framing, silence: Duration) -> Self {
        Self {
            prefix,
            prefix_sent: 0,
            chunked: framing == Framing::Chunked,
            frame: ChunkFrame::default(),
            is_last_framed: false,
            silence,
            closes: false,
            pipe: None,
            moved: 0,
            waits: None,
            is_done: false,
        }
    }

    /// The same; the sink is closed, or shut, as soon as all has gone, if it `closes`.
    pub(super) fn closing(self, closes: bool) -> Self {
        Self { closes, ..self }
    }

    /// Whether all has gone.
    pub(super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Whether anything has gone.
    pub(super) fn has_begun(&self) -> bool {
        self.prefix_sent > 0
    }

    /// The memory of the head, when it has gone or doesn't matter any more.
    pub(super) fn take_prefix(&mut self) -> Vec<u8> {
        self.prefix_sent = 0;
        std::mem::take(&mut self.prefix)
    }

    /// For whom it waits, and the tick in which that has taken too long.
    pub(super) fn waits(&self) -> Option<(Side, u32)> {
        self.waits
    }

    /// Moves what can be moved. Ready when all has gone.
    pub(super) fn poll<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut Stream,
        (memory, deadlines): (&Memory, &Deadlines),
    ) -> Poll<Result<(), PumpError>> {
        if self.is_done {
            return Poll::Ready(Ok(()));
        }
        let result = self.advance(cx, source, sink, (memory, deadlines));
        if let Poll::Ready(Ok(())) = result {
            self.is_done = true;
            self.waits = None;
            if let Some(pipe) = self.pipe.take() {
                memory.give_back_pipe(*pipe);
            }
        }
        result
    }

    fn advance<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut Stream,
        (memory, deadlines): (&Memory, &Deadlines),
    ) -> Poll<Result<(), PumpError>> {
        loop {
            if self.has_something(source) {
                match self.write(cx, source, sink) {
                    Poll::Ready(Ok(_)) => self.waits = None,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(PumpError::Sink(error))),
                    // Who takes bytes, however slowly, is not cut.
                    Poll::Pending if self.is_late(deadlines) && self.push(source, sink) => self.waits = None,
                    Poll::Pending => return self.wait(Side::Sink, deadlines),
                }
            } else if source.has_ended() && self.pipe.as_ref().is_none_or(|pipe| pipe.held() == 0) {
                return Poll::Ready(Ok(()));
            } else {
                if let Some(spliced) = self.splice(cx, source, sink, (memory, deadlines)) {
                    ready!(spliced)?;
                    continue;
                }
                match source.poll_fill(cx, memory) {
                    Poll::Ready(Ok(())) => self.waits = None,
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(PumpError::Source(fault))),
                    Poll::Pending => return self.wait(Side::Source, deadlines),
                }
            }
        }
    }

    /// Nothing is left to be sent.
    pub(super) fn finish(&mut self) {
        self.is_done = true;
        self.waits = None;
    }

    /// Moves what can be moved to a stream of HTTP/2, trailers included. Ready when all has gone.
    pub(super) fn poll_http2<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut Http2Stream,
        (memory, deadlines): (&Memory, &Deadlines),
    ) -> Poll<Result<(), PumpError>> {
        let broken = |fault: StreamFault| PumpError::Sink(fault.into());
        while !self.is_done {
            let data = source.data();
            if !data.is_empty() {
                let Poll::Ready(room) = sink.poll_room(cx, data.len()) else { return self.wait(Side::Sink, deadlines) };
                let part = data.get(..room.map_err(broken)?).unwrap_or(data);
                let ends = part.len() == data.len() && source.has_ended() && source.trailers().is_none();
                let length = part.len();
                sink.send(Bytes::copy_from_slice(part), ends).map_err(broken)?;
                source.consume(length);
                self.moved += length as u64;
                self.waits = None;
                if ends {
                    self.finish();
                }
            } else if source.has_ended() {
                match source.trailers().map(super::heads::trailers).filter(|trailers| !trailers.is_empty()) {
                    Some(trailers) => sink.send_trailers(trailers).map_err(broken)?,
                    None => sink.send(Bytes::new(), true).map_err(broken)?,
                }
                self.finish();
            } else {
                match source.poll_fill(cx, memory) {
                    Poll::Ready(Ok(())) => self.waits = None,
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(PumpError::Source(fault))),
                    Poll::Pending => return self.wait(Side::Source, deadlines),
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn wait<T>(&mut self, side: Side, deadlines: &Deadlines) -> Poll<T> {
        if self.waits.is_none_or(|(known, _)| known != side) {
            let limit = match side {
                Side::Source => self.silence,
                Side::Sink => STALL_LIMIT,
            };
            self.waits = Some((side, deadlines.after(limit)));
        }
        Poll::Pending
    }

    /// Whether the sink has taken nothing for too long, as far as is known.
    fn is_late(&self, deadlines: &Deadlines) -> bool {
        self.waits.is_some_and(|(side, due)| side == Side::Sink && deadlines.has_come(due))
    }

    /// Writes something though there is no room yet; false if nobody takes it.
    #[cold]
    fn push(&mut self, source: &mut impl Source, sink: &mut Stream) -> bool {
        let prefix = self.prefix.get(self.prefix_sent..).unwrap_or_default();
        let data = source.data();
        let [head, data, tail] = framed(self.chunked.then_some(&self.frame), data);
        let Some(first) = [prefix, head, data, tail].into_iter().find(|slice| !slice.is_empty()) else { return false };
        let taken = sink.push(first);
        if let Some(sent) = taken {
            self.sent(sent, source);
        }
        taken.is_some()
    }

    /// Notes that so many bytes have gone: of the head, then of the body.
    #[inline]
    fn sent(&mut self, sent: usize, source: &mut impl Source) {
        let of_prefix = sent.min(self.prefix.len() - self.prefix_sent);
        self.prefix_sent += of_prefix;
        let of_body = sent - of_prefix;
        let of_data = if self.chunked { self.frame.advance(of_body) } else { of_body };
        source.consume(of_data);
        self.moved += of_data as u64;
    }

    /// Whether there is something to be written; begins a chunk if there is data for one, or none will follow.
    fn has_something(&mut self, source: &impl Source) -> bool {
        if self.chunked && self.frame.is_done() && !self.is_last_framed {
            let length = source.data().len();
            if length > 0 || source.has_ended() {
                self.is_last_framed = length == 0;
                self.frame = ChunkFrame::new(length);
            }
        }
        self.prefix_sent < self.prefix.len()
            || if self.chunked { !self.frame.is_done() } else { !source.data().is_empty() }
    }

    /// Writes the rest of the head and what is here of the body, all at once.
    fn write(&mut self, cx: &mut Context<'_>, source: &mut impl Source, sink: &mut Stream) -> Poll<io::Result<()>> {
        let prefix = self.prefix.get(self.prefix_sent..).unwrap_or_default();
        let prefix_length = prefix.len();
        let data = source.data();
        let [head, data, tail] = framed(self.chunked.then_some(&self.frame), data);
        let is_last = self.closes && if self.chunked { self.is_last_framed } else { source.has_ended() };
        let sent = if !self.chunked && (prefix.is_empty() || data.is_empty()) {
            sink.poll_write_perhaps_last(cx, &[IoSlice::new(if prefix.is_empty() { data } else { prefix })], is_last)
        } else if prefix_length + data.len() <= GATHERED_MAX {
            let gathered = self.prefix.len();
            self.prefix.extend_from_slice(head);
            self.prefix.extend_from_slice(data);
            self.prefix.extend_from_slice(tail);
            let all = self.prefix.get(self.prefix_sent..).unwrap_or_default();
            let sent = sink.poll_write_perhaps_last(cx, &[IoSlice::new(all)], is_last);
            self.prefix.truncate(gathered);
            sent
        } else if self.chunked {
            sink.poll_write(cx, &[prefix, head, data, tail].map(IoSlice::new))
        } else {
            sink.poll_write(cx, &[prefix, data].map(IoSlice::new))
        };
        let sent = ready!(sent)?;
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.sent(sent, source);
        Poll::Ready(Ok(()))
    }

    /// Has the kernel move the next part of a long body; nothing if it is none.
    fn splice<S: Source>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut Stream,
        (memory, deadlines): (&Memory, &Deadlines),
    ) -> Option<Poll<Result<(), PumpError>>> {
        let target = sink.tcp().filter(|_| !self.chunked)?;
        let is_late = self.is_late(deadlines);
        let Some(pipe) = &mut self.pipe else {
            source.unseen().filter(|(_, length)| *length >= SPLICED_MIN)?;
            self.pipe = Some(Box::new(memory.pipe()?));
            return Some(Poll::Ready(Ok(())));
        };
        if pipe.held() == 0 {
            let (socket, length) = source.unseen()?;
            return Some(match pipe.poll_take(cx, socket, length) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(PumpError::Source(BodyFault::BrokenOff.into()))),
                Poll::Ready(Ok(count)) => {
                    source.pass_by(count as u64);
                    self.waits = None;
                    Poll::Ready(Ok(()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(PumpError::Source(error.into()))),
                Poll::Pending => self.wait(Side::Source, deadlines),
            });
        }
        Some(match pipe.poll_give(cx, target) {
            Poll::Ready(Ok(count)) => {
                self.moved += count as u64;
                self.waits = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(PumpError::Sink(error))),
            Poll::Pending => match if is_late { pipe.push(target) } else { 0 } {
                0 => self.wait(Side::Sink, deadlines),
                pushed => {
                    self.moved += pushed as u64;
                    self.waits = None;
                    Poll::Ready(Ok(()))
                }
            },
        })
    }
}

/// What is here of a body, `data`, between what its chunk begins and ends with, if it goes out in chunks.
fn framed<'a>(chunk: Option<&'a ChunkFrame>, data: &'a [u8]) -> [&'a [u8]; 3] {
    match chunk {
        Some(chunk) => [chunk.head(), data.get(..chunk.data()).unwrap_or(data), chunk.tail()],
        None => [&[], data, &[]],
    }
}

/// No body.
pub(super) struct Nothing;

impl Source for Nothing {
    fn data(&self) -> &[u8] {
        &[]
    }

    fn consume(&mut self, _count: usize) {}

    fn has_ended(&self) -> bool {
        true
    }

    fn poll_fill(&mut self, _: &mut Context<'_>, _: &Memory) -> Poll<Result<(), SourceFault>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that does not end.
    struct Endless;

    impl Source for Endless {
        fn data(&self) -> &[u8] {
            &[0; 64 * 1024]
        }

        fn consume(&mut self, _count: usize) {}

        fn has_ended(&self) -> bool {
            false
        }

        fn poll_fill(&mut self, _: &mut Context<'_>, _: &Memory) -> Poll<Result<(), SourceFault>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_sink_that_takes_something_now_and_then_is_not_late_and_one_that_takes_nothing_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // Far more room than a slow reader makes in one go.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(4 << 20).unwrap();
        let mut sink = Stream::Tcp(socket.connect(listener.local_addr().unwrap()).await.unwrap());
        let (mut reader, _) = listener.accept().unwrap();
        let (memory, deadlines) = (Memory::default(), Deadlines::default());
        let mut pump = Pump::new(Vec::new(), Framing::UntilClose, SILENCE_LIMIT);
        let mut poll = || {
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(pump.poll(&mut cx, &mut Endless, &mut sink, (&memory, &deadlines)).is_pending());
            let (side, due) = pump.waits().unwrap();
            assert_eq!(side, Side::Sink);
            due
        };
        let pass = |due: u32| {
            while !deadlines.has_come(due) {
                deadlines.tick();
            }
        };
        for _ in 0..3 {
            pass(poll());
            std::io::Read::read_exact(&mut reader, &mut [0; 256 * 1024]).unwrap();
            assert!(!deadlines.has_come(poll()), "it has taken something");
        }
        // The system may still take something for it.
        let is_late = (0..1000).any(|_| {
            pass(poll());
            deadlines.has_come(poll())
        });
        assert!(is_late, "it takes nothing");
    }

    #[test]
    fn a_body_is_waited_for_as_long_as_it_may_be_silent_and_a_sink_as_ever() {
        for (silence, is_over) in [(SILENCE_LIMIT, true), (Duration::MAX, false)] {
            let deadlines = Deadlines::default();
            let mut pump = Pump::new(Vec::new(), Framing::Chunked, silence);
            for (side, is_over) in [(Side::Source, is_over), (Side::Sink, true)] {
                let _: Poll<()> = pump.wait(side, &deadlines);
                let (waits_for, due) = pump.waits().unwrap();
                assert_eq!((waits_for, deadlines.has_come(due)), (side, false));
                for _ in 0..=(STALL_LIMIT.as_millis() / crate::worker::TICK.as_millis()) {
                    deadlines.tick();
                }
                assert_eq!(deadlines.has_come(due), is_over, "{side:?} {silence:?}");
            }
        }
    }
}
