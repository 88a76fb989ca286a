//! Where connections of a gateway go that are not HTTP for us: `tcp` and `tls` of the VirtualServices bound to a server.
//! Source: Istio, `TCPRoute`, `TLSRoute`, `Server.tls.mode`. As in Istio, of a match only the port, the Gateway and the server
//! names count at a gateway: clients can't choose another address there, and the proxy is always the same.

use foldhash::HashSet;

use crate::diagnostic::Diagnostic;
use crate::model::{
    ClusterName, Direction, FilterChain, HashSource, NetworkFilter, TcpProxyIndex, TcpRoute, TransportSocket,
    WeightedCluster,
};
use crate::name::HostPattern;
use crate::resource::{L4MatchAttributes, RouteDestination, Text, TlsMatchAttributes, VirtualService};

use super::build::Build;
use super::gateway::{self, GatewayServer, Serving};
use super::services::Service;
use super::set::Item;
use super::{findings, names, services};

/// The first rule under `tcp` that is for the server's port and Gateway.
pub(super) fn plain<'a>(server: &GatewayServer<'a>, serving: &mut Serving<'_, 'a>) -> Option<TcpProxyIndex> {
    for item in serving.virtual_services(server) {
        for (index, rule) in item.spec.tcp.iter().enumerate() {
            let is_meant = |entry: &L4MatchAttributes| is_for(*entry.port, &entry.gateways, item, server);
            if rule.r#match.is_empty() || rule.r#match.iter().any(is_meant) {
                serving.build.diagnostics.extend(rule.r#match.iter().filter_map(|entry| ignored(item, entry)));
                let id = format!("{}/{}/tcp[{index}]", item.namespace(), item.name());
                let route = serving.build.tcp_route(id, (item, rule.position), &rule.route, server.port);
                return Some(serving.build.tcp_proxy(format!("tcp.{}", server.port), server.port, vec![route]));
            }
        }
    }
    None
}

/// A chain for each match under `tls` that is for the server's port and Gateway. Of two with one server name the first stands.
pub(super) fn passed_through<'a>(
    server: &GatewayServer<'a>,
    serving: &mut Serving<'_, 'a>,
    taken: &mut HashSet<HostPattern>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<FilterChain> {
    let mut chains = Vec::new();
    for item in serving.virtual_services(server) {
        for (rule_index, rule) in item.spec.tls.iter().enumerate() {
            for (index, entry) in rule.r#match.iter().enumerate() {
                if !is_for(*entry.port, &entry.gateways, item, server) {
                    continue;
                }
                let server_names: Vec<_> = entry.sni_hosts.iter().map(|name| HostPattern::parse(name)).collect();
                if let Some(twice) = server_names.iter().find(|name| taken.contains(name)) {
                    diagnostics.push(findings::tls_route_shadowed(item, entry, twice));
                    continue;
                }
                diagnostics.extend(ignored_of_tls(item, entry));
                taken.extend(server_names.iter().cloned());
                let id = format!("{}/{}/tls[{rule_index}]/match[{index}]", item.namespace(), item.name());
                let route = serving.build.tcp_route(id, (item, entry.position), &rule.route, server.port);
                let names: Vec<String> = server_names.iter().map(ToString::to_string).collect();
                let name = format!("tls.{}.{}", server.port, names.join(","));
                let proxy = serving.build.tcp_proxy(name, server.port, vec![route]);
                let transport = TransportSocket::Raw(NetworkFilter::Tcp(proxy));
                let origin = item.origin(entry.position);
                chains.push(FilterChain { server_names, destination_subnets: Vec::new(), transport, origin });
            }
        }
    }
    chains
}

/// A chain for each cluster of services that the server's hosts name, by the server name under which other gateways of the
/// mesh ask for it: `outbound_.9080_.v1_.reviews.default.svc.cluster.local`.
pub(super) fn automatic<'a>(
    server: &GatewayServer<'a>,
    serving: &mut Serving<'_, 'a>,
    taken: &mut HashSet<HostPattern>,
) -> Vec<FilterChain> {
    let hosts: Vec<HostPattern> = gateway::server_hosts(server).map(|host| host.pattern).collect();
    let build = &mut *serving.build;
    let mut chains = Vec::new();
    for host in services::hosts(build.resources) {
        let Some(service) = services::find(build.resources, &host, build.proxy, None) else { continue };
        let pattern = HostPattern::from_lower(host.clone());
        if service.is_external() || !hosts.iter().any(|wanted| pattern.is_within(wanted)) {
            continue;
        }
        let ports = services::ports(build.resources, &host, service);
        for port in ports.iter().filter(|port| !port.datagram) {
            let subsets: Vec<_> = build.clusters.subset_names(&host, service.namespace());
            for subset in std::iter::once("".into()).chain(subsets) {
                let name =
                    ClusterName { host: host.clone(), port: port.number, subset, direction: Direction::Outbound };
                chains.extend(automatic_chain(build, server, (port.service, name), taken));
            }
        }
    }
    chains
}

