//! Requests of HTTP/2 in the form of HTTP/1.1. They are read by the same parser as those that come in that form, so that no
//! request can be more than one message to a back end. Source: RFC 9113, 8.3 and 8.2.3.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http_body::{Body, Frame};
use http1::{Head, Message};

use super::inform::Informer;
use super::tunnel::Upgrade;
use crate::http::attempt::Client as AttemptClient;
use crate::http::body::{IncomingBody, Streamed};
use crate::http::head::Refusal;
use crate::listener::Connection;
use crate::worker::{Deadline, Memory};

/// Brings `parts` into a message. A refused one is as empty as it can be. A CONNECT with a protocol becomes an upgrade with this
/// key.
pub(super) fn into_message(
    parts: &Parts,
    body: &impl Body,
    upgrade: Option<&Upgrade>,
    memory: &Memory,
) -> (Box<Message>, Result<(), Refusal>) {
    let mut text = memory.out();
    let written = write(parts, upgrade, body.is_end_stream(), &mut text);
    let message = memory.message_of(if written.is_ok() { &text } else { &[] });
    memory.give_back_out(text);
    let Some(mut message) = message else { return (memory.message(), Err(http1::Refusal::TooLarge.into())) };
    let read = written.and_then(|()| match message.parse_request() {
        Ok(true) => Ok(()),
        Ok(false) => Err(http1::Refusal::Field.into()),
        Err(refusal) => Err(refusal.into()),
    });
    (message, read)
}

fn write(parts: &Parts, upgrade: Option<&Upgrade>, has_no_body: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let host = parts.headers.get(header::HOST).map(HeaderValue::as_bytes);
    if host.is_some() && parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(Refusal::BAD_HOST);
    }
    let authority = match (parts.uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority) => return Err(Refusal::BAD_HOST),
        (Some(authority), _) => Some(authority),
        (None, host) => host,
    };
    out.extend_from_slice(if upgrade.is_some() { b"GET" } else { parts.method.as_str().as_bytes() });
    out.push(b' ');
    match parts.uri.path_and_query() {
        Some(path) if path.as_str().starts_with(['/', '*']) => out.extend_from_slice(path.as_str().as_bytes()),
        _ => out.extend_from_slice(authority.unwrap_or(b"/")),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(authority) = authority {
        push_field(out, b"host", authority);
    }
    for (name, value) in &parts.headers {
        let is_told = name == header::HOST || name == header::COOKIE || upgrade.is_some() && Upgrade::says(name);
        if !is_told {
            push_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    push_cookies(parts, out);
    if let Some(upgrade) = upgrade {
        upgrade.write(out);
        out.extend_from_slice(b"\r\n");
        return Ok(());
    }
    if !has_no_body && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        push_field(out, b"transfer-encoding", b"chunked");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

pub(super) fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// HTTP/2 may split a cookie over several fields, HTTP/1.1 may not.
fn push_cookies(parts: &Parts, out: &mut Vec<u8>) {
    let mut crumbs = parts.headers.get_all(header::COOKIE).iter();
    let Some(first) = crumbs.next() else { return };
    out.extend_from_slice(b"cookie: ");
    out.extend_from_slice(first.as_bytes());
    for crumb in crumbs {
        out.extend_from_slice(b"; ");
        out.extend_from_slice(crumb.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The body of a request, if it has one.
pub(in crate::http) struct RequestBody(pub(super) Option<RecvStream>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(stream) = &mut self.0 else { return Poll::Ready(None) };
        if let Some(part) = ready!(stream.poll_data(cx)) {
            let part = part?;
            // Asked for when the part before it had gone, so that the client may send as much again.
            stream.flow_control().release_capacity(part.len())?;
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        let trailers = ready!(stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(RecvStream::is_end_stream)
    }
}

/// The client's side of a stream.
pub(super) struct Client<B: Streamed> {
    body: IncomingBody<B>,
    informer: Option<Informer>,
    deadline: Deadline,
}

impl<B: Streamed> Client<B> {
    /// With the body of a request of so many fields, and what can tell the client something before its answer.
    pub(super) fn new(connection: &Connection, fields: usize, body: B, informer: Option<Informer>) -> Self {
        Self { body: IncomingBody::new(body, fields), informer, deadline: Deadline::new(&connection.local.deadlines) }
    }

    /// Tells the client that its body is wanted.
    pub(super) fn leave(&self) {
        self.informer.iter().for_each(Informer::leave);
    }
}

impl<B: Streamed> AttemptClient for Client<B> {
    type Body<'a>
        = &'a mut IncomingBody<B>
    where
        B: 'a;

    fn body<'a>(&'a mut self, _: &'a mut Message) -> &'a mut IncomingBody<B> {
        &mut self.body
    }

    /// The whole exchange is dropped then.
    fn poll_left(&mut self, _: &mut Context<'_>, _: &mut Message) -> Poll<()> {
        Poll::Pending
    }

    fn inform(&mut self, _: &mut Context<'_>, head: &mut Head) {
        if let Some(informer) = &self.informer {
            informer.inform(head);
        }
    }

    fn deadline(&self) -> &Deadline {
        &self.deadline
    }
}
