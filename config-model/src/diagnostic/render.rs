//! A diagnostic with the lines that it is about, drawn as compilers do.

use super::{Diagnostic, Level};

impl Diagnostic {
    /// The line of `Display`, then the line of the file with a caret under the place. `source` is the file's text.
    pub fn render(&self, source: &str, color: bool) -> String {
        let (paint, bold, reset) = match (color, self.level) {
            (false, _) => ("", "", ""),
            (true, Level::Error) => ("\x1b[31m", "\x1b[1m", "\x1b[0m"),
            (true, Level::Warning) => ("\x1b[33m", "\x1b[1m", "\x1b[0m"),
            (true, Level::Info) => ("\x1b[36m", "\x1b[1m", "\x1b[0m"),
        };
        let message = self.to_string();
        let rest = message.strip_prefix(self.level.as_str()).unwrap_or(&message);
        let head = format!("{paint}{bold}{}{reset}{rest}", self.level);
        let number = self.position.line as usize;
        let Some(line) = number.checked_sub(1).and_then(|index| source.lines().nth(index)) else { return head };
        let margin = " ".repeat(number.to_string().len());
        let line = line.trim_end();
        let before: String = line.chars().take((self.position.column as usize).saturating_sub(1)).map(blank).collect();
        let carets = "^".repeat(marked(line, self.position.column as usize));
        format!("{head}\n{margin} |\n{number} | {line}\n{margin} | {before}{paint}{carets}{reset}")
    }
}

/// What takes as much room as `c`: a tab stays one.
fn blank(c: char) -> char {
    if c == '\t' { c } else { ' ' }
}

/// How many characters belong to the word or quoted text that begins in this column.
fn marked(line: &str, column: usize) -> usize {
    let mut rest = line.chars().skip(column.saturating_sub(1));
    let first = rest.next();
    let length = match first {
        Some(quote @ ('"' | '\'')) => rest.take_while(|&c| c != quote).count() + 2,
        Some('[' | '{' | '|' | '>') | None => 1,
        Some(_) => 1 + rest.take_while(|&c| !matches!(c, ' ' | ',' | ':' | ']' | '}')).count(),
    };
    length.min(line.chars().count().saturating_sub(column.saturating_sub(1)).max(1))
}
