//! Commands, compiled and evaluated: one evaluator for log lines and for header values.
//! Source: Envoy, "Access logging", command operators.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::http::{HeaderName, Version};
use config_model::model::Command;

use super::record::AccessRecord;
use super::text;
use super::time::{TimeFormat, Timestamps};
use crate::telemetry::Flags;

/// What a command yields for one request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    /// Nothing: `-` in text, `null` in JSON.
    Absent,
    /// Bytes as they came, from a client perhaps.
    Bytes(&'a [u8]),
    /// Text whose blanks are written as underscores.
    Words(&'a str),
    /// A number.
    Number(u64),
    /// Response flags.
    Flags(Flags),
    /// An address and port.
    Address(SocketAddr),
    /// An address.
    Ip(IpAddr),
    /// A time in the usual format.
    Time(SystemTime),
    /// A time in a format of its own.
    FormattedTime(SystemTime, &'a TimeFormat),
}

/// A header field that a command names.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Method,
    Path,
    OriginalPath,
    Authority,
    Scheme,
    Status,
    Header(HeaderName),
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
    Time(TimeFormat),
    Hostname(Arc<str>),
    Other(Command),
}

impl Field {
    fn new(name: &str) -> Self {
        match name {
            ":method" => Self::Method,
            ":path" => Self::Path,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            ":status" => Self::Status,
            "x-envoy-original-path" => Self::OriginalPath,
            _ => HeaderName::from_bytes(name.as_bytes()).map_or(Self::Impossible, Self::Header),
        }
    }
}

impl Lookup {
    fn new(head: Head, name: &str, alternative: Option<&str>, without_query: bool) -> Self {
        Self { head, field: Field::new(name), alternative: alternative.map(Field::new), without_query }
    }

    /// Names of the header fields that are read.
    pub(super) fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [Some(&self.field), self.alternative.as_ref()].into_iter().filter_map(|field| match field {
            Some(Field::Header(name)) => Some(name),
            _ => None,
        })
    }

    fn value<'a>(&self, record: &AccessRecord<'a>) -> Value<'a> {
        let first = self.read(&self.field, record);
        let value = match (first, &self.alternative) {
            (Value::Absent, Some(alternative)) => self.read(alternative, record),
            _ => first,
        };
        match value {
            Value::Bytes(bytes) if self.without_query => {
                let end = memchr::memchr(b'?', bytes).unwrap_or(bytes.len());
                Value::Bytes(bytes.get(..end).unwrap_or(bytes))
            }
            _ => value,
        }
    }

    fn read<'a>(&self, field: &Field, record: &AccessRecord<'a>) -> Value<'a> {
        let headers = match self.head {
            Head::Request => record.request_headers,
            Head::Response => record.response_headers,
            Head::Trailers => record.response_trailers,
        };
        match (field, self.head) {
            (Field::Method, Head::Request) => Value::Bytes(record.method.as_bytes()),
            (Field::Path, Head::Request) => Value::Bytes(record.path.as_bytes()),
            (Field::OriginalPath, Head::Request) => bytes(record.original_path),
            (Field::Authority, Head::Request) => Value::Bytes(record.authority.as_bytes()),
            (Field::Scheme, Head::Request) => Value::Bytes(record.scheme.as_bytes()),
            (Field::Status, Head::Response) if record.status != 0 => Value::Number(record.status.into()),
            (Field::Header(name), _) => headers.first(name).map_or(Value::Absent, Value::Bytes),
            _ => Value::Absent,
        }
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
            Command::Response(name, other) => lookup(Head::Response, name, other, false),
            Command::Trailer(name, other) => lookup(Head::Trailers, name, other, false),
            Command::StartTime(Some(format)) => Self::Time(TimeFormat::new(format)),
            Command::Hostname => Self::Hostname(hostname()),
            other => Self::Other(other.clone()),
        }
    }

    pub(super) fn value<'a>(&'a self, record: &AccessRecord<'a>) -> Value<'a> {
        match self {
            Self::Lookup(lookup) => lookup.value(record),
            Self::Time(format) => Value::FormattedTime(record.start, format),
            Self::Hostname(name) => Value::Bytes(name.as_bytes()),
            Self::Other(command) => record.value(command),
        }
    }
}

impl<'a> AccessRecord<'a> {
    /// Writes what `command` yields, as it is, without any escaping; false if that is nothing. For header values.
    pub fn write_command(&self, command: &Command, out: &mut Vec<u8>) -> bool {
        let operation = Operation::new(command);
        let value = operation.value(self);
        value.write(out, &mut Timestamps::default(), Vec::extend_from_slice);
        value != Value::Absent
    }

