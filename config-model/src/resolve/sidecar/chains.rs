//! The filter chains of a listener, which Envoy picks by the address that the client wanted, then by the server name, then by
//! whether it is TLS or HTTP, each without a way back: whatever the chains of the narrowest subnet don't take goes to the one
//! for everything. Source: Envoy, `FilterChainMatch`; Istio, `buildListenerFromEntry`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::model::{
    Detection, FilterChain, FilterChains, ListenerAddress, NetworkFilter, RouteConfigurationIndex, TcpProxyIndex,
    TcpRoute, TransportSocket,
};
use crate::name::HostPattern;

use super::Serving;

/// Those of the listener at `address`. `tls` are routes by server name, `tcp` those that no name counts for; `http` is read
/// where neither of them names the address.
pub(super) fn filter_chains(
    serving: &mut Serving<'_>,
    address: &ListenerAddress,
    (tls, mut tcp): (Vec<(Vec<HostPattern>, TcpRoute)>, Vec<TcpRoute>),
    http: Option<RouteConfigurationIndex>,
    is_http_expected: bool,
) -> FilterChains {
    let of_tls: BTreeSet<IpNet> = tls.iter().flat_map(|(_, route)| route.destination_subnets.iter().copied()).collect();
    let of_tcp: BTreeSet<IpNet> = tcp.iter().flat_map(|route| route.destination_subnets.iter().copied()).collect();
    if tcp.iter().all(|route| !route.destination_subnets.is_empty()) {
        tcp.push(serving.unknown_route());
    }
    let place = match address {
        ListenerAddress::Ip(address) => format!("{}.{}", address.port(), address.ip()),
        ListenerAddress::Unix(_) | ListenerAddress::Pods { .. } => address.to_string(),
    };
    let other = serving.build.tcp_proxy(format!("tcp.{place}"), address.port(), in_order(tcp, &of_tls));
    if http.is_none() && tls.is_empty() {
        return FilterChains::PlainText(NetworkFilter::Tcp(other));
    }
    let mut chains: Vec<FilterChain> = Vec::with_capacity(tls.len());
    for (names, route) in tls {
        chains.push(chain(serving, address.port(), names, route));
    }
    // TLS to an address that only a route without names has is not for a wider subnet's names.
    if let (Some(first), false) = (chains.first(), of_tcp.is_subset(&of_tls)) {
        let origin = first.origin.clone();
        chains.push(FilterChain {
            server_names: vec![HostPattern::Any],
            destination_subnets: of_tcp.difference(&of_tls).copied().collect(),
            transport: raw(other),
            origin,
        });
    }
    let unread = if http.is_some() { of_tls.union(&of_tcp).copied().collect() } else { Vec::new() };
    FilterChains::Detected(Detection { tls: chains, http, unread, other, is_http_expected })
}

fn raw(proxy: TcpProxyIndex) -> TransportSocket {
    TransportSocket::Raw(NetworkFilter::Tcp(proxy))
}

fn chain(serving: &mut Serving<'_>, port: u16, server_names: Vec<HostPattern>, route: TcpRoute) -> FilterChain {
    let names: Vec<String> = server_names.iter().map(ToString::to_string).collect();
    let (origin, destination_subnets) = (route.origin.clone(), route.destination_subnets.clone());
    let proxy = serving.build.tcp_proxy(format!("tls.{port}.{}", names.join(",")), port, vec![route]);
    FilterChain { server_names, destination_subnets, transport: raw(proxy), origin }
}

/// Routes such that the first that takes an address is the one with the narrowest subnet; the last takes all. What is not TLS, and
/// goes to addresses `of_tls` that no route here has, is for that last one.
fn in_order(routes: Vec<TcpRoute>, of_tls: &BTreeSet<IpNet>) -> Vec<TcpRoute> {
    let (of_all, of_some): (Vec<_>, Vec<_>) =
        routes.into_iter().partition(|route| route.destination_subnets.is_empty());
    let known: BTreeSet<IpNet> = of_some.iter().flat_map(|route| route.destination_subnets.iter().copied()).collect();
    let mut by_width: BTreeMap<Reverse<u8>, Vec<TcpRoute>> = BTreeMap::new();
    for route in of_some {
        let mut widths: BTreeMap<u8, Vec<IpNet>> = BTreeMap::new();
        route
            .destination_subnets
            .iter()
            .for_each(|subnet| widths.entry(subnet.prefix_len()).or_default().push(*subnet));
        for (width, destination_subnets) in widths {
            by_width.entry(Reverse(width)).or_default().push(TcpRoute { destination_subnets, ..route.clone() });
        }
    }
    let last = of_all.into_iter().next();
    for subnet in of_tls.difference(&known).filter(|subnet| known.iter().any(|wide| wide.contains(*subnet))) {
        let part = last.iter().map(|last| TcpRoute { destination_subnets: vec![*subnet], ..last.clone() });
        by_width.entry(Reverse(subnet.prefix_len())).or_default().extend(part);
    }
    by_width.into_values().flatten().chain(last).collect()
}
