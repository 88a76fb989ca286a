//! Base64, as Secrets and direct responses carry it.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Bytes that were written as base64. They may be a private key, so that neither `Debug` nor JSON shows them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Arc<[u8]>);

impl Bytes {
    /// Reads base64 in the usual or the URL alphabet, with or without padding; white space counts nothing.
    pub fn from_base64(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 3);
        let (mut held, mut bits, mut padding) = (0u32, 0u32, 0usize);
        for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
            if byte == b'=' {
                padding += 1;
                continue;
            }
            held = held << 6 | sextet(byte).filter(|_| padding == 0)?;
            bits += 6;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
            }
        }
        // Six bits over are no byte at all, and padding is there to fill the last four characters, not more.
        (bits < 6 && padding <= 2).then(|| Self(bytes.into()))
    }
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_in_both_alphabets() {
        for (text, want) in [
            ("", Some(&b""[..])),
            ("aGk=", Some(b"hi")),
            ("aGk", Some(b"hi")),
            ("aGV5", Some(b"hey")),
            ("aG\nV5", Some(b"hey")),
            ("-_8=", Some(b"\xfb\xff")),
            ("+/8=", Some(b"\xfb\xff")),
            ("a", None),
            ("aGk=x", None),
            ("a*b=", None),
            ("aGk===", None),
        ] {
            assert_eq!(Bytes::from_base64(text).as_ref().map(|bytes| &*bytes.0), want, "{text}");
        }
    }

    #[test]
    fn bytes_are_never_shown() {
        let bytes = Bytes::from_base64("c2VjcmV0").unwrap();
        assert_eq!(format!("{bytes:?}"), "Bytes(6 bytes)");
        assert_eq!(serde_json::to_string(&bytes).unwrap(), "\"[redacted]\"");
    }
}
