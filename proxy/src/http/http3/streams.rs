//! Streams of quinn's as h3 sees them.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError};

use super::frames::Frames;

/// Both directions of a stream.
pub(super) struct Both<B> {
    sender: Sender<B>,
    receiver: Receiver,
}

impl<B> Both<B> {
    pub(super) fn new(send: SendStream, receive: RecvStream, frames: Frames) -> Result<Self, ConnectionErrorIncoming> {
        Ok(Self { sender: Sender::new(send)?, receiver: Receiver::new(receive, frames)? })
    }
}

impl<B: Buf> quic::BidiStream<B> for Both<B> {
    type SendStream = Sender<B>;
    type RecvStream = Receiver;

    fn split(self) -> (Sender<B>, Receiver) {
        (self.sender, self.receiver)
    }
}

impl<B: Buf> quic::RecvStream for Both<B> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.receiver.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.receiver.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.receiver.recv_id()
    }
}

impl<B: Buf> quic::SendStream<B> for Both<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sender.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sender.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sender.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.sender.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.sender.send_id()
    }
}

/// What comes on a stream. The client is told to send no more when it is dropped before the end.
pub(super) struct Receiver {
    stream: RecvStream,
    id: StreamId,
    frames: Frames,
    has_ended: bool,
}

impl Receiver {
    pub(super) fn new(stream: RecvStream, frames: Frames) -> Result<Self, ConnectionErrorIncoming> {
        Ok(Self { id: id(stream.id())?, stream, frames, has_ended: false })
    }
}

impl quic::RecvStream for Receiver {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        // Nothing is lost with a future that is dropped: it holds no bytes.
        let read = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx));
        let chunk = read.map_err(|error| match error {
            ReadError::Reset(code) => terminated(code),
            ReadError::ConnectionLost(error) => of_stream(error),
            error => StreamErrorIncoming::Unknown(Box::new(error)),
        })?;
        let Some(chunk) = chunk else {
            self.has_ended = true;
            let is_whole = self.frames.is_between();
            return Poll::Ready(if is_whole { Ok(None) } else { Err(terminated(Code::H3_FRAME_ERROR.value())) });
        };
        if self.frames.pass(&chunk.bytes).is_err() {
            self.stop_sending(Code::H3_EXCESSIVE_LOAD.value());
            return Poll::Ready(Err(terminated(Code::H3_EXCESSIVE_LOAD.value())));
        }
        Poll::Ready(Ok(Some(chunk.bytes)))
    }

    fn stop_sending(&mut self, code: u64) {
        // It may have been told before.
        let _ = self.stream.stop(number(code));
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.has_ended {
            let _ = self.stream.stop(number(Code::H3_NO_ERROR.value()));
        }
    }
}

/// What goes on a stream. It is broken off when it is dropped before it was finished.
pub(super) struct Sender<B> {
    stream: SendStream,
    id: StreamId,
    writing: Option<WriteBuf<B>>,
    is_over: bool,
}

impl<B> Sender<B> {
    pub(super) fn new(stream: SendStream) -> Result<Self, ConnectionErrorIncoming> {
        Ok(Self { id: id(stream.id())?, stream, writing: None, is_over: false })
    }
}

impl<B: Buf> quic::SendStream<B> for Sender<B> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.as_mut().filter(|data| data.has_remaining()) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk()));
            data.advance(written.map_err(|error| match error {
                WriteError::Stopped(code) => terminated(code),
                WriteError::ConnectionLost(error) => of_stream(error),
                error => StreamErrorIncoming::Unknown(Box::new(error)),
            })?);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        if self.writing.is_some() {
            return Err(StreamErrorIncoming::Unknown("the stream was not ready for more".into()));
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.is_over = true;
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, code: u64) {
        self.is_over = true;
        // It may be over already.
        let _ = self.stream.reset(number(code));
    }

    fn send_id(&self) -> StreamId {
        self.id
    }
}

impl<B> Drop for Sender<B> {
    fn drop(&mut self) {
        if !self.is_over {
            let _ = self.stream.reset(number(Code::H3_INTERNAL_ERROR.value()));
        }
    }
}

/// A code as QUIC has it.
pub(super) fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

pub(super) fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

pub(super) fn of_stream(error: ConnectionError) -> StreamErrorIncoming {
    lost(of_connection(error))
}

fn terminated(code: impl Into<u64>) -> StreamErrorIncoming {
    StreamErrorIncoming::StreamTerminated { error_code: code.into() }
}

/// The library's form of it. Both are numbers of 62 bits.
fn id(id: quinn::StreamId) -> Result<StreamId, ConnectionErrorIncoming> {
    StreamId::try_from(u64::from(id)).map_err(|error| ConnectionErrorIncoming::InternalError(error.to_string()))
}

pub(super) fn lost(connection_error: ConnectionErrorIncoming) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}
