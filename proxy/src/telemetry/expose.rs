//! Exposition: sums the shards into metric families.

use std::collections::HashMap as StdHashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use config_model::diagnostic::Level;
use config_model::model::Workload;
use foldhash::{HashMap, HashSet};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::Flags;
use super::cells::{BOUNDS, ClusterCells, HistogramSum, RequestCells, RequestSum};
use super::metrics::{
    ClusterHealth, ClusterLabel, ConfigState, DestinationLabels, Share, SplitLabels, State, split_requests,
};
use super::names::Slot;
use super::shard::{Outcome, RequestProtocol, SharedShard, lock};

/// A metric's name, help and type.
#[derive(Clone, Copy)]
struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
}

const fn counter(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::COUNTER }
}

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::GAUGE }
}

const fn histogram(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: MetricType::HISTOGRAM }
}

const REQUESTS: Family = counter("istio_requests_total", "Requests answered.");
const DURATION: Family = histogram(
    "istio_request_duration_milliseconds",
    "Time from the first byte of a request to the last of its answer.",
);
const REQUEST_BYTES: Family = histogram("istio_request_bytes", "Bytes of a request's body.");
const RESPONSE_BYTES: Family = histogram("istio_response_bytes", "Bytes of an answer's body.");
const REQUEST_MESSAGES: Family =
    counter("istio_request_messages_total", "Messages of gRPC calls that clients have sent.");
const RESPONSE_MESSAGES: Family =
    counter("istio_response_messages_total", "Messages of gRPC calls that were sent to clients.");
const TCP_SENT: Family = counter("istio_tcp_sent_bytes_total", "Bytes sent to clients of TCP connections.");
const TCP_RECEIVED: Family =
    counter("istio_tcp_received_bytes_total", "Bytes received from clients of TCP connections.");
const TCP_OPENED: Family = counter("istio_tcp_connections_opened_total", "TCP connections opened.");
const TCP_CLOSED: Family = counter("istio_tcp_connections_closed_total", "TCP connections closed.");
const BUILD: Family = gauge("istio_build", "The build of this program.");
const CLUSTER_REQUESTS: Family = counter("envoy_cluster_upstream_rq_total", "Tries sent to the cluster.");
const CLUSTER_RETRIES: Family = counter("envoy_cluster_upstream_rq_retry", "Tries that were not the first.");
const CLUSTER_OVERFLOW: Family =
    counter("envoy_cluster_upstream_rq_pending_overflow", "Requests that a circuit breaker refused.");
const CLUSTER_RETRY_OVERFLOW: Family =
    counter("envoy_cluster_upstream_rq_retry_overflow", "Retries that the limit or the budget of retries refused.");
const CLUSTER_EJECTIONS: Family = counter(
    "envoy_cluster_outlier_detection_ejections_enforced_total",
    "Endpoints that outlier detection has ejected.",
);
const CLUSTER_EJECTIONS_5XX: Family = counter(
    "envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx",
    "Endpoints ejected for server errors in a row.",
);
const CLUSTER_EJECTIONS_GATEWAY: Family = counter(
    "envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure",
    "Endpoints ejected for gateway errors in a row.",
);
const CLUSTER_EJECTIONS_LOCAL: Family = counter(
    "envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure",
    "Endpoints ejected for failures to connect and time-outs in a row.",
);
const CLUSTER_EJECTIONS_OVERFLOW: Family = counter(
    "envoy_cluster_outlier_detection_ejections_overflow",
    "Ejections that would have been more than maxEjectionPercent allows.",
);
const CLUSTER_EJECTED: Family =
    gauge("envoy_cluster_outlier_detection_ejections_active", "Endpoints of the cluster that are ejected.");
const CLUSTER_CONNECTIONS: Family = counter("envoy_cluster_upstream_cx_total", "Connections opened to the cluster.");
const CLUSTER_ACTIVE: Family = gauge("envoy_cluster_upstream_cx_active", "Connections open to the cluster.");
const CLUSTER_HEALTHY: Family =
    gauge("envoy_cluster_membership_healthy", "Endpoints of the cluster that take traffic.");
