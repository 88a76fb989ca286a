//! What the Telemetries of a proxy say of its access logs, taken together.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::LogFilter;
use crate::name;
use crate::resolve::Proxy;
use crate::resolve::set::{Item, ResourceSet};
use crate::resource::{AccessLogging, Telemetry, WorkloadMode};

/// What is said of a provider in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merged<'a> {
    /// It writes, perhaps only what a filter takes.
    Writes(Option<&'a LogFilter>),
    /// It is switched off.
    Disabled,
}

/// Telemetries that say anything of the access logs of `proxy`, the widest first: that of the root namespace, that of its own namespace,
/// and all that select it, the oldest first. Of several for a whole namespace the oldest stands.
pub(super) fn of<'a>(resources: &'a ResourceSet, proxy: &Proxy, root_namespace: &str) -> Vec<Item<'a, Telemetry>> {
    let all = resources.by_age::<Telemetry>();
    let wide = |namespace: &str| {
        let mut of_namespace = all.iter().filter(|item| item.namespace() == namespace);
        of_namespace.find(|item| is_for_all(item.spec)).copied()
    };
    let own = (*proxy.namespace != *root_namespace).then(|| wide(&proxy.namespace)).flatten();
    let selecting = all.iter().filter(|item| {
        let selector = labels(item.spec).filter(|_| item.namespace() == &*proxy.namespace && !has_targets(item.spec));
        selector.is_some_and(|selector| name::selects(selector, &proxy.labels))
    });
    let found = wide(root_namespace).into_iter().chain(own).chain(selecting.copied());
    found.filter(|item| !item.spec.access_logging.is_empty()).collect()
}

/// The labels of the workloads that it is for; nothing if it is for all.
fn labels(telemetry: &Telemetry) -> Option<&name::Labels> {
    telemetry.selector.as_ref().map(|selector| &selector.match_labels).filter(|labels| !labels.is_empty())
}

/// Whether it is for all workloads of its namespace, or of the mesh.
pub(crate) fn is_for_all(telemetry: &Telemetry) -> bool {
    labels(telemetry).is_none() && !has_targets(telemetry)
}

fn has_targets(telemetry: &Telemetry) -> bool {
    telemetry.target_ref.is_some() || !telemetry.target_refs.is_empty()
}

/// The providers of the last Telemetry that names any are in force; what others have said of these before counts too. An entry without
/// providers is for those of the entry before it.
pub(super) fn merge<'a>(telemetries: &[Item<'a, Telemetry>], defaults: Vec<&'a str>) -> BTreeMap<&'a str, Merged<'a>> {
    if telemetries.is_empty() {
        return defaults.into_iter().map(|name| (name, Merged::Writes(None))).collect();
    }
    let named = telemetries.iter().map(|telemetry| {
        let matching = telemetry.spec.access_logging.iter().filter(|logging| is_for_clients(logging));
        matching.flat_map(names).collect::<BTreeSet<&str>>()
    });
    let in_force = named.rev().find(|names| !names.is_empty());
    let in_force = in_force.unwrap_or_else(|| defaults.iter().copied().collect());
    let filters = filters(telemetries);
    let (mut merged, mut current) = (BTreeMap::new(), defaults);
    for logging in telemetries.iter().flat_map(|telemetry| &telemetry.spec.access_logging) {
        if !logging.providers.is_empty() {
            current = names(logging).collect();
        }
        if !is_for_clients(logging) {
            continue;
        }
        let is_disabled = logging.disabled.is_some_and(|disabled| *disabled);
        let state = |name: &str| match is_disabled {
            true => Merged::Disabled,
            false => Merged::Writes(filters.get(name).copied().flatten()),
        };
        merged.extend(current.iter().filter(|name| in_force.contains(*name)).map(|name| (*name, state(name))));
    }
    merged
}

/// The filter of each provider: that of the last entry that names it.
fn filters<'a>(telemetries: &[Item<'a, Telemetry>]) -> BTreeMap<&'a str, Option<&'a LogFilter>> {
    let entries = telemetries.iter().flat_map(|telemetry| &telemetry.spec.access_logging);
    let filter = |logging: &'a AccessLogging| Some(&logging.filter.as_ref()?.expression.as_ref()?.value);
    let named = entries.filter(|logging| is_for_clients(logging));
    named.flat_map(|logging| names(logging).map(move |name| (name, filter(logging)))).collect()
}

fn names(logging: &AccessLogging) -> impl Iterator<Item = &str> {
    logging.providers.iter().map(|provider| &*provider.name.value)
}

/// Whether it is for the side of requests that gateways and sidecars for traffic of their workloads are on.
fn is_for_clients(logging: &AccessLogging) -> bool {
    logging.r#match.as_ref().is_none_or(|selector| *selector.mode != WorkloadMode::Server)
}
