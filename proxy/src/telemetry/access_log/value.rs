//! Commands, compiled and evaluated: one evaluator for log lines and for header values.
//! Source: Envoy, "Access logging", command operators.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::http::Version;
use config_model::model::{Command, GrpcStatusForm};
use smallvec::SmallVec;

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

    /// A text of our own, in which nothing has to be escaped, or nothing.
    fn plain(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.quoted(|out, _| text::short(out, text.as_bytes())),
            None => self.absent(),
        }
    }

    /// A text whose blanks are written as underscores, or nothing.
    fn words(&mut self, words: Option<&str>) {
        match words {
            // What is said of most requests.
            Some("via_upstream") => self.quoted(|out, _| out.extend_from_slice(b"via_upstream")),
            Some(words) => self.quoted(|out, _| {
                let start = out.len();
                Self::escape(out, words.as_bytes());
                out.iter_mut().skip(start).filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
            }),
            None => self.absent(),
        }
    }

    /// A text with a semicolon behind it, or nothing.
    fn delimited(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.quoted(|out, _| {
                Self::escape(out, text.as_bytes());
                out.push(b';');
            }),
            None => self.absent(),
        }
    }

    /// A number or nothing.
    fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => text::number(self.parts().0, number),
            None => self.absent(),
        }
    }

    /// Milliseconds, or nothing.
    fn millis(&mut self, duration: Option<Duration>) {
        let whole = |it: Duration| it.as_secs().wrapping_mul(1000).wrapping_add(it.subsec_millis().into());
        self.number(duration.map(whole));
    }

    /// An address and port, or nothing.
    fn address(&mut self, address: Option<Address<'_>>) {
        match address {
            Some(Address::Ip(address)) => self.quoted(|out, _| text::socket_address(out, address)),
            Some(Address::Written(_, text)) => self.plain(Some(text)),
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
            Some(Some(address)) => self.number(Some(address.port().into())),
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

/// Reads a text.
type ReadText = for<'a> fn(&AccessRecord<'a>) -> Option<&'a [u8]>;
/// Reads a text of our own.
type ReadOwn = for<'a> fn(&AccessRecord<'a>) -> Option<&'a str>;
/// Reads an end of a connection.
type ReadAddress = for<'a> fn(&AccessRecord<'a>) -> Option<Address<'a>>;

/// A field that a command names.
#[derive(Debug, Clone)]
enum Field {
    /// A part of the request's first line, or what stands for one.
    OfRequest(ReadText),
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
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub(super) head: Head,
    field: Field,
    alternative: Option<Field>,
    without_query: bool,
}

