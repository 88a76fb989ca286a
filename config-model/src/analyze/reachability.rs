//! Rules and matches that no request ever reaches, since earlier ones take all of theirs.
//! Source: Istio's validation of VirtualServices (IST0130, 0131), which knows duplicates and prefixes within prefixes; here an
//! earlier match covers a later one if its path is as wide and it asks for nothing that the later one does not ask for too.

use std::fmt::Write;

use foldhash::HashMap;

use super::{Finding, Findings};
use crate::diagnostic::{Code, Level};
use crate::origin::Origin;
use crate::resolve::names;
use crate::resolve::set::Item;
use crate::resource::{HttpMatchRequest, HttpRoute, Map, StringMatch, VirtualService};

pub(super) fn analyze(findings: &mut Findings<'_>) {
    for item in findings.resources.all::<VirtualService>() {
        rules(item, findings);
    }
}

fn rule_name(rule: &HttpRoute, index: usize) -> String {
    if rule.name.is_empty() { format!("#{index}") } else { format!("{:?}", rule.name.value) }
}

fn match_name(entry: &HttpMatchRequest, index: usize) -> String {
    if entry.name.is_empty() { format!("#{index}") } else { format!("{:?}", entry.name.value) }
}

fn rules(item: Item<'_, VirtualService>, findings: &mut Findings<'_>) {
    let mut seen = Seen::default();
    let mut catch_all: Option<usize> = None;
    for (index, rule) in item.spec.http.iter().enumerate() {
        if let Some(earlier) = catch_all {
            let reason = if rule.r#match.is_empty() {
                "only the last rule can have no matches"
            } else {
                "route without matches defined before"
            };
            unreachable(item, (rule, index), reason, earlier, findings);
            continue;
        }
        if rule.r#match.is_empty() {
            catch_all = Some(index);
            continue;
        }
        let mut covering = None;
        let mut used = 0;
        for (number, entry) in rule.r#match.iter().enumerate() {
            let conditions = Conditions::new(entry, item.namespace());
            match seen.cover(&conditions) {
                Some(earlier) => {
                    ineffective(item, (rule, index), (entry, number), earlier, findings);
                    covering = Some(earlier);
                }
                None => {
                    used += 1;
                    seen.add(conditions, index);
                }
            }
        }
        if let Some(earlier) = covering.filter(|_| used == 0) {
            unreachable(item, (rule, index), "all matches used by prior rules", earlier, findings);
        }
    }
}

/// The rule that is in the way.
fn reference(item: Item<'_, VirtualService>, rule: usize) -> Option<Origin> {
    item.spec.http.get(rule).map(|rule| item.origin(rule.position))
}

fn unreachable(
    item: Item<'_, VirtualService>,
    (rule, index): (&HttpRoute, usize),
    reason: &str,
    earlier: usize,
    findings: &mut Findings<'_>,
) {
    let message = format!("VirtualService rule {} not used ({reason}).", rule_name(rule, index));
    let origin = item.origin(rule.position);
    let (code, field) = (Code::UnreachableRule, format!("spec.http[{index}]"));
    let hint = Some("move it up, or make the earlier rule narrower".to_owned());
    findings.add(Finding { code, level: Level::Warning, origin: &origin, field, message, hint });
    refer(item, earlier, findings);
}

fn ineffective(
    item: Item<'_, VirtualService>,
    (rule, index): (&HttpRoute, usize),
    (entry, number): (&HttpMatchRequest, usize),
    earlier: usize,
    findings: &mut Findings<'_>,
) {
    let before = item.spec.http.get(earlier).map(|rule| rule_name(rule, earlier)).unwrap_or_default();
    let message = format!(
        "VirtualService rule {} match {} is not used (duplicate/overlapping match in rule {before}).",
        rule_name(rule, index),
        match_name(entry, number)
    );
    let origin = item.origin(entry.position);
    let (code, field) = (Code::IneffectiveMatch, format!("spec.http[{index}].match[{number}]"));
    findings.add(Finding { code, level: Level::Info, origin: &origin, field, message, hint: None });
    refer(item, earlier, findings);
}

fn refer(item: Item<'_, VirtualService>, rule: usize, findings: &mut Findings<'_>) {
    if let Some(last) = findings.diagnostics.last_mut() {
        last.reference = reference(item, rule);
    }
}

/// A path condition: its kind, its text, and whether case counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PathKey {
    kind: &'static str,
    text: String,
    ignore_case: bool,
}

/// A match entry as a path and a set of other conditions, each as one text.
struct Conditions {
    /// `None` takes every path.
    path: Option<PathKey>,
    /// Sorted.
    others: Vec<String>,
}

