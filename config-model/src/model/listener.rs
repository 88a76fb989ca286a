//! Listeners, their filter chains, and the virtual hosts behind them.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use super::{DownstreamTls, ListenerAddress, Route, TcpProxyIndex};
use crate::name::HostPattern;
use crate::origin::Origin;

/// Index into [`super::Model::route_configurations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteConfigurationIndex(pub u32);

/// A socket to bind and what is served on it. Envoy: `Listener`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listener {
    /// As the Gateway says (a port map of the command line comes later). `0.0.0.0` unless `bind` is set.
    pub address: ListenerAddress,
    /// How connections get here.
    pub binding: Binding,
    /// Whether they begin with a header of the PROXY protocol, of either version. Source: MeshConfig,
    /// `defaultConfig.gatewayTopology.proxyProtocol`; Envoy: the listener filter `proxy_protocol`.
    pub has_proxy_header: bool,
    /// How its connections are taken.
    pub chains: FilterChains,
    /// The Gateway servers, or the entries of a Sidecar and the services, that asked for this listener.
    pub origins: Vec<Origin>,
}

/// How connections get to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Binding {
    /// A socket is bound for it.
    Bound,
    /// A socket is bound, and what was redirected to it goes to the listener of the address that the client wanted, if there
    /// is one. Envoy: `use_original_dst`.
    Redirected,
    /// The same, and what comes keeps its addresses: the client's wish is the connection's own. Envoy: `transparent`.
    Transparent,
    /// By [`Binding::Redirected`] or [`Binding::Transparent`] only. `0.0.0.0` stands for every address of the port. Envoy:
    /// `bind_to_port: false`.
    Unbound,
}

/// What becomes of the connections of a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum FilterChains {
    /// They are plain text, and all alike.
    PlainText(NetworkFilter),
    /// They begin with a TLS ClientHello, whose server name picks the chain. Where none fits, the handshake is refused.
    /// Envoy: the listener filter `tls_inspector`.
    Tls(Vec<FilterChain>),
    /// They may be TLS, HTTP or neither, which their first bytes tell. Envoy: the listener filters `tls_inspector` and
    /// `http_inspector`.
    Detected(Detection),
}

/// What becomes of connections that are told apart by their first bytes. Where it is the server that speaks first, its bytes
/// tell as much.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// For those that begin with a TLS ClientHello, by the address that the client wanted, then by its server name.
    pub tls: Vec<FilterChain>,
    /// For HTTP in plain text.
    pub http: Option<RouteConfigurationIndex>,
    /// Addresses that a chain of `tls` or a route of `other` names: nothing that goes there is read as HTTP, since Envoy looks at
    /// the address before it looks at the protocol.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<IpNet>,
    /// For all others. Envoy: `default_filter_chain`.
    pub other: TcpProxyIndex,
    /// Whether a protocol was named for the port, so that a server that speaks first is not expected.
    pub is_http_expected: bool,
}

/// What becomes of the connections with certain server names. Envoy: `FilterChain`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FilterChain {
    /// Server names that it takes, at least one; of two chains with one name and one subnet the first stands. `*` takes
    /// connections without a server name, too.
    pub server_names: Vec<HostPattern>,
    /// Addresses that the client wanted, of which one has to hold; any if empty. The narrowest that holds decides before server
    /// names are looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_subnets: Vec<IpNet>,
    /// What is done with the bytes.
    pub transport: TransportSocket,
    /// The Gateway server.
    pub origin: Origin,
}

/// Who ends TLS. Envoy: `TransportSocket`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum TransportSocket {
    /// We do, and what was in it goes to the filter.
    Tls {
        /// Certificates and rules of the handshake.
        context: Arc<DownstreamTls>,
        /// What is in it.
        filter: NetworkFilter,
    },
    /// Whoever is behind the filter: the bytes go on as they are. Envoy: no transport socket.
    Raw(NetworkFilter),
}

/// What is made of the bytes of a connection. Envoy: the filters of a `FilterChain`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum NetworkFilter {
    /// HTTP/1.1 or HTTP/2: told by ALPN, else by the first bytes. Envoy: `HttpConnectionManager`.
    Http(RouteConfigurationIndex),
    /// Any bytes. Envoy: `TcpProxy`.
    Tcp(TcpProxyIndex),
}

impl Listener {
    /// The route configurations that its connections may come to, in order.
    pub fn route_configurations(&self) -> impl Iterator<Item = RouteConfigurationIndex> {
        let detected = if let FilterChains::Detected(detection) = &self.chains { detection.http } else { None };
        self.filters().filter_map(NetworkFilter::routes).chain(detected)
    }

    /// The TCP proxies that its connections may come to, in order.
    pub fn tcp_proxies(&self) -> impl Iterator<Item = TcpProxyIndex> {
        let detected = if let FilterChains::Detected(detection) = &self.chains { Some(detection.other) } else { None };
        self.filters().filter_map(NetworkFilter::tcp).chain(detected)
    }

    fn filters(&self) -> impl Iterator<Item = &NetworkFilter> {
        let (plain, chains) = match &self.chains {
            FilterChains::PlainText(filter) => (Some(filter), &[][..]),
            FilterChains::Tls(chains) => (None, &chains[..]),
            FilterChains::Detected(detection) => (None, &detection.tls[..]),
        };
        plain.into_iter().chain(chains.iter().map(FilterChain::filter))
    }

