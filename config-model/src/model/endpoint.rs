//! Endpoints: addresses that answer for a cluster.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Where to connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndpointAddress {
    /// An address and port.
    Ip(SocketAddr),
    /// A name that has to be looked up.
    Dns {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A Unix socket: `unix:///path`.
    Unix(Arc<str>),
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Dns { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

impl Serialize for EndpointAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What Kubernetes says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// Takes traffic.
    Ready,
    /// Terminating but still serving, or not ready: gets nothing.
    NotReady,
}

/// `region/zone/subzone`, each part perhaps empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Subzone.
    pub subzone: Arc<str>,
}

/// The workload behind an endpoint, as Istio's metric labels name it; `unknown` where nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Workload {
    /// `destination_workload`: owner of the pod (Deployment by its pod-template-hash), or the WorkloadEntry's name.
    pub name: Arc<str>,
    /// `destination_workload_namespace`
    pub namespace: Arc<str>,
    /// `destination_app`: label `app`.
    pub app: Arc<str>,
    /// `destination_version`: label `version`.
    pub version: Arc<str>,
    /// `destination_canonical_service`: label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, `app`, workload.
    pub canonical_service: Arc<str>,
    /// `destination_canonical_revision`: label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`,
    /// `version`, `latest`.
    pub canonical_revision: Arc<str>,
    /// `destination_principal`: from the service account.
    pub principal: Arc<str>,
    /// `destination_cluster`: label `topology.istio.io/cluster`, else `Kubernetes`.
    pub cluster: Arc<str>,
}

impl Workload {
    /// One of which all is `text`, as where nothing is known.
    pub fn all(text: &Arc<str>) -> Self {
        let text = || Arc::clone(text);
        Self {
            name: text(),
            namespace: text(),
            app: text(),
            version: text(),
            canonical_service: text(),
            canonical_revision: text(),
            principal: text(),
            cluster: text(),
        }
    }
}

/// One endpoint of one cluster, its port resolved. Envoy: `LbEndpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Where to connect.
    pub address: EndpointAddress,
    /// At least 1.
    pub weight: u32,
    /// Whether it takes traffic.
    pub health: Health,
    /// 0 is used first, the next number when too few of the earlier ones are healthy. Numbers of ready endpoints have no
    /// gaps. All are 0 unless the cluster's policy is [`super::LocalityPolicy::Failover`] or
    /// [`super::LocalityPolicy::ZoneAware`].
    #[serde(skip_serializing_if = "is_first")]
    pub priority: u8,
    /// Millionths of its priority's traffic that go to this endpoint's locality, all its endpoints together. Only with
    /// [`super::LocalityPolicy::Distribute`], and where [`super::Failover::weighs_localities`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locality_share: Option<NonZeroU32>,
    /// Ten-thousandths of the proxies of the proxy's own service that are in this endpoint's locality. Only with
    /// [`super::LocalityPolicy::ZoneAware`], and in the first priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxies: Option<u16>,
    /// Where it is.
    pub locality: Locality,
    /// Who it is. Shared by the endpoints of a workload.
    pub workload: Arc<Workload>,
}

/// Endpoints that mostly change together, as those of one EndpointSlice: in the next answer of
/// [`crate::resolve::EndpointIndex::lists`] a list that did not change is the very same object.
pub type EndpointList = Arc<[Arc<Endpoint>]>;

fn is_first(priority: &u8) -> bool {
    *priority == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_small() {
        // Tens of thousands of them are held at once, twice over while a change is under way.
        assert!(size_of::<Endpoint>() <= 104, "{}", size_of::<Endpoint>());
    }
}
