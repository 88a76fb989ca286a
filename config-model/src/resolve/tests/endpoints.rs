//! Endpoints: from ServiceEntries and WorkloadEntries, from slices, Endpoints and pods.

use super::*;

/// The folder of one service and a route to it.
fn folder(services: &str, host: &str) -> String {
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{route: [{{destination: {{host: {host}}}}}]}}]}}");
    format!("{WEB}{services}{}", virtual_service("{name: v}", &spec))
}

fn of_entry(spec: &str) -> String {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec: {{hosts: [s.example], ports: \
         [{{number: 80, name: http, protocol: HTTP}}], {spec}}}\n---\n"
    );
    endpoints(&folder(&text, "s.example"), "outbound|80||s.example")
}

#[test]
fn a_service_entrys_endpoints_have_their_own_port_or_the_target_port_or_the_number() {
    let table = [
        ("resolution: STATIC, endpoints: [{address: 10.0.0.1}]", "10.0.0.1:80"),
        ("resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 8080}}]", "10.0.0.1:8080"),
        ("resolution: STATIC, endpoints: [{address: '::1'}]", "[::1]:80"),
        ("resolution: STATIC, endpoints: [{address: 'unix:///run/s'}]", "unix:///run/s"),
        (
            "resolution: STATIC, endpoints: [{address: 10.0.0.1, weight: 75}, {address: 10.0.0.2, weight: 0}]",
            "10.0.0.1:80*75 10.0.0.2:80",
        ),
        ("resolution: DNS", "s.example:80"),
        ("resolution: DNS, endpoints: [{address: Other.example, ports: {http: 81}}]", "other.example:81"),
        ("resolution: DNS, endpoints: [{address: 10.0.0.1}]", "10.0.0.1:80"),
        ("resolution: DNS_ROUND_ROBIN", "s.example:80"),
        ("resolution: NONE", ""),
    ];
    for (spec, want) in table {
        assert_eq!(of_entry(spec), want, "{spec}");
    }
    let target = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s}\nspec: {hosts: [s.example], \
                  resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8081}], endpoints: \
                  [{address: 10.0.0.1}, {address: 10.0.0.2, ports: {http: 82}}]}\n---\n";
    assert_eq!(endpoints(&folder(target, "s.example"), "outbound|80||s.example"), "10.0.0.1:8081 10.0.0.2:82");
}

#[test]
fn a_selector_takes_workload_entries_and_pods_of_its_namespace() {
    let workload = |name: &str, namespace: &str, spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: \
             {spec}\n---\n"
        )
    };
    let pod = |name: &str, labels: &str, ready: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{containers: []}}\nstatus: \
             {{podIP: 10.1.0.9, conditions: [{{type: Ready, status: '{ready}'}}]}}\n---\n"
        )
    };
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s}\nspec: {hosts: [s.example], \
                 resolution: STATIC, workloadSelector: {labels: {app: vm}}, ports: [{number: 80, name: http, protocol: HTTP, \
                 targetPort: 8080}]}\n---\n";
    let services = [
        entry.to_owned(),
        workload("a", "default", "{address: 10.0.0.1, ports: {http: 81}, labels: {app: vm}}"),
        workload("b", "default", "{address: 10.0.0.2, labels: {app: vm, version: v2}}"),
        workload("c", "default", "{address: 10.0.0.3, labels: {app: other}}"),
        workload("e, labels: {app: vm}", "default", "{address: 10.0.0.5, labels: {app: other}}"),
        workload("d", "far", "{address: 10.0.0.4, labels: {app: vm}}"),
        pod("p", "{app: vm}", "False"),
        pod("q", "{app: other}", "True"),
    ];
    let got = endpoints(&folder(&services.concat(), "s.example"), "outbound|80||s.example");
    assert_eq!(got, "10.0.0.1:81 10.0.0.2:8080 10.0.0.5:8080 10.1.0.9:8080!");
}

fn service(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: s, namespace: default}}\nspec: {spec}\n---\n")
}

fn slice(name: &str, rest: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: {name}, namespace: default, labels: \
         {{kubernetes.io/service-name: s}}}}\n{rest}\n---\n"
    )
}

fn pod(name: &str, ip: &str, labels: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{serviceAccountName: reviews, \
         containers: [{{name: app, ports: [{{name: web, containerPort: 8088}}]}}]}}\nstatus: {{phase: Running, podIP: {ip}, \
         podIPs: [{{ip: {ip}}}]}}\n---\n"
    )
}

fn of_service(resources: &[String]) -> String {
    endpoints(&folder(&resources.concat(), "s"), "outbound|80||s.default.svc.cluster.local")
}

const PLAIN: &str = "{clusterIP: 10.96.0.1, selector: {app: s}, ports: [{name: http, port: 80, targetPort: 8080}]}";