    /// The routes of HTTP requests that come in here on a connection for `server_name`, in lower case.
    pub fn routes_for(&self, server_name: Option<&str>) -> Option<RouteConfigurationIndex> {
        match &self.chains {
            FilterChains::PlainText(filter) => filter.routes(),
            FilterChains::Tls(chains) => chain_for(chains, None, server_name)?.filter().routes(),
            FilterChains::Detected(detection) => detection.http,
        }
    }

    /// What becomes of the bytes of a connection to `wanted` that begins with a TLS ClientHello for `server_name`, in lower case;
    /// or of one that is neither TLS nor HTTP, if no name is given and the listener takes such.
    pub fn tcp_for(&self, wanted: IpAddr, server_name: Option<&str>) -> Option<TcpProxyIndex> {
        match &self.chains {
            FilterChains::PlainText(filter) => filter.tcp(),
            FilterChains::Tls(chains) => chain_for(chains, Some(wanted), server_name)?.filter().tcp(),
            FilterChains::Detected(detection) => {
                let named = server_name.and_then(|name| chain_for(&detection.tls, Some(wanted), Some(name)));
                named.map_or(Some(detection.other), |chain| chain.filter().tcp())
            }
        }
    }

    /// Whether its connections are TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.chains, FilterChains::Tls(_))
    }

    /// Whether a socket is bound for it.
    pub fn is_bound(&self) -> bool {
        self.binding != Binding::Unbound
    }
}

impl FilterChain {
    /// What is made of the bytes: of those that were in TLS, if it is us who end it.
    pub fn filter(&self) -> &NetworkFilter {
        match &self.transport {
            TransportSocket::Tls { filter, .. } | TransportSocket::Raw(filter) => filter,
        }
    }
}

impl NetworkFilter {
    /// The routes, if it is HTTP.
    pub fn routes(&self) -> Option<RouteConfigurationIndex> {
        if let Self::Http(routes) = self { Some(*routes) } else { None }
    }

    /// Where its connections go, if it isn't HTTP.
    pub fn tcp(&self) -> Option<TcpProxyIndex> {
        if let Self::Tcp(proxy) = self { Some(*proxy) } else { None }
    }
}

/// The chain for a connection to `wanted` for `server_name`. Of the chains with the narrowest subnet that has the address, else
/// of those without subnets: the one of the exact name, else of the longest wildcard, else of `*`.
/// Source: Envoy, `FilterChainMatch`, whose criteria are looked at in order and without a way back.
pub fn chain_for<'c>(
    chains: &'c [FilterChain],
    wanted: Option<IpAddr>,
    server_name: Option<&str>,
) -> Option<&'c FilterChain> {
    let width = |chain: &FilterChain| narrowest(&chain.destination_subnets, wanted?);
    let narrowest = chains.iter().filter_map(width).max();
    let is_near = |chain: &&FilterChain| match narrowest {
        Some(_) => width(chain) == narrowest,
        None => chain.destination_subnets.is_empty(),
    };
    let rank = |pattern: &HostPattern| match (pattern, server_name) {
        (HostPattern::Any, _) => Some(0),
        (HostPattern::Exact(_), Some(name)) => pattern.matches(name).then_some(usize::MAX),
        (HostPattern::Suffix(suffix), Some(name)) => pattern.matches(name).then_some(suffix.len()),
        (_, None) => None,
    };
    let near = chains.iter().rev().filter(is_near);
    let ranked = near.filter_map(|chain| Some((chain.server_names.iter().filter_map(rank).max()?, chain)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, chain)| chain)
}

/// Bits of the narrowest of `subnets` that has `address`.
fn narrowest(subnets: &[IpNet], address: IpAddr) -> Option<u8> {
    let address = address.to_canonical();
    subnets.iter().filter(|subnet| subnet.contains(&address)).map(IpNet::prefix_len).max()
}

/// The virtual hosts that share a listener, or a filter chain of one. Envoy: `RouteConfiguration`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteConfiguration {
    /// `http.8080`, or `https.443.PORT-NAME.GATEWAY.NAMESPACE`
    pub name: String,
    /// The port that `match.port` and redirects see: the Gateway's, not a mapped one.
    pub port: u16,
    /// No host pattern appears twice.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Whether the port in a request's Host counts: the listener is an HTTP proxy or on a Unix socket, where services of any port
    /// are asked for.
    /// Envoy: not `ignore_port_in_host_matching`.
    pub compares_ports: bool,
}

/// A set of host names and the routes that are tried for them, in order. Envoy: `VirtualHost`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VirtualHost {
    /// `shop.example:8080`
    pub name: String,
    /// The hosts, at least one.
    pub domains: Vec<HostPattern>,
    /// First match wins. Shared where one VirtualService serves several hosts or ports.
    pub routes: Arc<[Arc<Route>]>,
    /// Every request is answered 301 to the https form of its URL, before any route. Source: `tls.httpsRedirect`.
    pub https_redirect: bool,
    /// VirtualServices, or the Gateway server for a host that only redirects.
    pub origins: Vec<Origin>,
}
