//! What the gateway has to say about the folder: a change that came in force, findings that came, errors that are gone.

use std::sync::Arc;

use config_model::diagnostic::Diagnostic;

use crate::cli::terminal::{ERROR, GOOD, WARNING, paint};
use crate::control::Applied;

/// What has been told already.
#[derive(Debug, Default)]
pub(crate) struct News {
    version: Arc<str>,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl News {
    /// What is new in `applied`.
    pub(crate) fn of(&mut self, applied: &Applied) -> Vec<String> {
        let mut news = Vec::new();
        let first = self.version.is_empty();
        if self.version != applied.version {
            if !first {
                news.push(paint(GOOD, format!("Configuration {} is in force.", applied.version)));
            }
            self.version = Arc::clone(&applied.version);
        }
        news.extend(unknown(&self.errors, &applied.errors).map(|error| paint(ERROR, error)));
        news.extend(unknown(&self.warnings, &applied.warnings).map(|warning| paint(WARNING, warning)));
        match (self.errors.is_empty(), applied.errors.is_empty()) {
            (true, false) => news.push("The file is refused; what was in force stays in force.".to_owned()),
            (false, true) => news.push(paint(GOOD, "The error is gone.")),
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