#[test]
fn slices_give_addresses_and_the_port_of_the_services_port_name() {
    let one = "addressType: IPv4\nports: [{name: other, port: 1}, {name: http, port: 8080}]\nendpoints:\n- {addresses: \
               [10.0.0.1], conditions: {ready: true}}\n- {addresses: [10.0.0.2], conditions: {ready: false}}\n- {addresses: \
               [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}\n- {addresses: [10.0.0.4]}";
    let six = "addressType: IPv6\nports: [{name: http, port: 8081}]\nendpoints: [{addresses: ['fd00::1']}]";
    let unnamed = "addressType: IPv4\nports: [{name: other, port: 1}]\nendpoints: [{addresses: [10.0.0.9]}]";
    let name = "addressType: FQDN\nports: [{name: http, port: 1}]\nendpoints: [{addresses: [a.example]}]";
    let resources = [service(PLAIN), slice("a", one), slice("b", six), slice("c", unnamed), slice("d", name)];
    assert_eq!(of_service(&resources), "10.0.0.1:8080 10.0.0.2:8080! 10.0.0.3:8080! 10.0.0.4:8080 [fd00::1]:8081");
    let headless = PLAIN.replace("10.96.0.1", "None");
    assert_eq!(of_service(&[service(&headless), slice("b", six)]), "[fd00::1]:8081");
}

#[test]
fn the_old_endpoints_count_only_without_slices_and_pods_only_without_both() {
    let old = "apiVersion: v1\nkind: Endpoints\nmetadata: {name: s}\nsubsets:\n- {addresses: [{ip: 10.0.0.5}], \
               notReadyAddresses: [{ip: 10.0.0.6}], ports: [{name: http, port: 8082}]}\n---\n";
    let new = slice("a", "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]");
    let pods = pod("p", "10.1.0.1", "{app: s}") + &pod("q", "10.1.0.2", "{app: other}");
    let table = [
        (vec![old.to_owned(), new, pods.clone()], "10.0.0.1:8080"),
        (vec![old.to_owned(), pods.clone()], "10.0.0.5:8082 10.0.0.6:8082!"),
        (vec![pods.clone()], "10.1.0.1:8080"),
        (vec![], ""),
    ];
    for (resources, want) in table {
        let all: Vec<String> = std::iter::once(service(PLAIN)).chain(resources).collect();
        assert_eq!(of_service(&all), want, "{want}");
    }
    let by_name = PLAIN.replace("targetPort: 8080", "targetPort: web");
    assert_eq!(of_service(&[service(&by_name), pods]), "10.1.0.1:8088");
}

#[test]
fn a_subset_is_chosen_by_the_labels_of_the_pod_that_a_slice_points_to_or_that_has_its_address() {
    let rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: s}\nspec: {host: s, subsets: \
                [{name: v1, labels: {version: v1}}]}\n---\n";
    let slices = slice(
        "a",
        "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints:\n- {addresses: [10.0.0.1], targetRef: {kind: Pod, \
         name: one, namespace: default}}\n- {addresses: [10.0.0.2]}\n- {addresses: [10.0.0.3], targetRef: {kind: Pod, name: \
         gone}}",
    );
    let pods = pod("one", "10.9.9.9", "{version: v1}") + &pod("two", "10.0.0.2", "{version: v1}");
    let spec = "{hosts: ['*'], gateways: [web], http: [{route: [{destination: {host: s, subset: v1}}]}]}";
    let text = format!("{WEB}{}{slices}{pods}{rule}{}", service(PLAIN), virtual_service("{name: v}", spec));
    assert_eq!(endpoints(&text, "outbound|80|v1|s.default.svc.cluster.local"), "10.0.0.1:8080 10.0.0.2:8080");
}

#[test]
fn a_workload_entry_whose_health_is_checked_counts_while_it_is_good() {
    let good = "[{type: Ready, status: 'False'}, {type: Healthy, status: 'True'}]";
    let bad = "[{type: Healthy, status: 'False'}]";
    for (checked, conditions, counts) in [
        ("'true'", good, true),
        ("'1'", good, true),
        ("'true'", bad, false),
        ("'true'", "[{type: Healthy, status: Unknown}]", false),
        ("'true'", "[]", false),
        ("'false'", bad, true),
        ("'yes'", bad, true),
    ] {
        let workload = format!(
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: vm, annotations: \
             {{proxy.istio.io/health-checks-enabled: {checked}}}}}\nspec: {{address: 10.2.0.1, labels: {{app: s}}}}\n\
             status: {{conditions: {conditions}}}\n---\n"
        );
        let want = if counts { "10.0.0.1:8080 10.2.0.1:8080" } else { "10.0.0.1:8080" };
        let slices =
            slice("a", "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]");
        assert_eq!(of_service(&[service(PLAIN), slices, workload]), want, "{checked} {conditions}");
    }
}

