//! The Gateways and hosts of VirtualServices, their delegates, and claims of tokens that nothing verifies.
//! Source: Istio's analyzers of Gateways, of hosts in the mesh and of JWT claims (IST0101, 0109, 0132, 0149).

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::{Finding, Findings, did_you_mean};
use crate::diagnostic::{Code, Level};
use crate::name::HostPattern;
use crate::resolve::gateway::{self, GatewayServer};
use crate::resolve::names;
use crate::resolve::routes;
use crate::resolve::set::Item;
use crate::resolve::visibility::Visibility;
use crate::resource::{Gateway, VirtualService};

/// The reserved name of the mesh's own sidecars.
const MESH: &str = "mesh";

/// Headers of this name stand for claims of a token.
const CLAIMS: &str = "@request.auth.claims";

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    for item in resources.all::<VirtualService>() {
        gateways(item, findings);
        claims(item, findings);
        findings.diagnostics.extend(routes::delegate_findings(resources, item));
    }
    mesh_hosts(findings);
}

fn gateways(item: Item<'_, VirtualService>, findings: &mut Findings<'_>) {
    let resources = findings.resources;
    for (index, reference) in item.spec.gateways.iter().enumerate().filter(|(_, name)| *name.value != *MESH) {
        let (namespace, name) = names::gateway(&reference.value, item.namespace());
        let origin = item.origin(reference.position);
        let field = format!("spec.gateways[{index}]");
        match resources.find::<Gateway>(namespace, name) {
            Some(gateway) => hosts_served(item, gateway, (origin, field), findings),
            None => {
                let near = findings.near::<Gateway>(namespace, name).map(|near| did_you_mean(&near));
                let hint = near.or_else(|| elsewhere(findings, name));
                findings.missing("gateway", &reference.value, &origin, (field, hint));
            }
        }
    }
}

/// A Gateway of that name in another namespace.
fn elsewhere(findings: &Findings<'_>, name: &str) -> Option<String> {
    let other = findings.resources.all::<Gateway>().find(|gateway| gateway.name() == name)?;
    let full = format!("{}/{name}", other.namespace());
    Some(format!("{} A bare name is of the VirtualService's own namespace", did_you_mean(&full)))
}

fn servers<'a>(gateway: Item<'a, Gateway>) -> impl Iterator<Item = GatewayServer<'a>> {
    let servers = gateway.spec.servers.iter().enumerate();
    servers.map(move |(index, server)| GatewayServer { gateway, server, index, port: 0 })
}

/// Whether the Gateway serves any of the hosts.
fn hosts_served(
    item: Item<'_, VirtualService>,
    gateway: Item<'_, Gateway>,
    (origin, field): (crate::origin::Origin, String),
    findings: &mut Findings<'_>,
) {
    let hosts = gateway::hosts(item);
    let is_served = |pattern: &HostPattern| hosts.iter().any(|host| pattern.intersection(host).is_some());
    let served = servers(gateway).any(|server| {
        let mut taken = gateway::server_hosts(&server).filter(|host| host.takes(item.namespace()));
        taken.any(|host| is_served(&host.pattern))
    });
    if served || hosts.is_empty() {
        return;
    }
    let written: Vec<&str> = item.spec.hosts.iter().map(|host| &*host.value).collect();
    let offered: Vec<&str> =
        gateway.spec.servers.iter().flat_map(|server| &server.hosts).map(|host| &*host.value).collect();
    let message = format!(
        "one or more host [{}] defined in VirtualService {}/{} not found in Gateway {}/{}.",
        written.join(" "),
        item.namespace(),
        item.name(),
        gateway.namespace(),
        gateway.name()
    );
    let hint = Some(format!("the Gateway serves {}", offered.join(", ")));
    let code = Code::HostNotFoundInGateway;
    findings.add(Finding { code, level: Level::Warning, origin: &origin, field, message, hint });
}

