//! Listeners and the virtual hosts behind them.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use super::Route;
use crate::name::HostPattern;
use crate::origin::Origin;

/// Index into [`super::Model::route_configurations`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RouteConfigurationIndex(pub u32);

/// A socket to bind and what is served on it: HTTP/1.1 and HTTP/2 in plain text, told apart by their first bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listener {
    /// Address and port as the Gateway says (a port map of the command line comes later). `0.0.0.0` unless `bind` is set.
    pub address: SocketAddr,
    /// The routes of requests that come in here.
    pub routes: RouteConfigurationIndex,
    /// The Gateway servers that asked for this listener.
    pub origins: Vec<Origin>,
}

/// The virtual hosts that share a listener. Envoy: `RouteConfiguration`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouteConfiguration {
    /// `http.8080`
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
