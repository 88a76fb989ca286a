//! Listeners, virtual hosts and routes of a sidecar.

use super::connections::ways;
use super::{labels, resolved_as, summary};
use crate::model::{Binding, Discovery, Model};
use crate::resolve::{Proxy, Role};

fn sidecar(text: &str) -> Model {
    let labels = labels(&[("app", "client")]);
    resolved_as(text, &Proxy { role: Role::Sidecar, namespace: "default".into(), labels }).model
}

/// A Kubernetes Service with an address and a port.
fn service(name: &str, namespace: &str, (ip, port): (&str, &str)) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{clusterIP: {ip}, ports: \
         [{port}]}}\n---\n"
    )
}

fn resource(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

const HTTP: &str = "{name: http, port: 80}";
const BOUND: &str =
    "{port: {number: 80, name: http, protocol: HTTP}, bind: 127.0.0.1, captureMode: NONE, hosts: [HOSTS]}";

fn bound(hosts: &str) -> String {
    resource("Sidecar", "s", &format!("{{egress: [{}]}}", BOUND.replace("HOSTS", hosts)))
}

#[test]
fn a_service_has_all_its_names_and_who_is_unknown_goes_on() {
    let text = bound("'*/*'") + &service("a", "default", ("10.96.0.1", HTTP)) + &service("b", "team", ("None", HTTP));
    assert_eq!(
        summary(&sidecar(&text)),
        "127.0.0.1:80 80\n  a.default.svc.cluster.local a.default.svc.cluster.local. a a.default.svc a.default 10.96.0.1\n    any => 1 80||a\n  \
         b.team.svc.cluster.local b.team.svc.cluster.local. b.team.svc b.team *.b.team.svc.cluster.local *.b.team.svc.cluster.local. *.b.team.svc *.b.team\n    any => 1 80||b.team.svc.cluster.local\n  *\n    any => 1 \
         PassthroughCluster\n"
    );
}

#[test]
fn the_oldest_virtual_service_of_the_mesh_has_a_host_alone() {
    let route = |name: &str, uri: &str| {
        let spec = format!(
            "{{hosts: [a], http: [{{match: [{{uri: {{prefix: {uri}}}}}], route: [{{destination: {{host: a}}}}]}}]}}"
        );
        resource("VirtualService", name, &spec)
    };
    let text =
        bound("'./*'") + &service("a", "default", ("10.96.0.1", HTTP)) + &route("first", "/a") + &route("second", "/b");
    let found = summary(&sidecar(&text));
    assert!(found.contains("/a* => 1 80||a") && !found.contains("/b*"), "{found}");
}

#[test]
fn egress_hosts_say_what_is_known_and_some_can_be_left_out() {
    let services = service("a", "default", ("10.96.0.1", HTTP)) + &service("b", "team", ("10.96.0.2", HTTP));
    for (hosts, a, b) in [
        ("'*/*'", true, true),
        ("'./*'", true, false),
        ("'team/*'", false, true),
        ("'*/b.team.svc.cluster.local'", false, true),
        ("'~/*'", false, false),
        ("'*/*', '~team/*'", true, false),
        ("'*/*', '~*/*.team.svc.cluster.local'", true, false),
        ("'*/*', '~other/*'", true, true),
        ("'default/a.default.svc.cluster.local', 'other/*'", true, false),
    ] {
        let found = summary(&sidecar(&(bound(hosts) + &services)));
        assert_eq!((found.contains("  a.default"), found.contains("  b.team")), (a, b), "{hosts}: {found}");
    }
}

#[test]
fn a_service_of_many_hosts_is_known_where_all_of_them_are() {
    let many = "{hosts: ['*.many.example'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: NONE}";
    let rule = "{hosts: ['*.many.example'], http: [{directResponse: {status: 204}}]}";
    let text = resource("ServiceEntry", "many", many);
    for (hosts, service, with_rule) in [
        ("'*/*.many.example'", true, true),
        ("'*/*.example'", true, true),
        ("'*/a.many.example'", false, true),
        ("'*/*', '~*/a.many.example'", true, true),
        ("'*/*', '~*/*.example'", false, false),
    ] {
        let known = |text: &str| summary(&sidecar(&(bound(hosts) + text))).contains("  *.many.example");
        let with = text.clone() + &resource("VirtualService", "v", rule);
        assert_eq!((known(&text), known(&with)), (service, with_rule), "{hosts}");
    }
}

#[test]
fn a_unix_socket_knows_all_ports_of_its_services_and_is_bound_without_redirection() {
    let egress = "{egress: [{port: {number: 0, protocol: HTTP}, bind: 'unix:///run/a', hosts: ['*/*']}, {port: {number: 0, \
                  protocol: HTTP}, bind: 'unix://@b', captureMode: NONE, hosts: ['team/*']}]}";
    let text = resource("Sidecar", "s", egress)
        + &service("a", "default", ("None", HTTP))
        + &service("b", "team", ("10.96.0.2", "{name: http, port: 8080}"));
    let model = sidecar(&text);
    assert!(model.listeners.iter().all(|listener| listener.binding == Binding::Bound), "no port 15001");
    assert!(model.route_configurations.iter().all(|routes| routes.compares_ports && routes.port == 0));
    let found = summary(&model);
    let [first, second] =
        ["unix:///run/a unix:///run/a\n", "unix://@b unix://@b\n"].map(|line| found.find(line).unwrap());
    let knows = |part: &str, name: &str| part.split_whitespace().any(|known| known == name);
    assert!(["a", "a:80"].iter().all(|name| knows(&found[first..second], name)), "{found}");
    for part in [&found[first..second], &found[second..]] {
        assert!(["b.team:8080", "10.96.0.2:8080"].iter().all(|name| knows(part, name)), "{found}");
        assert!(!knows(part, "b.team"), "only port 80 goes without saying: {found}");
    }
    assert!(!found[second..].contains("a.default"), "{found}");
    let rule = |host: &str| {
        resource("VirtualService", "v", &format!("{{hosts: [{host}], http: [{{directResponse: {{status: 200}}}}]}}"))
    };
    let with = |host: &str| summary(&sidecar(&(text.clone() + &rule(host))));
    assert_eq!(with("nobody.example"), found, "a rule for no service is for none of its ports");
    let names = |line: &str| line.split(' ').filter(|name| name.ends_with("b.team")).count();
    assert_eq!(with("b.team.svc.cluster.local").lines().map(names).sum::<usize>(), 0, "nobody has port 80");
}

#[test]
fn connections_by_a_unix_socket_go_by_rules_without_a_port_whatever_address_these_name() {
    let egress = |protocol: &str| {
        let egress = format!(
            "{{egress: [{{port: {{number: 0, protocol: {protocol}}}, bind: 'unix:///run/a', hosts: ['*/*']}}]}}"
        );
        resource("Sidecar", "s", &egress)
    };
    let one = service("a", "default", ("10.96.0.1", "{name: tcp, port: 5432}"));
    let two = service("a", "default", ("10.96.0.1", "{name: tcp, port: 5432}, {name: tcp-b, port: 5433}"));
    let rules = resource(
        "VirtualService",
        "v",
        "{hosts: [a], tcp: [{match: [{port: 5432}], route: [{destination: {host: x}}]}, {match: [{destinationSubnets: \
         [10.0.0.0/8]}], route: [{destination: {host: a, port: {number: 5433}}}]}]}",
    );
    let any = |text: &str| ways(&sidecar(text));
    let to = |rest: &str| format!("unix:///run/a Bound\n  any {rest}\n");
    for protocol in ["TCP", "TLS"] {
        let own = to("default/a/port[5432] => 1*outbound|5432||a.default.svc.cluster.local");
        assert_eq!(any(&(egress(protocol) + &one)), own, "{protocol}: its only port");
    }
    let none = to("default/a/port[0] => 1*missing outbound|0||a.default.svc.cluster.local");
    assert_eq!(any(&(egress("TCP") + &two)), none, "nobody has said which");
    let by_rule = to("default/v/tcp[1] => 1*outbound|5433||a.default.svc.cluster.local");
    assert_eq!(any(&(egress("TCP") + &two + &rules)), by_rule);
    let mixed = any(&(egress("''") + &one));
    assert!(mixed.contains("  unless http default/a/port[5432] =>"), "{mixed}");
}

#[test]
fn the_sidecar_with_a_selector_goes_before_that_of_the_namespace_and_that_before_the_root_namespaces() {
    let egress = |port: u16| {
        format!("egress: [{{port: {{number: {port}, name: http, protocol: HTTP}}, captureMode: NONE, hosts: ['*/*']}}]")
    };
    let own = resource("Sidecar", "own", &format!("{{{}}}", egress(81)));
    let selected =
        resource("Sidecar", "z", &format!("{{workloadSelector: {{labels: {{app: client}}}}, {}}}", egress(82)));
    let other = resource("Sidecar", "a", &format!("{{workloadSelector: {{labels: {{app: other}}}}, {}}}", egress(83)));
    let root = resource("Sidecar", "r", &format!("{{{}}}", egress(84)))
        .replace("{name: r}", "{name: r, namespace: istio-system}");
    let port = |text: &str| sidecar(text).listeners[0].address.port();
    assert_eq!(port(&[&*own, &other, &selected, &root].concat()), 82);
    assert_eq!(port(&[&*other, &own, &root].concat()), 81);
    assert_eq!(port(&[&*other, &root].concat()), 84);
    assert_eq!(port(""), 15001, "connections are redirected to a sidecar that nobody has told anything");
}

#[test]
fn redirected_connections_are_told_apart_by_the_address_that_they_wanted() {
    let text = service("web", "default", ("10.96.0.1", HTTP))
        + &service("db", "default", ("10.96.0.2", "{name: tcp-db, port: 5432}"))
        + &service("any", "default", ("10.96.0.3", "{name: main, port: 7000}"))
        + &service("set", "default", ("None", "{name: tcp, port: 6000}, {name: tls, port: 6001}"))
        + &resource(
            "ServiceEntry",
            "out",
            "{hosts: [out.example], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}",
        );
    let model = sidecar(&text);
    assert_eq!(
        ways(&model),
        "0.0.0.0:80 Unbound\n  unless http allow_any => 1*PassthroughCluster\n0.0.0.0:443 Unbound\n  other allow_any => \
         1*PassthroughCluster\n  out.example default/out.example/port[443] => 1*outbound|443||out.example\n10.96.0.2:5432 \
         Unbound\n  any default/db/port[5432] => 1*outbound|5432||db.default.svc.cluster.local\npods://set.default.svc.cluster.local:6000 Unbound\n  any \
         default/set/port[6000] => 1*outbound|6000||set.default.svc.cluster.local\npods://set.default.svc.cluster.local:6001 Unbound\n  any \
         default/set/port[6001] => 1*outbound|6001||set.default.svc.cluster.local\n10.96.0.3:7000 Unbound\n  unless http \
         default/any/port[7000] => 1*outbound|7000||any.default.svc.cluster.local\n0.0.0.0:15001 Redirected\n  any allow_any => \
         1*PassthroughCluster\n[::]:15001 Redirected\n  any allow_any => 1*PassthroughCluster\n"
    );
    let headless = model.clusters.iter().find(|cluster| cluster.name.host.starts_with("set.")).unwrap();
    assert_eq!(headless.discovery, Discovery::None, "a pod that is asked for by its address is the one that is meant");
    let own = summary(&model);
    assert!(own.contains("10.96.0.3:7000 any.default.svc.cluster.local:7000\n  *\n"), "{own}");
}

#[test]
fn headless_services_of_one_port_have_listeners_of_their_own_for_their_pods() {
    let ports = "{name: tcp-db, port: 5432}, {name: any, port: 6000}, {name: http, port: 80}";
    let text = service("one", "default", ("None", ports))
        + &service("two", "default", ("None", "{name: tcp-db, port: 5432}, {name: tls-db, port: 443}"))
        + &service("web", "default", ("10.96.0.1", "{name: tcp-web, port: 9000}"))
        + &resource(
            "VirtualService",
            "two",
            "{hosts: [two], tcp: [{match: [{port: 5432}], route: [{destination: {host: web, port: {number: 9000}}}]}]}",
        );
    let model = sidecar(&text);
    let found = ways(&model);
    for listener in [
        "0.0.0.0:80 Unbound\n  unless http allow_any",
        "pods://two.default.svc.cluster.local:443 Unbound\n  any default/two/port[443]",
        "pods://one.default.svc.cluster.local:5432 Unbound\n  any default/one/port[5432]",
        "pods://two.default.svc.cluster.local:5432 Unbound\n  any default/two/tcp[0] => \
         1*outbound|9000||web.default.svc.cluster.local",
        "pods://one.default.svc.cluster.local:6000 Unbound\n  unless http default/one/port[6000]",
    ] {
        assert!(found.contains(listener), "{listener}: {found}");
    }
    assert!(!found.contains("0.0.0.0:5432"), "addresses of no pod are unknown: {found}");
    let requests = summary(&model);
    assert!(requests.contains("one.default.svc.cluster.local:6000\n  *\n    any => 1 6000||one"), "{requests}");
    let bound =
        summary(&sidecar(&(text + &resource("Sidecar", "s", "{egress: [{captureMode: NONE, hosts: ['*/*']}]}"))));
    assert!(bound.contains("127.0.0.1:6000") && !bound.contains("pods:"), "nothing is redirected: {bound}");
}

#[test]
fn unknown_traffic_is_refused_or_goes_to_a_proxy_where_the_sidecar_says_so() {
    let policy = |text: &str| {
        resource("Sidecar", "s", &format!("{{outboundTrafficPolicy: {{{text}}}, egress: [{{hosts: ['*/*']}}]}}"))
    };
    let services = service("a", "default", ("10.96.0.1", HTTP));
    let refused = sidecar(&(policy("mode: REGISTRY_ONLY") + &services));
    assert!(ways(&refused).contains("0.0.0.0:15001 Redirected\n  any block_all => 1*BlackHoleCluster\n"));
    assert!(refused.route_configurations[0].virtual_hosts.iter().any(|host| host.name == "block_all"));
    let proxied = sidecar(&(policy("mode: ALLOW_ANY, egressProxy: {host: a, port: {number: 80}}") + &services));
    assert!(ways(&proxied).contains("any allow_any => 1*outbound|80||a.default.svc.cluster.local"));
}

#[test]
fn the_mesh_says_what_is_done_with_unknown_traffic_and_whether_any_is_redirected() {
    let mesh = |text: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |-\n    {text}\n---\n"
        )
    };
    let services = service("a", "default", ("10.96.0.1", HTTP));
    let refused = sidecar(&(mesh("outboundTrafficPolicy: {mode: REGISTRY_ONLY}") + &services));
    assert!(ways(&refused).contains("any block_all => 1*BlackHoleCluster"));
    assert!(ways(&sidecar(&(mesh("proxyListenPort: 15101") + &services))).contains("0.0.0.0:15101 Redirected"));
    assert!(ways(&sidecar(&mesh("defaultConfig: {interceptionMode: TPROXY}"))).contains("[::]:15001 Transparent"));
    let direct = sidecar(&(mesh("defaultConfig: {interceptionMode: NONE}") + &services));
    assert_eq!(ways(&direct), "127.0.0.1:80 Bound\n");
}

