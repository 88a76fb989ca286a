//! Rules for `VirtualService` as a whole; those for single rules are in `http_route` and `l4_route`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{http_route, l4_route, names, values};
use crate::decode::{Path, Report, Text};
use crate::origin::ResourceId;
use crate::resource::VirtualService;

pub(super) fn check(service: &VirtualService, id: &ResourceId, at: &Path<'_>, report: &mut Report) {
    let is_delegate = service.hosts.is_empty();
    if is_delegate {
        delegate(service, at, report);
    }
    gateway_names(&service.gateways, &at.field("gateways"), report);
    hosts(service, &at.field("hosts"), report);
    if service.http.is_empty() && service.tls.is_empty() && service.tcp.is_empty() {
        report.error(service.position, &at.field("http"), "is required", Some("write a rule under http, tls or tcp"));
    }
    let field = at.field("http");
    let in_mesh = in_mesh(service);
    for (index, rule) in service.http.iter().enumerate() {
        let at = field.index(index);
        http_route::check(rule, is_delegate, &at, report);
        if in_mesh {
            http_route::no_claims(rule, &at, report);
        }
    }
    l4_route::check(service, at, report);
    values::export_to(&service.export_to, id, false, at, report);
}

/// Without hosts it can only be a delegate, which other VirtualServices lead to.
fn delegate(service: &VirtualService, at: &Path<'_>, report: &mut Report) {
    let hint = Some("write the host names, or remove gateways, tls and tcp from a delegate");
    let only_http = service.gateways.is_empty() && service.tls.is_empty() && service.tcp.is_empty();
    if !only_http {
        report.error(service.position, &at.field("hosts"), "is required", hint);
    }
}

/// Names of gateways, of a VirtualService or of a single match.
pub(super) fn gateway_names(gateways: &[Text], at: &Path<'_>, report: &mut Report) {
    for (index, gateway) in gateways.iter().enumerate() {
        let at = at.index(index);
        values::text(gateway, names::gateway_name, &at, report, "write NAME or NAMESPACE/NAME");
        let mut labels = gateway.value.split('.');
        if let (Some(name), Some(namespace), false) = (labels.next(), labels.next(), gateway.value.contains('/')) {
            let hint = format!("write {namespace}/{name}");
            report.warning(gateway.position, &at, "has an old form for a gateway", Some(&hint));
        }
    }
}

/// Whether it holds, or holds too, between the workloads of the mesh.
pub(super) fn in_mesh(service: &VirtualService) -> bool {
    let gateways = &service.gateways;
    gateways.is_empty() || gateways.iter().any(|gateway| *gateway.value == *"mesh")
}

fn hosts(service: &VirtualService, at: &Path<'_>, report: &mut Report) {
    let in_mesh = in_mesh(service);
    let is_by_server_name =
        !in_mesh && service.tls.iter().flat_map(|rule| &rule.r#match).any(|entry| !entry.sni_hosts.is_empty());
    for (index, host) in service.hosts.iter().enumerate() {
        let at = at.index(index);
        if in_mesh && *host.value == *"*" {
            let hint = "name the hosts, or a gateway other than mesh";
            report.error(host.position, &at, "must not be * in the mesh", Some(hint));
        } else if let Err(problem) = names::server_name(&host.value, is_by_server_name)
            && !names::is_ip(&host.value)
        {
            report.error(host.position, &at, problem, Some("write a name such as shop.example or *.shop.example"));
        }
    }
    overlaps(&service.hosts, at, report);
}

/// No host may be named twice, be it by a wildcard. Every host is looked up among the wildcards that could hold it, as
/// comparing each with each would take long for some thousands.
fn overlaps(hosts: &[Text], at: &Path<'_>, report: &mut Report) {
    let lower: Vec<String> = hosts.iter().map(|host| host.value.to_ascii_lowercase()).collect();
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(lower.len());
    let mut pairs = Vec::new();
    for (index, host) in lower.iter().enumerate() {
        match places.entry(host) {
            Entry::Occupied(first) => pairs.push((*first.get(), index)),
            Entry::Vacant(place) => {
                place.insert(index);
            }
        }
    }
    let mut wildcard = String::new();
    for (index, host) in lower.iter().enumerate() {
        let own = host.strip_prefix('*').unwrap_or(host);
        let wider = own.char_indices().map(|(start, _)| start).chain([own.len()]).find_map(|start| {
            wildcard.clear();
            wildcard.push('*');
            wildcard.push_str(own.get(start..)?);
            places.get(wildcard.as_str()).copied().filter(|place| *place != index && wildcard.len() <= host.len())
        });
        pairs.extend(wider.map(|place| (place.min(index), place.max(index))));
    }
    for (first, second) in pairs {
        let Some((known, host)) = hosts.get(first).zip(hosts.get(second)) else { continue };
        let message = format_args!("{:?} and {:?} name the same hosts", known.value, host.value);
        report.error(host.position, &at.index(second), message, Some("keep the wider one"));
    }
}
