//! Metrics from record to exposition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use balance::EjectionCause;
use config_model::model::Workload;
use proptest::prelude::*;
use regex::Regex;

use super::names::RETENTION;
use super::*;

fn workload(name: &str) -> Workload {
    Workload {
        name: format!("{name}-v1").into(),
        namespace: "default".into(),
        app: name.into(),
        version: "v1".into(),
        canonical_service: name.into(),
        canonical_revision: "v1".into(),
        principal: format!("spiffe://cluster.local/ns/default/sa/{name}").into(),
        cluster: "Kubernetes".into(),
    }
}

fn destination(name: &str) -> DestinationLabels {
    DestinationLabels {
        service: format!("{name}.default.svc.cluster.local").into(),
        service_name: name.into(),
        service_namespace: "default".into(),
        workload: Arc::new(workload(name)),
    }
}

fn metrics() -> Metrics {
    Metrics::new(workload("gateway"), "0.1.0")
}

fn record(series: &SeriesId) -> RequestRecord<'_> {
    RequestRecord {
        series,
        split: None,
        protocol: RequestProtocol::Http,
        status: 200,
        grpc_status: None,
        flags: Flags::NONE,
        duration: Duration::from_micros(1500),
        request_bytes: 300,
        response_bytes: 2000,
    }
}

type Labels = BTreeMap<String, String>;

static SAMPLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$"#).unwrap());
static LABEL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)"#).unwrap());

/// One exposition, read as strictly as a test needs.
#[derive(Debug, Default, Clone, PartialEq)]
struct Exposition {
    types: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    fn parse(text: &str) -> Self {
        let mut read = Self::default();
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(read.types.insert(name.into(), kind.into()).is_none(), "{name} comes twice");
            } else if !line.starts_with("# HELP ") {
                let parts = SAMPLE.captures(line).unwrap_or_else(|| panic!("not a sample: {line}"));
                let text = parts.get(2).map_or("", |labels| labels.as_str());
                let labels: Labels = LABEL.captures_iter(text).map(|pair| (pair[1].into(), pair[2].into())).collect();
                assert_eq!(labels.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>(), {
                    if text.is_empty() { 0 } else { text.len() + 1 }
                });
                let before = read.samples.insert((parts[1].into(), labels), parts[3].parse().unwrap());
                assert!(before.is_none(), "comes twice: {line}");
            }
        }
        read.check();
        read
    }

    /// Every sample has a type; buckets rise, and the last is the count.
    fn check(&self) {
        let mut buckets: BTreeMap<(&str, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let histogram = base.filter(|base| self.types.get(*base).is_some_and(|kind| kind == "histogram"));
            assert!(histogram.is_some() || self.types.contains_key(name), "{name} has no type");
            let mut labels = labels.clone();
            if let (Some(base), Some(bound)) = (histogram, labels.remove("le")) {
                buckets.entry((base, labels)).or_default().push((bound.parse().unwrap(), *value));
            }
        }
        for ((base, labels), mut buckets) in buckets {
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1), "{base}: {buckets:?}");
            assert_eq!(buckets.len(), 20);
            let count = self.samples.get(&(format!("{base}_count"), labels));
            assert_eq!(buckets.last(), count.map(|count| (f64::INFINITY, *count)).as_ref());
        }
    }

    /// The values of a metric whose labels include these.
    fn values(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let wanted = |have: &Labels| labels.iter().all(|(name, value)| have.get(*name).is_some_and(|is| is == value));
        self.samples.iter().filter(|((is, have), _)| is == name && wanted(have)).map(|(_, value)| *value).collect()
    }

    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.values(name, labels);
        assert_eq!(values.len(), 1, "{name} {labels:?}");
        values[0]
    }
}

fn exposed(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.expose())
}

