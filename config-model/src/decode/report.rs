//! Where decoding and validation put what they find.

use std::fmt::Display;
use std::sync::Arc;

use foldhash::HashSet;

use super::{Field, Path, Unknown, suggest};
use crate::diagnostic::{Code, Diagnostic, Level};
use crate::document::{Key, Node, Value};
use crate::model::Format;
use crate::origin::{Position, ResourceId};

/// Texts, each kept once: thousands of routes name the same few hosts, subsets and gateways.
#[derive(Debug, Default)]
pub(crate) struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return Arc::clone(known);
        }
        let new: Arc<str> = Arc::from(text);
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// Diagnostics of one file, and the resource that is being read.
#[derive(Debug)]
pub struct Report {
    file: Arc<str>,
    /// The resource that diagnostics belong to, once its name is known.
    pub resource: Option<Arc<ResourceId>>,
    /// What was found so far.
    pub diagnostics: Vec<Diagnostic>,
    /// Texts that were read so far.
    pub(crate) texts: Texts,
    /// Inside a field that is not honoured yet: what lies below it isn't worth a warning of its own.
    inside_later: bool,
}

impl Report {
    /// A report on `file`.
    pub fn new(file: Arc<str>) -> Self {
        Self { file, resource: None, diagnostics: Vec::new(), texts: Texts::default(), inside_later: false }
    }

    /// The same, sharing texts that were read before.
    pub(crate) fn with_texts(self, texts: Texts) -> Self {
        Self { texts, ..self }
    }

