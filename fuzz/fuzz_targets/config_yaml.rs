//! Any bytes as a configuration file: a diagnostic or a configuration in force, never a panic; and every diagnostic names a
//! place in the file and can be shown.

#![no_main]

mod configuration;

use std::sync::Arc;
use std::time::Instant;

use balance::{EndpointSet, Picker, SetRules, Wish};
use config_model::file::ParsedFile;
use config_model::model::{Balancing, RouteConfigurationIndex};
use config_model::resolve::{Change, change};
use configuration::{FILE, InForce};
use libfuzzer_sys::fuzz_target;
use routing::Table;

#[path = "../../proxy/routing/tests/naive/mod.rs"]
mod naive;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = ParsedFile::parse(FILE, text, None);
    let in_force = InForce::of(&file);
    assert_eq!(change(&in_force.set, &in_force.set), Change::None);
    // In YAML a carriage return ends a line too.
    let lines = text.split(['\n', '\r']).count();
    for diagnostic in file.diagnostics.iter().chain(&in_force.resolution.diagnostics) {
        assert_eq!(&*diagnostic.file, FILE);
        assert!(diagnostic.position.line as usize <= lines + 1, "{diagnostic}");
        assert!(!diagnostic.to_string().contains('\n'));
        assert!(!diagnostic.render(text, true).is_empty());
    }
    // What is refused is resolved, so that all that is wrong is found, but never served.
    let table = Table::compile(&in_force.resolution.model);
    if !file.is_refused() {
        serve(&in_force, &table);
    }
});

/// Some requests to every host, along the whole way that a real one takes.
fn serve(in_force: &InForce, table: &Table) {
    let model = &in_force.resolution.model;
    for (number, configuration) in (0..).zip(&model.route_configurations) {
        let configuration_index = RouteConfigurationIndex(number);
        for domain in configuration.virtual_hosts.iter().flat_map(|host| &host.domains) {
            for path in ["/", "/reviews/7", "/a?b=c"] {
                let request = naive::Request::get(&domain.to_string().replace('*', "any"), path);
                let decision = table.decide(configuration_index, &request, |_| 0);
                assert_eq!(naive::verdict(&decision), naive::decide(model, configuration_index, &request, 0));
            }
        }
    }
    for (cluster, endpoints) in model.clusters.iter().zip(&in_force.endpoints) {
        // A large table takes its time, and finds nothing that a small one doesn't.
        let balancing = match cluster.balancing {
            Balancing::RingHash { .. } => Balancing::RingHash { minimum_ring_size: 64 },
            Balancing::Maglev { .. } => Balancing::Maglev { table_size: 251 },
            other => other,
        };
        let rules = SetRules { balancing, policy: Arc::new(cluster.policy().clone()) };
        let set = EndpointSet::new(endpoints.clone(), rules, None, Instant::now());
        let picked = Picker::new(0).pick(&set, &mut || 0, Wish::first(None));
        assert_eq!(picked.is_some(), set.ready_count() > 0);
    }
}
