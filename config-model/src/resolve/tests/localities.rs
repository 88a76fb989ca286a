//! Priorities and shares of endpoints by where they are.

use super::*;

/// Endpoints of `s.example` with their priority or share, at a proxy in `r1/z1/s1` of version `v1`.
fn ranked(policy: &str, endpoints: &str) -> String {
    shown(&folder(policy, endpoints))
}

fn folder(policy: &str, endpoints: &str) -> String {
    format!(
        "{WEB}apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec: {{hosts: [s.example], \
         resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: [{endpoints}]}}\n---\napiVersion: \
         networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s}}\nspec: {{host: s.example, trafficPolicy: \
         {policy}}}\n---\n{}",
        virtual_service(
            "{name: v}",
            "{hosts: ['*'], gateways: [web], http: [{route: [{destination: {host: s.example}}]}]}"
        )
    )
}

fn shown(text: &str) -> String {
    let near = labels(&[("istio", "ingressgateway"), ("istio-locality", "r1.z1.s1"), ("version", "v1")]);
    let set = set(text);
    let model = resolve(&set, &Proxy { labels: near, ..gateway() }).model;
    let cluster = model.clusters.iter().find(|cluster| cluster.name.host.starts_with("s.")).unwrap();
    let found = EndpointIndex::new(&set).endpoints(cluster);
    let one = |endpoint: &Endpoint| {
        let address = endpoint.address.to_string();
        let last = address.trim_end_matches(":80").rsplit('.').next().unwrap_or("").to_owned();
        let proxies = endpoint.proxies.map(|proxies| format!("~{proxies}")).unwrap_or_default();
        let rank = match (endpoint.priority, endpoint.locality_share) {
            (priority, None) => format!("@{priority}"),
            (0, Some(share)) => format!("={share}"),
            (priority, Some(share)) => format!("@{priority}={share}"),
        };
        last + &rank + &proxies
    };
    found.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn at(places: &[&str]) -> String {
    let one = |(number, place): (usize, &&str)| format!("{{address: 10.0.0.{number}, {place}}}");
    places.iter().enumerate().map(one).collect::<Vec<_>>().join(", ")
}

/// The folder of a service that the proxy is a part of, with endpoints in these localities, and what lets proxies know it.
fn own_service(places: &[&str], known: bool) -> String {
    let pods: String = places.iter().enumerate().map(|(number, place)| format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: own-{number}}}\nspec: {{address: \
         10.9.9.{number}, locality: {place}, labels: {{istio: ingressgateway}}}}\n---\n"
    )).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: 'defaultConfig: \
         {{proxyMetadata: {{ISTIO_META_ENABLE_SELF_DISCOVERY: \"{known}\"}}}}'}}\n---\n{pods}apiVersion: \
         networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: own}}\nspec: {{hosts: [own.example], resolution: \
         STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], workloadSelector: {{labels: {{istio: \
         ingressgateway}}}}}}\n---\n"
    )
}

#[test]
fn regions_are_priorities_and_proxies_are_counted_by_locality() {
    let places = ["locality: r1/z1/s1", "locality: r1/z2", "locality: r2/z1", "locality: r3/z1", "locality: r1/z3"];
    let zones = |setting: &str| format!("{{loadBalancer: {{zoneAwareLbSetting: {{{setting}}}}}}}");
    let next = "failover: [{from: r1, to: r3}]";
    let proxies = ["r1/z1/s1", "r1/z1/s1", "r1/z2", "r4/z1"];
    let table = [
        ("", &[][..], true, "0@0 1@0 2@1 3@1 4@0"),
        (next, &[], true, "0@0 1@0 2@2 3@1 4@0"),
        (next, &proxies, false, "0@0 1@0 2@2 3@1 4@0"),
        (next, &proxies, true, "0@0~6666 1@0~3333 2@2 3@1 4@0~0"),
        (next, &["r1/z2"], true, "0@0 1@0 2@2 3@1 4@0"),
        ("enabled: false", &proxies, true, "0@0 1@0 2@0 3@0 4@0"),
    ];
    for (setting, proxies, known, want) in table {
        let text = own_service(proxies, known) + &folder(&zones(setting), &at(&places));
        assert_eq!(shown(&text), want, "{setting} {proxies:?} {known}");
    }
    for (policy, want) in [
        ("{loadBalancer: {simple: RANDOM}}", "0@0~6666 1@0~3333 2@0~0 3@0~0 4@0~0"),
        (
            "{loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}}",
            "0@0~6666 1@0~3333 2@0~0 3@0~0 4@0~0",
        ),
        (
            "{loadBalancer: {localityLbSetting: {enabled: false}}, outlierDetection: {}}",
            "0@0~6666 1@0~3333 2@0~0 3@0~0 4@0~0",
        ),
        ("{outlierDetection: {}}", "0@0~6666 1@1 2@2 3@2 4@1"),
        (
            "{loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r2}]}}, outlierDetection: {}}",
            "0@0 1@1=500000 2@2 3@3 4@1=500000",
        ),
    ] {
        assert_eq!(shown(&(own_service(&proxies, true) + &folder(policy, &at(&places)))), want, "{policy}");
    }
    let hashed = "{loadBalancer: {zoneAwareLbSetting: {}, consistentHash: {useSourceIp: true}}}";
    let text = own_service(&proxies, true) + &folder(hashed, &at(&places));
    assert_eq!(shown(&text), "0@0 1@0 2@1 3@1 4@0", "a key knows no zones");
}

