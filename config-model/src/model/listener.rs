//! Listeners, their filter chains, and the virtual hosts behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::{DownstreamTls, Route};
use crate::name::HostPattern;
use crate::origin::Origin;

/// Index into [`super::Model::route_configurations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteConfigurationIndex(pub u32);

/// A socket to bind and what is served on it. Envoy: `Listener`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listener {
    /// Address and port as the Gateway says (a port map of the command line comes later). `0.0.0.0` unless `bind` is set.
    pub address: SocketAddr,
    /// How its connections are taken.
    pub chains: FilterChains,
    /// The Gateway servers that asked for this listener.
    pub origins: Vec<Origin>,
}

/// What becomes of the connections of a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum FilterChains {
    /// They are plain text, and all alike.
    PlainText(NetworkFilter),
    /// They begin with a TLS ClientHello, whose server name picks the chain. Where none fits, the handshake is refused.
    /// Envoy: the listener filter `tls_inspector`.
    Tls(Vec<FilterChain>),
}

/// What becomes of the connections with certain server names. Envoy: `FilterChain`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FilterChain {
    /// Server names that it takes, at least one; no other chain of the listener has the same. `*` takes connections without
    /// a server name, too.
    pub server_names: Vec<HostPattern>,
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
}

/// What is made of the bytes of a connection. Envoy: the filters of a `FilterChain`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum NetworkFilter {
    /// HTTP/1.1 or HTTP/2: told by ALPN, else by the first bytes. Envoy: `HttpConnectionManager`.
    Http(RouteConfigurationIndex),
}

impl Listener {
    /// The route configurations that its connections may come to, in order.
    pub fn route_configurations(&self) -> impl Iterator<Item = RouteConfigurationIndex> {
        let (plain, chains) = match &self.chains {
            FilterChains::PlainText(filter) => (Some(filter), &[][..]),
            FilterChains::Tls(chains) => (None, &chains[..]),
        };
        plain.into_iter().chain(chains.iter().filter_map(FilterChain::filter)).filter_map(NetworkFilter::routes)
    }

    /// The routes of HTTP requests that come in here on a connection for `server_name`, in lower case.
    pub fn routes_for(&self, server_name: Option<&str>) -> Option<RouteConfigurationIndex> {
        match &self.chains {
            FilterChains::PlainText(filter) => filter.routes(),
            FilterChains::Tls(chains) => chain_for(chains, server_name)?.filter()?.routes(),
        }
    }

    /// Whether its connections are TLS.
    pub fn is_tls(&self) -> bool {
        matches!(self.chains, FilterChains::Tls(_))
    }
}

impl FilterChain {
    /// What is made of the bytes that were in TLS; nothing if it isn't us who end it.
    pub fn filter(&self) -> Option<&NetworkFilter> {
        let TransportSocket::Tls { filter, .. } = &self.transport;
        Some(filter)
    }
}

impl NetworkFilter {
    /// The routes, if it is HTTP.
    pub fn routes(&self) -> Option<RouteConfigurationIndex> {
        let Self::Http(routes) = self;
        Some(*routes)
    }
}

/// The chain for `server_name`: of an exact name, else of the longest wildcard, else of `*`.
fn chain_for<'c>(chains: &'c [FilterChain], server_name: Option<&str>) -> Option<&'c FilterChain> {
    let rank = |pattern: &HostPattern| match (pattern, server_name) {
        (HostPattern::Any, _) => Some(0),
        (HostPattern::Exact(_), Some(name)) => pattern.matches(name).then_some(usize::MAX),
        (HostPattern::Suffix(suffix), Some(name)) => pattern.matches(name).then_some(suffix.len()),
        (_, None) => None,
    };
    let ranked = chains.iter().filter_map(|chain| Some((chain.server_names.iter().filter_map(rank).max()?, chain)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, chain)| chain)
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
