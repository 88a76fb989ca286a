//! Rules for `ServiceEntry` and `WorkloadEntry`.

use std::collections::HashSet;
use std::sync::Arc;

use super::{names, values};
use crate::decode::{Path, Report};
use crate::origin::ResourceId;
use crate::resource::{Resolution, ServiceEntry, WorkloadEntry};

/// Names of the service's ports.
type PortNames = HashSet<Arc<str>>;

pub(super) fn check(entry: &ServiceEntry, id: &ResourceId, at: &Path<'_>, report: &mut Report) {
    values::workloads(entry.workload_selector.as_ref(), at, report);
    if let (Some(selector), false) = (&entry.workload_selector, entry.endpoints.is_empty()) {
        let message = "must not stand beside endpoints";
        report.error(selector.position, &at.field("workloadSelector"), message, Some("keep one of the two"));
    }
    hosts(entry, &at.field("hosts"), report);
    addresses(entry, &at.field("addresses"), report);
    let names = ports(entry, &at.field("ports"), report);
    resolution(entry, &names, at, report);
    several_hosts(entry, at, report);
    values::export_to(&entry.export_to, id, true, at, report);
}

fn hosts(entry: &ServiceEntry, at: &Path<'_>, report: &mut Report) {
    if entry.hosts.is_empty() {
        report.error(entry.position, at, "is required", Some("name at least one host"));
    }
    for (index, host) in entry.hosts.iter().enumerate() {
        let at = at.index(index);
        if *host.value == *"*" {
            report.error(host.position, &at, "must not be *", Some("name the hosts, as *.example"));
            continue;
        }
        values::text(host, names::wildcard_host, &at, report, "write a name such as api.example");
        if let Err(problem) = names::partial_wildcard(&host.value) {
            report.warning(host.position, &at, problem, None);
        }
    }
}

fn addresses(entry: &ServiceEntry, at: &Path<'_>, report: &mut Report) {
    let by_address = matches!(entry.resolution.value, Resolution::None | Resolution::Static);
    for (index, address) in entry.addresses.iter().enumerate() {
        let at = at.index(index);
        values::text(address, names::subnet, &at, report, "");
        if address.value.contains('/') && !by_address {
            let message = "must not be a block of addresses unless resolution is NONE or STATIC";
            report.error(address.position, &at, message, Some("name single addresses"));
        }
    }
}

fn ports(entry: &ServiceEntry, at: &Path<'_>, report: &mut Report) -> PortNames {
    let (mut by_name, mut by_number) = (PortNames::new(), HashSet::new());
    for (index, port) in entry.ports.iter().enumerate() {
        let at = at.index(index);
        values::port(&port.number, port.position, &at.field("number"), report);
        let name = at.field("name");
        if values::required(&port.name, port.position, &name, report, "give the port a name") {
            values::text(&port.name, names::dns_label, &name, report, "");
        }
        if !by_name.insert(Arc::clone(&port.name.value)) {
            let message = format_args!("{:?} is the name of an earlier port", port.name.value);
            report.error(port.name.position, &name, message, Some("give each port its own"));
        }
        if !by_number.insert(port.number.value) {
            let message = format_args!("{} is the number of an earlier port", port.number.value);
            report.error(port.number.position, &at.field("number"), message, Some("remove one of them"));
        }
        if !port.protocol.value.is_empty() {
            values::protocol(&port.protocol, &at.field("protocol"), report);
        }
        if port.target_port.value != 0 && entry.resolution.value == Resolution::None {
            let message = "has no effect with resolution NONE";
            report.warning(port.target_port.position, &at.field("targetPort"), message, None);
        }
    }
    by_name
}

fn resolution(entry: &ServiceEntry, names: &PortNames, at: &Path<'_>, report: &mut Report) {
    let resolution = entry.resolution.value;
    let field = at.field("endpoints");
    let first = entry.endpoints.first().map(|endpoint| endpoint.position);
    match (resolution, first) {
        (Resolution::None, Some(position)) => {
            let hint = Some("write resolution: STATIC or DNS");
            report.error(position, &field, "must not be set with resolution NONE", hint);
        }
        (Resolution::DnsRoundRobin, Some(position)) if entry.endpoints.len() > 1 => {
            let message = "must be one at most with resolution DNS_ROUND_ROBIN";
            report.error(position, &field, message, Some("write resolution: DNS"));
        }
        (Resolution::Dns | Resolution::DnsRoundRobin, None) => dns_hosts(entry, at, report),
        (Resolution::DynamicDns, _) => {
            dynamic_dns(entry, at, report);
            report.not_honoured(entry.resolution.position, &at.field("resolution"), "DYNAMIC_DNS");
        }
        _ => {}
    }
    if let Some(selector) = entry.workload_selector.as_ref().filter(|_| resolution != Resolution::Static) {
        let message = format_args!("should not be set with resolution {resolution}");
        report.warning(selector.position, &at.field("workloadSelector"), message, Some("write resolution: STATIC"));
    }
    if resolution != Resolution::None {
        for (index, endpoint) in entry.endpoints.iter().enumerate() {
            let at = field.index(index);
            if resolution == Resolution::Static {
                check_workload(endpoint, Some(names), false, &at, report);
            } else {
                check_name(endpoint, names, &at, report);
            }
        }
    }
}