/// Entries that are not covered themselves, by path and by the first of their other conditions.
#[derive(Default)]
struct Seen {
    entries: Vec<(Conditions, usize)>,
    by_key: HashMap<(Option<PathKey>, Option<String>), Vec<usize>>,
}

impl Conditions {
    fn new(entry: &HttpMatchRequest, namespace: &str) -> Self {
        let mut others = Vec::new();
        let texts = [("method", &entry.method), ("authority", &entry.authority), ("scheme", &entry.scheme)];
        for (name, value) in texts {
            others.extend(value.as_ref().map(|value| condition(name, "", value)));
        }
        let mut map = |kind: &str, map: &Map<StringMatch>, is_header: bool| {
            for (key, value) in map.iter() {
                let key = if is_header { names::lower(key) } else { key.value.clone() };
                others.push(condition(kind, &key, value));
            }
        };
        map("header", &entry.headers, true);
        map("without", &entry.without_headers, true);
        map("query", &entry.query_params, false);
        if entry.gateways.is_empty() {
            others.extend(entry.source_labels.iter().map(|(name, value)| format!("label {name} {value}")));
            if !entry.source_namespace.is_empty() {
                others.push(format!("namespace {}", entry.source_namespace.value));
            }
        } else {
            let mut gateways: Vec<_> =
                entry.gateways.iter().map(|name| names::gateway(&name.value, namespace)).collect();
            gateways.sort_unstable();
            others.push(format!("gateways {gateways:?}"));
        }
        if *entry.port != 0 {
            others.push(format!("port {}", *entry.port));
        }
        others.sort_unstable();
        others.dedup();
        Self { path: path(entry), others }
    }

    /// Whether every request of `later` meets these conditions, its path aside.
    fn hold_for(&self, later: &Self) -> bool {
        self.others.iter().all(|condition| later.others.binary_search(condition).is_ok())
    }
}

fn condition(kind: &str, name: &str, value: &StringMatch) -> String {
    let mut text = format!("{kind} {name:?} {}", value.kind());
    // Writing to a string does not fail.
    let _ = match value {
        StringMatch::Exact(value) | StringMatch::Prefix(value) => write!(text, " {:?}", value.value),
        StringMatch::Regex(value) => write!(text, " {:?}", value.value.as_str()),
        StringMatch::Present(_) => Ok(()),
    };
    text
}

fn path(entry: &HttpMatchRequest) -> Option<PathKey> {
    let ignore_case = *entry.ignore_uri_case;
    let key = |kind, text: &str| {
        let text = if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        Some(PathKey { kind, text, ignore_case })
    };
    match entry.uri.as_ref()? {
        StringMatch::Exact(text) => key("exact", text),
        StringMatch::Prefix(text) if *text.value == *"/" => None,
        StringMatch::Prefix(text) => key("prefix", text),
        StringMatch::Regex(pattern) if pattern.value.as_str() == ".*" => None,
        // Case always counts in an expression.
        StringMatch::Regex(pattern) => {
            Some(PathKey { kind: "regex", text: pattern.value.as_str().to_owned(), ignore_case: false })
        }
        StringMatch::Present(_) => None,
    }
}

/// The paths that take everything that `path` takes: itself, every path, and prefixes of it.
fn wider(path: Option<&PathKey>) -> Vec<Option<PathKey>> {
    let mut wider = vec![None];
    let Some(path) = path else { return wider };
    wider.push(Some(path.clone()));
    if path.kind != "regex" {
        let lower = path.text.to_ascii_lowercase();
        let ends = path.text.char_indices().map(|(start, character)| start + character.len_utf8());
        for end in ends {
            let prefix = |text: &str, ignore_case| {
                text.get(..end).map(|text| PathKey { kind: "prefix", text: text.to_owned(), ignore_case })
            };
            wider.push(prefix(&lower, true));
            if !path.ignore_case {
                wider.push(prefix(&path.text, false));
            }
        }
    }
    wider
}

impl Seen {
    fn add(&mut self, conditions: Conditions, rule: usize) {
        let key = (conditions.path.clone(), conditions.others.first().cloned());
        self.by_key.entry(key).or_default().push(self.entries.len());
        self.entries.push((conditions, rule));
    }

    /// The first rule with an entry that takes all that `later` takes.
    fn cover(&self, later: &Conditions) -> Option<usize> {
        let firsts = || std::iter::once(None).chain(later.others.iter().cloned().map(Some));
        let keys =
            wider(later.path.as_ref()).into_iter().flat_map(|path| firsts().map(move |first| (path.clone(), first)));
        let entries =
            keys.filter_map(|key| self.by_key.get(&key)).flatten().filter_map(|&index| self.entries.get(index));
        entries.filter(|(conditions, _)| conditions.hold_for(later)).map(|(_, rule)| *rule).min()
    }
}
