//! From a rule to what a route does: forward, redirect or answer, with headers, rewrites and retries.
//! Source: Istio, `HTTPRoute`, `HTTPRewrite`, `HTTPRedirect`, `HTTPDirectResponse`, `Headers`.

use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Action, Destination, DirectResponse, Format, Forward, HashSource, HeaderAddition, HeaderMutation, HeaderOperations,
    PathMatch, PathRewrite, Redirect, RedirectPort, Rewrite, Scheme,
};
use crate::resource::{self, Headers, HttpDirectResponse, HttpRedirect, HttpRewrite, HttpRouteDestination};

use super::clusters::Clusters;
use super::names;
use super::retries::Retries;
use super::rule::Rule;

/// What a rule does.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) action: Action,
    /// Whether it would be another on another port.
    pub(super) by_port: bool,
    /// What requests are hashed by, if the rule forwards them.
    pub(super) hash: Option<Vec<HashSource>>,
}

impl Resolved {
    fn here(action: Action) -> Self {
        Self { action, by_port: false, hash: None }
    }
}

/// What `rule` does with requests at a listener of `port`; its path match decides how much of the path a rewrite replaces.
pub(super) fn action<'a>(
    rule: &Rule<'a>,
    path: &PathMatch,
    port: u16,
    (clusters, retries): (&mut Clusters<'a>, &mut Retries),
) -> Resolved {
    if let Some(redirect) = &rule.own.rule.redirect {
        return Resolved::here(Action::Redirect(self::redirect(redirect, path)));
    }
    if let Some(response) = rule.inherited(|rule| rule.direct_response.as_deref()) {
        return Resolved::here(Action::DirectResponse(direct_response(response)));
    }
    let headers = rule.headers();
    let rewrite = Rewrite {
        path: rule.rewrite().map_or(PathRewrite::Keep, |rewrite| path_rewrite(rewrite, path)),
        authority: rule.rewrite().and_then(rewritten_authority).or_else(|| headers.and_then(authority)),
    };
    let Destinations { destinations, by_port, hash } = destinations(rule, port, &rewrite, clusters);
    let timeout = rule.inherited(|rule| rule.timeout.as_ref()).map(|timeout| timeout.to_std());
    let timeout = timeout.filter(|timeout| *timeout > Duration::ZERO);
    // Of several destinations Istio doesn't ask.
    let is_hashed = rule.own.rule.route.len() == 1 && !hash.is_empty();
    let retry = retries.resolve(rule.retries(), is_hashed);
    let action = Action::Forward(Forward { destinations, rewrite, timeout, retry });
    Resolved { action, by_port, hash: Some(hash) }
}

/// Where requests go.
struct Destinations {
    destinations: Vec<Destination>,
    by_port: bool,
    hash: Vec<HashSource>,
}

/// The destinations that get requests, and in their order whatever each has them hashed by. One alone gets all, whatever its
/// weight; of several, those without weight get none.
fn destinations<'a>(rule: &Rule<'a>, port: u16, rewrite: &Rewrite, clusters: &mut Clusters<'a>) -> Destinations {
    let written = &rule.own.rule.route;
    let alone = written.len() == 1;
    let weighted = written.iter().filter(|to| *to.weight > 0).count();
    let (mut by_port, mut hash) = (false, Vec::new());
    let mut convert = |to: &'a HttpRouteDestination| {
        let namespace = rule.own.virtual_service.namespace();
        let resolved = clusters.resolve(to.destination.as_ref()?, namespace, port);
        by_port |= resolved.by_port;
        hash.extend(resolved.hash);
        let own = to.headers.as_deref();
        Some(Destination {
            cluster: resolved.target,
            weight: if alone { 1 } else { u32::try_from(*to.weight).unwrap_or(0) },
            is_split: !alone,
            tells_host: rule.rewrite().is_some(),
            headers: own.map(operations).unwrap_or_default(),
            // As in Istio, the route's own authority stands before that of a destination.
            authority: if rewrite.authority.is_some() { None } else { own.and_then(authority) },
            origin: rule.own.origin(to.position),
        })
    };
    let kept = written.iter().filter(|to| alone || weighted == 0 || *to.weight > 0);
    let mut destinations = Vec::with_capacity(written.len());
    destinations.extend(kept.filter_map(&mut convert));
    Destinations { destinations, by_port, hash }
}

/// Operations on headers as a route carries them: names in lower case, the authority left out.
pub(super) fn operations(headers: &Headers) -> HeaderOperations {
    HeaderOperations { request: mutation(headers.request.as_ref()), response: mutation(headers.response.as_ref()) }
}

fn mutation(written: Option<&resource::HeaderOperations>) -> HeaderMutation {
    let Some(written) = written else { return HeaderMutation::default() };
    let additions = |map: &resource::Map<resource::Located<Format>>| {
        let entries = map.iter().filter(|(name, _)| !is_internal(name));
        let addition = |(name, value): &(resource::Text, resource::Located<Format>)| HeaderAddition {
            name: names::lower(name),
            value: value.value.clone(),
        };
        let mut additions: Vec<_> = entries.map(addition).collect();
        additions.sort_by(|left, right| left.name.cmp(&right.name));
        additions
    };
    HeaderMutation {
        remove: written.remove.iter().filter(|name| !is_internal(name)).map(|name| names::lower(name)).collect(),
        set: additions(&written.set),
        add: additions(&written.add),
    }
}