#[test]
fn istios_counter_has_exactly_istios_labels() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    metrics.shard().record(&record(&series));
    let expected = [
        ("reporter", "source"),
        ("source_workload", "gateway-v1"),
        ("source_workload_namespace", "default"),
        ("source_principal", "unknown"),
        ("source_app", "gateway"),
        ("source_version", "v1"),
        ("source_cluster", "Kubernetes"),
        ("source_canonical_service", "gateway"),
        ("source_canonical_revision", "v1"),
        ("destination_workload", "reviews-v1"),
        ("destination_workload_namespace", "default"),
        ("destination_principal", "unknown"),
        ("destination_app", "reviews"),
        ("destination_version", "v1"),
        ("destination_service", "reviews.default.svc.cluster.local"),
        ("destination_service_name", "reviews"),
        ("destination_service_namespace", "default"),
        ("destination_cluster", "Kubernetes"),
        ("destination_canonical_service", "reviews"),
        ("destination_canonical_revision", "v1"),
        ("request_protocol", "http"),
        ("response_code", "200"),
        ("grpc_response_status", ""),
        ("response_flags", "-"),
        ("connection_security_policy", "unknown"),
    ];
    let labels: Labels = expected.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let read = exposed(&metrics);
    assert_eq!(read.samples.get(&("istio_requests_total".into(), labels)), Some(&1.0));
    for (name, sum) in
        [("istio_request_duration_milliseconds", 1.5), ("istio_request_bytes", 300.0), ("istio_response_bytes", 2000.0)]
    {
        assert_eq!(read.value(&format!("{name}_sum"), &expected), sum);
        assert_eq!(read.value(&format!("{name}_count"), &expected), 1.0);
    }
    assert_eq!(read.value("istio_build", &[("component", "proxy"), ("tag", "0.1.0")]), 1.0);
}

#[test]
fn counters_are_written_as_whole_numbers_one_line_for_each_code() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let mut shard = metrics.shard();
    (0..5).for_each(|_| shard.record(&record(&series)));
    shard.record(&RequestRecord { status: 500, ..record(&series) });
    let text = metrics.expose();
    for pattern in [
        r#"(?m)^istio_requests_total\{[^}]*response_code="200"[^}]*\} 5$"#,
        r#"(?m)^istio_requests_total\{[^}]*response_code="500"[^}]*\} 1$"#,
        r#"(?m)^istio_request_duration_milliseconds_bucket\{"#,
        r"(?m)^# TYPE \S+ counter",
    ] {
        assert_eq!(Regex::new(pattern).unwrap().find_iter(&text).count().min(1), 1, "{pattern}");
    }
}

#[test]
fn what_tells_outcomes_apart_is_told_apart() {
    let metrics = metrics();
    let series = metrics.series(&DestinationLabels::unknown());
    let mut shard = metrics.shard();
    let http = record(&series);
    let grpc = RequestRecord { protocol: RequestProtocol::Grpc, ..http };
    shard.record(&RequestRecord { status: 404, flags: Flags::NO_ROUTE_FOUND, ..http });
    shard.record(&RequestRecord { status: 0, flags: Flags::DOWNSTREAM_CONNECTION_TERMINATION, ..http });
    shard.record(&grpc);
    shard.record(&RequestRecord { grpc_status: Some(0), ..grpc });
    shard.record(&RequestRecord { grpc_status: Some(14), ..grpc });
    let read = exposed(&metrics);
    for labels in [
        [
            ("response_code", "404"),
            ("response_flags", "NR"),
            ("request_protocol", "http"),
            ("grpc_response_status", ""),
        ],
        [("response_code", "0"), ("response_flags", "DC"), ("request_protocol", "http"), ("grpc_response_status", "")],
        [("response_code", "200"), ("response_flags", "-"), ("request_protocol", "grpc"), ("grpc_response_status", "")],
        [
            ("response_code", "200"),
            ("response_flags", "-"),
            ("request_protocol", "grpc"),
            ("grpc_response_status", "0"),
        ],
        [
            ("response_code", "200"),
            ("response_flags", "-"),
            ("request_protocol", "grpc"),
            ("grpc_response_status", "14"),
        ],
    ] {
        assert_eq!(read.value("istio_requests_total", &labels), 1.0, "{labels:?}");
    }
}

