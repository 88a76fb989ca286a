//! The routes of one VirtualService at one port: its rules, with those of its delegates in their places, an entry of `match`
//! at a time.
//! Source: Istio, `VirtualService.http`, `Delegate`. Nothing behind a catch-all is a route at all.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::model::{HeaderOperations, Route};
use crate::origin::Position;
use crate::resource::VirtualService;

use super::clusters::Clusters;
use super::retries::Retries;
use super::rule::{Match, Rule, Source};
use super::set::{Item, ResourceSet};
use super::virtual_hosts::is_catch_all;
use super::{Place, Proxy, action, findings, gateway, matching, route_policies};

/// The routes of a VirtualService, and whether they would be others elsewhere.
#[derive(Debug, Default)]
pub(super) struct Translated {
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) depends_on_port: bool,
    pub(super) depends_on_gateway: bool,
}

/// What routes of several VirtualServices share.
pub(super) struct Shared<'s, 'a> {
    pub(super) clusters: &'s mut Clusters<'a>,
    pub(super) retries: &'s mut Retries,
}

/// The routes of `item` at `place`, in order.
pub(super) fn translate<'a>(
    resources: &'a ResourceSet,
    item: Item<'a, VirtualService>,
    place: &Place<'a>,
    proxy: &Proxy,
    mut shared: Shared<'_, 'a>,
) -> Translated {
    let mut translated = Translated { routes: Vec::with_capacity(item.spec.http.len()), ..Translated::default() };
    for rule in expand(resources, item, &mut Vec::new()) {
        let mut is_first = true;
        for entry in rule.matches() {
            is_first = false;
            for request in entry.entries().map(|entry| entry.request) {
                translated.depends_on_port |= *request.port != 0;
                translated.depends_on_gateway |= !request.gateways.is_empty();
            }
            if matching::is_for(&entry, place, proxy) && translated.add(&rule, Some(&entry), place.port, &mut shared) {
                return translated;
            }
        }
        if is_first {
            translated.add(&rule, None, place.port, &mut shared);
            break;
        }
    }
    translated
}

fn sources(item: Item<'_, VirtualService>) -> impl Iterator<Item = Source<'_>> {
    item.spec.http.iter().enumerate().map(move |(index, rule)| Source { virtual_service: item, rule, index })
}

/// What keeps the delegates of `item` from being used.
pub(crate) fn delegate_findings(resources: &ResourceSet, item: Item<'_, VirtualService>) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    if item.spec.http.iter().any(|rule| rule.delegate.is_some()) {
        expand(resources, item, &mut diagnostics);
    }
    diagnostics
}

/// The rules of `item` with those of its delegates in their places. A delegate that can't be used costs the rule that names
/// it, and no other.
fn expand<'a>(
    resources: &'a ResourceSet,
    item: Item<'a, VirtualService>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Rule<'a>> {
    let mut rules = Vec::with_capacity(item.spec.http.len());
    for root in sources(item) {
        let Some(delegate) = &root.rule.delegate else {
            rules.push(Rule::plain(root));
            continue;
        };
        let namespace = if delegate.namespace.is_empty() { item.namespace() } else { &*delegate.namespace.value };
        let found = resources.find::<VirtualService>(namespace, &delegate.name);
        let Some(found) = found.filter(|found| found.spec.hosts.is_empty()) else {
            diagnostics.push(findings::missing_delegate(resources, root, namespace, found.is_some()));
            continue;
        };
        if !gateway::visibility(resources, found).includes(item.namespace()) {
            diagnostics.push(findings::hidden_delegate(root, found));
            continue;
        }
        for own in sources(found) {
            if own.rule.delegate.is_some() {
                diagnostics.push(findings::nested_delegate(root, own));
            } else if let Some(rule) = Rule::delegated(root, own) {
                rules.push(rule);
            } else {
                diagnostics.push(findings::contradicting_delegate(root, own));
            }
        }
    }
    rules
}

impl Translated {
    /// Adds the route of one entry; true if it takes every request.
    fn add<'a>(&mut self, rule: &Rule<'a>, entry: Option<&Match<'a>>, port: u16, shared: &mut Shared<'_, 'a>) -> bool {
        let matcher = matching::route_match(rule, entry);
        let resolved = action::action(rule, &matcher.path, port, (shared.clusters, shared.retries));
        self.depends_on_port |= resolved.by_port;
        let (policy, by_port) = route_policies::policy(rule, resolved.hash, port, shared.clusters);
        self.depends_on_port |= by_port;
        let route = Route {
            id: id(rule, entry).into(),
            name: name(rule, entry),
            origin: rule.own.origin(position(rule, entry)),
            matcher,
            action: resolved.action,
            headers: rule.headers().map_or_else(HeaderOperations::default, action::operations),
            policy,
        };
        let ends = is_catch_all(&route);
        self.routes.push(Arc::new(route));
        ends
    }
}

/// The delegate's own entry, or else its rule.
fn position(rule: &Rule<'_>, entry: Option<&Match<'_>>) -> Position {
    entry.and_then(|entry| entry.own).map_or(rule.own.rule.position, |own| own.request.position)
}

fn id(rule: &Rule<'_>, entry: Option<&Match<'_>>) -> String {
    let mut id = String::with_capacity(64);
    let parts = [
        rule.root.map(|root| (root, entry.and_then(|entry| entry.root))),
        Some((rule.own, entry.and_then(|entry| entry.own))),
    ];
    for (source, entry) in parts.into_iter().flatten() {
        let separator = if id.is_empty() { "" } else { ">" };
        let item = source.virtual_service;
        for part in [separator, item.namespace(), "/", item.name(), "/http["] {
            id.push_str(part);
        }
        push_number(&mut id, source.index);
        id.push(']');
        if let Some(entry) = entry {
            id.push_str("/match[");
            push_number(&mut id, entry.index);
            id.push(']');
        }
    }
    id
}

/// Thousands of times a change: without the machinery of formats.
fn push_number(text: &mut String, number: usize) {
    if number >= 10 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + u8::try_from(number % 10).unwrap_or(0)));
}

/// As Istio names a route in the access log.
fn name(rule: &Rule<'_>, entry: Option<&Match<'_>>) -> Option<Arc<str>> {
    let (rule, entry) = (rule.name(), entry.map(Match::name).unwrap_or_default());
    let name = match (&*rule, &*entry) {
        (_, "") => rule,
        // Istio writes the dot even where the rule has no name.
        (rule, entry) => format!("{rule}.{entry}"),
    };
    (!name.is_empty()).then(|| name.into())
}
