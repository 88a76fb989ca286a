//! What is wrong with a configuration, where, and how to put it right. One line each, in the form that users of
//! `istioctl analyze` know, with the snippet underneath where there is room.

mod code;
mod render;

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

pub use code::Code;

use crate::origin::{Origin, Position, ResourceId};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Worth knowing.
    Info,
    /// Accepted, though hardly what was meant.
    Warning,
    /// The file is refused, or something in it can't work as it is written.
    Error,
}

impl Level {
    /// `Info`, `Warning` or `Error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::Warning => "Warning",
            Self::Error => "Error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// The resource, if its name could be read.
    pub resource: Option<Arc<ResourceId>>,
    /// The file, relative to the configuration folder.
    pub file: Arc<str>,
    /// The place in the file.
    pub position: Position,
    /// `spec.http[0].timeout`
    pub field: Option<String>,
    /// How to put it right.
    pub hint: Option<String>,
    /// Another place that has to do with it.
    pub reference: Option<Origin>,
}

impl Diagnostic {
    /// A finding about a place in a resource; more is added with struct update syntax.
    pub fn new(code: Code, level: Level, origin: &Origin, message: String) -> Self {
        Self {
            code,
            level,
            message,
            resource: Some(Arc::clone(&origin.resource)),
            file: Arc::clone(&origin.resource.file),
            position: origin.position,
            field: None,
            hint: None,
            reference: None,
        }
    }

    /// `VirtualService default/v main.yaml:6:15`, or without the resource if it isn't known.
    fn place(&self) -> String {
        let place = format!("{}:{}:{}", self.file, self.position.line, self.position.column);
        match &self.resource {
            Some(resource) => format!("{resource} {place}"),
            None => place,
        }
    }
}

impl fmt::Display for Diagnostic {
    /// One line, whatever is in the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("{} [{}] ({}) ", self.level, self.code, self.place());
        if let Some(field) = &self.field {
            line.push_str(field);
            line.push_str(": ");
        }
        // Istio's words are sentences.
        let goes_on = self.reference.is_some() || self.hint.is_some();
        line.push_str(if goes_on { self.message.trim_end_matches('.') } else { &self.message });
        if let Some(reference) = &self.reference {
            line.push_str(&format!(", see {} {reference}", reference.resource));
        }
        if let Some(hint) = &self.hint {
            line.push_str("; ");
            line.push_str(hint);
        }
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

impl Serialize for Diagnostic {
    /// The keys of `istioctl analyze --output json`, then ours.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", self.code.as_str())?;
        map.serialize_entry("level", self.level.as_str())?;
        map.serialize_entry("message", &self.message)?;
        map.serialize_entry("origin", &self.resource.as_ref().map(ToString::to_string))?;
        map.serialize_entry("reference", &self.reference.as_ref().map(ToString::to_string))?;
        map.serialize_entry("documentationUrl", &self.code.documentation())?;
        map.serialize_entry("file", &*self.file)?;
        map.serialize_entry("line", &self.position.line)?;
        map.serialize_entry("column", &self.position.column)?;
        map.serialize_entry("field", &self.field)?;
        map.serialize_entry("hint", &self.hint)?;
        map.end()
    }
}