#[test]
fn a_hostile_back_end_cannot_make_series_without_end() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let mut shard = metrics.shard();
    (100..1000).chain(100..1000).for_each(|status| shard.record(&RequestRecord { status, ..record(&series) }));
    let read = exposed(&metrics);
    let counts = read.values("istio_requests_total", &[]);
    assert_eq!(counts.len(), 129);
    assert_eq!(counts.iter().sum::<f64>(), 1800.0);
    assert_eq!(read.value("istio_requests_total", &[("response_code", "overflow")]), 1800.0 - 256.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn shards_sum_to_what_was_recorded(
        requests in prop::collection::vec((0usize..3, 0usize..4, 0u64..5_000_000, 0u64..5000), 0..60)
    ) {
        let metrics = metrics();
        let names = ["a", "b", "c", "d"];
        let series = names.map(|name| metrics.series(&destination(name)));
        let mut shards = [metrics.shard(), metrics.shard(), metrics.shard()];
        for (shard, name, micros, bytes) in &requests {
            let duration = Duration::from_micros(*micros);
            shards[*shard].record(&RequestRecord { duration, request_bytes: *bytes, ..record(&series[*name]) });
        }
        let read = exposed(&metrics);
        for (index, name) in names.iter().enumerate() {
            let of_name: Vec<_> = requests.iter().filter(|request| request.1 == index).collect();
            if of_name.is_empty() {
                prop_assert!(read.values("istio_requests_total", &[("destination_service_name", name)]).is_empty());
                continue;
            }
            let labels = [("destination_service_name", *name)];
            let count = of_name.len() as f64;
            prop_assert_eq!(read.value("istio_requests_total", &labels), count);
            let millis = of_name.iter().map(|request| request.2).sum::<u64>() as f64 / 1000.0;
            prop_assert_eq!(read.value("istio_request_duration_milliseconds_sum", &labels), millis);
            let small = of_name.iter().filter(|request| request.3 <= 100).count() as f64;
            let bucket = [labels[0], ("le", "100")];
            prop_assert_eq!(read.value("istio_request_bytes_bucket", &bucket), small);
        }
    }
}

#[test]
fn reading_while_a_worker_writes_never_goes_back() {
    const REQUESTS: usize = 20_000;
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (mut shard, series) = (metrics.shard(), series.clone());
            let done = &done;
            scope.spawn(move || {
                (0..REQUESTS).for_each(|_| shard.record(&record(&series)));
                done.store(true, Ordering::Release);
            });
        }
        let mut before = 0.0;
        while !done.load(Ordering::Acquire) {
            let now = exposed(&metrics).values("istio_requests_total", &[]).iter().sum();
            assert!(now >= before);
            before = now;
        }
    });
    assert_eq!(exposed(&metrics).value("istio_requests_total", &[]), 2.0 * REQUESTS as f64);
}

#[test]
fn what_a_worker_counted_outlives_it() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let mut shard = metrics.shard();
    shard.record(&record(&series));
    drop(shard);
    metrics.shard().record(&record(&series));
    assert_eq!(exposed(&metrics).value("istio_requests_total", &[]), 2.0);
}

#[test]
fn recording_allocates_nothing_in_the_steady_state() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let cluster = metrics.cluster(&"outbound|9080||reviews".into());
    let split = metrics.split(&"default/reviews/http[0]".into(), &[("v1".into(), 0.5), ("v2".into(), 0.5)]);
    let listener = metrics.listener(&"0.0.0.0:8080".parse().unwrap());
    let mut shard = metrics.shard();
    let mut request = || {
        shard.downstream_connection_opened(&listener);
        shard.upstream_request(&cluster);
        shard.retry(&cluster);
        shard.record(&RequestRecord { split: split.first(), ..record(&series) });
        shard.record(&RequestRecord { status: 503, split: split.last(), ..record(&series) });
        shard.downstream_connection_closed(&listener);
    };
    request();
    let allocations = allocation_counter::measure(|| (0..1000).for_each(|_| request()));
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn a_cluster_shows_before_its_first_request() {
    let metrics = metrics();
    let cluster = metrics.cluster(&"outbound|9080|v1|reviews".into());
    metrics.set_health(&cluster, ClusterHealth { healthy: 3, ejected: 2 });
    let labels = [("cluster_name", "outbound|9080|v1|reviews")];
    let read = exposed(&metrics);
    assert_eq!(read.value("envoy_cluster_upstream_rq_total", &labels), 0.0);
    assert_eq!(read.value("envoy_cluster_membership_healthy", &labels), 3.0);
    assert_eq!(read.value("envoy_cluster_outlier_detection_ejections_active", &labels), 2.0);
    let (mut one, mut other) = (metrics.shard(), metrics.shard());
    (0..3).for_each(|_| one.upstream_request(&cluster));
    one.upstream_connection_opened(&cluster);
    other.upstream_connection_opened(&cluster);
    other.upstream_connection_closed(&cluster);
    one.retry(&cluster);
    other.pending_overflow(&cluster);
    one.retry_overflow(&cluster);
    (0..2).for_each(|_| other.ejection(&cluster, EjectionCause::Consecutive5xx));
    one.ejection(&cluster, EjectionCause::ConsecutiveGatewayErrors);
    one.ejection(&cluster, EjectionCause::ConsecutiveLocalOriginFailures);
    one.ejection_overflow(&cluster);
    let read = exposed(&metrics);
    for (name, value) in [
        ("envoy_cluster_upstream_rq_total", 3.0),
        ("envoy_cluster_upstream_cx_active", 1.0),
        ("envoy_cluster_upstream_cx_total", 2.0),
        ("envoy_cluster_upstream_rq_retry", 1.0),
        ("envoy_cluster_upstream_rq_pending_overflow", 1.0),
        ("envoy_cluster_upstream_rq_retry_overflow", 1.0),
        ("envoy_cluster_outlier_detection_ejections_enforced_total", 4.0),
        ("envoy_cluster_outlier_detection_ejections_enforced_consecutive_5xx", 2.0),
        ("envoy_cluster_outlier_detection_ejections_enforced_consecutive_gateway_failure", 1.0),
        ("envoy_cluster_outlier_detection_ejections_enforced_consecutive_local_origin_failure", 1.0),
        ("envoy_cluster_outlier_detection_ejections_overflow", 1.0),
    ] {
        assert_eq!(read.value(name, &labels), value, "{name}");
    }
}

