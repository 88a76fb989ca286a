//! Splits a file at its document markers, so that each document can be read, and read again, by itself.

use memchr::{memchr_iter, memmem};

/// A document's text and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'t> {
    /// The text, from its marker on if it has one.
    pub text: &'t str,
    /// Line of its first character in the file, from 1.
    pub line: u32,
}

/// The documents of a file. A file with directives (`%YAML`) is one section, as those belong to the document behind them.
pub fn sections(text: &str) -> Vec<Section<'_>> {
    let bytes = text.as_bytes();
    if bytes.first() == Some(&b'%') || memmem::find(bytes, b"\n%").is_some() {
        return vec![Section { text, line: 1 }];
    }
    let mut sections = Vec::new();
    let (mut begin, mut line) = (0, 1);
    for line_feed in memmem::find_iter(bytes, b"\n---") {
        let marker = line_feed + 1;
        if bytes.get(marker + 3..).is_none_or(ends_marker) {
            let text = text.get(begin..marker).unwrap_or_default();
            sections.push(Section { text, line });
            begin = marker;
            line += u32::try_from(memchr_iter(b'\n', text.as_bytes()).count()).unwrap_or(u32::MAX);
        }
    }
    sections.push(Section { text: text.get(begin..).unwrap_or_default(), line });
    sections
}

fn ends_marker(after: &[u8]) -> bool {
    matches!(after.first(), None | Some(b' ' | b'\t' | b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<(u32, &str)> {
        sections(text).into_iter().map(|section| (section.line, section.text)).collect()
    }

    #[test]
    fn a_section_begins_at_each_marker() {
        for (text, want) in [
            ("", vec![(1, "")]),
            ("a: 1\n", vec![(1, "a: 1\n")]),
            ("---\na: 1\n---\nb: 2", vec![(1, "---\na: 1\n"), (3, "---\nb: 2")]),
            ("# c\n---\na: 1\n--- {b: 2}\n", vec![(1, "# c\n"), (2, "---\na: 1\n"), (4, "--- {b: 2}\n")]),
            ("a: |\n  ---\nb: ---x\n---x: 1\n", vec![(1, "a: |\n  ---\nb: ---x\n---x: 1\n")]),
            ("a: 1\r\n---\r\nb: 2\r\n", vec![(1, "a: 1\r\n"), (2, "---\r\nb: 2\r\n")]),
            ("a: 1\n---", vec![(1, "a: 1\n"), (2, "---")]),
        ] {
            assert_eq!(split(text), want, "{text:?}");
        }
    }

    #[test]
    fn directives_keep_a_file_whole() {
        assert_eq!(split("%YAML 1.1\n---\na: 1\n---\nb: 2\n").len(), 1);
    }

    proptest! {
        #[test]
        fn no_character_is_lost_and_lines_are_counted(text in "(-{2,4}|[ab:% \n\r]|\n--- ?){0,40}") {
            let sections = sections(&text);
            let joined: String = sections.iter().map(|section| section.text).collect();
            prop_assert_eq!(&joined, &text);
            let mut line = 1;
            for section in sections {
                prop_assert_eq!(section.line, line);
                line += u32::try_from(section.text.matches('\n').count()).unwrap();
            }
        }
    }
}
