//! A reader for the YAML that people and machines write most of the time, several times as fast as a parser of all YAML:
//! block and flow collections, scalars of one line, literal block scalars, comments. On anything else, and on anything
//! wrong, it gives up, and the other reader has the last word. Property tests hold its trees to that reader's.
//! Start at [`parse`].

mod block;
mod flow;
mod scalars;

use super::Node;
use crate::origin::Position;

/// How deep lists and mappings may lie within each other before this reader gives up.
const DEPTH_MAX: usize = 60;

/// Reads a section, or gives up.
pub(super) fn parse(text: &str, line: u32) -> Option<Vec<Node<'_>>> {
    // Tabs, carriage returns and other control characters have rules of their own.
    if has_control(text.as_bytes()) || text.starts_with('\u{feff}') {
        return None;
    }
    let mut reader = Reader { text, at: 0, line, line_start: 0, depth: 0, ascii: text.is_ascii() };
    reader.document()
}

/// Looks at whole blocks without leaving early, so that the compiler makes vector instructions of it.
fn has_control(bytes: &[u8]) -> bool {
    let is_control = |byte: u8| (byte < b' ') & (byte != b'\n') | (byte == 0x7f);
    bytes.chunks(4096).any(|block| block.iter().fold(false, |found, &byte| found | is_control(byte)))
}

/// A place in the text. Every method leaves it behind what it has read.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// Number of the line, from 1 in the file.
    line: u32,
    line_start: usize,
    depth: usize,
    /// Whether bytes are characters.
    ascii: bool,
}

impl<'t> Reader<'t> {
    /// The document: a marker perhaps, one value, and nothing behind it.
    fn document(&mut self) -> Option<Vec<Node<'t>>> {
        let has_content = self.skip_blank();
        let is_marked = has_content && self.column() == 0 && self.starts_with("---") && self.ends_token(3);
        if is_marked {
            self.at += 3;
            self.end_of_line()?;
        }
        self.next_content()?;
        match (self.is_end(), is_marked) {
            (true, true) => None, // A null somewhere.
            (true, false) => Some(Vec::new()),
            _ => {
                let node = self.block_node(None)?;
                self.is_end().then(|| vec![node])
            }
        }
    }

    fn is_end(&self) -> bool {
        self.at >= self.text.len()
    }

    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn starts_with(&self, token: &str) -> bool {
        self.text.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(token.as_bytes()))
    }

    /// Whether white space or the end follows after `ahead` bytes.
    fn ends_token(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), None | Some(b' ' | b'\n'))
    }

    /// Bytes since the beginning of the line.
    fn column(&self) -> usize {
        self.at - self.line_start
    }

    fn position(&self) -> Position {
        self.position_of(self.at)
    }

    /// The position of a byte of this line.
    fn position_of(&self, at: usize) -> Position {
        let mut column = at - self.line_start;
        if !self.ascii {
            column = self.text.get(self.line_start..at).map_or(column, |before| before.chars().count());
        }
        Position { line: self.line, column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1) }
    }

    fn skip_spaces(&mut self) {
        const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
        // Eight at a time: indentation is a third of what there is to read.
        while let Some(chunk) = self.text.as_bytes().get(self.at..).and_then(<[u8]>::first_chunk) {
            let others = u64::from_le_bytes(*chunk) ^ SPACES;
            self.at += (others.trailing_zeros() / 8) as usize;
            if others != 0 {
                return;
            }
        }
        while self.byte(0) == Some(b' ') {
            self.at += 1;
        }
    }

    /// Goes behind the line feed that stands here.
    fn line_feed(&mut self) {
        self.at += 1;
        self.line += 1;
        self.line_start = self.at;
    }

    /// Goes to the end of the line, on which only a comment may follow.
    fn end_of_line(&mut self) -> Option<()> {
        let spaced = self.byte(0) == Some(b' ');
        self.skip_spaces();
        match self.byte(0) {
            None | Some(b'\n') => Some(()),
            Some(b'#') if spaced => {
                self.skip_comment();
                Some(())
            }
            _ => None,
        }
    }

    fn skip_comment(&mut self) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    }

    /// Goes to the first character of the next line with content; false at the end. Gives up where another document begins.
    fn next_content(&mut self) -> Option<bool> {
        let more = self.skip_blank();
        let is_marker =
            self.column() == 0 && (self.starts_with("---") || self.starts_with("...")) && self.ends_token(3);
        (!is_marker).then_some(more)
    }

    /// Goes over spaces, line feeds and comments; false at the end.
    fn skip_blank(&mut self) -> bool {
        loop {
            self.skip_spaces();
            match self.byte(0) {
                None => return false,
                Some(b'\n') => self.line_feed(),
                Some(b'#') if self.column() == 0 || self.text.as_bytes().get(self.at - 1) == Some(&b' ') => {
                    self.skip_comment();
                }
                Some(_) => return true,
            }
        }
    }

    /// Runs `read` one level deeper.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let result = read(self);
        self.depth -= 1;
        result
    }
}
