//! The clusters that routes lead to: built as destinations are resolved, so that services nobody routes to cost nothing.
//! Source: Istio, `Destination`, `DestinationRule`; a cluster that does not exist is named all the same.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::model::{
    BackEndProtocol, Balancing, Cluster, ClusterIndex, ClusterName, ClusterTarget, Direction, Discovery, HashSource,
    Route, TcpProxy,
};
use crate::name::Labels;
use crate::resource;

use super::destination_rules::{DestinationRules, Merged};
use super::locality;
use super::names;
use super::policies::{Blocks, Policies};
use super::protocol::Protocol;
use super::services::{self, Port, Service};
use super::set::ResourceSet;
use super::{Proxy, Role, upstream_tls};

/// A destination as written, which many routes share.
#[derive(PartialEq, Eq, Hash)]
struct Key<'a> {
    namespace: &'a str,
    host: &'a str,
    subset: &'a str,
    port: Option<u16>,
    listener_port: u16,
}

/// What a destination comes to.
#[derive(Debug, Clone)]
pub(super) struct Resolved {
    pub(super) target: ClusterTarget,
    /// Whether it would be another for requests that came in on another port.
    pub(super) by_port: bool,
    /// What requests to it are hashed by.
    pub(super) hash: Option<HashSource>,
}

/// Clusters by their names, growing while routes are built. Their order is settled by [`Clusters::finish`].
pub(super) struct Clusters<'a> {
    resources: &'a ResourceSet,
    proxy: &'a Proxy,
    rules: DestinationRules<'a>,
    known: HashMap<Key<'a>, Resolved>,
    /// Namespaces of services that a Sidecar chooses from among several of one host.
    imported: HashMap<Arc<str>, &'a str>,
    /// By host and namespace of the service.
    merged: HashMap<(Arc<str>, &'a str), Merged<'a>>,
    policies: Policies<'a>,
    indexes: HashMap<ClusterName, ClusterIndex>,
    clusters: Vec<Cluster>,
}

impl<'a> Clusters<'a> {
    pub(super) fn new(resources: &'a ResourceSet, proxy: &'a Proxy, root_namespace: &'a str) -> Self {
        Self {
            resources,
            proxy,
            rules: DestinationRules::new(resources, proxy, root_namespace),
            known: HashMap::new(),
            imported: HashMap::new(),
            merged: HashMap::new(),
            policies: Policies::new(resources, proxy),
            indexes: HashMap::new(),
            clusters: Vec::new(),
        }
    }

    /// What `destination` means in a resource of `namespace`, for requests that came in on `listener_port`.
    pub(super) fn resolve(
        &mut self,
        destination: &'a resource::Destination,
        namespace: &'a str,
        listener_port: u16,
    ) -> Resolved {
        let key = Key {
            namespace,
            host: &destination.host.value,
            subset: &destination.subset.value,
            port: destination.port.as_ref().map(|port| *port.number),
            listener_port,
        };
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (target, by_port) = self.look_up(&key);
        let resolved = Resolved { target, by_port, hash: self.hash_source(destination, namespace) };
        self.known.insert(key, resolved.clone());
        resolved
    }

    /// Has `host` mean a service of that namespace, whatever others there are, unless it does of another one already.
    pub(super) fn import(&mut self, host: &Arc<str>, namespace: &'a str) {
        self.imported.entry(Arc::clone(host)).or_insert(namespace);
    }

    /// Whether a port that says nothing of its protocol is spoken to in the client's: a gateway speaks HTTP/1.1 to it.
    fn follows_clients(&self, port: Option<&Port<'_>>) -> bool {
        self.proxy.role == Role::Sidecar && port.is_some_and(|port| port.protocol == Protocol::Unknown)
    }