#[test]
fn a_workload_entry_that_a_kubernetes_service_selects_is_one_of_its_endpoints() {
    let workload = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: vm}\nspec: {address: 10.2.0.1, \
                    labels: {app: s}}\n---\n";
    let slices =
        slice("a", "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]");
    assert_eq!(of_service(&[service(PLAIN), slices, workload.to_owned()]), "10.0.0.1:8080 10.2.0.1:8080");
}

#[test]
fn an_external_name_is_looked_up() {
    let alias =
        service("{type: ExternalName, externalName: Db.example, ports: [{name: http, port: 80, targetPort: 5432}]}");
    assert_eq!(of_service(&[alias]), "db.example:5432");
    let bare = service("{type: ExternalName, externalName: db.example}");
    assert_eq!(of_service(&[bare]), "db.example:80");
}

#[test]
fn service_entry_and_kubernetes_service_of_one_host_and_namespace_share_endpoints_each_with_its_own_port() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: \
                 [s.default.svc.cluster.local], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}], \
                 endpoints: [{address: 10.5.0.1}]}\n---\n";
    let slices =
        slice("a", "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1]}]");
    assert_eq!(of_service(&[entry.to_owned(), service(PLAIN), slices]), "10.0.0.1:8080 10.5.0.1:80");
}

#[test]
fn pods_of_a_port_are_known_by_their_addresses_whether_they_are_ready_or_not() {
    let slices = slice(
        "a",
        "addressType: IPv4\nports: [{name: http, port: 8080}, {name: b, port: 8081}]\nendpoints: [{addresses: [10.0.0.1]}, \
         {addresses: [10.0.0.2], conditions: {ready: false}}]",
    );
    let headless = service("{clusterIP: None, ports: [{name: http, port: 80}, {name: lost, port: 82}]}");
    let index = EndpointIndex::new(&set(&format!("{headless}{slices}")));
    for (host, port, want) in [
        ("s.default.svc.cluster.local", 80, &["10.0.0.1", "10.0.0.2"][..]),
        ("s.default.svc.cluster.local", 81, &[]),
        ("s.default.svc.cluster.local", 82, &[]),
        ("s.far.svc.cluster.local", 80, &[]),
    ] {
        let found: Vec<String> = index.pods(&host.into(), port).iter().map(ToString::to_string).collect();
        assert_eq!(found, want, "{host}:{port}");
    }
}

#[test]
fn endpoints_know_their_workload_and_their_zone() {
    let owned = pod("reviews-v1-abc-x", "10.0.0.1", "{app: s, version: v1, pod-template-hash: abc}")
        .replace("labels:", "ownerReferences: [{kind: ReplicaSet, name: reviews-v1-abc, controller: true}], labels:");
    let slices = slice(
        "a",
        "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1], zone: west-1a}, \
         {addresses: [10.0.0.2]}]",
    );
    let set = set(&folder(&[service(PLAIN), slices, owned].concat(), "s"));
    let model = resolve(&set, &gateway()).model;
    let found = EndpointIndex::new(&set).endpoints(&model.clusters[0]);
    let facts = |one: &Endpoint| {
        format!("{} {} {} {}", one.workload.name, one.workload.version, one.workload.principal, one.locality.zone)
    };
    assert_eq!(facts(&found[0]), "reviews-v1 v1 spiffe://cluster.local/ns/default/sa/reviews west-1a");
    assert_eq!(facts(&found[1]), "unknown unknown unknown ");
}

#[test]
fn a_service_whose_traffic_stays_on_the_node_has_endpoints_of_the_proxys_node_if_that_is_known() {
    let slices = slice(
        "a",
        "addressType: IPv4\nports: [{name: http, port: 8080}]\nendpoints: [{addresses: [10.0.0.1], nodeName: n1}, \
         {addresses: [10.0.0.2], nodeName: n2}, {addresses: [10.0.0.3]}]",
    );
    let found = |policy: &str, node: &str| {
        let spec =
            format!("{{internalTrafficPolicy: {policy}, clusterIP: 10.9.9.9, ports: [{{name: http, port: 80}}]}}");
        let set = set(&folder(&[service(&spec), slices.clone()].concat(), "s"));
        let near = labels(&[("istio", "ingressgateway"), ("kubernetes.io/hostname", node)]);
        let model = resolve(&set, &Proxy { labels: near, ..gateway() }).model;
        let found = EndpointIndex::new(&set).endpoints(&model.clusters[0]);
        found.iter().map(|endpoint| endpoint.address.to_string()).collect::<Vec<_>>().join(" ")
    };
    let all = "10.0.0.1:8080 10.0.0.2:8080 10.0.0.3:8080";
    for (policy, node, want) in [
        ("Local", "n2", "10.0.0.2:8080"),
        ("Local", "n3", ""),
        ("Local", "", all),
        ("Cluster", "n2", all),
        ("''", "n2", all),
    ] {
        assert_eq!(found(policy, node), want, "{policy} {node}");
    }
}