const LISTENER_CONNECTIONS: Family = counter("envoy_listener_downstream_cx_total", "Connections accepted.");
const LISTENER_ACTIVE: Family = gauge("envoy_listener_downstream_cx_active", "Connections of clients that are open.");
const LISTENER_HANDSHAKES: Family =
    counter("envoy_listener_ssl_handshake", "TLS handshakes of clients that succeeded.");
const LISTENER_HANDSHAKE_ERRORS: Family =
    counter("envoy_listener_ssl_connection_error", "TLS handshakes of clients that failed or were broken off.");
const SPLIT_REQUESTS: Family = counter("tidegate_split_requests_total", "Requests of a route by chosen destination.");
const SPLIT_CONFIGURED: Family =
    gauge("tidegate_split_configured_share", "Share of a route's requests that a destination shall get.");
const SPLIT_OBSERVED: Family = gauge(
    "tidegate_split_observed_share",
    "Share of a route's requests that a destination got since the route's shares were last changed.",
);
const SPLIT_SPILLED: Family = gauge(
    "tidegate_split_spilled_share",
    "Share of a route's requests that goes to other destinations, as this one has no healthy endpoint.",
);
const CERTIFICATE_EXPIRES: Family = gauge(
    "tidegate_certificate_expiration_timestamp_seconds",
    "When a certificate in use expires, in seconds since 1970.",
);
const CERTIFICATE_DAYS: Family =
    gauge("envoy_server_days_until_first_cert_expiring", "Days until the first certificate in use expires.");
const CERTIFICATE_UNUSABLE: Family = gauge(
    "tidegate_certificate_unusable",
    "1 for each field that names a certificate that can't be used; the one before stays in use, or there is none.",
);
const CONFIG_INFO: Family = gauge("tidegate_config_info", "The version of the configuration in force.");
const CONFIG_RELOADS: Family = counter("tidegate_config_reloads_total", "Changes of configuration by result.");
const CONFIG_ERRORS: Family = gauge("tidegate_config_errors", "Errors in the configuration folder now.");
const CONFIG_FINDINGS: Family =
    gauge("tidegate_config_findings", "Findings about the configuration in force, which are no reason to refuse it.");
const CONFIG_TIME: Family =
    gauge("tidegate_config_last_reload_timestamp_seconds", "When the configuration in force was applied.");
const LINES_DROPPED: Family =
    counter("tidegate_access_log_lines_dropped_total", "Access-log lines that could not be written in time.");
const PANICS: Family = counter("tidegate_panics_total", "Panics caught; each cost one connection.");

const MEMORY_USED: Family = gauge("tidegate_memory_used_bytes", "Memory in use, where it is limited.");
const MEMORY_LIMIT: Family = gauge("tidegate_memory_limit_bytes", "Memory that may be used.");
const MEMORY_PRESSURE: Family = gauge(
    "tidegate_memory_pressure",
    "What is given up as memory is short: 0 nothing, 1 idle connections, 2 requests, 3 new connections.",
);