#[test]
fn tcp_and_tls_rules_of_the_mesh_count_subnets_and_source_labels() {
    let rules = "{hosts: [db], tcp: [{match: [{sourceLabels: {app: other}}], route: [{destination: {host: other}}]}, {match: \
                 [{destinationSubnets: [10.96.0.0/24], sourceLabels: {app: client}}], route: [{destination: {host: db}, weight: \
                 1}, {destination: {host: web}, weight: 3}]}, {match: [{port: 5432}], route: [{destination: {host: web}}]}, \
                 {route: [{destination: {host: never}}]}]}";
    let text = service("db", "default", ("10.96.0.2", "{name: tcp-db, port: 5432}"))
        + &service("web", "default", ("10.96.0.1", "{name: tcp, port: 5432}"))
        + &resource("VirtualService", "v", rules);
    let found = ways(&sidecar(&text));
    let host = "default.svc.cluster.local";
    let want = format!(
        "10.96.0.2:5432 Unbound\n  any 10.96.0.0/24 default/v/tcp[1] => 1*outbound|5432||db.{host} 3*outbound|5432||web.{host}\n  \
         any default/v/tcp[2] => 1*outbound|5432||web.{host}\n"
    );
    assert!(found.contains(&want), "{found}");
}

/// A service outside of Kubernetes.
fn entry(host: &str, addresses: &str, port: &str) -> String {
    let spec =
        format!("{{hosts: [{host}], addresses: [{addresses}], ports: [{{number: 443, {port}}}], resolution: STATIC}}");
    resource("ServiceEntry", host.split('.').next().unwrap_or(host), &spec)
}

