//! Bytes of values: numbers, addresses, and text escaped so that a line stays one line.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a number with at least `digits` digits.
pub(super) fn padded(out: &mut Vec<u8>, number: u64, digits: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    out.extend(std::iter::repeat_n(b'0', digits.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// Appends an address.
pub(super) fn ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (place, octet) in address.octets().into_iter().enumerate() {
                if place > 0 {
                    out.push(b'.');
                }
                number(out, octet.into());
            }
        }
        // Writing to a vector cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Appends an address and port.
pub(super) fn socket_address(out: &mut Vec<u8>, address: SocketAddr) {
    if address.is_ipv6() {
        out.push(b'[');
        ip(out, address.ip());
        out.push(b']');
    } else {
        ip(out, address.ip());
    }
    out.push(b':');
    number(out, address.port().into());
}

/// Whether a byte may need escaping: quotes, backslashes, control characters, and what is not ASCII.
const fn special(byte: u8) -> bool {
    byte < 0x20 || byte >= 0x7f || byte == b'"' || byte == b'\\'
}

/// Without an early return, so that the compiler makes vector code of it.
fn any_special(bytes: &[u8]) -> bool {
    bytes.iter().fold(false, |found, &byte| found | special(byte))
}

/// Appends bytes for a line of text: quotes and backslashes with a backslash, control characters and what is not UTF-8 as
/// `\x1b`. No header value can thus end a quoted field or a line.
pub(super) fn escaped_text(out: &mut Vec<u8>, bytes: &[u8]) {
    escaped(out, bytes, |out, byte| drop(write!(out, "\\x{byte:02x}")), "\\x7f");
}

/// Appends bytes for the inside of a JSON string; what is not UTF-8 as U+FFFD.
pub(super) fn escaped_json(out: &mut Vec<u8>, bytes: &[u8]) {
    let other = |out: &mut Vec<u8>, byte: u8| match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x80.. => out.extend_from_slice("\u{fffd}".as_bytes()),
        _ => drop(write!(out, "\\u{byte:04x}")),
    };
    escaped(out, bytes, other, "\u{7f}");
}

/// `other` writes a control character, or a byte that is not part of UTF-8; `delete` stands for U+007F.
fn escaped(out: &mut Vec<u8>, bytes: &[u8], other: impl Fn(&mut Vec<u8>, u8), delete: &str) {
    if !any_special(bytes) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\0'..'\x20' => other(out, character as u8),
                '\x7f' => out.extend_from_slice(delete.as_bytes()),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        chunk.invalid().iter().for_each(|&byte| other(out, byte));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_cannot_end_its_quotes_or_its_line() {
        for (value, line) in [
            ("plain/1.0 (X11; Linux)".as_bytes(), "plain/1.0 (X11; Linux)"),
            (b"a\" 200 - \"b", r#"a\" 200 - \"b"#),
            (br"a\b", r"a\\b"),
            (b"a\nb\x1b[0m\x7f", r"a\x0ab\x1b[0m\x7f"),
            ("käse".as_bytes(), "käse"),
            (b"\xff\xfe", r"\xff\xfe"),
        ] {
            assert_eq!(written(|out| escaped_text(out, value)), line);
        }
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["127.0.0.31:9080", "0.0.0.0:0", "255.10.1.99:65535", "[::1]:80", "[2001:db8::7]:443"] {
            assert_eq!(written(|out| socket_address(out, address.parse().unwrap())), address);
        }
    }

    #[test]
    fn numbers_are_padded_with_zeros() {
        for (value, digits, text) in [(7, 3, "007"), (123, 3, "123"), (1234, 3, "1234"), (0, 1, "0")] {
            assert_eq!(written(|out| padded(out, value, digits)), text);
        }
    }

    proptest! {
        #[test]
        fn a_json_string_reads_back_as_the_text_it_was(bytes in any::<Vec<u8>>()) {
            let json = written(|out| {
                out.push(b'"');
                escaped_json(out, &bytes);
                out.push(b'"');
            });
            let read: String = serde_json::from_str(&json).unwrap();
            let mut lossy = String::new();
            for chunk in bytes.utf8_chunks() {
                lossy.push_str(chunk.valid());
                lossy.extend(std::iter::repeat_n('\u{fffd}', chunk.invalid().len()));
            }
            prop_assert_eq!(read, lossy);
        }

        #[test]
        fn a_text_has_no_control_character_and_no_bare_quote(bytes in any::<Vec<u8>>()) {
            let text = written(|out| escaped_text(out, &bytes));
            prop_assert!(!text.chars().any(|character| character.is_ascii_control()));
            prop_assert!(!text.replace("\\\\", "").replace("\\\"", "").contains('"'));
        }
    }
}
