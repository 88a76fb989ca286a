//! Flow collections: `{a: 1, b: [x, y]}`, on one line or several.

use super::Reader;
use super::block::Parent;
use crate::document::fields::Fields;
use crate::document::{Key, Node, Value};

impl<'t> Reader<'t> {
    /// The collection whose bracket stands here. Its lines are indented deeper than `parent`.
    pub(super) fn flow(&mut self, parent: Parent) -> Option<Value<'t>> {
        let is_mapping = self.byte(0) == Some(b'{');
        self.deeper(|reader| if is_mapping { reader.flow_mapping(parent) } else { reader.flow_sequence(parent) })
    }

    fn flow_sequence(&mut self, parent: Parent) -> Option<Value<'t>> {
        let mut items = Vec::new();
        self.at += 1;
        self.flow_space(parent)?;
        if self.byte(0) == Some(b']') {
            self.at += 1;
            return Some(Value::Sequence(items));
        }
        loop {
            items.push(self.flow_node(parent)?);
            if self.separator(b']', parent)? {
                return Some(Value::Sequence(items));
            }
        }
    }

    fn flow_mapping(&mut self, parent: Parent) -> Option<Value<'t>> {
        let mut fields = Fields::default();
        self.at += 1;
        self.flow_space(parent)?;
        if self.byte(0) == Some(b'}') {
            self.at += 1;
            return Some(Value::Mapping(Vec::new()));
        }
        loop {
            let key = self.flow_key()?;
            self.flow_space(parent)?;
            let value = self.flow_node(parent)?;
            if !fields.insert(key, value) {
                return None;
            }
            if self.separator(b'}', parent)? {
                return Some(Value::Mapping(fields.into_list()));
            }
        }
    }

    /// A key and its colon, on one line.
    fn flow_key(&mut self) -> Option<Key<'t>> {
        let position = self.position();
        let is_quoted = matches!(self.byte(0), Some(b'"' | b'\''));
        let length = if is_quoted { self.quoted_length()? } else { self.flow_plain_length()? };
        let name = self.key_text(length)?;
        self.at += length;
        self.skip_spaces();
        if length > 1000 || self.byte(0) != Some(b':') {
            return None;
        }
        self.at += 1;
        // `"a":1` is fine, `a:1` is a scalar, and `a:,` has no value.
        let ends = matches!(self.byte(0), Some(b' ' | b'\n'));
        (ends || (is_quoted && !matches!(self.byte(0), Some(b',' | b'}')))).then_some(Key { name, position })
    }

    fn flow_node(&mut self, parent: Parent) -> Option<Node<'t>> {
        let position = self.position();
        let value = match self.byte(0)? {
            b'{' | b'[' => self.flow(parent)?,
            b'"' | b'\'' => self.quoted()?,
            _ => self.flow_plain()?,
        };
        Some(Node { position, value })
    }

    /// Goes behind the comma (false) or the closing bracket (true).
    fn separator(&mut self, close: u8, parent: Parent) -> Option<bool> {
        self.flow_space(parent)?;
        let byte = self.byte(0)?;
        self.at += 1;
        if byte == close {
            return Some(true);
        }
        self.flow_space(parent)?;
        (byte == b',' && self.byte(0) != Some(close)).then_some(false)
    }

    /// Goes over spaces and line feeds; gives up at comments, and at lines that are not indented enough.
    fn flow_space(&mut self, parent: Parent) -> Option<()> {
        loop {
            self.skip_spaces();
            match self.byte(0)? {
                b'\n' => self.line_feed(),
                b'#' => return None,
                _ => break,
            }
        }
        let is_first = self.text.get(self.line_start..self.at)?.bytes().all(|byte| byte == b' ');
        let least = parent.map_or(1, |parent| parent + 1);
        (!is_first || self.column() >= least).then_some(())
    }
}
