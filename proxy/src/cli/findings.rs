//! Findings as `check` prints them: sorted, without those that are suppressed, with the lines that they are about.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

use config_model::diagnostic::{Code, Diagnostic, Level};

use super::terminal::{ERROR, GOOD, WARNING, paint};

/// A kind of finding that is not to be told, for all resources or for some. Source: `istioctl analyze --suppress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Suppression {
    code: Code,
    /// Kind, and name with or without namespace; each may hold `*`. Everything if `None`.
    resource: Option<(String, String)>,
}

impl FromStr for Suppression {
    type Err = String;

    /// `IST0101`, `IST0101=VirtualService/reviews`, `IST0101=VirtualService/default/*`
    fn from_str(text: &str) -> Result<Self, String> {
        let (code, resource) = text.split_once('=').map_or((text, None), |(code, resource)| (code, Some(resource)));
        let code = Code::from_name(code)
            .ok_or_else(|| format!("there is no code `{code}`; `tidegate check --list` has all"))?;
        let resource = resource.map(|resource| {
            let parts = resource.split_once(['/', ' ']).filter(|(kind, name)| !kind.is_empty() && !name.is_empty());
            parts.map(|(kind, name)| (kind.to_owned(), name.to_owned()))
        });
        match resource {
            Some(None) => Err("expected CODE=KIND/NAME, as in IST0101=VirtualService/reviews".to_owned()),
            resource => Ok(Self { code, resource: resource.flatten() }),
        }
    }
}

impl Suppression {
    fn takes(&self, finding: &Diagnostic) -> bool {
        let of_resource = |(kind, name): &(String, String)| {
            finding.resource.as_ref().is_some_and(|resource| {
                let ours = [
                    resource.name.to_string(),
                    format!("{}/{}", resource.namespace, resource.name),
                    format!("{}.{}", resource.name, resource.namespace),
                ];
                glob(kind, resource.kind) && ours.iter().any(|ours| glob(name, ours))
            })
        };
        self.code == finding.code && self.resource.as_ref().is_none_or(of_resource)
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any characters.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| rest.get(at..).is_some_and(|rest| glob(after, rest)))
}

/// What was found, in the order of files and lines.
#[derive(Debug)]
pub(crate) struct Findings {
    told: Vec<Diagnostic>,
    suppressed: usize,
}

impl Findings {
    /// Sorts `found` and drops what is suppressed and what is there twice.
    pub(crate) fn new(mut found: Vec<Diagnostic>, suppressed: &[Suppression]) -> Self {
        found.sort_by(|left, right| place(left).cmp(&place(right)));
        found.dedup();
        let all = found.len();
        found.retain(|finding| !suppressed.iter().any(|suppression| suppression.takes(finding)));
        Self { suppressed: all - found.len(), told: found }
    }

    /// Whether any is at `threshold` or above.
    pub(crate) fn reach(&self, threshold: Level) -> bool {
        self.told.iter().any(|finding| finding.level >= threshold)
    }

    /// For people. `texts` are the files that were read.
    pub(crate) fn text(&self, texts: &BTreeMap<Arc<str>, Arc<str>>) -> String {
        let render = |finding: &Diagnostic| {
            let source = texts.get(&finding.file).map_or("", |text| &**text);
            finding.render(source, true) + "\n\n"
        };
        let findings: String = self.told.iter().map(render).collect();
        findings + &self.summary(texts.len()) + "\n"
    }

    /// For programs.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(&self.told).unwrap_or_default() + "\n"
    }

    fn summary(&self, files: usize) -> String {
        let files = count(files, "file");
        let of = |level, word| {
            let number = self.told.iter().filter(|finding| finding.level == level).count();
            (number > 0).then(|| count(number, word))
        };
        let parts = [of(Level::Error, "error"), of(Level::Warning, "warning"), of(Level::Info, "remark")];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let files = match self.suppressed {
            0 => files,
            suppressed => format!("{files}, {suppressed} suppressed"),
        };
        match self.told.iter().map(|finding| finding.level).max() {
            None => paint(GOOD, format!("No problems found in {files}.")),
            Some(Level::Error) => format!("{} in {files}.", paint(ERROR, text)),
            Some(_) => format!("{} in {files}.", paint(WARNING, text)),
        }
    }
}

