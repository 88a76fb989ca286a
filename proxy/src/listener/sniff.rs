//! What a connection speaks, by its first bytes. Start at [`sniff`].

use super::hello::{self, Hello};

/// The first bytes of an HTTP/2 connection with prior knowledge. Source: RFC 9113, 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Characters of a method at most, for these bytes to be HTTP/1.
const METHOD_MAX: usize = 24;

/// What the first bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Opened {
    /// A request of HTTP/1.
    Http1,
    /// The preface of HTTP/2.
    Http2,
    /// A ClientHello, and the server name in it.
    Tls(Option<Box<str>>),
    /// Something else.
    Other,
}

/// What `bytes`, of which there is at least one, are the beginning of; nothing if more are needed to tell.
pub(super) fn sniff(bytes: &[u8]) -> Option<Opened> {
    match hello::read(bytes) {
        Hello::Complete(name) => return Some(Opened::Tls(name)),
        Hello::Incomplete => return None,
        Hello::NotTls => {}
    }
    if bytes.starts_with(PREFACE) {
        return Some(Opened::Http2);
    }
    if PREFACE.starts_with(bytes) {
        return None;
    }
    http1(bytes)
}

/// `METHOD target HTTP/1.x`
fn http1(bytes: &[u8]) -> Option<Opened> {
    let method = bytes.iter().take(METHOD_MAX + 1).position(|byte| !byte.is_ascii_uppercase() && *byte != b'-');
    let line = match method {
        None if bytes.len() <= METHOD_MAX => return None,
        Some(length @ 1..) if bytes.get(length) == Some(&b' ') => bytes.get(length + 1..).unwrap_or_default(),
        _ => return Some(Opened::Other),
    };
    let end = memchr::memchr2(b'\r', b'\n', line);
    let Some(line) = line.get(..end?) else { return Some(Opened::Other) };
    let version = line.rsplit(|&byte| byte == b' ').next().filter(|version| version.len() < line.len());
    let is_http = version.is_some_and(|version| version.starts_with(b"HTTP/1."));
    Some(if is_http { Opened::Http1 } else { Opened::Other })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_other_protocols_by_their_first_line() {
        for (bytes, opened) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], Some(Opened::Http1)),
            (b"POST /a?b HTTP/1.0\n", Some(Opened::Http1)),
            (b"GET / HT", None),
            (b"GE", None),
            (b"PRI * HTTP/2.0\r\n", None),
            (PREFACE, Some(Opened::Http2)),
            (b"EHLO mail.example\r\n", Some(Opened::Other)),
            (b"PING\r\n", Some(Opened::Other)),
            (b"*1\r\n$4\r\nPING\r\n", Some(Opened::Other)),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Some(Opened::Other)),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZABC", Some(Opened::Other)),
            (b" GET / HTTP/1.1\r\n", Some(Opened::Other)),
            (b"\x16\x03\x01", None),
        ] {
            assert_eq!(sniff(bytes), opened, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
