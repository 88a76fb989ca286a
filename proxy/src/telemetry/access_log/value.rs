//! Commands, compiled and evaluated: one evaluator for log lines and for header values.
//! Source: Envoy, "Access logging", command operators.

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::Version;
use config_model::model::{Command, GrpcStatusForm};

use super::query;
use super::record::{AccessRecord, Address, FieldName, Headers};
use super::text;
use super::time::{TimeFormat, Timestamps};
use crate::telemetry::Flags;

/// Takes what a command yields and writes it in its own way.
pub(super) trait Sink {
    /// Where to, and the times written before.
    fn parts(&mut self) -> (&mut Vec<u8>, &mut Timestamps);

    /// There is no value.
    fn absent(&mut self);

    /// Writes bytes that a client or a back end may have chosen.
    fn escape(out: &mut Vec<u8>, bytes: &[u8]);

    /// Comes before and after every value but a number.
    fn quote(&mut self) {}

    /// Writes what is no number, with `write`.
    fn quoted(&mut self, write: impl FnOnce(&mut Vec<u8>, &mut Timestamps)) {
        self.quote();
        let (out, times) = self.parts();
        write(out, times);
        self.quote();
    }

    /// A text or nothing.
    fn text(&mut self, text: Option<&[u8]>) {
        match text {
            Some(text) => self.quoted(|out, _| Self::escape(out, text)),
            None => self.absent(),
        }
    }

    /// A text of our own, in which nothing has to be escaped.
    fn plain(&mut self, text: &str) {
        self.quoted(|out, _| out.extend_from_slice(text.as_bytes()));
    }

    /// A text whose blanks are written as underscores, or nothing.
    fn words(&mut self, words: Option<&str>) {
        match words {
            // What is said of most requests.
            Some(words @ "via_upstream") => self.plain(words),
            Some(words) => self.quoted(|out, _| {
                let start = out.len();
                Self::escape(out, words.as_bytes());
                out.iter_mut().skip(start).filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
            }),
            None => self.absent(),
        }
    }

    /// A text with a semicolon behind it.
    fn delimited(&mut self, text: &[u8]) {
        self.quoted(|out, _| {
            Self::escape(out, text);
            out.push(b';');
        });
    }

    /// A number.
    fn number(&mut self, number: u64) {
        text::number(self.parts().0, number);
    }

    /// Milliseconds, or nothing.
    fn millis(&mut self, duration: Option<Duration>) {
        match duration {
            Some(duration) => {
                self.number(duration.as_secs().wrapping_mul(1000).wrapping_add(duration.subsec_millis().into()));
            }
            None => self.absent(),
        }
    }

    /// An address and port, or nothing.
    fn address(&mut self, address: Option<Address<'_>>) {
        match address {
            Some(Address::Ip(address)) => self.quoted(|out, _| text::socket_address(out, address)),
            Some(Address::Written(_, text)) => self.plain(text),
            Some(Address::Unix(path)) => self.text(Some(path.as_bytes())),
            None => self.absent(),
        }
    }

    /// The address alone, or nothing.
    fn ip(&mut self, address: Option<Address<'_>>) {
        match address.and_then(Address::ip_and_port) {
            Some(address) => self.quoted(|out, _| text::ip(out, address.ip())),
            None => self.address(address),
        }
    }

    /// The port alone, or nothing.
    fn port(&mut self, address: Option<Address<'_>>) {
        match address.map(Address::ip_and_port) {
            Some(Some(address)) => self.number(address.port().into()),
            Some(None) => self.text(Some(b"")),
            None => self.absent(),
        }
    }
}

/// Writes values as they are, nothing for what is absent.
pub(super) struct RawSink<'a> {
    pub(super) out: &'a mut Vec<u8>,
    pub(super) times: Timestamps,
    /// Whether there was no value.
    pub(super) is_absent: bool,
}

impl<'a> RawSink<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, times: Timestamps::default(), is_absent: false }
    }
}

impl Sink for RawSink<'_> {
    fn parts(&mut self) -> (&mut Vec<u8>, &mut Timestamps) {
        (self.out, &mut self.times)
    }

    fn absent(&mut self) {
        self.is_absent = true;
    }

    fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
        out.extend_from_slice(bytes);
    }
}

/// A header field that a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Method,
    Path,
    OriginalPath,
    Authority,
    Scheme,
    Header(FieldName),
    /// A name that no field can have.
    Impossible,
}

/// Which fields a command reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Request,
    Response,
    Trailers,
}

/// A field of a head, or another if that is absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) head: Head,
    field: Field,
    alternative: Option<Field>,
    without_query: bool,
}

/// A command, ready to be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operation {
    Lookup(Lookup),
    QueryParameter(Arc<str>),
    Time(TimeFormat),
    Hostname(Arc<str>),
    Other(Command),
}

