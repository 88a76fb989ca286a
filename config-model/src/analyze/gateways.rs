//! Gateways among themselves and towards the Service in front of the proxy, and addresses of ServiceEntries.
//! Source: Istio's analyzers of conflicting Gateways, of gateway ports and of ServiceEntries (IST0101, 0134, 0145, 0162).

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use super::{Finding, Findings, selector_text};
use crate::diagnostic::{Code, Level};
use crate::name::{self, Labels};
use crate::resolve::services::{Service as AnyService, Target};
use crate::resolve::set::Item;
use crate::resource::{Gateway, Pod, Server, Service, ServiceEntry};

pub(super) fn analyze(findings: &mut Findings<'_>) {
    conflicts(findings);
    for gateway in findings.resources.all::<Gateway>() {
        let pods: Vec<_> = pods(gateway, findings).collect();
        if pods.is_empty() {
            selector(gateway, findings);
        } else {
            ports(gateway, &pods, findings);
        }
    }
    addresses(findings);
}

fn pods<'a>(gateway: Item<'a, Gateway>, findings: &Findings<'a>) -> impl Iterator<Item = Item<'a, Pod>> {
    let pods = findings.resources.all::<Pod>();
    pods.filter(move |pod| name::selects(&gateway.spec.selector, &pod.resource.metadata.labels))
}

/// A selector that takes nobody, if the folder has pods with such labels at all.
fn selector(gateway: Item<'_, Gateway>, findings: &mut Findings<'_>) {
    let selector = &gateway.spec.selector;
    if findings.proxy.is_some_and(|proxy| name::selects(selector, &proxy.labels)) {
        return;
    }
    let pods = findings.resources.all::<Pod>().map(|pod| &pod.resource.metadata.labels);
    let workloads: Vec<&Labels> = pods.chain(findings.proxy.map(|proxy| &proxy.labels)).collect();
    let similar = workloads.iter().find(|labels| selector.keys().all(|key| labels.contains_key(key)));
    let Some(similar) = similar.filter(|_| !selector.is_empty()) else { return };
    let known: Labels =
        similar.iter().filter(|(key, _)| selector.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())).collect();
    let hint = Some(format!("there is a workload with {}", selector_text(&known)));
    let origin = gateway.own_origin();
    findings.missing("selector", &selector_text(selector), &origin, ("spec.selector".to_owned(), hint));
}

/// Gateways by port, address and host of their servers.
type ByHost<'a> = HashMap<(u16, &'a str, &'a str), Vec<Item<'a, Gateway>>>;

fn port_number(server: &Server) -> u16 {
    server.port.as_ref().map_or(0, |port| *port.number)
}

/// Gateways for the same workloads that have a host, a port and an address in common.
fn conflicts(findings: &mut Findings<'_>) {
    let mut by_host: ByHost<'_> = HashMap::new();
    for gateway in findings.resources.all::<Gateway>() {
        for server in &gateway.spec.servers {
            for host in &server.hosts {
                let key = (port_number(server), &*server.bind.value, &*host.value);
                let holders = by_host.entry(key).or_default();
                if holders.last().is_none_or(|last| last.index != gateway.index) {
                    holders.push(gateway);
                }
            }
        }
    }
    by_host.retain(|_, holders| holders.len() > 1);
    for gateway in findings.resources.all::<Gateway>().filter(|_| !by_host.is_empty()) {
        for (index, server) in gateway.spec.servers.iter().enumerate() {
            let rivals = rivals(gateway, server, &by_host, findings);
            if !rivals.is_empty() {
                conflict(gateway, (server, index), &rivals, findings);
            }
        }
    }
}

/// Names of other Gateways that have a host of `server` for some workload of `gateway`.
fn rivals<'a>(
    gateway: Item<'a, Gateway>,
    server: &'a Server,
    by_host: &ByHost<'a>,
    findings: &Findings<'a>,
) -> BTreeSet<String> {
    let mut rivals = BTreeSet::new();
    for host in &server.hosts {
        let holders = by_host.get(&(port_number(server), &*server.bind.value, &*host.value));
        let others = holders.into_iter().flatten().filter(|other| other.index != gateway.index);
        let rival = others.filter(|other| is_shared(gateway, **other, findings));
        rivals.extend(rival.map(|other| format!("{}/{}", other.namespace(), other.name())));
    }
    rivals
}

