//! Answers in the form of HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http1::{Field, Framing, Head, Message, Name, Names};

use super::connection::{Busy, State};
use super::request::Client;
use super::tunnel::Agreement;
use crate::http::answer::Made;
use crate::http::attempt::Client as AttemptClient;
use crate::http::attempt::Upload;
use crate::http::body::{StreamBody, Streamed};
use crate::http::forward::{Relay, framing_of};
use crate::http::heads;
use crate::http::pump::{Source, SourceFault};
use crate::http::record::Exchange;
use crate::http::relay::{is_reusable, timed_out};
use crate::http::response::is_trailer;
use crate::upstream::Upstream;
use crate::worker::Memory;

/// Why the body of an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum BodyError {
    /// The back end broke it off.
    #[error(transparent)]
    Source(SourceFault),
    /// The same, with a word for the client.
    #[error("the back end has reset the stream: {0}")]
    Reset(Reason),
    /// The route's time is up.
    #[error("the answer took longer than the route allows")]
    TimedOut,
    /// Nothing came for too long.
    #[error("no byte of the body came for too long")]
    Silent,
}

impl BodyError {
    /// What the client's stream is reset with.
    pub(super) fn reason(&self) -> Reason {
        if let Self::Reset(reason) = self { *reason } else { Reason::INTERNAL_ERROR }
    }
}

impl From<SourceFault> for BodyError {
    fn from(fault: SourceFault) -> Self {
        let told = if let SourceFault::BackEnd(fault) = &fault { fault.for_client() } else { None };
        told.map_or(Self::Source(fault), Self::Reset)
    }
}

/// The body of an answer on its way to the client. When it ends, or is dropped, the exchange is over and recorded.
pub(in crate::http) struct ResponseBody<B: Streamed> {
    content: Content<B>,
    exchange: Option<Box<Exchange>>,
    busy: Busy,
    /// Whether the client's side holds a part of the answer and has not asked for the next.
    owed: bool,
}

enum Content<B: Streamed> {
    /// Made here.
    Whole(Bytes),
    /// From a back end.
    Relay(Box<Download<B>>),
    /// No body, but bytes that go both ways.
    Agreed(Box<Agreement>),
    /// All has been passed.
    Ended,
}

struct Download<B: Streamed> {
    upstream: Upstream,
    response: Box<Message>,
    upload: Option<Box<Upload>>,
    client: Client<B>,
    keeps: bool,
    /// The tick in which the back end has been silent for too long.
    silent: Option<u32>,
}

impl<B: Streamed> ResponseBody<B> {
    /// An answer made here.
    pub(super) fn whole(made: Made, exchange: Box<Exchange>, busy: Busy) -> Response<Self> {
        let Made { response, body, .. } = made;
        let head = into_parts(response.head());
        exchange.record.local().memory.give_back(response);
        let content = if body.is_empty() { Content::Ended } else { Content::Whole(body) };
        head.map(|()| Self { content, exchange: Some(exchange), busy, owed: false })
    }

    /// A back end's agreement to an upgrade.
    pub(super) fn agreement(relay: Relay, exchange: Box<Exchange>, busy: Busy) -> Response<Self> {
        let mut response = into_parts(relay.response.head());
        *response.status_mut() = StatusCode::OK;
        for name in [header::CONTENT_LENGTH, header::SEC_WEBSOCKET_ACCEPT] {
            response.headers_mut().remove(name);
        }
        let content = Content::Agreed(Box::new(Agreement::new(relay, exchange)));
        response.map(|()| Self { content, exchange: None, busy, owed: false })
    }

    /// What a back end has agreed to, once.
    pub(super) fn take_agreement(&mut self) -> Option<Box<Agreement>> {
        match std::mem::replace(&mut self.content, Content::Ended) {
            Content::Agreed(agreement) => Some(agreement),
            content => {
                self.content = content;
                None
            }
        }
    }

    /// A back end's answer.
    pub(super) fn relay(relay: Relay, client: Client<B>, exchange: Box<Exchange>, busy: Busy) -> Response<Self> {
        let Relay { upstream, response, upload, keeps, out } = relay;
        exchange.record.local().memory.give_back_out(out);
        let head = into_parts(response.head());
        let download = Download { upstream, response, upload, client, keeps, silent: None };
        let mut body =
            Self { content: Content::Relay(Box::new(download)), exchange: Some(exchange), busy, owed: false };
        body.end_if_complete();
        head.map(|()| body)
    }

