//! An index that follows changes knows what one that is made anew would know, and keeps what a change has not touched.

use proptest::prelude::*;

use super::*;
use crate::model::Cluster;

const POLICIES: [&str; 5] = [
    "{loadBalancer: {simple: RANDOM}}",
    "{outlierDetection: {}}",
    "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [version]}}}",
    "{loadBalancer: {zoneAwareLbSetting: {minClusterSize: 1}}}",
    "{loadBalancer: {localityLbSetting: {distribute: [{from: '*', to: {'r1/*': 40, 'r2/*': 60}}]}}}",
];

/// Services `s`, with a subset, and `t`, both routed to.
fn services(policy: &str, port: u16) -> String {
    // The proxy is one of t.
    let service = |name: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: 10.0.0.1, selector: {{service: {name}}}, ports: [{{name: http, port: \
             80, targetPort: {port}}}, {{name: other, port: 81}}]}}\n---\n"
        )
    };
    let routes = "{hosts: ['*'], gateways: [web], http: [{match: [{uri: {prefix: /v1}}], route: [{destination: {host: s, \
                  subset: v1, port: {number: 80}}}]}, {route: [{destination: {host: s, port: {number: 80}}, weight: 1}, \
                  {destination: {host: t, port: {number: 80}}, weight: 1}]}]}";
    format!(
        "{WEB}{}{}apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s}}\nspec: {{host: s, \
         trafficPolicy: {policy}, subsets: [{{name: v1, labels: {{version: v1}}}}]}}\n---\n{}",
        service("s"),
        service("t"),
        virtual_service("{name: v}", routes)
    )
}

/// The slice of that number, each endpoint as (number, whether it is ready).
fn slice(number: usize, service: &str, port: &str, endpoints: &[(u8, bool)]) -> String {
    let endpoint = |(number, ready): &(u8, bool)| {
        format!(
            "{{addresses: [10.0.0.{number}], conditions: {{ready: {ready}}}, zone: z{}, targetRef: {{kind: Pod, name: p{number}}}}}",
            number % 3
        )
    };
    let endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: e{number}, labels: {{kubernetes.io/service-name: \
         {service}}}}}\naddressType: IPv4\nports: [{{name: {port}, port: 8080}}]\nendpoints: [{}]\n",
        endpoints.join(", ")
    )
}

fn pod(name: u8, address: u8, version: u8, ready: bool) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{name}, labels: {{version: v{version}, topology.kubernetes.io/region: \
         r{version}}}}}\nspec: {{containers: []}}\nstatus: {{podIP: 10.0.0.{address}, conditions: [{{type: Ready, status: \
         '{ready}'}}]}}\n"
    )
}

fn file() -> impl Strategy<Value = (String, String)> {
    let slices = (
        0usize..4,
        prop::sample::select(vec!["s", "s", "t"]),
        prop::sample::select(vec!["http", "http", "http", "other"]),
        prop::collection::vec((0u8..9, any::<bool>()), 0..6),
    );
    let slices = slices
        .prop_map(|(number, service, port, endpoints)| (number.to_string(), slice(number, service, port, &endpoints)));
    let pods = (0u8..9, 0u8..9, 1u8..3, any::<bool>());
    let pods =
        pods.prop_map(|(name, address, version, ready)| (format!("p{name}"), pod(name, address, version, ready)));
    let routing = (prop::sample::select(&POLICIES[..]), prop::sample::select(vec![80u16, 8080]));
    let routing = routing.prop_map(|(policy, port)| ("services".to_owned(), services(policy, port)));
    // Of two slices with one name, one stands.
    let doubles = prop::collection::vec((0u8..9, any::<bool>()), 0..3)
        .prop_map(|endpoints| ("double".to_owned(), slice(0, "s", "http", &endpoints)));
    let gone = prop::sample::select(vec!["0", "1", "p1", "double"]).prop_map(|name| (name.to_owned(), String::new()));
    prop_oneof![6 => slices, 3 => pods, 1 => routing, 1 => doubles, 1 => gone]
}

