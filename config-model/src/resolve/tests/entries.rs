//! Several ServiceEntries with one host: which service that is, with which ports and endpoints.

use super::*;

/// A ServiceEntry with the host `s.example`; `name` may be followed by other metadata, and `ports` by other fields.
fn entry(name: &str, resolution: &str, ports: &str, endpoint: &str) -> String {
    let ports: Vec<String> = ports
        .split(' ')
        .map(|port| {
            let (number, name) = port.split_once('/').expect("NUMBER/NAME");
            format!("{{number: {number}, name: {name}, protocol: HTTP}}")
        })
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [s.example], \
         resolution: {resolution}, ports: [{}], endpoints: [{{address: {endpoint}}}]}}\n---\n",
        ports.join(", ")
    )
}

/// What routes to each port lead to, at a gateway of `default`: the cluster's endpoints, or nothing.
fn ports(entries: &[String], ports: &[u16]) -> String {
    let route = |port: &u16| {
        let destination = format!("{{host: s.example, port: {{number: {port}}}}}");
        format!("{{match: [{{uri: {{prefix: /{port}}}}}], route: [{{destination: {destination}}}]}}")
    };
    let routes: Vec<String> = ports.iter().map(route).collect();
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{}]}}", routes.join(", "));
    let set = set(&format!("{WEB}{}{}", entries.concat(), virtual_service("{name: v}", &spec)));
    let (model, index) = (resolve(&set, &gateway()).model, EndpointIndex::new(&set));
    let described = ports.iter().map(|port| {
        let cluster = model.clusters.iter().find(|cluster| cluster.name.port == *port);
        let addresses = cluster.map(|cluster| {
            let endpoints = index.endpoints(cluster);
            endpoints.iter().map(|one| one.address.to_string()).collect::<Vec<_>>().join(",")
        });
        format!("{port}={}", addresses.unwrap_or_else(|| "missing".to_owned()))
    });
    described.collect::<Vec<_>>().join(" ")
}

const OLD: &str = ", creationTimestamp: '2020-01-01T00:00:00Z'";

#[test]
fn entries_that_are_alike_are_one_service_with_the_ports_of_all_and_each_port_has_its_own_endpoints() {
    let one = || entry("one", "STATIC", "80/http", "10.0.0.1");
    let two = |name: &str, ports: &str| entry(&format!("two{name}"), "STATIC", ports, "10.0.0.2");
    let shown = |list: &str| two("", "81/b").replace("resolution:", &format!("exportTo: [{list}], resolution:"));
    let shown_one = || one().replace("resolution:", "exportTo: [a, default], resolution:");
    let table = [
        ("two ports", vec![one(), two("", "81/b")], "80=10.0.0.1:80 81=10.0.0.2:81"),
        ("one name", vec![one(), two("", "81/http")], "80=10.0.0.1:80,10.0.0.2:81 81=10.0.0.1:80,10.0.0.2:81"),
        ("the first has the port", vec![one(), two("", "80/x 81/b")], "80=10.0.0.1:80 81=10.0.0.2:81"),
        ("the older is the first", vec![one(), two(OLD, "80/x 81/b")], "80=10.0.0.2:80 81=10.0.0.2:81"),
        ("other labels", vec![one(), two(", labels: {a: b}", "81/b")], "80=10.0.0.1:80 81=missing"),
        ("shown elsewhere", vec![one(), shown(".")], "80=missing 81=10.0.0.2:81"),
        ("shown to the same", vec![shown_one(), shown("default, a")], "80=10.0.0.1:80 81=10.0.0.2:81"),
        ("of another namespace", vec![one(), two(", namespace: far", "81/b")], "80=10.0.0.1:80 81=missing"),
    ];
    for (case, entries, want) in table {
        assert_eq!(ports(&entries, &[80, 81]), want, "{case}");
    }
}

#[test]
fn a_service_has_the_endpoints_of_all_entries_of_its_namespace_that_it_can_reach() {
    let table = [
        (
            "names are not looked up for addresses",
            [entry("a", "STATIC", "80/http", "10.0.0.1"), entry("b", "DNS", "80/http 81/b", "b.example")],
            "80=10.0.0.1:80 81=missing",
        ),
        (
            "addresses of an entry with names",
            [entry("a", "STATIC", "80/http", "10.0.0.1"), entry("b", "DNS", "82/http", "10.0.0.2")],
            "80=10.0.0.1:80,10.0.0.2:82 81=missing",
        ),
        (
            "names go by number",
            [entry("a", "DNS", "80/http", "a.example"), entry("b", "DNS", "80/x 81/http", "b.example")],
            "80=a.example:80,b.example:80 81=b.example:81",
        ),
        (
            "addresses among names",
            [entry("a", "DNS", "80/http", "a.example"), entry("b", "STATIC", "80/x 81/http", "10.0.0.2")],
            "80=a.example:80,10.0.0.2:80 81=missing",
        ),
        (
            "one name in turn",
            [
                entry("a", "DNS_ROUND_ROBIN", "80/http", "a.example"),
                entry("b", "DNS_ROUND_ROBIN", "80/http 81/b", "b.example"),
            ],
            "80=a.example:80 81=b.example:81",
        ),
    ];
    for (case, entries, want) in table {
        assert_eq!(ports(&entries, &[80, 81]), want, "{case}");
    }
}

