//! What bytes may stand where. Source: RFC 9110, 5.5 and 5.6.2; RFC 9112, 3.2.

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
pub(crate) const TARGET: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_graphic() && byte as u8 != b'#';
        byte += 1;
    }
    table
};

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Makes the field's name at the beginning of `text` lower case, and yields its length. Eight bytes at a time as long as they are
/// letters, digits and hyphens.
pub(crate) fn lower_name(text: &mut [u8]) -> usize {
    let mut at = 0;
    loop {
        if let Some(eight) = text.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            let (lower, stops) = lower(u64::from_le_bytes(*eight));
            if stops == 0 {
                *eight = lower.to_le_bytes();
                at += 8;
                continue;
            }
            let kept = stops.trailing_zeros() & !7;
            let mask = (1 << kept) - 1;
            *eight = (lower & mask | u64::from_le_bytes(*eight) & !mask).to_le_bytes();
            at += kept as usize / 8;
        }
        match text.get_mut(at) {
            Some(byte) if NAME[usize::from(*byte)] != 0 => *byte = NAME[usize::from(*byte)],
            _ => return at,
        }
        at += 1;
    }
}

/// Eight bytes in lower case, and the highest bit of each that is no letter, digit or hyphen.
fn lower(bytes: u64) -> (u64, u64) {
    // The highest bit of each byte, of which only seven bits are looked at, that is at least `low` and below `high`.
    let within = |bytes: u64, low: u8, high: u8| {
        let seven = bytes & !HIGHS;
        let at_least = |limit: u8| seven + ONES * u64::from(0x80 - limit);
        at_least(low) & !at_least(high)
    };
    let upper = within(bytes, b'A', b'Z' + 1) & !bytes & HIGHS;
    let lower = bytes | upper >> 2;
    let letters = within(lower, b'a', b'z' + 1);
    let plain = (letters | within(lower, b'0', b'9' + 1) | within(lower, b'-', b'-' + 1)) & !bytes;
    (lower, !plain & HIGHS)
}

/// Where, from `at` on, the first byte stands that no field's value holds: a control byte other than the tab. The length of
/// `text` if there is none. Eight bytes at a time.
pub(crate) fn value_end(text: &[u8], mut at: usize) -> usize {
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk) {
        let marks = controls(u64::from_le_bytes(*eight));
        if marks == 0 {
            at += 8;
            continue;
        }
        at += marks.trailing_zeros() as usize / 8;
        if text.get(at) != Some(&b'\t') {
            return at;
        }
        at += 1;
    }
    while let Some(&byte) = text.get(at)
        && !is_control(byte)
    {
        at += 1;
    }
    at
}

/// Whether `byte` is a control byte other than the tab.
pub(crate) fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

/// The highest bit of each of eight bytes that is below a space or is DEL. A byte above such a one may be marked without being
/// one; the lowest mark is always right.
fn controls(bytes: u64) -> u64 {
    let below_space = bytes.wrapping_sub(ONES * 0x20) & !bytes;
    let zero_if_delete = bytes ^ (ONES * 0x7f);
    let delete = zero_if_delete.wrapping_sub(ONES) & !zero_if_delete;
    (below_space | delete) & HIGHS
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
            for at in 0..9 {
                let mut text = [b'a'; 9];
                text[at] = byte;
                let illegal = byte < 0x20 && byte != 9 || byte == 0x7f;
                assert_eq!(value_end(&text, 0), if illegal { at } else { 9 }, "{byte} at {at}");
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
        fn eight_at_a_time_is_as_one_at_a_time(text: Vec<u8>, from in 0usize..20) {
            let one_by_one = (from..text.len()).find(|&at| is_control(text[at])).unwrap_or(text.len().max(from));
            prop_assert_eq!(value_end(&text, from), one_by_one);
        }
    }
}
