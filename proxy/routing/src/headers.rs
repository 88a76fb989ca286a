//! Header operations, compiled: names and literal values are ready, formats are evaluated per request. Order and meaning are
//! Istio's: everything is removed, then set, then added. Where a route and its destination both act, the destination's operation
//! of a kind comes second, and with several destinations all of its operations come first. A value that could not stand in a
//! head is made to fit, never injected.

use config_model::model::{Command, Format, HeaderAddition, HeaderMutation, Piece};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue};
use http1::Head;
use smallvec::SmallVec;

/// What the commands of a format yield for one exchange.
pub trait Values {
    /// Appends the value of `command`, or nothing where there is none. `head` is the head that is being changed: the
    /// request's on the way up, the response's on the way down.
    fn command(&self, command: &Command, head: &Head, out: &mut Vec<u8>);
}

/// A header value: text that is ready, or a format.
#[derive(Debug, Clone)]
pub enum Template {
    /// The same for every request.
    Literal(HeaderValue),
    /// With commands.
    Format(Box<Format>),
}

impl Template {
    /// Prepares `format`.
    pub fn compile(format: &Format) -> Self {
        match format.literal() {
            Some(text) => Self::Literal(fitting(text.as_bytes())),
            None => Self::Format(Box::new(format.clone())),
        }
    }

    /// Whether it has commands.
    pub fn has_commands(&self) -> bool {
        matches!(self, Self::Format(_))
    }

    /// The value for one exchange. Bytes that no header may hold have become spaces.
    pub fn value(&self, head: &Head, values: &impl Values) -> HeaderValue {
        match self {
            Self::Literal(value) => value.clone(),
            Self::Format(format) => {
                let mut text = Vec::new();
                format.pieces().iter().for_each(|piece| append(piece, head, values, &mut text));
                fitting(&text)
            }
        }
    }
}

fn append(piece: &Piece, head: &Head, values: &impl Values, text: &mut Vec<u8>) {
    match piece {
        Piece::Literal(literal) => text.extend_from_slice(literal.as_bytes()),
        Piece::Command(command, limit) => {
            let start = text.len();
            values.command(command, head, text);
            text.truncate(limit.map_or(text.len(), |limit| text.len().min(start.saturating_add(limit))));
        }
    }
}

/// `text` as a header value: control bytes become spaces, space at the ends goes (HTTP/2 forbids it, HTTP/1 ignores it).
fn fitting(text: &[u8]) -> HeaderValue {
    let text = text.trim_ascii();
    HeaderValue::from_bytes(text).unwrap_or_else(|_| {
        let clean: Vec<u8> = text.iter().map(|&byte| if byte.is_ascii_control() { b' ' } else { byte }).collect();
        HeaderValue::from_bytes(clean.trim_ascii()).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// Fields of an answer that are the proxy's own to write, as they concern its connection. Source: Envoy, `mutateResponseHeaders`.
const OF_ONE_HOP: [HeaderName; 3] = [CONNECTION, UPGRADE, HeaderName::from_static("proxy-connection")];

/// Compiled operations on a head; a null pointer if there are none.
#[derive(Debug, Clone, Default)]
pub struct Mutation(Option<Box<Operations>>);

#[derive(Debug, Clone)]
struct Operations {
    /// Whether they come before those of the route, instead of being joined with them.
    is_first: bool,
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, Template)]>,
    add: Box<[(HeaderName, Template)]>,
}

impl Mutation {
    /// Prepares `mutation`. A name that is none was refused when the configuration was read, and is left out here.
    pub fn compile(mutation: &HeaderMutation) -> Self {
        Self::of_destination(mutation, false)
    }

    /// The same for a destination; of several, its operations come before the route's.
    pub fn of_destination(mutation: &HeaderMutation, is_split: bool) -> Self {
        if mutation.is_empty() {
            return Self(None);
        }
        let remove = mutation.remove.iter().filter_map(|name| name.parse().ok()).collect();
        let (set, add) = (additions(&mutation.set), additions(&mutation.add));
        Self(Some(Box::new(Operations { is_first: is_split, remove, set, add })))
    }

    /// The same for answers, where it can't write what concerns the connection to the client.
    pub fn for_answers(mut self) -> Self {
        if let Some(operations) = &mut self.0 {
            for additions in [&mut operations.set, &mut operations.add] {
                let written = std::mem::take(additions).into_vec();
                *additions = written.into_iter().filter(|(name, _)| !OF_ONE_HOP.contains(name)).collect();
            }
        }
        self
    }

    /// Whether some value has commands.
    pub fn has_commands(&self) -> bool {
        let mut additions = self.0.iter().flat_map(|operations| operations.set.iter().chain(&operations.add));
        additions.any(|(_, template)| template.has_commands())
    }

    /// Whether some operation is on fields of this name, in lower case.
    pub fn names(&self, name: &str) -> bool {
        let is_it = |operations: &Operations| {
            let mut written = operations.set.iter().chain(&operations.add).map(|(name, _)| name);
            written.any(|own| own == name) || operations.remove.iter().any(|own| own == name)
        };
        self.0.as_deref().is_some_and(is_it)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

fn additions(additions: &[HeaderAddition]) -> Box<[(HeaderName, Template)]> {
    let compiled = |addition: &HeaderAddition| Some((addition.name.parse().ok()?, Template::compile(&addition.value)));
    additions.iter().filter_map(compiled).collect()
}

/// Changes `head` by all `mutations`, the route's and the destination's: by both at once, or by one after the other if there
/// are several destinations.
pub fn apply(mutations: &[&Mutation], head: &mut Head, values: &impl Values) {
    if mutations.iter().all(|mutation| mutation.is_empty()) {
        return;
    }
    for is_first in [true, false] {
        change(mutations, is_first, head, values);
    }
}

/// Removes, sets and adds, each by all `mutations` that come first or don't. Formats see the head after the removals
/// and before anything is set, as in Envoy; an empty value changes nothing, as there.
fn change(mutations: &[&Mutation], is_first: bool, head: &mut Head, values: &impl Values) {
    let operations = || {
        let all = mutations.iter().filter_map(|mutation| mutation.0.as_deref());
        all.filter(move |operations| operations.is_first == is_first)
    };
    for name in operations().flat_map(|operations| &operations.remove) {
        head.remove(name.as_str().as_bytes());
    }
    let evaluated = |(name, template): &'_ (HeaderName, Template)| (name.clone(), template.value(head, values));
    let set: SmallVec<[_; 4]> = operations().flat_map(|operations| &operations.set).map(evaluated).collect();
    let add: SmallVec<[_; 4]> = operations().flat_map(|operations| &operations.add).map(evaluated).collect();
    for (name, value) in set.into_iter().filter(|(_, value)| !value.is_empty()) {
        head.set(name.as_str().as_bytes(), value.as_bytes());
    }
    for (name, value) in add.into_iter().filter(|(_, value)| !value.is_empty()) {
        head.append(name.as_str().as_bytes(), value.as_bytes());
    }
}

#[cfg(test)]
mod tests;
