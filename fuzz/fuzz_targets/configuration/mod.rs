//! The way of a configuration, from text to what is in force.

use std::sync::Arc;

use config_model::file::ParsedFile;
use config_model::model::Endpoint;
use config_model::resolve::{EndpointIndex, Proxy, Resolution, ResourceSet, Role, resolve};

pub const FILE: &str = "fuzz.yaml";

/// What a gateway makes of a file that was not refused.
pub struct InForce {
    pub set: ResourceSet,
    pub resolution: Resolution,
    /// By cluster.
    pub endpoints: Vec<Vec<Endpoint>>,
}

impl InForce {
    pub fn of(file: &ParsedFile) -> Self {
        let set = ResourceSet::new(&file.resources);
        let labels = [(Arc::from("istio"), Arc::from("ingressgateway"))].into();
        let resolution = resolve(&set, &Proxy { role: Role::Gateway, namespace: "default".into(), labels });
        let index = EndpointIndex::new(&set);
        let endpoints = resolution.model.clusters.iter().map(|cluster| index.endpoints(cluster)).collect();
        Self { set, resolution, endpoints }
    }
}
