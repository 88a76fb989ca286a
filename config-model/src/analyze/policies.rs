//! Traffic policies that can't take effect on the service as it is.
//! Source: Istio, where a port's hash is found only through the destination's port; Envoy, where an endpoint is ejected only
//! while the share of those that are does not exceed `maxEjectionPercent`.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::destinations::{self, Named};
use super::{Finding, Findings};
use crate::diagnostic::{Code, Level};
use crate::model::{Cluster, Discovery, Health};
use crate::name::{HostPattern, Labels};
use crate::resolve::endpoints;
use crate::resolve::names;
use crate::resolve::services::{self, Service};
use crate::resolve::set::Item;
use crate::resolve::{EndpointIndex, ResourceSet};
use crate::resource::{
    DestinationRule, LoadBalancerSettings, Service as KubernetesService, ServiceEntry, TrafficPolicy, VirtualService,
};

/// A policy of a rule or of one of its subsets, and the name of its field.
struct Part<'a> {
    policy: &'a TrafficPolicy,
    field: String,
    /// Labels of the subset; none for the rule's own.
    labels: &'a Labels,
}

/// Rules by their hosts. A host with a wildcard is no service of which anything could be said.
pub(super) type Rules<'a> = HashMap<Arc<str>, Vec<Item<'a, DestinationRule>>>;

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    let rules = rules_by_host(resources);
    let none = Labels::new();
    let mut index = None;
    for rule in resources.all::<DestinationRule>() {
        let host = names::full_host(&rule.spec.host, rule.namespace());
        let Some(service) = services::of_host(resources, &host).next() else {
            unserved(rule, &host, findings);
            continue;
        };
        for part in parts(rule.spec, &none) {
            ports(rule, &part, (&host, service), findings);
            if part.policy.outlier_detection.is_some() {
                let index = index.get_or_insert_with(|| EndpointIndex::new(resources));
                ejection(rule, &part, (service, &host, index), findings);
            }
        }
    }
    for item in resources.all::<VirtualService>().filter(|_| !rules.is_empty()) {
        for named in destinations::of_http(item.spec) {
            hash(item, &named, &rules, findings);
        }
    }
}

pub(super) fn rules_by_host(resources: &ResourceSet) -> Rules<'_> {
    let mut rules = Rules::new();
    for rule in resources.all::<DestinationRule>() {
        if let HostPattern::Exact(host) = HostPattern::parse(&names::full_host(&rule.spec.host, rule.namespace())) {
            rules.entry(host).or_default().push(rule);
        }
    }
    rules
}

fn parts<'a>(rule: &'a DestinationRule, none: &'a Labels) -> impl Iterator<Item = Part<'a>> {
    let whole = rule.traffic_policy.as_deref();
    let whole = whole.map(|policy| Part { policy, field: "spec.trafficPolicy".to_owned(), labels: none });
    let subsets = rule.subsets.iter().enumerate().filter_map(|(index, subset)| {
        let field = format!("spec.subsets[{index}].trafficPolicy");
        subset.traffic_policy.as_deref().map(|policy| Part { policy, field, labels: &subset.labels })
    });
    whole.into_iter().chain(subsets)
}

/// A host that no service has, where services are known.
fn unserved(rule: Item<'_, DestinationRule>, host: &str, findings: &mut Findings<'_>) {
    let resources = findings.resources;
    let is_one = matches!(HostPattern::parse(host), HostPattern::Exact(_));
    let mut entries = resources.all::<ServiceEntry>().flat_map(|entry| &entry.spec.hosts).peekable();
    let are_known = entries.peek().is_some() || resources.all::<KubernetesService>().next().is_some();
    if !is_one || !are_known || entries.any(|written| HostPattern::parse(written).matches(host)) {
        return;
    }
    let written = &rule.spec.host;
    let message = format!("No service has the host {:?}: the rule has no effect.", written.value);
    let hint =
        if findings.may_compare() { destinations::near_host(resources, written, rule.namespace()) } else { None };
    warn(findings, &rule.origin(written.position), ("spec.host".to_owned(), message, hint));
}