fn is_internal(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// The value that `Host` or `:authority` gets under `set`, or else under `add`.
fn authority(headers: &Headers) -> Option<Format> {
    let request = headers.request.as_ref()?;
    let is_authority = |name: &str| name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host");
    let mut named = request.set.iter().chain(request.add.iter()).filter(|(name, _)| is_authority(name));
    named.next().and_then(|(_, value)| literal(value.value.as_str()))
}

fn rewritten_authority(rewrite: &HttpRewrite) -> Option<Format> {
    let text = &*rewrite.authority.value;
    if text.is_empty() { None } else { literal(text) }
}

/// An authority is taken as it stands, so its percent signs are no commands. Envoy: `host_rewrite_literal`.
fn literal(text: &str) -> Option<Format> {
    Format::parse(&text.replace('%', "%%")).ok()
}

fn path_rewrite(rewrite: &HttpRewrite, path: &PathMatch) -> PathRewrite {
    if let Some(regex) = &rewrite.uri_regex_rewrite {
        return match &regex.r#match {
            Some(pattern) if names_groups_of(&regex.rewrite, pattern.value.0.captures_len()) => {
                PathRewrite::Regex { pattern: pattern.value.clone(), substitution: substitution(&regex.rewrite).into() }
            }
            // As for RE2, a group that isn't there leaves the path as it is.
            Some(_) => PathRewrite::Prefix { length: 0, text: "".into() },
            None => PathRewrite::Keep,
        };
    }
    if rewrite.uri.is_empty() { PathRewrite::Keep } else { replaced(path, rewrite.uri.value.clone()) }
}

/// `text` instead of the prefix that `path` matches, or of the whole path if it matches otherwise.
fn replaced(path: &PathMatch, text: Arc<str>) -> PathRewrite {
    match path {
        PathMatch::Any => PathRewrite::Prefix { length: 1, text },
        PathMatch::Prefix { text: prefix, .. } => PathRewrite::Prefix { length: prefix.len(), text },
        PathMatch::Exact { .. } | PathMatch::Regex(_) | PathMatch::Both(..) => PathRewrite::Whole(text),
    }
}

/// Whether each group that is named, `\\1` and so on, is one of `count`, the whole match among them.
fn names_groups_of(written: &str, count: usize) -> bool {
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        let next = if character == '\\' { characters.next() } else { None };
        if next.and_then(|digit| digit.to_digit(10)).is_some_and(|group| group as usize >= count) {
            return false;
        }
    }
    true
}

/// From RE2's way of naming groups to the regex crate's: `\1` becomes `${1}`, `\\` a backslash, and a dollar is no sign.
fn substitution(written: &str) -> String {
    let mut result = String::with_capacity(written.len() + 8);
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            '$' => result.push_str("$$"),
            '\\' => match characters.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    result.push_str("${");
                    result.push(digit);
                    result.push('}');
                }
                other => result.push(other.unwrap_or('\\')),
            },
            other => result.push(other),
        }
    }
    result
}

fn redirect(redirect: &HttpRedirect, path: &PathMatch) -> Redirect {
    let text = |text: &resource::Text| (!text.is_empty()).then(|| text.value.clone());
    let scheme = match &*redirect.scheme.value {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    };
    let derived = redirect.derive_port.as_ref().map(|derive| match derive.value {
        resource::RedirectPortSelection::FromRequestPort => RedirectPort::FromRequest,
        resource::RedirectPortSelection::FromProtocolDefault => RedirectPort::Keep,
    });
    let number = redirect.port.as_ref().filter(|port| port.value != 0).map(|port| RedirectPort::Number(port.value));
    Redirect {
        path: match (text(&redirect.uri), text(&redirect.prefix_rewrite)) {
            (Some(uri), _) => PathRewrite::Whole(uri),
            (None, Some(prefix)) => replaced(path, prefix),
            (None, None) => PathRewrite::Keep,
        },
        authority: text(&redirect.authority),
        scheme,
        port: number.or(derived).unwrap_or(RedirectPort::Keep),
        status: u16::try_from(*redirect.redirect_code).ok().filter(|&code| code != 0).unwrap_or(301),
    }
}

fn direct_response(response: &HttpDirectResponse) -> DirectResponse {
    let body = response.body.as_ref();
    let text = body.and_then(|body| body.string.as_ref()).map(|text| bytes::Bytes::copy_from_slice(text.as_bytes()));
    let bytes = body.and_then(|body| body.bytes.as_ref()).map(|bytes| bytes::Bytes::copy_from_slice(&bytes.0));
    DirectResponse { status: u16::try_from(*response.status).unwrap_or(500), body: text.or(bytes).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rewrite_names_groups_that_are_there() {
        for (written, count, want) in [
            ("/q", 1, true),
            (r"\0", 1, true),
            (r"/q\1", 1, false),
            (r"/\1\2", 3, true),
            (r"/\1\3", 3, false),
            (r"\\1", 1, true),
        ] {
            assert_eq!(names_groups_of(written, count), want, "{written}");
        }
    }

    #[test]
    fn groups_of_a_rewrite_are_written_as_the_regex_crate_wants_them() {
        let table = [
            (r"\2/instance/\1", "${2}/instance/${1}"),
            (r"\10", "${1}0"),
            ("costs $1", "costs $$1"),
            (r"a\\b", r"a\b"),
            (r"end\", r"end\"),
            ("plain", "plain"),
        ];
        for (written, want) in table {
            assert_eq!(substitution(written), want, "{written}");
        }
    }
}
