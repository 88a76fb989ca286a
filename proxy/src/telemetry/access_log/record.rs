//! What the access log and header values can say of a request.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, HeaderName, HeaderValue, Version};
use http1::{Head, Name};
use smallvec::SmallVec;

use crate::telemetry::Flags;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// An address and port.
    Ip(SocketAddr),
    /// The same, and how it is written.
    Written(SocketAddr, &'a str),
    /// The path of a Unix socket, or its name behind `@`.
    Unix(&'a str),
}

impl Address<'_> {
    /// Nothing of a Unix socket.
    pub(super) fn ip_and_port(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) | Self::Written(address, _) => Some(address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Written(_, text) | Self::Unix(text) => f.write_str(text),
        }
    }
}

/// A field's name, whose kind is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldName {
    kind: Name,
    /// In lower case.
    name: Box<str>,
}

impl FieldName {
    /// Nothing if no field can have that name.
    pub(super) fn new(name: &str) -> Option<Self> {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some(Self { kind: Name::of(name.as_str().as_bytes()), name: name.as_str().into() })
    }

    fn value<'h>(&self, head: &'h Head) -> Option<&'h [u8]> {
        head.value_of(self.kind, self.name.as_bytes())
    }
}

/// Header fields by name, whoever holds them.
pub trait Headers: Sync {
    /// The value of the first field of that name.
    fn first(&self, name: &FieldName) -> Option<&[u8]>;
}

impl Headers for Head {
    fn first(&self, name: &FieldName) -> Option<&[u8]> {
        name.value(self)
    }
}

/// No fields at all.
pub const NO_HEADERS: &dyn Headers = &NoHeaders;

struct NoHeaders;

impl Headers for NoHeaders {
    fn first(&self, _: &FieldName) -> Option<&[u8]> {
        None
    }
}

/// Values of the few fields that a line needs, kept from a head that is gone before the line is written.
/// Made by [`RequestLogs::capture_response`](super::RequestLogs::capture_response), and of trailers by
/// [`RequestLogs::capture_trailers`](super::RequestLogs::capture_trailers).
#[derive(Debug, Clone, Default)]
pub struct CapturedHeaders {
    /// Nothing if none of them was there.
    names: Option<Arc<[FieldName]>>,
    /// Of those that were there, by the place of their name.
    values: SmallVec<[(usize, SmallVec<[u8; 16]>); 1]>,
}

impl CapturedHeaders {
    pub(super) fn of(names: &Arc<[FieldName]>, head: &Head) -> Self {
        Self::with(names, |name| name.value(head))
    }

    pub(super) fn of_trailers(names: &Arc<[FieldName]>, trailers: &HeaderMap) -> Self {
        Self::with(names, |name| trailers.get(&*name.name).map(HeaderValue::as_bytes))
    }

    fn with<'h>(names: &Arc<[FieldName]>, value: impl Fn(&FieldName) -> Option<&'h [u8]>) -> Self {
        let mut captured = Self::default();
        for (place, name) in names.iter().enumerate() {
            if let Some(value) = value(name) {
                captured.names.get_or_insert_with(|| Arc::clone(names));
                captured.values.push((place, value.into()));
            }
        }
        captured
    }
}

impl Headers for CapturedHeaders {
    fn first(&self, name: &FieldName) -> Option<&[u8]> {
        let names = self.names.as_ref()?;
        let is_of_name = |place: usize| names.get(place) == Some(name);
        self.values.iter().find(|(place, _)| is_of_name(*place)).map(|(_, value)| &**value)
    }
}

/// All that is known of one request. While it is under way (for a header's value), what is not known yet is absent.
#[derive(Clone, Copy)]
pub struct AccessRecord<'a> {
    /// When its first byte came.
    pub start: SystemTime,
    /// `:method`
    pub method: &'a [u8],
    /// `:path` with its query, as forwarded.
    pub path: &'a [u8],
    /// The path as it came, if it has been rewritten: `x-envoy-original-path`, which a client cannot set.
    pub original_path: Option<&'a [u8]>,
    /// `:authority`
    pub authority: &'a [u8],
    /// `:scheme`
    pub scheme: &'a str,
    /// Fields of the request.
    pub request_headers: &'a dyn Headers,
    /// Fields of the answer.
    pub response_headers: &'a dyn Headers,
    /// Fields of the answer's trailers.
    pub response_trailers: &'a dyn Headers,
    /// Of the request.
    pub protocol: Version,
    /// The answer's status; 0 if there was none.
    pub status: u16,
    /// Response flags.
    pub flags: Flags,
    /// `via_upstream`, `route_not_found`, ...
    pub details: Option<&'a str>,
    /// Why connecting to the back end failed.
    pub upstream_transport_failure_reason: Option<&'a str>,
    /// The call's status, if the request is gRPC.
    pub grpc_status: Option<u8>,
    /// Bytes of the request's body.
    pub bytes_received: u64,
    /// Bytes of the answer's body.
    pub bytes_sent: u64,
    /// From the start to the last byte of the answer, or until now.
    pub duration: Option<Duration>,
    /// From the start to the last byte of the request.
    pub request_duration: Option<Duration>,
    /// From the start to the first byte of the back end's answer.
    pub response_duration: Option<Duration>,
    /// From the first byte of the back end's answer to the last byte sent to the client.
    pub response_tx_duration: Option<Duration>,
    /// Address of the endpoint, as text made when its cluster was.
    pub upstream_host: Option<&'a str>,
    /// `outbound|9080|v1|reviews.default.svc.cluster.local`
    pub upstream_cluster: Option<&'a str>,
    /// Our side of the connection to the endpoint.
    pub upstream_local_address: Option<Address<'a>>,
    /// How often the request was sent, or tried to be.
    pub attempt_count: u32,
    /// Our side of the client's connection.
    pub downstream_local_address: Option<Address<'a>>,
    /// The client, by `x-forwarded-for` where that is trusted.
    pub downstream_remote_address: Option<Address<'a>>,
    /// The other side of the client's connection.
    pub downstream_direct_remote_address: Option<Address<'a>>,
    /// Whether the client has shown a certificate.
    pub has_client_certificate: bool,
    /// The server name that the client asked for in its TLS handshake.
    pub server_name: Option<&'a str>,
    /// The route's name.
    pub route_name: Option<&'a str>,
    /// The virtual host's name.
    pub virtual_host_name: Option<&'a str>,
}