/// The host of each request is looked up, so that nothing else may say where requests go.
fn dynamic_dns(entry: &ServiceEntry, at: &Path<'_>, report: &mut Report) {
    let hosts = at.field("hosts");
    for (index, host) in entry.hosts.iter().enumerate().filter(|(_, host)| !host.value.starts_with('*')) {
        let message = "must have a wildcard with resolution DYNAMIC_DNS";
        report.error(host.position, &hosts.index(index), message, Some("write resolution: DNS"));
    }
    let given = [
        ("addresses", entry.addresses.first().map(|address| address.position)),
        ("endpoints", entry.endpoints.first().map(|endpoint| endpoint.position)),
    ];
    for (name, position) in given.iter().filter_map(|(name, position)| Some((name, (*position)?))) {
        report.error(position, &at.field(name), "must not be set with resolution DYNAMIC_DNS", Some("remove it"));
    }
    let ports = at.field("ports");
    for (index, port) in entry.ports.iter().enumerate() {
        let spoken = ["HTTP", "TLS", "GRPC", "HTTP2"];
        if !spoken.iter().any(|name| port.protocol.value.eq_ignore_ascii_case(name)) {
            let message = "must be HTTP, HTTP2, GRPC or TLS with resolution DYNAMIC_DNS";
            let position = values::place(&port.protocol, port.position);
            report.error(position, &ports.index(index).field("protocol"), message, None);
        }
    }
}

/// Without endpoints the hosts themselves are looked up.
fn dns_hosts(entry: &ServiceEntry, at: &Path<'_>, report: &mut Report) {
    let field = at.field("hosts");
    for (index, host) in entry.hosts.iter().enumerate() {
        if names::fqdn(&host.value).is_err() && names::wildcard_host(&host.value).is_ok() {
            let message =
                format_args!("{:?} can't be looked up, as resolution {} asks", host.value, entry.resolution.value);
            report.error(
                host.position,
                &field.index(index),
                message,
                Some("write endpoints, or a host without wildcard"),
            );
        }
    }
}

/// Connections of plain TCP don't say which host they are for.
fn several_hosts(entry: &ServiceEntry, at: &Path<'_>, report: &mut Report) {
    let Some(second) = entry.hosts.get(1).filter(|_| entry.resolution.value != Resolution::None) else { return };
    let is_tcp = |name: &str| !matches!(names::protocol(name), Some(names::Protocol::Http | names::Protocol::Tls));
    if entry.ports.iter().any(|port| is_tcp(&port.protocol.value)) {
        let message = "must be one host only, as a port is neither HTTP nor TLS";
        report.error(second.position, &at.field("hosts"), message, Some("make a ServiceEntry for each host"));
    }
}

/// Checks an endpoint that is looked up. A network without an address, or a socket, is nothing that a name could lead to.
fn check_name(endpoint: &WorkloadEntry, ports: &PortNames, at: &Path<'_>, report: &mut Report) {
    let address = &endpoint.address;
    let field = at.field("address");
    if address.value.is_empty() {
        let position = values::place(address, endpoint.position);
        report.error(position, &field, "is required", Some("write an address or a host name"));
    } else if !names::is_ip(&address.value) && names::fqdn(&address.value).is_err() {
        let message = format_args!("must be an IP address or a host name, found {:?}", address.value);
        report.error(address.position, &field, message, None);
    }
    ports_and_labels(endpoint, Some(ports), at, report);
}

/// Checks an endpoint. `ports` are the names of the service's ports, if it is part of a service.
pub(super) fn check_workload(
    entry: &WorkloadEntry,
    ports: Option<&PortNames>,
    by_name: bool,
    at: &Path<'_>,
    report: &mut Report,
) {
    address(entry, ports, by_name, at, report);
    ports_and_labels(entry, ports, at, report);
}

fn ports_and_labels(entry: &WorkloadEntry, ports: Option<&PortNames>, at: &Path<'_>, report: &mut Report) {
    let field = at.field("ports");
    for (name, number) in entry.ports.iter() {
        let at = field.key(&name.value);
        values::text(name, names::dns_label, &at, report, "");
        values::port(number, number.position, &at, report);
        if ports.is_some_and(|ports| !ports.contains(&name.value)) {
            let message = format_args!("{:?} is not a port of the service", name.value);
            report.error(name.position, &at, message, Some("use the name of a port under spec.ports"));
        }
    }
    values::labels(&entry.labels, entry.position, &at.field("labels"), report);
}

fn address(entry: &WorkloadEntry, ports: Option<&PortNames>, by_name: bool, at: &Path<'_>, report: &mut Report) {
    let field = at.field("address");
    let address = &entry.address;
    if address.value.is_empty() {
        if entry.network.value.is_empty() {
            report.error(values::place(address, entry.position), &field, "is required", Some("write an address"));
        } else {
            report.warning(entry.position, &field, "is not set, so that only other networks get there", None);
        }
        return;
    }
    if let Some(path) = address.value.strip_prefix("unix://") {
        values::text(address, |_| names::unix_path(path), &field, report, "");
        if !entry.ports.is_empty() {
            report.error(entry.position, &at.field("ports"), "must not be set for a Unix socket", Some("remove it"));
        }
        if ports.is_some_and(|ports| ports.len() != 1) {
            report.error(address.position, &field, "is a Unix socket, so the service must have just one port", None);
        }
        return;
    }
    if names::is_ip(&address.value) || (by_name && names::fqdn(&address.value).is_ok()) {
        return;
    }
    let wanted = if by_name { "an IP address or a host name" } else { "an IP address" };
    let hint = (!by_name).then_some("write resolution: DNS for host names");
    report.error(address.position, &field, format_args!("must be {wanted}, found {:?}", address.value), hint);
}
