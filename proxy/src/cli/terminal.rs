//! Standard output and standard error, with colours where they are wanted.

use std::fmt;
use std::io::{self, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

use super::Color;

/// Errors.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Warnings.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// What went well, and what was chosen.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Titles of columns and sections.
pub(crate) const HEADING: Style = Style::new().bold();
/// What is of less weight.
pub(crate) const DIM: Style = Style::new().dimmed();

/// `text` in `style`; the stream drops the style where colours are not wanted.
pub(crate) fn paint(style: Style, text: impl fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Why a command could not do what it was asked: one sentence, with the cure.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub String);

/// The two streams of the program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    color: Color,
}

impl Terminal {
    /// Streams that use colours as `color` says.
    pub(crate) fn new(color: Color) -> Self {
        Self { color }
    }

    /// When colours are used.
    pub(crate) fn color(&self) -> Color {
        self.color
    }

    /// Writes `text` to standard output. A reader that has gone away, as `head` does, is no failure.
    pub(crate) fn write(&self, text: &str) -> Result<(), Failure> {
        let mut stream = AutoStream::new(io::stdout().lock(), self.color.choice());
        match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure(format!("writing to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes `error: ...` to standard error.
    pub(crate) fn error(&self, failure: &Failure) {
        let mut stream = AutoStream::new(io::stderr().lock(), self.color.choice());
        // There is no third place to complain to.
        let _ = writeln!(stream, "{} {failure}", paint(ERROR, "error:"));
    }
}
