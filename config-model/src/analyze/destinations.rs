//! Destinations: whether the host, the port and the subset exist.
//! Source: Istio's analyzers of destination hosts and of DestinationRules (IST0101, 0112).

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::{Finding, Findings, did_you_mean};
use crate::decode::suggest;
use crate::diagnostic::{Code, Level};
use crate::name::HostPattern;
use crate::resolve::names;
use crate::resolve::services::{self, Service};
use crate::resolve::set::{Item, ResourceSet};
use crate::resource::{
    Destination, DestinationRule, HttpRoute, Service as KubernetesService, ServiceEntry, VirtualService,
};

/// A destination, and the name of its field.
pub(super) struct Named<'a> {
    pub(super) destination: &'a Destination,
    pub(super) field: String,
    /// Istio has other words for what is only mirrored to.
    pub(super) is_mirror: bool,
}

/// Names of subsets by host.
struct Subsets<'a> {
    exact: HashMap<Arc<str>, Vec<&'a str>>,
    wildcards: Vec<(HostPattern, Vec<&'a str>)>,
}

/// Hosts of ServiceEntries with a leading wildcard.
type Wildcards<'a> = Vec<(HostPattern, Item<'a, ServiceEntry>)>;

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let subsets = Subsets::new(findings.resources);
    let wildcards = wildcards(findings.resources);
    for item in findings.resources.all::<VirtualService>() {
        for named in destinations(item.spec) {
            check(item, &named, &subsets, &wildcards, findings);
        }
    }
}

fn wildcards(resources: &ResourceSet) -> Wildcards<'_> {
    let hosts = |entry: Item<'_, ServiceEntry>| -> Vec<HostPattern> {
        let patterns = entry.spec.hosts.iter().map(|host| HostPattern::parse(host));
        patterns.filter(|pattern| !matches!(pattern, HostPattern::Exact(_))).collect()
    };
    resources.all::<ServiceEntry>().flat_map(|entry| hosts(entry).into_iter().map(move |host| (host, entry))).collect()
}

fn destinations(spec: &VirtualService) -> Vec<Named<'_>> {
    let mut all: Vec<Named<'_>> = of_http(spec).collect();
    let tcp = spec.tcp.iter().map(|rule| &rule.route).enumerate().map(|(index, route)| ("tcp", index, route));
    let tls = spec.tls.iter().map(|rule| &rule.route).enumerate().map(|(index, route)| ("tls", index, route));
    for (kind, rule, route) in tcp.chain(tls) {
        all.extend(route.iter().enumerate().filter_map(|(index, to)| {
            let field = format!("spec.{kind}[{rule}].route[{index}].destination");
            to.destination.as_ref().map(|destination| Named { destination, field, is_mirror: false })
        }));
    }
    all
}

/// Those of rules for HTTP.
pub(super) fn of_http(spec: &VirtualService) -> impl Iterator<Item = Named<'_>> {
    spec.http.iter().enumerate().flat_map(|(rule, http)| http_destinations(rule, http))
}

fn http_destinations(rule: usize, http: &HttpRoute) -> impl Iterator<Item = Named<'_>> {
    let named = move |(destination, field, is_mirror): (Option<_>, String, bool)| {
        destination.map(|destination| Named { destination, field: format!("spec.http[{rule}].{field}"), is_mirror })
    };
    let routes = http.route.iter().enumerate();
    let routes = routes.map(|(index, to)| (to.destination.as_ref(), format!("route[{index}].destination"), false));
    let mirror = std::iter::once((http.mirror.as_deref(), "mirror".to_owned(), true));
    let mirrors = http.mirrors.iter().enumerate();
    let mirrors = mirrors.map(|(index, to)| (to.destination.as_ref(), format!("mirrors[{index}].destination"), true));
    routes.chain(mirror).chain(mirrors).filter_map(named)
}

fn check(
    item: Item<'_, VirtualService>,
    named: &Named<'_>,
    subsets: &Subsets<'_>,
    wildcards: &Wildcards<'_>,
    findings: &mut Findings<'_>,
) {
    let resources = findings.resources;
    let host = names::full_host(&named.destination.host, item.namespace());
    let visible = |service: &Service<'_>| service.is_visible_to(item.namespace(), resources);
    let exact = services::of_host(resources, &host).find(visible);
    let by_wildcard =
        || wildcards.iter().filter(|(pattern, _)| pattern.matches(&host)).map(|(_, entry)| Service::Entry(*entry));
    match exact.or_else(|| by_wildcard().find(visible)) {
        Some(service) => port(item, named, (&host, service), findings),
        None => unknown_host(item, named, findings),
    }
    subset(item, named, (&host, subsets), findings);
}

