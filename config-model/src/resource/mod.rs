//! Resources as they were written, with Istio's and Kubernetes' own field names; every value knows its place. What is
//! absent is empty, as in protobuf; nothing is filled in here.

mod destination_rule;
mod envelope;
mod extension_provider;
mod gateway;
mod kubernetes;
mod mesh_config;
mod metadata;
mod service_entry;
mod sidecar;
mod telemetry;
mod virtual_service;

use std::sync::Arc;

use serde::Serialize;

pub use destination_rule::*;
pub use envelope::read;
pub use extension_provider::*;
pub use gateway::*;
pub use kubernetes::*;
pub use mesh_config::{
    AccessLogEncoding, DefaultTrafficPolicy, ForwardClientCertDetails, HeaderSwitch, HeaderWish, InterceptionMode,
    MeshConfig, MeshH2UpgradePolicy, MeshOutboundTrafficPolicy, MeshOutboundTrafficPolicyMode, NormalizationType,
    ProxyHeaders, ProxyPathNormalization, ServerHeader, read_mesh_config,
};
pub use metadata::{Metadata, OwnerReference};
pub use service_entry::*;
pub use sidecar::*;
pub use telemetry::*;
pub use virtual_service::*;

use crate::decode::object;
pub use crate::decode::{Bytes, Duration, Located, Map, Text, Timestamp};
use crate::name::Labels;
use crate::origin::{Origin, Position, ResourceId};

/// A resource of one of the kinds that a proxy reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// What it is called and where it is from.
    pub id: Arc<ResourceId>,
    /// Name, labels and the like.
    pub metadata: Metadata,
    /// Its place among the resources of its file, from 0.
    pub ordinal: u32,
    /// What it says.
    pub spec: Spec,
    /// Whether its `status` lets it be used: false for a WorkloadEntry whose health is checked, and isn't known to be good.
    pub is_healthy: bool,
}

impl Resource {
    /// A place in this resource.
    pub fn origin(&self, position: Position) -> Origin {
        Origin { resource: Arc::clone(&self.id), position }
    }
}

/// What a resource says, by kind. The large ones are boxed, so that thousands of VirtualServices don't pay for them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each holds the type of its name")]
pub enum Spec {
    Gateway(Gateway),
    VirtualService(VirtualService),
    DestinationRule(DestinationRule),
    ServiceEntry(Box<ServiceEntry>),
    WorkloadEntry(WorkloadEntry),
    Sidecar(Box<Sidecar>),
    Telemetry(Box<Telemetry>),
    Service(Box<Service>),
    Endpoints(Endpoints),
    EndpointSlice(EndpointSlice),
    Pod(Box<Pod>),
    /// Of which only labels and annotations count.
    Namespace,
    Secret(Secret),
    ConfigMap(ConfigMap),
    /// From the ConfigMap `istio`; the ConfigMap itself is not listed then.
    MeshConfig(Box<MeshConfig>),
}

object! {
    /// A port, by number.
    PortSelector {
        /// 1 to 65535.
        number: Located<u16> = "number",
    }
}

object! {
    /// A share in percent.
    Percent {
        /// 0 to 100.
        value: Located<f64> = "value",
    }
}

object! {
    /// Labels to match.
    LabelSelector {
        /// All of them.
        match_labels: Labels = "matchLabels",
    }
}

object! {
    /// Workloads by their labels, in the same namespace.
    WorkloadSelector {
        /// All of them.
        labels: Labels = "labels",
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use super::*;

    #[test]
    fn what_thousands_of_routes_are_made_of_stays_small() {
        for (what, size, most) in [
            ("Text", size_of::<Text>(), 24),
            ("Map", size_of::<Map<StringMatch>>(), 8),
            ("StringMatch", size_of::<Option<StringMatch>>(), 32),
            ("HttpMatchRequest", size_of::<HttpMatchRequest>(), 320),
            ("HttpRoute", size_of::<HttpRoute>(), 256),
            ("HttpRouteDestination", size_of::<HttpRouteDestination>(), 112),
            ("Spec", size_of::<Spec>(), 160),
            ("Resource", size_of::<Resource>(), 368),
        ] {
            assert!(size <= most, "{what} has {size} bytes, at most {most} are wanted");
        }
    }
}
