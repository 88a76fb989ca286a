//! What a request is hashed by, for the route that leads to a destination.
//! Source: Istio, which puts `consistentHash` into the route, apart from the cluster: settings of a port are found only if
//! the destination names that port.

use std::sync::Arc;

use crate::model::HashSource;
use crate::resource::{self, ConsistentHashLb, LoadBalancerSettings, TrafficPolicy};

use super::clusters::Clusters;
use super::services::Service;

impl<'a> Clusters<'a> {
    /// What requests to `destination`, written in a resource of `namespace`, are hashed by: the first that there is among the
    /// settings of the subset for the destination's port, of the subset, of the rule for that port, of the rule. Nothing if
    /// the service is unknown or nothing is hashed.
    pub(super) fn hash_source(
        &mut self,
        destination: &'a resource::Destination,
        namespace: &'a str,
    ) -> Option<HashSource> {
        let (host, service) = self.service(&destination.host, namespace);
        let merged = self.rules_for(&host, service?.namespace());
        let port = destination.port.as_ref().map(|port| *port.number);
        let subset = merged.subset(&destination.subset).and_then(|(_, subset)| subset.traffic_policy.as_deref());
        let found = [subset, merged.policy()].into_iter().flatten().find_map(|policy| hash(policy, port));
        found.and_then(source)
    }

    /// What requests to a service itself are hashed by, on its port.
    pub(super) fn default_hash(&mut self, service: Service<'a>, host: &Arc<str>, port: u16) -> Option<HashSource> {
        let merged = self.rules_for(host, service.namespace());
        merged.policy().and_then(|policy| hash(policy, Some(port))).and_then(source)
    }
}

fn hash(policy: &TrafficPolicy, port: Option<u16>) -> Option<&ConsistentHashLb> {
    fn of(settings: Option<&LoadBalancerSettings>) -> Option<&ConsistentHashLb> {
        settings.and_then(|settings| settings.consistent_hash.as_deref())
    }
    let number = |at: &resource::PortTrafficPolicy| at.port.as_ref().map(|at| *at.number);
    let of_port = port.and_then(|port| policy.port_level_settings.iter().find(|at| number(at) == Some(port)));
    of(of_port.and_then(|at| at.load_balancer.as_ref())).or_else(|| of(policy.load_balancer.as_ref()))
}

/// The key that `hash` names. `useSourceIp: false` names none.
fn source(hash: &ConsistentHashLb) -> Option<HashSource> {
    if let Some(name) = &hash.http_header_name {
        return Some(HashSource::Header(name.to_ascii_lowercase().into()));
    }
    if let Some(cookie) = &hash.http_cookie {
        let (name, path) = (Arc::clone(&cookie.name.value), Arc::clone(&cookie.path.value));
        return Some(HashSource::Cookie { name, path, ttl: cookie.ttl.as_ref().map(|ttl| ttl.to_std()) });
    }
    if let Some(name) = &hash.http_query_parameter_name {
        return Some(HashSource::QueryParameter(Arc::clone(&name.value)));
    }
    hash.use_source_ip.as_ref().and_then(|flag| flag.value.then_some(HashSource::SourceIp))
}
