//! Answers made here: errors, redirects, direct responses. Words, flags and details are Envoy's.

use std::borrow::Cow;

use bytes::Bytes;
use http1::{Framing, Head, Message, Name};
use routing::headers::Mutation;

use super::head::Refusal;
use super::record::Exchange;
use super::response::{apply, complete, push_number};
use crate::telemetry::Flags;

/// An answer to be made.
pub(super) struct Answer {
    status: u16,
    flags: Flags,
    details: Cow<'static, str>,
    body: Bytes,
    location: Option<Vec<u8>>,
    /// For gRPC requests; nothing: what the status is mapped to.
    grpc_status: Option<u8>,
    /// Tell that a limit was reached: `x-envoy-overloaded`.
    overloaded: bool,
    /// Whether the connection ends with it: what is left of the request is not read.
    pub(super) closes: bool,
}

/// An answer made: its head, and all of its body.
pub(super) struct Made {
    pub(super) response: Box<Message>,
    pub(super) body: Bytes,
    pub(super) closes: bool,
}

impl Answer {
    /// An answer without words.
    pub(super) fn new(status: u16, flags: Flags, details: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            flags,
            details: details.into(),
            body: Bytes::new(),
            location: None,
            grpc_status: None,
            overloaded: false,
            closes: false,
        }
    }

    /// The answer to a request that is not routed.
    pub(super) fn refuse(refusal: Refusal) -> Self {
        Self { closes: true, ..Self::new(refusal.status, Flags::DOWNSTREAM_PROTOCOL_ERROR, refusal.details) }
    }

    /// Sends the client elsewhere.
    pub(super) fn redirect(status: u16, location: Vec<u8>) -> Self {
        Self { location: Some(location), ..Self::new(status, Flags::NONE, "direct_response") }
    }

    /// As a rule has it.
    pub(super) fn direct(status: u16, body: Bytes) -> Self {
        Self { body, ..Self::new(status, Flags::NONE, "direct_response") }
    }

    /// Its status, if it isn't told in gRPC's words.
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// With words for the client.
    pub(super) fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// With a status of its own for gRPC requests.
    pub(super) fn with_grpc_status(self, grpc_status: Option<u8>) -> Self {
        Self { grpc_status, ..self }
    }

    /// Says that a limit was reached.
    pub(super) fn overloaded(self, overloaded: bool) -> Self {
        Self { overloaded, ..self }
    }

    /// Says that the connection ends with it.
    pub(super) fn and_close(self) -> Self {
        Self { closes: true, ..self }
    }

    /// Makes the answer to `exchange`. `rules` are the operations of the route that it is made on.
    pub(super) fn make(self, exchange: &mut Exchange, rules: &[&Mutation]) -> Made {
        let mut response = exchange.record.local().memory.message();
        let head = response.head_mut();
        let is_grpc = exchange.record.is_grpc();
        if is_grpc {
            self.tell_grpc(head);
        } else {
            self.tell(head);
        }
        if let Some(location) = &self.location {
            head.append(b"location", location);
        }
        if self.overloaded {
            head.append(b"x-envoy-overloaded", b"true");
        }
        let status = head.status();
        let mut body = if is_grpc { Bytes::new() } else { self.body };
        let bodiless = matches!(status, 204 | 304);
        let framing = if bodiless { Framing::None } else { Framing::Length(body.len() as u64) };
        exchange.record.answered(status, self.flags, self.details);
        if let Framing::Length(length) = framing {
            head.append_with(b"content-length", |out| push_number(out, length));
        }
        apply(head, framing, exchange, rules);
        if is_grpc {
            head.set(b"content-type", b"application/grpc");
        } else if !body.is_empty() && !head.names().has(Name::ContentType) {
            head.append(b"content-type", b"text/plain");
        }
        if body.is_empty() && exchange.record.speaks_http2() {
            // Its end is told with the head. Source: Envoy, whose codec of HTTP/1 alone adds the length.
            head.remove_all(Name::ContentLength.alone());
        }
        complete(head, exchange);
        if bodiless || exchange.is_head() {
            body = Bytes::new();
        }
        Made { response, body, closes: self.closes }
    }

    fn tell(&self, head: &mut Head) {
        head.set_status(self.status);
    }

    /// Status 200, and the error in two fields. Source: gRPC over HTTP/2, "Trailers-Only".
    fn tell_grpc(&self, head: &mut Head) {
        head.set_status(200);
        let status = self.grpc_status.unwrap_or_else(|| routing::grpc::status_of_http(self.status));
        head.append_with(b"grpc-status", |out| push_number(out, status.into()));
        if !self.body.is_empty() {
            head.append(b"grpc-message", &self.body);
        }
    }
}
