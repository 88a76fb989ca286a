//! Ports that lead nowhere, since another service has their host.

use super::*;

const HOST: &str = "s.default.svc.cluster.local";

fn entry(metadata: &str, number: u16, spec: &str) -> String {
    let ports = format!("[{{number: {number}, name: p{number}, protocol: HTTP}}]");
    istio("ServiceEntry", metadata, &format!("{{hosts: [{HOST}], ports: {ports}, {spec}}}"))
}

#[test]
fn tg0007_ports_of_entries_that_are_not_one_service_with_the_one_that_has_the_host() {
    let one = || entry("{name: one}", 80, "resolution: STATIC");
    let two = |metadata: &str, number: u16, spec: &str| {
        format!("{}{}", one(), entry(&format!("{{name: two{metadata}}}"), number, spec))
    };
    let lost = |whose: &str| {
        format!(
            "Warning: Port 81 of {HOST:?} leads nowhere: the host is that of {whose}.; write all ports of a host in one \
             ServiceEntry, or make the entries alike"
        )
    };
    let of_one = |what: &str| Some(lost(&format!("ServiceEntry default/one, which has other {what}")));
    let kubernetes = resource("v1", "Service", "{name: s}", "{clusterIP: 10.0.0.1, ports: [{port: 80, name: http}]}");
    let table = [
        (two("", 81, "resolution: STATIC"), None),
        (two("", 80, "resolution: DNS"), None),
        (two(", namespace: far", 81, "resolution: DNS"), None),
        (two("", 81, "resolution: DNS"), of_one("resolution")),
        (two(", labels: {a: b}", 81, "resolution: STATIC, exportTo: ['*']"), of_one("labels and exportTo")),
        (kubernetes + &entry("{name: two}", 81, "resolution: STATIC"), Some(lost("a Kubernetes Service"))),
    ];
    for (text, want) in table {
        assert_eq!(messages(&text, "TG0007"), want.into_iter().collect::<Vec<_>>(), "{text}");
    }
}
