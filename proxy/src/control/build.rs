//! Snapshots, built so that what a change doesn't touch stays the very same object.
//!
//! A change of endpoints keeps model and table and makes new endpoint sets; a change of anything else compiles the table
//! anew. Either way a cluster whose definition and endpoints are as before is taken over whole, and an endpoint that stays
//! keeps its state. Start at [`full`] and [`with_endpoints`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use balance::{EndpointSet, Entry, SetRules};
use config_model::model::{
    Cluster, ClusterIndex, ClusterName, ClusterPolicy, ClusterTarget, EndpointList, FilterChains, Model, Route,
};
use foldhash::fast::RandomState;
use routing::split::Split;
use routing::{ActionEntry, DestinationIndex, Table};

use super::sockets::PortMap;
use super::tend::health;
use crate::snapshot::{
    Accepts, ClusterRuntime, Detected, EndpointLabels, ListenerRuntime, Pods, Snapshot, SnapshotNumber,
};
use crate::telemetry::{DestinationLabels, Metrics, SplitDestinationId};
use crate::tls::{BackEndTls, Chains};

/// The policy of clusters for which nothing was set.
static NO_POLICY: LazyLock<Arc<ClusterPolicy>> = LazyLock::new(Arc::default);

/// The endpoints of a cluster, names looked up.
pub(super) type EndpointsOf<'a> = &'a mut dyn FnMut(&Cluster) -> Vec<EndpointList>;

/// The endpoints of a cluster that may have others now.
pub(super) type ChangedEndpointsOf<'a> = &'a mut dyn FnMut(&Cluster) -> Option<Vec<EndpointList>>;

/// What a snapshot needs besides its configuration.
pub(super) struct Surroundings<'a> {
    /// Where label sets are registered.
    pub(super) metrics: &'a Metrics,
    /// Listeners are known by the port that is bound.
    pub(super) port_map: &'a PortMap,
}

