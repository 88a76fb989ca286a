//! Where destinations lead: host, port, subset, weight; and which DestinationRule holds.

use super::*;
use crate::model::{Balancing, Cluster, Discovery};

/// What `route` leads to, with `services` in the folder.
fn targets(services: &str, route: &str) -> String {
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{route: {route}}}]}}");
    let lines = route_lines(&format!("{WEB}{services}{}", virtual_service("{name: v}", &spec)));
    lines.join("; ").replace("any => ", "")
}

fn entry(metadata: &str, host: &str, ports: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {metadata}\nspec: {{hosts: [{host}], location: \
         MESH_INTERNAL, resolution: STATIC, ports: {ports}, endpoints: [{{address: 127.0.0.1}}]}}\n---\n"
    )
}

fn service(metadata: &str, spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\nspec: {spec}\n---\n")
}

const HTTP: &str = "[{number: 80, name: http, protocol: HTTP}]";
const TWO: &str = "[{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}]";

#[test]
fn weights_are_shares_and_those_without_get_nothing() {
    let to = |subset: &str, weight: &str| format!("{{destination: {{host: reviews, subset: {subset}}}{weight}}}");
    let table = [
        (vec![to("v1", ", weight: 0"), to("v2", ", weight: 100")], "100 9080|v2|reviews"),
        (vec![to("v1", ", weight: 1"), to("v2", ", weight: 3")], "1 9080|v1|reviews, 3 9080|v2|reviews"),
        (vec![to("v1", "")], "1 9080|v1|reviews"),
        (vec![to("v1", ", weight: 7")], "1 9080|v1|reviews"),
        (vec![to("v1", ", weight: 0")], "1 9080|v1|reviews"),
    ];
    for (route, want) in table {
        let route = format!("[{}]", route.join(", "));
        assert_eq!(targets(REVIEWS, &route), want, "{route}");
    }
}

#[test]
fn the_port_is_the_destinations_or_the_only_one_or_the_listeners() {
    let multi = entry("{name: multi}", "multi.default.svc.cluster.local", TWO);
    let other = entry("{name: multi}", "multi.default.svc.cluster.local", &TWO.replace("80", "90"));
    let table = [
        (&multi, "{host: multi, port: {number: 81}}", "1 81||multi"),
        (&multi, "{host: multi}", "1 80||multi"),
        (&multi, "{host: multi, port: {number: 99}}", "1 missing 99||multi"),
        (&other, "{host: multi}", "1 missing 80||multi"),
        (&multi, "{host: gone}", "1 missing 80||gone"),
    ];
    for (services, destination, want) in table {
        assert_eq!(targets(services, &format!("[{{destination: {destination}}}]")), want, "{destination}");
    }
}

#[test]
fn what_depends_on_the_listeners_port_is_resolved_for_each() {
    let two = format!("{WEB}{}", WEB.replace("name: web", "name: two").replace("number: 80", "number: 81"));
    let multi = entry("{name: multi}", "multi.default.svc.cluster.local", TWO);
    let spec = "{hosts: ['*'], gateways: [web, two], http: [{route: [{destination: {host: multi}}]}]}";
    let model = resolved(&format!("{two}{multi}{}", virtual_service("{name: v}", spec))).model;
    let want = "
        0.0.0.0:80 http.80
          *
            any => 1 80||multi
        0.0.0.0:81 http.81
          *
            any => 1 81||multi
        ";
    assert_eq!(summary(&model), dedent(want));
}

#[test]
fn a_short_name_is_of_the_namespace_of_the_rule_that_names_it() {
    let team = entry("{name: reviews, namespace: team}", "reviews.team.svc.cluster.local", HTTP);
    let rule = |namespace: &str, host: &str| {
        let spec = format!(
            "{{hosts: [{host}], gateways: [default/web], http: [{{route: [{{destination: {{host: reviews}}}}]}}]}}"
        );
        virtual_service(&format!("{{name: v, namespace: {namespace}}}"), &spec)
    };
    let text = format!("{WEB}{REVIEWS}{team}{}{}", rule("default", "a.example"), rule("team", "b.example"));
    assert_eq!(route_lines(&text), ["any => 1 9080||reviews", "any => 1 80||reviews.team.svc.cluster.local"]);
}

