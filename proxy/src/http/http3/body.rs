//! The body of a request on a stream of HTTP/3. It has to be as long as the head says. Source: RFC 9114, 4.1.2.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use http::HeaderMap;
use http_body::{Body, Frame};
use http1::BodyFault;

use super::streams::Receiver;

/// A body as it comes.
pub(super) struct RequestBody {
    stream: RequestStream<Receiver, Bytes>,
    /// Frames of DATA without any: those that have come, and those that the library has told as ends of the body.
    empty: Rc<Cell<u32>>,
    told: u32,
    /// What came before it was asked for.
    first: Option<Bytes>,
    trailers: Option<HeaderMap>,
    /// What is still to come, if the head has said so.
    rest: Option<u64>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

impl RequestBody {
    /// The body of a request that has `length` bytes, if that was said.
    /// `empty` counts frames of DATA that have none.
    pub(super) fn new(stream: RequestStream<Receiver, Bytes>, empty: Rc<Cell<u32>>, length: Option<u64>) -> Self {
        Self { stream, empty, told: 0, first: None, trailers: None, rest: length, state: State::Data }
    }

    /// Looks at what has come already, so that it is known whether there is a body at all.
    ///
    /// # Errors
    /// If what has come is no body.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Result<(), BodyFault> {
        if let Poll::Ready(first) = self.poll_data(cx)? {
            self.first = first;
        }
        if self.state == State::Trailers
            && let Poll::Ready(trailers) = self.poll_end(cx)?
        {
            self.trailers = trailers;
        }
        Ok(())
    }

    /// The next part; nothing at the end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyFault>> {
        while self.state == State::Data {
            let Some(mut data) = ready!(self.stream.poll_recv_data(cx)).map_err(|_gone| BodyFault::BrokenOff)? else {
                if self.told < self.empty.get() {
                    self.told += 1;
                    continue;
                }
                self.state = State::Trailers;
                break;
            };
            let part = data.copy_to_bytes(data.remaining());
            if let Some(rest) = &mut self.rest {
                *rest = rest.checked_sub(part.len() as u64).ok_or(BodyFault::BrokenOff)?;
            }
            if !part.is_empty() {
                return Poll::Ready(Ok(Some(part)));
            }
        }
        if self.rest.is_some_and(|rest| rest > 0) {
            return Poll::Ready(Err(BodyFault::BrokenOff));
        }
        Poll::Ready(Ok(None))
    }

    /// What comes behind the data, once.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<HeaderMap>, BodyFault>> {
        if self.state == State::Trailers {
            self.trailers = ready!(self.stream.poll_recv_trailers(cx)).map_err(|_gone| BodyFault::BrokenOff)?;
            self.state = State::Ended;
        }
        Poll::Ready(Ok(self.trailers.take()))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(part) = ready!(self.poll_data(cx))? {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let trailers = ready!(self.poll_end(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended && self.first.is_none() && self.trailers.is_none()
    }
}
