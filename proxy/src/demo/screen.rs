//! Where the demo writes: a picture that is drawn over and over below what has been told, or plain lines.

use std::io::{self, IsTerminal, Write};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};

use crate::cli::Color;

/// Back to the beginning of the picture, and clear what is below.
const CLEAR_BELOW: &str = "\x1b[0J";
/// Long lines are cut while the picture is drawn, so that its height is known.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";

/// Standard output.
#[derive(Debug)]
pub(crate) struct Screen {
    /// Whether colours are wanted.
    colored: bool,
    /// Whether pictures can be drawn.
    pub(crate) live: bool,
    /// Lines of the picture that stands now.
    drawn: usize,
}

impl Screen {
    /// Draws if standard output is a terminal.
    pub(crate) fn new(color: Color) -> Self {
        let stdout = io::stdout();
        let smart = std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let colored = match color {
            Color::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
            Color::Always => true,
            Color::Never => false,
        };
        Self { colored, live: smart && stdout.is_terminal(), drawn: 0 }
    }

    /// Writes lines that stay, above the picture.
    pub(crate) fn tell(&mut self, lines: &str) {
        let erase = self.erase();
        write(&format!("{erase}{}\n", self.styled(lines)));
    }

    /// Draws `lines` in place of the picture before.
    pub(crate) fn draw(&mut self, lines: &[String]) {
        let erase = self.erase();
        self.drawn = lines.len();
        write(&format!("{erase}{NO_WRAP}{}\n{WRAP}", self.styled(&lines.join("\n"))));
    }

    /// Lets the picture stand; what comes is written below it.
    pub(crate) fn keep(&mut self) {
        self.drawn = 0;
    }

    fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            lines => format!("\x1b[{lines}F{CLEAR_BELOW}"),
        }
    }

    fn styled(&self, text: &str) -> String {
        if self.colored { text.to_owned() } else { strip_str(text).to_string() }
    }
}

fn write(text: &str) {
    let mut stdout = io::stdout().lock();
    // If the terminal has gone there is nobody left to tell.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_erased_by_its_own_height_and_once() {
        let mut screen = Screen { colored: false, live: true, drawn: 3 };
        assert_eq!(screen.erase(), "\x1b[3F\x1b[0J");
        assert_eq!(screen.erase(), "");
    }
}
