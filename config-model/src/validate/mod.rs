//! Istio's rules for each resource, as `pkg/config/validation` of Istio has them: what breaks one is an error, and what
//! Istio merely warns of is a warning. References between resources are looked at elsewhere. Start at [`validate`].

mod access_log;
mod destination_rule;
mod gateway;
mod headers;
mod http_policy;
mod http_route;
mod l4_route;
mod load_balancer;
mod locality;
mod mesh_config;
mod names;
mod outlier_detection;
mod service_entry;
mod sidecar;
mod telemetry;
mod tls;
mod values;
mod virtual_service;

use crate::decode::{Path, Report};
use crate::resource::{Resource, Spec};

/// Checks a resource by itself. What can be read of a resource with errors is checked too.
pub fn validate(resource: &Resource, report: &mut Report) {
    let spec = Path::ROOT.field("spec");
    match &resource.spec {
        Spec::Gateway(gateway) => gateway::check(gateway, resource, &spec, report),
        Spec::VirtualService(service) => {
            virtual_service::check(service, &resource.id, &spec, report);
            http_policy::annotations(&resource.metadata, service.position, report);
        }
        Spec::DestinationRule(rule) => destination_rule::check(rule, &resource.id, &spec, report),
        Spec::ServiceEntry(entry) => service_entry::check(entry, &resource.id, &spec, report),
        Spec::WorkloadEntry(entry) => service_entry::check_workload(entry, None, true, &spec, report),
        Spec::Sidecar(sidecar) => sidecar::check(sidecar, &spec, report),
        Spec::Telemetry(telemetry) => telemetry::check(telemetry, &spec, report),
        Spec::MeshConfig(config) => mesh_config::check(config, report),
        Spec::Service(_)
        | Spec::Endpoints(_)
        | Spec::EndpointSlice(_)
        | Spec::Pod(_)
        | Spec::Namespace
        | Spec::Secret(_)
        | Spec::ConfigMap(_) => {}
    }
}
