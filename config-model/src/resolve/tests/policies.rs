//! Policies of clusters: which blocks hold, and what they come to.

use std::time::Duration;

use super::*;
use crate::model::{Balancing, Cluster, ClusterPolicy, Discovery, LocalityPolicy};

/// The services `s.example` with ports 80 and 81 and `t.example`, and routes to the former as a whole and to its subset `b`.
const SERVICES: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s, namespace: default}
spec:
  hosts: [s.example, t.example]
  resolution: STATIC
  ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, labels: {v: b}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: default}
spec:
  hosts: ['*']
  gateways: [web]
  http:
  - {match: [{uri: {prefix: /b}}], route: [{destination: {host: s.example, port: {number: 80}, subset: b}}]}
  - {match: [{uri: {prefix: /81}}], route: [{destination: {host: s.example, port: {number: 81}}}]}
  - {match: [{uri: {prefix: /t}}], route: [{destination: {host: t.example, port: {number: 80}}}]}
  - {route: [{destination: {host: s.example, port: {number: 80}}}]}
---
";

fn rule(host: &str, policy: &str, of_subset: &str) -> String {
    let policy = if policy.is_empty() { String::new() } else { format!("trafficPolicy: {policy}, ") };
    let of_subset = if of_subset.is_empty() { String::new() } else { format!(", trafficPolicy: {of_subset}") };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {}, namespace: default}}\nspec: {{host: \
         '{host}', {policy}subsets: [{{name: b, labels: {{v: b}}{of_subset}}}]}}\n---\n",
        host.replace('*', "any").trim_start_matches('.')
    )
}

fn mesh(config: &str) -> String {
    let lines: String = config.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{lines}---\n"
    )
}

/// The cluster whose name begins so, at a proxy in `r1/z1/s1`.
fn cluster(rules: &str, name: &str) -> Cluster {
    let near = labels(&[("istio", "ingressgateway"), ("istio-locality", "r1.z1.s1"), ("version", "v1")]);
    let proxy = Proxy { labels: near, ..gateway() };
    let model = resolve(&set(&format!("{WEB}{SERVICES}{rules}")), &proxy).model;
    model.clusters.into_iter().find(|one| one.name.to_string().contains(name)).expect("the cluster")
}

fn whole(policy: &str) -> Cluster {
    cluster(&rule("s.example", policy, ""), "|80||s.example")
}

fn policy(text: &str) -> ClusterPolicy {
    whole(text).policy().clone()
}

/// The policy as JSON, in which limits that are not set are left out.
fn shown(value: &impl serde::Serialize) -> String {
    let mut value = serde_json::to_value(value).unwrap();
    prune(&mut value);
    value.to_string().replace('"', "")
}

fn prune(value: &mut serde_json::Value) {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(prune);
    }
}

#[test]
fn a_cluster_for_which_nothing_is_set_has_no_policy() {
    assert_eq!(whole("").policy, None);
    assert_eq!(whole("{loadBalancer: {simple: RANDOM}}").policy, None);
    assert_eq!(whole("{connectionPool: {tcp: {connectTimeout: 1s}}}").policy, None);
    assert_eq!(*whole("").policy(), ClusterPolicy::default());
}

#[test]
fn clusters_of_one_rule_share_their_policy() {
    let rules = rule("*.example", "{connectionPool: {http: {http2MaxRequests: 7}}}", "");
    let [one, other] = ["|80||s.example", "|80||t.example"].map(|name| cluster_of(&rules, name));
    assert!(one.as_ref().is_some_and(|policy| policy.pool.requests_max.map(u32::from) == Some(7)));
    assert_eq!(one, other);
    let model = resolve(&set(&format!("{WEB}{SERVICES}{rules}")), &gateway()).model;
    let policies: Vec<_> = model.clusters.iter().filter_map(|one| one.policy.as_ref()).collect();
    assert!(policies.len() > 3 && policies.windows(2).all(|pair| Arc::ptr_eq(pair[0], pair[1])), "{policies:?}");
}