/// Settings for a port that the service does not have.
fn ports(
    rule: Item<'_, DestinationRule>,
    part: &Part<'_>,
    (host, service): (&str, Service<'_>),
    findings: &mut Findings<'_>,
) {
    let ports = services::ports(findings.resources, host, service);
    let numbers: Vec<String> = ports.iter().map(|port| port.number.to_string()).collect();
    for (index, settings) in part.policy.port_level_settings.iter().enumerate() {
        let Some(selector) = &settings.port else { continue };
        if ports.is_empty() || ports.iter().any(|port| port.number == selector.number.value) {
            continue;
        }
        let message = format!("The service {:?} has no port {}.", rule.spec.host.value, selector.number.value);
        let hint = Some(format!("it has {}", numbers.join(", ")));
        let field = format!("{}.portLevelSettings[{index}].port.number", part.field);
        warn(findings, &rule.origin(selector.number.position), (field, message, hint));
    }
}

/// Ejection of which even the first is over the limit, for endpoints whose number is known.
fn ejection(
    rule: Item<'_, DestinationRule>,
    part: &Part<'_>,
    (service, host, index): (Service<'_>, &Arc<str>, &EndpointIndex),
    findings: &mut Findings<'_>,
) {
    let Some(outliers) = &part.policy.outlier_detection else { return };
    let Some(cluster) = cluster(service, host, part.labels) else { return };
    let endpoints = index.endpoints(&cluster);
    let ready = endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready).count();
    let written = outliers.max_ejection_percent.value;
    let percent = usize::try_from(written).ok().filter(|percent| *percent > 0).unwrap_or(10);
    if ready == 0 || percent * ready >= 100 {
        return;
    }
    let message = format!("Nobody is ever ejected: one of {ready} endpoints is more than {percent} percent of them.");
    let hint = Some(format!("write maxEjectionPercent: {} or more", 100_usize.div_ceil(ready)));
    let field = format!("{}.outlierDetection", part.field);
    let (position, field) = match outliers.max_ejection_percent.is_written() {
        true => (outliers.max_ejection_percent.position, format!("{field}.maxEjectionPercent")),
        false => (outliers.position, field),
    };
    warn(findings, &rule.origin(position), (field, message, hint));
}

/// A cluster to count endpoints of: those of the service's first port. Nothing if only look-ups could tell them.
pub(super) fn cluster(service: Service<'_>, host: &Arc<str>, labels: &Labels) -> Option<Cluster> {
    let port = service.ports().into_iter().find(|port| !port.datagram)?;
    (service.discovery() == Discovery::Static).then(|| endpoints::cluster(port, host, labels))
}

/// A destination without a port, of a service whose hash stands in settings of a port.
fn hash(item: Item<'_, VirtualService>, named: &Named<'_>, rules: &Rules<'_>, findings: &mut Findings<'_>) {
    let destination = named.destination;
    if destination.port.is_some() || named.is_mirror {
        return;
    }
    let host = names::full_host(&destination.host, item.namespace());
    let Some((rule, port)) = rules.get(&host).and_then(|rules| unseen_hash(rules, &destination.subset)) else { return };
    let message = format!(
        "Requests are not hashed: the consistentHash of DestinationRule {}/{} is for port {port}, which the destination has \
         to name.",
        rule.namespace(),
        rule.name()
    );
    let hint = Some(format!("write port: {{number: {port}}}"));
    warn(findings, &item.origin(destination.position), (named.field.clone(), message, hint));
}

/// The rule and the port of a hash in settings of a port, unless there is one that is found anyway.
fn unseen_hash<'a>(rules: &[Item<'a, DestinationRule>], subset: &str) -> Option<(Item<'a, DestinationRule>, u16)> {
    fn hashes(settings: Option<&LoadBalancerSettings>) -> bool {
        settings.is_some_and(|settings| settings.consistent_hash.is_some())
    }
    let policies = |rule: &Item<'a, DestinationRule>| {
        let of_subset = rule.spec.subsets.iter().find(|one| *one.name.value == *subset);
        let of_subset = of_subset.and_then(|one| one.traffic_policy.as_deref());
        [rule.spec.traffic_policy.as_deref(), of_subset].into_iter().flatten()
    };
    if rules.iter().flat_map(policies).any(|policy| hashes(policy.load_balancer.as_ref())) {
        return None;
    }
    rules.iter().find_map(|rule| {
        let mut settings = policies(rule).flat_map(|policy| &policy.port_level_settings);
        let settings = settings.find(|settings| hashes(settings.load_balancer.as_ref()))?;
        Some((*rule, settings.port.as_ref()?.number.value))
    })
}

pub(super) fn warn(
    findings: &mut Findings<'_>,
    origin: &crate::origin::Origin,
    (field, message, hint): (String, String, Option<String>),
) {
    let (code, level) = (Code::IneffectivePolicy, Level::Warning);
    findings.add(Finding { code, level, origin, field, message, hint });
}
