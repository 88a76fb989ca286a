//! Which Gateways and VirtualServices a gateway serves, and how they are put together.

use super::*;

/// A Gateway in braces: name, selector and servers.
fn gateway_of(metadata: &str, servers: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {metadata}\nspec: {{selector: {{istio: \
         ingressgateway}}, servers: {servers}}}\n---\n"
    )
}

const ANSWER: &str = "directResponse: {status: 200, body: {string: ";

fn answer(body: &str) -> String {
    format!("http: [{{{ANSWER}{body}}}}}}}]")
}

fn assert_summary(case: &str, text: &str, proxy: &Proxy, want: &str) {
    let model = resolve(&set(text), proxy).model;
    assert_eq!(summary(&model), dedent(want), "{case}");
}

#[test]
fn bookinfo_is_split_evenly_between_two_of_three_subsets() {
    let rules = "{hosts: ['*'], gateways: [web], http: [{match: [{uri: {prefix: /reviews}}], route: [
        {destination: {host: reviews, subset: v1}, weight: 50}, {destination: {host: reviews, subset: v2}, weight: 50}]}]}";
    let text = format!("{WEB}{REVIEWS}{}", virtual_service("{name: reviews, namespace: default}", rules));
    assert_summary(
        "bookinfo",
        &text,
        &gateway(),
        "
        0.0.0.0:80 http.80
          *
            /reviews* => 50 9080|v1|reviews, 50 9080|v2|reviews
        ",
    );
    let resolution = resolved(&text);
    assert_eq!(resolution.diagnostics, []);
    let route = &resolution.model.route_configurations[0].virtual_hosts[0].routes[0];
    assert_eq!(&*route.id, "default/reviews/http[0]/match[0]");
    assert_eq!(route.origin.to_string(), "main.yaml:36");
    let cluster = &resolution.model.clusters[0];
    assert_eq!(cluster.subset_labels, labels(&[("version", "v1")]));
    let origins: Vec<String> = cluster.origins.iter().map(|one| format!("{} {one}", one.resource)).collect();
    assert_eq!(
        origins,
        [
            "ServiceEntry default/reviews main.yaml:12",
            "DestinationRule default/reviews main.yaml:25",
            "DestinationRule default/reviews main.yaml:29"
        ]
    );
}

#[test]
fn only_gateways_whose_selector_is_a_part_of_the_proxys_labels_are_served() {
    let other = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: other}\nspec: {selector: {istio: \
                 ingressgateway, tier: back}, servers: [{port: {number: 81, name: http, protocol: HTTP}, hosts: ['*']}]}\n";
    let text = format!("{WEB}{other}");
    assert_summary("one label", &text, &gateway(), "0.0.0.0:80 http.80\n");
    let both = Proxy { labels: labels(&[("istio", "ingressgateway"), ("tier", "back")]), ..gateway() };
    assert_summary("both labels", &text, &both, "0.0.0.0:80 http.80\n0.0.0.0:81 http.81\n");
    let neither = Proxy { labels: Labels::new(), ..gateway() };
    assert_summary("no label", &text, &neither, "");
    assert_summary("another namespace", &text, &Proxy { namespace: "far".into(), ..gateway() }, "0.0.0.0:80 http.80\n");
}

#[test]
fn hosts_are_those_of_both_server_and_virtual_service_the_narrower_kept() {
    let server = |hosts: &str| {
        let servers = format!("[{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: {hosts}}}]");
        gateway_of("{name: web}", &servers)
    };
    let bound = |name: &str, hosts: &str| {
        let spec = format!("{{hosts: {hosts}, gateways: [web], {}}}", answer(name));
        virtual_service(&format!("{{name: {name}}}"), &spec)
    };
    let table = [
        (
            "exact in wildcard",
            "['*.shop.example']",
            "[a.shop.example, shop.example, b.other.example]",
            "a.shop.example",
        ),
        (
            "wildcard over exact",
            "[a.shop.example, c.shop.example]",
            "['*.shop.example']",
            "a.shop.example c.shop.example",
        ),
        ("case counts nothing", "[Shop.Example]", "[SHOP.example]", "shop.example"),
        (
            "short hosts are completed, and taken as written",
            "['*']",
            "[reviews]",
            "reviews reviews.default.svc.cluster.local",
        ),
        ("any with any", "['*']", "['*']", "*"),
    ];
    for (case, servers, hosts, want) in table {
        let text = format!("{}{}", server(servers), bound("v", hosts));
        let want = format!("0.0.0.0:80 http.80\n  {want}\n    any => v\n");
        assert_summary(case, &text, &gateway(), &want);
    }
    let disjoint = format!("{}{}", server("[a.example]"), bound("v", "[b.example]"));
    assert_summary("nothing in common", &disjoint, &gateway(), "0.0.0.0:80 http.80\n");
}