/// A snapshot of `model`, taking over from `previous` what is the same.
pub(super) fn full(
    surroundings: &Surroundings<'_>,
    version: Arc<str>,
    mut model: Model,
    (endpoints_of, pods): (EndpointsOf<'_>, Arc<[Pods]>),
    previous: Option<&Snapshot>,
) -> Snapshot {
    let metrics = surroundings.metrics;
    if let Some(previous) = previous {
        share_routes(&mut model, &previous.model);
    }
    let table = Table::compile(&model);
    let clusters = clusters(metrics, &model.clusters, endpoints_of, previous);
    Snapshot {
        number: SnapshotNumber::next(),
        version,
        listeners: listeners(surroundings, &model, previous),
        pods,
        splits: splits(metrics, &clusters, &table),
        tended: tended(&model.clusters),
        clusters,
        access_logs: previous.map(|previous| Arc::clone(&previous.access_logs)).unwrap_or_default(),
        local_series: metrics.series(&DestinationLabels::unknown()),
        model: Arc::new(model),
        table: Arc::new(table),
    }
}

/// `previous` with other endpoints for some of its clusters, and other pods.
pub(super) fn with_endpoints(
    metrics: &Metrics,
    version: Arc<str>,
    (endpoints_of, pods): (ChangedEndpointsOf<'_>, Arc<[Pods]>),
    previous: &Snapshot,
) -> Snapshot {
    let renewed = |known: &Arc<ClusterRuntime>| match endpoints_of(&known.definition) {
        Some(endpoints) if !known.endpoints.is_of(&endpoints) => {
            Arc::new(cluster(metrics, &known.definition, endpoints, Some(known)))
        }
        _ => Arc::clone(known),
    };
    Snapshot {
        number: SnapshotNumber::next(),
        version,
        clusters: previous.clusters.iter().map(renewed).collect(),
        model: Arc::clone(&previous.model),
        table: Arc::clone(&previous.table),
        tended: Arc::clone(&previous.tended),
        listeners: Arc::clone(&previous.listeners),
        pods,
        splits: Arc::clone(&previous.splits),
        access_logs: Arc::clone(&previous.access_logs),
        local_series: previous.local_series.clone(),
    }
}

/// The routes of a virtual host, in order.
type Routes = Arc<[Arc<Route>]>;

/// Routes that are as before become the very same, as both models are in memory until the last request of the one is over.
/// What hosts share in `model` they share after it.
fn share_routes(model: &mut Model, previous: &Model) {
    let hosts = previous.route_configurations.iter().flat_map(|configuration| &configuration.virtual_hosts);
    let routes = hosts.flat_map(|host| host.routes.iter());
    let known: HashMap<&str, &Arc<Route>, RandomState> = routes.map(|route| (&*route.id, route)).collect();
    let same = |route: &Arc<Route>| {
        let before = known.get(&*route.id).copied().filter(|before| *before == route);
        Arc::clone(before.unwrap_or(route))
    };
    // By address; the lists that are replaced are kept as well, so that no address comes up a second time.
    let mut lists: HashMap<*const Arc<Route>, [Routes; 2], RandomState> = HashMap::default();
    for host in model.route_configurations.iter_mut().flat_map(|configuration| &mut configuration.virtual_hosts) {
        let [_, shared] = lists
            .entry(host.routes.as_ptr())
            .or_insert_with(|| [Arc::clone(&host.routes), host.routes.iter().map(same).collect()]);
        host.routes = Arc::clone(shared);
    }
}

fn listeners(surroundings: &Surroundings<'_>, model: &Model, previous: Option<&Snapshot>) -> Arc<[ListenerRuntime]> {
    let runtime = |listener: &config_model::model::Listener| ListenerRuntime {
        address: listener.address.clone(),
        accepts: match &listener.chains {
            FilterChains::PlainText(filter) => Accepts::PlainText(filter.clone()),
            FilterChains::Tls(chains) => {
                let known = previous
                    .and_then(|previous| previous.listeners.iter().find(|known| known.address == listener.address));
                Accepts::Tls(Box::new(Chains::new(chains, known.and_then(ListenerRuntime::chains))))
            }
            FilterChains::Detected(detection) => Accepts::Detected(Box::new(Detected {
                tls: Chains::new(&detection.tls, None),
                http: detection.http,
                unread: detection.unread.clone().into(),
                other: detection.other,
                is_http_expected: detection.is_http_expected,
            })),
        },
        has_proxy_header: listener.has_proxy_header,
        binding: listener.binding,
        metrics: surroundings.metrics.listener(&surroundings.port_map.apply(&listener.address)),
    };
    model.listeners.iter().map(runtime).collect()
}

fn clusters(
    metrics: &Metrics,
    definitions: &[Cluster],
    endpoints_of: EndpointsOf<'_>,
    previous: Option<&Snapshot>,
) -> Arc<[Arc<ClusterRuntime>]> {
    let known: HashMap<&ClusterName, &Arc<ClusterRuntime>, RandomState> = previous
        .iter()
        .flat_map(|snapshot| snapshot.clusters.iter())
        .map(|known| (&known.definition.name, known))
        .collect();
    let runtime = |definition: &Cluster| {
        let endpoints = endpoints_of(definition);
        let known = known.get(&definition.name).copied();
        match known.filter(|known| known.definition == *definition && known.endpoints.is_of(&endpoints)) {
            Some(same) => Arc::clone(same),
            None => Arc::new(cluster(metrics, definition, endpoints, known.map(|known| &**known))),
        }
    };
    definitions.iter().map(runtime).collect()
}

/// The clusters that somebody has to look after.
fn tended(definitions: &[Cluster]) -> Arc<[ClusterIndex]> {
    let is_tended = |cluster: &Cluster| cluster.policy().outliers.is_some() || cluster.policy().warmup.is_some();
    let tended = (0..).map(ClusterIndex).zip(definitions).filter(|(_, cluster)| is_tended(cluster));
    tended.map(|(index, _)| index).collect()
}

fn has_limits(policy: &ClusterPolicy) -> bool {
    let pool = &policy.pool;
    let limits = [pool.requests_max, pool.connections_max, pool.pending_max, pool.retries_max];
    limits.iter().any(Option::is_some) || policy.retry_budget.is_some()
}

fn cluster(
    metrics: &Metrics,
    definition: &Cluster,
    endpoints: Vec<EndpointList>,
    previous: Option<&ClusterRuntime>,
) -> ClusterRuntime {
    let mut labels = DestinationLabels {
        service: Arc::clone(&definition.name.host),
        service_name: Arc::clone(&definition.service_name),
        service_namespace: Arc::clone(&definition.service_namespace),
        ..DestinationLabels::unknown()
    };
    let unreached_series = metrics.series(&labels);
    let policy = Arc::clone(definition.policy.as_ref().unwrap_or(&NO_POLICY));
    let rules = SetRules { balancing: definition.balancing, policy };
    let endpoints =
        EndpointSet::of_lists(endpoints, rules, previous.map(|previous| &previous.endpoints), Instant::now());
    let mut of_endpoint = |entry: &Entry| {
        labels.workload = Arc::clone(&entry.endpoint.workload);
        EndpointLabels { address: entry.endpoint.address.to_string().into(), series: metrics.series(&labels) }
    };
    let known = previous.filter(|previous| are_labelled_alike(&previous.definition, definition));
    let known = known.map(labels_of_blocks).unwrap_or_default();
    let of_block = |block: &Arc<[Entry]>| match known.get(&block.as_ptr()) {
        Some(known) => Arc::clone(known),
        None => block.iter().map(&mut of_endpoint).collect(),
    };
    let of_endpoints = endpoints.blocks().iter().map(of_block).collect();
    let name: Arc<str> = definition.name.to_string().into();
    let id = metrics.cluster(&name);
    metrics.set_health(&id, health(&endpoints));
    ClusterRuntime {
        definition: definition.clone(),
        name,
        endpoints,
        tls: back_end_tls(definition, previous),
        has_limits: has_limits(definition.policy()),
        metrics: id,
        labels: of_endpoints,
        unreached_series,
    }
}

/// Whether metrics name the workloads of both in the same way.
fn are_labelled_alike(one: &Cluster, other: &Cluster) -> bool {
    one.name.host == other.name.host
        && one.service_name == other.service_name
        && one.service_namespace == other.service_namespace
}

/// Labels by the address of the block that they are for.
fn labels_of_blocks(cluster: &ClusterRuntime) -> HashMap<*const Entry, &Arc<[EndpointLabels]>, RandomState> {
    // All empty blocks have one address, and need none.
    let blocks = cluster.endpoints.blocks().iter().zip(&cluster.labels).filter(|(block, _)| !block.is_empty());
    blocks.map(|(block, labels)| (block.as_ptr(), labels)).collect()
}

/// That of `previous` if the settings are the same: its connections can be used on.
fn back_end_tls(definition: &Cluster, previous: Option<&ClusterRuntime>) -> Option<Arc<BackEndTls>> {
    let settings = definition.tls.as_ref()?;
    let known = previous.and_then(|previous| previous.tls.as_ref());
    let same = known.filter(|known| known.definition == *settings).cloned();
    Some(same.unwrap_or_else(|| Arc::new(BackEndTls::new(Arc::clone(settings)))))
}

/// Cells of the destinations of every route that has a choice. Thousands of routes name few clusters, so names are shared.
fn splits(metrics: &Metrics, clusters: &[Arc<ClusterRuntime>], table: &Table) -> Arc<[Option<SplitDestinationId>]> {
    let mut cells: Vec<Option<SplitDestinationId>> = vec![None; table.destination_count()];
    let spilling = table.routes().iter().filter(|entry| entry.route.split().spill);
    metrics.set_spilling(spilling.map(|entry| Arc::clone(&entry.route.id)));
    let name = |target: &ClusterTarget| -> Arc<str> {
        match target {
            ClusterTarget::Known(index) => {
                clusters.get(index.0 as usize).map_or("".into(), |cluster| Arc::clone(&cluster.name))
            }
            ClusterTarget::Missing(name) => name.to_string().into(),
        }
    };
    let mut enter = |route: &Arc<str>, split: &Split, destinations: &[(DestinationIndex, &ClusterTarget)]| {
        let shares = destinations.iter().enumerate();
        let shares: Vec<_> = shares.map(|(place, (_, target))| (name(target), split.share(place))).collect();
        for ((index, _), id) in destinations.iter().zip(metrics.split(route, &shares)) {
            if let Some(cell) = cells.get_mut(index.0 as usize) {
                *cell = Some(id);
            }
        }
    };
    for entry in table.routes() {
        if let ActionEntry::Forward { destinations, split: Some((_, split)) } = &entry.action {
            let destinations: Vec<_> = destinations.iter().map(|to| (to.index, &to.target)).collect();
            enter(&entry.route.id, split, &destinations);
        }
    }
    for entry in table.tcp_routes() {
        if let Some((_, split)) = &entry.split {
            let destinations: Vec<_> = entry.destinations.iter().map(|to| (to.index, &to.target)).collect();
            enter(&entry.route.id, split, &destinations);
        }
    }
    cells.into()
}