    /// The cluster of that name, of the service that its host means.
    pub(super) fn target(&mut self, name: ClusterName) -> ClusterTarget {
        if let Some(index) = self.indexes.get(&name) {
            return ClusterTarget::Known(*index);
        }
        let service = self.find(&name.host);
        let found = service.and_then(|service| {
            let ports = services::ports(self.resources, &name.host, service);
            self.cluster(service, &name, &ports)
        });
        found.map_or(ClusterTarget::Missing(name), ClusterTarget::Known)
    }

    /// Where unknown traffic goes that is passed on.
    pub(super) fn passthrough(&mut self) -> ClusterTarget {
        self.special(ClusterName::passthrough(), Discovery::None)
    }

    /// Where unknown traffic goes that is refused.
    pub(super) fn black_hole(&mut self) -> ClusterTarget {
        self.special(ClusterName::black_hole(), Discovery::Static)
    }

    fn special(&mut self, name: ClusterName, discovery: Discovery) -> ClusterTarget {
        let cluster = Cluster {
            service_name: Arc::clone(&name.host),
            service_namespace: "unknown".into(),
            port_name: "".into(),
            subset_labels: Labels::new(),
            node: None,
            balancing: Balancing::RoundRobin,
            protocol: BackEndProtocol::Clients,
            connect_timeout: self.policies.connect_timeout(Blocks::default()),
            policy: None,
            tls: None,
            proxy_protocol: None,
            discovery,
            port_override: None,
            origins: Vec::new(),
            name: name.clone(),
        };
        let index = ClusterIndex(u32::try_from(self.clusters.len()).unwrap_or(u32::MAX));
        let known = *self.indexes.entry(name).or_insert(index);
        if known == index {
            self.clusters.push(cluster);
        }
        ClusterTarget::Known(known)
    }

    /// Subsets that DestinationRules define for a host, in order.
    pub(super) fn subset_names(&mut self, host: &Arc<str>, service_namespace: &'a str) -> Vec<Arc<str>> {
        let merged = self.rules_for(host, service_namespace);
        merged.subsets().map(|(_, subset)| Arc::clone(&subset.name.value)).collect()
    }

    fn look_up(&mut self, key: &Key<'a>) -> (ClusterTarget, bool) {
        let (host, service) = self.service(key.host, key.namespace);
        let ports = service.map(|service| services::ports(self.resources, &host, service)).unwrap_or_default();
        let only = if let [only] = ports[..] { Some(only.number) } else { None };
        let by_listener = key.port.is_none() && only.is_none();
        let port = key.port.or(only).unwrap_or(key.listener_port);
        let name = ClusterName { host, port, subset: key.subset.into(), direction: Direction::Outbound };
        let known = service.and_then(|service| self.cluster(service, &name, &ports));
        (known.map_or(ClusterTarget::Missing(name), ClusterTarget::Known), by_listener)
    }

    /// The service that `host` means in a resource of `namespace`, and the host by which it is known.
    pub(super) fn service(&self, host: &str, namespace: &str) -> (Arc<str>, Option<Service<'a>>) {
        let host = names::full_host(host, namespace);
        let service = self.find(&host);
        match service.and_then(|service| services::concrete(self.resources, service, self.proxy)) {
            Some((alias_host, alias)) => (alias_host, Some(alias)),
            None => (host, service),
        }
    }

