//! Names of fields: `spec.http[0].match[1].headers["x-user"]`.

use std::fmt;

/// The way from a resource's root to a field: a list on the stack, so that reading costs nothing until something is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The resource itself.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// A field of the object at this path.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// An entry of the list at this path.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// An entry of the map at this path.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// The path that this one was made from; the root's is the root.
    pub fn parent(&self) -> &'a Path<'a> {
        self.parent.unwrap_or(&Path::ROOT)
    }

    /// Whether this is an entry of the map that is a field called `name`.
    pub fn is_entry_of(&self, name: &str) -> bool {
        matches!((self.step, self.parent().step), (Step::Key(_), Step::Field(field)) if field == name)
    }

    /// Whether this is the resource itself.
    pub fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if parent.is_root() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_as_one_would_write_it() {
        let spec = Path::ROOT.field("spec");
        let http = spec.field("http");
        let rule = http.index(2);
        let headers = rule.field("headers");
        assert_eq!(headers.key("x-user").to_string(), r#"spec.http[2].headers["x-user"]"#);
        assert_eq!(Path::ROOT.to_string(), "");
    }
}
