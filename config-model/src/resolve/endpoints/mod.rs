//! Endpoints of clusters, looked up apart from routes, so that a pod that comes or goes leaves the routes alone.
//! Source: Istio's registries: an endpoint's port is its own for the service port's name, else the service's target port, else
//! the service port's number; a subset has the endpoints that bear all its labels.

mod kubernetes;
mod ranking;
mod workload;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::model::{
    Balancing, Cluster, ClusterName, Discovery, Endpoint, EndpointAddress, Failover, Health, Locality, LocalityPolicy,
    OwnService, Workload, ZoneAware,
};
use crate::name::{self, Labels};
use crate::resource::{EndpointSlice, Pod, ServiceEntry, WorkloadEntry};

use super::locality::{self, Site};
use super::services::{self, Port, Service, Target};
use super::set::{Item, ResourceSet};
use workload::Facts;

/// The label by which a slice names its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The resources that say where endpoints are, ready for look-up. A snapshot: build a new one after a change.
#[derive(Debug, Default)]
pub struct EndpointIndex {
    resources: ResourceSet,
    trust_domain: String,
    /// Slices by namespace and service.
    slices: HashMap<(Arc<str>, Arc<str>), Vec<u32>>,
    /// Pods by address.
    pods: HashMap<IpAddr, u32>,
}

/// A cluster's endpoints while they are gathered.
struct Gathering<'i> {
    cluster: &'i Cluster,
    port: Port<'i>,
    trust_domain: &'i str,
    endpoints: Vec<Endpoint>,
    /// How far each endpoint is, where that matters.
    levels: Vec<u32>,
    failover: Option<&'i Failover>,
    workloads: HashMap<Workload, Arc<Workload>>,
    /// Endpoints of one locality share its names.
    localities: HashSet<Locality>,
}

/// What an endpoint is, besides its address and port.
struct Candidate<'c> {
    facts: Facts<'c>,
    health: Health,
    locality: Locality,
    weight: u32,
    /// The node and the network that it is on; empty if unknown.
    around: (&'c str, &'c str),
}

/// Nothing is known of node and network.
const NOWHERE: (&str, &str) = ("", "");

impl EndpointIndex {
    /// An index over `resources`.
    pub fn new(resources: &ResourceSet) -> Self {
        let trust_domain = super::mesh::mesh(resources).0.trust_domain;
        let mut index = Self { resources: resources.clone(), trust_domain, ..Self::default() };
        for slice in resources.all::<EndpointSlice>() {
            if let Some(service) = slice.resource.metadata.labels.get(SERVICE_NAME) {
                let key = (Arc::clone(&slice.resource.id.namespace), Arc::clone(service));
                index.slices.entry(key).or_default().push(slice.index);
            }
        }
        for pod in resources.all::<Pod>() {
            for address in kubernetes::addresses(pod) {
                index.pods.entry(address).or_insert(pod.index);
            }
        }
        index
    }

    /// The endpoints of `cluster`, those that take no traffic among them, in the order of files; each with the priority or the
    /// share that the cluster's policy gives it.
    pub fn endpoints(&self, cluster: &Cluster) -> Vec<Endpoint> {
        if cluster.discovery == Discovery::None {
            return Vec::new();
        }
        let of_host = services::of_host(&self.resources, &cluster.name.host);
        let services: Vec<_> = of_host.filter(|service| *service.namespace() == *cluster.service_namespace).collect();
        let Some(first) = services.first() else { return Vec::new() };
        let port = first.ports().into_iter().find(|port| port.number == cluster.name.port).unwrap_or(Port {
            number: cluster.name.port,
            name: "",
            target: Target::Number(cluster.name.port),
            datagram: false,
            protocol: super::protocol::Protocol::Unknown,
        });
        let policy = cluster.policy().locality.as_ref();
        let failover = policy.and_then(LocalityPolicy::failover);
        let mut gathering = Gathering {
            cluster,
            port,
            trust_domain: &self.trust_domain,
            endpoints: Vec::new(),
            levels: Vec::new(),
            failover,
            workloads: HashMap::new(),
            localities: HashSet::new(),
        };
        for service in services {
            match service {
                Service::Kubernetes(item) => self.kubernetes(item, &mut gathering),
                Service::Entry(item) => self.entry(item, &mut gathering),
            }
        }
        let Gathering { mut endpoints, levels, .. } = gathering;
        ranking::rank(policy, &mut endpoints, &levels);
        if let Some(LocalityPolicy::ZoneAware(zones)) = policy
            && !matches!(cluster.balancing, Balancing::RingHash { .. } | Balancing::Maglev { .. })
        {
            ranking::note_proxies(&mut endpoints, &self.proxies(cluster, zones), &zones.own);
        }
        endpoints
    }

