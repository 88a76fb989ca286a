//! What a change of files makes anew, and what it leaves as the very same object.

use std::collections::BTreeSet;
use std::net::IpAddr;

use config_model::model::{Endpoint, EndpointList};

use super::*;
use crate::snapshot::{ClusterRuntime, Snapshot};
use crate::source::Content;

const GATEWAY: &str = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: web}\nspec:\n  selector: {istio: \
                       ingressgateway}\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n";

/// A service with endpoints of versions v1 and v2 at these ports, and its subsets.
fn service(host: &str, ports: &[u16]) -> String {
    let endpoint = |(index, port): (usize, &u16)| {
        format!("  - {{address: 127.0.0.1, ports: {{http: {port}}}, labels: {{version: v{}}}}}\n", index % 2 + 1)
    };
    let endpoints: String = ports.iter().enumerate().map(endpoint).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  \
         resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints:\n{endpoints}---\napiVersion: \
         networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {host}}}\nspec:\n  host: {host}\n  subsets: [{{name: \
         v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]\n"
    )
}

/// Sends requests to subsets v1 and v2 of `a.example`, and those under /whole to all of `b.example`.
fn routes(weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  hosts: ['*']\n  gateways: \
         [web]\n  http:\n  - match: [{{uri: {{prefix: /whole}}}}]\n    route: [{{destination: {{host: b.example}}}}]\n  - \
         route:\n    - {{destination: {{host: a.example, subset: v1}}, weight: {weight}}}\n    - {{destination: {{host: \
         a.example, subset: v2}}, weight: {}}}\n",
        100 - weight
    )
}

struct Fixture {
    pipeline: Pipeline,
    metrics: Metrics,
    port_map: PortMap,
}

impl Fixture {
    fn new(role: Role) -> Self {
        let labels = [("istio".into(), "ingressgateway".into())].into();
        let proxy = Proxy { role, namespace: "default".into(), labels };
        let workload = crate::telemetry::DestinationLabels::unknown().workload;
        let metrics = Metrics::new((*workload).clone(), "test");
        Self { pipeline: Pipeline::new(proxy, "/etc/certs".into()), metrics, port_map: PortMap::new([(80, 8080)]) }
    }

    async fn change(&mut self, name: &str, text: &str, previous: Option<&Snapshot>) -> (Outcome, Built) {
        let change = Change { name: name.into(), content: Content::Text(text.into()) };
        let outcome = self.pipeline.take(vec![change]);
        let surroundings = Surroundings { metrics: &self.metrics, port_map: &self.port_map };
        (outcome, self.pipeline.build(&surroundings, previous).await)
    }

    /// A gateway, two services, and routes half and half, each in a file of its own.
    async fn started() -> (Self, Snapshot) {
        let mut fixture = Self::new(Role::Gateway);
        for (name, text) in [("gateway.yaml", GATEWAY.to_owned()), ("a.yaml", service("a.example", &[9001, 9002]))] {
            fixture.change(name, &text, None).await;
        }
        fixture.change("b.yaml", &service("b.example", &[9003]), None).await;
        let (_, built) = fixture.change("routes.yaml", &routes(50), None).await;
        (fixture, built.snapshot)
    }
}

fn cluster<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Arc<ClusterRuntime> {
    snapshot.clusters.iter().find(|cluster| &*cluster.name == name).unwrap()
}

fn addresses_of(cluster: &ClusterRuntime) -> Vec<String> {
    cluster.endpoints.entries().map(|entry| entry.endpoint.address.to_string()).collect()
}

#[tokio::test]
async fn every_cluster_has_its_endpoints_and_every_split_its_cells() {
    let (fixture, snapshot) = Fixture::started().await;
    assert_eq!(addresses_of(cluster(&snapshot, "outbound|80|v2|a.example")), ["127.0.0.1:9002"]);
    assert_eq!(addresses_of(cluster(&snapshot, "outbound|80|v1|a.example")), ["127.0.0.1:9001"]);
    let cells = snapshot.splits.iter().filter(|cell| cell.is_some()).count();
    assert_eq!((cells, snapshot.splits.len()), (2, 3), "a route without a choice has no cells");
    let exposed = fixture.metrics.expose();
    assert!(exposed.contains("tidegate_split_configured_share{destination=\"outbound|80|v1|a.example\""), "{exposed}");
    assert_eq!(snapshot.listeners.len(), 1);
}

