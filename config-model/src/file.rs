//! One file of a configuration folder: its documents, read and checked. Start at [`ParsedFile::parse`].

use std::sync::Arc;

use crate::decode::{Path, Report};
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
    sections: Vec<Arc<ParsedSection>>,
}

/// A document's text with what was made of it, to be used again while that text stays in its place.
#[derive(Debug)]
struct ParsedSection {
    text: Box<str>,
    line: u32,
    ordinal: u32,
    resources: Vec<Arc<Resource>>,
    diagnostics: Vec<Diagnostic>,
}

impl ParsedSection {
    fn is_of(&self, section: Section<'_>, ordinal: u32) -> bool {
        self.line == section.line && self.ordinal == ordinal && *self.text == *section.text
    }
}

impl ParsedFile {
    /// Reads `text`, the contents of the file called `name`. Documents that `previous`, the same file as it was before, has in
    /// the same place are not read again, and their resources are the same `Arc`s.
    pub fn parse(name: &str, text: &str, previous: Option<&Self>) -> Self {
        let known = previous.filter(|file| *file.name == *name).map(|file| &file.sections[..]).unwrap_or_default();
        let mut known = known.iter().peekable();
        let name: Arc<str> = Arc::from(name);
        let mut file = Self { name: Arc::clone(&name), ..Self::default() };
        for section in sections(text) {
            let ordinal = u32::try_from(file.resources.len()).unwrap_or(u32::MAX);
            while known.next_if(|known| known.line < section.line).is_some() {}
            let parsed = match known.peek() {
                Some(known) if known.is_of(section, ordinal) => Arc::clone(known),
                _ => Arc::new(read_section(&name, section, ordinal)),
            };
            file.resources.extend(parsed.resources.iter().cloned());
            file.diagnostics.extend(parsed.diagnostics.iter().cloned());
            file.sections.push(parsed);
        }
        file
    }

    /// Whether the file must not be used.
    pub fn is_refused(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.level == Level::Error)
    }
}

fn read_section(name: &Arc<str>, section: Section<'_>, ordinal: u32) -> ParsedSection {
    let mut report = Report::new(Arc::clone(name));
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
    ParsedSection { text: section.text.into(), line: section.line, ordinal, resources, diagnostics: report.diagnostics }
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