    /// `text`, shared with all that is equal to it.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.share(text)
    }

    /// The file's name.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Adds a diagnostic with any code and level.
    pub fn add(&mut self, code: Code, level: Level, position: Position, at: &Path<'_>, text: (String, Option<String>)) {
        let (message, hint) = text;
        self.diagnostics.push(Diagnostic {
            code,
            level,
            message,
            resource: self.resource.clone(),
            file: Arc::clone(&self.file),
            position,
            field: (!at.is_root()).then(|| at.to_string()),
            hint,
            reference: None,
        });
    }

    /// The rule of the schema that `at` breaks, and the cure.
    pub fn error(&mut self, position: Position, at: &Path<'_>, message: impl Display, hint: Option<&str>) {
        if self.has_error(at) {
            return;
        }
        let text = (message.to_string(), hint.map(str::to_owned));
        self.add(Code::SchemaValidation, Level::Error, position, at, text);
    }

    /// Whether anything within this field was found wrong a moment ago, so that it is not known what it is meant to be.
    pub(crate) fn has_error_within(&self, at: &Path<'_>) -> bool {
        self.has_error_of(|field| {
            let at = at.to_string();
            field.strip_prefix(&at).is_some_and(|rest| rest.starts_with(['.', '[']))
        })
    }

    /// Whether this field was found wrong a moment ago: what follows from that is not worth another line.
    fn has_error(&self, at: &Path<'_>) -> bool {
        self.has_error_of(|field| field == at.to_string())
    }

    fn has_error_of(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let recent = self.diagnostics.iter().rev().take(64);
        let mut errors = recent.filter(|diagnostic| diagnostic.level == Level::Error);
        errors.any(|error| error.resource == self.resource && error.field.as_deref().is_some_and(&is_meant))
    }

    /// Something that Istio accepts though it is hardly meant.
    pub fn warning(&mut self, position: Position, at: &Path<'_>, message: impl Display, hint: Option<&str>) {
        let text = (message.to_string(), hint.map(str::to_owned));
        self.add(Code::SchemaWarning, Level::Warning, position, at, text);
    }

    /// A field or value that we understand but that changes nothing yet.
    pub fn not_honoured(&mut self, position: Position, at: &Path<'_>, what: impl Display) {
        if !self.inside_later {
            let message = format!("{what} is understood but not honoured yet");
            self.add(Code::NotHonoured, Level::Warning, position, at, (message, None));
        }
    }

    /// The commands of `format` that have no value here, and what happens `instead`.
    pub fn unavailable_commands(&mut self, position: Position, at: &Path<'_>, format: &Format, instead: &str) {
        if self.inside_later {
            return;
        }
        for command in format.unavailable() {
            let message = format!("%{command}% is understood but not honoured yet");
            self.add(Code::NotHonoured, Level::Warning, position, at, (message, Some(instead.to_owned())));
        }
    }

    /// The node is of another type than `expected`.
    pub fn wrong_type(&mut self, node: &Node<'_>, at: &Path<'_>, expected: &str) {
        let found = node.describe();
        let hint = match (&node.value, expected) {
            (Value::Bool(_) | Value::Int(_) | Value::Float(_), "a string") => Some("put it in quotes".to_owned()),
            (Value::String(text), "a number" | "an integer") => in_digits(text),
            (Value::String(text), "true or false") => {
                text.parse::<bool>().is_ok().then(|| "write it without quotes".to_owned())
            }
            (_, "a mapping") => node.number().and_then(|number| wrapped(at, &number)),
            _ => None,
        };
        self.error(node.position, at, format_args!("must be {expected}, found {found}"), hint.as_deref());
    }

    /// The fields of a node that has to be a mapping.
    pub fn mapping<'n, 't>(&mut self, node: &'n Node<'t>, at: &Path<'_>) -> Option<&'n [(Key<'t>, Node<'t>)]> {
        if let Value::Mapping(fields) = &node.value {
            return Some(fields);
        }
        self.wrong_type(node, at, "a mapping");
        None
    }

    /// The same, but null is as good as no field at all.
    pub fn optional_mapping<'n, 't>(&mut self, node: &'n Node<'t>, at: &Path<'_>) -> Option<&'n [(Key<'t>, Node<'t>)]> {
        if node.is_null() { None } else { self.mapping(node, at) }
    }

    /// Reads a field; one that is not honoured yet gets a warning if it holds anything.
    pub fn field<T: Field>(&mut self, key: &Key<'_>, value: &Node<'_>, at: &Path<'_>, later: bool) -> T {
        if !later || self.inside_later {
            return T::read(value, at, self);
        }
        self.inside_later = true;
        let field = T::read(value, at, self);
        self.inside_later = false;
        if !field.is_absent() {
            self.not_honoured(key.position, at, &*key.name);
        }
        field
    }

    /// A field that the object does not have.
    pub fn unknown_field(&mut self, key: &Key<'_>, at: &Path<'_>, known: &[&str], unknown: Unknown) {
        let (code, level, message) = match unknown {
            Unknown::Refuse => (Code::SchemaValidation, Level::Error, "unknown field"),
            Unknown::Warn => (Code::UnknownSetting, Level::Warning, "is not read here"),
            Unknown::Ignore => return,
        };
        let near = suggest(&key.name, known).map(|near| format!("did you mean {near}?"));
        // More names than this are no help.
        let few = (known.len() <= 12).then(|| format!("known fields are {}", known.join(", ")));
        let hint = near.or(few);
        self.add(code, level, key.position, &at.field(&key.name), (message.to_owned(), hint));
    }

    /// The index of a text among `names`.
    pub fn choose(&mut self, node: &Node<'_>, at: &Path<'_>, names: &[&str]) -> Option<usize> {
        let Value::String(text) = &node.value else {
            self.wrong_type(node, at, "a string");
            return None;
        };
        let index = names.iter().position(|name| **name == **text);
        if index.is_none() {
            let near = suggest(text, names).map(|near| format!("did you mean {near}?"));
            let hint = near.unwrap_or_else(|| format!("use one of {}", names.join(", ")));
            self.error(node.position, at, format_args!("unknown value {text:?}"), Some(&hint));
        }
        index
    }
}
/// The cure for a number that is text.
fn in_digits(text: &str) -> Option<String> {
    let without_sign = text.strip_suffix('%');
    let number = without_sign.unwrap_or(text).trim();
    number.parse::<f64>().ok()?;
    Some(if without_sign.is_some() { format!("write {number}") } else { "write it without quotes".to_owned() })
}

/// The cure for a number where a message holds it.
fn wrapped(at: &Path<'_>, number: &str) -> Option<String> {
    let field = at.to_string();
    let key = match field.rsplit('.').next()? {
        "percentage" | "mirrorPercentage" => "value",
        "port" => "number",
        _ => return None,
    };
    Some(format!("write {{{key}: {number}}}"))
}