fn cluster_of(rules: &str, name: &str) -> Option<Arc<ClusterPolicy>> {
    cluster(rules, name).policy
}

/// Balancing, requests at once, whether there is ejection and a retry budget.
fn blocks(cluster: &Cluster) -> (Balancing, u32, bool, bool) {
    let policy = cluster.policy();
    let requests = policy.pool.requests_max.map_or(0, u32::from);
    (cluster.balancing, requests, policy.outliers.is_some(), policy.retry_budget.is_some())
}

#[test]
fn a_subset_overrides_block_by_block_and_a_ports_settings_replace_the_blocks_without_inheriting() {
    use Balancing::{LeastRequest, Random, RoundRobin};
    let top = "loadBalancer: {simple: RANDOM}, connectionPool: {http: {http2MaxRequests: 1}}, outlierDetection: {}, \
               retryBudget: {percent: 5}";
    let at = |port: u16, rest: &str| format!("portLevelSettings: [{{port: {{number: {port}}}, {rest}}}]");
    let robin = "loadBalancer: {simple: ROUND_ROBIN}";
    let table = [
        ("the rule's", format!("{{{top}}}"), String::new(), (Random, 1, true, true)),
        ("a subset's block", format!("{{{top}}}"), format!("{{{robin}}}"), (RoundRobin, 1, true, true)),
        (
            "a block is one",
            format!("{{{top}}}"),
            "{connectionPool: {tcp: {maxConnections: 1}}}".to_owned(),
            (Random, 0, true, true),
        ),
        ("a port's", format!("{{{top}, {}}}", at(80, robin)), String::new(), (RoundRobin, 0, false, true)),
        ("another port's", format!("{{{top}, {}}}", at(81, robin)), String::new(), (Random, 1, true, true)),
        (
            "a subset over a port's",
            format!("{{{top}, {}}}", at(80, robin)),
            "{outlierDetection: {}}".to_owned(),
            (RoundRobin, 0, true, true),
        ),
        (
            "a subset's port",
            format!("{{{top}}}"),
            format!("{{{robin}, {}}}", at(80, "outlierDetection: {}")),
            (LeastRequest, 0, true, true),
        ),
    ];
    for (case, of_rule, of_subset, want) in table {
        let got = cluster(&rule("s.example", &of_rule, &of_subset), "|80|b|s.example");
        assert_eq!(blocks(&got), want, "{case}");
    }
    let rules = rule("s.example", &format!("{{{top}, {}}}", at(81, robin)), "");
    assert_eq!(blocks(&cluster(&rules, "|81||s.example")), (RoundRobin, 0, false, true));
}

#[test]
fn each_way_to_choose_an_endpoint_is_understood() {
    let ring = |minimum_ring_size| Balancing::RingHash { minimum_ring_size };
    let hash = |rest: &str| format!("consistentHash: {{useSourceIp: true{rest}}}");
    let table = [
        ("simple: UNSPECIFIED".to_owned(), Balancing::LeastRequest),
        ("simple: LEAST_CONN".to_owned(), Balancing::LeastRequest),
        ("simple: LEAST_REQUEST".to_owned(), Balancing::LeastRequest),
        ("simple: ROUND_ROBIN".to_owned(), Balancing::RoundRobin),
        ("simple: RANDOM".to_owned(), Balancing::Random),
        (hash(""), ring(1024)),
        (hash(", minimumRingSize: 5"), ring(5)),
        (hash(", ringHash: {}"), ring(1024)),
        (hash(", ringHash: {minimumRingSize: 9}"), ring(9)),
        (hash(", ringHash: {minimumRingSize: 99999999}"), ring(8_388_608)),
        (hash(", maglev: {tableSize: 251}"), Balancing::Maglev { table_size: 251 }),
    ];
    for (written, want) in table {
        assert_eq!(whole(&format!("{{loadBalancer: {{{written}}}}}")).balancing, want, "{written}");
    }
}

