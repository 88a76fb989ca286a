//! Answers made here: errors, redirects, direct responses. Words, flags and details are Envoy's.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use routing::headers::{self, Mutation};

use super::body::ResponseBody;
use super::head::Refusal;
use super::record::Record;
use super::response::{grpc_status, sign};
use crate::telemetry::Flags;

/// An answer to be made.
pub(super) struct Answer {
    status: StatusCode,
    flags: Flags,
    details: Cow<'static, str>,
    body: Bytes,
    extra: Option<(HeaderName, HeaderValue)>,
    close: bool,
}

impl Answer {
    /// An answer without words.
    pub(super) fn new(status: StatusCode, flags: Flags, details: impl Into<Cow<'static, str>>) -> Self {
        Self { status, flags, details: details.into(), body: Bytes::new(), extra: None, close: false }
    }

    /// The answer to a request that is not routed.
    pub(super) fn refuse(refusal: Refusal) -> Self {
        let answer = Self::new(refusal.status, Flags::DOWNSTREAM_PROTOCOL_ERROR, refusal.details);
        if refusal.close { answer.and_close() } else { answer }
    }

    /// Sends the client elsewhere.
    pub(super) fn redirect(status: StatusCode, location: HeaderValue) -> Self {
        Self::new(status, Flags::NONE, "direct_response").with_field(header::LOCATION, location)
    }

    /// As a rule has it.
    pub(super) fn direct(status: StatusCode, body: Bytes) -> Self {
        Self { body, ..Self::new(status, Flags::NONE, "direct_response") }
    }

    /// With words for the client.
    pub(super) fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Says that the connection ends with it: what is left of the request is not read.
    pub(super) fn and_close(self) -> Self {
        Self { close: true, ..self }
    }

    fn with_field(self, name: HeaderName, value: HeaderValue) -> Self {
        Self { extra: Some((name, value)), ..self }
    }

    /// Makes the response. `mutations` are the operations of the route that it is made on.
    pub(super) fn send(self, mut record: Box<Record>, mutations: &[&Mutation]) -> Response<ResponseBody> {
        let mut fields = HeaderMap::with_capacity(8);
        let status = if record.is_grpc() { self.tell_grpc(&mut fields) } else { self.tell(&mut fields) };
        fields.extend(self.extra);
        record.answered(status.as_u16(), self.flags, self.details);
        headers::apply(mutations, &mut fields, &*record);
        sign(&mut fields);
        if self.close || record.has_unread_body() {
            fields.insert(header::CONNECTION, HeaderValue::from_static("close"));
            record.linger();
        }
        record.response_head(&fields);
        let mut body = if record.is_grpc() { Bytes::new() } else { self.body };
        let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if record.is_head() && !bodiless {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        if record.is_head() || bodiless {
            body = Bytes::new();
        }
        let mut response = Response::new(ResponseBody::whole(body, record));
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        response
    }

    fn tell(&self, fields: &mut HeaderMap) -> StatusCode {
        if !self.body.is_empty() {
            fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        self.status
    }

    /// Status 200, and the error in two fields. Source: gRPC over HTTP/2, "Trailers-Only".
    fn tell_grpc(&self, fields: &mut HeaderMap) -> StatusCode {
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        fields.insert("grpc-status", HeaderValue::from(u16::from(grpc_status(self.status))));
        if let Ok(message) = HeaderValue::from_bytes(&self.body)
            && !message.is_empty()
        {
            fields.insert("grpc-message", message);
        }
        StatusCode::OK
    }
}