    /// The connection that it is on.
    pub(super) fn state(&self) -> &State {
        self.busy.state()
    }

    /// Ends the exchange when nothing is left to be passed.
    fn end_if_complete(&mut self) {
        let Content::Relay(download) = &self.content else { return };
        if download.is_complete() {
            self.end();
        }
    }

    /// Gives everything back.
    fn end(&mut self) {
        let content = std::mem::replace(&mut self.content, Content::Ended);
        let Some(exchange) = self.exchange.take() else { return };
        if let Content::Relay(download) = content {
            download.end(&exchange);
        }
    }

    /// A part of the body is handed to the client's side, which asks for the next one when it has found room for it: that
    /// takes as long as the client likes.
    fn passed(&mut self, bytes: usize) {
        if let Some(exchange) = &mut self.exchange {
            exchange.record.response_bytes += bytes as u64;
        }
        if let Some(exchange) = &mut self.exchange {
            // For the client, who takes as long as it likes.
            exchange.record.has_waited = true;
        }
        if !std::mem::replace(&mut self.owed, true) {
            self.busy.state().owed(1);
        }
    }

    fn taken(&mut self) {
        if std::mem::replace(&mut self.owed, false) {
            self.busy.state().owed(-1);
        }
    }

    fn poll_relay(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (Content::Relay(download), Some(exchange)) = (&mut self.content, &mut self.exchange) else {
            return Poll::Ready(None);
        };
        match ready!(download.poll(cx, exchange)) {
            Ok(Some(part)) => {
                if let Some(messages) = exchange.record.messages.as_deref_mut() {
                    messages.response.see(&part);
                    exchange.record.tell_messages();
                }
                self.passed(part.len());
                self.end_if_complete();
                Poll::Ready(Some(Ok(Frame::data(part))))
            }
            Ok(None) => {
                let trailers = download.trailers(exchange);
                self.end();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => {
                if !matches!(error, BodyError::TimedOut) {
                    exchange.record.cut(matches!(error, BodyError::Silent));
                }
                // Not to be reused: the connection goes with the content.
                self.content = Content::Ended;
                self.exchange = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }
}

impl<B: Streamed> Download<B> {
    /// Whether nothing is left to be passed, no trailers either.
    fn is_complete(&self) -> bool {
        match &self.upstream {
            Upstream::Http1(_) => self.response.is_complete() && self.response.trailers().next().is_none(),
            Upstream::Http2(stream) => stream.has_ended() && stream.data().is_empty() && stream.trailers().is_none(),
        }
    }

    fn end(self, exchange: &Exchange) {
        let Self { upstream, response, upload, keeps, .. } = self;
        let is_sent = upload.is_none_or(|upload| upload.is_complete());
        if keeps && is_sent && is_reusable(&response) {
            upstream.keep();
        }
        exchange.record.local().memory.give_back(response);
    }

    /// The next part of the body; nothing at its end.
    fn poll(&mut self, cx: &mut Context<'_>, exchange: &mut Exchange) -> Poll<Result<Option<Bytes>, BodyError>> {
        let local = std::rc::Rc::clone(exchange.record.local());
        if let Some(upload) = &mut self.upload {
            let sent = upload.poll(cx, exchange, &mut self.client, &mut self.upstream, &local);
            if let Poll::Ready(Err(_)) = sent {
                upload.break_off();
            }
        }
        match self.poll_part(cx, &local.memory) {
            Poll::Ready(part) => {
                self.silent = None;
                Poll::Ready(part.map_err(BodyError::from))
            }
            Poll::Pending => {
                exchange.record.has_waited = true;
                if timed_out(cx, exchange, self.upload.is_none(), &local.deadlines) {
                    return Poll::Ready(Err(BodyError::TimedOut));
                }
                let limit = exchange.record.silence_limit();
                let due = *self.silent.get_or_insert_with(|| local.deadlines.after(limit));
                let deadline = self.client.deadline();
                deadline.set_at(exchange.rare.as_ref().map_or(due, |rare| rare.wakes_in(due)));
                deadline.register(cx.waker());
                if local.deadlines.has_come(due) { Poll::Ready(Err(BodyError::Silent)) } else { Poll::Pending }
            }
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Poll<Result<Option<Bytes>, SourceFault>> {
        let connection = match &mut self.upstream {
            Upstream::Http1(connection) => connection,
            Upstream::Http2(stream) => {
                ready!(stream.poll_fill(cx))?;
                let part = stream.take();
                return Poll::Ready(Ok((!part.is_empty()).then_some(part)));
            }
        };
        let mut body = StreamBody::of_response(&mut self.response, &mut connection.stream);
        if body.data().is_empty() {
            ready!(body.poll_fill(cx, memory))?;
        }
        let data = body.data();
        if data.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let part = Bytes::copy_from_slice(data);
        body.consume(part.len());
        // So that the end is known with the last part.
        self.response.decode()?;
        if self.response.data().is_empty() && !self.response.has_ended() {
            // A client that opens no window holds one part, and not the buffer that it came in as well.
            StreamBody::of_response(&mut self.response, &mut connection.stream).rest(memory);
        }
        Poll::Ready(Ok(Some(part)))
    }

    fn trailers(&self, exchange: &mut Exchange) -> Option<HeaderMap> {
        if let Upstream::Http2(stream) = &self.upstream {
            let trailers = heads::trailers(stream.trailers()?);
            exchange.record.response_trailers(&trailers);
            return (!trailers.is_empty()).then_some(trailers);
        }
        let mut trailers = HeaderMap::new();
        for (name, value) in self.response.trailers().filter(|(name, _)| is_trailer(name)) {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                trailers.append(name, value);
            }
        }
        exchange.record.response_trailers(&trailers);
        (!trailers.is_empty()).then_some(trailers)
    }
}

/// Fields that only HTTP/1.1 has. Source: RFC 9113, 8.2.2.
const OF_CONNECTIONS: Names = Names::of(&[Name::Connection, Name::OneHop, Name::TransferEncoding, Name::Upgrade]);

/// A head in the form of HTTP/2. Its values share one piece of memory.
pub(super) fn into_parts(head: &Head) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status()).unwrap_or(StatusCode::BAD_GATEWAY);
    let kept = || head.fields().filter(|field| !OF_CONNECTIONS.has(field.kind));
    let mut values = Vec::with_capacity(kept().map(|field| field.value.len()).sum());
    kept().for_each(|field| values.extend_from_slice(field.value));
    let mut values = Bytes::from(values);
    let fields = response.headers_mut();
    fields.reserve(head.count());
    for field in kept() {
        let value = HeaderValue::from_maybe_shared(values.split_to(field.value.len()));
        // The parser lets through only what these take too.
        if let (Some(name), Ok(value)) = (name_of(&field), value) {
            fields.append(name, value);
        }
    }
    response
}

/// A field's name. Those that nearly every answer has needn't be looked up.
fn name_of(field: &Field<'_>) -> Option<HeaderName> {
    const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
    match field.kind {
        Name::ContentLength => Some(header::CONTENT_LENGTH),
        Name::ContentType => Some(header::CONTENT_TYPE),
        Name::Date => Some(header::DATE),
        Name::Server => Some(header::SERVER),
        Name::Envoy if field.name == SERVICE_TIME.as_str().as_bytes() => Some(SERVICE_TIME),
        _ => HeaderName::from_bytes(field.name).ok(),
    }
}

impl<B: Streamed> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken();
        match &mut self.content {
            Content::Ended | Content::Agreed(_) => Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Ended;
                self.passed(bytes.len());
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Content::Relay(_) => self.poll_relay(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Ended | Content::Agreed(_) => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Relay(download) => match framing_of(&download.upstream, &download.response) {
                Framing::None => SizeHint::with_exact(0),
                _ => SizeHint::default(),
            },
        }
    }
}

impl<B: Streamed> Drop for ResponseBody<B> {
    /// A body that says it has ended is dropped without being asked for more; any other was broken off by the client.
    fn drop(&mut self) {
        self.taken();
        if let Some(exchange) = &mut self.exchange
            && !matches!(self.content, Content::Ended)
        {
            exchange.record.client_left();
        }
        self.end();
    }
}