fn unknown_host(item: Item<'_, VirtualService>, named: &Named<'_>, findings: &mut Findings<'_>) {
    let written = &named.destination.host;
    let hint = if findings.may_compare() { near_host(findings.resources, written, item.namespace()) } else { None };
    let what = if named.is_mirror { "mirror host" } else { "host" };
    let origin = item.origin(written.position);
    findings.missing(what, written, &origin, (format!("{}.host", named.field), hint));
}

/// A host that could have been meant: one that is spelt like it, or one of another namespace.
pub(super) fn near_host(resources: &ResourceSet, written: &str, namespace: &str) -> Option<String> {
    if !written.contains('.') {
        if let Some(near) = resources.near::<KubernetesService>(namespace, written) {
            return Some(did_you_mean(&near));
        }
        let elsewhere = resources.all::<KubernetesService>().find(|service| service.name() == written);
        if let Some(service) = elsewhere {
            let host = names::full_host(written, service.namespace());
            return Some(format!("{} A short name is of the resource's own namespace", did_you_mean(&host)));
        }
    }
    let full = names::full_host(written, namespace);
    let services =
        resources.all::<KubernetesService>().map(|service| names::full_host(service.name(), service.namespace()));
    let entries = resources.all::<ServiceEntry>().flat_map(|entry| &entry.spec.hosts).map(|host| host.value.clone());
    let hosts: Vec<Arc<str>> = services.chain(entries).collect();
    let candidates: Vec<&str> = hosts.iter().map(|host| &**host).collect();
    suggest(&full, &candidates).map(did_you_mean)
}

fn port(
    item: Item<'_, VirtualService>,
    named: &Named<'_>,
    (full_host, service): (&str, Service<'_>),
    findings: &mut Findings<'_>,
) {
    let Destination { host, port, .. } = named.destination;
    let ports = services::ports(findings.resources, full_host, service);
    let numbers: Vec<String> = ports.iter().map(|port| port.number.to_string()).collect();
    match port {
        Some(port) => {
            // A name elsewhere has whatever ports it has.
            let is_open = ports.is_empty() && service.external_name().is_some();
            if !is_open && ports.iter().all(|known| known.number != *port.number) {
                let name = format!("{}:{}", host.value, port.number.value);
                let hint = Some(format!("the service has port {}", numbers.join(", ")));
                let field = format!("{}.port.number", named.field);
                findings.missing("host:port", &name, &item.origin(port.number.position), (field, hint));
            }
        }
        None if ports.len() > 1 => {
            let message = format!(
                "This VirtualService routes to a service {:?} that exposes multiple ports [{}]. Specifying a port in the \
                 destination is required to disambiguate.",
                host.value,
                numbers.join(" ")
            );
            let (origin, field) = (item.origin(host.position), format!("{}.host", named.field));
            let hint = Some("without it the port of the listener is taken".to_owned());
            let code = Code::DestinationPortSelectorRequired;
            findings.add(Finding { code, level: Level::Error, origin: &origin, field, message, hint });
        }
        None => {}
    }
}

fn subset(
    item: Item<'_, VirtualService>,
    named: &Named<'_>,
    (full_host, subsets): (&str, &Subsets<'_>),
    findings: &mut Findings<'_>,
) {
    let Destination { host, subset, .. } = named.destination;
    if subset.is_empty() {
        return;
    }
    let known = subsets.of(full_host);
    if known.contains(&&*subset.value) {
        return;
    }
    let hint = match suggest(subset, &known) {
        Some(near) => did_you_mean(near),
        None if known.is_empty() => format!("no DestinationRule for {full_host} has subsets"),
        None => format!("its subsets are {}", known.join(", ")),
    };
    let what = if named.is_mirror { "mirror+subset in destinationrule" } else { "host+subset in destinationrule" };
    let name = format!("{}+{}", host.value, subset.value);
    let field = format!("{}.subset", named.field);
    findings.missing(what, &name, &item.origin(subset.position), (field, Some(hint)));
}

impl<'a> Subsets<'a> {
    fn new(resources: &'a ResourceSet) -> Self {
        let mut subsets = Self { exact: HashMap::new(), wildcards: Vec::new() };
        for rule in resources.all::<DestinationRule>().filter(|rule| !rule.spec.subsets.is_empty()) {
            let names = rule.spec.subsets.iter().map(|subset| &*subset.name.value);
            match HostPattern::parse(&names::full_host(&rule.spec.host, rule.namespace())) {
                HostPattern::Exact(host) => subsets.exact.entry(host).or_default().extend(names),
                pattern => subsets.wildcards.push((pattern, names.collect())),
            }
        }
        subsets
    }

    fn of(&self, host: &str) -> Vec<&'a str> {
        let exact = self.exact.get(host).into_iter().flatten();
        let wide = self.wildcards.iter().filter(|(pattern, _)| pattern.matches(host)).flat_map(|(_, names)| names);
        let mut names: Vec<&str> = exact.chain(wide).copied().collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
