//! The files of the folder: which version of each is in force, and what is wrong with the one that isn't.
//!
//! A file with an error is refused whole. Its last good version stays in force until the file is corrected or removed; other
//! files go their own way. Nothing else is remembered, so two changes one after the other leave what the second alone would,
//! as long as neither is refused. Start at [`Files::apply`].

use std::collections::BTreeMap;
use std::sync::Arc;

use config_model::diagnostic::{Code, Diagnostic, Level};
use config_model::file::ParsedFile;
use config_model::origin::Position;
use config_model::resource::Resource;
use sha2::{Digest as _, Sha256};

use crate::source::{Change, Content, Digest, Text};

/// All files by name.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: BTreeMap<Arc<str>, File>,
    /// See [`Files::version`].
    version: u64,
    /// See [`Files::take_replaced`].
    replaced: Option<Vec<Replaced>>,
}

/// A resource as it was, and what stands in its place.
pub(super) type Replaced = (Arc<Resource>, Arc<Resource>);

#[derive(Debug, Default)]
struct File {
    accepted: Option<Accepted>,
    /// Why the text that is there now is not the one in force; empty if it is.
    refusal: Vec<Diagnostic>,
}

#[derive(Debug)]
struct Accepted {
    digest: Digest,
    parsed: Arc<ParsedFile>,
}

impl Accepted {
    /// What the file called `name` adds to the version.
    fn share(&self, name: &str) -> u64 {
        let digest: Digest = Sha256::new().chain_update(self.digest).chain_update(name).finalize().into();
        digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}

/// What a change came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Whether other content is in force than before.
    pub(super) changed: bool,
    /// Errors of files that were refused.
    pub(super) errors: Vec<Diagnostic>,
    /// Warnings that the last good version of the file did not have, wherever they stood in it.
    pub(super) warnings: Vec<Diagnostic>,
    /// Files that had errors and have none now.
    pub(super) recovered: Vec<Arc<str>>,
}

impl Files {
    /// Takes up changes of files.
    pub(super) fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Outcome {
        let mut outcome = Outcome::default();
        for change in changes {
            match change.content {
                Content::Text(text) => self.text(change.name, &text, &mut outcome),
                Content::Unreadable(reason) => self.unreadable(change.name, &reason, &mut outcome),
                Content::Removed => self.removed(&change.name, &mut outcome),
            }
        }
        outcome
    }

    /// What is in force, by name of the file.
    pub(super) fn accepted(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<ParsedFile>)> {
        self.files.iter().filter_map(|(name, file)| Some((name, &file.accepted.as_ref()?.parsed)))
    }