const FAMILIES: [Family; 45] = [
    REQUESTS,
    DURATION,
    REQUEST_BYTES,
    RESPONSE_BYTES,
    REQUEST_MESSAGES,
    RESPONSE_MESSAGES,
    TCP_SENT,
    TCP_RECEIVED,
    TCP_OPENED,
    TCP_CLOSED,
    BUILD,
    CLUSTER_REQUESTS,
    CLUSTER_RETRIES,
    CLUSTER_OVERFLOW,
    CLUSTER_RETRY_OVERFLOW,
    CLUSTER_EJECTIONS,
    CLUSTER_EJECTIONS_5XX,
    CLUSTER_EJECTIONS_GATEWAY,
    CLUSTER_EJECTIONS_LOCAL,
    CLUSTER_EJECTIONS_OVERFLOW,
    CLUSTER_CONNECTIONS,
    CLUSTER_ACTIVE,
    CLUSTER_HEALTHY,
    CLUSTER_EJECTED,
    LISTENER_CONNECTIONS,
    LISTENER_ACTIVE,
    LISTENER_HANDSHAKES,
    LISTENER_HANDSHAKE_ERRORS,
    SPLIT_REQUESTS,
    SPLIT_CONFIGURED,
    SPLIT_OBSERVED,
    SPLIT_SPILLED,
    CERTIFICATE_EXPIRES,
    CERTIFICATE_DAYS,
    CERTIFICATE_UNUSABLE,
    CONFIG_INFO,
    CONFIG_RELOADS,
    CONFIG_ERRORS,
    CONFIG_FINDINGS,
    CONFIG_TIME,
    LINES_DROPPED,
    PANICS,
    MEMORY_USED,
    MEMORY_LIMIT,
    MEMORY_PRESSURE,
];

/// Collects everything there is.
pub(super) struct IstioCollector {
    state: Arc<State>,
    descriptions: Vec<Desc>,
}

impl IstioCollector {
    pub(super) fn new(state: Arc<State>) -> Self {
        let describe = |family: &Family| {
            Desc::new(family.name.to_owned(), family.help.to_owned(), Vec::new(), StdHashMap::default()).ok()
        };
        Self { state, descriptions: FAMILIES.iter().filter_map(describe).collect() }
    }
}

impl Collector for IstioCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let shards = self.state.shards();
        let mut families = requests(&self.state, &shards).to_vec();
        families.extend(messages(&self.state, &shards));
        families.extend(tcp(&self.state, &shards));
        families.extend(clusters(&self.state, &shards));
        families.extend(listeners(&self.state, &shards));
        families.extend(splits(&self.state, &shards));
        families.extend(process(&self.state));
        families
    }
}

fn requests(state: &State, shards: &[Arc<SharedShard>]) -> [MetricFamily; 4] {
    let mut sums: HashMap<(Slot, Outcome), RequestSum> = HashMap::default();
    for (slot, outcome, cells) in shards.iter().flat_map(|shard| request_cells(shard)) {
        sums.entry((slot, outcome)).or_default().add(&cells);
    }
    let destinations = destinations(state);
    let mut metrics = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    for ((slot, outcome), sum) in sums {
        let Some(destination) = destinations.get(&slot) else { continue };
        let labels = request_labels(&state.source, destination, outcome);
        let [total, duration, request_bytes, response_bytes] = &mut metrics;
        total.push(counter_metric(labels.clone(), sum.duration.count() as f64));
        duration.push(histogram_metric(labels.clone(), &sum.duration, 1000.0));
        request_bytes.push(histogram_metric(labels.clone(), &sum.request_bytes, 1.0));
        response_bytes.push(histogram_metric(labels, &sum.response_bytes, 1.0));
    }
    let [total, duration, request_bytes, response_bytes] = metrics;
    [
        family(REQUESTS, total),
        family(DURATION, duration),
        family(REQUEST_BYTES, request_bytes),
        family(RESPONSE_BYTES, response_bytes),
    ]
}

/// Source: Istio, which counts them before it knows of protocol and outcome.
fn messages(state: &State, shards: &[Arc<SharedShard>]) -> [MetricFamily; 2] {
    let mut sums: HashMap<Slot, [u64; 2]> = HashMap::default();
    for shard in shards {
        for (slot, cells) in lock(&shard.messages).iter() {
            let [request, response] = sums.entry(*slot).or_default();
            *request += cells.request.get();
            *response += cells.response.get();
        }
    }
    let destinations = destinations(state);
    let mut metrics: [Vec<Metric>; 2] = Default::default();
    for (slot, sum) in sums {
        let Some(destination) = destinations.get(&slot) else { continue };
        let labels = destination_labels(&state.source, destination);
        for (metrics, value) in metrics.iter_mut().zip(sum) {
            metrics.push(counter_metric(labels.clone(), value as f64));
        }
    }
    let [request, response] = metrics;
    [family(REQUEST_MESSAGES, request), family(RESPONSE_MESSAGES, response)]
}