#[test]
fn a_server_host_with_a_namespace_takes_virtual_services_of_that_namespace_only() {
    let servers =
        "[{port: {number: 80, name: http, protocol: HTTP}, hosts: [team-a/a.example, ./b.example, '*/c.example']}]";
    let own = virtual_service(
        "{name: own}",
        &format!("{{hosts: [a.example, b.example], gateways: [web], {}}}", answer("own")),
    );
    let team = virtual_service(
        "{name: team, namespace: team-a}",
        &format!("{{hosts: [a.example, b.example, c.example], gateways: [default/web], {}}}", answer("team")),
    );
    let text = format!("{}{own}{team}", gateway_of("{name: web}", servers));
    assert_summary(
        "namespaces",
        &text,
        &gateway(),
        "
        0.0.0.0:80 http.80
          a.example c.example
            any => team
          b.example
            any => own
        ",
    );
}

#[test]
fn servers_of_one_port_and_address_share_a_listener_across_gateways() {
    let server = |number: u16, protocol: &str, host: &str| {
        format!("{{port: {{number: {number}, name: {host}, protocol: {protocol}}}, hosts: [{host}.example]}}")
    };
    let bound = server(80, "HTTP", "c").replace("hosts", "bind: 127.0.0.7, hosts");
    let first = gateway_of("{name: first}", &format!("[{}, {bound}]", server(80, "HTTP", "a")));
    let second = gateway_of("{name: second}", &format!("[{}, {}]", server(80, "grpc", "b"), server(90, "HTTP2", "d")));
    let all = format!("{{hosts: ['*'], gateways: [first, second], {}}}", answer("all"));
    let text = format!("{first}{second}{}", virtual_service("{name: all}", &all));
    assert_summary(
        "ports",
        &text,
        &gateway(),
        "
        0.0.0.0:80 http.80
          a.example b.example
            any => all
        127.0.0.7:80 http.80.127.0.0.7
          c.example
            any => all
        0.0.0.0:90 http.90
          d.example
            any => all
        ",
    );
    assert_eq!(resolved(&text).model.listeners[0].origins.len(), 2);
}

#[test]
fn https_redirect_needs_no_virtual_service() {
    let servers = "[{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example, b.example], tls: {httpsRedirect: \
                   true}}, {port: {number: 80, name: plain, protocol: HTTP}, hosts: [c.example]}]";
    let own = format!("{{hosts: [a.example, c.example], gateways: [web], {}}}", answer("own"));
    let text = format!("{}{}", gateway_of("{name: web}", servers), virtual_service("{name: own}", &own));
    assert_summary(
        "redirects",
        &text,
        &gateway(),
        "
        0.0.0.0:80 http.80
          a.example to https
            any => own
          b.example to https
          c.example
            any => own
        ",
    );
}

#[test]
fn virtual_services_of_a_host_are_merged_by_age_with_catch_alls_last() {
    let rule = |body: &str, prefix: &str| format!("{{match: [{{uri: {{prefix: {prefix}}}}}], {ANSWER}{body}}}}}}}");
    let bound = |metadata: &str, rules: &str| {
        virtual_service(metadata, &format!("{{hosts: [shop.example], gateways: [web], http: [{rules}]}}"))
    };
    let all = |body: &str| format!("{{{ANSWER}{body}}}}}}}");
    let old = "creationTimestamp: '2020-01-01T00:00:00Z'";
    let new = "creationTimestamp: '2021-01-01T00:00:00Z'";
    let table = [
        (
            "file order without times",
            format!("{}{}", bound("{name: b}", &rule("b", "/b")), bound("{name: a}", &rule("a", "/a"))),
            "/b* => b, /a* => a",
        ),
        (
            "oldest first",
            format!(
                "{}{}",
                bound(&format!("{{name: a, {new}}}"), &rule("new", "/x/y")),
                bound(&format!("{{name: b, {old}}}"), &rule("old", "/x"))
            ),
            "/x* => old, /x/y* => new",
        ),
        (
            "a time goes before none",
            format!(
                "{}{}",
                bound("{name: a}", &rule("none", "/n")),
                bound(&format!("{{name: b, {new}}}"), &rule("b", "/b"))
            ),
            "/b* => b, /n* => none",
        ),
        (
            "equal times by name",
            format!(
                "{}{}",
                bound(&format!("{{name: b, {old}}}"), &rule("b", "/b")),
                bound(&format!("{{name: a, {old}}}"), &rule("a", "/a"))
            ),
            "/a* => a, /b* => b",
        ),
        (
            "catch-all of the older goes last",
            format!("{}{}", bound(&format!("{{name: a, {old}}}"), &all("all")), bound("{name: b}", &rule("b", "/b"))),
            "/b* => b, any => all",
        ),
        (
            "nothing after a catch-all in one",
            bound("{name: a}", &format!("{}, {}, {}", rule("a", "/a"), all("all"), rule("never", "/never"))),
            "/a* => a, any => all",
        ),
        (
            "prefix / and regex .* are catch-alls too",
            bound(
                "{name: a}",
                &format!("{}, {}", rule("a", "/").replace("prefix: /", "regex: '.*'"), rule("never", "/n")),
            ),
            "/.*/ => a",
        ),
    ];
    for (case, rules, want) in table {
        assert_eq!(route_lines(&format!("{WEB}{rules}")).join(", "), want, "{case}");
    }
}

