//! Policies that can't take effect.

use super::*;

/// The service `s` with ports 80 and 81 and so many endpoints, those of even numbers with label `v: b`.
fn service_of(endpoints: usize) -> String {
    let one = |number: usize| format!("{{address: 10.0.0.{number}, labels: {{v: {}}}}}", ["b", "a"][number % 2]);
    let endpoints: Vec<String> = (1..=endpoints).map(one).collect();
    istio(
        "ServiceEntry",
        "{name: s}",
        &format!(
            "{{hosts: [s.example], resolution: STATIC, ports: [{{number: 80, name: a, protocol: HTTP}}, {{number: 81, name: b, \
             protocol: HTTP}}], endpoints: [{}]}}",
            endpoints.join(", ")
        ),
    )
}

fn rule_of(spec: &str) -> String {
    istio("DestinationRule", "{name: s}", &format!("{{host: s.example, {spec}}}"))
}

#[test]
fn tg0006_a_rule_for_a_host_that_no_service_has() {
    let rule = |host: &str| istio("DestinationRule", "{name: s}", &format!("{{host: {host}}}"));
    let wildcard = service_of(1).replace("s.example", "'*.example'");
    let lost = "Warning: No service has the host \"r.example\": the rule has no effect.";
    let near = format!("{lost}; did you mean s.example?");
    for (text, want) in [
        (service_of(1) + &rule("s.example"), vec![]),
        (service_of(1) + &rule("r.example"), vec![&*near]),
        (service_of(1) + &rule("'*.example'"), vec![]),
        (wildcard + &rule("r.example"), vec![]),
        (rule("r.example"), vec![]),
    ] {
        assert_eq!(messages(&text, "TG0006"), want, "{text}");
    }
}

#[test]
fn tg0006_ejection_that_is_never_allowed() {
    let never = |count: usize, percent: usize, hint: usize| {
        format!(
            "Warning: Nobody is ever ejected: one of {count} endpoints is more than {percent} percent of them.; write \
             maxEjectionPercent: {hint} or more"
        )
    };
    let subset = |policy: &str| format!("subsets: [{{name: b, labels: {{v: b}}, trafficPolicy: {policy}}}]");
    let table = [
        (9, "trafficPolicy: {outlierDetection: {}}".to_owned(), Some(never(9, 10, 12))),
        (10, "trafficPolicy: {outlierDetection: {}}".to_owned(), None),
        (3, "trafficPolicy: {outlierDetection: {maxEjectionPercent: 33}}".to_owned(), Some(never(3, 33, 34))),
        (3, "trafficPolicy: {outlierDetection: {maxEjectionPercent: 34}}".to_owned(), None),
        (0, "trafficPolicy: {outlierDetection: {}}".to_owned(), None),
        (12, subset("{outlierDetection: {}}"), Some(never(6, 10, 17))),
        (12, subset("{outlierDetection: {maxEjectionPercent: 20}}"), None),
    ];
    for (count, spec, want) in table {
        let text = format!("{}{}", service_of(count), rule_of(&spec));
        assert_eq!(messages(&text, "TG0006"), want.into_iter().collect::<Vec<_>>(), "{count} {spec}");
    }
    let by_name = service_of(1).replace("STATIC", "DNS");
    let text = format!("{by_name}{}", rule_of("trafficPolicy: {outlierDetection: {}}"));
    assert_eq!(messages(&text, "TG0006"), [""; 0], "a name may have any number of addresses");
}