fn conflict(
    gateway: Item<'_, Gateway>,
    (server, index): (&Server, usize),
    rivals: &BTreeSet<String>,
    findings: &mut Findings<'_>,
) {
    let hosts: Vec<&str> = server.hosts.iter().map(|host| &*host.value).collect();
    let rivals: Vec<&str> = rivals.iter().map(String::as_str).collect();
    let message = format!(
        "Conflict with gateways {} (workload selector {}, port {}, hosts {}).",
        rivals.join(","),
        selector_text(&gateway.spec.selector),
        port_number(server),
        hosts.join(",")
    );
    let (origin, field) = (gateway.origin(server.position), format!("spec.servers[{index}]"));
    let hint = Some("serve the host from one Gateway, which VirtualServices can share".to_owned());
    let code = Code::ConflictingGateways;
    findings.add(Finding { code, level: Level::Error, origin: &origin, field, message, hint });
}

/// Whether some workload takes both.
fn is_shared(gateway: Item<'_, Gateway>, other: Item<'_, Gateway>, findings: &Findings<'_>) -> bool {
    let (left, right) = (&gateway.spec.selector, &other.spec.selector);
    let both = |labels: &Labels| name::selects(left, labels) && name::selects(right, labels);
    left == right
        || findings.proxy.is_some_and(|proxy| both(&proxy.labels))
        || findings.resources.all::<Pod>().any(|pod| both(&pod.resource.metadata.labels))
}

/// Ports of the Services in front of the gateway's pods, and those of the pods that they lead to.
fn service_ports(pods: &[Item<'_, Pod>], findings: &Findings<'_>) -> BTreeSet<u16> {
    let mut known = BTreeSet::new();
    for service in findings.resources.all::<Service>() {
        let Some(spec) = service.spec.spec.as_ref().filter(|spec| !spec.selector.is_empty()) else { continue };
        let is_meant = |pod: &Item<'_, Pod>| {
            pod.namespace() == service.namespace() && name::selects(&spec.selector, &pod.resource.metadata.labels)
        };
        if !pods.iter().any(is_meant) {
            continue;
        }
        for port in AnyService::Kubernetes(service).ports().into_iter().filter(|port| !port.datagram) {
            known.insert(port.number);
            if let Target::Number(number) = port.target {
                known.insert(number);
            }
        }
    }
    known
}

/// Ports that no Service in front of the gateway's pods leads to.
fn ports(gateway: Item<'_, Gateway>, pods: &[Item<'_, Pod>], findings: &mut Findings<'_>) {
    let known = service_ports(pods, findings);
    let numbers: Vec<String> = known.iter().map(u16::to_string).collect();
    for (index, server) in gateway.spec.servers.iter().enumerate() {
        let Some(port) = server.port.as_ref().filter(|port| !known.contains(&*port.number)) else { continue };
        let message = format!(
            "The gateway is listening on a target port (port {}) that is not defined in the Service associated with its \
             workload instances (Pod selector {}). If you need to access the gateway port through the gateway Service, it \
             will not be available.",
            *port.number,
            selector_text(&gateway.spec.selector)
        );
        let hint = (!numbers.is_empty()).then(|| format!("the Service has port {}", numbers.join(", ")));
        let (origin, field) = (gateway.origin(port.number.position), format!("spec.servers[{index}].port.number"));
        let code = Code::GatewayPortNotDefinedOnService;
        findings.add(Finding { code, level: Level::Warning, origin: &origin, field, message, hint });
    }
}

/// A port of TCP is told from others by address alone.
fn addresses(findings: &mut Findings<'_>) {
    for entry in findings.resources.all::<ServiceEntry>().filter(|entry| entry.spec.addresses.is_empty()) {
        for (index, port) in entry.spec.ports.iter().enumerate() {
            if !port.protocol.is_empty() && !port.protocol.eq_ignore_ascii_case("tcp") {
                continue;
            }
            let message = "ServiceEntry addresses are required for this protocol.".to_owned();
            let (origin, field) = (entry.origin(port.position), format!("spec.ports[{index}]"));
            let hint = Some("name the protocol if it is HTTP, or give the service addresses".to_owned());
            let code = Code::ServiceEntryAddressesRequired;
            findings.add(Finding { code, level: Level::Warning, origin: &origin, field, message, hint });
        }
    }
}