#[test]
fn a_listener_counts_its_connections() {
    let metrics = metrics();
    let listener = metrics.listener(&"[::]:8443".parse().unwrap());
    let mut shard = metrics.shard();
    (0..3).for_each(|_| shard.downstream_connection_opened(&listener));
    shard.downstream_connection_closed(&listener);
    let read = exposed(&metrics);
    let labels = [("listener_address", "::_8443")];
    assert_eq!(read.value("envoy_listener_downstream_cx_total", &labels), 3.0);
    assert_eq!(read.value("envoy_listener_downstream_cx_active", &labels), 2.0);
}

fn split_shares(metrics: &Metrics, name: &str) -> Vec<f64> {
    exposed(metrics).values(name, &[("route", "default/reviews/http[0]")])
}

#[test]
fn the_share_of_a_destination_without_healthy_endpoints_is_told_where_it_spills() {
    let metrics = metrics();
    let route: Arc<str> = "default/reviews/http[0]".into();
    let _held = metrics.split(&route, &[("v1".into(), 0.75), ("v2".into(), 0.25)]);
    let (v1, v2) = (metrics.cluster(&"v1".into()), metrics.cluster(&"v2".into()));
    let spilled = || split_shares(&metrics, "tidegate_split_spilled_share");
    assert!(spilled().is_empty(), "not a route that spills");
    metrics.set_spilling([Arc::clone(&route)].into_iter());
    for (healthy, want) in [([1, 1], [0.0, 0.0]), ([1, 0], [0.0, 0.25]), ([0, 0], [0.0, 0.0])] {
        metrics.set_health(&v1, ClusterHealth { healthy: healthy[0], ejected: 0 });
        metrics.set_health(&v2, ClusterHealth { healthy: healthy[1], ejected: 0 });
        assert_eq!(spilled(), want, "{healthy:?}");
    }
}

#[test]
fn the_observed_share_is_counted_from_the_last_change_of_weights() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let mut shard = metrics.shard();
    let route: Arc<str> = "default/reviews/http[0]".into();
    let weights = |one: f64, other: f64| [(Arc::from("v1"), one), (Arc::from("v2"), other)];
    let even = metrics.split(&route, &weights(0.5, 0.5));
    assert!(split_shares(&metrics, "tidegate_split_observed_share").is_empty());
    even.iter().for_each(|split| shard.record(&RequestRecord { split: Some(split), ..record(&series) }));
    assert_eq!(split_shares(&metrics, "tidegate_split_observed_share"), [0.5, 0.5]);

    let again = metrics.split(&route, &weights(0.5, 0.5));
    assert_eq!(again, even);
    assert_eq!(split_shares(&metrics, "tidegate_split_observed_share"), [0.5, 0.5]);

    let canary = metrics.split(&route, &weights(0.75, 0.25));
    for place in [0, 0, 0, 1] {
        shard.record(&RequestRecord { split: Some(&canary[place]), ..record(&series) });
    }
    assert_eq!(split_shares(&metrics, "tidegate_split_configured_share"), [0.75, 0.25]);
    assert_eq!(split_shares(&metrics, "tidegate_split_observed_share"), [0.75, 0.25]);
    assert_eq!(split_shares(&metrics, "tidegate_split_requests_total"), [4.0, 2.0]);
}