/// Which namespace's service a host is to a proxy of `default`, by the one endpoint that each has.
#[test]
fn a_gateway_takes_the_oldest_and_a_sidecar_its_own_and_both_rather_what_is_shown_to_some() {
    let of =
        |namespace: &str, endpoint: &str| entry(&format!("s, namespace: {namespace}"), "STATIC", "80/http", endpoint);
    let shown = |text: String, to: &str| text.replace("resolution:", &format!("exportTo: [{to}], resolution:"));
    let (far, own) = (of("far", "10.0.0.1"), of("default", "10.0.0.2"));
    let table = [
        ("oldest", vec![far.clone(), own.clone()], "far", "default"),
        ("own first", vec![own.clone(), far.clone()], "default", "default"),
        ("hidden", vec![shown(far.clone(), "."), own], "default", "default"),
        ("some before all", vec![far.clone(), shown(of("near", "10.0.0.3"), "default")], "near", "near"),
        ("no other", vec![far], "far", "far"),
    ];
    for (case, entries, at_gateway, in_sidecar) in table {
        let set = set(&entries.concat());
        for (role, want) in [(Role::Gateway, at_gateway), (Role::Sidecar, in_sidecar)] {
            let proxy = Proxy { role, ..gateway() };
            let found = crate::resolve::services::find(&set, "s.example", &proxy, None).expect("a service");
            assert_eq!(found.namespace(), want, "{case}, {role:?}");
        }
    }
}

#[test]
fn without_resolution_the_target_port_is_connected_to_at_the_address_that_the_client_wanted() {
    let none = |name: &str, ports: &str, target: &str| {
        let text = entry(name, "NONE", ports, "").replace(", endpoints: [{address: }]", "");
        text.replace("HTTP}", &format!("HTTP, targetPort: {target}}}"))
    };
    let text = none("one", "80/http", "8080") + &none("two", "81/b", "8081") + &none("three", "82/c", "0");
    let model = resolved_as(&text, &Proxy { role: Role::Sidecar, ..gateway() }).model;
    let found: Vec<_> = model.clusters.iter().map(|cluster| (cluster.name.port, cluster.port_override)).collect();
    assert!([(80, Some(8080)), (81, None), (82, None)].iter().all(|wanted| found.contains(wanted)), "{found:?}");
    let known = entry("one", "STATIC", "80/http", "10.0.0.1").replace("HTTP}", "HTTP, targetPort: 8080}");
    let model = resolved_as(&known, &Proxy { role: Role::Sidecar, ..gateway() }).model;
    assert!(model.clusters.iter().all(|cluster| cluster.port_override.is_none()), "endpoints have their own ports");
}

#[test]
fn a_sidecar_listens_on_the_ports_of_all_entries_at_their_own_addresses() {
    let at = |address: &str, text: String| text.replace("resolution:", &format!("addresses: [{address}], resolution:"));
    let text = [
        at("240.0.0.1", entry("one", "STATIC", "80/http 90/a", "10.0.0.1")),
        at("240.0.0.2", entry("two", "STATIC", "80/http 81/b 91/c", "10.0.0.2")),
        at("240.0.0.3", entry("three", "DNS", "82/d", "c.example")),
    ];
    let text = text.concat().replace("name: a, protocol: HTTP", "name: a, protocol: TCP");
    let text = text.replace("name: c, protocol: HTTP", "name: c, protocol: TCP");
    let model = resolved_as(&text, &Proxy { role: Role::Sidecar, ..gateway() }).model;
    let addresses: Vec<String> = model.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(
        addresses,
        ["0.0.0.0:80", "0.0.0.0:81", "0.0.0.0:82", "240.0.0.1:90", "240.0.0.2:91", "0.0.0.0:15001", "[::]:15001"]
    );
    let found = summary(&model);
    for (names, route) in [
        ("s.example s.example. 240.0.0.2", "1 80||s.example"),
        ("s.example s.example. 240.0.0.2", "1 81||s.example"),
        ("s.example s.example. 240.0.0.3", "1 missing 82||s.example"),
    ] {
        assert!(found.contains(&format!("  {names}\n    any => {route}\n")), "{names}: {found}");
    }
}
