//! A response's head on its way to the client.

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{StatusCode, Version};

use super::head::drop_hop_by_hop;
use super::survey::{Field, Survey};

/// What Istio's gateway writes as `server`, whatever the back end says.
const SERVER: HeaderValue = HeaderValue::from_static("istio-envoy");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// A number as a header's value; the usual small ones cost no memory.
pub(super) fn small_number(number: u128) -> HeaderValue {
    const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    match usize::try_from(number).ok().and_then(|number| DIGITS.get(number)) {
        Some(digit) => HeaderValue::from_static(digit),
        None => HeaderValue::from(u64::try_from(number).unwrap_or(u64::MAX)),
    }
}

/// Whether the head of an answer can be passed on: a final status, one length or `chunked`, not both.
pub(super) fn is_sound(head: &Parts) -> bool {
    let survey = Survey::of(&head.headers);
    let single = |name| !survey.repeated || head.headers.get_all(name).iter().nth(1).is_none();
    let chunked = || {
        head.headers
            .get(header::TRANSFER_ENCODING)
            .is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    };
    let framed = match (survey.has(Field::ContentLength), survey.has(Field::TransferEncoding)) {
        (false, false) => true,
        (true, false) => single(header::CONTENT_LENGTH),
        (false, true) => single(header::TRANSFER_ENCODING) && chunked(),
        (true, true) => false,
    };
    framed && !head.status.is_informational()
}

/// Drops what concerned the upstream connection, and says how long the back end took.
pub(super) fn receive(head: &mut Parts, took: Duration) {
    head.version = Version::HTTP_11;
    let survey = Survey::of(&head.headers);
    drop_hop_by_hop(&mut head.headers, survey);
    head.headers.insert(SERVICE_TIME, small_number(took.as_millis()));
}

/// Last, so that no rule can change it.
pub(super) fn sign(headers: &mut HeaderMap) {
    headers.insert(header::SERVER, SERVER);
}

/// Drops trailers that frame, route or authenticate. Source: RFC 9110, 6.5.1.
pub(super) fn clean_trailers(trailers: &mut HeaderMap) {
    const FORBIDDEN: [HeaderName; 12] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::HOST,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::WWW_AUTHENTICATE,
    ];
    for name in FORBIDDEN {
        trailers.remove(name);
    }
}

/// gRPC status that stands for an HTTP status. Source: gRPC, "HTTP to gRPC status code mapping".
pub(super) fn grpc_status(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// Whether a request speaks gRPC, so that errors must be told in its words.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
        let rest = kind.as_bytes().strip_prefix(b"application/grpc");
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type_and_web_grpc_is_not_grpc() {
        let table = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ];
        for (kind, grpc) in table {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_grpc(&headers), grpc, "{kind}");
        }
    }

    #[test]
    fn trailers_that_frame_or_authenticate_are_dropped_and_others_kept() {
        let mut trailers = HeaderMap::new();
        trailers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        trailers.insert(header::AUTHORIZATION, HeaderValue::from_static("secret"));
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        clean_trailers(&mut trailers);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["grpc-status"]);
    }
}
