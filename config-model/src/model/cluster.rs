//! Clusters: a service's port, or the part of it that a subset's labels select.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::cluster_policy::UNSET;
use super::{Balancing, ClusterPolicy, LocalityPolicy, UpstreamTls};
use crate::name::Labels;
use crate::origin::Origin;

/// Index into [`super::Model::clusters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ClusterIndex(pub u32);

/// Which way traffic of a cluster flows, seen from the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Away from the proxy's own workload.
    Outbound,
    /// To the proxy's own workload.
    Inbound,
    /// Wherever the client wanted to go: `PassthroughCluster`, the only cluster of this kind.
    Passthrough,
    /// Nowhere: `BlackHoleCluster`, the only cluster of this kind.
    BlackHole,
}

impl ClusterName {
    /// `PassthroughCluster`: unknown traffic goes where the client wanted it to go.
    pub fn passthrough() -> Self {
        Self { host: "PassthroughCluster".into(), port: 0, subset: "".into(), direction: Direction::Passthrough }
    }

    /// `BlackHoleCluster`: unknown traffic ends here.
    pub fn black_hole() -> Self {
        Self { host: "BlackHoleCluster".into(), port: 0, subset: "".into(), direction: Direction::BlackHole }
    }
}

/// `outbound|9080|v1|reviews.default.svc.cluster.local`: a cluster's stable key, under which pools, ejections and counters
/// outlive a change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName {
    /// The service's host, in lower case.
    pub host: Arc<str>,
    /// The service's port number.
    pub port: u16,
    /// Empty for the whole service.
    pub subset: Arc<str>,
    /// Outbound for all that a gateway does.
    pub direction: Direction,
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
            Direction::Passthrough | Direction::BlackHole => return f.write_str(&self.host),
        };
        write!(f, "{direction}|{}|{}|{}", self.port, self.subset, self.host)
    }
}

impl Serialize for ClusterName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a destination resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ClusterTarget {
    /// A cluster that exists, perhaps without endpoints.
    Known(ClusterIndex),
    /// No service, port or subset of that name: 503, flag NC.
    Missing(ClusterName),
}

/// A service's port or a subset of it, without its endpoints. Envoy: `Cluster`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cluster {
    /// The key.
    pub name: ClusterName,
    /// The name of a Service, the host of a ServiceEntry: metric label `destination_service_name`.
    pub service_name: Arc<str>,
    /// Its namespace: metric label `destination_service_namespace`.
    pub service_namespace: Arc<str>,
    /// Name of the service's port, which picks the port of an endpoint.
    pub port_name: Arc<str>,
    /// Labels that an endpoint must have; empty for the whole service.
    pub subset_labels: Labels,
    /// The node that an endpoint must be on; any if absent. Source: Service, `internalTrafficPolicy: Local`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// How an endpoint is chosen.
    pub balancing: Balancing,
    /// What its endpoints are spoken to in.
    pub protocol: BackEndProtocol,
    /// Source: `connectionPool.tcp.connectTimeout`, else MeshConfig `connectTimeout`, else 5 s.
    pub connect_timeout: Duration,
    /// What else was set; see [`Cluster::policy`]. Clusters to which the same settings apply share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<ClusterPolicy>>,
    /// TLS towards its endpoints; plain text if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Arc<UpstreamTls>>,
    /// What connections begin with that tells the endpoint who the client is. Envoy: `ProxyProtocolUpstreamTransport`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocolVersion>,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// The port that is connected to at the address that the client wanted, if it is another one. Source: `targetPort` of a
    /// ServiceEntry without resolution. Envoy: `upstream_port_override`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_override: Option<u16>,
    /// The service, then the DestinationRule and subset that hold for it.
    pub origins: Vec<Origin>,
}

impl Cluster {
    /// The policy, that of nothing being set if nothing is.
    pub fn policy(&self) -> &ClusterPolicy {
        self.policy.as_deref().unwrap_or(&UNSET)
    }

    /// Whether its endpoints, or what is known of them, depend on those of one of `hosts`.
    pub fn depends_on(&self, hosts: &BTreeSet<Arc<str>>) -> bool {
        let proxies = self.policy().locality.as_ref().and_then(LocalityPolicy::proxies);
        hosts.contains(&self.name.host) || proxies.is_some_and(|service| hosts.contains(&service.host))
    }
}

/// A header of the PROXY protocol. Source: `trafficPolicy.proxyProtocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ProxyProtocolVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Which version of HTTP endpoints are spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum BackEndProtocol {
    /// HTTP/1.1
    #[serde(rename = "HTTP/1.1")]
    Http1,
    /// HTTP/2, without asking first: the port's name or `appProtocol` says so, or `h2UpgradePolicy`.
    #[serde(rename = "HTTP/2")]
    Http2,
    /// That of the client: `useClientProtocol`.
    #[serde(rename = "CLIENT")]
    Clients,
}

impl BackEndProtocol {
    /// Whether that is HTTP/2, for a client of whom that is known.
    pub fn is_http2(self, client_speaks_http2: bool) -> bool {
        match self {
            Self::Http1 => false,
            Self::Http2 => true,
            Self::Clients => client_speaks_http2,
        }
    }
}

/// How the endpoints of a cluster are found. Source: `ServiceEntry.resolution`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Discovery {
    /// Addresses as written.
    Static,
    /// Names of endpoints (or the service's hosts, if it has no endpoints) are looked up; every address is an endpoint.
    Dns,
    /// As `Dns`, but only the first address is used.
    DnsRoundRobin,
    /// The address that the client asked for, also by `loadBalancer.simple: PASSTHROUGH`. Nothing that a gateway could use: it
    /// has no endpoints.
    None,
}
