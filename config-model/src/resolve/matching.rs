//! From a match entry to the conditions of a route, and whether it is for this proxy and port at all.
//! Source: Istio, `HTTPMatchRequest`.

use std::sync::Arc;

use crate::model::{Condition, MatchCondition, PathMatch, RouteMatch, TextMatch};
use crate::name;
use crate::origin::Origin;
use crate::resource::{HttpMatchRequest, Map, StringMatch};

use super::names;
use super::rule::{Entry, Match, Rule};
use super::{Place, Proxy};

/// Whether requests at `place` can meet `entry`; its other conditions are for each request.
pub(super) fn is_for(entry: &Match<'_>, place: &Place<'_>, proxy: &Proxy) -> bool {
    let ports = entry.entries().all(|entry| [0, place.port].contains(&*entry.request.port));
    ports && is_for_source(entry, place, proxy)
}

/// `gateways` where there are any, else `sourceLabels` and `sourceNamespace`.
fn is_for_source(entry: &Match<'_>, place: &Place<'_>, proxy: &Proxy) -> bool {
    if let Some(named) = entry.entries().find(|entry| !entry.request.gateways.is_empty()) {
        return named.request.gateways.iter().any(|gateway| names::gateway(gateway, named.namespace) == place.gateway);
    }
    let namespace = entry.entries().map(|entry| &*entry.request.source_namespace.value).find(|name| !name.is_empty());
    entry.entries().all(|entry| name::selects(&entry.request.source_labels, &proxy.labels))
        && namespace.is_none_or(|name| name == &*proxy.namespace)
}

/// The conditions of `entry` within `rule`; no entry takes everything.
pub(super) fn route_match(rule: &Rule<'_>, entry: Option<&Match<'_>>) -> RouteMatch {
    let mut conditions = Vec::new();
    let Some(entry) = entry else { return RouteMatch { path: PathMatch::Any, conditions } };
    let mut collect = Collect { rule, entry, conditions: &mut conditions };
    collect.text(|request| request.method.as_ref(), MatchCondition::Method);
    collect.text(|request| request.authority.as_ref(), MatchCondition::Authority);
    collect.text(|request| request.scheme.as_ref(), MatchCondition::Scheme);
    collect.map(|request| &request.headers, |name, value| MatchCondition::Header { name: names::lower(name), value });
    collect.map(
        |request| &request.without_headers,
        |name, value| MatchCondition::WithoutHeader { name: names::lower(name), value },
    );
    collect.map(|request| &request.query_params, |name, value| MatchCondition::Query { name: name.into(), value });
    RouteMatch { path: path(entry), conditions }
}

/// Gathers the conditions of an entry; where root and delegate name the same, the delegate's stands.
struct Collect<'c, 'a> {
    rule: &'c Rule<'a>,
    entry: &'c Match<'a>,
    conditions: &'c mut Vec<Condition>,
}

impl<'a> Collect<'_, 'a> {
    fn origin(&self, of: &Entry<'a>, value: &StringMatch) -> Origin {
        let is_root = self.entry.root.is_some_and(|root| std::ptr::eq(root.request, of.request));
        let source = self.rule.root.filter(|_| is_root).unwrap_or(self.rule.own);
        source.origin(value.position())
    }

    fn text(
        &mut self,
        field: impl Fn(&'a HttpMatchRequest) -> Option<&'a StringMatch>,
        condition: impl Fn(TextMatch) -> MatchCondition,
    ) {
        let Some((of, value)) = self.entry.entries().find_map(|entry| field(entry.request).map(|value| (entry, value)))
        else {
            return;
        };
        let origin = self.origin(&of, value);
        self.conditions.push(Condition { condition: condition(text_match(value)), origin });
    }

    fn map(
        &mut self,
        field: impl Fn(&'a HttpMatchRequest) -> &'a Map<StringMatch>,
        condition: impl Fn(&str, TextMatch) -> MatchCondition,
    ) {
        let own = self.entry.own.map(|own| field(own.request));
        for entry in self.entry.entries() {
            let map = field(entry.request);
            for (key, value) in map.iter() {
                let overridden = own.is_some_and(|own| !std::ptr::eq(own, map) && own.get(key).is_some());
                if !overridden {
                    let origin = self.origin(&entry, value);
                    self.conditions.push(Condition { condition: condition(key, text_match(value)), origin });
                }
            }
        }
    }
}

/// The path condition; that of a delegate lies within the root's, or the rule would not be here.
fn path(entry: &Match<'_>) -> PathMatch {
    let uri = entry.entries().find_map(|entry| entry.request.uri.as_ref());
    let ignore_case = entry.entries().any(|entry| *entry.request.ignore_uri_case);
    let text = |text: &Arc<str>| if ignore_case { names::lower(text) } else { text.clone() };
    match uri {
        Some(StringMatch::Exact(exact)) => PathMatch::Exact { text: text(exact), ignore_case },
        Some(StringMatch::Prefix(prefix)) if *prefix.value != *"/" => {
            PathMatch::Prefix { text: text(prefix), ignore_case }
        }
        Some(StringMatch::Regex(pattern)) => PathMatch::Regex(pattern.value.clone()),
        _ => PathMatch::Any,
    }
}

pub(super) fn text_match(value: &StringMatch) -> TextMatch {
    match value {
        StringMatch::Exact(text) => TextMatch::Exact(text.value.clone()),
        StringMatch::Prefix(text) => TextMatch::Prefix(text.value.clone()),
        StringMatch::Regex(pattern) => TextMatch::Regex(pattern.value.clone()),
        StringMatch::Present(_) => TextMatch::Present,
    }
}