    fn find(&self, host: &str) -> Option<Service<'a>> {
        let namespace = self.imported.get(host).copied();
        services::find(self.resources, host, self.proxy, namespace)
    }

    fn cluster(&mut self, service: Service<'a>, name: &ClusterName, ports: &[Port<'a>]) -> Option<ClusterIndex> {
        if let Some(index) = self.indexes.get(name) {
            return Some(*index);
        }
        let port = ports.iter().find(|port| port.number == name.port && !port.datagram);
        // A name elsewhere has whatever ports it has.
        let is_open = ports.is_empty() && service.external_name().is_some();
        if port.is_none() && !is_open {
            return None;
        }
        let cluster = self.build(service, name, port)?;
        let index = ClusterIndex(u32::try_from(self.clusters.len()).ok()?);
        self.indexes.insert(name.clone(), index);
        self.clusters.push(cluster);
        Some(index)
    }

    fn build(&mut self, service: Service<'a>, name: &ClusterName, port: Option<&Port<'a>>) -> Option<Cluster> {
        let merged = self.rules_for(&name.host, service.namespace());
        let (subset, labels) = if name.subset.is_empty() {
            (None, Labels::new())
        } else {
            let (rule, subset) = merged.subset(&name.subset)?;
            (Some((rule, subset)), subset.labels.clone())
        };
        let of_subset = subset.and_then(|(_, subset)| subset.traffic_policy.as_deref());
        let blocks = Blocks::of(merged.policy(), of_subset, name.port).or_of_mesh(self.policies.mesh());
        // Whoever asks for a pod by its own address means that one; at a gateway nobody can.
        let is_direct = self.proxy.role == Role::Sidecar && service.is_headless();
        let discovery = if is_direct { Discovery::None } else { blocks.discovery(service.discovery()) };
        let names = (name, service.certificate_names());
        let tls = blocks.tls().and_then(|tls| upstream_tls::context(tls, &merged, names, &self.proxy.namespace));
        let tls = tls.map(Arc::new);
        let mut origins = vec![port.map_or(service, |port| port.service).origin()];
        origins.extend(merged.origins(subset));
        Some(Cluster {
            name: name.clone(),
            service_name: service.metric_name(&name.host).into(),
            service_namespace: service.namespace().into(),
            port_name: port.map_or("", |port| port.name).into(),
            subset_labels: labels,
            node: service.node_local().and_then(|_| locality::own_node(&self.proxy.labels)).cloned(),
            balancing: blocks.balancing(discovery),
            protocol: self.policies.protocol(port, blocks, self.follows_clients(port)),
            connect_timeout: self.policies.connect_timeout(blocks),
            policy: self.policies.policy(blocks, service.preference(self.resources)),
            tls,
            proxy_protocol: blocks.proxy_protocol(),
            discovery,
            port_override: service.port_override(name.port),
            origins,
        })
    }

    pub(super) fn rules_for(&mut self, host: &Arc<str>, service_namespace: &'a str) -> Merged<'a> {
        let key = (host.clone(), service_namespace);
        let find = || self.rules.find(host, service_namespace, &self.proxy.namespace);
        self.merged.entry(key).or_insert_with(find).clone()
    }

    /// The clusters ordered by name; `blocks` of routes, not shared yet, and routes of connections are made to use their
    /// places in that order.
    pub(super) fn finish(self, blocks: &mut [Vec<Arc<Route>>], proxies: &mut [TcpProxy]) -> Vec<Cluster> {
        let mut numbered: Vec<(usize, Cluster)> = self.clusters.into_iter().enumerate().collect();
        numbered.sort_by(|(_, left), (_, right)| left.name.cmp(&right.name));
        let mut places = vec![ClusterIndex(0); numbered.len()];
        for (place, (before, _)) in (0u32..).zip(&numbered) {
            if let Some(entry) = places.get_mut(*before) {
                *entry = ClusterIndex(place);
            }
        }
        let settle = |target: &mut ClusterTarget| {
            if let ClusterTarget::Known(index) = target {
                *index = places.get(index.0 as usize).copied().unwrap_or(*index);
            }
        };
        let routes = blocks.iter_mut().flatten().filter_map(Arc::get_mut);
        routes.flat_map(Route::targets_mut).for_each(settle);
        let destinations =
            proxies.iter_mut().flat_map(|proxy| &mut proxy.routes).flat_map(|route| &mut route.destinations);
        destinations.map(|destination| &mut destination.cluster).for_each(settle);
        numbered.into_iter().map(|(_, cluster)| cluster).collect()
    }
}
