//! What the handshake of WebSocket has in HTTP/1.1 and not in HTTP/2: a key, and the answer to it. Source: RFC 6455, 1.3, and RFC 8441.

use data_encoding::BASE64;
use sha1::{Digest, Sha1};

/// What is hashed behind a key. Source: RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key from 128 random bits.
pub(super) fn key(random: u128) -> String {
    BASE64.encode(&random.to_be_bytes())
}

/// `sec-websocket-accept` for a key.
pub(super) fn accept(key: &[u8]) -> String {
    BASE64.encode(&Sha1::new().chain_update(key.trim_ascii()).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_rfc_6455_does_it() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(u128::MAX), "/////////////////////w==");
    }
}
