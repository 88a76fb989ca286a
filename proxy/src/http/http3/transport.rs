//! quinn's streams as h3 sees them. Not by h3-quinn: we have to hear of a client that wants nothing more of a stream while we
//! wait for something else, to know when all of an answer has arrived, and to break off, not end, what was not finished.

use std::cell::{Cell, RefCell};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, StoppedError, VarInt, WriteError};

use super::frames::{Frames, Unfinished};

type Boxed<T> = Pin<Box<dyn Future<Output = T>>>;
type Pair = (SendStream, RecvStream);

/// When the client wants nothing more of a stream, or has all of it: then nothing.
pub(super) type Stopped = Boxed<Result<Option<VarInt>, StoppedError>>;

/// What is known of the stream that was accepted last, besides itself.
pub(super) struct Aside {
    pub(super) stopped: Stopped,
    /// Counts the frames of DATA without any.
    pub(super) empty: Rc<Cell<u32>>,
}

/// A connection.
pub(super) struct Transport {
    quic: quinn::Connection,
    accepting: Option<Boxed<Result<Pair, ConnectionError>>>,
    accepting_side: Option<Boxed<Result<RecvStream, ConnectionError>>>,
    opener: Opener,
    unfinished: Unfinished,
    shared: Rc<Shared>,
}

/// What the connection's owner shares with it.
#[derive(Default)]
pub(super) struct Shared {
    /// Of the stream that was accepted last.
    pub(super) aside: RefCell<Option<Aside>>,
    /// Whether further requests are refused.
    pub(super) refuses: Cell<bool>,
}

impl Transport {
    pub(super) fn new(quic: quinn::Connection, shared: Rc<Shared>) -> Self {
        let opener = Opener { quic: quic.clone(), opening: None, opening_side: None };
        Self { quic, accepting: None, accepting_side: None, opener, unfinished: Unfinished::default(), shared }
    }
}

fn number(code: u64) -> VarInt {
    VarInt::from_u64(code).unwrap_or(VarInt::MAX)
}

fn of_connection(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn of_stream(error: ConnectionError) -> StreamErrorIncoming {
    lost(of_connection(error))
}

fn terminated(code: impl Into<u64>) -> StreamErrorIncoming {
    StreamErrorIncoming::StreamTerminated { error_code: code.into() }
}

/// The library's form of it. Both are numbers of 62 bits.
fn id(id: quinn::StreamId) -> Result<StreamId, ConnectionErrorIncoming> {
    StreamId::try_from(u64::from(id)).map_err(|error| ConnectionErrorIncoming::InternalError(error.to_string()))
}

fn lost(connection_error: ConnectionErrorIncoming) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
}

/// Polls what `slot` waits for, begun by `begin` if it waits for nothing.
fn poll_slot<T>(slot: &mut Option<Boxed<T>>, cx: &mut Context<'_>, begin: impl FnOnce() -> Boxed<T>) -> Poll<T> {
    let output = ready!(slot.get_or_insert_with(begin).as_mut().poll(cx));
    *slot = None;
    Poll::Ready(output)
}

impl<B: Buf> quic::Connection<B> for Transport {
    type RecvStream = Receiver;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Receiver, ConnectionErrorIncoming>> {
        let quic = &self.quic;
        let begin = || -> Boxed<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.accept_uni().await })
        };
        let stream = ready!(poll_slot(&mut self.accepting_side, cx, begin)).map_err(of_connection)?;
        Poll::Ready(Receiver::new(stream, Frames::of_side_stream(&self.unfinished)))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both<B>, ConnectionErrorIncoming>> {
        loop {
            let quic = &self.quic;
            let begin = || -> Boxed<_> {
                let quic = quic.clone();
                Box::pin(async move { quic.accept_bi().await })
            };
            let (mut send, mut receive) = ready!(poll_slot(&mut self.accepting, cx, begin)).map_err(of_connection)?;
            if self.shared.refuses.get() {
                let code = number(Code::H3_REQUEST_REJECTED.value());
                // It may be gone already.
                let _ = (send.reset(code), receive.stop(code));
                continue;
            }
            let frames = Frames::of_request(&self.unfinished);
            let aside = Aside { stopped: Box::pin(send.stopped()), empty: frames.empty() };
            self.shared.aside.replace(Some(aside));
            return Poll::Ready(Both::new(send, receive, frames));
        }
    }

    fn opener(&self) -> Opener {
        Opener { quic: self.quic.clone(), opening: None, opening_side: None }
    }
}

impl<B: Buf> quic::OpenStreams<B> for Transport {
    type BidiStream = Both<B>;
    type SendStream = Sender<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both<B>, StreamErrorIncoming>> {
        self.opener.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sender<B>, StreamErrorIncoming>> {
        self.opener.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.quic.close(number(code.value()), reason);
    }
}

/// Opens streams.
pub(super) struct Opener {
    quic: quinn::Connection,
    opening: Option<Boxed<Result<Pair, ConnectionError>>>,
    opening_side: Option<Boxed<Result<SendStream, ConnectionError>>>,
}

impl<B: Buf> quic::OpenStreams<B> for Opener {
    type BidiStream = Both<B>;
    type SendStream = Sender<B>;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Both<B>, StreamErrorIncoming>> {
        let quic = &self.quic;
        let begin = || -> Boxed<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.open_bi().await })
        };
        let (send, receive) = ready!(poll_slot(&mut self.opening, cx, begin)).map_err(of_stream)?;
        Poll::Ready(Both::new(send, receive, Frames::of_request(&Unfinished::default())).map_err(lost))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Sender<B>, StreamErrorIncoming>> {
        let quic = &self.quic;
        let begin = || -> Boxed<_> {
            let quic = quic.clone();
            Box::pin(async move { quic.open_uni().await })
        };
        let send = ready!(poll_slot(&mut self.opening_side, cx, begin)).map_err(of_stream)?;
        Poll::Ready(Sender::new(send).map_err(lost))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.quic.close(number(code.value()), reason);
    }
}

/// Both directions of a stream.
pub(super) struct Both<B> {
    sender: Sender<B>,
    receiver: Receiver,
}

impl<B> Both<B> {
    fn new(send: SendStream, receive: RecvStream, frames: Frames) -> Result<Self, ConnectionErrorIncoming> {
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
    fn new(stream: RecvStream, frames: Frames) -> Result<Self, ConnectionErrorIncoming> {
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
    fn new(stream: SendStream) -> Result<Self, ConnectionErrorIncoming> {
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
