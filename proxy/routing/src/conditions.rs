//! What a request shows to the rules, and whether a single condition holds. Source: Istio, `HTTPMatchRequest`, and Envoy's
//! documented matching where Istio is silent.

use config_model::model::{MatchCondition, PathMatch, Scheme, TextMatch};

use crate::rewrite::target;

/// The head of a request, as it came: changes to headers or path don't choose again.
pub trait RequestHead {
    /// `GET`
    fn method(&self) -> &[u8];
    /// By the listener.
    fn scheme(&self) -> Scheme;
    /// Host as it was sent, with its port.
    fn authority(&self) -> &[u8];
    /// The path without query, in the form of [`crate::normalize`] for matching.
    fn matching_path(&self) -> &[u8];
    /// What follows the first question mark.
    fn query(&self) -> Option<&[u8]>;
    /// Whether `test` holds for a field of `name`, which is in lower case.
    fn any_header(&self, name: &str, test: impl FnMut(&[u8]) -> bool) -> bool;
}

/// Whether `path` satisfies `matcher`.
pub fn path_matches(matcher: &PathMatch, path: &[u8]) -> bool {
    match matcher {
        PathMatch::Any => true,
        PathMatch::Exact { text, ignore_case: false } => text.as_bytes() == path,
        PathMatch::Exact { text, ignore_case: true } => text.as_bytes().eq_ignore_ascii_case(path),
        PathMatch::Prefix { text, ignore_case: false } => path.starts_with(text.as_bytes()),
        PathMatch::Prefix { text, ignore_case: true } => {
            path.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text.as_bytes()))
        }
        PathMatch::Regex(pattern) => pattern.matches(path),
        PathMatch::Both(one, other) => path_matches(one, path) && path_matches(other, path),
    }
}

/// Whether `head` satisfies `condition`.
pub fn holds(condition: &MatchCondition, head: &impl RequestHead) -> bool {
    match condition {
        MatchCondition::Method(value) => value.matches(head.method()),
        MatchCondition::Authority(value) => value.matches(head.authority()),
        MatchCondition::Scheme(value) => value.matches(head.scheme().as_str().as_bytes()),
        MatchCondition::Header { name, value } => any_field(head, name, |field| value.matches(field)),
        MatchCondition::WithoutHeader { name, value } => !header_or_nothing(head, name, value),
        MatchCondition::Query { name, value } => {
            query_parameter(head.query(), name.as_bytes()).is_some_and(|parameter| value.matches(parameter))
        }
    }
}

/// Whether `test` holds for a field of `name`. Names with a colon, and `host`, are the parts of the request line, as in Envoy.
pub fn any_field(head: &impl RequestHead, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    match name {
        ":method" => test(head.method()),
        ":scheme" => test(head.scheme().as_str().as_bytes()),
        ":authority" | "host" => test(head.authority()),
        ":path" => test(&target(head.matching_path(), head.query())),
        name => head.any_header(name, test),
    }
}

/// Whether a field of `name` matches. A missing one counts as empty, as Istio sets Envoy's `treat_missing_header_as_empty`
/// where it inverts a match; only [`TextMatch::Present`] wants a real field.
fn header_or_nothing(head: &impl RequestHead, name: &str, value: &TextMatch) -> bool {
    let mut seen = false;
    let matched = any_field(head, name, |field| {
        seen = true;
        value.matches(field)
    });
    matched || !seen && *value != TextMatch::Present && value.matches(b"")
}

/// The raw value of the first parameter of `name`; empty where it has no `=`.
pub fn query_parameter<'q>(query: Option<&'q [u8]>, name: &[u8]) -> Option<&'q [u8]> {
    query?.split(|&byte| byte == b'&').find_map(|parameter| {
        let value = parameter.strip_prefix(name)?;
        if value.is_empty() { Some(value) } else { value.strip_prefix(b"=") }
    })
}