    /// What a command yields that reads no header field and needs nothing compiled.
    fn value(&self, command: &Command) -> Value<'a> {
        match command {
            Command::StartTime(_) => Value::Time(self.start),
            Command::Protocol => bytes(protocol(self.protocol)),
            Command::ResponseCode => Value::Number(self.status.into()),
            Command::ResponseFlags => Value::Flags(self.flags),
            Command::ResponseCodeDetails => self.details.map_or(Value::Absent, Value::Words),
            Command::ConnectionTerminationDetails => bytes(self.connection_termination_details),
            Command::UpstreamTransportFailureReason => {
                self.upstream_transport_failure_reason.map_or(Value::Absent, Value::Words)
            }
            Command::BytesReceived => Value::Number(self.bytes_received),
            Command::BytesSent => Value::Number(self.bytes_sent),
            Command::Duration => millis(self.duration),
            Command::RequestDuration => millis(self.request_duration),
            Command::ResponseDuration => millis(self.response_duration),
            Command::ResponseTxDuration => millis(self.response_tx_duration),
            Command::RouteName => bytes(self.route_name),
            Command::VirtualHostName => bytes(self.virtual_host_name),
            Command::RequestedServerName => bytes(self.server_name),
            _ => self.peer_value(command),
        }
    }

    fn peer_value(&self, command: &Command) -> Value<'a> {
        let (remote, direct) = (self.downstream_remote_address, self.downstream_direct_remote_address);
        match command {
            Command::UpstreamHost => bytes(self.upstream_host),
            Command::UpstreamCluster => bytes(self.upstream_cluster),
            Command::UpstreamLocalAddress => address(self.upstream_local_address),
            Command::UpstreamRequestAttemptCount => Value::Number(self.attempt_count.into()),
            Command::DownstreamLocalAddress => address(self.downstream_local_address),
            Command::DownstreamLocalPort => {
                self.downstream_local_address.map_or(Value::Absent, |address| Value::Number(address.port().into()))
            }
            Command::DownstreamRemoteAddress => address(remote),
            Command::DownstreamRemoteAddressWithoutPort => ip(remote),
            Command::DownstreamDirectRemoteAddress => address(direct),
            Command::DownstreamDirectRemoteAddressWithoutPort => ip(direct),
            _ => Value::Absent,
        }
    }
}

fn bytes(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Absent, |text| Value::Bytes(text.as_bytes()))
}

fn millis<'a>(duration: Option<Duration>) -> Value<'a> {
    duration.map_or(Value::Absent, |duration| {
        Value::Number(duration.as_secs().wrapping_mul(1000).wrapping_add(duration.subsec_millis().into()))
    })
}

fn address<'a>(address: Option<SocketAddr>) -> Value<'a> {
    address.map_or(Value::Absent, Value::Address)
}

fn ip<'a>(address: Option<SocketAddr>) -> Value<'a> {
    address.map_or(Value::Absent, |address| Value::Ip(address.ip()))
}

fn protocol(version: Version) -> Option<&'static str> {
    [
        (Version::HTTP_11, "HTTP/1.1"),
        (Version::HTTP_2, "HTTP/2"),
        (Version::HTTP_10, "HTTP/1.0"),
        (Version::HTTP_3, "HTTP/3"),
    ]
    .into_iter()
    .find_map(|(known, text)| (known == version).then_some(text))
}

fn hostname() -> Arc<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim_end().into()
}

impl Value<'_> {
    /// Appends the value; `escape` writes what a client or a back end may have chosen.
    pub(super) fn write(&self, out: &mut Vec<u8>, times: &mut Timestamps, escape: impl Fn(&mut Vec<u8>, &[u8])) {
        match self {
            Self::Absent => {}
            Self::Bytes(bytes) => escape(out, bytes),
            Self::Words(words) => {
                let start = out.len();
                escape(out, words.as_bytes());
                let written = out.get_mut(start..).unwrap_or_default();
                written.iter_mut().filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
            }
            Self::Number(value) => text::number(out, *value),
            Self::Flags(flags) => write_flags(out, *flags),
            Self::Address(address) => text::socket_address(out, *address),
            Self::Ip(address) => text::ip(out, *address),
            Self::Time(time) => times.write(out, *time),
            Self::FormattedTime(time, format) => format.write(out, *time),
        }
    }

    /// The value cut to `length` bytes.
    pub(super) fn write_cut(
        &self,
        out: &mut Vec<u8>,
        times: &mut Timestamps,
        escape: impl Fn(&mut Vec<u8>, &[u8]),
        length: usize,
    ) {
        if let Self::Bytes(bytes) = self {
            escape(out, bytes.get(..length).unwrap_or(bytes));
        } else {
            let start = out.len();
            self.write(out, times, escape);
            out.truncate(out.len().min(start + length));
        }
    }
}

fn write_flags(out: &mut Vec<u8>, flags: Flags) {
    if flags.is_empty() {
        out.push(b'-');
    }
    for (place, name) in flags.names().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}
