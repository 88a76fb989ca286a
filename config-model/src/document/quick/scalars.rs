//! Scalars of one line: plain and quoted.

use std::borrow::Cow;

use super::Reader;
use crate::document::Value;
use crate::document::scalar::{key_text, resolve};

impl<'t> Reader<'t> {
    /// The text of the key that stands here with this length, as JSON has it.
    pub(super) fn key_text(&self, length: usize) -> Option<Cow<'t, str>> {
        let text = self.text.get(self.at..self.at + length)?;
        if text.starts_with(['"', '\'']) {
            return unquote(text);
        }
        if text == "<<" {
            return None;
        }
        match resolve(text) {
            None => Some(text.into()),
            Some(value) => key_text(&value),
        }
    }

    /// The quoted scalar that stands here.
    pub(super) fn quoted(&mut self) -> Option<Value<'t>> {
        let length = self.quoted_length()?;
        let value = unquote(self.text.get(self.at..self.at + length)?)?;
        self.at += length;
        Some(Value::String(value))
    }

    /// Its length with both quotes.
    pub(super) fn quoted_length(&self) -> Option<usize> {
        let bytes = self.text.as_bytes().get(self.at..)?;
        let quote = *bytes.first()?;
        let mut index = 1;
        loop {
            match *bytes.get(index)? {
                b'\n' => return None,
                b'\\' if quote == b'"' => index += 2,
                byte if byte == quote && quote == b'\'' && bytes.get(index + 1) == Some(&quote) => index += 2,
                byte if byte == quote => return Some(index + 1),
                _ => index += 1,
            }
        }
    }

    /// The plain scalar that stands here, in a block.
    pub(super) fn plain(&mut self) -> Option<Value<'t>> {
        let length = self.plain_length(false)?;
        self.take_plain(length)
    }

    /// The same within brackets.
    pub(super) fn flow_plain(&mut self) -> Option<Value<'t>> {
        let length = self.flow_plain_length()?;
        self.take_plain(length)
    }

    fn take_plain(&mut self, length: usize) -> Option<Value<'t>> {
        let text = self.text.get(self.at..self.at + length)?;
        self.at += length;
        Some(resolve(text).unwrap_or(Value::String(text.into())))
    }

    /// The length of the plain key that stands here; a colon follows, perhaps behind spaces.
    pub(super) fn plain_key_length(&self) -> Option<usize> {
        self.plain_length(true)
    }

    /// The length of a plain scalar without the spaces behind it. One that a colon ends is a key, and no value.
    fn plain_length(&self, key: bool) -> Option<usize> {
        let bytes = self.text.as_bytes().get(self.at..)?;
        begins_plain(bytes, false)?;
        let (mut index, mut end) = (0, 0);
        loop {
            let rest = bytes.get(index..)?;
            let run = rest.iter().take_while(|&&byte| ORDINARY[usize::from(byte)]).count();
            if run > 0 {
                (index, end) = (index + run, index + run);
            }
            match bytes.get(index) {
                None | Some(b'\n') => break,
                Some(b'#') if index > end => break,
                Some(b':') if matches!(bytes.get(index + 1), None | Some(b' ' | b'\n')) => return key.then_some(end),
                Some(b' ') => index += 1,
                Some(_) => (index, end) = (index + 1, index + 1),
            }
        }
        (!key).then_some(end)
    }

    /// The same within brackets; what ends it there is seen by the caller.
    pub(super) fn flow_plain_length(&self) -> Option<usize> {
        let bytes = self.text.as_bytes().get(self.at..)?;
        begins_plain(bytes, true)?;
        let mut end = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' | b',' | b']' | b'}' => break,
                b'[' | b'{' => return None,
                b'#' if index > end => return None,
                b':' if matches!(bytes.get(index + 1)?, b' ' | b'\n' | b',' | b'[' | b']' | b'{' | b'}') => break,
                b' ' => {}
                _ => end = index + 1,
            }
        }
        Some(end)
    }
}

/// Bytes that mean nothing else in a plain scalar outside brackets.
const ORDINARY: [bool; 256] = {
    let mut table = [true; 256];
    table[b'\n' as usize] = false;
    table[b' ' as usize] = false;
    table[b'#' as usize] = false;
    table[b':' as usize] = false;
    table
};

/// Whether a plain scalar may begin so.
fn begins_plain(bytes: &[u8], flow: bool) -> Option<()> {
    let begins = match *bytes.first()? {
        b'?' | b':' | b',' | b'[' | b']' | b'{' | b'}' | b'#' | b'&' | b'*' | b'!' | b'|' | b'>' => false,
        b'\'' | b'"' | b'%' | b'@' | b'`' | b' ' | b'\n' => false,
        b'-' => match *bytes.get(1)? {
            b' ' | b'\n' => false,
            b',' | b'[' | b']' | b'{' | b'}' => !flow,
            _ => true,
        },
        _ => true,
    };
    begins.then_some(())
}

/// The text within quotes, whose escapes must be simple.
fn unquote(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.get(1..text.len().checked_sub(1)?)?;
    if text.starts_with('\'') {
        return Some(if inner.contains("''") { inner.replace("''", "'").into() } else { inner.into() });
    }
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next()? {
                escaped @ ('"' | '\\' | '/') => escaped,
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain.into())
}