/// Files of a folder, and what follows their changes.
#[derive(Default)]
struct Folder {
    files: std::collections::BTreeMap<String, ParsedFile>,
    resources: ResourceSet,
    index: EndpointIndex,
}

impl Folder {
    fn write(&mut self, name: &str, text: &str) {
        let before = self.files.get(name);
        let after = ParsedFile::parse(name, text, before);
        assert!(!after.is_refused(), "{:?}", after.diagnostics);
        let old = before.map(|file| file.resources.clone()).unwrap_or_default();
        let is_replacement = old.len() == after.resources.len();
        let replaced: Vec<_> =
            old.into_iter().zip(after.resources.clone()).filter(|(a, b)| !Arc::ptr_eq(a, b)).collect();
        self.files.insert(name.to_owned(), after);
        let with_others = if is_replacement { self.resources.with(&replaced) } else { None };
        self.resources = with_others.unwrap_or_else(|| self.anew());
        self.index.follow(&self.resources);
    }

    fn anew(&self) -> ResourceSet {
        ResourceSet::new(self.files.values().flat_map(|file| &file.resources))
    }

    fn clusters(&self) -> Vec<Cluster> {
        let near =
            labels(&[("istio", "ingressgateway"), ("istio-locality", "r1.z1.s1"), ("version", "v1"), ("service", "t")]);
        resolve(&self.resources, &Proxy { labels: near, ..gateway() }).model.clusters
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn following_changes_comes_to_what_beginning_anew_comes_to(files in prop::collection::vec(file(), 1..25)) {
        let mut folder = Folder::default();
        folder.write("services", &services(POLICIES[0], 80));
        for (name, text) in files {
            folder.write(&name, &text);
            let resources = folder.anew();
            prop_assert!(folder.resources.resources().eq(resources.resources()));
            for resource in resources.resources() {
                let id = &resource.id;
                prop_assert_eq!(folder.resources.get(id.kind, &id.namespace, &id.name), Some(resource));
            }
            let clusters = folder.clusters();
            folder.index.keep_only(&clusters);
            let anew = EndpointIndex::new(&resources);
            for cluster in &clusters {
                let lists = folder.index.lists(cluster);
                let followed: Vec<Endpoint> = lists.iter().flat_map(|list| list.iter().map(|one| (**one).clone())).collect();
                prop_assert_eq!(followed, anew.endpoints(cluster), "{}", cluster.name);
            }
        }
    }
}

#[test]
fn a_list_is_the_same_until_its_slice_or_one_of_its_pods_is_another() {
    for policy in &POLICIES[..3] {
        let mut folder = Folder::default();
        folder.write("services", &services(policy, 80));
        folder.write("0", &slice(0, "t", "http", &[(1, true), (2, true)]));
        folder.write("1", &slice(1, "t", "http", &[(3, true), (4, true)]));
        folder.write("p3", &pod(3, 3, 1, true));
        let lists_of_t = |folder: &mut Folder| {
            let clusters = folder.clusters();
            folder.index.lists(clusters.iter().find(|cluster| *cluster.service_name == *"t").unwrap())
        };
        let mut known = lists_of_t(&mut folder);
        let mut kept = |folder: &mut Folder| {
            let lists = lists_of_t(folder);
            let kept: Vec<bool> = known.iter().zip(&lists).map(|(known, list)| Arc::ptr_eq(known, list)).collect();
            known = lists;
            kept
        };
        folder.write("1", &slice(1, "t", "http", &[(3, true), (4, false)]));
        assert_eq!(kept(&mut folder), [true, false], "an endpoint of the second");
        folder.write("p3", &pod(3, 3, 1, false));
        assert_eq!(kept(&mut folder), [true, true], "how a pod is says its slice");
        folder.write("services", &format!("{}# other routes\n", services(policy, 80)));
        assert_eq!(kept(&mut folder), [true, true], "nothing that they depend on");
        folder.write("p3", &pod(3, 3, 2, false));
        assert_eq!(kept(&mut folder), [false, false], "what a pod is may be of any of them");
        folder.write("services", &services(policy, 8080));
        assert_eq!(kept(&mut folder), [false, false], "the service's port");
    }
}