const TLS: &str = "name: tls, protocol: TLS";

/// Where connections to port 443 go, by the address that the client wanted and the server name.
fn decided(text: &str, connections: &[(&str, Option<&str>, &str)]) {
    let model = sidecar(text);
    let listener = model.listeners.iter().find(|listener| listener.address.port() == 443).unwrap();
    for &(wanted, name, expected) in connections {
        let address: std::net::IpAddr = wanted.parse().unwrap();
        let proxy = listener.tcp_for(address, name).unwrap();
        let mut routes = model.tcp_proxies[proxy.0 as usize].routes.iter();
        let takes = |subnets: &[ipnet::IpNet]| subnets.is_empty() || subnets.iter().any(|of| of.contains(&address));
        let found = routes.find(|route| takes(&route.destination_subnets)).map(|route| &*route.id);
        assert_eq!(found, Some(expected), "{wanted} {name:?}: {}", ways(&model));
    }
}

#[test]
fn the_address_that_was_wanted_counts_before_the_server_name() {
    let rules = "{hosts: ['*.example'], tls: [{match: [{sniHosts: [a.example]}, {sniHosts: [b.example], destinationSubnets: \
                 [10.1.0.0/16]}, {sniHosts: [c.example], destinationSubnets: [10.1.1.0/24, 10.2.0.0/16]}], route: [{destination: \
                 {host: a.example}}]}]}";
    let text = entry("a.example", "", TLS) + &resource("VirtualService", "v", rules);
    let matched = |place: usize| format!("default/v/tls[0]/match[{place}]");
    decided(
        &text,
        &[
            ("192.0.2.1", Some("a.example"), &matched(0)),
            ("10.3.0.1", Some("a.example"), &matched(0)),
            ("10.1.0.1", Some("b.example"), &matched(1)),
            ("10.2.0.1", Some("c.example"), &matched(2)),
            // The narrowest subnet has nothing for these names, and there is no way back to wider ones.
            ("10.1.0.1", Some("a.example"), "allow_any"),
            ("10.1.1.1", Some("b.example"), "allow_any"),
            ("10.3.0.1", Some("b.example"), "allow_any"),
            ("10.1.1.1", None, "allow_any"),
        ],
    );
}

