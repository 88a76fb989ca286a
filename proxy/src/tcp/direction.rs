//! Bytes from one socket to another, as they come. Nothing is read before what was read has been written, so that a slow side
//! slows the other down; memory is borrowed only while bytes are in it. Once many have gone the kernel moves them by itself.

use std::io;
use std::task::{Context, Poll, ready};

use super::side::Side;
use crate::net::Pipe;
use crate::worker::Memory;

/// From here on the kernel moves the bytes of a direction.
const SPLICED_FROM: u64 = 128 * 1024;
/// Steps in one go, so that a fast connection doesn't hold up the others of its worker.
const STEPS_MAX: usize = 32;

/// Why a direction broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Where the bytes come from.
    Source,
    /// Where they go.
    Sink,
}

/// How far a direction has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Nothing more comes; the other side has to be told.
    Ended,
    /// It has been told.
    Done,
}

/// One direction of a connection.
pub(super) struct Direction {
    /// What was read before this began, and goes first.
    prefix: Vec<u8>,
    prefix_sent: usize,
    /// What was read, while it is here.
    block: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    pipe: Option<Box<Pipe>>,
    stage: Stage,
    /// Bytes that have gone.
    pub(super) moved: u64,
}

impl Direction {
    /// Sends `prefix`, then whatever comes.
    pub(super) fn new(prefix: Vec<u8>) -> Self {
        let (block, pipe) = (None, None);
        Self { prefix, prefix_sent: 0, block, start: 0, end: 0, pipe, stage: Stage::Open, moved: 0 }
    }

    /// Whether the end has come and was passed on.
    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Moves what can be moved. Ready when the end of what comes was passed on.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        memory: &Memory,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..STEPS_MAX {
            match self.stage {
                Stage::Done => return Poll::Ready(Ok(())),
                Stage::Ended => {
                    ready!(sink.poll_shutdown(cx)).map_err(|_| Fault::Sink)?;
                    self.stage = Stage::Done;
                }
                Stage::Open => ready!(self.step(cx, source, sink, memory))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn step(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl Side,
        sink: &mut impl Side,
        memory: &Memory,
    ) -> Poll<Result<(), Fault>> {
        if self.prefix_sent < self.prefix.len() {
            let rest = self.prefix.get(self.prefix_sent..).unwrap_or_default();
            let sent = ready!(written(sink.poll_write(cx, rest))).map_err(|_| Fault::Sink)?;
            self.prefix_sent += sent;
            self.moved += sent as u64;
            if self.prefix_sent == self.prefix.len() {
                self.prefix = Vec::new();
                self.prefix_sent = 0;
            }
            return Poll::Ready(Ok(()));
        }
        if self.start < self.end {
            let bytes = self.block.as_deref().and_then(|block| block.get(self.start..self.end)).unwrap_or_default();
            let sent = ready!(written(sink.poll_write(cx, bytes))).map_err(|_| Fault::Sink)?;
            self.start += sent;
            self.moved += sent as u64;
            return Poll::Ready(Ok(()));
        }
        if self.moved >= SPLICED_FROM
            && let (Some(from), Some(to)) = (source.tcp(), sink.tcp())
            && let Some(pipe) = self.pipe.take().or_else(|| memory.pipe().map(Box::new))
        {
            return self.splice(cx, (from, to), pipe, memory);
        }
        self.read(cx, source, memory)
    }

    fn read(&mut self, cx: &mut Context<'_>, source: &mut impl Side, memory: &Memory) -> Poll<Result<(), Fault>> {
        if self.block.is_none() {
            ready!(source.poll_read_ready(cx)).map_err(|_| Fault::Source)?;
        }
        let mut block = self.block.take().unwrap_or_else(|| memory.block());
        match source.poll_read(cx, &mut block) {
            Poll::Ready(Ok(0)) => {
                memory.give_back_block(block);
                self.stage = Stage::Ended;
            }
            Poll::Ready(Ok(count)) => {
                self.block = Some(block);
                (self.start, self.end) = (0, count);
            }
            Poll::Ready(Err(_broken)) => {
                memory.give_back_block(block);
                return Poll::Ready(Err(Fault::Source));
            }
            Poll::Pending => {
                memory.give_back_block(block);
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Has the kernel move the next bytes. The pipe is given back whenever it is empty and nothing comes.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        (from, to): (&tokio::net::TcpStream, &tokio::net::TcpStream),
        mut pipe: Box<Pipe>,
        memory: &Memory,
    ) -> Poll<Result<(), Fault>> {
        if let Some(block) = self.block.take() {
            memory.give_back_block(block);
        }
        if pipe.held() == 0 {
            match pipe.poll_take(cx, from, u64::MAX) {
                Poll::Ready(Ok(1..)) => {}
                other => {
                    memory.give_back_pipe(*pipe);
                    match ready!(other) {
                        Ok(_) => self.stage = Stage::Ended,
                        Err(_broken) => return Poll::Ready(Err(Fault::Source)),
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let given = pipe.poll_give(cx, to);
        self.pipe = Some(pipe);
        self.moved += ready!(given).map_err(|_| Fault::Sink)? as u64;
        Poll::Ready(Ok(()))
    }

    /// Lets go of what it has borrowed.
    pub(super) fn finish(&mut self, memory: &Memory) {
        if let Some(block) = self.block.take() {
            memory.give_back_block(block);
        }
        if let Some(pipe) = self.pipe.take() {
            memory.give_back_pipe(*pipe);
        }
    }
}

/// A socket that takes nothing of something is at its end.
fn written(sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    match sent {
        Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        other => other,
    }
}