#[test]
fn an_unknown_subset_is_missing_and_a_known_one_needs_no_endpoint() {
    let route = |subset: &str| format!("[{{destination: {{host: reviews, subset: {subset}}}}}]");
    let empty = REVIEWS.replace("labels: {version: v3}}\n---", "labels: {version: v9}}\n---");
    assert_eq!(targets(&empty, &route("v3")), "1 9080|v3|reviews");
    assert_eq!(targets(&empty, &route("v4")), "1 missing 9080|v4|reviews");
}

#[test]
fn a_service_that_the_proxy_does_not_see_is_missing() {
    let hidden = entry("{name: s, namespace: far}", "s.example", HTTP).replace("hosts:", "exportTo: ['.'], hosts:");
    let shown = entry("{name: s, namespace: far}", "s.example", HTTP).replace("hosts:", "exportTo: [default], hosts:");
    let kubernetes = service(
        "{name: s, namespace: far, annotations: {networking.istio.io/exportTo: '.'}}",
        "{clusterIP: 10.0.0.1, ports: [{port: 80, name: http}]}",
    );
    let table = [
        (&hidden, "s.example", "1 missing 80||s.example"),
        (&shown, "s.example", "1 80||s.example"),
        (&kubernetes, "s.far.svc.cluster.local", "1 missing 80||s.far.svc.cluster.local"),
    ];
    for (services, host, want) in table {
        assert_eq!(targets(services, &format!("[{{destination: {{host: {host}}}}}]")), want, "{services}");
    }
}

#[test]
fn an_external_name_leads_to_the_service_it_names_or_else_to_dns() {
    let alias =
        service("{name: alias}", "{type: ExternalName, externalName: db.example, ports: [{port: 80, name: http}]}");
    let circle = service("{name: a}", "{type: ExternalName, externalName: b.default.svc.cluster.local}")
        + &service("{name: b}", "{type: ExternalName, externalName: a.default.svc.cluster.local}");
    let to = |host: &str| format!("[{{destination: {{host: {host}}}}}]");
    assert_eq!(targets(&alias, &to("alias")), "1 80||alias");
    assert_eq!(
        targets(&format!("{alias}{}", entry("{name: db}", "db.example", HTTP)), &to("alias")),
        "1 80||db.example"
    );
    assert!(targets(&circle, &to("a")).contains("80||"), "a circle ends");
}

#[test]
fn ports_of_udp_are_no_clusters() {
    let dns = service("{name: dns}", "{clusterIP: 10.0.0.1, ports: [{port: 53, name: dns, protocol: UDP}]}");
    assert_eq!(targets(&dns, "[{destination: {host: dns}}]"), "1 missing 53||dns");
    let named = service("{name: dns}", "{clusterIP: 10.0.0.1, ports: [{port: 53, name: udp-dns}]}");
    assert_eq!(targets(&named, "[{destination: {host: dns}}]"), "1 missing 53||dns");
}

/// The one cluster of a route to `s.example`, subset `b` if told so.
fn cluster(rules: &str, subset: bool, namespace: &str) -> Option<Cluster> {
    let to = if subset { "{host: s.example, subset: b}" } else { "{host: s.example}" };
    let spec = format!("{{hosts: ['*'], gateways: [default/web], http: [{{route: [{{destination: {to}}}]}}]}}");
    let services = entry("{name: s, namespace: home}", "s.example", HTTP);
    let text = format!("{WEB}{services}{rules}{}", virtual_service("{name: v}", &spec));
    let proxy = Proxy { namespace: namespace.into(), ..gateway() };
    resolve(&set(&text), &proxy).model.clusters.into_iter().next()
}

fn rule(metadata: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {metadata}\nspec: {{{spec}}}\n---\n")
}

fn simple(kind: &str) -> String {
    format!("trafficPolicy: {{loadBalancer: {{simple: {kind}}}}}")
}

