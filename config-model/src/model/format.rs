//! Text with commands such as `%REQ(x-source)%`, as in header values and access-log lines.
//! Source: Envoy, "Access logging", command operators; `%%` is one percent sign.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    source: Arc<str>,
    pieces: Vec<Piece>,
}

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands as it is.
    Literal(Arc<str>),
    /// A command, and the length that its value is cut to, if one was given: `%REQ(x):12%`.
    Command(Command, Option<usize>),
}

/// What a command yields. Header names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `START_TIME`, perhaps with a strftime format as `%START_TIME(%s)%`.
    StartTime(Option<Arc<str>>),
    /// `REQ(name?alternative)`
    Request(Arc<str>, Option<Arc<str>>),
    /// `REQ_WITHOUT_QUERY(name?alternative)`
    RequestWithoutQuery(Arc<str>, Option<Arc<str>>),
    /// `RESP(name?alternative)`
    Response(Arc<str>, Option<Arc<str>>),
    /// `TRAILER(name?alternative)`
    Trailer(Arc<str>, Option<Arc<str>>),
    /// `PROTOCOL`: `HTTP/1.1`, `HTTP/2`
    Protocol,
    /// `RESPONSE_CODE`
    ResponseCode,
    /// `RESPONSE_FLAGS`
    ResponseFlags,
    /// `RESPONSE_CODE_DETAILS`
    ResponseCodeDetails,
    /// `CONNECTION_TERMINATION_DETAILS`
    ConnectionTerminationDetails,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`
    UpstreamTransportFailureReason,
    /// `BYTES_RECEIVED`
    BytesReceived,
    /// `BYTES_SENT`
    BytesSent,
    /// `DURATION`: milliseconds, as the next three.
    Duration,
    /// `REQUEST_DURATION`
    RequestDuration,
    /// `RESPONSE_DURATION`
    ResponseDuration,
    /// `RESPONSE_TX_DURATION`
    ResponseTxDuration,
    /// `UPSTREAM_HOST`
    UpstreamHost,
    /// `UPSTREAM_CLUSTER` and `UPSTREAM_CLUSTER_RAW`
    UpstreamCluster,
    /// `UPSTREAM_LOCAL_ADDRESS`
    UpstreamLocalAddress,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`
    UpstreamRequestAttemptCount,
    /// `DOWNSTREAM_LOCAL_ADDRESS`
    DownstreamLocalAddress,
    /// `DOWNSTREAM_LOCAL_PORT`
    DownstreamLocalPort,
    /// `DOWNSTREAM_REMOTE_ADDRESS`
    DownstreamRemoteAddress,
    /// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`
    DownstreamRemoteAddressWithoutPort,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS`
    DownstreamDirectRemoteAddress,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT`
    DownstreamDirectRemoteAddressWithoutPort,
    /// `REQUESTED_SERVER_NAME`
    RequestedServerName,
    /// `ROUTE_NAME`
    RouteName,
    /// `VIRTUAL_HOST_NAME`
    VirtualHostName,
    /// `HOSTNAME`
    Hostname,
}

/// Why a text is not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    /// Byte offset of the command in the text.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

impl Format {
    /// Reads a format.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        Ok(Self { source: text.into(), pieces: vec![Piece::Literal(text.into())] })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The parts, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The text, if there is no command in it (a doubled percent sign has become one).
    pub fn literal(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}
