//! The process's metrics: label sets, shards, and what control work sets.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use config_model::diagnostic::{Diagnostic, Level};
use config_model::model::{ListenerAddress, Workload};
use foldhash::HashMap;
use prometheus::{Registry, TextEncoder};

use super::expose::IstioCollector;
use super::names::{ClusterId, ListenerId, Names, SeriesId, Slot, SplitDestinationId};
use super::shard::{Shard, SharedShard, lock};

/// Label sets of Istio's metrics: services × workloads behind them × 1 for what reached none.
const SERIES_MAX: usize = 1 << 14;
/// Clusters: services × ports × subsets.
const CLUSTERS_MAX: usize = 1 << 16;
/// Destinations of all routes.
const SPLIT_DESTINATIONS_MAX: usize = 1 << 16;
/// Listeners.
const LISTENERS_MAX: usize = 1 << 10;

/// Where requests went, as Istio's labels have it. All of it comes from the configuration, nothing from a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DestinationLabels {
    /// `destination_service`: the host, `reviews.default.svc.cluster.local`.
    pub service: Arc<str>,
    /// `destination_service_name`
    pub service_name: Arc<str>,
    /// `destination_service_namespace`
    pub service_namespace: Arc<str>,
    /// The rest. Where nothing is known of it, and where no endpoint was reached: [`DestinationLabels::unknown`]'s.
    pub workload: Arc<Workload>,
}

impl DestinationLabels {
    /// Labels of answers that were made without any cluster: `unknown` throughout.
    pub fn unknown() -> Self {
        Self::all("unknown")
    }

    fn all(text: &str) -> Self {
        let text: Arc<str> = text.into();
        let clone = || Arc::clone(&text);
        let workload = Arc::new(Workload::all(&text));
        Self { service: clone(), service_name: clone(), service_namespace: clone(), workload }
    }
}

/// Label `cluster_name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterLabel(pub(super) Arc<str>);

/// Label `listener_address`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenerLabel(pub(super) Arc<str>);

/// Labels `route` and `destination`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SplitLabels {
    pub(super) route: Arc<str>,
    pub(super) destination: Arc<str>,
}

/// A destination's share of its route.
#[derive(Debug, Clone)]
pub(super) struct Share {
    pub(super) destination: Arc<str>,
    pub(super) slot: Slot,
    /// Between 0 and 1.
    pub(super) configured: f64,
    /// Requests before the shares of this route were last changed.
    pub(super) base: u64,
}

/// How the endpoints of a cluster are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterHealth {
    /// How many take traffic: `envoy_cluster_membership_healthy`.
    pub healthy: u64,
    /// How many are ejected: `envoy_cluster_outlier_detection_ejections_active`.
    pub ejected: u64,
}

/// Clusters and what is known of them without traffic.
pub(super) struct Clusters {
    pub(super) names: Names<ClusterLabel>,
    pub(super) health: HashMap<Slot, ClusterHealth>,
}

/// Splits and their shares.
pub(super) struct Splits {
    pub(super) names: Names<SplitLabels>,
    pub(super) routes: HashMap<Arc<str>, Vec<Share>>,
    /// Routes whose empty destinations leave their share to the others.
    pub(super) spilling: HashSet<Arc<str>>,
}

/// How much memory is in use, where there is a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryStatus {
    /// Bytes in use.
    pub used: u64,
    /// Bytes that there are.
    pub limit: u64,
    /// What is given up for it: 0 nothing, 1 idle connections, 2 requests, 3 new connections.
    pub pressure: u8,
}

/// How the configuration fares.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigState {
    pub(super) version: Option<String>,
    pub(super) applied: u64,
    pub(super) refused: u64,
    pub(super) errors: u64,
    /// Findings of what is in force, by level.
    pub(super) findings: BTreeMap<Level, u64>,
    /// Seconds since the epoch.
    pub(super) last_applied: f64,
    /// Certificates by where they come from, and when they expire in seconds since the epoch.
    pub(super) certificates: Vec<(String, i64)>,
    /// Certificates that can't be used: resource, file, line and field that name them.
    pub(super) unusable: Vec<[String; 4]>,
}

pub(super) struct State {
    pub(super) source: Workload,
    pub(super) tag: String,
    pub(super) series: Mutex<Names<DestinationLabels>>,
    pub(super) clusters: Mutex<Clusters>,
    pub(super) splits: Mutex<Splits>,
    pub(super) listeners: Mutex<Names<ListenerLabel>>,
    pub(super) shards: Mutex<Vec<Arc<SharedShard>>>,
    pub(super) config: Mutex<ConfigState>,
    pub(super) memory: Mutex<Option<MemoryStatus>>,
    pub(super) panics: AtomicU64,
    pub(super) lines_dropped: Arc<AtomicU64>,
}

