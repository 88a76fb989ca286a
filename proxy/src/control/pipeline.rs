//! The configuration as it stands, and the snapshots that come of it.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config_model::analyze;
use config_model::diagnostic::Diagnostic;
use config_model::model::{Cluster, Discovery, EndpointList, Listener, ListenerAddress};
use config_model::resolve::{self, EndpointIndex, Proxy, ResourceSet};
use tokio::time::timeout;

use super::build::{self, Surroundings};
use super::credentials::Credentials;
use super::dns::{self, Names};
use super::files::{Files, Outcome};
use crate::snapshot::{ClusterRuntime, Pods, Snapshot};
use crate::source::Change;
use crate::telemetry::Metrics;

/// How long a change waits for the addresses of names that came with it.
const NEW_NAMES: Duration = Duration::from_secs(1);

/// Files, resources and names.
pub(super) struct Pipeline {
    proxy: Proxy,
    files: Files,
    version: Arc<str>,
    resources: ResourceSet,
    endpoints: EndpointIndex,
    names: Names,
    credentials: Credentials,
    /// What resolving left out, and why.
    findings: Vec<Diagnostic>,
    /// What resources say about each other.
    analysis: Vec<Diagnostic>,
}

/// A snapshot, and what there is to say of it.
pub(super) struct Built {
    pub(super) snapshot: Snapshot,
    /// Findings that were not there before.
    pub(super) findings: Vec<Diagnostic>,
    /// How much was built anew.
    pub(super) extent: Extent,
}

/// How much a change made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Model, table and endpoints.
    Routing,
    /// Endpoints of some clusters.
    Endpoints,
    /// Certificates.
    Credentials,
    /// Nothing but the version.
    Nothing,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Routing => "routes compiled",
            Self::Endpoints => "endpoints exchanged",
            Self::Credentials => "certificates looked up",
            Self::Nothing => "nothing to change",
        })
    }
}

impl Pipeline {
    /// Nothing yet, for `proxy`, whose certificate in the mesh is in that folder.
    pub(super) fn new(proxy: Proxy, mesh_certificates: PathBuf) -> Self {
        Self {
            proxy,
            credentials: Credentials::new(mesh_certificates),
            files: Files::default(),
            version: "".into(),
            resources: ResourceSet::default(),
            endpoints: EndpointIndex::default(),
            names: Names::default(),
            findings: Vec::new(),
            analysis: Vec::new(),
        }
    }

    /// Takes up changes of files. Where content in force changed, [`Pipeline::build`] comes next.
    pub(super) fn take(&mut self, changes: Vec<Change>) -> Outcome {
        let outcome = self.files.apply(changes);
        if outcome.changed {
            self.version = self.files.version();
        }
        outcome
    }

    /// Hash of the content in force.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The resources in force.
    pub(super) fn resources(&self) -> &ResourceSet {
        &self.resources
    }