#[test]
fn passthrough_leaves_a_gateway_without_endpoints() {
    let text = format!("{WEB}{SERVICES}{}", rule("s.example", "{loadBalancer: {simple: PASSTHROUGH}}", ""));
    assert_eq!(whole("{loadBalancer: {simple: PASSTHROUGH}}").discovery, Discovery::None);
    assert_eq!(endpoints(&text, "outbound|80||s.example"), "");
    assert_eq!(endpoints(&text, "outbound|80||t.example"), "127.0.0.1:80");
}

#[test]
fn limits_are_as_written_and_zero_is_none() {
    let all = "{connectionPool: {tcp: {maxConnections: 1, maxConnectionDuration: 2s, idleTimeout: 3s, tcpKeepalive: {probes: \
               4, time: 5s, interval: 6s}}, http: {http1MaxPendingRequests: 7, http2MaxRequests: 8, \
               maxRequestsPerConnection: 9, maxRetries: 10, maxConcurrentStreams: 11, http2KeepAlive: {interval: 12s, timeout: 13s}}}}";
    let want = "{connection_duration_max:{nanos:0,secs:2},connections_max:1,idle_timeout:{nanos:0,secs:3},keepalive:{interval:\
                {nanos:0,secs:6},probes:4,time:{nanos:0,secs:5}},pending_max:7,pings:{interval:{nanos:0,secs:12},timeout:{nanos:0,secs:13}},\
                requests_max:8,requests_per_connection_max:9,retries_max:10,streams_per_connection_max:11,\
                tcp_idle_timeout:{nanos:0,secs:3}}";
    assert_eq!(shown(&policy(all).pool), want);
    let zero = "{connectionPool: {tcp: {maxConnections: 0}, http: {http1MaxPendingRequests: 0, maxRetries: 0}}}";
    assert_eq!(whole(zero).policy, None);
    let both = "{connectionPool: {tcp: {idleTimeout: 3s}, http: {idleTimeout: 1s}}}";
    assert_eq!(policy(both).pool.idle_timeout, Some(Duration::from_secs(1)), "that of HTTP goes first");
}

#[test]
fn the_mesh_has_a_connect_timeout_and_keepalives_for_who_has_none() {
    let mesh = mesh("connectTimeout: 2s\ntcpKeepalive: {probes: 3, time: 60s}");
    let at = |rules: &str| cluster(&format!("{mesh}{rules}"), "|80||s.example");
    let keepalive = |cluster: &Cluster| shown(&cluster.policy().pool.keepalive);
    assert_eq!(at("").connect_timeout, Duration::from_secs(2));
    assert_eq!(keepalive(&at("")), "{probes:3,time:{nanos:0,secs:60}}");
    let own = "{connectionPool: {tcp: {connectTimeout: 1s, tcpKeepalive: {time: 5s}}}}";
    let got = at(&rule("s.example", own, ""));
    assert_eq!(got.connect_timeout, Duration::from_secs(1));
    assert_eq!(keepalive(&got), "{probes:3,time:{nanos:0,secs:5}}", "each value for itself");
}