#[test]
fn the_proxys_namespace_goes_before_the_services_and_the_exact_host_before_wildcards() {
    let robin = simple("ROUND_ROBIN");
    let random = simple("RANDOM");
    let home =
        |extra: &str, policy: &str| rule("{name: home, namespace: home}", &format!("host: s.example{extra}, {policy}"));
    let own = rule("{name: own, namespace: default}", &format!("host: s.example, {random}"));
    let root = rule("{name: root, namespace: istio-system}", &format!("host: '*.example', {random}"));
    let wide = rule("{name: wide, namespace: home}", &format!("host: '*.example', {random}"));
    let table = [
        ("none", String::new(), Balancing::LeastRequest),
        ("the service's", home("", &robin), Balancing::RoundRobin),
        ("own first", home("", &robin) + &own, Balancing::Random),
        ("not exported", home(", exportTo: ['.']", &robin), Balancing::LeastRequest),
        (
            "exported elsewhere, so that a wider one is not asked",
            home(", exportTo: [far]", &robin) + &wide,
            Balancing::LeastRequest,
        ),
        ("not exported, but a wider one", home(", exportTo: ['.']", &robin) + &wide, Balancing::Random),
        ("exported by name", home(", exportTo: [default]", &robin), Balancing::RoundRobin),
        ("root last", root.clone() + &home("", &robin), Balancing::RoundRobin),
        ("root alone", root, Balancing::Random),
        ("exact before wildcard", wide + &home("", &robin), Balancing::RoundRobin),
        (
            "longest wildcard",
            rule("{name: wide, namespace: home}", &format!("host: '*', {random}"))
                + &rule("{name: long, namespace: home}", &format!("host: '*.example', {robin}")),
            Balancing::RoundRobin,
        ),
        ("old name", home("", &simple("LEAST_CONN")), Balancing::LeastRequest),
    ];
    for (case, rules, want) in table {
        assert_eq!(cluster(&rules, false, "default").map(|one| one.balancing), Some(want), "{case}");
    }
}

#[test]
fn a_proxy_of_the_root_namespace_takes_the_services_rule_before_the_general_one() {
    let root = rule("{name: root, namespace: istio-system}", &format!("host: '*.example', {}", simple("RANDOM")));
    let home = rule("{name: home, namespace: home}", &format!("host: s.example, {}", simple("ROUND_ROBIN")));
    let got = cluster(&(root + &home), false, "istio-system");
    assert_eq!(got.map(|one| one.balancing), Some(Balancing::RoundRobin));
}

#[test]
fn rules_of_one_host_are_put_together_the_first_policy_standing() {
    let first = rule("{name: a, namespace: home}", "host: s.example, subsets: [{name: a, labels: {v: a}}]");
    let second = rule(
        "{name: b, namespace: home}",
        &format!("host: s.example, {}, subsets: [{{name: b, labels: {{v: b}}}}]", simple("RANDOM")),
    );
    let third = rule(
        "{name: c, namespace: home}",
        &format!("host: s.example, {}, subsets: [{{name: b, labels: {{v: c}}}}]", simple("ROUND_ROBIN")),
    );
    let got = cluster(&format!("{first}{second}{third}"), true, "default").expect("a cluster");
    assert_eq!((got.balancing, got.subset_labels), (Balancing::Random, labels(&[("v", "b")])));
    assert_eq!(got.origins.len(), 5, "the service, three rules, the subset");
}

#[test]
fn rules_that_are_visible_in_different_places_are_not_put_together_and_the_last_holds() {
    let selecting = "workloadSelector: {matchLabels: {istio: ingressgateway}}";
    let table = [
        ("the same", "exportTo: ['.']", "exportTo: ['.']", Balancing::Random),
        ("narrow, wide", "exportTo: ['.']", "exportTo: ['*']", Balancing::RoundRobin),
        ("wide, narrow", "exportTo: ['*']", "exportTo: ['.']", Balancing::RoundRobin),
        ("unsaid, narrow", "exportTo: []", "exportTo: ['.']", Balancing::RoundRobin),
        ("two names of one place", "exportTo: ['.']", "exportTo: [default]", Balancing::RoundRobin),
        ("one place more", "exportTo: ['.']", "exportTo: ['.', far]", Balancing::Random),
        ("one place fewer", "exportTo: ['.', far]", "exportTo: ['.']", Balancing::RoundRobin),
        ("a selector", "exportTo: ['.']", selecting, Balancing::RoundRobin),
        ("the selector first", selecting, "exportTo: []", Balancing::Random),
    ];
    for (case, first, second, want) in table {
        let named = |name: &str, more: &str, kind: &str| {
            rule(
                &format!("{{name: {name}, namespace: default}}"),
                &format!("host: s.example, {more}, {}", simple(kind)),
            )
        };
        let rules = named("a", first, "RANDOM") + &named("b", second, "ROUND_ROBIN");
        assert_eq!(cluster(&rules, false, "default").map(|one| one.balancing), Some(want), "{case}");
    }
}