#[test]
fn two_destinations_of_one_name_are_one_share() {
    let metrics = metrics();
    let route: Arc<str> = "default/reviews/http[0]".into();
    let ids = metrics.split(&route, &[("v1".into(), 0.25), ("v2".into(), 0.5), ("v1".into(), 0.25)]);
    assert_eq!(ids[0], ids[2]);
    assert_eq!(split_shares(&metrics, "tidegate_split_configured_share"), [0.5, 0.5]);
}

#[test]
fn a_destination_that_left_its_route_has_no_share_but_keeps_its_count() {
    let metrics = metrics();
    let series = metrics.series(&destination("reviews"));
    let mut shard = metrics.shard();
    let route: Arc<str> = "default/reviews/http[0]".into();
    let before = metrics.split(&route, &[("v1".into(), 0.5), ("v2".into(), 0.5)]);
    before.iter().for_each(|split| shard.record(&RequestRecord { split: Some(split), ..record(&series) }));
    let after = metrics.split(&route, &[("v2".into(), 1.0)]);
    drop(before);
    assert_eq!(split_shares(&metrics, "tidegate_split_configured_share"), [1.0]);
    assert_eq!(split_shares(&metrics, "tidegate_split_requests_total"), [1.0, 1.0]);
    drop(after);
    assert!(split_shares(&metrics, "tidegate_split_configured_share").is_empty());
}

#[test]
fn counters_outlive_a_change_and_are_forgotten_after_the_retention() {
    let metrics = metrics();
    let mut shard = metrics.shard();
    let cluster: Arc<str> = "outbound|9080||reviews".into();
    let hold = |metrics: &Metrics| (metrics.series(&destination("reviews")), metrics.cluster(&cluster));
    let held = hold(&metrics);
    shard.record(&record(&held.0));
    shard.upstream_request(&held.1);
    let start = Instant::now();
    let count = |now: Instant| {
        let read = Exposition::parse(&metrics.expose_at(now));
        (read.values("istio_requests_total", &[]), read.values("envoy_cluster_upstream_rq_total", &[]))
    };
    drop(held);
    assert_eq!(count(start), (vec![1.0], vec![1.0]));
    let back = hold(&metrics);
    shard.record(&record(&back.0));
    assert_eq!(count(start + RETENTION), (vec![2.0], vec![1.0]));
    drop(back);
    assert_eq!(count(start + 2 * RETENTION), (vec![2.0], vec![1.0]));
    assert_eq!(count(start + 3 * RETENTION), (vec![], vec![]));
    let anew = hold(&metrics);
    shard.record(&record(&anew.0));
    assert_eq!(count(start + 4 * RETENTION), (vec![1.0], vec![0.0]));
}

#[test]
fn the_state_of_the_configuration_shows() {
    let metrics = metrics();
    let before = exposed(&metrics);
    assert!(before.values("tidegate_config_info", &[]).is_empty());
    metrics.config_applied("a1b2", UNIX_EPOCH + Duration::from_millis(1_767_323_045_500));
    metrics.config_applied("c3d4", UNIX_EPOCH + Duration::from_millis(1_767_323_046_500));
    metrics.config_refused();
    metrics.set_config_errors(2);
    metrics.set_config_findings(&[]);
    metrics.panicked();
    let read = exposed(&metrics);
    assert_eq!(read.values("tidegate_config_info", &[]), [1.0]);
    assert_eq!(read.value("tidegate_config_info", &[("version", "c3d4")]), 1.0);
    assert_eq!(read.value("tidegate_config_reloads_total", &[("result", "applied")]), 2.0);
    assert_eq!(read.value("tidegate_config_reloads_total", &[("result", "refused")]), 1.0);
    assert_eq!(read.value("tidegate_config_errors", &[]), 2.0);
    assert_eq!(read.value("tidegate_config_findings", &[("level", "Warning")]), 0.0);
    assert_eq!(read.value("tidegate_config_last_reload_timestamp_seconds", &[]), 1_767_323_046.5);
    assert_eq!(read.value("tidegate_panics_total", &[]), 1.0);
}

#[test]
fn label_values_from_files_are_escaped() {
    let metrics = metrics();
    let _held = metrics.cluster(&"out\"bo\\und\n".into());
    let read = exposed(&metrics);
    let names: BTreeSet<_> = read.samples.keys().filter_map(|(_, labels)| labels.get("cluster_name")).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [r#"out\"bo\\und\n"#]);
}
