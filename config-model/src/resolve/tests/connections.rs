//! Routes of connections at a gateway.

use std::fmt::Write;

use super::resolved;
use crate::model::{ClusterTarget, FilterChains, Model, TcpProxyIndex, TransportSocket, TunnelMethod};

/// Services a and b on port 7000, and a Gateway with `servers`; `routes` is the spec of a VirtualService.
fn text(servers: &str, routes: &str) -> String {
    let service = |name: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\nspec: {{hosts: [{name}.example], \
             location: MESH_INTERNAL, resolution: STATIC, ports: [{{number: 7000, name: tcp, protocol: TCP}}]}}\n---\n"
        )
    };
    format!(
        "{}{}apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web}}\nspec: {{selector: {{istio: \
         ingressgateway}}, servers: [{servers}]}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: \
         {{name: v}}\nspec: {{gateways: [web], {routes}}}\n",
        service("a"),
        service("b")
    )
}

/// A line for each way that a connection may take: what it is known by, and where it goes.
pub(super) fn ways(model: &Model) -> String {
    let mut text = String::new();
    for listener in &model.listeners {
        let _ = writeln!(text, "{} {:?}", listener.address, listener.binding);
        let mut add = |known: &str, proxy: Option<TcpProxyIndex>| {
            let routes = proxy.and_then(|proxy| model.tcp_proxies.get(proxy.0 as usize)).map(|proxy| &proxy.routes);
            for route in routes.into_iter().flatten() {
                let subnets: String = route.destination_subnets.iter().map(|subnet| format!(" {subnet}")).collect();
                let to = route.destinations.iter().map(|to| match &to.cluster {
                    ClusterTarget::Known(index) => format!(" {}*{}", to.weight, model.clusters[index.0 as usize].name),
                    ClusterTarget::Missing(name) => format!(" {}*missing {name}", to.weight),
                });
                let _ = writeln!(text, "  {known}{subnets} {} =>{}", route.id, to.collect::<String>());
            }
        };
        let chains = match &listener.chains {
            FilterChains::PlainText(filter) => {
                add("any", filter.tcp());
                &[]
            }
            FilterChains::Tls(chains) => &chains[..],
            FilterChains::Detected(detection) => {
                add(if detection.http.is_some() { "unless http" } else { "other" }, Some(detection.other));
                &detection.tls[..]
            }
        };
        for chain in chains {
            let names: Vec<String> = chain.server_names.iter().map(ToString::to_string).collect();
            let ended = if matches!(chain.transport, TransportSocket::Tls { .. }) { "ended " } else { "" };
            add(&format!("{ended}{}", names.join(",")), chain.filter().tcp());
        }
    }
    text
}

const TCP: &str = "{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}";
const PASSTHROUGH: &str =
    "{port: {number: 443, name: tls, protocol: TLS}, hosts: ['*.example'], tls: {mode: PASSTHROUGH}}";

#[test]
fn the_first_rule_for_port_and_gateway_takes_all_connections_of_a_plain_port() {
    let rules = "hosts: ['*'], tcp: [{match: [{port: 1}], route: [{destination: {host: b.example}}]}, {match: [{gateways: \
                 [other]}], route: [{destination: {host: b.example}}]}, {match: [{port: 2}, {port: 9000}], route: \
                 [{destination: {host: a.example}, weight: 70}, {destination: {host: b.example}, weight: 0}, {destination: \
                 {host: gone.example, port: {number: 5}}, weight: 30}]}, {route: [{destination: {host: b.example}}]}]";
    let model = resolved(&text(TCP, rules)).model;
    assert_eq!(
        ways(&model),
        "0.0.0.0:9000 Bound\n  any default/v/tcp[2] => 70*outbound|7000||a.example 30*missing outbound|5||gone.example\n"
    );
}

#[test]
fn a_port_without_a_rule_is_not_served_and_that_is_told() {
    let resolution =
        resolved(&text(TCP, "hosts: ['*'], tcp: [{match: [{port: 1}], route: [{destination: {host: a.example}}]}]"));
    assert!(resolution.model.listeners.is_empty());
    assert!(resolution.diagnostics[0].message.contains("no VirtualService has a rule for connections to port 9000"));
}