impl State {
    fn new(source: Workload, tag: &str) -> Self {
        let overflow: Arc<str> = "overflow".into();
        let split_overflow = SplitLabels { route: Arc::clone(&overflow), destination: Arc::clone(&overflow) };
        let clusters = Names::new(CLUSTERS_MAX, ClusterLabel(Arc::clone(&overflow)));
        let splits = Names::new(SPLIT_DESTINATIONS_MAX, split_overflow);
        Self {
            source,
            tag: tag.to_owned(),
            series: Mutex::new(Names::new(SERIES_MAX, DestinationLabels::all("overflow"))),
            clusters: Mutex::new(Clusters { names: clusters, health: HashMap::default() }),
            splits: Mutex::new(Splits { names: splits, routes: HashMap::default(), spilling: HashSet::default() }),
            listeners: Mutex::new(Names::new(LISTENERS_MAX, ListenerLabel(overflow))),
            shards: Mutex::new(Vec::new()),
            config: Mutex::new(ConfigState::default()),
            memory: Mutex::default(),
            panics: AtomicU64::new(0),
            lines_dropped: Arc::default(),
        }
    }

    /// The shards, to be read without holding up a worker that starts.
    pub(super) fn shards(&self) -> Vec<Arc<SharedShard>> {
        lock(&self.shards).clone()
    }

    /// Forgets label sets that nobody has held for a while.
    pub(super) fn sweep(&self, now: Instant) {
        let shards = self.shards();
        for slot in lock(&self.series).sweep(now) {
            for shard in &shards {
                lock(&shard.requests).remove(&slot);
                lock(&shard.messages).remove(&slot);
                lock(&shard.tcp).remove(&slot);
            }
        }
        for slot in lock(&self.listeners).sweep(now) {
            shards.iter().for_each(|shard| drop(lock(&shard.listeners).remove(&slot)));
        }
        let mut clusters = lock(&self.clusters);
        for slot in clusters.names.sweep(now) {
            clusters.health.remove(&slot);
            shards.iter().for_each(|shard| drop(lock(&shard.clusters).remove(&slot)));
        }
        let mut splits = lock(&self.splits);
        for slot in splits.names.sweep(now) {
            splits.routes.retain(|_, shares| shares.iter().all(|share| share.slot != slot));
            shards.iter().for_each(|shard| drop(lock(&shard.splits).remove(&slot)));
        }
    }
}

/// Requests that the shards have counted for a destination of a split.
pub(super) fn split_requests(shards: &[Arc<SharedShard>], slot: Slot) -> u64 {
    shards.iter().filter_map(|shard| lock(&shard.splits).get(&slot).map(|cell| cell.get())).sum()
}

/// The metrics of the process. Clones are of one and the same.
#[derive(Clone)]
pub struct Metrics {
    state: Arc<State>,
    registry: Registry,
}

impl Metrics {
    /// Metrics of a gateway whose own workload is `source` (its principal shows only on mutual TLS) and whose build is `tag`.
    pub fn new(source: Workload, tag: &str) -> Self {
        let state = Arc::new(State::new(source, tag));
        let registry = Registry::new();
        let registered = registry.register(Box::new(IstioCollector::new(Arc::clone(&state))));
        debug_assert!(registered.is_ok(), "names of metrics are valid and differ: {registered:?}");
        Self { state, registry }
    }

    /// Counters for a worker that starts.
    pub fn shard(&self) -> Shard {
        let shared = Arc::new(SharedShard::default());
        lock(&self.state.shards).push(Arc::clone(&shared));
        Shard::new(shared)
    }

    /// Stands for these labels. To be asked when a snapshot is built.
    pub fn series(&self, labels: &DestinationLabels) -> SeriesId {
        lock(&self.state.series).id(labels)
    }

    /// Stands for a cluster, by its name: `outbound|9080|v1|reviews.default.svc.cluster.local`.
    pub fn cluster(&self, name: &Arc<str>) -> ClusterId {
        lock(&self.state.clusters).names.id(&ClusterLabel(Arc::clone(name)))
    }

    /// Says how the endpoints of a cluster are.
    pub fn set_health(&self, cluster: &ClusterId, health: ClusterHealth) {
        lock(&self.state.clusters).health.insert(cluster.slot, health);
    }

