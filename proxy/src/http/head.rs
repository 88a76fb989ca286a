//! A request's head: what is refused, what is dropped, what is added, before it is routed.
//! Sources: RFC 9110 7.6.1 (hop-by-hop fields), PROMISES.md section 3, and what Istio's gateway does at the edge.

use std::net::IpAddr;

use config_model::model::{PathNormalization, Scheme};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri, Version};
use routing::normalize::{Normalized, normalize};
use routing::{RequestHead, authority};

use super::survey::{Field, Survey};

/// Fields of a request, trailers not counted. Over it: 431.
const FIELDS_MAX: usize = 100;

/// Why a request is not routed. The connection is closed after it where the framing itself is in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The answer.
    pub(crate) status: StatusCode,
    /// For `%RESPONSE_CODE_DETAILS%`.
    pub(crate) details: &'static str,
    /// Whether not one further byte of the connection is read.
    pub(crate) close: bool,
}

impl Refusal {
    const fn new(status: StatusCode, details: &'static str) -> Self {
        Self { status, details, close: true }
    }
}

const BAD_HOST: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "http1.invalid_authority");
const BAD_PATH: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "path_normalization_failed");
const BAD_FRAMING: Refusal = Refusal::new(StatusCode::BAD_REQUEST, "http1.codec_error");

/// What routing looks at. Borrows from the request's URI and Host, so that nothing is copied unless it changes.
pub(crate) struct Target<'a> {
    /// Host as sent, with its port.
    pub(crate) authority: &'a [u8],
    /// The path, as forwarded and as compared.
    pub(crate) path: Normalized<'a>,
    /// Without the question mark.
    pub(crate) query: Option<&'a [u8]>,
}

/// Checks the head and reads where it wants to go. `uri` is that of the head; `host` is its first Host field.
pub(super) fn read_target<'a>(
    parts: &Parts,
    survey: Survey,
    uri: &'a Uri,
    host: Option<&'a HeaderValue>,
    normalization: PathNormalization,
) -> Result<Target<'a>, Refusal> {
    if parts.version < Version::HTTP_11 {
        return Err(Refusal::new(StatusCode::UPGRADE_REQUIRED, "low_version"));
    }
    if parts.headers.len() > FIELDS_MAX {
        return Err(Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "request_headers_too_large"));
    }
    if parts.method == Method::CONNECT {
        return Err(Refusal::new(StatusCode::NOT_FOUND, "route_not_found"));
    }
    check_framing(parts, survey)?;
    check_upgrade(parts, survey)?;
    if survey.repeated && parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
        return Err(BAD_HOST);
    }
    let authority = read_authority(parts, uri, host)?;
    let raw = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let (path, query) = match raw.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (raw, None),
    };
    if query.is_some_and(|query| !query.is_ascii()) {
        return Err(BAD_PATH);
    }
    let path = match path {
        // Asterisk form. Source: RFC 9112, 3.2.4.
        "*" if parts.method == Method::OPTIONS => "/",
        path => path,
    };
    let path = normalize(path.as_bytes(), normalization).map_err(|_refused| BAD_PATH)?;
    Ok(Target { authority, path, query })
}

/// Exactly one authority, well-formed; that of an absolute target replaces Host, that of HTTP/2 must agree with it.
fn read_authority<'a>(parts: &Parts, uri: &'a Uri, host: Option<&'a HeaderValue>) -> Result<&'a [u8], Refusal> {
    let host = host.map(HeaderValue::as_bytes);
    let authority = match (uri.authority().map(|authority| authority.as_str().as_bytes()), host) {
        (Some(authority), Some(host)) if parts.version == Version::HTTP_2 && !host.eq_ignore_ascii_case(authority) => {
            return Err(BAD_HOST);
        }
        (Some(authority), _) => authority,
        (None, Some(host)) => host,
        (None, None) => return Err(Refusal::new(StatusCode::BAD_REQUEST, "missing_host_header")),
    };
    authority::parse(authority).map(|_| authority).map_err(|_refused| BAD_HOST)
}

/// What hyper leaves to us: one length or one coding, and the coding is `chunked`.
fn check_framing(parts: &Parts, survey: Survey) -> Result<(), Refusal> {
    if !survey.has(Field::ContentLength) && !survey.has(Field::TransferEncoding) {
        return Ok(());
    }
    let mut lengths = parts.headers.get_all(header::CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Err(BAD_FRAMING);
    }
    if let Some(length) = length {
        let digits = length.as_bytes();
        if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(BAD_FRAMING);
        }
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if length.is_none() && coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(BAD_FRAMING),
    }
}