fn tcp(state: &State, shards: &[Arc<SharedShard>]) -> [MetricFamily; 4] {
    let mut sums: HashMap<(Slot, Flags), [u64; 4]> = HashMap::default();
    for shard in shards {
        for (slot, connections) in lock(&shard.tcp).iter() {
            for (flags, cells) in connections {
                let sum = sums.entry((*slot, *flags)).or_default();
                let read = [&cells.sent, &cells.received, &cells.opened, &cells.closed];
                sum.iter_mut().zip(read).for_each(|(sum, cell)| *sum += cell.get());
            }
        }
    }
    let destinations = destinations(state);
    let mut metrics: [Vec<Metric>; 4] = Default::default();
    for ((slot, flags), sum) in sums {
        let Some(destination) = destinations.get(&slot) else { continue };
        let mut labels = destination_labels(&state.source, destination);
        labels.push(label("request_protocol", "tcp"));
        labels.push(label("response_flags", &flags.to_string()));
        labels.push(label("connection_security_policy", "unknown"));
        for (metrics, value) in metrics.iter_mut().zip(sum) {
            metrics.push(counter_metric(labels.clone(), value as f64));
        }
    }
    let [sent, received, opened, closed] = metrics;
    [family(TCP_SENT, sent), family(TCP_RECEIVED, received), family(TCP_OPENED, opened), family(TCP_CLOSED, closed)]
}

/// All cells, listed first and read later: a worker may be waiting to enter new ones.
fn request_cells(shard: &SharedShard) -> Vec<(Slot, Outcome, Arc<RequestCells>)> {
    let mut all = Vec::new();
    for (slot, outcomes) in lock(&shard.requests).iter() {
        all.extend(outcomes.iter().map(|(outcome, cells)| (*slot, *outcome, Arc::clone(cells))));
    }
    all
}

fn destinations(state: &State) -> HashMap<Slot, DestinationLabels> {
    lock(&state.series).iter().map(|(labels, slot, _)| (slot, labels.clone())).collect()
}

/// Istio's labels of a gateway's request. Principals are those of a mutual TLS connection, which there is none yet.
fn request_labels(source: &Workload, destination: &DestinationLabels, outcome: Outcome) -> Vec<LabelPair> {
    let mut labels = destination_labels(source, destination);
    labels.extend(outcome_labels(outcome));
    labels
}

fn destination_labels(source: &Workload, destination: &DestinationLabels) -> Vec<LabelPair> {
    let workload = &destination.workload;
    vec![
        label("reporter", "source"),
        label("source_workload", &source.name),
        label("source_workload_namespace", &source.namespace),
        label("source_principal", "unknown"),
        label("source_app", &source.app),
        label("source_version", &source.version),
        label("source_cluster", &source.cluster),
        label("source_canonical_service", &source.canonical_service),
        label("source_canonical_revision", &source.canonical_revision),
        label("destination_workload", &workload.name),
        label("destination_workload_namespace", &workload.namespace),
        label("destination_principal", "unknown"),
        label("destination_app", &workload.app),
        label("destination_version", &workload.version),
        label("destination_service", &destination.service),
        label("destination_service_name", &destination.service_name),
        label("destination_service_namespace", &destination.service_namespace),
        label("destination_cluster", &workload.cluster),
        label("destination_canonical_service", &workload.canonical_service),
        label("destination_canonical_revision", &workload.canonical_revision),
    ]
}