#[test]
fn only_virtual_services_that_name_the_gateway_are_bound_to_it() {
    let table = [
        ("none means mesh", "{hosts: [a.example], ", ""),
        ("mesh alone", "{hosts: [a.example], gateways: [mesh], ", ""),
        ("mesh beside it", "{hosts: [a.example], gateways: [mesh, web], ", "any => v"),
        ("with its namespace", "{hosts: [a.example], gateways: [default/web], ", "any => v"),
        ("of another namespace", "{hosts: [a.example], gateways: [other/web], ", ""),
        ("twice", "{hosts: [a.example], gateways: [web, default/web], ", "any => v"),
    ];
    for (case, spec, want) in table {
        let text = format!("{WEB}{}", virtual_service("{name: v}", &format!("{spec}{}}}", answer("v"))));
        assert_eq!(route_lines(&text).join(", "), want, "{case}");
    }
}

#[test]
fn export_to_decides_which_proxies_see_a_virtual_service() {
    let mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n    \
                defaultVirtualServiceExportTo: ['.']\n---\n";
    let table = [
        ("everywhere", "", "", "far", true),
        ("own only", "exportTo: ['.'], ", "", "far", false),
        ("own only, seen from there", "exportTo: ['.'], ", "", "default", true),
        ("all", "exportTo: ['*'], ", "", "far", true),
        ("by name", "exportTo: [far], ", "", "far", true),
        ("by another name", "exportTo: [near], ", "", "far", false),
        ("default of the mesh", "", mesh, "far", false),
        ("all in spite of the default", "exportTo: ['*'], ", mesh, "far", true),
    ];
    for (case, export, mesh, namespace, want) in table {
        let spec = format!("{{hosts: [a.example], gateways: [web], {export}{}}}", answer("v"));
        let text = format!("{mesh}{WEB}{}", virtual_service("{name: v, namespace: default}", &spec));
        let proxy = Proxy { namespace: namespace.into(), ..gateway() };
        let model = resolve(&set(&text), &proxy).model;
        assert_eq!(!model.route_configurations[0].virtual_hosts.is_empty(), want, "{case}");
    }
}

#[test]
fn what_only_the_proxys_namespace_sees_goes_before_what_all_see() {
    let rule = |name: &str, export: &str| {
        let spec = format!("{{hosts: [a.example], gateways: [default/web], exportTo: ['{export}'], {}}}", answer(name));
        virtual_service(
            &format!("{{name: {name}}}"),
            &spec.replace("{directResponse", &format!("{{match: [{{uri: {{prefix: /{name}}}}}], directResponse")),
        )
    };
    let text = format!("{WEB}{}{}{}", rule("public", "*"), rule("private", "."), rule("later", "*"));
    assert_eq!(route_lines(&text), ["/private* => private", "/public* => public", "/later* => later"]);
}

#[test]
fn hosts_and_ports_with_the_same_routes_share_them() {
    let two = format!("{WEB}{}", WEB.replace("name: web", "name: two").replace("number: 80", "number: 81"));
    let spec = format!("{{hosts: [a.example, b.example], gateways: [web, two], {}}}", answer("v"));
    let model = resolved(&format!("{two}{}", virtual_service("{name: v}", &spec))).model;
    let hosts: Vec<&VirtualHost> = model.route_configurations.iter().flat_map(|one| &one.virtual_hosts).collect();
    assert_eq!(hosts.iter().map(|host| host.domains.len()).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(hosts[1].name, "a.example:81");
    assert!(Arc::ptr_eq(&hosts[0].routes, &hosts[1].routes));
}
