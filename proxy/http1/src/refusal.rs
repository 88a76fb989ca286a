//! Why a message is not taken.

/// What is wrong with the head of a request. The connection is closed after it: not one further byte is read as a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request line is none.
    #[error("the request line is malformed")]
    RequestLine,
    /// A byte in the target that can't stand there, or a form that its method doesn't have.
    #[error("the request target is malformed")]
    Target,
    /// A line that is no field, a control byte, a folded line, a bare line feed.
    #[error("a header field is malformed")]
    Field,
    /// No Host or several.
    #[error("there has to be exactly one Host")]
    Host,
    /// Several lengths, a length that is no number, a length beside a coding, a coding in HTTP/1.0 or several.
    #[error("the length of the body is in doubt")]
    Framing,
    /// A coding other than `chunked`.
    #[error("the transfer coding is unknown")]
    Coding,
    /// HTTP, but a version other than 1.0 and 1.1.
    #[error("the version is not supported")]
    Version,
    /// The target alone is too long.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The head is too long, or has too many fields.
    #[error("the head is too large")]
    TooLarge,
}

impl Refusal {
    /// Status of the answer.
    pub fn status(self) -> u16 {
        match self {
            Self::RequestLine | Self::Target | Self::Field | Self::Host | Self::Framing => 400,
            Self::Coding => 501,
            Self::Version => 505,
            Self::TargetTooLong => 414,
            Self::TooLarge => 431,
        }
    }
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// A chunk's size is no hexadecimal number of at most 16 digits, or is not ended by CR LF.
    #[error("the size of a chunk is malformed")]
    ChunkSize,
    /// Something else than CR LF follows a chunk's data.
    #[error("a chunk is longer than its size")]
    ChunkEnd,
    /// Extensions of more than 256 bytes in sum.
    #[error("the extensions of chunks are too long")]
    Extensions,
    /// A malformed field after the last chunk.
    #[error("a trailer is malformed")]
    Trailer,
    /// Too many or too long fields after the last chunk.
    #[error("the trailers are too large")]
    TrailersTooLarge,
    /// The other side closed before the end.
    #[error("the body was broken off")]
    BrokenOff,
}

impl BodyFault {
    /// Status of the answer to a request with this fault.
    pub fn status(self) -> u16 {
        if self == Self::TrailersTooLarge { Refusal::TooLarge.status() } else { 400 }
    }
}