fn outcome_labels(outcome: Outcome) -> [LabelPair; 5] {
    let (protocol, status, grpc_status, flags) = if outcome == Outcome::OVERFLOW {
        ("http", "overflow".to_owned(), String::new(), "-".to_owned())
    } else {
        let protocol = match outcome.protocol() {
            RequestProtocol::Http => "http",
            RequestProtocol::Grpc => "grpc",
        };
        let grpc_status = outcome.grpc_status().map(|status| status.to_string()).unwrap_or_default();
        (protocol, outcome.status().to_string(), grpc_status, outcome.flags().to_string())
    };
    [
        label("request_protocol", protocol),
        label("response_code", &status),
        label("grpc_response_status", &grpc_status),
        label("response_flags", &flags),
        label("connection_security_policy", "unknown"),
    ]
}

/// A counter, and how it is read.
type ClusterCounter = (Family, fn(&ClusterCells) -> u64);

/// What is counted for each cluster.
const CLUSTER_COUNTERS: [ClusterCounter; 10] = [
    (CLUSTER_REQUESTS, |cells| cells.requests.get()),
    (CLUSTER_RETRIES, |cells| cells.retries.get()),
    (CLUSTER_OVERFLOW, |cells| cells.pending_overflow.get()),
    (CLUSTER_RETRY_OVERFLOW, |cells| cells.retry_overflow.get()),
    (CLUSTER_EJECTIONS, |cells| {
        cells.ejections_5xx.get() + cells.ejections_gateway.get() + cells.ejections_local.get()
    }),
    (CLUSTER_EJECTIONS_5XX, |cells| cells.ejections_5xx.get()),
    (CLUSTER_EJECTIONS_GATEWAY, |cells| cells.ejections_gateway.get()),
    (CLUSTER_EJECTIONS_LOCAL, |cells| cells.ejections_local.get()),
    (CLUSTER_EJECTIONS_OVERFLOW, |cells| cells.ejections_overflow.get()),
    (CLUSTER_CONNECTIONS, |cells| cells.connections_opened.get()),
];

fn clusters(state: &State, shards: &[Arc<SharedShard>]) -> Vec<MetricFamily> {
    let names = cluster_names(state);
    let labels = |name: &ClusterLabel| vec![label("cluster_name", &name.0)];
    let read = |slot: Slot, value: fn(&ClusterCells) -> u64| -> f64 {
        shards.iter().filter_map(|shard| lock(&shard.clusters).get(&slot).map(|cells| value(cells))).sum::<u64>() as f64
    };
    let counters = CLUSTER_COUNTERS.into_iter().map(|(of, value)| {
        family(of, names.iter().map(|(name, slot, _)| counter_metric(labels(name), read(*slot, value))).collect())
    });
    let gauges = |value: &dyn Fn(Slot, ClusterHealth) -> f64| -> Vec<Metric> {
        names.iter().map(|(name, slot, health)| gauge_metric(labels(name), value(*slot, *health))).collect()
    };
    let open = |slot: Slot| {
        let opened = read(slot, |cells| cells.connections_opened.get());
        (opened - read(slot, |cells| cells.connections_closed.get())).max(0.0)
    };
    let mut families: Vec<MetricFamily> = counters.collect();
    families.push(family(CLUSTER_ACTIVE, gauges(&|slot, _| open(slot))));
    families.push(family(CLUSTER_HEALTHY, gauges(&|_, health| health.healthy as f64)));
    families.push(family(CLUSTER_EJECTED, gauges(&|_, health| health.ejected as f64)));
    families
}

/// Every cluster and how its endpoints are; listed first, as a snapshot may be waiting to be built.
fn cluster_names(state: &State) -> Vec<(ClusterLabel, Slot, ClusterHealth)> {
    let clusters = lock(&state.clusters);
    let health = |slot: Slot| clusters.health.get(&slot).copied().unwrap_or_default();
    clusters.names.iter().map(|(name, slot, _)| (name.clone(), slot, health(slot))).collect()
}

