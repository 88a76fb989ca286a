//! Heads of requests. Source: RFC 9112, 3 and 5.

use crate::framing::{self, Doubt, Framing};
use crate::head::{Head, Span, Version};
use crate::name::Name;
use crate::refusal::Refusal;
use crate::scan;
use crate::{FIELDS_MAX, HEAD_BYTES_MAX};

/// A place in the buffer, or none yet: more bytes are needed.
type Reached<E> = Result<Option<usize>, E>;

/// Reads the head of a request from the first `filled` bytes of the head's buffer. Yields where it ends, or nothing if it
/// isn't there whole. What is said depends on whole lines within the limit only, so that it doesn't matter how the bytes came.
pub(crate) fn parse(head: &mut Head, filled: usize) -> Result<Option<(usize, Framing)>, Refusal> {
    head.clear();
    let within = filled.min(HEAD_BYTES_MAX);
    let Some(fields) = request_line(head, within)? else {
        return if filled > HEAD_BYTES_MAX { Err(Refusal::TargetTooLong) } else { Ok(None) };
    };
    let end = match read_fields(head, fields, within) {
        Ok(Some(end)) => end,
        Ok(None) if filled <= HEAD_BYTES_MAX => return Ok(None),
        Ok(None) | Err(Malformed::TooMany) => return Err(Refusal::TooLarge),
        Err(Malformed::Line) => return Err(Refusal::Field),
    };
    Ok(Some((end, framing(head)?)))
}

fn framing(head: &Head) -> Result<Framing, Refusal> {
    let has_host = head.names().has(Name::Host);
    if head.is_repeated(Name::Host) || !has_host && head.version() == Version::Http11 {
        return Err(Refusal::Host);
    }
    match framing::of(head) {
        Ok(Some(Framing::Chunked)) if head.version() == Version::Http10 => Err(Refusal::Framing),
        Ok(framing) => Ok(framing.unwrap_or(Framing::None)),
        Err(Doubt::Ambiguous) => Err(Refusal::Framing),
        Err(Doubt::UnknownCoding) if head.version() == Version::Http10 => Err(Refusal::Framing),
        Err(Doubt::UnknownCoding) => Err(Refusal::Coding),
    }
}

/// Reads the request line, before which one empty line may stand (RFC 9112, 2.2), and yields where the next line begins.
fn request_line(head: &mut Head, filled: usize) -> Reached<Refusal> {
    let bytes = head.buffer.get(..filled).unwrap_or_default();
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    // A short way for what is common, and what is said of anything else is said of a whole line.
    let Some(end) = scan::line_feed(bytes, start) else { return Ok(None) };
    let line = bytes.get(start..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Refusal::RequestLine)?;
    let method_length = match line {
        [b'G', b'E', b'T', b' ', ..] => 3,
        line => line.iter().position(|&byte| !scan::is_token(byte)).unwrap_or(line.len()),
    };
    let after = line.get(method_length..).unwrap_or_default();
    let rest = after.strip_prefix(b" ").filter(|_| method_length > 0).ok_or(Refusal::RequestLine)?;
    let target_length = scan::target_length(rest);
    let (target, version) = rest.split_at_checked(target_length).unwrap_or_default();
    head.version = match version {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(Refusal::Version),
        [b' ', ..] | [] => return Err(Refusal::RequestLine),
        _ => return Err(Refusal::Target),
    };
    if target.is_empty() {
        return Err(Refusal::Target);
    }
    let target_start = start + method_length + 1;
    head.method = Span::new(start, start + method_length);
    head.target = Span::new(target_start, target_start + target_length);
    Ok(Some(end + 1))
}

/// What is wrong with the fields of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// A line is no field.
    Line,
    /// There are more than [`FIELDS_MAX`].
    TooMany,
}

/// Reads fields from `at` on, up to the empty line, and yields where that ends.
pub(crate) fn read_fields(head: &mut Head, mut at: usize, filled: usize) -> Reached<Malformed> {
    loop {
        // Most lines stand as they are kept; what follows is for the one that doesn't.
        at = head.add_lines(at, filled);
        let bytes = head.buffer.get_mut(..filled).unwrap_or_default();
        match bytes.get(at..).unwrap_or_default() {
            [b'\r', b'\n', ..] => return Ok(Some(at + 2)),
            [] | [b'\r'] => return Ok(None),
            _ => {}
        }
        match field(bytes, at) {
            Some(line) => {
                head.add_apart(Span::new(at, line.colon), Span::new(line.value_start, line.value_end));
                at = line.end;
            }
            None if memchr::memchr(b'\n', bytes.get(at..).unwrap_or_default()).is_some() => {
                return Err(Malformed::Line);
            }
            None => return Ok(None),
        }
        if head.count() > FIELDS_MAX {
            return Err(Malformed::TooMany);
        }
    }
}

/// Places in a line that is a field.
struct FieldLine {
    colon: usize,
    value_start: usize,
    value_end: usize,
    end: usize,
}

/// Reads the line that begins at `at`, and makes its name lower case. Nothing if it is no field, or isn't there whole.
fn field(bytes: &mut [u8], at: usize) -> Option<FieldLine> {
    let colon = at + scan::lower_name(bytes.get_mut(at..)?);
    if colon == at || colon - at > usize::from(u16::MAX) {
        return None;
    }
    let value_start = match bytes.get(colon..)? {
        [b':', rest @ ..] => colon + 1 + rest.iter().take_while(|byte| is_blank(**byte)).count(),
        _ => return None,
    };
    let line_end = scan::value_end(bytes, value_start);
    if bytes.get(line_end..line_end + 2) != Some(b"\r\n") {
        return None;
    }
    let value = bytes.get(value_start..line_end)?;
    let trailing = value.iter().rev().take_while(|byte| is_blank(**byte)).count();
    Some(FieldLine { colon, value_start, value_end: line_end - trailing, end: line_end + 2 })
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_message_left_behind_the_bytes_is_not_read() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Some-Longer-Name: 1\r\nAccept: */*\r\n\r\n";
        let mut head = Head::new(REQUEST.into());
        for cut in 0..REQUEST.len() {
            assert_eq!(parse(&mut head, cut), Ok(None), "{cut}");
        }
        assert_eq!(parse(&mut head, REQUEST.len()), Ok(Some((REQUEST.len(), Framing::None))));
        let mut fields = Vec::new();
        head.write_fields(&mut fields);
        assert_eq!(fields, b"host: a.example\r\nx-some-longer-name: 1\r\naccept: */*\r\n");
    }
}