impl Field {
    fn new(head: Head, name: &str) -> Self {
        match (head, name) {
            (Head::Request, ":method") => Self::Method,
            (Head::Request, ":path") => Self::Path,
            (Head::Request, ":authority" | "host") => Self::Authority,
            (Head::Request, ":scheme") => Self::Scheme,
            (Head::Request, "x-envoy-original-path") => Self::OriginalPath,
            _ => FieldName::new(name).map_or(Self::Impossible, Self::Header),
        }
    }
}

impl Lookup {
    fn new(head: Head, name: &str, alternative: Option<&str>, without_query: bool) -> Self {
        let alternative = alternative.map(|name| Field::new(head, name));
        Self { head, field: Field::new(head, name), alternative, without_query }
    }

    /// Names of the header fields that are read.
    pub(super) fn names(&self) -> impl Iterator<Item = &FieldName> {
        [Some(&self.field), self.alternative.as_ref()].into_iter().filter_map(|field| match field {
            Some(Field::Header(name)) => Some(name),
            _ => None,
        })
    }

    fn value<'a>(&self, record: &AccessRecord<'a>) -> Option<&'a [u8]> {
        let value = self.read(&self.field, record).or_else(|| self.read(self.alternative.as_ref()?, record));
        match value {
            Some(bytes) if self.without_query => bytes.split(|byte| *byte == b'?').next(),
            _ => value,
        }
    }

    fn headers<'a>(&self, record: &AccessRecord<'a>) -> &'a dyn Headers {
        match self.head {
            Head::Request => record.request_headers,
            Head::Response => record.response_headers,
            Head::Trailers => record.response_trailers,
        }
    }

    fn read<'a>(&self, field: &Field, record: &AccessRecord<'a>) -> Option<&'a [u8]> {
        let text = match field {
            Field::Header(name) => return self.headers(record).first(name),
            Field::Method => record.method,
            Field::Path => record.path,
            Field::OriginalPath => record.original_path?,
            Field::Authority => record.authority,
            Field::Scheme => record.scheme.as_bytes(),
            Field::Impossible => return None,
        };
        // A connection that is not read as HTTP has none of these.
        (!text.is_empty()).then_some(text)
    }
}

impl Operation {
    pub(super) fn new(command: &Command) -> Self {
        let lookup = |head, name: &str, alternative: &Option<Arc<str>>, without_query| {
            Self::Lookup(Lookup::new(head, name, alternative.as_deref(), without_query))
        };
        match command {
            Command::Request(name, other) => lookup(Head::Request, name, other, false),
            Command::RequestWithoutQuery(name, other) => lookup(Head::Request, name, other, true),
            Command::Response(name, _) if **name == *":status" => Self::Other(Command::ResponseCode),
            Command::Response(name, other) => lookup(Head::Response, name, other, false),
            Command::Trailer(name, other) => lookup(Head::Trailers, name, other, false),
            Command::QueryParameter(name) => Self::QueryParameter(Arc::clone(name)),
            Command::StartTime(Some(format)) => Self::Time(TimeFormat::new(format)),
            Command::Hostname => Self::Hostname(hostname()),
            other => Self::Other(other.clone()),
        }
    }

    /// Gives the value for `record` to `sink`.
    pub(super) fn evaluate(&self, record: &AccessRecord<'_>, sink: &mut impl Sink) {
        match self {
            Self::Lookup(lookup) => sink.text(lookup.value(record)),
            Self::QueryParameter(name) => sink.text(query::parameter(record.path, name).as_deref()),
            Self::Time(format) => sink.quoted(|out, _| format.write(out, record.start)),
            Self::Hostname(name) => sink.text(Some(name.as_bytes())),
            Self::Other(command) => evaluate(command, record, sink),
        }
    }
}

/// A field of a head, or a part of the request line by such a name.
pub(super) fn field<'a>(head: Head, name: &str, record: &AccessRecord<'a>) -> Option<&'a [u8]> {
    Lookup::new(head, name, None, false).value(record)
}

impl AccessRecord<'_> {
    /// Appends what `command` yields, nothing where there is nothing, without any escaping: for header values.
    pub fn write_command(&self, command: &Command, out: &mut Vec<u8>) {
        Operation::new(command).evaluate(self, &mut RawSink::new(out));
    }
}

