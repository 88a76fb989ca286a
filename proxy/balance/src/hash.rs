//! What a request is hashed by, for consistent hashing and sticky splits. Source: Istio, `consistentHash`; Envoy,
//! `RouteAction.HashPolicy`. Hashes are Envoy's, bit for bit, so that a fleet of both agrees. Start at [`RequestHash`].

use std::fmt::{Display, Write};
use std::net::IpAddr;
use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

/// The hash of a request, gathered source by source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestHash(Option<u64>);

impl RequestHash {
    /// Adds what one source yields; a source that is missing in the request changes nothing.
    pub fn add(&mut self, hash: Option<u64>) {
        if let Some(hash) = hash {
            // Rotated, so that a source that is given twice doesn't take itself away.
            self.0 = Some(self.0.unwrap_or(0).rotate_left(1) ^ hash);
        }
    }

    /// All sources together; `None` if none of them was there.
    pub fn get(self) -> Option<u64> {
        self.0
    }
}

/// xxHash64 with seed 0.
pub fn hash_bytes(bytes: &[u8]) -> u64 {
    xxh64(bytes, 0)
}

/// The hash of a header's values, which it brings into order: the same in whatever order they came. `None` without a value.
pub fn header_hash(values: &mut [&[u8]]) -> Option<u64> {
    values.sort_unstable();
    (!values.is_empty()).then(|| values.iter().fold(0, |seed, value| xxh64(value, seed)))
}

/// The hash of the client's address, as text without its port.
pub fn source_ip_hash(address: IpAddr) -> u64 {
    // The longest IPv6 address has 39 characters.
    let mut text = Text { bytes: [0; 48], length: 0 };
    // It fits.
    let _ = write!(text, "{address}");
    hash_bytes(text.bytes.get(..text.length).unwrap_or_default())
}

/// The hash of a query parameter's value as it was sent; the first one of that name counts. `query` is what follows the `?`.
pub fn query_parameter_hash(query: &str, name: &str) -> Option<u64> {
    let pair = |pair: &str| -> Option<u64> {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| hash_bytes(value.as_bytes()))
    };
    query.split('&').find_map(pair)
}

/// The value of a cookie in the request's `Cookie` fields, without its quotes; the first one of that name counts. An empty one
/// is as good as none.
pub fn cookie_value<'a>(mut fields: impl Iterator<Item = &'a [u8]>, name: &str) -> Option<&'a [u8]> {
    let value =
        fields.find_map(|field| field.split(|&byte| byte == b';').find_map(|crumb| crumb_value(crumb, name)))?;
    let value = match value {
        [b'"', quoted @ .., b'"'] => quoted,
        plain => plain,
    };
    (!value.is_empty()).then_some(value)
}

fn crumb_value<'a>(crumb: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let begin = crumb.iter().position(|&byte| byte != b' ')?;
    crumb.get(begin..)?.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// The value of a cookie that is made for a client without one: the same for each request of a connection.
pub fn made_cookie_value(remote: impl Display, local: impl Display) -> String {
    format!("{:016x}", hash_bytes(format!("{remote}{local}").as_bytes()))
}

/// `Set-Cookie` for a cookie that was made. A life of zero is that of the client's session, and an empty path is left out;
/// `attributes` are further ones, such as `; Secure`.
pub fn set_cookie(name: &str, value: &str, path: &str, ttl: Duration, attributes: &str) -> String {
    let mut field = format!("{name}=\"{value}\"");
    // Writing to a string cannot fail.
    if ttl.as_secs() > 0 {
        let _ = write!(field, "; Max-Age={}", ttl.as_secs());
    }
    if !path.is_empty() {
        let _ = write!(field, "; Path={path}");
    }
    field.push_str(attributes);
    field.push_str("; HttpOnly");
    field
}

/// Text on the stack, cut off where it ends.
struct Text {
    bytes: [u8; 48],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len()).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_xxhash() {
        // From xxHash's own tests, and Envoy's.
        for (text, hash) in [("", 17_241_709_254_077_376_921), ("foo", 3_728_699_739_546_630_719)] {
            assert_eq!(hash_bytes(text.as_bytes()), hash, "{text:?}");
        }
    }

    #[test]
    fn several_sources_are_rotated_into_each_other_and_missing_ones_left_out() {
        let mut hash = RequestHash::default();
        hash.add(None);
        assert_eq!(hash.get(), None);
        hash.add(Some(1 << 63 | 5));
        assert_eq!(hash.get(), Some(1 << 63 | 5));
        hash.add(None);
        hash.add(Some(2));
        assert_eq!(hash.get(), Some(11 ^ 2));
        let mut twice = RequestHash::default();
        [7, 7].into_iter().for_each(|same| twice.add(Some(same)));
        assert_ne!(twice.get(), Some(0));
    }

    #[test]
    fn values_of_a_header_hash_alike_in_any_order() {
        assert_eq!(header_hash(&mut []), None);
        assert_eq!(header_hash(&mut [b"foo"]), Some(hash_bytes(b"foo")));
        assert_eq!(header_hash(&mut [b"foo", b"bar"]), header_hash(&mut [b"bar", b"foo"]));
        assert_eq!(header_hash(&mut [b"foo", b"bar"]), Some(xxh64(b"foo", xxh64(b"bar", 0))));
    }

    #[test]
    fn a_source_address_is_hashed_as_text_without_its_port() {
        for text in ["10.1.2.3", "::1", "2001:db8:1234:5678:9abc:def0:1234:5678"] {
            assert_eq!(source_ip_hash(text.parse().unwrap()), hash_bytes(text.as_bytes()));
        }
    }

    #[test]
    fn the_first_parameter_of_a_name_counts_as_it_was_sent() {
        let hash = |query, name| query_parameter_hash(query, name);
        assert_eq!(hash("a=1&b=%20x&b=3", "b"), Some(hash_bytes(b"%20x")));
        assert_eq!(hash("ab=1&a", "a"), Some(hash_bytes(b"")));
        assert_eq!(hash("ab=1", "a"), None);
    }

    #[test]
    fn a_cookie_is_found_among_others_and_an_empty_one_is_none() {
        let find = |fields: &[&'static str]| {
            let value = cookie_value(fields.iter().map(|field| field.as_bytes()), "session");
            value.map(|value| std::str::from_utf8(value).unwrap())
        };
        assert_eq!(find(&["a=b; session=abc123"]), Some("abc123"));
        assert_eq!(find(&["a=b", "xsession=1;session=\"q\"; session=2"]), Some("q"));
        assert_eq!(find(&["session=; a=b"]), None);
        assert_eq!(find(&["session"]), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn a_made_cookie_is_the_hash_of_the_connections_addresses() {
        let (remote, local) = ("10.0.0.1:4711", "10.0.0.2:80");
        let value = made_cookie_value(remote, local);
        assert_eq!(value, format!("{:016x}", hash_bytes(b"10.0.0.1:471110.0.0.2:80")));
        let field = set_cookie("session", "00ab", "/app", Duration::from_secs(60), "; SameSite=Lax");
        assert_eq!(field, "session=\"00ab\"; Max-Age=60; Path=/app; SameSite=Lax; HttpOnly");
        assert_eq!(set_cookie("s", "1", "", Duration::ZERO, ""), "s=\"1\"; HttpOnly");
    }
}