    /// The proxies that share the traffic to `cluster`: endpoints of a service.
    fn proxies(&self, cluster: &Cluster, zones: &ZoneAware) -> Vec<Endpoint> {
        let Some(OwnService { host, namespace, port }) = zones.proxies.clone() else { return Vec::new() };
        let name = ClusterName { host, port, subset: "".into(), direction: cluster.name.direction };
        let subset_labels = Labels::new();
        let service = Cluster { name, service_namespace: namespace, subset_labels, policy: None, ..cluster.clone() };
        self.endpoints(&Cluster { discovery: Discovery::Static, ..service })
    }

    fn entry(&self, entry: Item<'_, ServiceEntry>, gathering: &mut Gathering<'_>) {
        let by_dns = gathering.cluster.discovery != Discovery::Static;
        if let Some(selector) = &entry.spec.workload_selector {
            let is_meant = |namespace: &str, labels: &Labels| {
                namespace == entry.namespace() && name::selects(&selector.labels, labels)
            };
            for workload in self.resources.all::<WorkloadEntry>() {
                let labels = workload.labels();
                if is_meant(workload.namespace(), &labels) {
                    gathering.workload_entry(workload.spec, &labels, (workload.name(), workload.namespace()));
                }
            }
            for pod in self.resources.all::<Pod>().filter(|_| !by_dns) {
                if is_meant(pod.namespace(), &pod.resource.metadata.labels) {
                    gathering.pod(pod);
                }
            }
        } else if entry.spec.endpoints.is_empty() && by_dns {
            gathering.service_host(entry);
        } else {
            for (index, endpoint) in entry.spec.endpoints.iter().enumerate() {
                let name = format!("{}-{index}", entry.name());
                gathering.workload_entry(endpoint, &endpoint.labels, (&name, entry.namespace()));
            }
        }
    }
}

impl Gathering<'_> {
    /// The service's own host, for a service found by DNS that has no endpoints.
    fn service_host(&mut self, entry: Item<'_, ServiceEntry>) {
        let host = &self.cluster.name.host;
        if host.starts_with('*') {
            return;
        }
        let Target::Number(port) = self.port.target else { return };
        let labels = Labels::new();
        let facts = Facts { name: entry.name(), namespace: entry.namespace(), labels: &labels, service_account: "" };
        let address = address(host, port);
        let locality = Locality::default();
        self.add(address, Candidate { facts, health: Health::Ready, locality, weight: 1, around: NOWHERE });
    }

    fn workload_entry(&mut self, entry: &WorkloadEntry, labels: &Labels, (name, namespace): (&str, &str)) {
        let own = entry.ports.get(self.port.name).map(|port| **port).filter(|port| *port != 0);
        let number = match self.port.target {
            Target::Number(number) => own.unwrap_or(number),
            Target::Name(target) => own.or(entry.ports.get(target).map(|port| **port)).unwrap_or(self.port.number),
        };
        let address = match entry.address.strip_prefix("unix://") {
            Some(path) => EndpointAddress::Unix(path.into()),
            None if entry.address.is_empty() => return,
            None => self::address(&entry.address, number),
        };
        let written = (!entry.locality.is_empty()).then(|| locality::parse(&entry.locality));
        let locality = written.or_else(|| locality::of_label(labels)).unwrap_or_default();
        let facts = Facts { name, namespace, labels, service_account: &entry.service_account };
        let (weight, around) = ((*entry.weight).max(1), ("", &*entry.network.value));
        self.add(address, Candidate { facts, health: Health::Ready, locality, weight, around });
    }

    /// Adds an endpoint, if it is one of the subset's.
    fn add(&mut self, address: EndpointAddress, candidate: Candidate<'_>) {
        let Candidate { facts, health, locality, weight, around: (node, network) } = candidate;
        if !name::selects(&self.cluster.subset_labels, facts.labels) {
            return;
        }
        if let Some(failover) = self.failover {
            let site = Site { labels: facts.labels, locality: &locality, node, network };
            self.levels.push(locality::level(failover, site));
        }
        let workload = facts.workload(self.trust_domain);
        let workload = self.workloads.entry(workload).or_insert_with_key(|workload| Arc::new(workload.clone()));
        let workload = Arc::clone(workload);
        let shared = self.localities.get(&locality).cloned();
        let locality = shared.unwrap_or_else(|| {
            self.localities.insert(locality.clone());
            locality
        });
        let (priority, locality_share, proxies) = (0, None, None);
        self.endpoints.push(Endpoint {
            address,
            weight,
            health,
            priority,
            locality_share,
            proxies,
            locality,
            workload,
        });
    }
}

fn address(host: &str, port: u16) -> EndpointAddress {
    match host.parse::<IpAddr>() {
        Ok(ip) => EndpointAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => EndpointAddress::Dns { host: super::names::lower(host), port },
    }
}
