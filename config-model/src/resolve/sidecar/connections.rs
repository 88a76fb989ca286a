//! Where connections to a service go that are not read as HTTP: by `tls` and `tcp` of the VirtualServices that have the
//! service, else to itself. Source: Istio, `buildSidecarOutboundTLSFilterChainOpts` and `...TCPFilterChainOpts`.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{ClusterName, Direction, HashSource, TcpRoute, WeightedCluster};
use crate::name::{self, HostPattern, Labels};
use crate::origin::Origin;
use crate::resolve::protocol::Protocol;
use crate::resolve::set::Item;
use crate::resolve::{Proxy, gateway, names};
use crate::resource::{Text, VirtualService};

use super::Serving;
use super::hosts::{other_names, port_for};
use super::scope::{Egress, Known};

/// Routes of connections to a service.
pub(super) struct Connections {
    /// By server name.
    pub(super) tls: Vec<(Vec<HostPattern>, TcpRoute)>,
    pub(super) tcp: Vec<TcpRoute>,
    pub(super) origin: Option<Origin>,
}

/// Those of `known` on a port, which is 0 for a Unix socket, at a listener with an address of its own or that of its port;
/// `subnets` tell them from others there.
pub(super) fn of_service<'a>(
    serving: &mut Serving<'a>,
    egress: &Egress<'a>,
    known: &Known<'a>,
    (number, protocol, has_address, subnets): (u16, Protocol, bool, &[IpNet]),
) -> Connections {
    let has = |item: &&Item<'a, VirtualService>| {
        let own = HostPattern::from_lower(known.host.clone());
        gateway::hosts(**item).iter().any(|host| host.matches(&known.host) || *host == own)
    };
    let items: Vec<Item<'a, VirtualService>> = egress.virtual_services.iter().filter(has).copied().collect();
    let mut found = Connections { tls: Vec::new(), tcp: Vec::new(), origin: Some(known.service.origin()) };
    if protocol == Protocol::Tls {
        found.of_tls(serving, &items, number, subnets);
        if found.tls.is_empty() {
            let route = own_route(serving, known, number, subnets);
            // An address of its own tells as much as a name, and its pods have names that nobody lists.
            if !has_address && !known.service.is_headless() {
                let namespace = &serving.build.proxy.namespace;
                let of_alias = |host: &Arc<str>| {
                    let others = other_names(host, namespace).into_iter().map(|name| HostPattern::parse(&name));
                    std::iter::once(HostPattern::from_lower(host.clone())).chain(others).collect::<Vec<_>>()
                };
                let mut names = vec![HostPattern::from_lower(known.host.clone())];
                names.extend(known.aliases.iter().flat_map(of_alias));
                found.tls.push((names, route));
            } else {
                found.tcp.push(route);
            }
        }
        return found;
    }
    if !found.of_tcp(serving, &items, number, subnets) {
        found.tcp.push(own_route(serving, known, number, subnets));
    }
    found
}

/// The route to the service itself.
fn own_route<'a>(serving: &mut Serving<'a>, known: &Known<'a>, number: u16, subnets: &[IpNet]) -> TcpRoute {
    let port = port_for(known.service, number).map_or(number, |port| port.number);
    let name = ClusterName { host: known.host.clone(), port, subset: "".into(), direction: Direction::Outbound };
    let hash = serving.build.clusters.default_hash(known.service, &known.host, port);
    let cluster = serving.build.clusters.target(name);
    let origin = known.service.origin();
    TcpRoute {
        id: format!("{}/{}/port[{port}]", known.service.namespace(), known.service.metric_name(&known.host)).into(),
        origin: origin.clone(),
        destination_subnets: subnets.to_vec(),
        destinations: vec![WeightedCluster { cluster, weight: 1, origin }],
        hashes_source_ip: hash == Some(HashSource::SourceIp),
        tunnel: serving.build.clusters.default_tunnel(known.service, &known.host),
    }
}

impl Connections {
    /// Routes under `tls`; of two matches for the same names and addresses the first stands.
    fn of_tls<'a>(
        &mut self,
        serving: &mut Serving<'a>,
        items: &[Item<'a, VirtualService>],
        number: u16,
        subnets: &[IpNet],
    ) {
        for &item in items {
            for (index, rule) in item.spec.tls.iter().enumerate() {
                for (place, entry) in rule.r#match.iter().enumerate() {
                    let source = (&entry.source_labels, &*entry.source_namespace.value);
                    if !is_for((*entry.port, number), &entry.gateways, source, serving.build.proxy) {
                        continue;
                    }
                    let names: Vec<HostPattern> = entry.sni_hosts.iter().map(|name| HostPattern::parse(name)).collect();
                    let id = format!("{}/{}/tls[{index}]/match[{place}]", item.namespace(), item.name());
                    let mut route = serving.build.tcp_route(id, (item, entry.position), &rule.route, number);
                    let own = if number == 0 { Vec::new() } else { parsed(&entry.destination_subnets) };
                    route.destination_subnets = if own.is_empty() { subnets.to_vec() } else { own };
                    let is_same = |(known, of): &(Vec<HostPattern>, TcpRoute)| {
                        *known == names && of.destination_subnets == route.destination_subnets
                    };
                    if !self.tls.iter().any(is_same) {
                        self.tls.push((names, route));
                    }
                }
            }
        }
    }

    /// Routes under `tcp`. Yields whether one of them takes every connection, so that nothing comes behind it.
    fn of_tcp<'a>(
        &mut self,
        serving: &mut Serving<'a>,
        items: &[Item<'a, VirtualService>],
        number: u16,
        subnets: &[IpNet],
    ) -> bool {
        for &item in items {
            for (index, rule) in item.spec.tcp.iter().enumerate() {
                let is_meant = |entry: &&crate::resource::L4MatchAttributes| {
                    let source = (&entry.source_labels, &*entry.source_namespace.value);
                    is_for((*entry.port, number), &entry.gateways, source, serving.build.proxy)
                };
                let entries: Vec<_> = rule.r#match.iter().filter(is_meant).collect();
                if entries.is_empty() && !rule.r#match.is_empty() {
                    continue;
                }
                // Nobody has wanted an address who came by a Unix socket.
                let takes_all = number == 0
                    || entries.iter().any(|entry| entry.destination_subnets.is_empty())
                    || entries.is_empty();
                let own = entries.iter().flat_map(|entry| parsed(&entry.destination_subnets));
                let own: Vec<IpNet> = if takes_all { subnets.to_vec() } else { own.collect() };
                let id = format!("{}/{}/tcp[{index}]", item.namespace(), item.name());
                let mut route = serving.build.tcp_route(id, (item, rule.position), &rule.route, number);
                route.destination_subnets = own;
                self.tcp.push(route);
                if takes_all {
                    return true;
                }
            }
        }
        false
    }
}

/// Whether an entry is for the mesh, the port and the proxy.
fn is_for((port, number): (u16, u16), gateways: &[Text], (labels, namespace): (&Labels, &str), proxy: &Proxy) -> bool {
    [0, number].contains(&port)
        && (gateways.is_empty() || gateways.iter().any(|gateway| *gateway.value == *names::MESH))
        && name::selects(labels, &proxy.labels)
        && (namespace.is_empty() || *namespace == *proxy.namespace)
}

fn parsed(subnets: &[Text]) -> Vec<IpNet> {
    let parse = |text: &Text| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    subnets.iter().filter_map(parse).map(|net| net.trunc()).collect()
}
