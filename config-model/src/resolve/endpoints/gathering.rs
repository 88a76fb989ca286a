//! The lists of one cluster while they are gathered. A slice's list is taken from those that are known, if it is among them.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use super::ranking::{self, Priorities};
use super::workload::Facts;
use crate::model::{
    Cluster, Discovery, Endpoint, EndpointAddress, EndpointList, Failover, Health, Locality, LocalityPolicy, Workload,
};
use crate::name;
use crate::resource::Resource;

use super::super::locality::{self, Site};
use super::super::services::Port;

/// A cluster's endpoints on their way.
pub(super) struct Gathering<'i> {
    pub(super) cluster: &'i Cluster,
    /// That of the service whose endpoints are added.
    pub(super) port: Port<'i>,
    trust_domain: &'i str,
    known: Known,
    lists: Vec<List>,
    /// Of the list to come.
    endpoints: Vec<Endpoint>,
    levels: Vec<u32>,
    workloads: HashMap<Workload, Arc<Workload>>,
    /// Endpoints of one locality share its names.
    localities: HashSet<Locality>,
}

/// What an endpoint is, besides its address and port.
pub(super) struct Candidate<'c> {
    pub(super) facts: Facts<'c>,
    pub(super) health: Health,
    pub(super) locality: Locality,
    pub(super) weight: u32,
    /// The node and the network that it is on; empty if unknown.
    pub(super) around: (&'c str, &'c str),
}

/// Endpoints of one slice, or of all that is not a slice.
#[derive(Debug)]
struct List {
    slice: Option<Arc<Resource>>,
    endpoints: EndpointList,
    /// How far each endpoint is, where that matters.
    levels: Box<[u32]>,
    of_ready: Priorities,
    has_priorities: bool,
}

/// Lists by the address of their slice, which each of them keeps alive, and the priorities that their endpoints have.
#[derive(Debug, Default)]
pub(super) struct Known {
    lists: HashMap<*const Resource, List>,
    priorities: Priorities,
}

impl<'i> Gathering<'i> {
    pub(super) fn new((cluster, port): (&'i Cluster, Port<'i>), trust_domain: &'i str, known: Known) -> Self {
        Self {
            cluster,
            port,
            trust_domain,
            known,
            lists: Vec::new(),
            endpoints: Vec::new(),
            levels: Vec::new(),
            workloads: HashMap::default(),
            localities: HashSet::default(),
        }
    }

    /// The endpoints that `gather` adds are those of `slice`. It isn't asked where they are known.
    pub(super) fn slice(&mut self, slice: &Arc<Resource>, gather: impl FnOnce(&mut Self)) {
        self.close();
        if let Some(known) = self.known.lists.remove(&Arc::as_ptr(slice)) {
            return self.lists.push(known);
        }
        gather(self);
        self.push(Some(Arc::clone(slice)));
    }

    /// Ends the list of what is in no slice.
    fn close(&mut self) {
        if !self.endpoints.is_empty() {
            self.push(None);
        }
    }

    fn push(&mut self, slice: Option<Arc<Resource>>) {
        let ready = self.endpoints.iter().zip(&self.levels).filter(|(endpoint, _)| endpoint.health == Health::Ready);
        let of_ready = Priorities::new(ready.map(|(_, level)| *level));
        let endpoints = self.endpoints.drain(..).map(Arc::new).collect();
        let levels = std::mem::take(&mut self.levels).into();
        self.lists.push(List { slice, endpoints, levels, of_ready, has_priorities: false });
    }

    /// Adds an endpoint, if it is one of the subset's and can be reached in the cluster's way.
    pub(super) fn add(&mut self, address: EndpointAddress, candidate: Candidate<'_>) {
        let Candidate { facts, health, locality, weight, around: (node, network) } = candidate;
        let is_reachable = match self.cluster.discovery {
            Discovery::Static => !matches!(address, EndpointAddress::Dns { .. }),
            // There is only one name.
            Discovery::DnsRoundRobin => self.endpoints.is_empty(),
            Discovery::Dns | Discovery::None => true,
        };
        let is_elsewhere = self.cluster.node.as_ref().is_some_and(|only| **only != *node);
        if !is_reachable || is_elsewhere || !name::selects(&self.cluster.subset_labels, facts.labels) {
            return;
        }
        if let Some(failover) = self.failover() {
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

    fn failover(&self) -> Option<&'i Failover> {
        self.cluster.policy().locality.as_ref().and_then(LocalityPolicy::failover)
    }

    /// All lists, each endpoint with the priority or the share that the cluster's policy gives it; and what is known for the next
    /// time. Of shares nothing is, as each endpoint has a part in those of all others.
    pub(super) fn finish(mut self) -> (Vec<EndpointList>, Known) {
        self.close();
        if let Some(LocalityPolicy::Distribute { shares }) = &self.cluster.policy().locality {
            return self.shared(|all| ranking::distribute(shares, all));
        }
        if let Some(failover) = self.failover() {
            self.prioritize();
            if failover.weighs_localities {
                return self.shared(|all| ranking::weigh(all));
            }
        }
        let lists = self.lists.iter().map(|list| Arc::clone(&list.endpoints)).collect();
        let known = self.lists.into_iter().filter_map(|list| Some((Arc::as_ptr(list.slice.as_ref()?), list)));
        (lists, Known { lists: known.collect(), priorities: self.known.priorities })
    }

    /// All endpoints as one list, with the shares that `share` gives them.
    fn shared(&self, share: impl FnOnce(&mut Vec<Endpoint>)) -> (Vec<EndpointList>, Known) {
        let mut all = copies(self.lists.iter().map(|list| &list.endpoints)).collect();
        share(&mut all);
        (vec![all.into_iter().map(Arc::new).collect()], Known::default())
    }

    /// Those of known lists stay, unless somebody is at a level now where nobody was, or nobody where somebody was.
    fn prioritize(&mut self) {
        let priorities = Priorities::new(self.lists.iter().flat_map(|list| list.of_ready.levels()));
        let are_others = priorities != self.known.priorities;
        for list in self.lists.iter_mut().filter(|list| are_others || !list.has_priorities) {
            let prioritized = |(endpoint, level): (&Arc<Endpoint>, &u32)| match priorities.of(*level) {
                same if same == endpoint.priority => Arc::clone(endpoint),
                priority => Arc::new(Endpoint { priority, ..(**endpoint).clone() }),
            };
            list.endpoints = list.endpoints.iter().zip(&list.levels).map(prioritized).collect();
            list.has_priorities = true;
        }
        self.known.priorities = priorities;
    }
}

/// Copies of all endpoints, in order.
pub(super) fn copies<'l>(lists: impl Iterator<Item = &'l EndpointList>) -> impl Iterator<Item = Endpoint> {
    lists.flat_map(|list| list.iter().map(|endpoint| (**endpoint).clone()))
}