    /// Why files are refused.
    pub(super) fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.files.errors()
    }

    /// What is not refused, and yet hardly meant.
    pub(super) fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        // What the resources alone tell of a certificate is told once.
        let place = |finding: &Diagnostic| (Arc::clone(&finding.file), finding.position, finding.field.clone());
        let told: HashSet<_> = self.analysis.iter().map(place).collect();
        let certificates = self.credentials.problems().iter().filter(move |problem| !told.contains(&place(problem)));
        self.files.warnings().chain(&self.findings).chain(&self.analysis).chain(certificates)
    }

    /// Looks anew at what the resources in force say about each other; what was not told before.
    pub(super) fn analyze(&mut self) -> Vec<Diagnostic> {
        // Gateways for other proxies stand in the same folder: that they select somebody else is no fault.
        let found = analyze::analyze(&self.resources, None);
        let told: HashSet<&Diagnostic> = self.files.warnings().chain(&self.findings).collect();
        let found: Vec<Diagnostic> = found.into_iter().filter(|finding| !told.contains(finding)).collect();
        let known = std::mem::replace(&mut self.analysis, found);
        let known: HashSet<Diagnostic> = known.into_iter().collect();
        self.analysis.iter().filter(|finding| !known.contains(finding)).cloned().collect()
    }

    /// Whether any endpoint is a name.
    pub(super) fn has_names(&self) -> bool {
        !self.names.in_use().is_empty()
    }

    /// Looks up all names in use.
    pub(super) fn look_up(&self) -> impl Future<Output = dns::Answers> + use<> {
        self.names.resolver().look_up(self.names.in_use().clone())
    }

    /// The snapshot of what is in force now. Waits a moment for the addresses of new names, so that a route that moves to one
    /// does not fail meanwhile.
    pub(super) async fn build(&mut self, surroundings: &Surroundings<'_>, previous: Option<&Snapshot>) -> Built {
        let replaced = self.files.take_replaced();
        let with_others = replaced.and_then(|replaced| self.resources.with(&replaced));
        let all = || ResourceSet::new(self.files.accepted().flat_map(|(_, file)| &file.resources));
        let resources = with_others.unwrap_or_else(all);
        let change = resolve::change(&self.resources, &resources);
        self.resources = resources;
        let (parts, previous) = match (change, previous) {
            (resolve::Change::None, Some(previous)) => (resolve::Parts::default(), previous),
            (resolve::Change::Parts(parts), Some(previous)) => (parts, previous),
            (resolve::Change::Routing, _) | (_, None) => return self.build_all(surroundings, previous).await,
        };
        let resolve::Parts { endpoints_of: hosts, secrets } = parts;
        let extent = match (secrets, hosts.is_empty()) {
            (_, false) => Extent::Endpoints,
            (true, true) => Extent::Credentials,
            (false, true) => Extent::Nothing,
        };
        self.endpoints.follow(&self.resources);
        let is_touched = |cluster: &Cluster| cluster.depends_on(&hosts);
        let clusters = &previous.model.clusters;
        if clusters.iter().any(|cluster| has_names(cluster) && is_touched(cluster)) {
            self.look_up_new(clusters).await;
        }
        let pods = self.pods_again(&previous.pods, &hosts);
        let snapshot = self.with_endpoints(surroundings.metrics, previous, (is_touched, pods));
        // Who the endpoints are in the mesh is a part of what their certificates have to say.
        let is_mesh = |cluster: &ClusterRuntime| cluster.tls.as_ref().is_some_and(|tls| tls.definition.is_mesh);
        let are_others = secrets || !hosts.is_empty() && snapshot.clusters.iter().any(|cluster| is_mesh(cluster));
        let findings = if are_others { self.look_up_credentials(&snapshot) } else { Vec::new() };
        Built { snapshot, findings, extent }
    }

    /// Looks up certificates and authorities again; what can't be used of them and was not told before.
    pub(super) fn look_up_credentials(&mut self, snapshot: &Snapshot) -> Vec<Diagnostic> {
        let known = self.credentials.problems().to_vec();
        self.credentials.refresh(snapshot, &self.resources);
        self.credentials.problems().iter().filter(|problem| !known.contains(problem)).cloned().collect()
    }

    /// Certificates and authorities in use.
    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    async fn build_all(&mut self, surroundings: &Surroundings<'_>, previous: Option<&Snapshot>) -> Built {
        let resolution = resolve::resolve(&self.resources, &self.proxy);
        self.endpoints.follow(&self.resources);
        self.endpoints.keep_only(&resolution.model.clusters);
        self.look_up_new(&resolution.model.clusters).await;
        let known = std::mem::replace(&mut self.findings, resolution.diagnostics);
        let findings = self.findings.iter().filter(|finding| !known.contains(finding)).cloned();
        let mut findings: Vec<Diagnostic> = findings.collect();
        let version = Arc::clone(&self.version);
        let pods = self.pods(&resolution.model.listeners);
        let mut endpoints_of = |cluster: &Cluster| self.endpoints_of(cluster);
        let snapshot = build::full(surroundings, version, resolution.model, (&mut endpoints_of, pods), previous);
        findings.append(&mut self.look_up_credentials(&snapshot));
        Built { snapshot, findings, extent: Extent::Routing }
    }

    /// Takes up addresses of names; a snapshot, if endpoints have changed by them.
    pub(super) fn learn(&mut self, answers: dns::Answers, metrics: &Metrics, previous: &Snapshot) -> Option<Snapshot> {
        let changed = self.names.learn(answers);
        changed.then(|| self.with_endpoints(metrics, previous, (has_names, Arc::clone(&previous.pods))))
    }

    fn with_endpoints(
        &mut self,
        metrics: &Metrics,
        previous: &Snapshot,
        (touched, pods): (impl Fn(&Cluster) -> bool, Arc<[Pods]>),
    ) -> Snapshot {
        let version = Arc::clone(&self.version);
        let mut endpoints_of = |cluster: &Cluster| touched(cluster).then(|| self.endpoints_of(cluster));
        build::with_endpoints(metrics, version, (&mut endpoints_of, pods), previous)
    }

    /// Where the pods are that listeners are for.
    fn pods(&self, listeners: &[Listener]) -> Arc<[Pods]> {
        let of_pods = listeners.iter().filter_map(|listener| match &listener.address {
            ListenerAddress::Pods { host, port } => Some(self.pods_of(host, *port)),
            ListenerAddress::Ip(_) | ListenerAddress::Unix(_) => None,
        });
        of_pods.collect()
    }

    /// The same after a change of endpoints of `hosts`.
    fn pods_again(&self, known: &Arc<[Pods]>, hosts: &BTreeSet<Arc<str>>) -> Arc<[Pods]> {
        if !known.iter().any(|pods| hosts.contains(&pods.host)) {
            return Arc::clone(known);
        }
        let again = |pods: &Pods| match hosts.contains(&pods.host) {
            true => self.pods_of(&pods.host, pods.port),
            false => pods.clone(),
        };
        known.iter().map(again).collect()
    }

    fn pods_of(&self, host: &Arc<str>, port: u16) -> Pods {
        Pods { host: Arc::clone(host), port, addresses: Arc::new(self.endpoints.pods(host, port)) }
    }

    fn endpoints_of(&mut self, cluster: &Cluster) -> Vec<EndpointList> {
        if !has_names(cluster) {
            return self.endpoints.lists(cluster);
        }
        let endpoints = self.names.expand(self.endpoints.endpoints(cluster), cluster.discovery);
        vec![endpoints.into_iter().map(Arc::new).collect()]
    }

    async fn look_up_new(&mut self, clusters: &[Cluster]) {
        let named = clusters.iter().filter(|cluster| has_names(cluster));
        let used = named.flat_map(|cluster| dns::names(&self.endpoints.endpoints(cluster))).collect();
        let new = self.names.retain(used);
        if !new.is_empty()
            && let Ok(answers) = timeout(NEW_NAMES, self.names.resolver().look_up(new)).await
        {
            self.names.learn(answers);
        }
    }
}

fn has_names(cluster: &Cluster) -> bool {
    matches!(cluster.discovery, Discovery::Dns | Discovery::DnsRoundRobin)
}
