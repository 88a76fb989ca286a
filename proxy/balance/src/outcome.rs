//! How one attempt at an endpoint ended. Retries, response flags, the access log and metrics all read this one value.
//! Source of flags, statuses and wording: Envoy, "Response flags" and the router's answers to upstream resets.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

/// gRPC status `CANCELLED`.
pub const GRPC_CANCELLED: u32 = 1;
/// gRPC status `UNAVAILABLE`.
pub const GRPC_UNAVAILABLE: u32 = 14;

/// The end of an attempt, as far as it decides what comes next: either a whole response head, or what went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// A response head came.
    Answered {
        /// The HTTP status.
        status: u16,
        /// `grpc-status`, if it is in the head (not in trailers).
        grpc_status: Option<u32>,
        /// Whether `x-envoy-ratelimited` is in the head: another proxy turned the request down on purpose.
        rate_limited: bool,
    },
    /// None came.
    Failed(AttemptError),
}

/// Why an attempt failed: one variant for each thing that retries or an operator would do differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// No connection within the cluster's limit.
    #[error("connecting took longer than {limit:?}")]
    ConnectTimeout {
        /// Source: `connectTimeout`.
        limit: Duration,
    },
    /// TLS could not be agreed on: for retries and ejection this is a failure to connect.
    #[error("the TLS handshake failed: {reason}")]
    HandshakeFailed {
        /// The library's words.
        reason: Box<str>,
    },
    /// Refused, unreachable, or no file descriptor left.
    #[error("connecting failed: {reason}")]
    ConnectFailed {
        /// What the system said.
        reason: io::ErrorKind,
    },
    /// A proxy was asked to pass a connection on to another place, and did not agree.
    #[error("the proxy refused the tunnel with status {status}")]
    TunnelRefused {
        /// What it answered.
        status: u16,
    },
    /// The connection was gone before a byte of the request went out, so nobody has acted on it.
    #[error("the connection was closed before the request was sent")]
    ClosedUnsent,
    /// A kept connection ended without a byte of an answer: the endpoint had probably given it up already, but may have acted.
    #[error("a reused connection was closed before an answer came")]
    ClosedReused,
    /// A fresh connection ended without a whole response head, or a kept one in the middle of it.
    #[error("the connection was closed before the answer's head was complete")]
    ClosedBeforeHead,
    /// HTTP/2 says that the request was not processed: RST_STREAM with REFUSED_STREAM, or a GOAWAY with a lower stream.
    #[error("the stream was refused")]
    RefusedStream,
    /// RST_STREAM with another code.
    #[error("the stream was reset")]
    StreamReset,
    /// The head is not HTTP, or its framing is not.
    #[error("the answer is malformed: {reason}")]
    Malformed {
        /// The parser's words.
        reason: Box<str>,
    },
    /// Not one byte came for this long.
    #[error("no byte came for {limit:?}")]
    Stalled {
        /// The idle limit.
        limit: Duration,
    },
    /// No complete head within the limit of one try: it counts as a 504 of that try.
    #[error("the try took longer than {limit:?}")]
    PerTryTimeout {
        /// Source: `retries.perTryTimeout`.
        limit: Duration,
    },
    /// No complete head within the limit of the request, all tries together. There is no time left for another one.
    #[error("the request took longer than {limit:?}")]
    RequestTimeout {
        /// Source: `timeout`.
        limit: Duration,
    },
    /// A limit of the cluster was reached, so that no endpoint has seen the request. Source: `connectionPool`.
    #[error("the cluster takes no more requests now")]
    Overflow,
}

/// Envoy's response flags that an attempt can bring about. Source: Envoy, "Response flags".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ResponseFlag {
    /// `UF`
    UpstreamConnectionFailure,
    /// `UC`
    UpstreamConnectionTermination,
    /// `UR`
    UpstreamRemoteReset,
    /// `UPE`
    UpstreamProtocolError,
    /// `SI`
    StreamIdleTimeout,
    /// `UT`
    UpstreamRequestTimeout,
    /// `UO`
    UpstreamOverflow,
}

