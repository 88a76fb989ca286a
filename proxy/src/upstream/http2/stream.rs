//! One request on its stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use balance::AttemptError;
use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::{HeaderMap, Request, Response};

use super::connection::Lease;
use super::fault::StreamFault;
use crate::net::{Http2Body, Http2Tunnel, WrittenAddress, poll_room};

/// A request under way. Dropped before its answer has ended, it is reset with CANCEL.
pub(crate) struct Http2Stream {
    sender: SendStream<Bytes>,
    answer: Answer,
    /// Whether the answer had ended with its head.
    is_bodiless: bool,
    /// Whether the answer can have no body, whatever is sent behind its head.
    forgoes_body: bool,
    lease: Lease,
}

enum Answer {
    Awaited(ResponseFuture),
    Begun(Http2Body),
}

impl Http2Stream {
    /// Sends a head. `ends` says that nothing follows it.
    ///
    /// # Errors
    /// If the connection takes no more requests.
    pub(crate) fn begin(lease: Lease, request: Request<()>, ends: bool) -> Result<Box<Self>, AttemptError> {
        let sent = lease.requests().borrow_mut().send_request(request, ends);
        let (answer, sender) = sent.map_err(|error| match StreamFault::from(error) {
            StreamFault::Protocol(reason) => StreamFault::Protocol(reason).before_head(false),
            // Nothing has gone.
            _ => AttemptError::ClosedUnsent,
        })?;
        let answer = Answer::Awaited(answer);
        Ok(Box::new(Self { sender, answer, is_bodiless: false, forgoes_body: false, lease }))
    }

    /// Our end of its connection.
    pub(crate) fn local_address(&self) -> Option<&WrittenAddress> {
        self.lease.connection().local_address.as_ref()
    }

    /// Whether its connection has served another request before.
    pub(crate) fn is_reused(&self) -> bool {
        self.lease.reused
    }

    /// The next informational head. Pending also if there will be none.
    pub(crate) fn poll_informational(&mut self, cx: &mut Context<'_>) -> Poll<Response<()>> {
        match &mut self.answer {
            Answer::Awaited(answer) => match answer.poll_informational(cx) {
                Poll::Ready(Some(Ok(head))) => Poll::Ready(head),
                _ => Poll::Pending,
            },
            Answer::Begun(_) => Poll::Pending,
        }
    }

    /// The head of the answer; once.
    pub(crate) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, AttemptError>> {
        let Answer::Awaited(answer) = &mut self.answer else { return Poll::Pending };
        match ready!(Pin::new(answer).poll(cx)) {
            Ok(response) => {
                let (head, body) = response.into_parts();
                self.is_bodiless = body.is_end_stream();
                self.answer = Answer::Begun(Http2Body::new(body));
                Poll::Ready(Ok(Response::from_parts(head, ())))
            }
            Err(error) => Poll::Ready(Err(StreamFault::from(error).before_head(self.lease.was_idle))),
        }
    }

    /// Takes the answer for one without a body: the back end may still say that it has ended, and nothing else.
    pub(crate) fn forgo_body(&mut self) {
        self.forgoes_body = true;
    }

    fn body(&self) -> Option<&Http2Body> {
        if let Answer::Begun(body) = &self.answer { Some(body) } else { None }
    }

    fn body_mut(&mut self) -> Option<&mut Http2Body> {
        if let Answer::Begun(body) = &mut self.answer { Some(body) } else { None }
    }

    /// What is here of the answer's body.
    pub(crate) fn data(&self) -> &[u8] {
        self.body().filter(|_| !self.forgoes_body).map_or(&[], Http2Body::data)
    }

    /// Notes that so much of it has gone: the back end may send as much again.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(body) = self.body_mut() {
            body.consume(count);
        }
    }

    /// All that is here of the answer's body.
    pub(crate) fn take(&mut self) -> Bytes {
        let forgoes = self.forgoes_body;
        self.body_mut().filter(|_| !forgoes).map(Http2Body::take).unwrap_or_default()
    }

    /// Whether nothing follows what is here.
    pub(crate) fn has_ended(&self) -> bool {
        self.body().is_some_and(|body| body.has_ended() || self.forgoes_body && !body.data().is_empty())
    }

    /// Whether the answer had no body.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.is_bodiless
    }

    /// The trailers, if the answer has ended with any.
    pub(crate) fn trailers(&self) -> Option<&HeaderMap> {
        self.body()?.trailers()
    }

    /// Waits until more of the body is here, or its end is known.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFault>> {
        let Some(body) = self.body_mut() else { return Poll::Pending };
        body.poll_fill(cx).map_err(StreamFault::from)
    }

    /// The stream as a tunnel, if the back end has agreed to it.
    pub(crate) fn tunnel(&mut self) -> Option<Http2Tunnel<'_>> {
        let Answer::Begun(body) = &mut self.answer else { return None };
        Some(Http2Tunnel::new(&mut self.sender, body))
    }

    /// Waits for room for some of `wanted` bytes of the request's body; never zero.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<Result<usize, StreamFault>> {
        let room = ready!(poll_room(&mut self.sender, cx, wanted));
        Poll::Ready(room.ok_or(StreamFault::Closed).and_then(|room| Ok(room?)))
    }

    /// Sends a part of the request's body, for which there is room. `ends` says that nothing follows.
    ///
    /// # Errors
    /// If the stream has ended.
    pub(crate) fn send(&mut self, data: Bytes, ends: bool) -> Result<(), StreamFault> {
        Ok(self.sender.send_data(data, ends)?)
    }

    /// Ends the request with trailers.
    ///
    /// # Errors
    /// If the stream has ended.
    pub(crate) fn send_trailers(&mut self, trailers: HeaderMap) -> Result<(), StreamFault> {
        Ok(self.sender.send_trailers(trailers)?)
    }
}
