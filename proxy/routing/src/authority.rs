//! Host and port of a request: reading, checking, comparing. Source: RFC 3986, 3.2.2, and RFC 9110, 7.2.

use std::net::Ipv6Addr;

use crate::words;

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
    // Hosts are short: a search that begins at once beats one that is fast in the long run.
    match authority.iter().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(at) if authority.get(at) == Some(&b':') => {
            Authority { host: authority.get(..at).unwrap_or_default(), port: authority.get(at + 1..) }
        }
        _ => Authority { host: authority, port: None },
    }
}

/// Why a Host is answered with 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityRefusal {
    /// Nothing before the port.
    #[error("the host is empty")]
    Empty,
    /// `user@host`
    #[error("the authority contains user information")]
    UserInformation,
    /// A character that no host has, or brackets around what is no IPv6 address.
    #[error("the host is malformed")]
    Host,
    /// Not a number of at most 65535.
    #[error("the port is malformed")]
    Port,
}

/// Whether `authority` is a host alone, of lower-case letters, digits, hyphens and dots, as most are: nothing has to be split
/// off, checked or changed then. Eight bytes at a time; what is shorter is not looked at.
pub(crate) fn is_plain_host(authority: &[u8]) -> bool {
    let (words, rest) = authority.as_chunks();
    // The last word overlaps the one before.
    let last = authority.last_chunk().filter(|_| !rest.is_empty());
    !words.is_empty() && words.iter().chain(last).all(|word| is_plain_word(u64::from_ne_bytes(*word)))
}

/// Whether the eight bytes of `word` are lower-case letters, digits, hyphens and dots.
fn is_plain_word(word: u64) -> bool {
    let others = words::within(word, b'-', b'9') & !words::equal(word, b'/');
    words::are_all(word, words::lower_letters(word) | others)
}

/// Reads an authority as RFC 3986 has it; user information is refused, as RFC 9110 wants.
#[inline]
pub fn parse(authority: &[u8]) -> Result<Authority<'_>, AuthorityRefusal> {
    if is_plain_host(authority) { Ok(Authority { host: authority, port: None }) } else { parse_any(authority) }
}

fn parse_any(authority: &[u8]) -> Result<Authority<'_>, AuthorityRefusal> {
    let parts = split_port(authority);
    if parts.host.is_empty() {
        let user = memchr::memchr(b'@', authority).is_some();
        return Err(if user { AuthorityRefusal::UserInformation } else { AuthorityRefusal::Empty });
    }
    let number = |port: &[u8]| std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok());
    let port_is_valid = |port: &[u8]| port.is_empty() || port.iter().all(u8::is_ascii_digit) && number(port);
    if !is_host(parts.host) {
        let user = memchr::memchr(b'@', authority).is_some();
        Err(if user { AuthorityRefusal::UserInformation } else { AuthorityRefusal::Host })
    } else if !parts.port.is_none_or(port_is_valid) {
        Err(AuthorityRefusal::Port)
    } else {
        Ok(parts)
    }
}

fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', address @ .., b']'] => std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok()),
        name => is_name(name),
    }
}

/// Characters of a `reg-name` in RFC 3986, escapes aside: unreserved ones and sub-delimiters.
const NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        let delimiter =
            matches!(character, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        let unreserved = matches!(character, b'-' | b'.' | b'_' | b'~');
        table[byte] = delimiter || unreserved || character.is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        let length = rest.iter().position(|&byte| !NAME[usize::from(byte)]).unwrap_or(rest.len());
        rest = match rest.get(length..) {
            None | Some([]) => return true,
            Some([b'%', high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            Some(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests;