/// `h2c` is ignored and WebSocket not spoken yet, so that both are answered as plain requests; whatever else is refused.
fn check_upgrade(parts: &Parts, survey: Survey) -> Result<(), Refusal> {
    let wanted = survey.has(Field::Upgrade).then(|| parts.headers.get(header::UPGRADE)).flatten();
    let Some(wanted) = wanted else { return Ok(()) };
    let known = [&b"h2c"[..], b"websocket"];
    if known.iter().any(|name| wanted.as_bytes().eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, "upgrade_failed"))
}

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Drops fields that concern one connection only, in either direction. `te: trailers` stays.
pub(super) fn drop_hop_by_hop(headers: &mut HeaderMap, survey: Survey) {
    if !survey.has_hop_by_hop() {
        return;
    }
    if survey.has(Field::Connection) {
        drop_connection_options(headers);
    }
    for name in [header::UPGRADE, header::TRANSFER_ENCODING, HTTP2_SETTINGS, KEEP_ALIVE, PROXY_CONNECTION] {
        headers.remove(name);
    }
    if survey.has(Field::Te) {
        let trailers = headers.get_all(header::TE).iter().any(|value| lists(value, b"trailers"));
        headers.remove(header::TE);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Drops `connection` and what it names, except fields that no hop may take away.
fn drop_connection_options(headers: &mut HeaderMap) {
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    headers.remove(header::CONNECTION);
    for option in values.iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b',')) {
        let Ok(name) = HeaderName::from_bytes(option.trim_ascii()) else { continue };
        let kept = [header::HOST, header::CONTENT_LENGTH, header::TE, FORWARDED_FOR, FORWARDED_PROTO];
        if !kept.contains(&name) {
            headers.remove(name);
        }
    }
}

fn lists(value: &HeaderValue, token: &[u8]) -> bool {
    value.as_bytes().split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// What an edge does to a stranger's request: steering fields go, the peer is appended, scheme and id are written anew.
/// `peer` is the client's address as text.
pub(super) fn sanitize(headers: &mut HeaderMap, survey: Survey, peer: &HeaderValue, scheme: Scheme, id: u128) {
    drop_hop_by_hop(headers, survey);
    if survey.has(Field::Expect) {
        headers.remove(header::EXPECT);
    }
    if survey.has(Field::ForwardedClientCert) {
        headers.remove(FORWARDED_CLIENT_CERT);
    }
    if survey.has(Field::Steering) {
        drop_steering(headers);
    }
    let forwarded_for = if survey.has(Field::ForwardedFor) { appended(headers, peer) } else { peer.clone() };
    headers.insert(FORWARDED_FOR, forwarded_for);
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    headers.insert(REQUEST_ID, uuid(id));
}

fn drop_steering(headers: &mut HeaderMap) {
    while let Some(name) = headers.keys().find(|name| name.as_str().starts_with("x-envoy-")).cloned() {
        headers.remove(name);
    }
}

/// All values of `x-forwarded-for`, and `peer` after them.
fn appended(headers: &HeaderMap, peer: &HeaderValue) -> HeaderValue {
    let mut text = Vec::with_capacity(64);
    for earlier in headers.get_all(FORWARDED_FOR) {
        text.extend_from_slice(earlier.as_bytes());
        text.push(b',');
    }
    text.extend_from_slice(peer.as_bytes());
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| peer.clone())
}

