//! Splits that are asked to choose otherwise than Istio does, and can't, or do so right now. Our own annotations: see
//! [`crate::model::SplitPolicy`].

use std::sync::Arc;

use super::policies::{cluster, rules_by_host, warn};
use super::{Findings, policies::Rules};
use crate::model::Health;
use crate::resolve::set::Item;
use crate::resolve::{EMPTY_SUBSETS, EndpointIndex, SPLIT, names, services};
use crate::resource::{Destination, HttpRoute, LoadBalancerSettings, TrafficPolicy, VirtualService};

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    let mut known = None;
    for item in resources.all::<VirtualService>() {
        let annotations = &item.resource.metadata.annotations;
        let says = |name: &str, wanted: &str| annotations.get(name).is_some_and(|value| **value == *wanted);
        let (sticky, spills) = (says(SPLIT, "sticky"), says(EMPTY_SUBSETS, "spill"));
        if !sticky && !spills {
            continue;
        }
        let (rules, index) = known.get_or_insert_with(|| (rules_by_host(resources), EndpointIndex::new(resources)));
        for (number, http) in item.spec.http.iter().enumerate().filter(|(_, http)| http.route.len() > 1) {
            if sticky {
                stickiness(item, (number, http), rules, findings);
            }
            if spills {
                spilling(item, (number, http), (rules, index), findings);
            }
        }
    }
}

/// The destinations of a rule and their weights.
fn destinations(http: &HttpRoute) -> impl Iterator<Item = (usize, &Destination)> {
    let destinations = http.route.iter().enumerate().filter(|(_, to)| to.weight.value > 0);
    destinations.filter_map(|(position, to)| Some((position, to.destination.as_ref()?)))
}

/// Stickiness without anything to be sticky by.
fn stickiness(
    item: Item<'_, VirtualService>,
    (number, http): (usize, &HttpRoute),
    rules: &Rules<'_>,
    findings: &mut Findings<'_>,
) {
    let is_hashed = |destination: &Destination| {
        let host = names::full_host(&destination.host, item.namespace());
        let rules = rules.get(&host).into_iter().flatten();
        rules.into_iter().any(|rule| {
            let of_subsets = rule.spec.subsets.iter().filter_map(|subset| subset.traffic_policy.as_deref());
            rule.spec.traffic_policy.as_deref().into_iter().chain(of_subsets).any(hashes)
        })
    };
    if destinations(http).any(|(_, destination)| is_hashed(destination)) {
        return;
    }
    let Some((_, first)) = destinations(http).next() else { return };
    let message = format!(
        "The annotation {SPLIT} has no effect on this rule: no DestinationRule of its destinations says by a consistentHash \
         what requests are hashed by."
    );
    let hint = Some("add loadBalancer.consistentHash to the DestinationRule".to_owned());
    warn(findings, &item.origin(first.position), (format!("spec.http[{number}].route"), message, hint));
}

fn hashes(policy: &TrafficPolicy) -> bool {
    let has_hash = |settings: Option<&LoadBalancerSettings>| settings.is_some_and(|own| own.consistent_hash.is_some());
    let mut ports = policy.port_level_settings.iter();
    has_hash(policy.load_balancer.as_ref()) || ports.any(|port| has_hash(port.load_balancer.as_ref()))
}

/// Shares that go elsewhere, of subsets whose endpoints are known to be none.
fn spilling(
    item: Item<'_, VirtualService>,
    (number, http): (usize, &HttpRoute),
    (rules, index): (&Rules<'_>, &EndpointIndex),
    findings: &mut Findings<'_>,
) {
    for (position, destination) in destinations(http) {
        let host = names::full_host(&destination.host, item.namespace());
        if is_empty(findings, destination, &host, (rules, index)) != Some(true) {
            continue;
        }
        let subset = &destination.subset.value;
        let message =
            format!("The share of subset {subset:?} spills to the other destinations: it has no ready endpoint.");
        let field = format!("spec.http[{number}].route[{position}].destination.subset");
        warn(findings, &item.origin(destination.position), (field, message, None));
    }
}

/// Whether a subset has no ready endpoint; nothing if that is not known, or the destination is no subset.
fn is_empty(
    findings: &Findings<'_>,
    destination: &Destination,
    host: &Arc<str>,
    (rules, index): (&Rules<'_>, &EndpointIndex),
) -> Option<bool> {
    let service = services::of_host(findings.resources, host).next()?;
    let mut subsets = rules.get(host)?.iter().flat_map(|rule| &rule.spec.subsets);
    let subset = subsets.find(|subset| *subset.name.value == *destination.subset.value)?;
    let endpoints = index.endpoints(&cluster(service, host, &subset.labels)?);
    Some(!endpoints.iter().any(|endpoint| endpoint.health == Health::Ready))
}
