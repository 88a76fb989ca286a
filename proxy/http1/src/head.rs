//! The head of a message: a start line and fields, as places in the buffer that they came in. Whatever is added is kept as
//! whole lines in a second buffer; nothing is moved, and writing a head out copies runs of lines.

use crate::name::{Name, Names};
use crate::scan;

/// Versions that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// A part of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl Span {
    /// From `start` to `end`, which are within a buffer of at most 64 KiB.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: end.saturating_sub(start) as u32 }
    }

    fn of(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        bytes.get(start..start + self.length as usize).unwrap_or_default()
    }
}

/// A line `name: value\r\n`, its name in lower case, with exactly one space after the colon and no blank at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    start: u32,
    /// Behind its line feed.
    end: u32,
    name_length: u16,
    name: Name,
    added: bool,
}

/// A field: its kind, its name in lower case, its value without blanks around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The kind of its name.
    pub kind: Name,
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// A head. It holds the buffer that the message comes in, too, since its lines are there.
#[derive(Debug, Default)]
pub struct Head {
    pub(crate) buffer: Box<[u8]>,
    lines: Vec<Line>,
    added: Vec<u8>,
    names: Names,
    /// Names that came more than once.
    repeated: Names,
    pub(crate) version: Version,
    /// Of a request.
    pub(crate) method: Span,
    /// Of a request.
    pub(crate) target: Span,
    /// Of a response.
    pub(crate) status: u16,
    /// Of a response.
    pub(crate) reason: Span,
}

impl Head {
    /// An empty head over `buffer`.
    pub(crate) fn new(buffer: Box<[u8]>) -> Self {
        Self { buffer, ..Self::default() }
    }

