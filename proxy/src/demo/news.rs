//! What the gateway has to say about the folder: a change that came in force, findings that came, errors that are gone.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use config_model::diagnostic::Diagnostic;

use crate::cli::terminal::{GOOD, paint};
use crate::control::Applied;

/// What has been told already.
#[derive(Debug, Default)]
pub(crate) struct News {
    version: Arc<str>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl News {
    /// What is new in `applied`, which was made from the files in `folder`.
    pub(crate) fn of(&mut self, applied: &Applied, folder: &Path) -> Vec<String> {
        let mut news = Vec::new();
        if self.version != applied.version {
            if !self.version.is_empty() {
                news.push(paint(GOOD, format!("Configuration {} is in force.", applied.version)));
            }
            self.version = Arc::clone(&applied.version);
        }
        let found = unknown(&self.errors, &applied.errors).chain(unknown(&self.warnings, &applied.warnings));
        news.extend(found.map(|diagnostic| with_lines(diagnostic, folder)));
        match (self.errors.is_empty(), applied.errors.is_empty()) {
            (true, false) => news.push("The file is refused; what was in force stays in force.".to_owned()),
            (false, true) => news.push(paint(GOOD, "The errors are gone.")),
            _ => {}
        }
        self.errors.clone_from(&applied.errors);
        self.warnings.clone_from(&applied.warnings);
        news
    }
}

fn unknown<'n>(known: &'n [Diagnostic], now: &'n [Diagnostic]) -> impl Iterator<Item = &'n Diagnostic> {
    now.iter().filter(|diagnostic| !known.contains(diagnostic))
}

/// A finding with the lines that it is about, if the file is still there.
fn with_lines(diagnostic: &Diagnostic, folder: &Path) -> String {
    let text = fs::read_to_string(folder.join(&*diagnostic.file)).unwrap_or_default();
    diagnostic.render(&text, true)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use config_model::diagnostic::{Code, Level};
    use config_model::origin::Position;

    use super::*;

    fn applied(version: &str, errors: &[&str]) -> Applied {
        let error = |message: &&str| Diagnostic {
            code: Code::SchemaValidation,
            level: Level::Error,
            message: (*message).to_owned(),
            resource: None,
            file: "a.yaml".into(),
            position: Position { line: 2, column: 3 },
            field: None,
            hint: None,
            reference: None,
        };
        Applied {
            version: version.into(),
            since: SystemTime::UNIX_EPOCH,
            resources: Default::default(),
            errors: errors.iter().map(error).collect(),
            warnings: Vec::new(),
            listeners: Vec::new(),
            certificates: std::sync::Arc::default(),
        }
    }

    #[test]
    fn news_are_told_once_and_the_first_configuration_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), "spec:\n  htp: 1\n").unwrap();
        let mut news = News::default();
        let mut told = |applied: &Applied| -> Vec<String> {
            let lines = news.of(applied, folder.path());
            lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
        };
        assert_eq!(told(&applied("1", &[])), [""; 0]);
        assert_eq!(told(&applied("2", &[])), ["Configuration 2 is in force."]);
        let broken = told(&applied("2", &["unknown field"]));
        assert!(broken[0].contains("(a.yaml:2:3) unknown field\n  |\n2 |   htp: 1\n"), "{broken:?}");
        assert_eq!(broken.len(), 2);
        assert_eq!(told(&applied("2", &["unknown field"])), [""; 0]);
        assert_eq!(told(&applied("2", &[])), ["The errors are gone."]);
    }
}