    /// Stands for a listener, by the address that is bound: label `listener_address`, `0.0.0.0_8080` as Envoy has it.
    pub fn listener(&self, address: &ListenerAddress) -> ListenerId {
        lock(&self.state.listeners).id(&ListenerLabel(address.listener_name().into()))
    }

    /// Notes the routes whose empty destinations leave their share to the others; they are all of them.
    pub fn set_spilling(&self, routes: impl Iterator<Item = Arc<str>>) {
        lock(&self.state.splits).spilling = routes.collect();
    }

    /// Stands for the destinations of a route, in the order given, each with its share of the whole. The observed share is
    /// counted from the moment that the shares of a route change.
    pub fn split(&self, route: &Arc<str>, destinations: &[(Arc<str>, f64)]) -> Vec<SplitDestinationId> {
        let mut splits = lock(&self.state.splits);
        let ids: Vec<_> = destinations
            .iter()
            .map(|(name, _)| splits.names.id(&SplitLabels { route: Arc::clone(route), destination: Arc::clone(name) }))
            .collect();
        let mut shares = shares(&ids, destinations);
        let as_before = splits.routes.get(route).is_some_and(|before| same_shares(before, &shares));
        if !as_before {
            let shards = self.state.shards();
            shares.iter_mut().for_each(|share| share.base = split_requests(&shards, share.slot));
            splits.routes.insert(Arc::clone(route), shares);
        }
        ids
    }

    /// Says how much memory is in use: `tidegate_memory_used_bytes`, `tidegate_memory_limit_bytes` and
    /// `tidegate_memory_pressure`.
    pub fn set_memory(&self, status: MemoryStatus) {
        *lock(&self.state.memory) = Some(status);
    }

    /// A configuration is in force.
    pub fn config_applied(&self, version: &str, now: SystemTime) {
        let mut config = lock(&self.state.config);
        config.version = Some(version.to_owned());
        config.applied += 1;
        config.last_applied = now.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    }

    /// A change was refused, whole or in part.
    pub fn config_refused(&self) {
        lock(&self.state.config).refused += 1;
    }

    /// How many errors the folder has now.
    pub fn set_config_errors(&self, errors: usize) {
        lock(&self.state.config).errors = errors as u64;
    }

    /// What is found in the configuration in force.
    pub fn set_config_findings(&self, findings: &[Diagnostic]) {
        let mut by_level = BTreeMap::from([Level::Error, Level::Warning, Level::Info].map(|level| (level, 0)));
        for finding in findings {
            *by_level.entry(finding.level).or_default() += 1;
        }
        lock(&self.state.config).findings = by_level;
    }

    /// Which certificates are in use and until when, in seconds since the epoch, and which can't be used.
    pub fn set_certificates(&self, certificates: Vec<(String, i64)>, problems: &[Diagnostic]) {
        let unusable = |problem: &Diagnostic| {
            [
                problem.resource.as_ref().map(ToString::to_string).unwrap_or_default(),
                problem.file.to_string(),
                problem.position.line.to_string(),
                problem.field.clone().unwrap_or_default(),
            ]
        };
        let mut config = lock(&self.state.config);
        config.certificates = certificates;
        config.unusable = problems.iter().map(unusable).collect();
        config.unusable.sort();
        config.unusable.dedup();
    }

    /// A panic was caught; it cost one connection.
    pub fn panicked(&self) {
        self.state.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Where the access log counts the lines that it could not write.
    pub(super) fn lines_dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.state.lines_dropped)
    }

    /// All metrics in Prometheus' text format. Takes no lock that a worker's steady state takes.
    pub fn expose(&self) -> String {
        self.expose_at(Instant::now())
    }

    pub(super) fn expose_at(&self, now: Instant) -> String {
        self.state.sweep(now);
        let mut text = String::new();
        let encoded = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        debug_assert!(encoded.is_ok(), "no family is empty: {encoded:?}");
        text
    }
}

/// One share for each destination, even if it is listed twice.
fn shares(ids: &[SplitDestinationId], destinations: &[(Arc<str>, f64)]) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::with_capacity(ids.len());
    for (id, (name, configured)) in ids.iter().zip(destinations) {
        match shares.iter_mut().find(|share| share.slot == id.slot) {
            Some(share) => share.configured += configured,
            None => {
                shares.push(Share { destination: Arc::clone(name), slot: id.slot, configured: *configured, base: 0 });
            }
        }
    }
    shares
}

fn same_shares(before: &[Share], after: &[Share]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(old, new)| old.slot == new.slot && old.configured == new.configured)
}
