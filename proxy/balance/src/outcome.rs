//! How one attempt at an endpoint ended. Retries, response flags, the access log and metrics all read this one value.
//! Source of flags, statuses and wording: Envoy, "Response flags" and the router's answers to upstream resets.

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
    },
    /// None came, or the answer broke off afterwards.
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
    /// Refused, unreachable, or no file descriptor left.
    #[error("connecting failed: {reason}")]
    ConnectFailed {
        /// What the system said.
        reason: io::ErrorKind,
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
    /// The head was passed on, then the body broke off: the client sees its answer cut.
    #[error("the answer broke off in its body")]
    CutBody,
}

/// How far an attempt came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// There was no connection, or none that a byte of the request went over.
    Connect,
    /// The request went out, at least in part; no response head.
    Head,
    /// The response head came.
    Body,
}

impl AttemptOutcome {
    /// Whether this counts as a failure of the endpoint: no answer, or a status of 500 or more.
    pub fn is_failure(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status >= 500,
            Self::Failed(_) => true,
        }
    }
}

impl AttemptError {
    /// How far the attempt came.
    pub fn phase(&self) -> Phase {
        match self {
            Self::ConnectTimeout { .. } | Self::ConnectFailed { .. } | Self::ClosedUnsent => Phase::Connect,
            Self::CutBody => Phase::Body,
            _ => Phase::Head,
        }
    }

    /// Whether the endpoint may have acted on the request, so that sending it again could do something twice.
    pub fn may_have_acted(&self) -> bool {
        self.phase() != Phase::Connect && *self != Self::RefusedStream
    }

    /// Envoy's response flag.
    pub fn flag(&self) -> &'static str {
        match self {
            Self::ConnectTimeout { .. } | Self::ConnectFailed { .. } => "UF",
            Self::ClosedUnsent | Self::ClosedReused | Self::ClosedBeforeHead | Self::CutBody => "UC",
            Self::RefusedStream | Self::StreamReset => "UR",
            Self::Malformed { .. } => "UPE",
            Self::Stalled { .. } => "SI",
        }
    }

    /// Status of the answer that the client gets, if it has got none yet.
    pub fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 502,
            Self::Stalled { .. } => 504,
            _ => 503,
        }
    }

    /// Envoy's words, as in `upstream connect error or disconnect/reset before headers. reset reason: ...`.
    pub fn reset_reason(&self) -> &'static str {
        match self {
            Self::ConnectTimeout { .. } => "connection timeout",
            Self::ConnectFailed { .. } => "remote connection failure",
            Self::ClosedUnsent | Self::ClosedReused | Self::ClosedBeforeHead | Self::CutBody => {
                "connection termination"
            }
            Self::RefusedStream => "remote refused stream reset",
            Self::StreamReset => "remote reset",
            Self::Malformed { .. } => "protocol error",
            Self::Stalled { .. } => "stream timeout",
        }
    }
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
        ];
        for (error, flag, status, reason) in table {
            assert_eq!((error.flag(), error.status(), error.reset_reason()), (flag, status, reason), "{error}");
        }
    }

    #[test]
    fn only_a_request_that_nobody_has_seen_is_harmless_to_repeat() {
        let limit = Duration::from_secs(5);
        let table = [
            (AttemptError::ConnectTimeout { limit }, Phase::Connect, false),
            (AttemptError::ClosedUnsent, Phase::Connect, false),
            (AttemptError::RefusedStream, Phase::Head, false),
            (AttemptError::ClosedReused, Phase::Head, true),
            (AttemptError::ClosedBeforeHead, Phase::Head, true),
            (AttemptError::StreamReset, Phase::Head, true),
            (AttemptError::CutBody, Phase::Body, true),
        ];
        for (error, phase, may_have_acted) in table {
            assert_eq!((error.phase(), error.may_have_acted()), (phase, may_have_acted), "{error}");
        }
    }

    #[test]
    fn an_answer_below_500_is_no_failure() {
        for (status, failure) in [(200, false), (404, false), (499, false), (500, true), (503, true)] {
            assert_eq!(AttemptOutcome::Answered { status, grpc_status: None }.is_failure(), failure, "{status}");
        }
        assert!(AttemptOutcome::Failed(AttemptError::ClosedReused).is_failure());
    }
}