const EJECTS: &str = "{outlierDetection: {}}";
const RANDOM: &str = "{loadBalancer: {simple: RANDOM}}";

#[test]
fn priorities_are_by_nearness_and_have_no_gaps() {
    let table = [
        (
            vec!["locality: r1/z1/s1", "locality: r1/z1/s2", "locality: r1/z2/s1", "locality: r2/z1/s1"],
            "0@0 1@1 2@2 3@3",
        ),
        (vec!["locality: r2/z1/s1", "locality: r1/z2/s1", "locality: r2/z2"], "0@1 1@0 2@1"),
        (vec!["locality: r2/z1/s1", "weight: 1"], "0@0 1@0"),
        (vec!["labels: {istio-locality: r1.z1.s1}", "weight: 1"], "0@0 1@1"),
        (vec!["labels: {topology.istio.io/locality: r1.z1.s1, istio-locality: r2}", "locality: r2"], "0@0 1@1"),
    ];
    for (places, want) in table {
        assert_eq!(ranked(EJECTS, &at(&places)), want, "{places:?}");
        let off = "{loadBalancer: {localityLbSetting: {enabled: false}}, outlierDetection: {}}";
        assert!(!ranked(off, &at(&places)).contains("@1"), "all are alike: {places:?}");
        assert!(!ranked("{loadBalancer: {simple: RANDOM}}", &at(&places)).contains("@1"), "without ejection");
    }
}

#[test]
fn the_region_named_for_failover_goes_before_others() {
    let policy = "{loadBalancer: {localityLbSetting: {failover: [{from: r1, to: r3}]}}, outlierDetection: {}}";
    assert_eq!(ranked(policy, &at(&["locality: r2", "locality: r3", "locality: r1/z1/s1"])), "0@2 1@1 2@0");
}

#[test]
fn failover_priority_goes_by_leading_labels() {
    let policy = "{loadBalancer: {localityLbSetting: {failoverPriority: [version, topology.kubernetes.io/zone, \
                  topology.istio.io/network]}}, outlierDetection: {}}";
    let places = [
        "locality: r9/z1, labels: {version: v1}",
        "locality: r1/z9, labels: {version: v1}",
        "locality: r1/z1/s1, labels: {version: v2}",
        "locality: r1/z1, network: far, labels: {version: v1}",
    ];
    assert_eq!(ranked(policy, &at(&places)), "0@0 1@2 2@3 3@1");
}

#[test]
fn shares_are_by_locality_and_a_wildcards_share_is_divided_by_weight() {
    let policy =
        |to: &str| format!("{{loadBalancer: {{localityLbSetting: {{distribute: [{{from: 'r1/*', to: {{{to}}}}}]}}}}}}");
    let table = [
        (
            "'r1/z1/*': 70, 'r1/z2/*': 20, 'r2/*': 10",
            vec!["locality: r1/z1/s1", "locality: r1/z2/s1", "locality: r2/z1/s1", "locality: r3/z1"],
            "0=700000 1=200000 2=100000",
        ),
        (
            "r1: 80, 'r2/*': 20",
            vec!["locality: r1/z1", "locality: r1/z2, weight: 2", "locality: r1/z1", "locality: r2"],
            "0=400000 1=400000 2=400000 3=200000",
        ),
        ("'*': 100", vec!["locality: r1/z1", "weight: 3"], "0=250000 1=750000"),
    ];
    for (to, places, want) in table {
        assert_eq!(ranked(&policy(to), &at(&places)), want, "{to}");
    }
    let elsewhere = policy("r1: 100").replace("from: 'r1/*'", "from: r7");
    assert_eq!(ranked(&elsewhere, &at(&["locality: r2", "locality: r1"])), "0=500000 1=500000", "by weights");
}

