//! From YAML nodes to typed values. Every problem is reported and decoding goes on, so that one pass finds them all.
//! Absent and null are the same, as in protobuf's JSON form. Start at [`Decode`]; the macros in `macros` declare messages.

mod bytes;
mod macros;
mod path;
mod report;
mod scalar;
mod suggest;
mod time;

use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub use bytes::Bytes;
pub(crate) use macros::{choice, object};
pub use path::Path;
pub use report::Report;
pub(crate) use report::Texts;
pub use suggest::suggest;
pub use time::{Duration, Timestamp};

use crate::document::{Node, Value};
use crate::name::Labels;
use crate::origin::Position;

/// A value and where it was written. A position of line 0 means that it was not written and is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it begins.
    pub position: Position,
}

impl<T> Located<T> {
    /// Whether it stands in the file.
    pub fn is_written(&self) -> bool {
        self.position.line != 0
    }

    /// The same place with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: change(self.value), position: self.position }
    }
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

/// Text and its place; empty where it was not written.
pub type Text = Located<Arc<str>>;

/// How an object treats a field that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// An error, as for Istio's own resources.
    Refuse,
    /// A warning, as for MeshConfig, of which we read a part.
    Warn,
    /// Nothing, as for Kubernetes' resources, of which we read little.
    Ignore,
}

/// A type that a node, other than null, can be read as.
pub trait Decode: Sized {
    /// Reads `node`; what is wrong goes to `report`, and a value is returned as far as there is one.
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self>;
}

/// A type that can be a field of an object, and so knows what absence is.
pub trait Field: Default {
    /// Reads the field's value, null included.
    fn read(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Self;

    /// Whether nothing was written.
    fn is_absent(&self) -> bool;
}

impl<T: Decode> Decode for Box<T> {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        T::decode(node, at, report).map(Box::new)
    }
}

impl<T: Decode> Field for Option<T> {
    fn read(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Self {
        if node.is_null() { None } else { T::decode(node, at, report) }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Field for Located<T>
where
    T: Default,
    Located<T>: Decode,
{
    fn read(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Self {
        if node.is_null() { Self::default() } else { Self::decode(node, at, report).unwrap_or_default() }
    }

    fn is_absent(&self) -> bool {
        !self.is_written()
    }
}

impl<T: Decode> Field for Vec<T> {
    fn read(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Self {
        let items = match &node.value {
            Value::Null => return Self::new(),
            Value::Sequence(items) => items,
            _ => {
                report.wrong_type(node, at, "a list");
                return Self::new();
            }
        };
        let mut list = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = at.index(index);
            if item.is_null() {
                report.error(item.position, &at, "must not be null", Some("remove the entry or fill it in"));
            } else if let Some(item) = T::decode(item, &at, report) {
                list.push(item);
            }
        }
        list
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// A map of the API, in the order in which it was written. No key appears twice.
#[derive(Debug, Clone, PartialEq)]
pub struct Map<T> {
    /// Behind one pointer, since most maps are empty.
    #[allow(clippy::box_collection, reason = "a boxed slice would take two words where there is mostly nothing")]
    entries: Option<Box<Vec<(Text, T)>>>,
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self { entries: None }
    }
}

impl<T> Map<T> {
    /// Keys and values in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &(Text, T)> {
        self.entries.iter().flat_map(|entries| entries.iter())
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_none()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.as_ref().map_or(0, |entries| entries.len())
    }

    /// The value under `key`, compared with case.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.iter().find(|(name, _)| *name.value == *key).map(|(_, value)| value)
    }
}

impl<T: Decode> Field for Map<T> {
    fn read(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Self {
        let Some(fields) = report.optional_mapping(node, at) else { return Self::default() };
        let mut entries = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            if let Some(value) = T::decode(value, &at.key(&key.name), report) {
                entries.push((Located { value: report.text(&key.name), position: key.position }, value));
            }
        }
        Self { entries: (!entries.is_empty()).then(|| Box::new(entries)) }
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Serialize> Serialize for Map<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(&*key.value, value)?;
        }
        map.end()
    }
}

impl Field for Labels {
    fn read(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Self {
        let Some(fields) = report.optional_mapping(node, at) else { return Self::default() };
        let mut labels = Self::new();
        for (key, value) in fields {
            if let Some(text) = Text::decode(value, &at.key(&key.name), report) {
                labels.insert(report.text(&key.name), text.value);
            }
        }
        labels
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}
