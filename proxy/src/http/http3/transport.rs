//! A connection of quinn's as h3 sees it. Not by h3-quinn: we have to hear of a client that wants nothing more of a stream while
//! we wait for something else, to know when all of an answer has arrived, and to break off, not end, what was not finished.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming};
use quinn::{ConnectionError, RecvStream, SendStream, StoppedError, VarInt};

use super::frames::{Frames, Unfinished};
use super::streams::{Both, Receiver, Sender, lost, number, of_connection, of_stream};

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