#[test]
fn routes_with_and_without_server_names_share_a_port_by_the_narrowest_subnet() {
    let tcp = "name: tcp, protocol: TCP";
    let text = entry("wide.example", "10.0.0.0/8", tcp)
        + &entry("named.example", "10.1.0.0/16", TLS)
        + &entry("narrow.example", "10.1.1.0/24", tcp)
        + &entry("all.example", "", tcp)
        + &entry("anywhere.example", "", TLS);
    let own = |name: &str| format!("default/{name}.example/port[443]");
    decided(
        &text,
        &[
            ("10.9.0.1", None, &own("wide")),
            ("10.9.0.1", Some("named.example"), &own("wide")),
            ("10.9.0.1", Some("anywhere.example"), &own("wide")),
            ("10.1.0.1", Some("named.example"), &own("named")),
            // Not the wider subnet's: whatever takes everything is next.
            ("10.1.0.1", None, &own("all")),
            ("10.1.0.1", Some("other.example"), &own("all")),
            ("10.1.1.1", Some("named.example"), &own("narrow")),
            ("192.0.2.1", Some("anywhere.example"), &own("anywhere")),
            ("192.0.2.1", Some("named.example"), &own("all")),
        ],
    );
}

#[test]
fn nothing_is_read_as_http_where_a_route_names_the_address() {
    let text = entry("raw.example", "10.1.0.0/16", "name: tcp, protocol: TCP")
        + &entry("web.example", "", "name: http, protocol: HTTP");
    let model = sidecar(&text);
    let listener = model.listeners.iter().find(|listener| listener.address.port() == 443).unwrap();
    let crate::model::FilterChains::Detected(detection) = &listener.chains else { panic!("{listener:?}") };
    assert!(detection.http.is_some());
    assert_eq!(detection.unread, ["10.1.0.0/16".parse().unwrap()]);
}

