//! Endpoints of clusters, looked up apart from routes, so that a pod that comes or goes leaves the routes alone.
//! Source: Istio's registries: an endpoint's port is its own for the service port's name, else the service's target port, else
//! the service port's number; a subset has the endpoints that bear all its labels.

mod gathering;
mod kubernetes;
mod ranking;
mod workload;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::model::{
    BackEndProtocol, Balancing, Cluster, ClusterName, Direction, Discovery, Endpoint, EndpointAddress, EndpointList,
    Health, Locality, LocalityPolicy, OwnService, ZoneAware,
};
use crate::name::{self, Labels};
use crate::resource::{EndpointSlice, Pod, Resolution, Resource, ServiceEntry, Spec, WorkloadEntry};

use super::change::{Difference, read_again};
use super::locality;
use super::protocol::Protocol;
use super::services::{self, Port, Service, Target};
use super::set::{Item, ResourceSet};
use gathering::{Candidate, Gathering, Known};
use workload::Facts;

/// The label by which a slice names its service.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The resources that say where endpoints are, ready for look-up. After a change it goes on with [`EndpointIndex::follow`].
#[derive(Debug, Default)]
pub struct EndpointIndex {
    resources: ResourceSet,
    trust_domain: String,
    /// Slices by namespace and service.
    slices: HashMap<(Arc<str>, Arc<str>), Vec<u32>>,
    /// Pods by address.
    pods: HashMap<IpAddr, u32>,
    answers: HashMap<ClusterName, Answer>,
}

/// The lists of a cluster that came of slices, and on what they depend besides slices and pods.
#[derive(Debug)]
struct Answer {
    service: Arc<Resource>,
    subset_labels: Labels,
    locality: Option<LocalityPolicy>,
    known: Known,
}

impl Answer {
    fn is_for(&self, cluster: &Cluster, service: &Arc<Resource>) -> bool {
        Arc::ptr_eq(&self.service, service)
            && self.subset_labels == cluster.subset_labels
            && self.locality == cluster.policy().locality
    }
}

/// Nothing is known of node and network.
const NOWHERE: (&str, &str) = ("", "");

impl EndpointIndex {
    /// An index over `resources`.
    pub fn new(resources: &ResourceSet) -> Self {
        let trust_domain = super::mesh::mesh(resources).trust_domain;
        let mut index = Self { resources: resources.clone(), trust_domain, ..Self::default() };
        for slice in resources.all::<EndpointSlice>() {
            if let Some(service) = slice.resource.metadata.labels.get(SERVICE_NAME) {
                let key = (Arc::clone(&slice.resource.id.namespace), Arc::clone(service));
                index.slices.entry(key).or_default().push(slice.index);
            }
        }
        for pod in resources.all::<Pod>() {
            for address in kubernetes::addresses(pod.spec) {
                index.pods.entry(address).or_insert(pod.index);
            }
        }
        index
    }

    /// Goes on with `resources`. Lists that no change touches are kept.
    pub fn follow(&mut self, resources: &ResourceSet) {
        let trust_domain = super::mesh::mesh(resources).trust_domain;
        let read = || read_again(&self.resources, resources);
        let answers = if trust_domain != self.trust_domain || read().any(is_in_other_lists) {
            HashMap::new()
        } else {
            std::mem::take(&mut self.answers)
        };
        if resources.has_places_of(&self.resources) && !read().any(is_found_elsewhere) {
            (self.resources, self.answers) = (resources.clone(), answers);
        } else {
            *self = Self { answers, ..Self::new(resources) };
        }
    }

    /// Forgets what it knows of other clusters.
    pub fn keep_only(&mut self, clusters: &[Cluster]) {
        let names: HashSet<&ClusterName> = clusters.iter().map(|cluster| &cluster.name).collect();
        self.answers.retain(|name, _| names.contains(name));
    }

