//! Rules for the routes of connections: `tls` and `tcp` of a VirtualService.

use super::virtual_service::{gateway_names, in_mesh};
use super::{names, values};
use crate::decode::{Path, Report, Text};
use crate::name::{HostPattern, Labels};
use crate::origin::Position;
use crate::resource::{RouteDestination, TlsMatchAttributes, VirtualService};

pub(super) fn check(service: &VirtualService, at: &Path<'_>, report: &mut Report) {
    let field = at.field("tls");
    for (index, route) in service.tls.iter().enumerate() {
        let at = field.index(index);
        if route.r#match.is_empty() {
            report.error(route.position, &at.field("match"), "is required", Some("name the server names"));
        }
        let matches = at.field("match");
        for (index, entry) in route.r#match.iter().enumerate() {
            tls_match(entry, service, &matches.index(index), report);
        }
        destinations(&route.route, route.position, &at.field("route"), report);
    }
    let field = at.field("tcp");
    for (index, route) in service.tcp.iter().enumerate() {
        let at = field.index(index);
        let matches = at.field("match");
        for (index, entry) in route.r#match.iter().enumerate() {
            let at = matches.index(index);
            let source = (&entry.source_labels, entry.position);
            connection(&entry.destination_subnets, source, &entry.gateways, &at, report);
            if !entry.source_subnet.value.is_empty() {
                let at = at.field("sourceSubnet");
                values::text(&entry.source_subnet, names::subnet, &at, report, "");
                let hint =
                    Some("a sidecar's clients are those of its own pod: match by sourceLabels or sourceNamespace");
                report.warning(entry.source_subnet.position, &at, "is looked at by nobody, as in Istio", hint);
            }
        }
        destinations(&route.route, route.position, &at.field("route"), report);
    }
}

fn connection(subnets: &[Text], source: (&Labels, Position), gateways: &[Text], at: &Path<'_>, report: &mut Report) {
    let field = at.field("destinationSubnets");
    for (index, subnet) in subnets.iter().enumerate() {
        values::text(subnet, names::subnet, &field.index(index), report, "");
    }
    values::labels(source.0, source.1, &at.field("sourceLabels"), report);
    gateway_names(gateways, &at.field("gateways"), report);
}

fn tls_match(entry: &TlsMatchAttributes, service: &VirtualService, at: &Path<'_>, report: &mut Report) {
    let field = at.field("sniHosts");
    if entry.sni_hosts.is_empty() {
        report.error(entry.position, &field, "is required", Some("name at least one server name"));
    }
    for (index, sni) in entry.sni_hosts.iter().enumerate() {
        let at = field.index(index);
        if names::is_ip(&sni.value) {
            report.warning(sni.position, &at, "is an address, which no client sends as server name", None);
            continue;
        }
        let at_gateway = !in_mesh(service);
        values::text(sni, |name| names::server_name(name, at_gateway), &at, report, "");
        let pattern = HostPattern::parse(&sni.value);
        if !service.hosts.iter().any(|host| pattern.is_within(&HostPattern::parse(&host.value))) {
            let message = format_args!("{:?} is not among the hosts of the VirtualService", sni.value);
            report.error(sni.position, &at, message, Some("add it to spec.hosts"));
        }
    }
    connection(&entry.destination_subnets, (&entry.source_labels, entry.position), &entry.gateways, at, report);
}

fn destinations(route: &[RouteDestination], position: Position, at: &Path<'_>, report: &mut Report) {
    if route.is_empty() {
        report.error(position, at, "is required", Some("name a destination"));
    }
    for (index, entry) in route.iter().enumerate() {
        values::destination_of(entry.destination.as_ref(), entry.position, &at.index(index), report);
    }
    values::weights(route.iter().map(|entry| (&entry.weight, entry.position)), at, report);
}
