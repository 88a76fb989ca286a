//! Where a value was written: every resource, route and destination of the model can name its file and line.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// A place in a file, both counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Position {
    /// Line, from 1. Zero where a value was not written but follows from a default.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// The identity of a resource and the file that it was read from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ResourceId {
    /// `VirtualService`, `Gateway`, ...
    pub kind: &'static str,
    /// Namespace, `default` where none was written; empty for a Namespace itself.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// Path of the file, relative to the configuration folder.
    pub file: Arc<str>,
}

impl fmt::Display for ResourceId {
    /// `VirtualService default/reviews`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{} {}", self.kind, self.name);
        }
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// A place inside a resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Origin {
    /// The resource.
    pub resource: Arc<ResourceId>,
    /// The place in its file.
    pub position: Position,
}

impl fmt::Display for Origin {
    /// `reviews.yaml:14`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource.file, self.position.line)
    }
}