    /// The endpoints of `cluster`, those that take no traffic among them, in the order of files; each with the priority or the
    /// share that the cluster's policy gives it. Those of a slice are a list, which is the very same as long as nothing that it
    /// depends on has changed.
    pub fn lists(&mut self, cluster: &Cluster) -> Vec<EndpointList> {
        let Some(service) = self.services(cluster).first().map(|service| Arc::clone(service.resource())) else {
            return Vec::new();
        };
        let answer = self.answers.remove(&cluster.name).filter(|answer| answer.is_for(cluster, &service));
        let (lists, known) = self.gather(cluster, answer.map_or_else(Known::default, |answer| answer.known));
        let (subset_labels, locality) = (cluster.subset_labels.clone(), cluster.policy().locality.clone());
        self.answers.insert(cluster.name.clone(), Answer { service, subset_labels, locality, known });
        lists
    }

    /// As [`EndpointIndex::lists`], for those who ask once.
    pub fn endpoints(&self, cluster: &Cluster) -> Vec<Endpoint> {
        gathering::copies(self.gather(cluster, Known::default()).0.iter()).collect()
    }

    /// Addresses of the pods behind a port of a Kubernetes Service, those that take no traffic among them.
    pub fn pods(&self, host: &Arc<str>, port: u16) -> BTreeSet<IpAddr> {
        let service =
            services::of_host(&self.resources, host).find(|service| matches!(service, Service::Kubernetes(_)));
        let ports = service.map(Service::ports).unwrap_or_default();
        let Some(port) = ports.into_iter().find(|known| known.number == port) else { return BTreeSet::new() };
        let endpoints = self.endpoints(&cluster(port, host, &Labels::new()));
        let ip = |endpoint: Endpoint| match endpoint.address {
            EndpointAddress::Ip(address) => Some(address.ip().to_canonical()),
            EndpointAddress::Dns { .. } | EndpointAddress::Unix(_) => None,
        };
        endpoints.into_iter().filter_map(ip).collect()
    }

    /// Services with the cluster's host, of its namespace.
    fn services(&self, cluster: &Cluster) -> Vec<Service<'_>> {
        if cluster.discovery == Discovery::None {
            return Vec::new();
        }
        let of_host = services::of_host(&self.resources, &cluster.name.host);
        of_host.filter(|service| *service.namespace() == *cluster.service_namespace).collect()
    }

    fn gather(&self, cluster: &Cluster, known: Known) -> (Vec<EndpointList>, Known) {
        let services = self.services(cluster).into_iter();
        let ports: Vec<Port<'_>> = services.filter_map(|service| port_of(service, cluster)).collect();
        let Some(first) = ports.first() else { return (Vec::new(), Known::default()) };
        let mut gathering = Gathering::new((cluster, *first), &self.trust_domain, known);
        for port in ports {
            gathering.port = port;
            match port.service {
                Service::Kubernetes(item) => self.kubernetes(item, &mut gathering),
                Service::Entry(item) => self.entry(item, &mut gathering),
            }
        }
        let (lists, known) = gathering.finish();
        match &cluster.policy().locality {
            Some(LocalityPolicy::ZoneAware(zones)) if !is_hashed(cluster) => {
                let mut all: Vec<Endpoint> = gathering::copies(lists.iter()).collect();
                ranking::note_proxies(&mut all, &self.proxies(cluster, zones), &zones.own);
                // Each endpoint has to do with who the proxies are, so no list is known for the next time.
                (vec![all.into_iter().map(Arc::new).collect()], Known::default())
            }
            _ => (lists, known),
        }
    }

    /// The proxies that share the traffic to `cluster`: endpoints of a service.
    fn proxies(&self, cluster: &Cluster, zones: &ZoneAware) -> Vec<Endpoint> {
        let Some(OwnService { host, namespace, port, port_name }) = zones.proxies.clone() else { return Vec::new() };
        let name = ClusterName { host, port, subset: "".into(), direction: cluster.name.direction };
        let (subset_labels, service_namespace) = (Labels::new(), namespace);
        let service =
            Cluster { name, service_namespace, port_name, subset_labels, node: None, policy: None, ..cluster.clone() };
        self.endpoints(&Cluster { discovery: Discovery::Static, ..service })
    }

    fn entry(&self, entry: Item<'_, ServiceEntry>, gathering: &mut Gathering<'_>) {
        if let Some(selector) = &entry.spec.workload_selector {
            let is_meant = |namespace: &str, labels: &Labels| {
                namespace == entry.namespace() && name::selects(&selector.labels, labels)
            };
            for workload in self.resources.all::<WorkloadEntry>().filter(|workload| workload.resource.is_healthy) {
                let labels = workload.labels();
                if is_meant(workload.namespace(), &labels) {
                    gathering.workload_entry(workload.spec, &labels, (workload.name(), workload.namespace()));
                }
            }
            for pod in self.resources.all::<Pod>() {
                if is_meant(pod.namespace(), &pod.resource.metadata.labels) {
                    gathering.pod(pod);
                }
            }
        } else if entry.spec.endpoints.is_empty() && is_found_by_dns(entry.spec) {
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
}

fn is_found_by_dns(entry: &ServiceEntry) -> bool {
    matches!(*entry.resolution, Resolution::Dns | Resolution::DnsRoundRobin)
}

/// The port of `service` whose endpoints are those of `cluster`. As in Istio, where endpoints come beside the cluster, they belong to
/// a port by its name, and by its number where they are part of the cluster.
fn port_of<'i>(service: Service<'i>, cluster: &Cluster) -> Option<Port<'i>> {
    let by_name = cluster.discovery == Discovery::Static;
    let is_meant = |port: &Port<'_>| match by_name {
        true => *port.name == *cluster.port_name,
        false => port.number == cluster.name.port,
    };
    let ports = service.ports();
    // A name elsewhere has whatever ports it has.
    if ports.is_empty() && service.external_name().is_some() {
        let number = cluster.name.port;
        let (target, protocol) = (Target::Number(number), Protocol::Unknown);
        return Some(Port { number, name: "", target, datagram: false, protocol, service });
    }
    ports.into_iter().find(is_meant)
}