    /// Errors of all files that are refused now.
    pub(super) fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.files.values().flat_map(|file| &file.refusal).filter(|diagnostic| diagnostic.level == Level::Error)
    }

    /// Warnings of all that is in force.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.accepted().flat_map(|(_, parsed)| &parsed.diagnostics)
    }

    /// A hash of names and texts of all that is in force, in hexadecimal: equal content, equal version, on every machine. It is the
    /// sum of what the files add to it, so that one file among thousands changes it at the cost of one.
    pub(super) fn version(&self) -> Arc<str> {
        format!("{:016x}", self.version).into()
    }

    /// What has changed since this was asked last, if all of it is resources that took the places of others in their files.
    pub(super) fn take_replaced(&mut self) -> Option<Vec<Replaced>> {
        self.replaced.replace(Vec::new())
    }

    fn text(&mut self, name: Arc<str>, text: &Text, outcome: &mut Outcome) {
        let file = self.files.entry(Arc::clone(&name)).or_default();
        let digest = text.digest;
        let before = file.accepted.as_ref();
        let parsed = match before {
            Some(accepted) if accepted.digest == digest => Arc::clone(&accepted.parsed),
            _ => {
                let before = before.map(|accepted| &*accepted.parsed);
                Arc::new(ParsedFile::parse_outlined(&name, (&text.text, &text.outline), before))
            }
        };
        if parsed.is_refused() {
            file.refusal = parsed.diagnostics.clone();
            let errors = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.level == Level::Error);
            outcome.errors.extend(errors.cloned());
            return;
        }
        outcome.changed |= before.is_none_or(|accepted| accepted.digest != digest);
        let known = before.map_or(&[][..], |accepted| &accepted.parsed.diagnostics);
        outcome
            .warnings
            .extend(parsed.diagnostics.iter().filter(|new| !known.iter().any(|old| alike(old, new))).cloned());
        let after = Accepted { digest, parsed };
        let share = after.share(&name);
        note_replaced(&mut self.replaced, before, &after);
        let before = before.map_or(0, |before| before.share(&name));
        self.version = self.version.wrapping_add(share).wrapping_sub(before);
        file.accepted = Some(after);
        if !std::mem::take(&mut file.refusal).is_empty() {
            outcome.recovered.push(name);
        }
    }

    fn unreadable(&mut self, name: Arc<str>, reason: &str, outcome: &mut Outcome) {
        let diagnostic = Diagnostic {
            code: Code::Syntax,
            level: Level::Error,
            message: format!("the file {reason}"),
            resource: None,
            file: Arc::clone(&name),
            position: Position { line: 1, column: 1 },
            field: None,
            hint: None,
            reference: None,
        };
        outcome.errors.push(diagnostic.clone());
        self.files.entry(name).or_default().refusal = vec![diagnostic];
    }

    fn removed(&mut self, name: &Arc<str>, outcome: &mut Outcome) {
        if let Some(file) = self.files.remove(name) {
            if let Some(before) = &file.accepted {
                outcome.changed = true;
                self.version = self.version.wrapping_sub(before.share(name));
                self.replaced = None;
            }
            if !file.refusal.is_empty() {
                outcome.recovered.push(Arc::clone(name));
            }
        }
    }
}

/// Adds resources of a file that are others than before. Others by more than what they say are told from those later, by
/// [`config_model::resolve::ResourceSet::with`].
fn note_replaced(replaced: &mut Option<Vec<Replaced>>, before: Option<&Accepted>, after: &Accepted) {
    let before = before.map_or(&[][..], |before| &before.parsed.resources);
    let after = &after.parsed.resources;
    if before.len() != after.len() {
        *replaced = None;
    } else if let Some(replaced) = replaced {
        let pairs = before.iter().zip(after).filter(|(before, after)| !Arc::ptr_eq(before, after));
        replaced.extend(pairs.map(|(before, after)| (Arc::clone(before), Arc::clone(after))));
    }
}

