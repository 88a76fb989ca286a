//! What bytes may stand where. Source: RFC 9110, 5.5 and 5.6.2; RFC 9112, 3.2.

use wide::u8x16;

/// For each byte of a field's name that byte in lower case; 0 for what no name holds.
pub(crate) const NAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let character = byte as u8;
        let token = matches!(character, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~');
        if token || character.is_ascii_alphanumeric() {
            table[byte] = character.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Whether `byte` may stand in a method or a field's name.
pub(crate) fn is_token(byte: u8) -> bool {
    NAME[usize::from(byte)] != 0
}

/// Whether a byte may stand in a request's target: visible ASCII, and no `#`, which only a client knows.
const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_graphic() && byte as u8 != b'#';
        byte += 1;
    }
    table
};

/// Places in a line `name: value\r\n` that is written as it goes over the wire.
pub(crate) struct PlainLine {
    pub(crate) colon: usize,
    /// Behind its line feed.
    pub(crate) end: usize,
}

/// The line that begins at `at`, whose name is made lower case, if its value is not empty and has one space before it and no
/// blank at its end. Nothing says little about a line: it may be written in another way, be no field, or not be there whole.
pub(crate) fn plain_line(text: &mut [u8], at: usize) -> Option<PlainLine> {
    let name_length = lower_name(text.get_mut(at..)?);
    let colon = at + name_length;
    if name_length == 0 || !matches!(text.get(colon..), Some([b':', b' ', first, ..]) if *first > b' ') {
        return None;
    }
    let value_end = value_end(text, colon + 2);
    match text.get(value_end - 1..value_end + 2) {
        Some([last, b'\r', b'\n']) if !matches!(last, b' ' | b'\t') => Some(PlainLine { colon, end: value_end + 2 }),
        _ => None,
    }
}

/// Makes the field's name at the beginning of `text` lower case, and yields its length. Sixteen bytes at a time as long as they
/// are letters, digits and hyphens.
pub(crate) fn lower_name(text: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        if let Some(sixteen) = text.get_mut(length..).and_then(<[u8]>::first_chunk_mut) {
            let run = lower_run(sixteen);
            length += run;
            if run == 16 {
                continue;
            }
        }
        match text.get_mut(length) {
            Some(byte) if is_token(*byte) => byte.make_ascii_lowercase(),
            _ => return length,
        }
        length += 1;
    }
}

/// Makes the letters, digits and hyphens at the beginning lower case, and yields how many they are.
fn lower_run(text: &mut [u8; 16]) -> usize {
    let bytes = u8x16::new(*text);
    let within = |bytes: u8x16, first: u8, last: u8| {
        let offset = bytes - u8x16::splat(first);
        offset.min(u8x16::splat(last - first)).simd_eq(offset)
    };
    let upper = within(bytes, b'A', b'Z');
    let lower = bytes | (upper & u8x16::splat(0x20));
    let plain = within(lower, b'a', b'z') | within(lower, b'0', b'9') | lower.simd_eq(u8x16::splat(b'-'));
    let plain = plain.to_bitmask();
    let run = run_length(plain);
    // Most names come in lower case from one side or the other.
    if upper.to_bitmask() & plain & !(plain + 1) != 0 {
        // The others stand behind the name, and stay as they are.
        let beyond = PLACES.max(u8x16::splat(run as u8)).simd_eq(PLACES);
        *text = (lower & !beyond | bytes & beyond).to_array();
    }
    run as usize
}

/// How many of the lower sixteen bits are set, from the lowest on.
fn run_length(bits: u32) -> u32 {
    // With a bit at the end there is no zero to be asked for.
    (!bits & 0xffff | 0x1_0000).trailing_zeros()
}

/// For each of sixteen bytes where it stands.
const PLACES: u8x16 = u8x16::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

/// Where, from `at` on, the first byte stands that no field's value holds: a control byte other than the tab. The length of
/// `text` if there is none. Sixteen bytes at a time.
pub(crate) fn value_end(text: &[u8], at: usize) -> usize {
    run_end(text, at, value_bytes, |byte| !is_control(byte))
}

/// Length of the target at the beginning of `text`. Sixteen bytes at a time.
pub(crate) fn target_length(text: &[u8]) -> usize {
    run_end(text, 0, target_bytes, |byte| TARGET[usize::from(byte)])
}

/// Where, from `at` on, the first byte stands that is not as `sixteen` says by a bit for each, and `one` of one byte.
fn run_end(text: &[u8], mut at: usize, sixteen: impl Fn(u8x16) -> u32, one: impl Fn(u8) -> bool) -> usize {
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let run = run_length(sixteen(u8x16::new(*bytes)));
        at += run as usize;
        if run < 16 {
            return at;
        }
    }
    at + text.iter().skip(at).take_while(|byte| one(**byte)).count()
}

/// Where, from `at` on, the first line feed stands.
pub(crate) fn line_feed(text: &[u8], at: usize) -> Option<usize> {
    let end = value_end(text, at);
    match text.get(end..) {
        Some([b'\r', b'\n', ..]) => Some(end + 1),
        _ => memchr::memchr(b'\n', text.get(at..).unwrap_or_default()).map(|after| at + after),
    }
}

/// A bit for each byte that is no control byte other than the tab.
fn value_bytes(bytes: u8x16) -> u32 {
    let visible = bytes.max(u8x16::splat(b' ')).simd_eq(bytes);
    let tab = bytes.simd_eq(u8x16::splat(b'\t'));
    (visible & !bytes.simd_eq(u8x16::splat(0x7f)) | tab).to_bitmask()
}

/// A bit for each byte that may stand in a target.
fn target_bytes(bytes: u8x16) -> u32 {
    let graphic = bytes.max(u8x16::splat(b'!')).simd_eq(bytes) & bytes.min(u8x16::splat(b'~')).simd_eq(bytes);
    (graphic & !bytes.simd_eq(u8x16::splat(b'#'))).to_bitmask()
}

/// Whether `byte` is a control byte other than the tab.
pub(crate) fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_told_by_the_rfcs_table() {
        for byte in 0..=u8::MAX {
            let character = char::from(byte);
            let token = character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
            assert_eq!(is_token(byte), token, "{byte}");
            assert_eq!(TARGET[usize::from(byte)], (0x21..0x7f).contains(&byte) && byte != b'#', "{byte}");
            for at in 0..19 {
                let mut text = [b'a'; 19];
                text[at] = byte;
                let illegal = byte < 0x20 && byte != 9 || byte == 0x7f;
                assert_eq!(value_end(&text, 0), if illegal { at } else { 19 }, "{byte} at {at}");
                assert_eq!(target_length(&text), if TARGET[usize::from(byte)] { 19 } else { at }, "{byte} at {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_name_is_made_lower_case_up_to_its_end(mut text in "[A-Za-z0-9_.-]{0,20}[\\x00-\\x7fé:]{0,12}".prop_map(String::into_bytes)) {
            let sent = text.clone();
            let length = sent.iter().position(|&byte| !is_token(byte)).unwrap_or(sent.len());
            prop_assert_eq!(lower_name(&mut text), length);
            prop_assert_eq!(&text[..length], sent[..length].to_ascii_lowercase());
            prop_assert_eq!(&text[length..], &sent[length..]);
        }

        #[test]
        fn sixteen_at_a_time_is_as_one_at_a_time(text: Vec<u8>, from in 0usize..20) {
            let one_by_one = (from..text.len()).find(|&at| is_control(text[at])).unwrap_or(text.len().max(from));
            prop_assert_eq!(value_end(&text, from), one_by_one);
        }
    }
}