#[test]
fn outlier_detection_has_envoys_defaults() {
    let fields = |text: &str| {
        let outliers = policy(&format!("{{outlierDetection: {{{text}}}}}")).outliers.expect("ejection");
        let count = |count: Option<std::num::NonZeroU32>| count.map_or(0, u32::from);
        format!(
            "{}/{}/{} {}s {}s {}% {}% {:?}",
            count(outliers.consecutive_5xx),
            count(outliers.consecutive_gateway_errors),
            count(outliers.consecutive_local_origin_failures),
            outliers.interval.as_secs_f64(),
            outliers.base_ejection_time.as_secs_f64(),
            outliers.max_ejection_percent,
            outliers.min_health_percent,
            outliers.error_codes
        )
    };
    let table = [
        ("", "5/0/0 10s 30s 10% 0% []"),
        ("consecutive5xxErrors: 0, consecutiveGatewayErrors: 3", "0/3/0 10s 30s 10% 0% []"),
        ("consecutive5xxErrors: 7, consecutiveGatewayErrors: 0", "7/0/0 10s 30s 10% 0% []"),
        ("splitExternalLocalOriginErrors: true", "5/0/5 10s 30s 10% 0% []"),
        ("splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 0", "5/0/5 10s 30s 10% 0% []"),
        ("splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2", "5/0/2 10s 30s 10% 0% []"),
        ("interval: 1s, baseEjectionTime: 0.5s", "5/0/0 1s 0.5s 10% 0% []"),
        ("maxEjectionPercent: 0, minHealthPercent: 40", "5/0/0 10s 30s 10% 40% []"),
        ("maxEjectionPercent: 100", "5/0/0 10s 30s 100% 0% []"),
        ("outlierDetectionHttpErrorCodes: [429, 503]", "5/0/0 10s 30s 10% 0% [429, 503]"),
    ];
    for (written, want) in table {
        assert_eq!(fields(written), want, "{written}");
    }
}

#[test]
fn a_retry_budget_has_a_share_and_a_floor() {
    let table = [
        ("{minRetryConcurrency: 0}", "{minimum:3,share:20.0}"),
        ("{budgetInterval: 0s}", "{minimum:3,share:20.0}"),
        (
            "{percent: 12.5, minRetryConcurrency: 9, budgetInterval: 2s}",
            "{interval:{nanos:0,secs:2},minimum:9,share:12.5}",
        ),
    ];
    for (written, want) in table {
        let got = policy(&format!("{{retryBudget: {written}}}"));
        assert_eq!(shown(&got.retry_budget), want, "{written}");
    }
}

#[test]
fn warmup_is_for_the_ways_that_know_weights() {
    let want = "{aggression:1.0,duration:{nanos:0,secs:30},minimum_percent:10.0}";
    let all = "warmup: {duration: 30s, minimumPercent: 5, aggression: 2}";
    let table = [
        ("warmup: {duration: 30s}".to_owned(), want),
        ("warmupDurationSecs: 30s".to_owned(), want),
        (format!("{all}, warmupDurationSecs: 60s"), "{aggression:2.0,duration:{nanos:0,secs:30},minimum_percent:5.0}"),
        (format!("simple: ROUND_ROBIN, {all}"), "{aggression:2.0,duration:{nanos:0,secs:30},minimum_percent:5.0}"),
        (format!("simple: RANDOM, {all}"), "null"),
        (format!("consistentHash: {{useSourceIp: true}}, {all}"), "null"),
    ];
    for (written, want) in table {
        assert_eq!(shown(&policy(&format!("{{loadBalancer: {{{written}}}}}")).warmup), want, "{written}");
    }
}

/// The locality policy in few words.
fn locality(cluster: &Cluster) -> String {
    let joined = |parts: Vec<String>| parts.join(" ");
    match cluster.policy().locality.as_ref() {
        None => "none".to_owned(),
        Some(LocalityPolicy::Distribute { shares }) => joined(
            shares.iter().map(|(to, share)| format!("{}/{}/{}={share}", to.region, to.zone, to.subzone)).collect(),
        ),
        Some(policy) => {
            let failover = policy.failover().unwrap();
            let labels = failover.labels.iter().map(|(name, value)| format!("{name}={value}"));
            let near = failover.nearness.iter().map(|near| {
                let place = format!("{}/{}/{}", near.own.region, near.own.zone, near.own.subzone);
                let place = if near.by_region { near.own.region.to_string() } else { place };
                format!("near {place}")
                    + &near.next_region.as_ref().map_or(String::new(), |next| format!(" then {next}"))
            });
            let proxies = policy.proxies().map(|of| format!("as {} {} {}", of.host, of.namespace, of.port));
            joined(labels.chain(near).chain(proxies).collect())
        }
    }
}

