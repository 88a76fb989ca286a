//! Any set of resources resolves, and large ones do so without comparing everything with everything.

use proptest::prelude::*;

use super::*;

fn route(index: usize) -> String {
    format!(
        "{{match: [{{uri: {{prefix: /route-{index}}}}}], route: [{{destination: {{host: reviews, subset: v1}}, weight: 50}}, \
         {{destination: {{host: reviews, subset: v2}}, weight: 50}}]}}"
    )
}

fn one_with(count: usize) -> String {
    let rules: Vec<String> = (0..count).map(route).collect();
    virtual_service("{name: all}", &format!("{{hosts: ['*'], gateways: [web], http: [{}]}}", rules.join(", ")))
}

fn many(count: usize) -> String {
    let one = |index: usize| {
        let spec = format!("{{hosts: [host-{index}.example], gateways: [web], http: [{}]}}", route(index));
        virtual_service(&format!("{{name: v-{index}}}"), &spec)
    };
    (0..count).map(one).collect()
}

#[test]
fn five_thousand_routes_or_virtual_services_all_arrive() {
    for rules in [one_with(5_000), many(5_000)] {
        let model = resolved(&format!("{WEB}{REVIEWS}{rules}")).model;
        let hosts = &model.route_configurations[0].virtual_hosts;
        assert_eq!(hosts.iter().map(|host| host.routes.len()).sum::<usize>(), 5_000);
        assert_eq!(model.clusters.len(), 2);
    }
}

fn hosts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "['*']",
        "[a.example]",
        "['*.example']",
        "[reviews, a.example]",
        "[b.a.example, other.test]",
    ])
}

fn server_hosts() -> impl Strategy<Value = String> {
    prop::sample::subsequence(vec!["a.example", "team/*.example", "./b.a.example", "'*/*'"], 1..4)
        .prop_map(|hosts| format!("[{}]", hosts.join(", ").replace("team/*.example", "'team/*.example'")))
}

fn entry() -> impl Strategy<Value = String> {
    let uri = prop::sample::select(vec![
        "",
        "uri: {prefix: /a}",
        "uri: {exact: /a/b}",
        "uri: {prefix: /}",
        "uri: {regex: '.*'}",
    ]);
    let other = prop::sample::select(vec![
        "",
        "port: 80",
        "headers: {h: {exact: v}}",
        "gateways: [web]",
        "sourceLabels: {a: b}",
    ]);
    (uri, other).prop_map(|(uri, other)| {
        let fields: Vec<&str> = [uri, other].into_iter().filter(|field| !field.is_empty()).collect();
        if fields.is_empty() { "{uri: {prefix: /z}}".to_owned() } else { format!("{{{}}}", fields.join(", ")) }
    })
}

fn rule() -> impl Strategy<Value = String> {
    let actions = vec![
        "directResponse: {status: 200}",
        "redirect: {uri: /r}",
        "route: [{destination: {host: reviews, subset: v1}}]",
        "route: [{destination: {host: gone}, weight: 1}, {destination: {host: reviews}, weight: 2}]",
        "delegate: {name: part, namespace: team}",
        "delegate: {name: gone}",
    ];
    (prop::collection::vec(entry(), 0..3), prop::sample::select(actions)).prop_map(|(entries, action)| {
        if entries.is_empty() {
            format!("{{{action}}}")
        } else {
            format!("{{match: [{}], {action}}}", entries.join(", "))
        }
    })
}

fn virtual_services() -> impl Strategy<Value = String> {
    let one = (hosts(), prop::collection::vec(rule(), 1..4), prop::sample::select(vec!["web", "two", "far/web"]));
    prop::collection::vec(one, 0..5).prop_map(|all| {
        let text = |(index, (hosts, rules, gateway)): (usize, (&str, Vec<String>, &str))| {
            let spec = format!("{{hosts: {hosts}, gateways: [{gateway}], http: [{}]}}", rules.join(", "));
            virtual_service(&format!("{{name: v{index}}}"), &spec)
        };
        all.into_iter().enumerate().map(text).collect()
    })
}

fn gateways() -> impl Strategy<Value = String> {
    let server = (prop::sample::select(vec![80, 81]), server_hosts(), any::<bool>());
    prop::collection::vec(server, 1..4).prop_map(|servers| {
        let text = |(index, (port, hosts, redirect)): (usize, (i32, String, bool))| {
            format!("{{port: {{number: {port}, name: p{index}, protocol: HTTP}}, hosts: {hosts}, tls: {{httpsRedirect: {redirect}}}}}")
        };
        let servers: Vec<String> = servers.into_iter().enumerate().map(text).collect();
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: two}}\nspec: {{selector: {{istio: \
             ingressgateway}}, servers: [{}]}}\n---\n",
            servers.join(", ")
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_valid_resources_resolve_to_a_model_without_contradiction(rules in virtual_services(), gateways in gateways()) {
        let part = virtual_service(
            "{name: part, namespace: team}",
            "{http: [{match: [{uri: {prefix: /a/b}}], directResponse: {status: 200}}, {redirect: {uri: /x}}]}",
        );
        let text = format!("{WEB}{REVIEWS}{gateways}{part}{rules}");
        let set = set(&text);
        let resolution = resolve(&set, &gateway());
        let model = &resolution.model;
        prop_assert!(model.listeners.is_sorted_by_key(|listener| listener.address.port()));
        prop_assert!(model.clusters.is_sorted_by(|left, right| left.name < right.name));
        for configuration in &model.route_configurations {
            let mut domains: Vec<_> = configuration.virtual_hosts.iter().flat_map(|host| &host.domains).collect();
            let count = domains.len();
            domains.sort();
            domains.dedup();
            prop_assert_eq!(domains.len(), count, "no host twice");
            for route in configuration.virtual_hosts.iter().flat_map(|host| host.routes.iter()) {
                if let Action::Forward(forward) = &route.action {
                    prop_assert!(!forward.destinations.is_empty());
                    for to in &forward.destinations {
                        if let ClusterTarget::Known(index) = to.cluster {
                            prop_assert!((index.0 as usize) < model.clusters.len());
                        }
                    }
                }
            }
        }
        prop_assert_eq!(&resolve(&set, &gateway()), &resolution, "the same from the same");
        let index = EndpointIndex::new(&set);
        for cluster in &model.clusters {
            index.endpoints(cluster);
        }
        crate::analyze::analyze(&set, Some(&gateway()));
        crate::analyze::analyze(&set, None);
    }
}
