//! What ends a stream before its answer has ended, in our words.

use balance::AttemptError;
use h2::Reason;

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StreamFault {
    /// The back end has not begun to process the request: RST_STREAM with REFUSED_STREAM, or a GOAWAY that leaves it out.
    #[error("the back end has refused the stream")]
    Refused,
    /// The back end has reset it.
    #[error("the back end has reset the stream: {0}")]
    Reset(Reason),
    /// The connection is gone.
    #[error("the back end has closed the connection")]
    Closed,
    /// What came is not HTTP/2.
    #[error("the back end doesn't keep to HTTP/2: {0}")]
    Protocol(Reason),
}

impl From<h2::Error> for StreamFault {
    fn from(error: h2::Error) -> Self {
        let reason = error.reason().unwrap_or(Reason::PROTOCOL_ERROR);
        if error.is_remote() && (error.is_go_away() || reason == Reason::REFUSED_STREAM) {
            Self::Refused
        } else if error.is_remote() {
            Self::Reset(reason)
        } else if error.is_io() {
            Self::Closed
        } else {
            Self::Protocol(reason)
        }
    }
}

impl StreamFault {
    /// The word of the back end that a client of HTTP/2 is told when it has cut an answer: those that say something of the call
    /// itself. All others are between us and the back end.
    pub(crate) fn for_client(self) -> Option<Reason> {
        match self {
            Self::Reset(reason @ (Reason::CANCEL | Reason::ENHANCE_YOUR_CALM)) => Some(reason),
            _ => None,
        }
    }

    /// What it is for retries, if no head has come. `was_idle` says that the connection had nothing to do before.
    pub(super) fn before_head(self, was_idle: bool) -> AttemptError {
        match self {
            Self::Refused => AttemptError::RefusedStream,
            Self::Reset(_) => AttemptError::StreamReset,
            Self::Closed if was_idle => AttemptError::ClosedReused,
            Self::Closed => AttemptError::ClosedBeforeHead,
            Self::Protocol(_) => AttemptError::Malformed { reason: self.to_string().into() },
        }
    }
}

impl From<StreamFault> for std::io::Error {
    fn from(fault: StreamFault) -> Self {
        Self::new(std::io::ErrorKind::ConnectionReset, fault)
    }
}