/// Gives the value of a command that reads no header field and needs nothing compiled.
fn evaluate(command: &Command, record: &AccessRecord<'_>, sink: &mut impl Sink) {
    match command {
        Command::StartTime(_) => sink.quoted(|out, times| times.write(out, record.start)),
        Command::Protocol => match protocol(record.protocol) {
            Some(name) => sink.plain(name),
            None => sink.absent(),
        },
        Command::GrpcStatus(form) => grpc_status(*form, record.grpc_status, sink),
        Command::ResponseCode => sink.number(record.status.into()),
        Command::ResponseFlags => sink.quoted(|out, _| write_flags(out, record.flags)),
        Command::ResponseCodeDetails => sink.words(record.details),
        // No end of ours has any.
        Command::ConnectionTerminationDetails => sink.text(None),
        Command::UpstreamTransportFailureReason => sink.words(record.upstream_transport_failure_reason),
        Command::BytesReceived => sink.number(record.bytes_received),
        Command::BytesSent => sink.number(record.bytes_sent),
        Command::Duration => sink.millis(record.duration),
        Command::RequestDuration => sink.millis(record.request_duration),
        Command::ResponseDuration => sink.millis(record.response_duration),
        Command::ResponseTxDuration => sink.millis(record.response_tx_duration),
        Command::RouteName => sink.text(record.route_name.map(str::as_bytes)),
        Command::VirtualHostName => sink.text(record.virtual_host_name.map(str::as_bytes)),
        Command::RequestedServerName => sink.text(record.server_name.map(str::as_bytes)),
        Command::UpstreamHost => sink.text(record.upstream_host.map(str::as_bytes)),
        Command::UpstreamClusterRaw => sink.text(record.upstream_cluster.map(str::as_bytes)),
        Command::UpstreamCluster => match record.upstream_cluster {
            Some(name) => sink.delimited(name.as_bytes()),
            None => sink.absent(),
        },
        Command::UpstreamLocalAddress => sink.address(record.upstream_local_address),
        Command::UpstreamLocalAddressWithoutPort => sink.ip(record.upstream_local_address),
        Command::UpstreamLocalPort => sink.port(record.upstream_local_address),
        Command::UpstreamRemoteAddressWithoutPort => match upstream_address(record) {
            Some(address) => sink.quoted(|out, _| text::ip(out, address.ip())),
            None => sink.text(record.upstream_host.map(str::as_bytes)),
        },
        Command::UpstreamRemotePort => match upstream_address(record) {
            Some(address) => sink.number(address.port().into()),
            None => sink.absent(),
        },
        Command::UpstreamRequestAttemptCount => sink.number(record.attempt_count.into()),
        Command::DownstreamLocalAddress => sink.address(record.downstream_local_address),
        Command::DownstreamLocalAddressWithoutPort => sink.ip(record.downstream_local_address),
        Command::DownstreamLocalPort => sink.port(record.downstream_local_address),
        Command::DownstreamRemoteAddress => sink.address(record.downstream_remote_address),
        Command::DownstreamRemoteAddressWithoutPort => sink.ip(record.downstream_remote_address),
        Command::DownstreamRemotePort => sink.port(record.downstream_remote_address),
        Command::DownstreamDirectRemoteAddress => sink.address(record.downstream_direct_remote_address),
        Command::DownstreamDirectRemoteAddressWithoutPort => sink.ip(record.downstream_direct_remote_address),
        Command::DownstreamDirectRemotePort => sink.port(record.downstream_direct_remote_address),
        _ => sink.absent(),
    }
}

/// The endpoint's address, if it is none of a Unix socket.
fn upstream_address(record: &AccessRecord<'_>) -> Option<SocketAddr> {
    record.upstream_host?.parse().ok()
}

/// Names of the statuses of gRPC, as its libraries and as its protocol write them.
/// Source: gRPC, "Status codes and their use in gRPC".
const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// A status without a name is its number. Source: Envoy, `GrpcStatusFormatter`.
fn grpc_status(form: GrpcStatusForm, status: Option<u8>, sink: &mut impl Sink) {
    let Some(status) = status else { return sink.absent() };
    let names = GRPC_STATUSES.get(usize::from(status)).copied();
    match (form, names) {
        (GrpcStatusForm::Camel, Some((name, _))) | (GrpcStatusForm::Snake, Some((_, name))) => sink.plain(name),
        (GrpcStatusForm::Number, _) => sink.number(status.into()),
        (_, None) => sink.plain(itoa::Buffer::new().format(status)),
    }
}

pub(super) fn protocol(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_11 => Some("HTTP/1.1"),
        Version::HTTP_2 => Some("HTTP/2"),
        Version::HTTP_10 => Some("HTTP/1.0"),
        Version::HTTP_3 => Some("HTTP/3"),
        _ => None,
    }
}

/// Read once: it is asked for on the request path too.
fn hostname() -> Arc<str> {
    static NAME: OnceLock<Arc<str>> = OnceLock::new();
    let read = || fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim_end().into();
    Arc::clone(NAME.get_or_init(read))
}

fn write_flags(out: &mut Vec<u8>, flags: Flags) {
    if flags.is_empty() {
        return out.push(b'-');
    }
    for (place, name) in flags.names().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}
