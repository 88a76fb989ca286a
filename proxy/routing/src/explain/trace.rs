//! Rule by rule: which condition failed first, and how near a rule came.

use config_model::model::{MatchCondition, PathMatch, RouteConfigurationIndex, TextMatch};
use serde::Serialize;

use super::lossy;
use crate::conditions::{RequestHead, any_field, holds, path_matches, query_parameter};
use crate::table::{RouteEntry, Table};

/// A rule that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// `default/reviews/http[0]/match[1]`
    pub route: String,
    /// The rule's name, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `reviews.yaml:14`
    pub origin: String,
    /// Why it was passed over; absent from the rule that matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How far it came: conditions that held before the first that failed, then characters of the path.
    #[serde(skip)]
    nearness: (usize, usize),
}

/// The first condition of a rule that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// `uri`, `method`, `headers.end-user`
    pub field: String,
    /// `prefix "/reviews"`
    pub expected: String,
    /// `"/productpage"`, `absent`
    pub actual: String,
    /// `reviews.yaml:16`
    pub origin: String,
}

/// The rules for a request in order, up to the one that matches.
pub(super) fn rules(table: &Table, configuration: RouteConfigurationIndex, head: &impl RequestHead) -> Vec<Rule> {
    let mut rules = Vec::new();
    let virtual_host = table.virtual_host(configuration, head.authority());
    for index in virtual_host.map_or(&[][..], |virtual_host| virtual_host.rules.rules()) {
        let Some(entry) = table.routes().get(index.0 as usize) else { continue };
        let rule = rule(entry, head);
        let matched = rule.failure.is_none();
        rules.push(rule);
        if matched {
            break;
        }
    }
    rules
}

/// Position of the rule that came nearest, the first of several.
pub(super) fn nearest(rules: &[Rule]) -> Option<usize> {
    (0..rules.len()).rev().max_by_key(|&position| rules.get(position).map(|rule| rule.nearness))
}

fn rule(entry: &RouteEntry, head: &impl RequestHead) -> Rule {
    let (failure, nearness) = first_failure(entry, head);
    Rule {
        route: entry.route.id.to_string(),
        name: entry.route.name.as_ref().map(ToString::to_string),
        origin: entry.route.origin.to_string(),
        failure,
        nearness,
    }
}

fn first_failure(entry: &RouteEntry, head: &impl RequestHead) -> (Option<Failure>, (usize, usize)) {
    let path = head.matching_path();
    let matcher = &entry.route.matcher;
    if let Some(part) = failing_part(&matcher.path, path) {
        let (expected, common) = path_in_words(part, path);
        let origin = entry.route.origin.to_string();
        return (Some(Failure { field: "uri".into(), expected, actual: quoted(path), origin }), (0, common));
    }
    let failed = matcher.conditions.iter().position(|condition| !holds(&condition.condition, head));
    let failure = failed.and_then(|position| matcher.conditions.get(position)).map(|condition| {
        let (field, expected, actual) = condition_in_words(&condition.condition, head);
        Failure { field, expected, actual, origin: condition.origin.to_string() }
    });
    (failure, (1 + failed.unwrap_or(matcher.conditions.len()), path.len()))
}

/// The part of a path condition that fails.
fn failing_part<'m>(matcher: &'m PathMatch, path: &[u8]) -> Option<&'m PathMatch> {
    match matcher {
        PathMatch::Both(one, other) => failing_part(one, path).or_else(|| failing_part(other, path)),
        matcher => (!path_matches(matcher, path)).then_some(matcher),
    }
}

/// A path condition in words, and how many characters `path` shares with it.
fn path_in_words(matcher: &PathMatch, path: &[u8]) -> (String, usize) {
    let (kind, text, ignore_case) = match matcher {
        PathMatch::Exact { text, ignore_case } => ("exact", &**text, *ignore_case),
        PathMatch::Prefix { text, ignore_case } => ("prefix", &**text, *ignore_case),
        PathMatch::Regex(pattern) => ("regex", pattern.as_str(), false),
        PathMatch::Any | PathMatch::Both(..) => ("any", "", false),
    };
    let case = if ignore_case { " (without case)" } else { "" };
    let common = text.bytes().zip(path).take_while(|(one, other)| one.eq_ignore_ascii_case(other)).count();
    (format!("{kind} {text:?}{case}"), common)
}

/// Field, expected and actual value.
fn condition_in_words(condition: &MatchCondition, head: &impl RequestHead) -> (String, String, String) {
    match condition {
        MatchCondition::Method(value) => ("method".into(), text_in_words(value), quoted(head.method())),
        MatchCondition::Authority(value) => ("authority".into(), text_in_words(value), quoted(head.authority())),
        MatchCondition::Scheme(value) => {
            ("scheme".into(), text_in_words(value), quoted(head.scheme().as_str().as_bytes()))
        }
        MatchCondition::Header { name, value } => {
            (format!("headers.{name}"), text_in_words(value), fields_in_words(head, name))
        }
        MatchCondition::WithoutHeader { name, value } => {
            let expected = match value {
                TextMatch::Present => "absent".to_owned(),
                value => format!("not {}", text_in_words(value)),
            };
            (format!("withoutHeaders.{name}"), expected, fields_in_words(head, name))
        }
        MatchCondition::Query { name, value } => {
            let actual = query_parameter(head.query(), name.as_bytes()).map_or_else(|| "absent".to_owned(), quoted);
            (format!("queryParams.{name}"), text_in_words(value), actual)
        }
    }
}

pub(super) fn text_in_words(matcher: &TextMatch) -> String {
    match matcher {
        TextMatch::Exact(text) => format!("exact {text:?}"),
        TextMatch::Prefix(text) => format!("prefix {text:?}"),
        TextMatch::Regex(pattern) => format!("regex {:?}", pattern.as_str()),
        TextMatch::Present => "present".to_owned(),
    }
}

/// All values of a header, each in quotes.
fn fields_in_words(head: &impl RequestHead, name: &str) -> String {
    let mut values = Vec::new();
    any_field(head, name, |value| {
        values.push(quoted(value));
        false
    });
    if values.is_empty() { "absent".to_owned() } else { values.join(", ") }
}

fn quoted(text: &[u8]) -> String {
    format!("{:?}", lossy(text))
}