fn place(finding: &Diagnostic) -> (&Arc<str>, config_model::origin::Position, Code, &str) {
    (&finding.file, finding.position, finding.code, &finding.message)
}

/// `1 file`, `2 files`
fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// A line for each code.
pub(crate) fn list() -> String {
    Code::ALL.iter().map(|code| format!("{code}  {}\n", code.description())).collect()
}

#[cfg(test)]
mod tests {
    use config_model::origin::{Origin, Position, ResourceId};

    use super::*;

    fn finding(code: Code, level: Level, file: &str, line: u32) -> Diagnostic {
        let resource = ResourceId {
            kind: "VirtualService",
            namespace: "default".into(),
            name: "reviews".into(),
            file: file.into(),
        };
        let origin = Origin { resource: resource.into(), position: Position { line, column: 1 } };
        Diagnostic::new(code, level, &origin, "is wrong".to_owned())
    }

    #[test]
    fn findings_are_sorted_by_file_and_line_and_told_once() {
        let found = vec![
            finding(Code::SchemaValidation, Level::Error, "b.yaml", 1),
            finding(Code::SchemaValidation, Level::Error, "a.yaml", 9),
            finding(Code::NotHonoured, Level::Warning, "a.yaml", 2),
            finding(Code::SchemaValidation, Level::Error, "a.yaml", 9),
        ];
        let sorted = Findings::new(found, &[]).told;
        let places: Vec<_> = sorted.iter().map(|finding| (&*finding.file, finding.position.line)).collect();
        assert_eq!(places, [("a.yaml", 2), ("a.yaml", 9), ("b.yaml", 1)]);
    }

    #[test]
    fn a_suppression_names_a_code_and_perhaps_resources() {
        let table = [
            ("IST0106", true),
            ("ist0106=VirtualService/reviews", true),
            ("IST0106=VirtualService/default/reviews", true),
            ("IST0106=VirtualService reviews.default", true),
            ("IST0106=*/rev*", true),
            ("IST0106=VirtualService/other", false),
            ("IST0106=Gateway/reviews", false),
            ("IST0101", false),
        ];
        for (text, suppressed) in table {
            let found = vec![finding(Code::SchemaValidation, Level::Error, "a.yaml", 1)];
            let findings = Findings::new(found, &[text.parse().unwrap()]);
            assert_eq!(findings.told.is_empty(), suppressed, "{text}");
        }
        for text in ["IST9999", "IST0106=", "IST0106=VirtualService", ""] {
            assert!(text.parse::<Suppression>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_threshold_decides_whether_findings_matter() {
        let findings = Findings::new(vec![finding(Code::NotHonoured, Level::Warning, "a.yaml", 1)], &[]);
        assert!(findings.reach(Level::Info) && findings.reach(Level::Warning) && !findings.reach(Level::Error));
    }

    #[test]
    fn the_summary_counts_by_level() {
        let found = vec![
            finding(Code::SchemaValidation, Level::Error, "a.yaml", 1),
            finding(Code::NotHonoured, Level::Warning, "a.yaml", 2),
            finding(Code::NotHonoured, Level::Warning, "a.yaml", 3),
        ];
        let plain = |findings: &Findings| anstream::adapter::strip_str(&findings.summary(1)).to_string();
        assert_eq!(plain(&Findings::new(found, &[])), "1 error, 2 warnings in 1 file.");
        assert_eq!(plain(&Findings::new(Vec::new(), &[])), "No problems found in 1 file.");
    }
}
