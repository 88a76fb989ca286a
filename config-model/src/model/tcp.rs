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
