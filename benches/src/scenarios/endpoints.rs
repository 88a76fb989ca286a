//! What a change of endpoints costs, from the text of a file to who may be picked.

use std::fmt::Write;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use balance::{EndpointSet, SetRules};
use config_model::file::ParsedFile;
use config_model::model::{Cluster, EndpointList};
use config_model::resolve::{Change, EndpointIndex, Proxy, ResourceSet, Role, change, resolve};
use config_model::resource::Resource;

use super::Scenario;

pub(super) const SCENARIOS: &[Scenario] =
    &[Scenario { name: "endpoints/a-file-of-100-in-10000-changes", operations: 10, prepare: file_changes }];

const ROUTES: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: ['*'], gateways: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}
";

const SLICES: u32 = 100;
const ENDPOINTS_OF_SLICE: u32 = 100;

/// A slice as `kubectl get -o yaml` writes it, with an address that is another in each version of it.
fn slice(number: u32, version: u32) -> String {
    let mut text = "addressType: IPv4\napiVersion: discovery.k8s.io/v1\nendpoints:\n".to_owned();
    for place in 0..ENDPOINTS_OF_SLICE {
        let network = if place == ENDPOINTS_OF_SLICE / 2 { 20 + version } else { 10 };
        let _ = write!(
            text,
            "- addresses:\n  - 10.{network}.{number}.{place}\n  conditions:\n    ready: true\n    serving: true\n    \
             terminating: false\n  nodeName: node-{}\n  targetRef:\n    kind: Pod\n    name: web-6c9f8bcbd5-{number}-{place}\n    \
             namespace: default\n    uid: 0f9d2a3e-6f7b-4a7c-9a7e-000000000000\n  zone: zone-{}\n",
            place % 50,
            place % 3,
        );
    }
    let _ = write!(
        text,
        "kind: EndpointSlice\nmetadata:\n  creationTimestamp: \"2026-01-01T00:00:00Z\"\n  generateName: web-\n  labels:\n    \
         kubernetes.io/service-name: web\n  name: web-{number}\n  namespace: default\nports:\n- name: http\n  port: 8080\n  \
         protocol: TCP\n"
    );
    text
}

/// What a gateway has in force of one service.
struct Configured {
    resources: ResourceSet,
    index: EndpointIndex,
    cluster: Cluster,
    set: EndpointSet,
}

impl Configured {
    fn new(files: &[ParsedFile]) -> Self {
        let resources = ResourceSet::new(files.iter().flat_map(|file| &file.resources));
        let labels = [("istio".into(), "ingressgateway".into())].into();
        let proxy = Proxy { role: Role::Gateway, namespace: "default".into(), labels };
        let cluster = resolve(&resources, &proxy).model.clusters.swap_remove(0);
        let mut index = EndpointIndex::default();
        index.follow(&resources);
        let set = set_of(&cluster, index.lists(&cluster), None);
        Self { resources, index, cluster, set }
    }

    /// The way of a change: the control thread's work but for metrics, labels and the publication.
    fn replace(&mut self, before: &Arc<Resource>, after: &Arc<Resource>) {
        let replaced = [(Arc::clone(before), Arc::clone(after))];
        let resources = self.resources.with(&replaced).expect("a slice stands where one stood");
        assert!(matches!(change(&self.resources, &resources), Change::Parts(_)), "endpoints alone change");
        self.resources = resources;
        self.index.follow(&self.resources);
        self.set = set_of(&self.cluster, self.index.lists(&self.cluster), Some(&self.set));
    }
}

fn set_of(cluster: &Cluster, lists: Vec<EndpointList>, previous: Option<&EndpointSet>) -> EndpointSet {
    let rules = SetRules { balancing: cluster.balancing, policy: cluster.policy.clone().unwrap_or_default() };
    EndpointSet::of_lists(lists, rules, previous, Instant::now())
}

fn file_changes() -> Box<dyn FnMut(u32)> {
    let mut files = vec![ParsedFile::parse("routes.yaml", ROUTES, None)];
    files.extend((0..SLICES).map(|number| ParsedFile::parse(&format!("{number}.yaml"), &slice(number, 0), None)));
    let mut configured = Configured::new(&files);
    assert_eq!(configured.set.ready_count(), (SLICES * ENDPOINTS_OF_SLICE) as usize);
    let mut file = files.swap_remove(50);
    let name = file.resources[0].id.file.clone();
    let texts: Vec<String> = (1..3).map(|version| slice(49, version)).collect();
    Box::new(move |number| {
        let next = ParsedFile::parse(&name, &texts[number as usize % 2], Some(&file));
        configured.replace(&file.resources[0], &next.resources[0]);
        file = next;
        black_box(&configured.set);
    })
}