/// A command, ready to be evaluated: what it reads, and how that is written.
// With a tag of its own, which is told apart in half the instructions that one between the bits of a variant takes.
#[derive(Debug, Clone)]
#[repr(u8)]
pub(super) enum Operation {
    /// What somebody else may have chosen, and may have to be escaped.
    Text(ReadText),
    Plain(ReadOwn),
    Words(ReadOwn),
    Number(fn(&AccessRecord<'_>) -> Option<u64>),
    Millis(fn(&AccessRecord<'_>) -> Option<Duration>),
    Address(ReadAddress),
    Ip(ReadAddress),
    Port(ReadAddress),
    StartTime,
    Time(TimeFormat),
    Flags,
    GrpcStatus(GrpcStatusForm),
    UpstreamCluster,
    Lookup(Lookup),
    QueryParameter(Arc<str>),
    Hostname(Arc<str>),
    Absent,
    /// So many bytes of a value at most.
    Cut(Box<Operation>, usize),
    /// No value, but text that stands as it is.
    Literal(Box<[u8]>),
}

/// Of a connection that is not read as HTTP the parts of the first line are empty.
fn part(text: &[u8]) -> Option<&[u8]> {
    (!text.is_empty()).then_some(text)
}

impl Field {
    fn new(head: Head, name: &str) -> Self {
        match (head, name) {
            (Head::Request, ":method") => Self::OfRequest(|record| part(record.method)),
            (Head::Request, ":path") => Self::OfRequest(|record| part(record.path)),
            (Head::Request, ":authority" | "host") => Self::OfRequest(|record| part(record.authority)),
            (Head::Request, ":scheme") => Self::OfRequest(|record| part(record.scheme.as_bytes())),
            (Head::Request, "x-envoy-original-path") => Self::OfRequest(|record| record.original_path),
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
        match field {
            Field::OfRequest(read) => read(record),
            Field::Header(name) => self.headers(record).first(name),
            Field::Impossible => None,
        }
    }
}

impl Operation {
    pub(super) fn new(command: &Command) -> Self {
        match command {
            Command::StartTime(None) => Self::StartTime,
            Command::StartTime(Some(format)) => Self::Time(TimeFormat::new(format)),
            // As nearly every line has it.
            Command::Request(name, Some(other)) if **name == *"x-envoy-original-path" && **other == *":path" => {
                Self::Text(|record| record.original_path.or_else(|| part(record.path)))
            }
            Command::Request(name, other) => Self::field(Head::Request, name, other.as_deref(), false),
            Command::RequestWithoutQuery(name, other) => Self::field(Head::Request, name, other.as_deref(), true),
            Command::Response(name, _) if **name == *":status" => Self::new(&Command::ResponseCode),
            Command::Response(name, other) => Self::field(Head::Response, name, other.as_deref(), false),
            Command::Trailer(name, other) => Self::field(Head::Trailers, name, other.as_deref(), false),
            Command::QueryParameter(name) => Self::QueryParameter(Arc::clone(name)),
            Command::Protocol => Self::Plain(|record| protocol(record.protocol)),
            Command::GrpcStatus(form) => Self::GrpcStatus(*form),
            Command::ResponseCode => Self::Number(|record| Some(record.status.into())),
            Command::ResponseFlags => Self::Flags,
            Command::ResponseCodeDetails => Self::Words(|record| record.details),
            Command::UpstreamTransportFailureReason => Self::Words(|record| record.upstream_transport_failure_reason),
            Command::BytesReceived => Self::Number(|record| Some(record.bytes_received)),
            Command::BytesSent => Self::Number(|record| Some(record.bytes_sent)),
            Command::Duration => Self::Millis(|record| record.duration),
            Command::RequestDuration => Self::Millis(|record| record.request_duration),
            Command::ResponseDuration => Self::Millis(|record| record.response_duration),
            Command::ResponseTxDuration => Self::Millis(|record| record.response_tx_duration),
            Command::RouteName => Self::Text(|record| record.route_name.map(str::as_bytes)),
            Command::VirtualHostName => Self::Text(|record| record.virtual_host_name.map(str::as_bytes)),
            Command::RequestedServerName => Self::Text(|record| record.server_name.map(str::as_bytes)),
            Command::UpstreamHost => Self::Text(|record| record.upstream_host.map(str::as_bytes)),
            Command::UpstreamClusterRaw => Self::Text(|record| record.upstream_cluster.map(str::as_bytes)),
            Command::UpstreamCluster => Self::UpstreamCluster,
            Command::UpstreamLocalAddress => Self::Address(|record| record.upstream_local_address),
            Command::UpstreamLocalAddressWithoutPort => Self::Ip(|record| record.upstream_local_address),
            Command::UpstreamLocalPort => Self::Port(|record| record.upstream_local_address),
            Command::UpstreamRemoteAddressWithoutPort => Self::Ip(upstream_address),
            Command::UpstreamRemotePort => {
                Self::Number(|record| Some(upstream_address(record)?.ip_and_port()?.port().into()))
            }
            Command::UpstreamRequestAttemptCount => Self::Number(|record| Some(record.attempt_count.into())),
            Command::DownstreamLocalAddress => Self::Address(|record| record.downstream_local_address),
            Command::DownstreamLocalAddressWithoutPort => Self::Ip(|record| record.downstream_local_address),
            Command::DownstreamLocalPort => Self::Port(|record| record.downstream_local_address),
            Command::DownstreamRemoteAddress => Self::Address(|record| record.downstream_remote_address),
            Command::DownstreamRemoteAddressWithoutPort => Self::Ip(|record| record.downstream_remote_address),
            Command::DownstreamRemotePort => Self::Port(|record| record.downstream_remote_address),
            Command::DownstreamDirectRemoteAddress => Self::Address(|record| record.downstream_direct_remote_address),
            Command::DownstreamDirectRemoteAddressWithoutPort => {
                Self::Ip(|record| record.downstream_direct_remote_address)
            }
            Command::DownstreamDirectRemotePort => Self::Port(|record| record.downstream_direct_remote_address),
            Command::Hostname => Self::Hostname(hostname()),
            // No end of ours has any details.
            Command::ConnectionTerminationDetails | Command::Unavailable(_) => Self::Absent,
        }
    }

    fn field(head: Head, name: &str, alternative: Option<&str>, without_query: bool) -> Self {
        match Lookup::new(head, name, alternative, without_query) {
            Lookup { field: Field::OfRequest(read), alternative: None, without_query: false, .. } => Self::Text(read),
            lookup => Self::Lookup(lookup),
        }
    }

    /// The fields that it reads.
    pub(super) fn lookup(&self) -> Option<&Lookup> {
        match self {
            Self::Lookup(lookup) => Some(lookup),
            Self::Cut(operation, _) => operation.lookup(),
            _ => None,
        }
    }

    /// Gives the value for `record` to `sink`.
    pub(super) fn evaluate(&self, record: &AccessRecord<'_>, sink: &mut impl Sink) {
        match self {
            Self::Text(read) => sink.text(read(record)),
            Self::Plain(read) => sink.plain(read(record)),
            Self::Words(read) => sink.words(read(record)),
            Self::Number(read) => sink.number(read(record)),
            Self::Millis(read) => sink.millis(read(record)),
            Self::Address(read) => sink.address(read(record)),
            Self::Ip(read) => sink.ip(read(record)),
            Self::Port(read) => sink.port(read(record)),
            Self::StartTime => sink.quoted(|out, times| times.write(out, record.start)),
            Self::Time(format) => sink.quoted(|out, _| format.write(out, record.start)),
            Self::Flags => sink.quoted(|out, _| write_flags(out, record.flags)),
            Self::GrpcStatus(form) => grpc_status(*form, record.grpc_status, sink),
            Self::UpstreamCluster => sink.delimited(record.upstream_cluster),
            Self::Lookup(lookup) => sink.text(lookup.value(record)),
            Self::QueryParameter(name) => sink.text(query::parameter(record.path, name).as_deref()),
            Self::Hostname(name) => sink.text(Some(name.as_bytes())),
            Self::Absent => sink.absent(),
            Self::Cut(operation, length) => operation.evaluate_cut(record, *length, sink),
            Self::Literal(text) => sink.parts().0.extend_from_slice(text),
        }
    }

    /// Cut first, then escaped, so that no escape is cut.
    fn evaluate_cut(&self, record: &AccessRecord<'_>, length: usize, sink: &mut impl Sink) {
        let mut value = SmallVec::<[u8; 128]>::new();
        let (out, _) = sink.parts();
        let start = out.len();
        let mut raw = RawSink::new(out);
        self.evaluate(record, &mut raw);
        let is_absent = raw.is_absent;
        value.extend_from_slice(out.get(start..).unwrap_or_default());
        out.truncate(start);
        value.truncate(length);
        sink.text((!is_absent).then_some(&value));
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

/// The endpoint's address.
fn upstream_address<'a>(record: &AccessRecord<'a>) -> Option<Address<'a>> {
    record.upstream_host.map(|host| host.parse().map_or(Address::Unix(host), Address::Ip))
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
        (GrpcStatusForm::Camel, Some((name, _))) | (GrpcStatusForm::Snake, Some((_, name))) => sink.plain(Some(name)),
        (GrpcStatusForm::Number, _) => sink.number(Some(status.into())),
        (_, None) => sink.plain(Some(itoa::Buffer::new().format(status))),
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
