//! Heads of responses. Source: RFC 9112, 4 to 6.

use crate::HEAD_BYTES_MAX;
use crate::framing::{self, Framing};
use crate::head::{Head, Span, Version};
use crate::name::{Name, Names};
use crate::request::{Malformed, read_fields};
use crate::scan;

/// What is wrong with the head of a response. Nothing of it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResponseFault {
    /// The first line is none of HTTP/1.
    #[error("the status line is malformed")]
    StatusLine,
    /// A line is no field.
    #[error("a header field is malformed")]
    Field,
    /// Several lengths, a length that is no number, a length beside a coding, an unknown coding.
    #[error("the length of the body is in doubt")]
    Framing,
    /// The head is too long, or has too many fields.
    #[error("the head is too large")]
    TooLarge,
    /// The connection was closed before the head was whole.
    #[error("the head was broken off")]
    BrokenOff,
}

/// Reads the head of the response to a request, `to_head` if that was a HEAD, from the first `filled` bytes of the head's
/// buffer. Yields where it ends, or nothing if it isn't there whole.
pub(crate) fn parse(head: &mut Head, filled: usize, to_head: bool) -> Result<Option<(usize, Framing)>, ResponseFault> {
    head.clear();
    let within = filled.min(HEAD_BYTES_MAX);
    let Some(fields) = status_line(head, within)? else {
        return if filled > HEAD_BYTES_MAX { Err(ResponseFault::TooLarge) } else { Ok(None) };
    };
    match read_fields(head, fields, within) {
        Ok(Some(end)) => Ok(Some((end, framing(head, to_head)?))),
        Ok(None) if filled <= HEAD_BYTES_MAX => Ok(None),
        Ok(None) | Err(Malformed::TooMany) => Err(ResponseFault::TooLarge),
        Err(Malformed::Line) => Err(ResponseFault::Field),
    }
}

fn framing(head: &mut Head, to_head: bool) -> Result<Framing, ResponseFault> {
    let framing = framing::of(head).map_err(|_doubt| ResponseFault::Framing)?;
    match (head.status(), framing) {
        (_, Some(Framing::Chunked)) if head.version() == Version::Http10 => Err(ResponseFault::Framing),
        (100..=199 | 204, _) => {
            // They have no body, whatever they say. Source: RFC 9110, 8.6.
            head.remove_all(Names::of(&[Name::ContentLength, Name::TransferEncoding]));
            Ok(Framing::None)
        }
        (304, _) => Ok(Framing::None),
        _ if to_head => Ok(Framing::None),
        (_, framing) => Ok(framing.unwrap_or(Framing::UntilClose)),
    }
}

/// Reads `HTTP/1.1 200 OK`, where the reason may be missing with its blank, and yields where the next line begins.
fn status_line(head: &mut Head, filled: usize) -> Result<Option<usize>, ResponseFault> {
    let bytes = head.buffer.get(..filled).unwrap_or_default();
    let Some(line_feed) = scan::line_feed(bytes, 0) else { return Ok(None) };
    let line = bytes.get(..line_feed).and_then(|line| line.strip_suffix(b"\r")).ok_or(ResponseFault::StatusLine)?;
    let (version, rest) = line.split_at_checked(9).ok_or(ResponseFault::StatusLine)?;
    head.version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(ResponseFault::StatusLine),
    };
    let [hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', reason @ ..] = rest else {
        return Err(ResponseFault::StatusLine);
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    head.status = digit(hundreds) * 100 + digit(tens) * 10 + digit(ones);
    head.reason = match reason {
        [] => Span::default(),
        [b' ', ..] if !reason.iter().any(|&byte| scan::is_control(byte)) => {
            Span::new(line_feed - reason.len(), line_feed - 1)
        }
        _ => return Err(ResponseFault::StatusLine),
    };
    Ok(Some(line_feed + 1))
}