#[test]
fn an_http_proxy_knows_services_by_their_ports_and_those_of_port_80_without() {
    let egress = "{egress: [{port: {number: 3128, name: proxy, protocol: HTTP_PROXY}, bind: 127.0.0.1, captureMode: NONE, hosts: \
                  ['*/*']}]}";
    let text = resource("Sidecar", "s", egress)
        + &service("a", "default", ("None", HTTP))
        + &service("b", "team", ("None", "{name: http, port: 8080}"));
    let model = sidecar(&text);
    assert!(model.route_configurations[0].compares_ports);
    let found = summary(&model);
    assert!(
        found.starts_with(
            "127.0.0.1:3128 http_proxy\n  a.default.svc.cluster.local a.default.svc.cluster.local:80 \
             a.default.svc.cluster.local. a.default.svc.cluster.local.:80 a a:80"
        ),
        "{found}"
    );
    assert!(
        found.contains(
            "  b.team.svc.cluster.local:8080 b.team.svc.cluster.local.:8080 b.team.svc:8080 b.team:8080 \
             *.b.team.svc.cluster.local:8080 "
        ),
        "{found}"
    );
}

#[test]
fn the_meshs_http_proxy_knows_what_the_listener_without_a_port_knows() {
    let mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: \
                'proxyHttpPort: 15080'\n---\n";
    let services = service("a", "default", ("None", HTTP)) + &service("b", "team", ("None", HTTP));
    let found = |sidecar_of: &str| summary(&sidecar(&[mesh, &services, sidecar_of].concat()));
    assert!(
        found("").contains("127.0.0.1:15080 http_proxy\n  a.default.svc.cluster.local a.default.svc.cluster.local:80")
    );
    let own = found(&resource("Sidecar", "s", "{egress: [{hosts: ['./*']}]}"));
    assert!(
        own.contains("  a.default.svc.cluster.local a.default.svc.cluster.local:80") && !own.contains("b.team"),
        "{own}"
    );
    let none = found(&bound("'*/*'"));
    assert!(none.contains("127.0.0.1:15080 http_proxy\n  *\n"), "{none}");
}

