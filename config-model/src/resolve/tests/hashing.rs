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
    let destination = set.resources().find_map(|resource| match &resource.spec {
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
    let made = |path: &str, ttl, attributes: &str| HashSource::Cookie {
        name: "c".into(),
        path: path.into(),
        ttl,
        attributes: attributes.into(),
    };
    let cookie = |path: &str, ttl| made(path, ttl, "");
    let table = [
        ("{httpHeaderName: X-User}", Some(HashSource::Header("x-user".into()))),
        ("{httpCookie: {name: c}}", Some(cookie("", None))),
        ("{httpCookie: {name: c, path: /a, ttl: 60s}}", Some(cookie("/a", Some(Duration::from_secs(60))))),
        ("{httpCookie: {name: c, ttl: 0s}}", Some(cookie("", Some(Duration::ZERO)))),
        (
            "{httpCookie: {name: c, ttl: 0s, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}",
            Some(made("", Some(Duration::ZERO), "; SameSite=Lax; Secure")),
        ),
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

/// Hash sources and `retryIgnorePreviousHosts` of a route with these retries, to destinations each hashed by its name or not.
fn hashed_route(config: &str, retries: &str, destinations: &[(&str, u32, bool)]) -> (Vec<HashSource>, bool) {
    let mut text = format!("{config}{WEB}");
    let mut to = Vec::new();
    for (name, weight, hashed) in destinations {
        let hash = if *hashed { format!("consistentHash: {{httpHeaderName: {name}}}") } else { String::new() };
        text += &format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [{name}.example], \
             resolution: STATIC, ports: [{{number: 80, name: http, protocol: HTTP}}], endpoints: [{{address: 10.0.0.1}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\nspec: {{host: {name}.example, \
             trafficPolicy: {{loadBalancer: {{{hash}}}}}}}\n---\n"
        );
        to.push(format!("{{destination: {{host: {name}.example}}, weight: {weight}}}"));
    }
    let rule = format!("{retries}route: [{}]", to.join(", "));
    text += &virtual_service("{name: v}", &format!("{{hosts: ['*'], gateways: [web], http: [{{{rule}}}]}}"));
    let route = first_route(&text);
    let hash = route.policy.as_ref().map(|policy| policy.hash.clone()).unwrap_or_default();
    (hash, forward_in(&route).retry.ignore_previous_hosts)
}

#[test]
fn a_route_is_hashed_by_what_its_destinations_say_in_their_order() {
    let table: [(&[_], &[&str]); 5] = [
        (&[("a", 1, true)], &["a"]),
        (&[("a", 1, false)], &[]),
        (&[("b", 30, true), ("c", 30, false), ("a", 40, true)], &["b", "a"]),
        (&[("a", 0, true), ("b", 100, true)], &["b"]),
        (&[("a", 0, true)], &["a"]),
    ];
    for (destinations, want) in table {
        let want: Vec<_> = want.iter().map(|name| HashSource::Header((*name).into())).collect();
        assert_eq!(hashed_route("", "", destinations).0, want, "{destinations:?}");
    }
}

#[test]
fn retries_avoid_endpoints_that_were_tried_unless_the_only_destination_is_hashed_or_the_rule_says_so() {
    let (hashed, two): (&[_], &[_]) = (&[("a", 1, true)], &[("a", 50, true), ("b", 50, true)]);
    let of_mesh = |policy: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    \
             defaultHttpRetryPolicy: {{attempts: 1{policy}}}\n---\n"
        )
    };
    let table = [
        ("", "", hashed, false),
        ("", "", two, true),
        ("", "retries: {attempts: 3}, ", hashed, false),
        ("", "retries: {attempts: 3}, ", two, true),
        ("", "retries: {attempts: 3, retryIgnorePreviousHosts: true}, ", hashed, true),
        ("", "retries: {attempts: 3, retryIgnorePreviousHosts: false}, ", two, false),
        (&of_mesh(""), "", hashed, false),
        (&of_mesh(", retryIgnorePreviousHosts: true"), "", hashed, true),
    ];
    for (config, retries, destinations, want) in table {
        assert_eq!(hashed_route(config, retries, destinations).1, want, "{config}{retries}{destinations:?}");
    }
}
