//! Where connections go that are not read as HTTP. Source: VirtualService, `tcp` and `tls`; Envoy: `TcpProxy`, and the part of
//! `FilterChainMatch` that is about addresses.

use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use super::ClusterTarget;
use crate::origin::Origin;

/// Index into [`super::Model::tcp_proxies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct TcpProxyIndex(pub u32);

/// The routes of connections that come in at one place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TcpProxy {
    /// `tcp.7000`, or `tls.443.shop.example`
    pub name: String,
    /// The listener's port, as `match.port` sees it.
    pub port: u16,
    /// The first that matches is taken; a connection that none takes is closed.
    pub routes: Vec<TcpRoute>,
}

/// One route of connections.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TcpRoute {
    /// Stable text identity: `default/mongo/tcp[0]`, `default/shop/tls[1]/match[0]`.
    pub id: Arc<str>,
    /// Where it was written.
    pub origin: Origin,
    /// Addresses that the client asked for, of which one has to hold; any if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destination_subnets: Vec<IpNet>,
    /// At least one; of several none has weight zero unless all have.
    pub destinations: Vec<WeightedCluster>,
    /// Whether a client always comes to the same endpoint, by its address. Source: `consistentHash.useSourceIp`.
    pub hashes_source_ip: bool,
    /// How endpoints are asked to pass the bytes on, if they are proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<Arc<Tunnel>>,
}

/// A request by which an endpoint is asked to pass all that follows on to another place. Source: `trafficPolicy.tunnel`; Envoy:
/// `TunnelingConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tunnel {
    /// The method.
    pub method: TunnelMethod,
    /// Where the tunnel ends: `shop.example:443`, `[2001:db8::7]:443`.
    pub target: Arc<str>,
}

/// How a tunnel is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TunnelMethod {
    /// As RFC 9110 has it, 9.3.6.
    Connect,
    /// As the bodies of a POST and of its answer.
    Post,
}

impl TunnelMethod {
    /// As it goes out.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Post => "POST",
        }
    }
}

/// A destination and its share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightedCluster {
    /// The cluster, or the name of one that does not exist: connections that fall on it are closed.
    pub cluster: ClusterTarget,
    /// Share = weight / sum. 1 for a single destination.
    pub weight: u32,
    /// The entry under `route`.
    pub origin: Origin,
}
