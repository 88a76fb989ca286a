//! Block collections: what is indented alike belongs together.

use super::Reader;
use crate::document::fields::Fields;
use crate::document::{Key, Node, Value};
use crate::origin::Position;

/// The column of the collection that a value is part of; none for the document's own value.
pub(super) type Parent = Option<usize>;

impl<'t> Reader<'t> {
    /// A value that begins here, at the first character of a line or behind a dash. Afterwards the reader stands at the first
    /// character of the next line with content, which is not indented deeper than `parent`.
    pub(super) fn block_node(&mut self, parent: Parent) -> Option<Node<'t>> {
        if self.is_dash() {
            return self.deeper(Self::block_sequence);
        }
        match self.key_end() {
            Some(ends) => self.deeper(|reader| reader.block_mapping(ends)),
            None => self.value(parent),
        }
    }

    /// A dash that begins an entry.
    fn is_dash(&self) -> bool {
        self.byte(0) == Some(b'-') && self.ends_token(1)
    }

    fn block_sequence(&mut self) -> Option<Node<'t>> {
        let position = self.position();
        let (_, items) = self.entries()?;
        Some(Node { position, value: Value::Sequence(items) })
    }

    /// A list in the column of its key. The other reader places it behind its first dash, so that is its place here too.
    fn indentless_sequence(&mut self) -> Option<Node<'t>> {
        let (position, items) = self.entries()?;
        Some(Node { position, value: Value::Sequence(items) })
    }

    /// The entries whose dashes stand in this column, and the place behind the first dash.
    fn entries(&mut self) -> Option<(Position, Vec<Node<'t>>)> {
        let column = self.column();
        let (mut first, mut items) = (None, Vec::with_capacity(2));
        loop {
            self.at += 1;
            self.skip_spaces();
            if first.is_none() && self.byte(0) == Some(b'#') {
                return None; // A comment, behind which the other reader places the list.
            }
            let position = *first.get_or_insert_with(|| self.position());
            if matches!(self.byte(0), None | Some(b'\n' | b'#')) {
                let more = self.next_content()?;
                if !more || self.column() <= column {
                    return None; // A null.
                }
            }
            items.push(self.block_node(Some(column))?);
            if self.is_end() || self.column() < column || (self.column() == column && !self.is_dash()) {
                return Some((position, items));
            }
            if self.column() > column {
                return None;
            }
        }
    }

    /// `ends` are those of the first key.
    fn block_mapping(&mut self, mut ends: (usize, usize)) -> Option<Node<'t>> {
        let (position, column) = (self.position(), self.column());
        let mut fields = Fields::default();
        loop {
            let key = self.key(ends)?;
            let value = self.field_value(column)?;
            if !fields.insert(key, value) {
                return None;
            }
            if self.is_end() || self.column() < column {
                return Some(Node { position, value: Value::Mapping(fields.into_list()) });
            }
            if self.column() > column {
                return None;
            }
            ends = self.key_end()?;
        }
    }

    /// If a key stands here, the length of it, and of all up to behind its colon.
    fn key_end(&self) -> Option<(usize, usize)> {
        let length = match self.byte(0)? {
            b'"' | b'\'' => self.quoted_length()?,
            _ => self.plain_key_length()?,
        };
        let spaces = self.text.as_bytes().get(self.at + length..)?.iter().take_while(|byte| **byte == b' ').count();
        let colon = length + spaces;
        (length <= 1000 && self.byte(colon) == Some(b':') && self.ends_token(colon + 1)).then_some((length, colon + 1))
    }

    fn key(&mut self, (length, end): (usize, usize)) -> Option<Key<'t>> {
        let position = self.position();
        let name = self.key_text(length)?;
        self.at += end;
        Some(Key { name, position })
    }

    /// What follows the colon of a key in this column.
    fn field_value(&mut self, column: usize) -> Option<Node<'t>> {
        self.skip_spaces();
        if !matches!(self.byte(0), None | Some(b'\n' | b'#')) {
            return self.value(Some(column));
        }
        let more = self.next_content()?;
        let deeper = more && self.column() > column;
        if deeper {
            return self.block_node(Some(column));
        }
        // A list may stand in the column of its key.
        if more && self.column() == column && self.is_dash() {
            return self.deeper(Self::indentless_sequence);
        }
        None // A null.
    }

    /// A scalar or a flow collection, with what follows on its line.
    fn value(&mut self, parent: Parent) -> Option<Node<'t>> {
        let position = self.position();
        let value = match self.byte(0)? {
            b'|' => return self.literal(parent),
            b'{' | b'[' => self.flow(parent)?,
            b'"' | b'\'' => self.quoted()?,
            _ => self.plain()?,
        };
        self.end_of_line()?;
        self.next_content()?;
        // What is indented deeper goes on with this value, or is wrong.
        let goes_on = !self.is_end() && parent.is_none_or(|parent| self.column() > parent);
        (!goes_on).then_some(Node { position, value })
    }

    /// `|`, `|-` or `|+`, and the lines below.
    fn literal(&mut self, parent: Parent) -> Option<Node<'t>> {
        self.at += 1;
        let chomping = self.byte(0).filter(|byte| matches!(byte, b'-' | b'+'));
        self.at += usize::from(chomping.is_some());
        self.end_of_line()?;
        let least = parent.map_or(0, |parent| parent + 1);
        let first_line = self.line.saturating_add(1);
        let (indent, text) = self.literal_lines(least.max(1))?;
        let text = match chomping {
            Some(b'-') => text.trim_end_matches('\n').to_owned(),
            Some(_) => text,
            None => format!("{}\n", text.trim_end_matches('\n')),
        };
        self.next_content()?;
        let goes_on = !self.is_end() && (parent.is_none_or(|parent| self.column() > parent) || self.column() >= indent);
        // As the other reader has it, a block scalar begins with its text.
        let position = Position { line: first_line, column: u32::try_from(indent + 1).unwrap_or(u32::MAX) };
        (!goes_on).then_some(Node { position, value: Value::String(text.into()) })
    }

    /// The indentation of the first line, and all lines without it. Every line has its line feed, those at the end too.
    fn literal_lines(&mut self, least: usize) -> Option<(usize, String)> {
        let mut text = String::new();
        let mut indent = None;
        loop {
            if self.byte(0) != Some(b'\n') {
                // Without a line feed at its end, or without a line, a text has rules of its own.
                return None;
            }
            self.line_feed();
            let rest = self.text.get(self.at..)?;
            let line = rest.get(..memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len()))?;
            let spaces = line.len() - line.trim_start_matches(' ').len();
            let is_blank = spaces == line.len();
            match indent {
                None if is_blank => return None,
                None if spaces < least => return None,
                None => indent = Some(spaces),
                Some(indent) if is_blank && spaces > indent => return None,
                Some(indent) if !is_blank && spaces < indent => return Some((indent, text)),
                Some(indent) if is_blank && rest.len() == line.len() => {
                    // The end of the text. Spaces there are not a line.
                    return (spaces == 0).then_some((indent, text));
                }
                Some(_) => {}
            }
            text.push_str(line.get(indent?..).unwrap_or_default());
            text.push('\n');
            self.at += line.len();
        }
    }
}
