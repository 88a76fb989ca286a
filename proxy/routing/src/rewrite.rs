//! Changes to the path on the way to the back end. Source: Istio, `HTTPRewrite`; the query always stays.

use std::borrow::Cow;

use config_model::model::PathRewrite;

use crate::normalize::{Normalized, push_escape};

/// The path that the back end gets.
pub fn rewrite<'p>(rewrite: &'p PathRewrite, path: &'p Normalized<'_>) -> Cow<'p, [u8]> {
    let forwarded = path.forwarded();
    match rewrite {
        PathRewrite::Keep => forwarded.into(),
        PathRewrite::Prefix { length, text } => {
            let kept = forwarded.get(path.forwarded_length(*length)..).unwrap_or_default();
            legal([text.as_bytes(), kept].concat().into())
        }
        PathRewrite::Whole(text) => legal(text.as_bytes().into()),
        PathRewrite::Regex { pattern, substitution } => {
            legal(pattern.0.replace_all(forwarded, substitution.as_bytes()))
        }
    }
}

/// `path` and `query` as a request target.
pub fn target(path: &[u8], query: Option<&[u8]>) -> Vec<u8> {
    match query {
        Some(query) => [path, b"?", query].concat(),
        None => path.to_vec(),
    }
}

/// `path` as it may stand in a request line: begun with a slash, and with escapes for what cannot stand there.
fn legal(path: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if path.first() == Some(&b'/') && path.iter().all(u8::is_ascii_graphic) {
        return path;
    }
    let mut out = Vec::with_capacity(path.len() + 8);
    if path.first() != Some(&b'/') {
        out.push(b'/');
    }
    push_graphic(&mut out, &path);
    out.into()
}

/// Appends `text`, with escapes for space, control bytes and bytes beyond ASCII.
pub(crate) fn push_graphic(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if byte.is_ascii_graphic() { out.push(byte) } else { push_escape(out, byte) }
    }
}

#[cfg(test)]
mod tests;
