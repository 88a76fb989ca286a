//! Host and port of a request: reading, checking, comparing. Source: RFC 3986, 3.2.2, and RFC 9110, 7.2.

/// An authority taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// As sent; an IPv6 address with its brackets.
    pub host: &'a [u8],
    /// The digits after the colon, if there is a colon. May be empty, as RFC 3986 allows.
    pub port: Option<&'a [u8]>,
}

/// Parts of an authority at its last colon outside of brackets, without looking at the characters.
pub fn split_port(authority: &[u8]) -> Authority<'_> {
    match memchr::memrchr2(b':', b']', authority) {
        Some(at) if authority.get(at) == Some(&b':') => {
            Authority { host: authority.get(..at).unwrap_or_default(), port: authority.get(at + 1..) }
        }
        _ => Authority { host: authority, port: None },
    }
}