#[test]
fn localities_of_one_priority_have_shares_by_weight_where_their_order_is_spoken_of() {
    let policy = "{loadBalancer: {localityLbSetting: {failover: [{from: r7, to: r8}]}}, outlierDetection: {}}";
    let places = ["locality: r1/z1/s1", "locality: r2, weight: 3", "locality: r3", "locality: r2, weight: 4"];
    assert_eq!(ranked(policy, &at(&places)), "0@0 1@1=875000 2@1=125000 3@1=875000");
    assert_eq!(ranked(EJECTS, &at(&places)), "0@0 1@1 2@1 3@1");
}

#[test]
fn a_service_that_prefers_near_endpoints_has_them_first_unless_its_rule_speaks_of_places() {
    let places = at(&["locality: r1/z1/s9", "locality: r1/z2", "locality: r2/z1", "network: far, locality: r1/z1"]);
    let prefers = |annotation: &str, policy: &str| {
        let metadata = format!(
            "ServiceEntry\nmetadata: {{name: s, annotations: {{networking.istio.io/traffic-distribution: {annotation}}}}}"
        );
        shown(&folder(policy, &places).replace("ServiceEntry\nmetadata: {name: s}", &metadata))
    };
    for (annotation, policy, want) in [
        ("PreferClose", RANDOM, "0@0 1@1 2@2 3@3"),
        ("prefersamezone", RANDOM, "0@0 1@1 2@2 3@3"),
        ("PreferSameNode", RANDOM, "0@0 1@1 2@2 3@3"),
        ("Other", RANDOM, "0@0 1@0 2@0 3@0"),
        ("PreferClose", "{loadBalancer: {localityLbSetting: {enabled: false}}}", "0@0 1@0 2@0 3@0"),
    ] {
        assert_eq!(prefers(annotation, policy), want, "{annotation} {policy}");
    }
}

#[test]
fn a_namespace_says_which_endpoints_its_services_prefer_that_say_nothing_themselves() {
    let places = at(&["locality: r1/z1/s9", "locality: r2/z1"]);
    let services = |own: &str, namespace: &str| {
        let said = |text: &str| format!("annotations: {{networking.istio.io/traffic-distribution: {text}}}");
        let metadata = format!("ServiceEntry\nmetadata: {{name: s, {}}}", said(own));
        let folder = folder(RANDOM, &places).replace("ServiceEntry\nmetadata: {name: s}", &metadata);
        let of_namespace = said(namespace);
        shown(&format!("{folder}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: default, {of_namespace}}}\n"))
    };
    for (own, namespace, want) in [
        ("''", "PreferClose", "0@0 1@1"),
        ("''", "Other", "0@0 1@0"),
        ("Other", "PreferClose", "0@0 1@0"),
        ("PreferClose", "Other", "0@0 1@1"),
    ] {
        assert_eq!(services(own, namespace), want, "{own} {namespace}");
    }
}

#[test]
fn a_pod_is_where_its_labels_say_or_else_in_the_zone_of_its_slice() {
    let pod = |name: &str, ip: &str, labels: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{nodeName: n1}}\nstatus: {{podIP: \
             {ip}}}\n---\n"
        )
    };
    let text = [
        WEB.to_owned(),
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.96.0.1, ports: [{name: http, port: \
         80}]}\n---\n"
            .to_owned(),
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s-1, labels: {kubernetes.io/service-name: \
         s}}\naddressType: IPv4\nports: [{name: http, port: 80}]\nendpoints:\n- {addresses: [10.0.0.1], zone: z1}\n- \
         {addresses: [10.0.0.2], zone: z1}\n- {addresses: [10.0.0.3], zone: z9}\n- {addresses: [10.0.0.4], zone: z1}\n- \
         {addresses: [10.0.0.5], zone: z1, conditions: {ready: false}}\n- {addresses: [10.0.0.6], zone: z1}\n---\n"
            .to_owned(),
        pod("p1", "10.0.0.1", "{istio-locality: r1.z1.s1}"),
        pod("p2", "10.0.0.2", "{topology.kubernetes.io/region: r2}"),
        pod("p3", "10.0.0.3", "{topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}"),
        pod("p4", "10.0.0.4", "{istio-locality: r3}"),
        pod("p5", "10.0.0.5", "{topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z2}"),
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: s}\nspec: {host: s, trafficPolicy: \
         {outlierDetection: {}}}\n---\n"
            .to_owned(),
        virtual_service("{name: v}", "{hosts: ['*'], gateways: [web], http: [{route: [{destination: {host: s}}]}]}"),
    ];
    // The fifth takes no traffic, so that its level is none of those that count.
    assert_eq!(shown(&text.concat()), "1@0 2@2 3@1 4@2 5@2 6@1");
}