#[test]
fn the_rules_locality_setting_goes_before_the_meshs_and_failover_needs_ejection() {
    let off = "localityLbSetting: {enabled: false}";
    let shares =
        "localityLbSetting: {distribute: [{from: r9, to: {r1: 100}}, {from: 'r1/*', to: {r1/z1/s1: 60, 'r2/*': 40}}]}";
    let next = "localityLbSetting: {failover: [{from: r0, to: r1}, {from: r1, to: r2}]}";
    let labels = "localityLbSetting: {failoverPriority: [version, zone=z7, topology.kubernetes.io/region, none]}";
    let by_labels = "version=v1 zone=z7 topology.kubernetes.io/region=r1 none=";
    let both = "localityLbSetting: {failoverPriority: [version, zone=z7, none], failover: [{from: r1, to: r2}]}";
    let rule_of = |setting: &str, ejects: bool| {
        let ejection = if ejects { ", outlierDetection: {}" } else { "" };
        rule("s.example", &format!("{{loadBalancer: {{{setting}}}{ejection}}}"), "")
    };
    let zones = "zoneAwareLbSetting: {failoverPriority: [version], failover: [{from: r1, to: r2}]}";
    let both_of_mesh = "localityLbSetting: {}\nzoneAwareLbSetting: {}";
    let both_then = "version=v1 zone=z7 none= near r1/z1/s1 then r2";
    let table = [
        ("", "simple: RANDOM", false, "none"),
        ("", "simple: RANDOM", true, "near r1/z1/s1"),
        ("", off, true, "none"),
        ("", next, false, "none"),
        ("", next, true, "near r1/z1/s1 then r2"),
        ("", labels, true, by_labels),
        ("", both, true, both_then),
        ("", shares, true, "r1/z1/s1=60 r2//=40"),
        ("", shares, false, "r1/z1/s1=60 r2//=40"),
        ("", "localityLbSetting: {distribute: [{from: r9, to: {r1: 100}}]}", true, "//=100"),
        (off, "simple: RANDOM", true, "none"),
        (off, "localityLbSetting: {}", true, "near r1/z1/s1"),
        (next, "simple: RANDOM", true, "near r1/z1/s1 then r2"),
        (next, shares, true, "r1/z1/s1=60 r2//=40"),
        (shares, "simple: RANDOM", false, "r1/z1/s1=60 r2//=40"),
        ("", "zoneAwareLbSetting: {}", false, "near r1"),
        ("", "zoneAwareLbSetting: {enabled: false}", true, "none"),
        ("", zones, true, "version=v1 near r1 then r2"),
        (zones, "simple: RANDOM", false, "version=v1 near r1 then r2"),
        (zones, shares, false, "r1/z1/s1=60 r2//=40"),
        (zones, "zoneAwareLbSetting: {enabled: false}", true, "none"),
        (both_of_mesh, "simple: RANDOM", false, "near r1"),
    ];
    for (of_mesh, setting, ejects, want) in table {
        let mesh = if of_mesh.is_empty() { String::new() } else { mesh(of_mesh) };
        let got = cluster(&format!("{mesh}{}", rule_of(setting, ejects)), "|80||s.example");
        assert_eq!(locality(&got), want, "{of_mesh} {setting} {ejects}");
    }
}

#[test]
fn the_model_knows_where_its_proxy_is() {
    let at = |pairs: &[(&str, &str)]| {
        let proxy = Proxy { labels: labels(pairs), ..gateway() };
        let Model { locality, .. } = resolve(&set(""), &proxy).model;
        format!("{}/{}/{}", locality.region, locality.zone, locality.subzone)
    };
    assert_eq!(at(&[]), "//");
    assert_eq!(at(&[("istio-locality", "r1.z1.s1")]), "r1/z1/s1");
    assert_eq!(at(&[("istio-locality", "r1.z1.s1"), ("topology.istio.io/locality", "r2.z2")]), "r2/z2/");
    assert_eq!(at(&[("topology.kubernetes.io/region", "r1"), ("topology.kubernetes.io/zone", "z1")]), "r1/z1/");
}
