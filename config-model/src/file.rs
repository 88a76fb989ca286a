//! One file of a configuration folder: its documents, read and checked. Start at [`ParsedFile::parse`].

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::quality::FixedState;

use crate::decode::{Path, Report, Texts};
use crate::diagnostic::{Code, Diagnostic, Level};
use crate::document::{Node, Section, SyntaxError, Value, parse, sections};
use crate::resource::{self, Resource, Spec};
use crate::validate::validate;

/// What a file holds, and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct ParsedFile {
    /// Its resources, in order.
    pub resources: Vec<Arc<Resource>>,
    /// What was found, in order.
    pub diagnostics: Vec<Diagnostic>,
    name: Arc<str>,
    sections: Box<[ParsedSection]>,
}

/// Where the documents of a text are, and what tells each from any other: whoever reads the text again need not go through all of
/// it. Made of that very text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline(Arc<[Outlined]>);

/// The line that a document begins in, and what tells its text from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outlined {
    line: u32,
    fingerprint: Fingerprint,
}

impl Outline {
    /// That of `text`.
    pub fn of(text: &str) -> Self {
        let outlined = |section: Section<'_>| Outlined { line: section.line, fingerprint: fingerprint(section.text) };
        Self(sections(text).into_iter().map(outlined).collect())
    }
}

/// A document's place with what was made of it, to be used again while the same text stands there.
#[derive(Debug, Clone)]
struct ParsedSection {
    /// Tells its text from any other. The text itself is not kept: a folder may hold tens of megabytes of certificates.
    fingerprint: Fingerprint,
    line: u32,
    ordinal: u32,
    found: Arc<Found>,
}

impl ParsedSection {
    /// Whether `section` is this one.
    fn is(&self, outlined: Outlined, ordinal: u32) -> bool {
        self.line == outlined.line && self.ordinal == ordinal && self.fingerprint == outlined.fingerprint
    }
}

/// Length and 128 bits of hash: two texts that somebody writes by chance have different ones.
type Fingerprint = (usize, [u64; 2]);

fn fingerprint(text: &str) -> Fingerprint {
    (text.len(), [1, 2].map(|seed| FixedState::with_seed(seed).hash_one(text)))
}

/// What a document holds.
#[derive(Debug)]
struct Found {
    resources: Box<[Arc<Resource>]>,
    diagnostics: Box<[Diagnostic]>,
}

impl ParsedFile {
    /// Reads `text`, the contents of the file called `name`. Documents that `previous`, the same file as it was
    /// before, has in the same place are not read again, and their resources are the same `Arc`s.
    pub fn parse(name: &str, text: &str, previous: Option<&Self>) -> Self {
        Self::parse_outlined(name, (text, &Outline::of(text)), previous)
    }

    /// The same for a text whose outline is known.
    pub fn parse_outlined(name: &str, (text, outline): (&str, &Outline), previous: Option<&Self>) -> Self {
        let empty = Self::default();
        let previous = previous.filter(|file| *file.name == *name).unwrap_or(&empty);
        let mut known = previous.sections.iter().peekable();
        let mut file = Self { name: Arc::from(name), ..Self::default() };
        let (mut parsed, mut texts, mut rest) = (Vec::with_capacity(outline.0.len()), Texts::default(), text);
        for &outlined @ Outlined { line, fingerprint } in &*outline.0 {
            let (text, behind) = rest.split_at_checked(fingerprint.0).unwrap_or((rest, ""));
            rest = behind;
            let ordinal = u32::try_from(file.resources.len()).unwrap_or(u32::MAX);
            while known.next_if(|known| known.line < line).is_some() {}
            let found = match known.peek() {
                Some(known) if known.is(outlined, ordinal) => Arc::clone(&known.found),
                _ => Arc::new(read_section(&file.name, Section { text, line }, ordinal, &mut texts)),
            };
            file.resources.extend(found.resources.iter().cloned());
            file.diagnostics.extend(found.diagnostics.iter().cloned());
            parsed.push(ParsedSection { fingerprint, line, ordinal, found });
        }
        file.sections = parsed.into();
        file.resources.shrink_to_fit();
        file
    }

    /// Whether the file must not be used.
    pub fn is_refused(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.level == Level::Error)
    }
}

fn read_section(name: &Arc<str>, section: Section<'_>, ordinal: u32, texts: &mut Texts) -> Found {
    let mut report = Report::new(Arc::clone(name)).with_texts(std::mem::take(texts));
    let mut resources = Vec::new();
    match parse(section.text, section.line) {
        Ok(documents) => {
            for document in &documents {
                read_document(document, section, ordinal, &mut report, &mut resources);
            }
        }
        Err(error) => report.syntax(error),
    }
    report.diagnostics.sort_by_key(|diagnostic| diagnostic.position);
    *texts = report.texts;
    Found { resources: resources.into(), diagnostics: report.diagnostics.into() }
}

/// Reads a document, which may be a list of resources (`kubectl get -o yaml` writes those) or nothing at all.
fn read_document(
    document: &Node<'_>,
    section: Section<'_>,
    ordinal: u32,
    report: &mut Report,
    resources: &mut Vec<Arc<Resource>>,
) {
    if document.is_null() {
        return;
    }
    let is_list =
        matches!(document.get("kind").map(|kind| &kind.value), Some(Value::String(kind)) if kind.ends_with("List"));
    let items = if is_list { document.get("items") } else { None };
    let documents = match items.map(|items| &items.value) {
        Some(Value::Sequence(items)) => &items[..],
        _ => std::slice::from_ref(document),
    };
    for document in documents {
        let ordinal = ordinal.saturating_add(u32::try_from(resources.len()).unwrap_or(u32::MAX));
        let Some(resource) = resource::read(document, ordinal, report) else { continue };
        let resource = mesh_config(resource, section, report);
        validate(&resource, report);
        resources.push(Arc::new(resource));
    }
    report.resource = None;
}

/// The ConfigMap `istio` holds MeshConfig as YAML within YAML.
fn mesh_config(mut resource: Resource, section: Section<'_>, report: &mut Report) -> Resource {
    let Spec::ConfigMap(map) = &resource.spec else { return resource };
    let Some(mesh) = map.data.get("mesh").filter(|_| *resource.id.name == *"istio") else { return resource };
    if let Some(config) = resource::read_mesh_config(mesh, section, report) {
        resource.spec = Spec::MeshConfig(Box::new(config));
    }
    resource
}

impl Report {
    /// The text is not YAML.
    fn syntax(&mut self, error: SyntaxError) {
        let text = (error.message, error.hint.map(str::to_owned));
        self.add(Code::Syntax, Level::Error, error.position, &Path::ROOT, text);
    }
}