impl ResponseFlag {
    /// As the access log writes it.
    pub fn code(self) -> &'static str {
        match self {
            Self::UpstreamConnectionFailure => "UF",
            Self::UpstreamConnectionTermination => "UC",
            Self::UpstreamRemoteReset => "UR",
            Self::UpstreamProtocolError => "UPE",
            Self::StreamIdleTimeout => "SI",
            Self::UpstreamRequestTimeout => "UT",
            Self::UpstreamOverflow => "UO",
        }
    }
}

/// What outlier detection learns from an attempt. Source: Envoy, `Outlier::Result` and where its router reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// The endpoint answered; of gRPC the status that its own is mapped to.
    Answer(u16),
    /// No connection: refused, or not in time. Counts as 503 unless failures of both origins are told apart.
    Unreached,
    /// No answer over a connection: broken off, or not understood. Counts as `Unreached`.
    NoAnswer,
    /// No answer in time: as `NoAnswer`, but a 504.
    TimedOut,
    /// Nothing that would say anything about the endpoint.
    Nothing,
}

impl AttemptOutcome {
    /// Whether this counts as a failure of the endpoint: no answer, or a status of 500 or more.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status >= 500,
            Self::Failed(error) => *error != AttemptError::Overflow,
        }
    }

    /// What outlier detection learns. A try that is resent because its kept connection was stale is not reported: that says
    /// something about the connection's age.
    pub fn report(&self) -> Report {
        match self {
            Self::Answered { grpc_status: Some(grpc), .. } => Report::Answer(status_of_grpc(*grpc)),
            Self::Answered { status, .. } => Report::Answer(*status),
            Self::Failed(AttemptError::Overflow) => Report::Nothing,
            Self::Failed(
                AttemptError::PerTryTimeout { .. } | AttemptError::RequestTimeout { .. } | AttemptError::Stalled { .. },
            ) => Report::TimedOut,
            Self::Failed(error) if error.is_unsent() => Report::Unreached,
            Self::Failed(_) => Report::NoAnswer,
        }
    }
}