#[test]
fn tg0006_settings_of_a_port_that_nobody_has_or_names() {
    let at = |port: u16| {
        format!(
            "portLevelSettings: [{{port: {{number: {port}}}, loadBalancer: {{consistentHash: {{useSourceIp: true}}}}}}]"
        )
    };
    let of_port = |port: u16| rule_of(&format!("trafficPolicy: {{{}}}", at(port)));
    let top =
        rule_of(&format!("trafficPolicy: {{loadBalancer: {{consistentHash: {{useSourceIp: true}}}}, {}}}", at(80)));
    let subset = rule_of(&format!("subsets: [{{name: b, labels: {{v: b}}, trafficPolicy: {{{}}}}}]", at(80)));
    let unnamed = "Warning: Requests are not hashed: the consistentHash of DestinationRule default/s is for port 80, which the \
                   destination has to name.; write port: {number: 80}";
    let unknown = "Warning: The service \"s.example\" has no port 99.; it has 80, 81";
    let (bare, with_port) = ("{host: s.example}", "{host: s.example, port: {number: 80}}");
    let table = [
        (of_port(80), bare, vec![unnamed]),
        (of_port(80), with_port, vec![]),
        (of_port(99), with_port, vec![unknown]),
        (top, bare, vec![]),
        (subset.clone(), bare, vec![]),
        (subset, "{host: s.example, subset: b}", vec![unnamed]),
    ];
    for (rule, destination, want) in table {
        let text = format!("{WEB}{}{rule}{}", service_of(2), to(destination));
        assert_eq!(messages(&text, "TG0006"), want, "{rule} {destination}");
    }
}

/// A VirtualService with that annotation and a split over subsets a and b of the service `s`.
fn split_with(annotation: &str) -> String {
    let to = |subset: &str| {
        format!("{{destination: {{host: s.example, subset: {subset}, port: {{number: 80}}}}, weight: 50}}")
    };
    let spec = format!("{{hosts: [s.example], http: [{{route: [{}, {}]}}]}}", to("a"), to("b"));
    istio("VirtualService", &format!("{{name: split, annotations: {{{annotation}}}}}"), &spec)
}

const SUBSETS: &str = "subsets: [{name: a, labels: {v: a}}, {name: b, labels: {v: b}}]";

#[test]
fn tg0006_a_sticky_split_that_nothing_is_hashed_for() {
    let hashed = "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}";
    let told = "Warning: The annotation tidegate.io/split has no effect on this rule: no DestinationRule of its destinations \
                says by a consistentHash what requests are hashed by.; add loadBalancer.consistentHash to the DestinationRule";
    for (annotation, policy, want) in [
        ("tidegate.io/split: sticky", "", vec![told]),
        ("tidegate.io/split: sticky", hashed, vec![]),
        ("tidegate.io/split: drawn", "", vec![]),
    ] {
        let rule = rule_of(&format!("{SUBSETS}, {policy}"));
        let text = format!("{}{rule}{}", service_of(4), split_with(annotation));
        assert_eq!(messages(&text, "TG0006"), want, "{annotation} {policy}");
    }
}

#[test]
fn tg0006_a_share_that_spills_or_fails() {
    let told = "Warning: The share of subset \"b\" spills to the other destinations: it has no ready endpoint.";
    let failing =
        "Warning: No ready endpoint has the labels of subset \"b\": requests that go there are answered with 503.";
    for (annotation, endpoints, want) in [
        ("tidegate.io/empty-subsets: spill", 1, vec![told]),
        ("tidegate.io/empty-subsets: spill", 2, vec![]),
        ("tidegate.io/empty-subsets: fail", 1, vec![failing]),
        ("tidegate.io/empty-subsets: fail", 2, vec![]),
    ] {
        let text = format!("{}{}{}", service_of(endpoints), rule_of(SUBSETS), split_with(annotation));
        assert_eq!(messages(&text, "TG0006"), want, "{annotation} {endpoints}");
    }
}

#[test]
fn tg0006_a_service_that_nobody_is_behind() {
    let route = istio(
        "VirtualService",
        "{name: v}",
        "{hosts: [v.example], http: [{route: [{destination: {host: s.example, port: {number: 80}}}]}]}",
    );
    let told =
        "Warning: The service \"s.example\" has no ready endpoint: requests that go there are answered with 503.";
    for (endpoints, want) in [(0, vec![told]), (1, vec![])] {
        assert_eq!(messages(&format!("{}{route}", service_of(endpoints)), "TG0006"), want, "{endpoints}");
    }
}