/// A cluster of which nothing but the endpoints matters: those of `port` with `labels`.
pub(crate) fn cluster(port: Port<'_>, host: &Arc<str>, labels: &Labels) -> Cluster {
    let (subset, direction) = (Arc::default(), Direction::Outbound);
    Cluster {
        name: ClusterName { host: Arc::clone(host), port: port.number, subset, direction },
        service_name: Arc::default(),
        service_namespace: port.service.namespace().into(),
        port_name: port.name.into(),
        subset_labels: labels.clone(),
        node: None,
        balancing: Balancing::Random,
        protocol: BackEndProtocol::Http1,
        connect_timeout: Duration::ZERO,
        policy: None,
        tls: None,
        proxy_protocol: None,
        discovery: Discovery::Static,
        port_override: None,
        origins: Vec::new(),
    }
}

/// Whether an endpoint is chosen by a key.
fn is_hashed(cluster: &Cluster) -> bool {
    matches!(cluster.balancing, Balancing::RingHash { .. } | Balancing::Maglev { .. })
}

/// Whether lists of slices depend on it that are the same themselves: on what a pod is, and not on how it is.
fn is_in_other_lists((before, after): Difference<'_>) -> bool {
    let pod = |resource: Option<&Arc<Resource>>| resource.is_some_and(|resource| matches!(resource.spec, Spec::Pod(_)));
    match (before, after) {
        (Some(before), Some(after)) => match (&before.spec, &after.spec) {
            (Spec::Pod(was), Spec::Pod(is)) => {
                before.metadata != after.metadata
                    || was.spec != is.spec
                    || !kubernetes::addresses(was).eq(kubernetes::addresses(is))
            }
            _ => false,
        },
        (before, after) => pod(before) || pod(after),
    }
}

/// Whether an index would have it under another key.
fn is_found_elsewhere((before, after): Difference<'_>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return true };
    match (&before.spec, &after.spec) {
        (Spec::Pod(was), Spec::Pod(is)) => !kubernetes::addresses(was).eq(kubernetes::addresses(is)),
        (Spec::EndpointSlice(_), _) => {
            before.metadata.labels.get(SERVICE_NAME) != after.metadata.labels.get(SERVICE_NAME)
        }
        _ => false,
    }
}

fn address(host: &str, port: u16) -> EndpointAddress {
    match host.parse::<IpAddr>() {
        Ok(ip) => EndpointAddress::Ip(SocketAddr::new(ip, port)),
        Err(_) => EndpointAddress::Dns { host: super::names::lower(host), port },
    }
}