/// No resource that verifies tokens is read, so that such a match never holds.
fn claims(item: Item<'_, VirtualService>, findings: &mut Findings<'_>) {
    let matches = item.spec.http.iter().flat_map(|rule| &rule.r#match);
    let keys = matches.flat_map(|entry| entry.headers.iter().chain(entry.without_headers.iter()));
    let Some((key, _)) = keys.into_iter().find(|(key, _)| key.to_ascii_lowercase().starts_with(CLAIMS)) else { return };
    for gateway in item.spec.gateways.iter().filter(|name| *name.value != *MESH) {
        let (namespace, name) = names::gateway(&gateway.value, item.namespace());
        let message = format!(
            "The virtual service uses the JWT claim based routing (key: {}) but found no request authentication for the \
             gateway ({namespace}/{name}).",
            key.value
        );
        let hint = Some("tokens are not verified here, so that the match never holds".to_owned());
        let code = Code::JwtClaimBasedRoutingWithoutRequestAuthn;
        let origin = item.origin(key.position);
        findings.add(Finding { code, level: Level::Error, origin: &origin, field: String::new(), message, hint });
    }
}

/// VirtualServices of one host that are reported: each names all others.
const HOLDERS_MAX: usize = 50;

/// A VirtualService, and the place of a host among its hosts.
type Holder<'a> = (Item<'a, VirtualService>, usize);

/// Hosts that several VirtualServices have in the mesh, where nothing is merged.
fn mesh_hosts(findings: &mut Findings<'_>) {
    let mut by_host: HashMap<Arc<str>, Vec<Holder<'_>>> = HashMap::new();
    for item in findings.resources.all::<VirtualService>() {
        let gateways = &item.spec.gateways;
        if gateways.is_empty() || gateways.iter().any(|gateway| *gateway.value == *MESH) {
            for (index, host) in item.spec.hosts.iter().enumerate() {
                by_host.entry(names::full_host(host, item.namespace())).or_default().push((item, index));
            }
        }
    }
    for (host, holders) in by_host.iter().filter(|(_, holders)| holders.len() > 1) {
        let named = holders.get(..HOLDERS_MAX).unwrap_or(holders);
        for holder in named {
            mesh_host(host, *holder, named, findings);
        }
    }
}

fn mesh_host(host: &str, (item, index): Holder<'_>, holders: &[Holder<'_>], findings: &mut Findings<'_>) {
    let own = gateway::visibility(findings.resources, item);
    let rivals = holders.iter().filter(|(other, _)| other.index != item.index);
    let rivals = rivals.filter(|(other, _)| overlap(&own, &gateway::visibility(findings.resources, *other)));
    let mut names: Vec<String> = rivals.map(|(other, _)| format!("{}/{}", other.namespace(), other.name())).collect();
    if names.is_empty() {
        return;
    }
    names.push(format!("{}/{}", item.namespace(), item.name()));
    names.sort();
    let scope = match &own {
        Visibility::All => "*".to_owned(),
        Visibility::Namespaces(namespaces) => namespaces.join(","),
    };
    let message = format!(
        "The VirtualServices {} associated with mesh gateway define the same host {scope}/{host} which can lead to undefined \
         behavior. This can be fixed by merging the conflicting VirtualServices into a single resource.",
        names.join(",")
    );
    let position = item.spec.hosts.get(index).map_or(item.resource.metadata.name.position, |host| host.position);
    let (origin, field) = (item.origin(position), format!("spec.hosts[{index}]"));
    let code = Code::ConflictingMeshGatewayVirtualServiceHosts;
    findings.add(Finding { code, level: Level::Error, origin: &origin, field, message, hint: None });
}

fn overlap(left: &Visibility<'_>, right: &Visibility<'_>) -> bool {
    match (left, right) {
        (Visibility::All, Visibility::All) => true,
        (Visibility::All, Visibility::Namespaces(some)) | (Visibility::Namespaces(some), Visibility::All) => {
            !some.is_empty()
        }
        (Visibility::Namespaces(some), other) => some.iter().any(|namespace| other.includes(namespace)),
    }
}
