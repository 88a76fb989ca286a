//! Eight bytes of text at a time, in a register. What is said of each byte is said by its high bit.

/// The high bit of each byte.
pub(crate) const HIGH: u64 = ONES * 0x80;
const ONES: u64 = u64::from_ne_bytes([1; 8]);

/// Which bytes are from `first` to `last`, both ASCII; nothing is said of bytes beyond ASCII.
pub(crate) const fn within(word: u64, first: u8, last: u8) -> u64 {
    at_least(word, first) & !at_least(word, last + 1)
}

const fn at_least(word: u64, first: u8) -> u64 {
    (word & !HIGH) + ONES * (0x80 - first as u64)
}

/// Which bytes are `byte`, which is ASCII; nothing is said of bytes beyond ASCII.
pub(crate) const fn equal(word: u64, byte: u8) -> u64 {
    !(((word ^ (ONES * byte as u64)) & !HIGH) + !HIGH)
}

/// Which bytes of `word` are letters in lower case.
pub(crate) const fn lower_letters(word: u64) -> u64 {
    within(word, b'a', b'z')
}

/// Which bytes are letters.
pub(crate) const fn letters(word: u64) -> u64 {
    lower_letters(word | (ONES * 0x20))
}

/// Whether all eight bytes are ASCII, and `such` has the high bit of each.
pub(crate) const fn are_all(word: u64, such: u64) -> bool {
    such & !word & HIGH == HIGH
}