#[test]
fn hosts_that_no_service_has_are_known_on_port_80_only() {
    let rule = resource("VirtualService", "v", "{hosts: [nobody.example], http: [{directResponse: {status: 204}}]}");
    let known = |port: u16| {
        let sidecar_of = bound("'*/*'").replace("number: 80", &format!("number: {port}"));
        summary(&sidecar(&(sidecar_of + &rule))).contains("nobody.example")
    };
    assert!(known(80) && !known(81));
}

#[test]
fn requests_may_come_in_at_a_port_whose_protocol_nobody_has_said() {
    let port = |protocol: &str| {
        format!("{{hosts: [a.example], ports: [{{number: 80, name: x{protocol}}}], resolution: STATIC}}")
    };
    for (protocol, is_known) in [("", true), (", protocol: HTTP", true), (", protocol: TCP", false)] {
        let text = bound("'*/*'") + &resource("ServiceEntry", "a", &port(protocol));
        let found = summary(&sidecar(&text));
        assert_eq!(found.contains("80||a.example"), is_known, "{protocol}: {found}");
    }
}

#[test]
fn a_listener_with_an_address_and_without_a_protocol_is_its_oldest_services() {
    let unsaid = bound("'*/*'").replace(", protocol: HTTP", "");
    let of_2021 = "ServiceEntry\nmetadata: {name: a, creationTimestamp: '2021-01-01T00:00:00Z'}";
    let entry = |host: &str| {
        resource(
            "ServiceEntry",
            host,
            &format!("{{hosts: [{host}.example], ports: [{{number: 80, name: x}}], resolution: STATIC}}"),
        )
    };
    let text = unsaid + &entry("b") + &entry("a").replace("ServiceEntry\nmetadata: {name: a}", of_2021);
    let found = summary(&sidecar(&text));
    assert!(found.contains("a.example:80\n  *\n    any => 1 80||a.example"), "{found}");
    let by_place = summary(&sidecar(&text.replace(", creationTimestamp: '2021-01-01T00:00:00Z'", "")));
    assert!(by_place.contains("b.example:80\n  *\n    any => 1 80||b.example"), "{by_place}");
}