/// The HTTP status that says the same as a gRPC status. Source: Envoy, `Grpc::Utility::grpcToHttpStatus`.
fn status_of_grpc(grpc: u32) -> u16 {
    match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

impl AttemptError {
    /// Whether no byte of the request went out: there was no connection, or none that was still open.
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::ConnectTimeout { .. }
                | Self::HandshakeFailed { .. }
                | Self::ConnectFailed { .. }
                | Self::TunnelRefused { .. }
                | Self::ClosedUnsent
                | Self::Overflow
        )
    }

    /// Envoy's response flag.
    pub fn flag(&self) -> ResponseFlag {
        match self {
            Self::ConnectTimeout { .. }
            | Self::HandshakeFailed { .. }
            | Self::ConnectFailed { .. }
            | Self::TunnelRefused { .. } => ResponseFlag::UpstreamConnectionFailure,
            Self::ClosedUnsent | Self::ClosedReused | Self::ClosedBeforeHead => {
                ResponseFlag::UpstreamConnectionTermination
            }
            Self::RefusedStream | Self::StreamReset => ResponseFlag::UpstreamRemoteReset,
            Self::Malformed { .. } => ResponseFlag::UpstreamProtocolError,
            Self::Stalled { .. } => ResponseFlag::StreamIdleTimeout,
            Self::PerTryTimeout { .. } | Self::RequestTimeout { .. } => ResponseFlag::UpstreamRequestTimeout,
            Self::Overflow => ResponseFlag::UpstreamOverflow,
        }
    }

    /// Status of the answer that the client gets, if it has got none yet.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 502,
            Self::Stalled { .. } | Self::PerTryTimeout { .. } | Self::RequestTimeout { .. } => 504,
            _ => 503,
        }
    }

    /// Envoy's words, as in `upstream connect error or disconnect/reset before headers. reset reason: ...`.
    pub fn reset_reason(&self) -> &'static str {
        match self {
            Self::ConnectTimeout { .. } => "connection timeout",
            Self::HandshakeFailed { .. } | Self::ConnectFailed { .. } | Self::TunnelRefused { .. } => {
                "remote connection failure"
            }
            Self::ClosedUnsent | Self::ClosedReused | Self::ClosedBeforeHead => "connection termination",
            Self::RefusedStream => "remote refused stream reset",
            Self::StreamReset => "remote reset",
            Self::Malformed { .. } => "protocol error",
            Self::Stalled { .. } | Self::PerTryTimeout { .. } | Self::RequestTimeout { .. } => "stream timeout",
            Self::Overflow => "overflow",
        }
    }

    /// What the transport said: `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub fn transport_failure(&self) -> Option<String> {
        match self {
            Self::ConnectFailed { reason } => Some(format!("delayed connect error: {}", words_of(*reason))),
            Self::HandshakeFailed { reason } => Some(format!("TLS_error:|{reason}:TLS_error_end")),
            _ => None,
        }
    }

    /// The whole body of the answer that the client gets, for a request that was `retried` or not.
    pub fn body(&self, retried: bool) -> Cow<'static, str> {
        if self.flag() == ResponseFlag::UpstreamRequestTimeout {
            return Cow::Borrowed("upstream request timeout");
        }
        let lead = if retried { "retried and the latest reset reason" } else { "reset reason" };
        let reason = self.reset_reason();
        Cow::Owned(format!("upstream connect error or disconnect/reset before headers. {lead}: {reason}"))
    }

    /// Envoy's response code details: `%RESPONSE_CODE_DETAILS%`.
    pub fn details(&self) -> Cow<'static, str> {
        match self {
            Self::PerTryTimeout { .. } => Cow::Borrowed("upstream_per_try_timeout"),
            Self::RequestTimeout { .. } => Cow::Borrowed("response_timeout"),
            _ => {
                let transport = self.transport_failure().map(|failure| format!("|{failure}")).unwrap_or_default();
                let reason = (self.reset_reason().to_owned() + &transport).replace(' ', "_");
                Cow::Owned(format!("upstream_reset_before_response_started{{{reason}}}"))
            }
        }
    }
}