/// Whether both say the same, though perhaps of another line.
fn alike(left: &Diagnostic, right: &Diagnostic) -> bool {
    (left.code, &left.field, &left.message, &left.resource)
        == (right.code, &right.field, &right.message, &right.resource)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: [&str; 3] = ["v1", "v2", "v3"];

    fn rule(subset: &str) -> Content {
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\n\
             spec: {{hosts: [a.example], http: [{{route: [{{destination: {{host: reviews, subset: {subset}}}}}]}}]}}\n"
        );
        Content::Text(text.into())
    }

    fn broken() -> Content {
        Content::Text("apiVersion: [\nkind: {{\n".into())
    }

    fn change(name: &str, content: Content) -> Change {
        Change { name: name.into(), content }
    }

    fn in_force(files: &Files) -> Vec<(String, String)> {
        let shown = |(name, parsed): (&Arc<str>, &Arc<ParsedFile>)| {
            (
                name.to_string(),
                format!("{:?}", parsed.resources.iter().map(|resource| &resource.spec).collect::<Vec<_>>()),
            )
        };
        files.accepted().map(shown).collect()
    }

    #[test]
    fn a_refused_file_leaves_its_last_good_version_in_force_and_others_go_through() {
        let mut files = Files::default();
        files.apply([change("a.yaml", rule("v1")), change("b.yaml", rule("v1"))]);
        let before = in_force(&files);
        let outcome = files.apply([change("a.yaml", broken()), change("b.yaml", rule("v2"))]);
        assert!(outcome.changed && outcome.errors.iter().all(|error| &*error.file == "a.yaml"));
        assert!(!outcome.errors.is_empty());
        let after = in_force(&files);
        assert_eq!(after[0], before[0]);
        assert_ne!(after[1], before[1]);
    }

    #[test]
    fn a_refused_change_changes_neither_content_nor_version() {
        let mut files = Files::default();
        files.apply([change("a.yaml", rule("v1"))]);
        let version = files.version();
        for content in [broken(), Content::Unreadable("can't be read".to_owned())] {
            assert!(!files.apply([change("a.yaml", content)]).changed);
            assert_eq!(files.version(), version);
            assert_eq!(files.errors().count(), 1);
        }
    }

    #[test]
    fn an_error_is_gone_when_its_file_is_corrected_put_back_or_removed() {
        for (cure, changed) in [(rule("v2"), true), (rule("v1"), false), (Content::Removed, true)] {
            let mut files = Files::default();
            files.apply([change("a.yaml", rule("v1"))]);
            files.apply([change("a.yaml", broken())]);
            let outcome = files.apply([change("a.yaml", cure)]);
            assert_eq!((outcome.changed, outcome.recovered), (changed, vec!["a.yaml".into()]));
            assert_eq!(files.errors().count(), 0);
        }
    }

    #[test]
    fn a_new_file_with_an_error_adds_nothing() {
        let mut files = Files::default();
        assert!(!files.apply([change("a.yaml", broken())]).changed);
        assert_eq!(in_force(&files), []);
        assert!(!files.apply([change("a.yaml", Content::Removed)]).changed);
        assert_eq!(files.version(), Files::default().version());
    }

    #[test]
    fn a_file_that_can_not_be_read_says_so_on_one_line() {
        let mut files = Files::default();
        let outcome = files.apply([change("a.yaml", Content::Unreadable("is not a file".to_owned()))]);
        assert_eq!(outcome.errors[0].to_string(), "Error [TG0001] (a.yaml:1:1) the file is not a file");
    }

    #[test]
    fn the_version_tells_names_and_texts_apart() {
        let version = |changes: Vec<Change>| {
            let mut files = Files::default();
            files.apply(changes);
            files.version()
        };
        let one = version(vec![change("a.yaml", rule("v1"))]);
        assert_eq!(one.len(), 16);
        assert_eq!(one, version(vec![change("a.yaml", rule("v2")), change("a.yaml", rule("v1"))]));
        assert_ne!(one, version(vec![change("a.yaml", rule("v2"))]));
        assert_ne!(one, version(vec![change("b.yaml", rule("v1"))]));
    }

    proptest! {
        /// apply(a), apply(b) == apply(b), for changes that are accepted.
        #[test]
        fn the_last_good_content_decides_whatever_was_there_before(
            before in prop::collection::vec((0..3usize, 0..5usize), 0..8),
            last in prop::collection::vec(0..3usize, 3),
        ) {
            let content = |kind: usize| GOOD.get(kind).map_or_else(broken, |subset| rule(subset));
            let name = |index: usize| format!("{index}.yaml");
            let last = || last.iter().enumerate().map(|(index, &kind)| change(&name(index), content(kind)));
            let mut long = Files::default();
            for (index, kind) in before {
                let content = if kind == 4 { Content::Removed } else { content(kind) };
                long.apply([change(&name(index), content)]);
            }
            long.apply(last());
            let mut short = Files::default();
            short.apply(last());
            prop_assert_eq!(in_force(&long), in_force(&short));
            prop_assert_eq!(long.version(), short.version());
            prop_assert_eq!(long.errors().count(), 0);
        }
    }
}