#[test]
fn passed_through_tls_goes_by_server_name_and_the_first_match_has_a_name() {
    let rules = "hosts: ['*.example'], tls: [{match: [{sniHosts: [x.example]}, {sniHosts: ['*.y.example'], port: 443}, {sniHosts: \
                 [z.example], port: 444}], route: [{destination: {host: a.example}}]}, {match: [{sniHosts: [x.example]}], route: \
                 [{destination: {host: b.example}}]}]";
    let resolution = resolved(&text(PASSTHROUGH, rules));
    assert_eq!(
        ways(&resolution.model),
        "0.0.0.0:443 Bound\n  x.example default/v/tls[0]/match[0] => 1*outbound|7000||a.example\n  *.y.example \
         default/v/tls[0]/match[1] => 1*outbound|7000||a.example\n"
    );
    assert!(resolution.diagnostics[0].message.contains("x.example is taken by an earlier match"));
}

#[test]
fn tls_that_ends_here_may_hold_anything() {
    let server =
        "{port: {number: 443, name: tls, protocol: TLS}, hosts: [x.example], tls: {mode: SIMPLE, credentialName: c}}";
    let model = resolved(&text(server, "hosts: [x.example], tcp: [{route: [{destination: {host: a.example}}]}]")).model;
    assert_eq!(ways(&model), "0.0.0.0:443 Bound\n  ended x.example default/v/tcp[0] => 1*outbound|7000||a.example\n");
}

#[test]
fn automatic_passthrough_knows_clusters_of_the_mesh_by_their_names() {
    let server =
        "{port: {number: 15443, name: tls, protocol: TLS}, hosts: ['*.example'], tls: {mode: AUTO_PASSTHROUGH}}";
    let subset = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a.example, \
                  subsets: [{name: v1, labels: {v: '1'}}]}\n";
    let model =
        resolved(&format!("{}{subset}", text(server, "hosts: [x.example], http: [{directResponse: {status: 200}}]")))
            .model;
    let found = ways(&model);
    for (name, cluster) in [
        ("outbound_.7000_._.a.example", "outbound|7000||a.example"),
        ("outbound_.7000_.v1_.a.example", "outbound|7000|v1|a.example"),
        ("outbound_.7000_._.b.example", "outbound|7000||b.example"),
    ] {
        assert!(found.contains(&format!("  {name} {name} => 1*{cluster}\n")), "{found}");
    }
}

#[test]
fn what_a_gateway_does_not_look_at_is_told() {
    let rules =
        "hosts: ['*'], tcp: [{match: [{destinationSubnets: [10.0.0.0/8]}], route: [{destination: {host: a.example}}]}]";
    let resolution = resolved(&text(TCP, rules));
    assert!(ways(&resolution.model).contains("any default/v/tcp[0]"));
    assert!(resolution.diagnostics[0].message.contains("not looked at by a gateway"));
}

#[test]
fn a_gateway_serves_nothing_of_the_mesh() {
    let text =
        text(TCP, "hosts: [a.example], tcp: [{route: [{destination: {host: a.example}}]}]").replace("[web]", "[mesh]");
    assert!(resolved(&text).model.listeners.is_empty());
}

#[test]
fn a_tunnel_is_that_of_the_rule_or_of_the_subset_that_is_the_only_destination() {
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a.example, \
                trafficPolicy: {tunnel: {targetHost: top.example, targetPort: 1}}, subsets: [{name: own, trafficPolicy: {tunnel: \
                {protocol: POST, targetHost: '2001:db8::7', targetPort: 443}}}, {name: none}]}\n";
    let (top, own) = (Some((TunnelMethod::Connect, "top.example:1")), Some((TunnelMethod::Post, "[2001:db8::7]:443")));
    for (destinations, want) in [
        ("{destination: {host: a.example}}", top),
        ("{destination: {host: a.example, subset: own}}", own),
        ("{destination: {host: a.example, subset: none}}", None),
        ("{destination: {host: a.example, subset: own}, weight: 1}, {destination: {host: b.example}, weight: 1}", top),
        ("{destination: {host: b.example}, weight: 1}, {destination: {host: a.example}, weight: 1}", None),
    ] {
        let routes = format!("hosts: ['*'], tcp: [{{route: [{destinations}]}}]");
        let model = resolved(&format!("{}{rule}", text(TCP, &routes))).model;
        let tunnel = model.tcp_proxies[0].routes[0].tunnel.as_deref();
        assert_eq!(tunnel.map(|tunnel| (tunnel.method, &*tunnel.target)), want, "{destinations}");
    }
}
