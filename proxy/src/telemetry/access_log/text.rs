//! Bytes of values: numbers, addresses, and text escaped so that a line stays one line.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use wide::u8x16;

use crate::net::ipv4_text;

/// Digits of the numbers below a thousand, without zeros before them, and how many these are.
static DIGITS: [([u8; 3], u8); 1000] = {
    let mut digits = [([0; 3], 0); 1000];
    let mut number = 0;
    while number < digits.len() {
        let of = [b'0' + (number / 100) as u8, b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
        digits[number] = match number {
            0..10 => ([of[2], 0, 0], 1),
            10..100 => ([of[1], of[2], 0], 2),
            _ => (of, 3),
        };
        number += 1;
    }
    digits
};

/// Appends a number. Short ones, of which a line has many, are looked up.
#[inline]
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    match usize::try_from(number).ok().and_then(|number| DIGITS.get(number)) {
        Some((digits, length)) => append(out, digits, usize::from(*length)),
        None => long_number(out, number),
    }
}

fn long_number(out: &mut Vec<u8>, number: u64) {
    // Divisions of half the width cost half as much, and only short numbers are divided here.
    let digit = |place: u32| b'0' + (number as u32 / place % 10) as u8;
    match number {
        1000..10_000 => out.extend_from_slice(&[digit(1000), digit(100), digit(10), digit(1)]),
        10_000..100_000 => {
            out.extend_from_slice(&[digit(10_000), digit(1000), digit(100), digit(10), digit(1)]);
        }
        _ => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}

/// Appends the first `length` bytes of a text of fixed length: that is one store, and what is behind them goes again.
#[inline]
pub(super) fn append<const N: usize>(out: &mut Vec<u8>, text: &[u8; N], length: usize) {
    let start = out.len();
    out.extend_from_slice(text);
    out.truncate(start + length);
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
            let (text, length) = ipv4_text(address);
            append(out, &text, length);
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

/// Appends bytes as they are, and tells whether any may need escaping: a quote, a backslash, a control character, or what is not
/// ASCII. Most values are short, so both is done in one go, sixteen or eight bytes at a time; the last of these may be among those
/// before them, and are stored over them.
#[inline]
fn append_as_it_is(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let end = out.len() + bytes.len();
    if let Some(last) = bytes.last_chunk::<16>() {
        let mut found = specials(*last);
        let (sixteens, _) = bytes.as_chunks::<16>();
        for sixteen in sixteens {
            found |= specials(*sixteen);
            out.extend_from_slice(sixteen);
        }
        out.truncate(end - 16);
        out.extend_from_slice(last);
        found.to_bitmask() != 0
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        out.extend_from_slice(first);
        out.truncate(end - 8);
        out.extend_from_slice(last);
        any_special(u64::from_ne_bytes(*first)) | any_special(u64::from_ne_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        out.extend_from_slice(first);
        out.truncate(end - 4);
        out.extend_from_slice(last);
        any_special(u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last)))
    } else {
        out.extend_from_slice(bytes);
        bytes.iter().any(|byte| !(b' '..0x7f).contains(byte) || *byte == b'"' || *byte == b'\\')
    }
}

/// Which of sixteen bytes may need escaping.
#[inline]
fn specials(bytes: [u8; 16]) -> u8x16 {
    let bytes = u8x16::new(bytes);
    let is = |byte| bytes.simd_eq(u8x16::splat(byte));
    let is_at_least = |byte| bytes.max(u8x16::splat(byte)).simd_eq(bytes);
    is(b'"') | is(b'\\') | is_at_least(0x7f) | !is_at_least(b' ')
}

/// Whether any of eight bytes may. What stands in the high bit of each byte is the answer for it, once no byte has a high bit of
/// its own.
#[inline]
fn any_special(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
    let quote = below(word ^ (ONES * u64::from(b'"')), 1);
    let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
    let delete = word.wrapping_add(ONES);
    (word | below(word, 0x20) | quote | backslash | delete) & HIGH != 0
}

/// Appends bytes of which there are few.
pub(super) fn short(out: &mut Vec<u8>, bytes: &[u8]) {
    append_as_it_is(out, bytes);
}

/// Appends bytes for a line of text: quotes and backslashes with a backslash, control characters and what is not UTF-8 as
/// `\x1b`. No header value can thus end a quoted field or a line.
pub(super) fn escaped_text(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    if append_as_it_is(out, bytes) {
        out.truncate(start);
        escaped(out, bytes, |out, byte| drop(write!(out, "\\x{byte:02x}")), "\\x7f");
    }
}

/// Appends bytes for the inside of a JSON string; what is not UTF-8 as U+FFFD.
pub(super) fn escaped_json(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    if !append_as_it_is(out, bytes) {
        return;
    }
    out.truncate(start);
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
#[cold]
#[inline(never)]
fn escaped(out: &mut Vec<u8>, bytes: &[u8], other: impl Fn(&mut Vec<u8>, u8), delete: &str) {
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
        for address in
            ["127.0.0.31:9080", "9.10.99.100:1", "0.0.0.0:0", "255.10.1.99:65535", "[::1]:80", "[2001:db8::7]:443"]
        {
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
        fn what_needs_escaping_is_seen_wherever_it_stands(bytes in prop::collection::vec(0x18u8..=0x84, 0..30)) {
            let special = |byte: &u8| !(0x20..0x7f).contains(byte) || b"\"\\".contains(byte);
            let plain: Vec<u8> = bytes.iter().copied().filter(|byte| !special(byte)).collect();
            for (bytes, is_special) in [(&bytes, bytes.iter().any(special)), (&plain, false)] {
                let mut out = b"before ".to_vec();
                prop_assert_eq!(append_as_it_is(&mut out, bytes), is_special);
                prop_assert_eq!(out, [b"before ", &bytes[..]].concat());
            }
        }

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