#[tokio::test]
async fn other_routes_compile_the_table_and_keep_every_cluster() {
    let (mut fixture, before) = Fixture::started().await;
    let (outcome, built) = fixture.change("routes.yaml", &routes(90), Some(&before)).await;
    assert!(outcome.changed);
    assert_eq!(built.extent, pipeline::Extent::Routing);
    assert!(!Arc::ptr_eq(&before.table, &built.snapshot.table));
    assert!(before.clusters.iter().zip(built.snapshot.clusters.iter()).all(|(old, new)| Arc::ptr_eq(old, new)));
    assert_ne!(before.version, built.snapshot.version);
}

#[tokio::test]
async fn a_route_that_did_not_change_is_the_very_same_as_before() {
    let (mut fixture, before) = Fixture::started().await;
    let (_, built) = fixture.change("routes.yaml", &routes(90), Some(&before)).await;
    let all = |snapshot: &Snapshot| -> Vec<_> {
        snapshot.table.routes().iter().map(|entry| Arc::clone(&entry.route)).collect()
    };
    let (before, after) = (all(&before), all(&built.snapshot));
    let same: Vec<bool> = before.iter().zip(&after).map(|(before, after)| Arc::ptr_eq(before, after)).collect();
    assert_eq!(same, [true, false], "the weights of the second have changed");
}

#[tokio::test]
async fn other_endpoints_keep_the_table_the_splits_and_the_clusters_of_other_services() {
    let (mut fixture, before) = Fixture::started().await;
    let (_, built) = fixture.change("b.yaml", &service("b.example", &[9003, 9004]), Some(&before)).await;
    // The DestinationRule in the file has moved by a line, and places are a part of the model.
    assert_eq!(built.extent, pipeline::Extent::Routing);
    let only_service = |ports: &[u16]| service("b.example", ports).split_once("---\n").unwrap().0.to_owned();
    let (_, built) = fixture.change("b.yaml", &only_service(&[9003]), Some(&built.snapshot)).await;
    let before = built.snapshot;
    let (_, built) = fixture.change("b.yaml", &only_service(&[9003, 9004]), Some(&before)).await;
    let after = built.snapshot;
    assert_eq!(built.extent, pipeline::Extent::Endpoints);
    assert!(Arc::ptr_eq(&before.table, &after.table) && Arc::ptr_eq(&before.splits, &after.splits));
    let name = "outbound|80|v1|a.example";
    assert!(Arc::ptr_eq(cluster(&before, name), cluster(&after, name)));
    let name = "outbound|80||b.example";
    assert_eq!(addresses_of(cluster(&after, name)), ["127.0.0.1:9003", "127.0.0.1:9004"]);
    let state =
        |snapshot: &Snapshot| Arc::clone(&cluster(snapshot, name).endpoints.get(balance::EntryIndex(0)).unwrap().state);
    assert!(Arc::ptr_eq(&state(&before), &state(&after)));
}

/// A headless Service with a port of TCP.
fn headless(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: None, ports: [{{name: tcp-db, port: \
         5432}}]}}\n"
    )
}

fn slice(service: &str, addresses: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {service}-1, labels: \
         {{kubernetes.io/service-name: {service}}}}}\naddressType: IPv4\nports: [{{name: tcp-db, port: \
         5433}}]\nendpoints: [{{addresses: [{addresses}]}}]\n"
    )
}

#[tokio::test]
async fn pods_that_come_or_go_change_whose_listener_an_address_belongs_to_and_no_table() {
    let mut fixture = Fixture::new(Role::Sidecar);
    for (name, text) in
        [("one.yaml", headless("one")), ("two.yaml", headless("two")), ("one-1.yaml", slice("one", "10.0.0.1"))]
    {
        fixture.change(name, &text, None).await;
    }
    let (_, built) = fixture.change("two-1.yaml", &slice("two", "10.0.0.2"), None).await;
    let before = built.snapshot;
    let whose = |snapshot: &Snapshot, wanted: &str| {
        let listener = snapshot.listener_of_pod(wanted.parse().unwrap());
        listener.map_or_else(String::new, |listener| listener.to_string())
    };
    let of = |name: &str| format!("pods://{name}.default.svc.cluster.local:5432");
    assert_eq!(whose(&before, "10.0.0.1:5432"), of("one"));
    assert_eq!(whose(&before, "10.0.0.2:5432"), of("two"));
    assert_eq!(whose(&before, "10.0.0.2:5433"), "", "it is the service's port that is meant");

    let (_, built) = fixture.change("two-1.yaml", &slice("two", "10.0.0.3"), Some(&before)).await;
    let after = built.snapshot;
    assert_eq!(built.extent, pipeline::Extent::Endpoints);
    assert!(Arc::ptr_eq(&before.table, &after.table) && Arc::ptr_eq(&before.listeners, &after.listeners));
    assert_eq!(whose(&after, "10.0.0.3:5432"), of("two"));
    assert_eq!(whose(&after, "10.0.0.2:5432"), "");
    assert!(Arc::ptr_eq(&before.pods[0].addresses, &after.pods[0].addresses), "those of the other service stay");
}