#[test]
fn a_subset_overrides_block_by_block() {
    let subset = |policy: &str| {
        let top = "trafficPolicy: {loadBalancer: {simple: RANDOM}, connectionPool: {tcp: {connectTimeout: 3s}}}";
        rule(
            "{name: r, namespace: home}",
            &format!("host: s.example, {top}, subsets: [{{name: b, labels: {{v: b}}{policy}}}]"),
        )
    };
    let table = [
        ("", Balancing::Random, 3),
        (", trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", Balancing::RoundRobin, 3),
        (", trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}}", Balancing::Random, 1),
        (", trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}", Balancing::Random, 5),
    ];
    for (policy, balancing, seconds) in table {
        let got = cluster(&subset(policy), true, "default").expect("a cluster");
        assert_eq!((got.balancing, got.connect_timeout.as_secs()), (balancing, seconds), "{policy}");
    }
}

#[test]
fn a_cluster_is_named_after_its_service_as_the_metrics_want_it() {
    let kubernetes = service("{name: s, namespace: shop}", "{clusterIP: 10.0.0.1, ports: [{port: 80, name: web}]}");
    let spec = "{hosts: ['*'], gateways: [web], http: [{match: [{uri: {prefix: /e}}], route: [{destination: {host: \
                s.example}}]}, {route: [{destination: {host: s.shop.svc.cluster.local}}]}]}";
    let entry = entry("{name: named, namespace: home}", "s.example", HTTP);
    let model = resolved(&format!("{WEB}{entry}{kubernetes}{}", virtual_service("{name: v}", spec))).model;
    let facts: Vec<String> = model
        .clusters
        .iter()
        .map(|one| {
            format!("{} {}/{} {} {:?}", one.name, one.service_namespace, one.service_name, one.port_name, one.discovery)
        })
        .collect();
    assert_eq!(
        facts,
        [
            "outbound|80||s.example home/s.example http Static",
            "outbound|80||s.shop.svc.cluster.local shop/s web Static"
        ]
    );
}

#[test]
fn clusters_are_ordered_by_name_and_routes_know_their_places() {
    let names = ["zeta", "alpha", "mid"];
    let services: String =
        names.iter().map(|name| entry(&format!("{{name: {name}}}"), &format!("{name}.example"), HTTP)).collect();
    let route = |name: &&str| {
        format!("{{match: [{{uri: {{prefix: /{name}}}}}], route: [{{destination: {{host: {name}.example}}}}]}}")
    };
    let rules: Vec<String> = names.iter().map(route).collect();
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{}]}}", rules.join(", "));
    let text = format!("{WEB}{services}{}", virtual_service("{name: v}", &spec));
    assert!(resolved(&text).model.clusters.is_sorted_by(|left, right| left.name < right.name));
    let want = ["/zeta* => 1 80||zeta.example", "/alpha* => 1 80||alpha.example", "/mid* => 1 80||mid.example"];
    assert_eq!(route_lines(&text), want);
}

#[test]
fn resolution_says_how_endpoints_are_found() {
    for (resolution, want) in [
        ("STATIC", Discovery::Static),
        ("DNS", Discovery::Dns),
        ("DNS_ROUND_ROBIN", Discovery::DnsRoundRobin),
        ("NONE", Discovery::None),
    ] {
        let endpoints = if resolution == "NONE" { "" } else { ", endpoints: [{address: 127.0.0.1}]" };
        let services = entry("{name: s}", "s.example", HTTP)
            .replace("STATIC", resolution)
            .replace(", endpoints: [{address: 127.0.0.1}]", endpoints);
        let spec = "{hosts: ['*'], gateways: [web], http: [{route: [{destination: {host: s.example}}]}]}";
        let model = resolved(&format!("{WEB}{services}{}", virtual_service("{name: v}", spec))).model;
        assert_eq!(model.clusters[0].discovery, want, "{resolution}");
    }
}