fn automatic_chain<'a>(
    build: &mut Build<'a>,
    server: &GatewayServer<'a>,
    (service, name): (Service<'a>, ClusterName),
    taken: &mut HashSet<HostPattern>,
) -> Option<FilterChain> {
    let asked = format!("outbound_.{}_.{}_.{}", name.port, name.subset, name.host);
    let server_name = HostPattern::parse(&asked);
    if !taken.insert(server_name.clone()) {
        return None;
    }
    let cluster = build.clusters.target(name);
    let origin = service.origin();
    let route = TcpRoute {
        id: asked.as_str().into(),
        origin: server.origin(),
        destination_subnets: Vec::new(),
        destinations: vec![WeightedCluster { cluster, weight: 1, origin }],
        hashes_source_ip: false,
        tunnel: None,
    };
    let proxy = build.tcp_proxy(format!("tls.{}.{asked}", server.port), server.port, vec![route]);
    let transport = TransportSocket::Raw(NetworkFilter::Tcp(proxy));
    let server_names = vec![server_name];
    Some(FilterChain { server_names, destination_subnets: Vec::new(), transport, origin: server.origin() })
}

/// Whether an entry with this port and these gateways is for `server`.
fn is_for(port: u16, gateways: &[Text], item: Item<'_, VirtualService>, server: &GatewayServer<'_>) -> bool {
    let named = |gateway: &Text| names::gateway(gateway, item.namespace()) == server.name();
    [0, server.port].contains(&port) && (gateways.is_empty() || gateways.iter().any(named))
}

fn ignored(item: Item<'_, VirtualService>, entry: &L4MatchAttributes) -> Option<Diagnostic> {
    let has_subnets = !entry.destination_subnets.is_empty();
    let is_ignored = has_subnets || !entry.source_labels.is_empty() || !entry.source_namespace.is_empty();
    is_ignored.then(|| findings::ignored_at_gateway(&item.origin(entry.position)))
}

fn ignored_of_tls(item: Item<'_, VirtualService>, entry: &TlsMatchAttributes) -> Option<Diagnostic> {
    let has_source = !entry.source_labels.is_empty() || !entry.source_namespace.is_empty();
    let is_ignored = has_source || !entry.destination_subnets.is_empty();
    is_ignored.then(|| findings::ignored_at_gateway(&item.origin(entry.position)))
}

impl<'a> Build<'a> {
    /// A route of connections that takes them all, with destinations written in `item` for a listener of `port`.
    pub(super) fn tcp_route(
        &mut self,
        id: String,
        (item, position): (Item<'a, VirtualService>, crate::origin::Position),
        written: &'a [RouteDestination],
        port: u16,
    ) -> TcpRoute {
        let is_alone = written.len() == 1;
        let weighted = written.iter().filter(|to| *to.weight > 0).count();
        let kept = written.iter().filter(|to| is_alone || weighted == 0 || *to.weight > 0);
        let (mut destinations, mut hashes_source_ip) = (Vec::with_capacity(written.len()), false);
        for to in kept {
            let Some(destination) = &to.destination else { continue };
            let resolved = self.clusters.resolve(destination, item.namespace(), port);
            hashes_source_ip |= resolved.hash == Some(HashSource::SourceIp);
            let weight = if is_alone { 1 } else { u32::try_from(*to.weight).unwrap_or(0) };
            destinations.push(WeightedCluster { cluster: resolved.target, weight, origin: item.origin(to.position) });
        }
        let origin = item.origin(position);
        let tunnel = self.tunnel(written, item.namespace());
        TcpRoute { id: id.into(), origin, destination_subnets: Vec::new(), destinations, hashes_source_ip, tunnel }
    }
}