#[tokio::test]
async fn a_comment_changes_the_version_and_nothing_else() {
    let (mut fixture, before) = Fixture::started().await;
    let text = format!("{}# the end\n", routes(50));
    let (outcome, built) = fixture.change("routes.yaml", &text, Some(&before)).await;
    assert!(outcome.changed);
    assert_eq!(built.extent, pipeline::Extent::Nothing);
    assert!(Arc::ptr_eq(&before.table, &built.snapshot.table));
    assert_ne!(before.version, built.snapshot.version);
}

#[tokio::test]
async fn what_resolving_finds_is_told_once() {
    let (mut fixture, before) = Fixture::started().await;
    let late = routes(50).replace("name: v}", "name: w}").replace("web", "nowhere");
    let (_, first) = fixture.change("late.yaml", &late, Some(&before)).await;
    let (_, second) = fixture.change("routes.yaml", &routes(20), Some(&first.snapshot)).await;
    assert!(second.findings.iter().all(|finding| !first.findings.contains(finding)), "{:?}", second.findings);
}

#[tokio::test]
async fn addresses_of_names_are_found_before_the_snapshot_and_exchanged_when_they_change() {
    let (mut fixture, before) = Fixture::started().await;
    assert!(!fixture.pipeline.has_names());
    let named = service("b.example", &[9003]).replace("STATIC", "DNS").replace("127.0.0.1", "localhost");
    let (_, built) = fixture.change("b.yaml", &named, Some(&before)).await;
    assert!(fixture.pipeline.has_names());
    let name = "outbound|80||b.example";
    let found = addresses_of(cluster(&built.snapshot, name));
    assert!(found.iter().any(|address| address == "127.0.0.1:9003" || address == "[::1]:9003"), "{found:?}");

    let ips: BTreeSet<IpAddr> = ["127.0.0.9".parse().unwrap()].into();
    let answers = || vec![("localhost".into(), Ok(ips.clone()))];
    let after = fixture.pipeline.learn(answers(), &fixture.metrics, &built.snapshot).unwrap();
    assert_eq!(addresses_of(cluster(&after, name)), ["127.0.0.9:9003"]);
    assert!(Arc::ptr_eq(&after.table, &built.snapshot.table));
    assert!(fixture.pipeline.learn(answers(), &fixture.metrics, &after).is_none(), "the same addresses change nothing");
}

#[tokio::test]
async fn endpoints_that_take_no_traffic_are_there_and_not_counted_as_healthy() {
    let (fixture, snapshot) = Fixture::started().await;
    let surroundings = Surroundings { metrics: &fixture.metrics, port_map: &fixture.port_map };
    let mut unready = |_: &config_model::model::Cluster| -> Vec<EndpointList> {
        let entry = cluster(&snapshot, "outbound|80||b.example").endpoints.get(balance::EntryIndex(0)).unwrap();
        let endpoint = Endpoint { health: config_model::model::Health::NotReady, ..(*entry.endpoint).clone() };
        vec![[endpoint.into()].into()]
    };
    let model = (*snapshot.model).clone();
    let after = build::full(&surroundings, "x".into(), model, (&mut unready, Arc::default()), Some(&snapshot));
    let cluster = cluster(&after, "outbound|80||b.example");
    assert_eq!((cluster.endpoints.len(), cluster.endpoints.ready_count()), (1, 0));
    assert!(fixture.metrics.expose().contains("envoy_cluster_membership_healthy"));
}

const STRICT: &str = "\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}}";

#[tokio::test]
async fn endpoints_come_back_in_time_and_the_metric_of_healthy_ones_follows() {
    let (mut fixture, before) = Fixture::started().await;
    assert!(before.tended.is_empty(), "nobody is ejected where nothing is said of it");
    let strict =
        service("b.example", &[9003, 9004]).replace("  host: b.example", &format!("  host: b.example{STRICT}"));
    let (_, built) = fixture.change("b.yaml", &strict, Some(&before)).await;
    let name = "outbound|80||b.example";
    let tended: Vec<&str> =
        built.snapshot.tended.iter().map(|&index| &*built.snapshot.cluster(index).unwrap().name).collect();
    assert_eq!(tended, [name]);

    let set = &cluster(&built.snapshot, name).endpoints;
    let start = Instant::now();
    let healthy_at = |seconds: u64| {
        tend::tend(&built.snapshot, &fixture.metrics, start + Duration::from_secs(seconds));
        let line = format!("envoy_cluster_membership_healthy{{cluster_name=\"{name}\"}} ");
        let exposed = fixture.metrics.expose();
        let value = exposed.lines().find_map(|exposed| exposed.strip_prefix(&line)).map(str::to_owned);
        value.unwrap_or(exposed)
    };
    assert_eq!(healthy_at(0), "2");
    let ejected = set.report(balance::EntryIndex(1), balance::Report::Answer(503), start);
    assert!(matches!(ejected, Some(balance::OutlierEvent::Ejected { .. })));
    assert_eq!(healthy_at(1), "1");
    assert_eq!((healthy_at(29), healthy_at(45)), ("1".into(), "2".into()));
}

