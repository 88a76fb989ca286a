//! What requests to a destination are hashed by.

use std::time::Duration;

use super::super::clusters::Clusters;
use super::*;
use crate::model::HashSource;
use crate::resource::{Destination, Spec};

/// What a destination, written in braces, is hashed by in namespace `default`, the rule for `s.example` having `spec`.
fn source(spec: &str, destination: &str) -> Option<HashSource> {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec: {{hosts: [s.example], resolution: \
         STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: [{{address: 10.0.0.1}}]}}\n---\napiVersion: \
         networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s}}\nspec: {{host: s.example, {spec}}}\n---\n{}",
        virtual_service(
            "{name: v}",
            &format!("{{hosts: [v.example], http: [{{route: [{{destination: {destination}}}]}}]}}")
        )
    );
    let set = set(&text);
    let destination = set.resources().iter().find_map(|resource| match &resource.spec {
        Spec::VirtualService(spec) => spec.http[0].route[0].destination.as_ref(),
        _ => None,
    });
    let destination: &Destination = destination.expect("a destination");
    Clusters::new(&set, &gateway(), "istio-system").hash_source(destination, "default")
}

fn of(hash: &str) -> Option<HashSource> {
    source(&format!("trafficPolicy: {{loadBalancer: {{consistentHash: {hash}}}}}"), "{host: s.example}")
}

#[test]
fn each_key_is_understood() {
    let cookie = |path: &str, ttl| HashSource::Cookie { name: "c".into(), path: path.into(), ttl };
    let table = [
        ("{httpHeaderName: X-User}", Some(HashSource::Header("x-user".into()))),
        ("{httpCookie: {name: c}}", Some(cookie("", None))),
        ("{httpCookie: {name: c, path: /a, ttl: 60s}}", Some(cookie("/a", Some(Duration::from_secs(60))))),
        ("{httpCookie: {name: c, ttl: 0s}}", Some(cookie("", Some(Duration::ZERO)))),
        ("{useSourceIp: true}", Some(HashSource::SourceIp)),
        ("{useSourceIp: false}", None),
        ("{httpQueryParameterName: User}", Some(HashSource::QueryParameter("User".into()))),
    ];
    for (hash, want) in table {
        assert_eq!(of(hash), want, "{hash}");
    }
}

#[test]
fn the_subset_goes_before_the_rule_and_a_port_counts_only_if_the_destination_names_it() {
    let hash = |name: &str| format!("loadBalancer: {{consistentHash: {{httpHeaderName: {name}}}}}");
    let at = |name: &str| format!("portLevelSettings: [{{port: {{number: 80}}, {}}}]", hash(name));
    let subset = |policy: &str| format!("subsets: [{{name: b, labels: {{v: b}}, trafficPolicy: {{{policy}}}}}]");
    let top = |policy: &str| format!("trafficPolicy: {{{policy}}}");
    let robin = "loadBalancer: {simple: ROUND_ROBIN}";
    let (whole, port, of_subset, both) = (
        "{host: s.example}",
        "{host: s.example, port: {number: 80}}",
        "{host: s.example, subset: b}",
        "{host: s.example, subset: b, port: {number: 80}}",
    );
    let table = [
        (top(&hash("top")), whole, Some("top")),
        (top(&hash("top")), of_subset, Some("top")),
        (top(&at("port")), whole, None),
        (top(&at("port")), port, Some("port")),
        (top(&format!("{}, {}", hash("top"), at("port"))), whole, Some("top")),
        (top(&format!("{}, {}", hash("top"), at("port"))), port, Some("port")),
        (format!("{}, {}", top(&at("port")), subset(&hash("subset"))), both, Some("subset")),
        (format!("{}, {}", top(&hash("top")), subset(&hash("subset"))), whole, Some("top")),
        (format!("{}, {}", top(&hash("top")), subset(&at("deep"))), both, Some("deep")),
        (format!("{}, {}", top(&hash("top")), subset(&at("deep"))), of_subset, Some("top")),
        (format!("{}, {}", top(&hash("top")), subset(robin)), of_subset, Some("top")),
        (top(robin), whole, None),
        (top(&hash("top")), "{host: gone.example}", None),
    ];
    for (spec, destination, want) in table {
        let want = want.map(|name| HashSource::Header(name.into()));
        assert_eq!(source(&spec, destination), want, "{spec} {destination}");
    }
}