/// The client's address as `x-forwarded-for` has it.
pub(crate) fn peer_value(peer: IpAddr) -> HeaderValue {
    HeaderValue::try_from(peer.to_canonical().to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// A random UUID (RFC 9562, version 4) from 128 random bits.
fn uuid(bits: u128) -> HeaderValue {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let mut text = [b'-'; 36];
    let mut digits = (0..32).rev().map(|index| HEX[(bits >> (4 * index)) as usize & 0xf]);
    for (place, byte) in text.iter_mut().enumerate() {
        if !matches!(place, 8 | 13 | 18 | 23)
            && let Some(digit) = digits.next()
        {
            *byte = digit;
        }
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The head as routing sees it.
pub(crate) struct View<'a> {
    /// Method and fields.
    pub(crate) parts: &'a Parts,
    /// Where it wants to go.
    pub(crate) target: &'a Target<'a>,
    /// By the listener.
    pub(crate) scheme: Scheme,
}

impl RequestHead for View<'_> {
    fn method(&self) -> &[u8] {
        self.parts.method.as_str().as_bytes()
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn authority(&self) -> &[u8] {
        self.target.authority
    }

    fn matching_path(&self) -> &[u8] {
        self.target.path.matching()
    }

    fn query(&self) -> Option<&[u8]> {
        self.target.query
    }

    fn any_header(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.parts.headers.get_all(name).iter().any(|value| test(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// Authority, path for matching, path to be forwarded; or the status of the refusal.
    type Read = Result<(Vec<u8>, Vec<u8>, Vec<u8>), u16>;

    /// Method, target, fields, status.
    type Refused<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16);

    fn read(parts: &Parts) -> Read {
        let host = parts.headers.get(header::HOST);
        read_target(parts, Survey::of(&parts.headers), &parts.uri, host, PathNormalization::Strict)
            .map(|target| {
                let path = &target.path;
                (target.authority.to_vec(), path.matching().to_vec(), path.forwarded().to_vec())
            })
            .map_err(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn what_cannot_be_routed_is_refused_with_its_status() {
        let host = ("host", "a.example");
        let table: [Refused<'_>; 13] = [
            ("GET", "/", &[], 400),
            ("GET", "/", &[host, host], 400),
            ("GET", "/", &[("host", "user@a.example")], 400),
            ("GET", "/", &[("host", "a/b")], 400),
            ("GET", "/x%00", &[host], 400),
            ("GET", "/x/..%2fadmin", &[host], 400),
            ("CONNECT", "a.example:80", &[host], 404),
            ("POST", "/", &[host, ("content-length", "+5")], 400),
            ("POST", "/", &[host, ("content-length", "5"), ("content-length", "5")], 400),
            ("POST", "/", &[host, ("content-length", "5"), ("transfer-encoding", "chunked")], 400),
            ("POST", "/", &[host, ("transfer-encoding", "gzip, chunked")], 400),
            ("GET", "/", &[host, ("upgrade", "foo")], 403),
            ("GET", "/", &[host, ("content-length", "1234567890123456789")], 400),
        ];
        for (method, uri, fields, status) in table {
            assert_eq!(read(&parts(method, uri, fields)), Err(status), "{method} {uri} {fields:?}");
        }
    }

    #[test]
    fn an_old_version_is_told_to_upgrade_and_too_many_fields_are_too_many() {
        let mut old = parts("GET", "/", &[("host", "a.example")]);
        old.version = Version::HTTP_10;
        assert_eq!(read(&old), Err(426));
        let names: Vec<String> = (0..FIELDS_MAX).map(|index| format!("x-{index}")).collect();
        let mut fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a")).collect();
        fields.push(("host", "a.example"));
        assert_eq!(read(&parts("GET", "/", &fields)), Err(431));
    }

    #[test]
    fn the_authority_of_an_absolute_target_replaces_host_and_that_of_http_2_must_agree() {
        let mut absolute = parts("GET", "http://b.example:81/x", &[("host", "a.example")]);
        assert_eq!(read(&absolute).unwrap().0, b"b.example:81");
        absolute.version = Version::HTTP_2;
        assert_eq!(read(&absolute), Err(400));
    }

    #[test]
    fn a_path_is_compared_with_slashes_merged_and_forwarded_as_it_came() {
        let (_, matching, forwarded) = read(&parts("GET", "//admin/./x?q=1", &[("host", "a")])).unwrap();
        assert_eq!((&matching[..], &forwarded[..]), (&b"/admin/x"[..], &b"//admin/x"[..]));
    }

    #[test]
    fn fields_of_one_hop_end_there_and_only_trailers_stay_of_te() {
        let fields = [
            ("connection", "close, X-Once, host"),
            ("x-once", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "keep-alive"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("te", "gzip, Trailers"),
            ("upgrade", "h2c"),
            ("host", "a.example"),
            ("x-kept", "k"),
        ];
        let mut headers = parts("GET", "/", &fields).headers;
        let survey = Survey::of(&headers);
        drop_hop_by_hop(&mut headers, survey);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "te", "x-kept"]);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn an_edge_writes_its_own_words_over_those_of_strangers() {
        let fields = [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
            ("x-envoy-max-retries", "5"),
            ("x-envoy-retry-on", "5xx"),
            ("x-forwarded-client-cert", "By=me"),
            ("expect", "100-continue"),
        ];
        let mut headers = parts("GET", "/", &fields).headers;
        let survey = Survey::of(&headers);
        sanitize(&mut headers, survey, &peer_value(IpAddr::from([127, 0, 0, 1])), Scheme::Http, 7);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-forwarded-for", "x-forwarded-proto", "x-request-id"]);
        assert_eq!(headers["x-forwarded-for"], "10.1.2.3,127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "http");
    }

    #[test]
    fn a_request_id_is_a_uuid_of_version_4() {
        for (bits, text) in [
            (0, "00000000-0000-4000-8000-000000000000"),
            (u128::MAX, "ffffffff-ffff-4fff-bfff-ffffffffffff"),
            (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, "01234567-89ab-4def-8123-456789abcdef"),
        ] {
            assert_eq!(uuid(bits), text);
        }
    }
}
