//! A request's head before it is routed: what is refused, dropped and added.
//! Sources: RFC 9110 7.6.1 (hop-by-hop fields), PROMISES.md section 3, and what Istio's gateway does at the edge.

use std::num::NonZeroU128;

use config_model::model::Scheme;
use http1::{BodyFault, Framing, Head, Name, Names, Version, connection_options};
use routing::RequestHead;
use smallvec::SmallVec;

use super::target::Target;

/// Why a request is not routed. The connection is closed after it: where framing or target are in doubt, so is what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The answer.
    pub(crate) status: u16,
    /// For `%RESPONSE_CODE_DETAILS%`.
    pub(crate) details: &'static str,
}

impl Refusal {
    pub(super) const LOW_VERSION: Self = Self { status: 426, details: "low_version" };
    pub(super) const NO_TUNNEL: Self = Self { status: 404, details: "route_not_found" };
    pub(super) const BAD_SCHEME: Self = Self { status: 403, details: "http1.invalid_scheme" };
    pub(super) const BAD_HOST: Self = Self { status: 400, details: "http1.invalid_authority" };
    pub(super) const BAD_PATH: Self = Self { status: 400, details: "path_normalization_failed" };
    pub(super) const BAD_UPGRADE: Self = Self { status: 403, details: "upgrade_failed" };
    /// The body doesn't come.
    pub(super) const BODY_TOO_SLOW: Self = Self { status: 408, details: "request_body_timeout" };
    /// The head didn't come to its end.
    pub(super) const TOO_SLOW: Self = Self { status: 408, details: "request_header_timeout" };
}

impl From<BodyFault> for Refusal {
    fn from(fault: BodyFault) -> Self {
        let details = match fault {
            BodyFault::TrailersTooLarge => "request_headers_too_large",
            _ => "http1.codec_error",
        };
        Self { status: fault.status(), details }
    }
}

impl From<http1::Refusal> for Refusal {
    fn from(refusal: http1::Refusal) -> Self {
        let details = match refusal {
            http1::Refusal::Host => "missing_host_header",
            http1::Refusal::TooLarge | http1::Refusal::TargetTooLong => "request_headers_too_large",
            http1::Refusal::Version => "http1.unsupported_version",
            _ => "http1.codec_error",
        };
        Self { status: refusal.status(), details }
    }
}

/// What a request asks of the connection that it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Wishes {
    /// Close it afterwards.
    pub(crate) close: bool,
    /// Say that the body may come: `expect: 100-continue`.
    pub(crate) leave: bool,
    /// Go on in another protocol, which is WebSocket.
    pub(crate) upgrade: bool,
    /// The same, but with HTTP/2's CONNECT: its routes have to name that. Source: RFC 8441.
    pub(crate) connect: bool,
    /// Pass trailers on: `te: trailers`.
    pub(super) trailers: bool,
    /// Be answered in HTTP/1.0: no chunks, no informational responses, and the end of the connection unless it asks for more.
    pub(super) http10: bool,
}

impl Wishes {
    /// Reads them from `head`.
    ///
    /// # Errors
    /// If an upgrade is asked for that isn't known. `h2c` is ignored.
    pub(super) fn read(head: &Head, framing: Framing) -> Result<Self, Refusal> {
        let names = head.names();
        let http10 = head.version() == Version::Http10;
        let mut wishes = Self { close: http10, leave: names.has(Name::Expect) && !http10, http10, ..Self::default() };
        if !names.has_any(Names::HOP_BY_HOP) {
            return Ok(wishes);
        }
        if http10 {
            // It knows nothing of the others. Source: RFC 9110, 7.8, 10.1.1 and 10.1.4; RFC 9112, 9.3.
            wishes.close = !connection_options(head).any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
            return Ok(wishes);
        }
        let mut upgrades = false;
        for option in connection_options(head) {
            wishes.close |= option.eq_ignore_ascii_case(b"close");
            upgrades |= option.eq_ignore_ascii_case(b"upgrade");
        }
        wishes.trailers = head.values_of(Name::Te).any(|value| lists(value, b"trailers"));
        for protocol in head.values_of(Name::Upgrade) {
            if protocol.eq_ignore_ascii_case(b"websocket") {
                wishes.upgrade = upgrades && framing == Framing::None;
            } else if !protocol.eq_ignore_ascii_case(b"h2c") {
                return Err(Refusal::BAD_UPGRADE);
            }
        }
        Ok(wishes)
    }
}

