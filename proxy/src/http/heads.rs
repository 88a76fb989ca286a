//! Heads in the form of HTTP/2, for back ends that speak it: requests on their way up, answers on their way down. Answers are
//! read by the same parser as those of HTTP/1.1, so that nothing can be more than one message to a client.
//! Source: RFC 9113, 8.2 and 8.3.

use std::borrow::Cow;

use balance::AttemptError;
use config_model::model::Scheme;
use h2::ext::Protocol;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use http1::{Head, Message, Name, Names};

use super::record::Exchange;
use super::response::push_number;
use crate::worker::Memory;

/// Fields that HTTP/2 says in another way, or not at all.
const OF_CONNECTIONS: Names =
    Names::of(&[Name::Host, Name::Connection, Name::OneHop, Name::TransferEncoding, Name::Upgrade]);

/// The head of a try. `target` is the rewritten one, if it is; `attempt` counts from 1.
///
/// # Errors
/// If HTTP/2 has no form for it.
pub(super) fn request(
    exchange: &Exchange,
    target: Option<&[u8]>,
    attempt: u32,
    scheme: Scheme,
) -> Result<Request<()>, AttemptError> {
    let malformed = |what: &str| AttemptError::Malformed { reason: format!("HTTP/2 has no form for {what}").into() };
    let head = exchange.request.head();
    let mut request = Request::new(());
    if exchange.wishes.upgrade {
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static("websocket"));
    } else {
        *request.method_mut() = Method::from_bytes(head.method()).map_err(|_| malformed("the method"))?;
    }
    let path = match target {
        Some(target) => path(target),
        None => {
            let mut text = Vec::new();
            exchange.target.write(head, &mut text);
            path(&text)
        }
    };
    let path = path.ok_or_else(|| malformed("the target"))?;
    let host = head.values_of(Name::Host).next().unwrap_or_default();
    let fields = request.headers_mut();
    fields.reserve(head.count() + 1);
    for field in head.fields().filter(|field| !OF_CONNECTIONS.has(field.kind)) {
        // The parser lets through only what these take too.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(field.name), HeaderValue::from_bytes(field.value)) {
            fields.append(name, value);
        }
    }
    let says = &exchange.record.pinned().headers;
    if let Some(expected) = exchange.rare.as_ref().and_then(|rare| rare.expected).filter(|_| says.debug) {
        fields.append(HeaderName::from_static("x-envoy-expected-rq-timeout-ms"), expected.get().into());
    }
    if says.attempt_count && !exchange.is_counted() {
        fields.append(HeaderName::from_static("x-envoy-attempt-count"), attempt.into());
    }
    match Authority::try_from(host) {
        Ok(authority) => {
            let uri = Uri::builder().scheme(scheme.as_str()).authority(authority).path_and_query(path);
            *request.uri_mut() = uri.build().map_err(|_| malformed("the target"))?;
            *request.version_mut() = Version::HTTP_2;
        }
        // What is no authority to HTTP/2 can be said in a field still.
        Err(_) => {
            if let Ok(host) = HeaderValue::from_bytes(host) {
                fields.append(header::HOST, host);
            }
            *request.uri_mut() = Uri::from(path);
        }
    }
    Ok(request)
}

/// A target as it is, but for bytes that only HTTP/1.1 is lenient about: these are encoded.
fn path(target: &[u8]) -> Option<PathAndQuery> {
    PathAndQuery::try_from(target).ok().or_else(|| PathAndQuery::try_from(&*encoded(target)).ok())
}

fn encoded(target: &[u8]) -> Vec<u8> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = Vec::with_capacity(target.len() + 8);
    for byte in target {
        if byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(byte) {
            text.push(*byte);
        } else {
            text.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    text
}

/// What a back end's agreement to a tunnel is in HTTP/1.1; other answers are as they were. Source: RFC 8441, 5.
pub(super) fn agreement(response: &mut Response<()>) {
    if response.status().is_success() {
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
}

/// Brings the head of an answer into a message.
///
/// # Errors
/// If it is none that HTTP/1.1 could have.
pub(super) fn response(response: &Response<()>, to_head: bool, memory: &Memory) -> Result<Box<Message>, AttemptError> {
    let malformed = |reason: Cow<'static, str>| AttemptError::Malformed { reason: reason.into() };
    let mut text = memory.out();
    write(response, &mut text);
    let message = memory.message_of(&text);
    memory.give_back_out(text);
    let mut message = message.ok_or_else(|| malformed("its head is too large".into()))?;
    let read = message.parse_response(to_head).map_err(|fault| malformed(fault.to_string().into()));
    match read {
        Ok(true) => Ok(message),
        read => {
            memory.give_back(message);
            Err(read.err().unwrap_or_else(|| malformed("its head has no end".into())))
        }
    }
}

fn write(response: &Response<()>, text: &mut Vec<u8>) {
    text.extend_from_slice(b"HTTP/1.1 ");
    push_number(text, response.status().as_u16().into());
    text.extend_from_slice(b" \r\n");
    for (name, value) in response.headers() {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(b"\r\n");
}

/// An informational head in our form.
pub(super) fn informational(response: &Response<()>) -> Head {
    let mut head = Head::default();
    head.set_status(response.status().as_u16());
    for (name, value) in response.headers() {
        head.append(name.as_str().as_bytes(), value.as_bytes());
    }
    head
}

/// Trailers that may be passed on.
pub(super) fn trailers(trailers: &HeaderMap) -> HeaderMap {
    let kept = trailers.iter().filter(|(name, _)| super::response::is_trailer(name.as_str().as_bytes()));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_only_http1_allows_is_encoded() {
        assert_eq!(path(b"/a?b=c").unwrap().as_str(), "/a?b=c");
        assert_eq!(path(b"/a<b>`c").unwrap().as_str(), "/a%3Cb%3E%60c");
        assert_eq!(path(b"*").unwrap().as_str(), "*");
    }

    #[test]
    fn an_answer_is_read_as_one_message_or_not_at_all() {
        let memory = Memory::default();
        let answer = Response::builder().status(404).header("x-a", "b").body(()).unwrap();
        let message = response(&answer, false, &memory).unwrap();
        assert_eq!((message.head().status(), message.head().value(b"x-a")), (404, Some(&b"b"[..])));
        let both = Response::builder().header("content-length", "1").header("content-length", "2").body(()).unwrap();
        assert!(response(&both, false, &memory).is_err());
    }

    #[test]
    fn trailers_that_frame_are_dropped() {
        let mut fields = HeaderMap::new();
        fields.insert("grpc-status", HeaderValue::from_static("0"));
        fields.insert("content-length", HeaderValue::from_static("7"));
        assert_eq!(trailers(&fields).len(), 1);
    }
}
