//! What a change of files asks for.

use super::super::{Change, Parts, change};
use super::*;

fn files(parts: &[(&'static str, String)]) -> ResourceSet {
    let files: Vec<(&str, &str)> = parts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    ResourceSet::new(&parse(&files))
}

fn slice(address: &str) -> String {
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: a, labels: {{kubernetes.io/service-name: \
         s}}}}\naddressType: IPv4\nports: [{{name: http, port: 80}}]\nendpoints: [{{addresses: [{address}]}}]\n"
    )
}

fn pod(name: &str, labels: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {labels}}}\nspec: {{containers: []}}\n")
}

fn workload(labels: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: w}}\nspec: {{address: 10.0.0.1, labels: \
         {labels}}}\n"
    )
}

const SERVICES: &str = "apiVersion: v1
kind: Service
metadata: {name: s}
spec: {clusterIP: 10.0.0.1, selector: {app: s}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec: {hosts: [E.example], resolution: STATIC, workloadSelector: {labels: {app: e}}, ports: [{number: 80, name: http, protocol: HTTP}]}
---
";

#[test]
fn only_what_says_where_endpoints_are_leaves_the_model_alone() {
    let s = || vec!["s.default.svc.cluster.local"];
    let gone = String::new();
    let table = [
        ("the same slice", slice("10.0.0.1"), slice("10.0.0.1"), Some(vec![])),
        ("another address", slice("10.0.0.1"), slice("10.0.0.2"), Some(s())),
        ("a slice that comes", gone.clone(), slice("10.0.0.1"), Some(s())),
        ("a slice that goes", slice("10.0.0.1"), gone.clone(), Some(s())),
        ("a pod that a service selects", gone.clone(), pod("p", "{app: s}"), Some(s())),
        ("a pod that nobody selects", gone.clone(), pod("p", "{app: x}"), Some(vec![])),
        ("a pod that changes sides", pod("p", "{app: s}"), pod("p", "{app: e}"), Some(vec!["e.example", s()[0]])),
        ("a workload", workload("{app: e}"), gone.clone(), Some(vec!["e.example"])),
        (
            "a virtual service",
            gone,
            virtual_service("{name: v}", "{hosts: [a], http: [{directResponse: {status: 200}}]}"),
            None,
        ),
    ];
    for (case, before, after, want) in table {
        let old = files(&[("a.yaml", SERVICES.to_owned()), ("b.yaml", before)]);
        let new = files(&[("a.yaml", SERVICES.to_owned()), ("b.yaml", after)]);
        let got = match change(&old, &new) {
            Change::None => Some(Vec::new()),
            Change::Parts(parts) => Some(parts.endpoints_of.iter().map(ToString::to_string).collect()),
            Change::Routing => None,
        };
        let want: Option<Vec<String>> = want.map(|hosts| hosts.into_iter().map(str::to_owned).collect());
        assert_eq!(got, want, "{case}");
    }
}

#[test]
fn a_service_entry_may_change_its_endpoints_alone() {
    let entry = |ports: &str, address: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e}}\nspec:\n  hosts: [e.example]\n  \
             resolution: STATIC\n  ports: [{{number: {ports}, name: http, protocol: HTTP}}]\n  endpoints: [{{address: \
             {address}}}]\n"
        )
    };
    let set = |text: String| files(&[("a.yaml", text)]);
    let hosts = std::iter::once(Arc::from("e.example")).collect();
    let old = set(entry("80", "10.0.0.1"));
    assert_eq!(
        change(&old, &set(entry("80", "10.0.0.2"))),
        Change::Parts(Parts { endpoints_of: hosts, secrets: false })
    );
    assert_eq!(change(&old, &set(entry("81", "10.0.0.1"))), Change::Routing);
    assert_eq!(change(&old, &set(String::new())), Change::Routing);
}

#[test]
fn a_secret_leaves_the_model_as_it_is_and_what_a_proxy_does_not_read_changes_nothing() {
    let written = |kind: &str| format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: s}}\ndata: {{}}\n");
    let old = files(&[("a.yaml", SERVICES.to_owned())]);
    let with = |kind: &str| change(&old, &files(&[("a.yaml", SERVICES.to_owned()), ("b.yaml", written(kind))]));
    assert_eq!(with("ConfigMap"), Change::None);
    assert_eq!(with("Namespace"), Change::None);
    let prefers = "s, annotations: {networking.istio.io/traffic-distribution: PreferClose}";
    let namespace = written("Namespace").replace("name: s", &format!("name: {prefers}")).replace("data: {}\n", "");
    let near = files(&[("a.yaml", SERVICES.to_owned()), ("b.yaml", namespace)]);
    assert_eq!(change(&old, &near), Change::Routing, "its services may prefer near endpoints now");
    assert_eq!(with("Secret"), Change::Parts(Parts { secrets: true, ..Parts::default() }));
}

#[test]
fn of_two_resources_with_one_name_the_first_by_file_stands() {
    let rule = |code: u16| {
        virtual_service("{name: v}", &format!("{{hosts: [a.example], http: [{{directResponse: {{status: {code}}}}}]}}"))
    };
    let set = files(&[("b.yaml", rule(201)), ("a.yaml", rule(200))]);
    assert_eq!(set.len(), 1);
    assert_eq!(&*set.resources().next().unwrap().id.file, "a.yaml");
    let text: Vec<String> = set.diagnostics().iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "Warning [TG0005] (VirtualService default/v b.yaml:3:18) VirtualService default/v is defined twice; the one in \
          a.yaml:3 stands, see VirtualService default/v a.yaml:3; rename or remove one of them"
        ]
    );
}