fn lists(value: &[u8], token: &[u8]) -> bool {
    value.split(|&byte| byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// Drops the fields that `Connection` names, except those that no hop may take away.
pub(super) fn drop_connection_options(head: &mut Head) {
    const KEPT: Names = Names::of(&[
        Name::Host,
        Name::ContentLength,
        Name::TransferEncoding,
        Name::Te,
        Name::ForwardedFor,
        Name::ForwardedProto,
    ]);
    const OWN: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    let is_own = |option: &[u8]| OWN.iter().any(|own| option.eq_ignore_ascii_case(own));
    // Most say one word or nothing.
    if !head.names().has(Name::Connection) || head.values_of(Name::Connection).all(is_own) {
        return;
    }
    let options = connection_options(head).filter(|option| !is_own(option)).map(<[u8]>::to_ascii_lowercase);
    let options: SmallVec<[Vec<u8>; 2]> = options.collect();
    if !options.is_empty() {
        head.retain(|field| KEPT.has(field.kind) || !options.iter().any(|option| option == field.name));
    }
}

/// Fields of one hop, and those by which a request would steer us or say who sent it.
const STEERING: Names = Names::HOP_BY_HOP.with(Names::of(&[Name::Expect, Name::Envoy, Name::ForwardedClientCert]));

/// What an edge does to a stranger's request: fields of one hop and steering fields go, the peer is appended, scheme and id
/// are written anew. `peer` is the client's address as text.
pub(super) fn sanitize(
    head: &mut Head,
    wishes: Wishes,
    framing: Framing,
    peer: &[u8],
    scheme: Scheme,
    id: Option<NonZeroU128>,
) {
    const GONE: Names = STEERING.with(Names::of(&[Name::ForwardedFor, Name::ForwardedProto]));
    // Where requests get no id, they keep theirs.
    let gone = if id.is_some() { GONE.with(Name::RequestId.alone()) } else { GONE };
    if head.names().has_any(gone) {
        drop_connection_options(head);
        let earlier = earlier_values(head, Name::ForwardedFor);
        head.remove_all(gone);
        head.append_with(b"x-forwarded-for", |out| {
            out.extend_from_slice(&earlier);
            out.extend_from_slice(peer);
        });
    } else {
        head.append_own(Name::ForwardedFor, b"x-forwarded-for: ", peer);
    }
    say_scheme(head, scheme);
    if let Some(id) = id {
        say_id(head, id);
    }
    restore(head, wishes, framing);
}

/// What a sidecar does to the request of its own workload: fields of one hop and steering fields go; what says where it comes
/// from stays, and is added where it is missing. Source: Istio, outbound listeners, which are no edge.
pub(super) fn trust(head: &mut Head, wishes: Wishes, framing: Framing, scheme: Scheme, id: Option<NonZeroU128>) {
    if head.names().has_any(STEERING) {
        drop_connection_options(head);
        head.remove_all(STEERING);
    }
    if !head.names().has(Name::ForwardedProto) {
        say_scheme(head, scheme);
    }
    if let Some(id) = id.filter(|_| !head.names().has(Name::RequestId)) {
        say_id(head, id);
    }
    restore(head, wishes, framing);
}

/// The scheme that the client's request has come with, as its `x-forwarded-proto` says. Source: Envoy, `:scheme`.
pub(super) fn said_scheme(head: &Head) -> Option<Scheme> {
    scheme_of(said_protocol(head)?)
}

/// The only `x-forwarded-proto` of a request.
pub(super) fn said_protocol(head: &Head) -> Option<&[u8]> {
    let mut said = head.values_of(Name::ForwardedProto);
    said.next().filter(|_| said.next().is_none())
}

/// The scheme of HTTP that `word` is.
pub(super) fn scheme_of(word: &[u8]) -> Option<Scheme> {
    match word {
        word if word.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        word if word.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        _ => None,
    }
}

fn say_scheme(head: &mut Head, scheme: Scheme) {
    const NAME: usize = b"x-forwarded-proto".len();
    match scheme {
        Scheme::Http => head.append_line(Name::ForwardedProto, NAME, b"x-forwarded-proto: http\r\n"),
        Scheme::Https => head.append_line(Name::ForwardedProto, NAME, b"x-forwarded-proto: https\r\n"),
    }
}

fn say_id(head: &mut Head, id: NonZeroU128) {
    const NAME: usize = b"x-request-id".len();
    let mut line = *b"x-request-id: 00000000-0000-0000-0000-000000000000\r\n";
    line[NAME + 2..][..36].copy_from_slice(&uuid(id.get()));
    head.append_line(Name::RequestId, NAME, &line);
}

/// Says again of this hop what was said of the one before.
fn restore(head: &mut Head, wishes: Wishes, framing: Framing) {
    if wishes.trailers {
        head.append(b"te", b"trailers");
    }
    if wishes.upgrade {
        head.append(b"connection", b"upgrade");
        head.append(b"upgrade", b"websocket");
    }
    if framing == Framing::Chunked {
        head.append(b"transfer-encoding", b"chunked");
    }
}

/// All values of a field, each with a comma after it.
pub(super) fn earlier_values(head: &Head, name: Name) -> SmallVec<[u8; 64]> {
    let mut text = SmallVec::new();
    if head.names().has(name) {
        for earlier in head.values_of(name) {
            text.extend_from_slice(earlier);
            text.push(b',');
        }
    }
    text
}

/// A random UUID (RFC 9562, version 4) from 128 random bits.
fn uuid(bits: u128) -> [u8; 36] {
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let [a, b, c, d] = [96, 64, 32, 0].map(|shift| digits((bits >> shift) as u32));
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&a);
    text[9..13].copy_from_slice(&b[..4]);
    text[14..18].copy_from_slice(&b[4..]);
    text[19..23].copy_from_slice(&c[..4]);
    text[24..28].copy_from_slice(&c[4..]);
    text[28..].copy_from_slice(&d);
    text
}

/// The eight hexadecimal digits of a number, made all at once: one in each byte of a word.
fn digits(number: u32) -> [u8; 8] {
    let mut spread = u64::from(number);
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let letters = (spread + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (spread + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// The head as routing sees it.
pub(crate) struct View<'a> {
    /// Method and fields.
    pub(crate) head: &'a Head,
    /// Where it wants to go.
    pub(crate) target: &'a Target,
    /// The path and its form for matching.
    pub(crate) path: &'a routing::normalize::Normalized<'a>,
    /// By the listener.
    pub(crate) scheme: Scheme,
    /// Whether it has come as a CONNECT with a protocol.
    pub(crate) connect: bool,
}

impl RequestHead for View<'_> {
    fn method(&self) -> &[u8] {
        if self.connect { b"CONNECT" } else { self.head.method() }
    }

    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn authority(&self) -> &[u8] {
        self.target.authority()
    }

    fn matching_path(&self) -> &[u8] {
        self.path.matching()
    }

    fn query(&self) -> Option<&[u8]> {
        self.target.query(self.head)
    }

    fn any_header(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> bool {
        self.head.values(name.as_bytes()).any(test)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::http) fn head(fields: &[(&str, &str)]) -> Head {
        let mut head = Head::default();
        fields.iter().for_each(|(name, value)| head.append(name.as_bytes(), value.as_bytes()));
        head
    }

    fn sanitized(fields: &[(&str, &str)], framing: Framing) -> Vec<String> {
        let mut head = head(fields);
        let wishes = Wishes::read(&head, framing).unwrap();
        sanitize(&mut head, wishes, framing, b"127.0.0.1", Scheme::Http, NonZeroU128::new(1));
        let mut out = Vec::new();
        head.write_fields(&mut out);
        let text = String::from_utf8(out).unwrap();
        text.lines().filter(|line| !line.starts_with("x-request-id")).map(str::to_owned).collect()
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
        let want =
            ["host: a.example", "x-kept: k", "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http", "te: trailers"];
        assert_eq!(sanitized(&fields, Framing::None), want);
    }

    #[test]
    fn an_edge_writes_its_own_words_over_those_of_strangers() {
        let fields = [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-for", "10.4.5.6"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
            ("x-envoy-max-retries", "5"),
            ("x-envoy-retry-on", "5xx"),
            ("x-forwarded-client-cert", "By=me"),
            ("expect", "100-continue"),
            ("transfer-encoding", "Chunked"),
        ];
        let want =
            ["x-forwarded-for: 10.1.2.3,10.4.5.6,127.0.0.1", "x-forwarded-proto: http", "transfer-encoding: chunked"];
        assert_eq!(sanitized(&fields, Framing::Chunked), want);
    }

    #[test]
    fn a_sidecar_keeps_what_its_own_workload_says_of_where_a_request_comes_from() {
        let mut head = head(&[
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "mine"),
            ("x-envoy-retry-on", "5xx"),
            ("connection", "keep-alive"),
        ]);
        trust(&mut head, Wishes::default(), Framing::None, Scheme::Http, NonZeroU128::new(1));
        let mut out = Vec::new();
        head.write_fields(&mut out);
        assert_eq!(out, b"x-forwarded-for: 10.1.2.3\r\nx-forwarded-proto: https\r\nx-request-id: mine\r\n");
        let mut bare = Head::default();
        trust(&mut bare, Wishes::default(), Framing::None, Scheme::Http, NonZeroU128::new(1));
        let names: Vec<bool> =
            [Name::ForwardedFor, Name::ForwardedProto, Name::RequestId].map(|name| bare.has(name)).into();
        assert_eq!(names, [false, true, true]);
    }

    #[test]
    fn wishes_are_read_and_an_unknown_upgrade_is_refused() {
        let read = |fields: &[(&str, &str)]| Wishes::read(&head(fields), Framing::None);
        assert_eq!(read(&[("host", "a")]), Ok(Wishes::default()));
        assert!(read(&[("connection", "Close")]).unwrap().close);
        assert!(read(&[("expect", "100-continue")]).unwrap().leave);
        assert!(read(&[("connection", "Upgrade"), ("upgrade", "WebSocket")]).unwrap().upgrade);
        assert!(!read(&[("upgrade", "websocket")]).unwrap().upgrade);
        assert!(!read(&[("connection", "upgrade"), ("upgrade", "h2c")]).unwrap().upgrade);
        assert_eq!(read(&[("connection", "upgrade"), ("upgrade", "foo")]), Err(Refusal::BAD_UPGRADE));
    }

    #[test]
    fn a_request_id_is_a_uuid_of_version_4() {
        for (bits, text) in [
            (0, "00000000-0000-4000-8000-000000000000"),
            (u128::MAX, "ffffffff-ffff-4fff-bfff-ffffffffffff"),
            (0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, "01234567-89ab-4def-8123-456789abcdef"),
        ] {
            assert_eq!(&uuid(bits), text.as_bytes());
        }
    }
}