/// The system's own words, which are Envoy's too.
fn words_of(error: io::ErrorKind) -> Cow<'static, str> {
    Cow::Borrowed(match error {
        io::ErrorKind::ConnectionRefused => "Connection refused",
        io::ErrorKind::ConnectionReset => "Connection reset by peer",
        io::ErrorKind::HostUnreachable => "No route to host",
        io::ErrorKind::NetworkUnreachable => "Network is unreachable",
        io::ErrorKind::AddrNotAvailable => "Cannot assign requested address",
        other => return Cow::Owned(other.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_envoys_flag_status_and_words() {
        let limit = Duration::from_secs(5);
        let table = [
            (AttemptError::ConnectTimeout { limit }, "UF", 503, "connection timeout"),
            (
                AttemptError::ConnectFailed { reason: io::ErrorKind::ConnectionRefused },
                "UF",
                503,
                "remote connection failure",
            ),
            (AttemptError::ClosedBeforeHead, "UC", 503, "connection termination"),
            (AttemptError::ClosedReused, "UC", 503, "connection termination"),
            (AttemptError::RefusedStream, "UR", 503, "remote refused stream reset"),
            (AttemptError::StreamReset, "UR", 503, "remote reset"),
            (AttemptError::Malformed { reason: "no status".into() }, "UPE", 502, "protocol error"),
            (AttemptError::Stalled { limit }, "SI", 504, "stream timeout"),
            (AttemptError::HandshakeFailed { reason: "expired".into() }, "UF", 503, "remote connection failure"),
            (AttemptError::PerTryTimeout { limit }, "UT", 504, "stream timeout"),
            (AttemptError::RequestTimeout { limit }, "UT", 504, "stream timeout"),
            (AttemptError::Overflow, "UO", 503, "overflow"),
        ];
        for (error, flag, status, reason) in table {
            assert_eq!((error.flag().code(), error.status(), error.reset_reason()), (flag, status, reason), "{error}");
        }
    }

    #[test]
    fn an_attempt_without_an_open_connection_has_sent_nothing() {
        let limit = Duration::from_secs(5);
        let table = [
            (AttemptError::ConnectTimeout { limit }, true),
            (AttemptError::ClosedUnsent, true),
            (AttemptError::Overflow, true),
            (AttemptError::PerTryTimeout { limit }, false),
            (AttemptError::RefusedStream, false),
            (AttemptError::ClosedReused, false),
            (AttemptError::ClosedBeforeHead, false),
            (AttemptError::StreamReset, false),
        ];
        for (error, is_unsent) in table {
            assert_eq!(error.is_unsent(), is_unsent, "{error}");
        }
    }

    #[test]
    fn an_answer_below_500_is_no_failure() {
        for (status, failure) in [(200, false), (404, false), (499, false), (500, true), (503, true)] {
            assert_eq!(answered(status, None).is_failure(), failure, "{status}");
        }
        assert!(AttemptOutcome::Failed(AttemptError::ClosedReused).is_failure());
        assert!(!AttemptOutcome::Failed(AttemptError::Overflow).is_failure(), "no endpoint had to do with it");
    }

    fn answered(status: u16, grpc_status: Option<u32>) -> AttemptOutcome {
        AttemptOutcome::Answered { status, grpc_status, rate_limited: false }
    }

    #[test]
    fn timeouts_have_words_of_their_own_and_an_overflow_has_those_of_a_reset() {
        let limit = Duration::from_secs(1);
        let per_try = AttemptError::PerTryTimeout { limit };
        assert_eq!(
            (&*per_try.body(true), &*per_try.details()),
            ("upstream request timeout", "upstream_per_try_timeout")
        );
        assert_eq!(AttemptError::RequestTimeout { limit }.details(), "response_timeout");
        let before = "upstream connect error or disconnect/reset before headers. ";
        assert_eq!(AttemptError::Overflow.body(false), format!("{before}reset reason: overflow"));
        let retried = format!("{before}retried and the latest reset reason: connection termination");
        assert_eq!(AttemptError::ClosedBeforeHead.body(true), retried);
        let details = "upstream_reset_before_response_started{connection_termination}";
        assert_eq!(AttemptError::ClosedBeforeHead.details(), details);
    }

    #[test]
    fn outlier_detection_sees_grpc_statuses_as_http_and_never_an_overflow() {
        let limit = Duration::from_secs(1);
        let failed = AttemptOutcome::Failed;
        let table = [
            (answered(503, None), Report::Answer(503)),
            (answered(200, Some(0)), Report::Answer(200)),
            (answered(200, Some(GRPC_UNAVAILABLE)), Report::Answer(503)),
            (answered(200, Some(12)), Report::Answer(501)),
            (answered(200, Some(77)), Report::Answer(500)),
            (failed(AttemptError::ClosedBeforeHead), Report::NoAnswer),
            (failed(AttemptError::ConnectTimeout { limit }), Report::Unreached),
            (failed(AttemptError::PerTryTimeout { limit }), Report::TimedOut),
            (failed(AttemptError::RequestTimeout { limit }), Report::TimedOut),
            (failed(AttemptError::Overflow), Report::Nothing),
        ];
        for (outcome, report) in table {
            assert_eq!(outcome.report(), report, "{outcome:?}");
        }
    }
}
