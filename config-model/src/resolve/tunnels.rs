//! Tunnels through HTTP, for routes of connections.
//! Source: Istio, which puts `tunnel` into the route, apart from the cluster (`tunnelingconfig.Apply`): a subset has its own or none,
//! whatever its rule has, and of several destinations the first one's rule counts, without its subset.

use std::sync::Arc;

use crate::model::{Tunnel, TunnelMethod};
use crate::resource::{RouteDestination, TrafficPolicy, TunnelSettings};

use super::build::Build;
use super::clusters::Clusters;
use super::services::Service;

impl<'a> Build<'a> {
    /// That of a route to `written`, in a resource of `namespace`.
    pub(super) fn tunnel(&mut self, written: &'a [RouteDestination], namespace: &str) -> Option<Arc<Tunnel>> {
        let first = written.first()?.destination.as_ref()?;
        let (host, service) = self.clusters.service(&first.host, namespace);
        let merged = self.clusters.rules_for(&host, service?.namespace());
        let subset = if written.len() == 1 { &*first.subset.value } else { "" };
        let policy = match subset {
            "" => merged.policy(),
            subset => merged.subset(subset).and_then(|(_, subset)| subset.traffic_policy.as_deref()),
        };
        policy.and_then(tunnel)
    }
}

impl<'a> Clusters<'a> {
    /// That of the route to a service itself.
    pub(super) fn default_tunnel(&mut self, service: Service<'a>, host: &Arc<str>) -> Option<Arc<Tunnel>> {
        self.rules_for(host, service.namespace()).policy().and_then(tunnel)
    }
}

fn tunnel(policy: &TrafficPolicy) -> Option<Arc<Tunnel>> {
    let TunnelSettings { protocol, target_host, target_port, .. } = policy.tunnel.as_ref()?;
    let method = if *protocol.value == *"POST" { TunnelMethod::Post } else { TunnelMethod::Connect };
    let host = &*target_host.value;
    let target = match host.contains(':') {
        true => format!("[{host}]:{}", target_port.value),
        false => format!("{host}:{}", target_port.value),
    };
    Some(Arc::new(Tunnel { method, target: target.into() }))
}