#[tokio::test]
async fn a_cluster_has_the_policy_of_its_rule_and_knows_whether_it_has_limits() {
    let (mut fixture, before) = Fixture::started().await;
    let name = "outbound|80||b.example";
    assert!(!cluster(&before, name).has_limits);
    for (policy, has_limits) in [
        ("connectionPool: {http: {http2MaxRequests: 1}}", true),
        ("connectionPool: {http: {idleTimeout: 1s}}", false),
        ("retryBudget: {percent: 10}", true),
    ] {
        let rule = format!("  host: b.example\n  trafficPolicy: {{{policy}}}");
        let text = service("b.example", &[9003]).replace("  host: b.example", &rule);
        let (_, built) = fixture.change("b.yaml", &text, Some(&before)).await;
        let cluster = cluster(&built.snapshot, name);
        assert_eq!(cluster.has_limits, has_limits, "{policy}");
        assert!(Arc::ptr_eq(&cluster.endpoints.rules().policy, cluster.definition.policy.as_ref().unwrap()));
    }
}

#[tokio::test]
async fn the_next_priority_is_used_when_the_first_one_has_failed() {
    let (mut fixture, before) = Fixture::started().await;
    let policy = "\n  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 1, maxEjectionPercent: 100}, loadBalancer: \
                  {localityLbSetting: {failoverPriority: [version=v1]}}}";
    let text = service("b.example", &[9003, 9004]).replace("  host: b.example", &format!("  host: b.example{policy}"));
    let (outcome, built) = fixture.change("b.yaml", &text, Some(&before)).await;
    assert_eq!(outcome.errors, []);
    let set = &cluster(&built.snapshot, "outbound|80||b.example").endpoints;
    let pick = || {
        let mut picker = balance::Picker::new(0);
        picker.pick(set, &mut || 0, balance::Wish::first(None)).map(|index| index.0)
    };
    assert_eq!(pick(), Some(0));
    set.report(balance::EntryIndex(0), balance::Report::NoAnswer, Instant::now());
    set.refresh(Instant::now());
    assert_eq!(pick(), Some(1));
}

#[test]
fn access_logs_of_the_configuration_stand_before_that_of_the_command_line() {
    use config_model::model::{AccessLog, AccessLogFormat, Format};
    let options = GatewayOptions { access_log: Target::Stderr, ..GatewayOptions::new("/") };
    let log = |path: &str| AccessLog {
        path: path.to_owned(),
        format: AccessLogFormat::Text(Format::istio_default()),
        omits_absent: false,
        filter: None,
    };
    let mut model = Model::clone(&snapshot_of(&[("gateway.yaml", GATEWAY)]).0.model);
    for (access_logs, want) in [
        (None, vec![Target::Stderr]),
        (Some(vec![]), vec![]),
        (Some(vec![log("/dev/stdout"), log("/var/log/a")]), vec![Target::Stdout, Target::File("/var/log/a".into())]),
    ] {
        model.access_logs = access_logs;
        let wanted: Vec<Target> = wanted_logs(&options, &model).into_iter().map(|log| log.target).collect();
        assert_eq!(wanted, want);
    }
}

/// A snapshot of files, for tests of other modules.
pub(crate) fn snapshot_of(files: &[(&str, &str)]) -> (Snapshot, config_model::resolve::ResourceSet) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut fixture = Fixture::new(Role::Gateway);
        let mut snapshot = None;
        for (name, text) in files {
            let (outcome, built) = fixture.change(name, text, snapshot.as_ref()).await;
            assert_eq!(outcome.errors, []);
            snapshot = Some(built.snapshot);
        }
        (snapshot.unwrap(), fixture.pipeline.resources().clone())
    })
}

/// The files that [`Fixture::started`] has.
pub(crate) fn example() -> Vec<(&'static str, String)> {
    vec![
        ("gateway.yaml", GATEWAY.to_owned()),
        ("a.yaml", service("a.example", &[9001, 9002])),
        ("b.yaml", service("b.example", &[9003])),
        ("routes.yaml", routes(50)),
    ]
}