    /// Forgets everything but the memory.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
        self.added.clear();
        (self.names, self.repeated) = (Names::default(), Names::default());
        self.version = Version::Http11;
        (self.method, self.target, self.reason, self.status) = Default::default();
    }

    /// `GET`
    pub fn method(&self) -> &[u8] {
        self.method.of(&self.buffer)
    }

    /// The request's target as it came.
    pub fn target(&self) -> &[u8] {
        self.target.of(&self.buffer)
    }

    /// Status of a response.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Makes this the head of a response with that status.
    pub fn set_status(&mut self, status: u16) {
        (self.status, self.reason) = (status, Span::default());
    }

    /// What follows the status of a response.
    pub fn reason(&self) -> &[u8] {
        self.reason.of(&self.buffer)
    }

    /// Of the message.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Names that are, or have been, in the head. An absent name is surely absent.
    pub fn names(&self) -> Names {
        self.names
    }

    /// Whether several fields of a kind came. What was changed since doesn't count.
    pub(crate) fn is_repeated(&self, kind: Name) -> bool {
        self.repeated.has(kind)
    }

    /// Whether there is a field of a kind.
    pub fn has(&self, kind: Name) -> bool {
        self.names.has(kind) && self.lines.iter().any(|line| line.name == kind)
    }

    /// How many fields there are.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// All fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.lines.iter().map(|&line| self.field(line))
    }

    /// Values of the fields of a kind, in order.
    pub fn values_of(&self, kind: Name) -> impl Iterator<Item = &[u8]> {
        self.lines.iter().filter(move |line| line.name == kind).map(|&line| self.value_at(line))
    }

    /// Values of the fields named `name`, which is in lower case, in order.
    pub fn values<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        self.lines.iter().filter_map(move |&line| {
            if usize::from(line.name_length) != name.len() {
                return None;
            }
            let field = self.field(line);
            (field.name == name).then_some(field.value)
        })
    }

    /// The value of the first field named `name`, which is in lower case.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.value_of(Name::of(name), name)
    }

    /// The same for who knows the name's `kind`.
    pub fn value_of(&self, kind: Name, name: &[u8]) -> Option<&[u8]> {
        if kind != Name::Other && !self.names.has(kind) {
            return None;
        }
        if kind.is_kind() { self.values(name).next() } else { self.values_of(kind).next() }
    }

    fn value_at(&self, line: Line) -> &[u8] {
        let bytes = self.bytes_of(line);
        let start = line.start as usize + usize::from(line.name_length) + 2;
        bytes.get(start..(line.end as usize).saturating_sub(2)).unwrap_or_default()
    }

    /// Where the line stands.
    fn bytes_of(&self, line: Line) -> &[u8] {
        if line.added { &self.added } else { &self.buffer }
    }

    fn field(&self, line: Line) -> Field<'_> {
        let text = self.bytes_of(line).get(line.start as usize..line.end as usize).unwrap_or_default();
        let (name, rest) = text.split_at_checked(usize::from(line.name_length)).unwrap_or_default();
        let value = rest.get(2..rest.len().saturating_sub(2)).unwrap_or_default();
        Field { kind: line.name, name, value }
    }

    /// Adds the lines from `at` on, within the first `filled` bytes of the buffer, that stand there in the form that [`Line`]
    /// asks for, up to [`FIELDS_MAX`](crate::FIELDS_MAX) of them, and yields where the first other one begins.
    pub(crate) fn add_lines(&mut self, mut at: usize, filled: usize) -> usize {
        // A head is read once for each message: its parts are borrowed once, too, and not for each line.
        let Self { buffer, lines, names, repeated, .. } = self;
        let (mut seen, mut again) = (*names, *repeated);
        // The last lines are compared sixteen bytes at a time, too, with what stands behind them.
        let bytes = buffer.get_mut(..buffer.len().min(filled + 16)).unwrap_or_default();
        while lines.len() < crate::FIELDS_MAX
            && let Some(plain) = scan::plain_line(bytes, at)
            && plain.end <= filled
        {
            let name = Name::of(bytes.get(at..plain.colon).unwrap_or_default());
            again.add_known(name, seen);
            seen.add(name);
            let name_length = (plain.colon - at) as u16;
            lines.push(Line { start: at as u32, end: plain.end as u32, name_length, name, added: false });
            at = plain.end;
        }
        (*names, *repeated) = (seen, again);
        at
    }

    /// Adds the field whose parts are at these places of the buffer.
    pub(crate) fn add_apart(&mut self, name: Span, value: Span) {
        let start = self.added.len();
        self.added.extend_from_slice(name.of(&self.buffer));
        self.added.extend_from_slice(b": ");
        self.added.extend_from_slice(value.of(&self.buffer));
        self.added.extend_from_slice(b"\r\n");
        self.enter(start, name.length as usize);
    }

    /// Enters the line that has just been added, from `start` on.
    fn enter(&mut self, start: usize, name_length: usize) {
        let name = Name::of(self.added.get(start..start + name_length).unwrap_or_default());
        self.repeated.add_known(name, self.names);
        self.names.add(name);
        self.push_added(start, name_length, name);
    }

    fn push_added(&mut self, start: usize, name_length: usize, name: Name) {
        let (start, end) = (start as u32, self.added.len() as u32);
        self.lines.push(Line { start, end, name_length: name_length as u16, name, added: true });
    }

    /// Appends a field. `name` is in lower case; bytes that can't stand in a value become blanks, and blanks at its ends go.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        self.append_with(name, |out| out.extend_from_slice(value));
    }

    /// Appends a field whose value `write` appends to what it is given.
    pub fn append_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(name.iter().all(|&byte| scan::NAME[usize::from(byte)] == byte && byte != 0));
        let start = self.added.len();
        self.added.extend_from_slice(name);
        self.added.extend_from_slice(b": ");
        let value_start = self.added.len();
        write(&mut self.added);
        self.make_fit(value_start);
        self.added.extend_from_slice(b"\r\n");
        self.enter(start, name.len());
    }

    /// Appends a field of our own making. `begin` is its name with the colon and the blank behind it; `value` has no control
    /// byte, and no blank at its ends.
    // Text whose length is known is stored, and no function called to copy it.
    pub fn append_own<const N: usize>(&mut self, kind: Name, begin: &'static [u8; N], value: &[u8]) {
        debug_assert!(begin.strip_suffix(b": ").is_some_and(|name| Name::of(name) == kind));
        debug_assert!(scan::value_end(value, 0) == value.len() && value.trim_ascii() == value);
        let start = self.added.len();
        self.added.extend_from_slice(begin);
        self.added.extend_from_slice(value);
        self.added.extend_from_slice(b"\r\n");
        self.names.add(kind);
        self.push_added(start, N - 2, kind);
    }

    /// Appends a field of our own making, as the whole line that it is, of which the first `name_length` bytes are its name.
    pub fn append_line<const N: usize>(&mut self, kind: Name, name_length: usize, line: &[u8; N]) {
        let (name, value) = line.split_at(name_length);
        debug_assert!(Name::of(name) == kind && value.starts_with(b": ") && value.ends_with(b"\r\n"));
        debug_assert_eq!(scan::value_end(line, 0), N - 2);
        let start = self.added.len();
        self.added.extend_from_slice(line);
        self.names.add(kind);
        self.push_added(start, name_length, kind);
    }

    /// Makes a value of what stands from `start` on.
    fn make_fit(&mut self, start: usize) {
        if scan::value_end(&self.added, start) < self.added.len() {
            let value = self.added.get_mut(start..).unwrap_or_default();
            value.iter_mut().filter(|byte| scan::is_control(**byte)).for_each(|byte| *byte = b' ');
        }
        while self.added.len() > start && matches!(self.added.last(), Some(b' ' | b'\t')) {
            self.added.pop();
        }
        let leading = self.added.iter().skip(start).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if leading > 0 {
            self.added.drain(start..start + leading);
        }
    }

    /// Puts one field in place of all of that name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }

    /// Drops the fields named `name`, which is in lower case.
    pub fn remove(&mut self, name: &[u8]) {
        let kind = Name::of(name);
        if kind == Name::Other || self.names.has(kind) {
            self.retain(|field| field.name != name);
        }
    }

    /// Drops the fields whose kind is in `kinds`.
    pub fn remove_all(&mut self, kinds: Names) {
        if self.names.has_any(kinds) {
            self.lines.retain(|line| !kinds.has(line.name));
        }
    }

    /// Keeps only the fields that `keep` approves of.
    pub fn retain(&mut self, mut keep: impl FnMut(Field<'_>) -> bool) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.retain(|&line| keep(self.field(line)));
        self.lines = lines;
    }

    /// Appends all fields to `out` as they go over the wire, without the empty line after them.
    pub fn write_fields(&self, out: &mut Vec<u8>) {
        let mut lines = self.lines.iter();
        let Some(mut run) = lines.next() else { return };
        let mut end = run.end;
        for line in lines {
            if line.start != end || line.added != run.added {
                self.write_run(run, end, out);
                run = line;
            }
            end = line.end;
        }
        self.write_run(run, end, out);
    }

    fn write_run(&self, run: &Line, end: u32, out: &mut Vec<u8>) {
        let bytes = if run.added { &self.added } else { &*self.buffer };
        out.extend_from_slice(bytes.get(run.start as usize..end as usize).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(head: &Head) -> String {
        let mut out = Vec::new();
        head.write_fields(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_set_appended_and_removed_by_name() {
        let mut head = Head::default();
        head.append(b"x-a", b"1");
        head.append(b"host", b"a.example");
        head.append(b"x-a", b"2");
        head.set(b"x-b", b"3");
        assert_eq!(head.values(b"x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        head.set(b"x-a", b"4");
        assert_eq!(written(&head), "host: a.example\r\nx-b: 3\r\nx-a: 4\r\n");
        head.remove(b"host");
        head.remove(b"cookie");
        assert_eq!(written(&head), "x-b: 3\r\nx-a: 4\r\n");
        head.clear();
        assert_eq!((written(&head), head.names()), (String::new(), Names::default()));
    }

    #[test]
    fn a_value_can_neither_end_its_line_nor_begin_with_a_blank() {
        let mut head = Head::default();
        head.append(b"x-a", b" \t a\r\nx-evil: 1\0 \t");
        assert_eq!(written(&head), "x-a: a  x-evil: 1\r\n");
        assert_eq!(head.value(b"x-a"), Some(&b"a  x-evil: 1"[..]));
        head.set(b"x-a", b" \t");
        assert_eq!(written(&head), "x-a: \r\n");
    }

    #[test]
    fn a_line_is_small_since_a_head_has_many() {
        assert_eq!(std::mem::size_of::<Line>(), 12);
    }
}
