//! YAML text as a tree that knows where everything stands. Scalars are read as Kubernetes reads them, that is by YAML 1.1
//! and go-yaml: a bare `yes`, `no`, `on`, `off`, `y` or `n` is a boolean, as a map key too. Start at [`parse`].

mod events;
mod fields;
mod quick;
mod scalar;
mod split;

pub use split::{Section, sections};
use std::borrow::Cow;

use crate::origin::Position;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'t> {
    /// Where it begins.
    pub position: Position,
    /// The value.
    pub value: Value<'t>,
}

/// A value, in JSON's terms.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'t> {
    /// `null`, `~` or nothing.
    Null,
    /// `true` and its many names.
    Bool(bool),
    /// A whole number in any of YAML's bases.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    String(Cow<'t, str>),
    /// A list.
    Sequence(Vec<Node<'t>>),
    /// A mapping in the order of the file; no key appears twice.
    Mapping(Vec<(Key<'t>, Node<'t>)>),
}

/// A key of a mapping, which JSON wants to be text: `on:` is `true`, `1:` is `1`.
#[derive(Debug, Clone, PartialEq)]
pub struct Key<'t> {
    /// The text.
    pub name: Cow<'t, str>,
    /// Where it begins.
    pub position: Position,
}

/// Reads the documents of a section, of which there is mostly one; `line` is the number of its first line in the file.
pub fn parse(text: &str, line: u32) -> Result<Vec<Node<'_>>, SyntaxError> {
    quick::parse(text, line).map_or_else(|| events::parse(text, line), Ok)
}

/// Why text is not YAML that Kubernetes would read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub message: String,
    /// How to put it right.
    pub hint: Option<&'static str>,
}

impl Node<'_> {
    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// Whether this is just that text.
    pub fn is_text(&self, wanted: &str) -> bool {
        matches!(&self.value, Value::String(text) if text == wanted)
    }

    /// The value under `key`, if this is a mapping that has one.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.value {
            Value::Mapping(fields) => fields.iter().find(|(name, _)| name.name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// Moves this node and all within it.
    pub fn relocate(&mut self, place: &impl Fn(Position) -> Position) {
        self.position = place(self.position);
        match &mut self.value {
            Value::Sequence(items) => items.iter_mut().for_each(|item| item.relocate(place)),
            Value::Mapping(fields) => {
                for (key, value) in fields {
                    key.position = place(key.position);
                    value.relocate(place);
                }
            }
            _ => {}
        }
    }

    /// A number as it is written.
    pub fn number(&self) -> Option<String> {
        match self.value {
            Value::Int(value) => Some(value.to_string()),
            Value::Float(value) => Some(value.to_string()),
            _ => None,
        }
    }

    /// The value in a few words, for messages: `number 70000`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => format!("boolean {value}"),
            Value::Int(value) => format!("number {value}"),
            Value::Float(value) => format!("number {value}"),
            Value::String(text) => format!("string {:?}", shorten(text)),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests;