fn listeners(state: &State, shards: &[Arc<SharedShard>]) -> [MetricFamily; 4] {
    let (mut total, mut active) = (Vec::new(), Vec::new());
    let (mut handshakes, mut failures) = (Vec::new(), Vec::new());
    for (name, slot, _) in lock(&state.listeners).iter() {
        let (mut opened, mut closed) = (0, 0);
        let (mut shaken, mut failed) = (0, 0);
        for shard in shards {
            if let Some(cells) = lock(&shard.listeners).get(&slot) {
                shaken += cells.handshakes.get();
                failed += cells.handshakes_failed.get();
                closed += cells.connections_closed.get();
                opened += cells.connections_opened.get();
            }
        }
        let labels = vec![label("listener_address", &name.0)];
        total.push(counter_metric(labels.clone(), opened as f64));
        active.push(gauge_metric(labels.clone(), opened.saturating_sub(closed) as f64));
        if shaken + failed > 0 {
            handshakes.push(counter_metric(labels.clone(), shaken as f64));
            failures.push(counter_metric(labels, failed as f64));
        }
    }
    [
        family(LISTENER_CONNECTIONS, total),
        family(LISTENER_ACTIVE, active),
        family(LISTENER_HANDSHAKES, handshakes),
        family(LISTENER_HANDSHAKE_ERRORS, failures),
    ]
}

fn splits(state: &State, shards: &[Arc<SharedShard>]) -> [MetricFamily; 4] {
    let (destinations, routes) = split_names(state);
    let total = |(labels, slot): &(SplitLabels, Slot)| {
        let requests = split_requests(shards, *slot);
        counter_metric(split_labels(&labels.route, &labels.destination), requests as f64)
    };
    let totals = destinations.iter().map(total).collect();
    let (mut configured, mut observed) = (Vec::new(), Vec::new());
    for (route, shares) in &routes {
        let since_change = |share: &Share| split_requests(shards, share.slot).saturating_sub(share.base);
        let requests: Vec<u64> = shares.iter().map(since_change).collect();
        let all: u64 = requests.iter().sum();
        for (share, requests) in shares.iter().zip(requests) {
            let labels = split_labels(route, &share.destination);
            configured.push(gauge_metric(labels.clone(), share.configured));
            if all > 0 {
                observed.push(gauge_metric(labels, requests as f64 / all as f64));
            }
        }
    }
    [
        family(SPLIT_REQUESTS, totals),
        family(SPLIT_CONFIGURED, configured),
        family(SPLIT_OBSERVED, observed),
        family(SPLIT_SPILLED, spilled(state, &routes)),
    ]
}

/// What destinations of spilling routes leave to others; a route that has nobody left to take it spills nothing.
fn spilled(state: &State, routes: &Routes) -> Vec<Metric> {
    let spilling = lock(&state.splits).spilling.clone();
    if spilling.is_empty() {
        return Vec::new();
    }
    let healthy: HashSet<Arc<str>> =
        cluster_names(state).into_iter().filter(|(.., health)| health.healthy > 0).map(|(name, ..)| name.0).collect();
    let is_healthy = |share: &Share| healthy.contains(&share.destination);
    let mut metrics = Vec::new();
    for (route, shares) in routes.iter().filter(|(route, _)| spilling.contains(route)) {
        let is_served = shares.iter().any(|share| is_healthy(share) && share.configured > 0.0);
        for share in shares {
            let spilled = if is_served && !is_healthy(share) { share.configured } else { 0.0 };
            metrics.push(gauge_metric(split_labels(route, &share.destination), spilled));
        }
    }
    metrics
}

type Routes = Vec<(Arc<str>, Vec<Share>)>;

/// Every destination, and the routes that are in force; listed first, as a snapshot may be waiting to be built.
fn split_names(state: &State) -> (Vec<(SplitLabels, Slot)>, Routes) {
    let splits = lock(&state.splits);
    let held: HashSet<Slot> = splits.names.iter().filter(|(_, _, held)| *held).map(|(_, slot, _)| slot).collect();
    let in_force = |shares: &Vec<Share>| shares.iter().all(|share| held.contains(&share.slot));
    let routes = splits.routes.iter().filter(|(_, shares)| in_force(shares));
    let routes = routes.map(|(route, shares)| (Arc::clone(route), shares.clone())).collect();
    (splits.names.iter().map(|(labels, slot, _)| (labels.clone(), slot)).collect(), routes)
}

