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
        if let Some(earlier) = entries(item, (rule, index), &mut seen, findings) {
            unreachable(item, (rule, index), "all matches used by prior rules", earlier, findings);
        }
    }
}

/// Looks at each match of a rule; an earlier rule that takes its requests, if that goes for all of them.
fn entries(
    item: Item<'_, VirtualService>,
    (rule, index): (&HttpRoute, usize),
    seen: &mut Seen,
    findings: &mut Findings<'_>,
) -> Option<usize> {
    let mut covering = None;
    let mut is_used = false;
    for (number, entry) in rule.r#match.iter().enumerate() {
        let conditions = Conditions::new(entry, item.namespace());
        match seen.cover(&conditions) {
            Some(earlier) => {
                ineffective(item, (rule, index), (entry, number), earlier, findings);
                covering = Some(earlier);
            }
            None => {
                is_used = true;
                seen.add(conditions, index);
            }
        }
    }
    covering.filter(|_| !is_used)
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

/// How a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PathKind {
    /// By a prefix of no length: every path.
    Any,
    Exact,
    Prefix,
    Regex,
}

/// A path condition: its kind, whether case counts, and its text, in lower case if it doesn't.
#[derive(Debug)]
struct PathCondition {
    kind: PathKind,
    ignore_case: bool,
    text: String,
}

/// A match entry as a path and a set of other conditions, each as one text.
struct Conditions {
    path: PathCondition,
    /// Sorted.
    others: Vec<String>,
}

/// Entries by the text of their paths, and then by the first of their other conditions.
type ByText = HashMap<String, Bucket>;

#[derive(Default)]
struct Bucket {
    bare: Vec<usize>,
    by_first: HashMap<String, Vec<usize>>,
}

/// Entries that are not covered themselves.
#[derive(Default)]
struct Seen {
    entries: Vec<(Conditions, usize)>,
    by_path: HashMap<(PathKind, bool), ByText>,
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
        source(entry, namespace, &mut others);
        others.sort_unstable();
        others.dedup();
        Self { path: path(entry), others }
    }

    /// Whether every request of `later` meets these conditions, its path aside.
    fn hold_for(&self, later: &Self) -> bool {
        self.others.iter().all(|condition| later.others.binary_search(condition).is_ok())
    }
}

/// Conditions on the proxy and its listener.
fn source(entry: &HttpMatchRequest, namespace: &str, others: &mut Vec<String>) {
    if entry.gateways.is_empty() {
        others.extend(entry.source_labels.iter().map(|(name, value)| format!("label {name} {value}")));
        if !entry.source_namespace.is_empty() {
            others.push(format!("namespace {}", entry.source_namespace.value));
        }
    } else {
        let mut gateways: Vec<_> = entry.gateways.iter().map(|name| names::gateway(&name.value, namespace)).collect();
        gateways.sort_unstable();
        others.push(format!("gateways {gateways:?}"));
    }
    if *entry.port != 0 {
        others.push(format!("port {}", *entry.port));
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

fn path(entry: &HttpMatchRequest) -> PathCondition {
    let condition = |kind, ignore_case, text: &str| {
        let text = if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        PathCondition { kind, ignore_case, text }
    };
    let ignore_case = *entry.ignore_uri_case;
    match &entry.uri {
        Some(StringMatch::Exact(text)) => condition(PathKind::Exact, ignore_case, text),
        Some(StringMatch::Prefix(text)) if *text.value != *"/" => condition(PathKind::Prefix, ignore_case, text),
        // Case always counts in an expression.
        Some(StringMatch::Regex(pattern)) if pattern.value.as_str() != ".*" => {
            condition(PathKind::Regex, false, pattern.value.as_str())
        }
        _ => condition(PathKind::Any, false, ""),
    }
}

impl Seen {
    fn add(&mut self, conditions: Conditions, rule: usize) {
        let PathCondition { kind, ignore_case, text } = &conditions.path;
        let bucket = self.by_path.entry((*kind, *ignore_case)).or_default().entry(text.clone()).or_default();
        let list = match conditions.others.first() {
            Some(first) => bucket.by_first.entry(first.clone()).or_default(),
            None => &mut bucket.bare,
        };
        list.push(self.entries.len());
        self.entries.push((conditions, rule));
    }

    /// The first rule with an entry that takes all that `later` takes.
    fn cover(&self, later: &Conditions) -> Option<usize> {
        let buckets = self.wider(&later.path);
        let indexes = buckets.into_iter().flat_map(|bucket| {
            let firsts = later.others.iter().filter_map(|first| bucket.by_first.get(first));
            firsts.flatten().chain(&bucket.bare)
        });
        let entries = indexes.filter_map(|&index| self.entries.get(index));
        entries.filter(|(conditions, _)| conditions.hold_for(later)).map(|(_, rule)| *rule).min()
    }

    /// Entries whose paths take everything that `path` takes: every path, the same one, and prefixes of it.
    fn wider(&self, path: &PathCondition) -> Vec<&Bucket> {
        let PathCondition { kind, ignore_case, text } = path;
        let mut buckets = Vec::new();
        let mut collect = |kind: PathKind, ignore_case: bool, text: &str| {
            buckets.extend(self.by_path.get(&(kind, ignore_case)).and_then(|texts| texts.get(text)));
        };
        collect(PathKind::Any, false, "");
        collect(*kind, *ignore_case, text);
        if !matches!(kind, PathKind::Exact | PathKind::Prefix) {
            return buckets;
        }
        let lower = text.to_ascii_lowercase();
        for (start, character) in text.char_indices() {
            let end = start + character.len_utf8();
            let is_same = |ignores: bool| *kind == PathKind::Prefix && end == text.len() && ignores == *ignore_case;
            for (ignores, text) in [(true, &lower), (false, text)] {
                // A prefix that compares with case takes less than a path that doesn't.
                if (ignores || !ignore_case) && !is_same(ignores) {
                    collect(PathKind::Prefix, ignores, text.get(..end).unwrap_or(text));
                }
            }
        }
        buckets
    }
}