fn split_labels(route: &str, destination: &str) -> Vec<LabelPair> {
    vec![label("destination", destination), label("route", route)]
}

fn process(state: &State) -> Vec<MetricFamily> {
    let config = lock(&state.config).clone();
    let one = |family_of: Family, metric: Metric| family(family_of, vec![metric]);
    let dropped = state.lines_dropped.load(Ordering::Relaxed) as f64;
    let panics = state.panics.load(Ordering::Relaxed) as f64;
    let build = vec![label("component", "proxy"), label("tag", &state.tag)];
    let reloads = vec![
        counter_metric(vec![label("result", "applied")], config.applied as f64),
        counter_metric(vec![label("result", "refused")], config.refused as f64),
    ];
    let found = |(level, count): (&Level, &u64)| gauge_metric(vec![label("level", level.as_str())], *count as f64);
    let findings = config.findings.iter().map(found).collect();
    let mut families = vec![
        one(BUILD, gauge_metric(build, 1.0)),
        family(CONFIG_RELOADS, reloads),
        one(CONFIG_ERRORS, gauge_metric(Vec::new(), config.errors as f64)),
        family(CONFIG_FINDINGS, findings),
        one(LINES_DROPPED, counter_metric(Vec::new(), dropped)),
        one(PANICS, counter_metric(Vec::new(), panics)),
    ];
    families.extend(certificates(&config));
    if let Some(memory) = *lock(&state.memory) {
        families.push(one(MEMORY_USED, gauge_metric(Vec::new(), memory.used as f64)));
        families.push(one(MEMORY_LIMIT, gauge_metric(Vec::new(), memory.limit as f64)));
        families.push(one(MEMORY_PRESSURE, gauge_metric(Vec::new(), memory.pressure.into())));
    }
    if let Some(version) = &config.version {
        families.push(one(CONFIG_INFO, gauge_metric(vec![label("version", version)], 1.0)));
        families.push(one(CONFIG_TIME, gauge_metric(Vec::new(), config.last_applied)));
    }
    families
}

/// Labels are names from the configuration: as many as there are certificates.
fn certificates(config: &ConfigState) -> [MetricFamily; 3] {
    const DAY: i64 = 24 * 60 * 60;
    let expires = |(name, time): &(String, i64)| gauge_metric(vec![label("certificate", name)], *time as f64);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
    let first = config.certificates.iter().map(|(_, time)| time.saturating_sub(now).max(0) / DAY).min();
    let unusable = |[resource, file, line, field]: &[String; 4]| {
        let labels = [("field", field), ("file", file), ("line", line), ("resource", resource)];
        gauge_metric(labels.map(|(name, value)| label(name, value)).to_vec(), 1.0)
    };
    [
        family(CERTIFICATE_EXPIRES, config.certificates.iter().map(expires).collect()),
        family(CERTIFICATE_DAYS, first.map(|days| gauge_metric(Vec::new(), days as f64)).into_iter().collect()),
        family(CERTIFICATE_UNUSABLE, config.unusable.iter().map(unusable).collect()),
    ]
}

fn family(family: Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut proto = MetricFamily::default();
    proto.set_name(family.name.to_owned());
    proto.set_help(family.help.to_owned());
    proto.set_field_type(family.kind);
    proto.set_metric(metrics);
    proto
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn counter_metric(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge_metric(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

/// `units` of the cells make one of the exposition.
fn histogram_metric(labels: Vec<LabelPair>, sum: &HistogramSum, units: f64) -> Metric {
    let mut below = 0;
    let buckets = BOUNDS.iter().zip(sum.buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(sum.count());
    histogram.set_sample_sum(sum.sum as f64 / units);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}
