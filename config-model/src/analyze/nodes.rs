//! Services whose traffic stays on the client's node, where the node is not known.
//! Source: Kubernetes, Service, `internalTrafficPolicy`; Istio knows the node of a proxy by its pod.

use super::{Finding, Findings};
use crate::diagnostic::{Code, Level};
use crate::resolve::locality;
use crate::resolve::services::Service as AnyService;
use crate::resource::Service;

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    if findings.proxy.is_none_or(|proxy| locality::own_node(&proxy.labels).is_some()) {
        return;
    }
    for service in resources.all::<Service>() {
        let Some(policy) = AnyService::Kubernetes(service).node_local() else { continue };
        findings.add(Finding {
            code: Code::SchemaWarning,
            level: Level::Warning,
            origin: &service.origin(policy.position),
            field: "spec.internalTrafficPolicy".to_owned(),
            message: "The proxy doesn't know its node: endpoints on all nodes are used.".to_owned(),
            hint: Some("start it with --labels kubernetes.io/hostname=NODE".to_owned()),
        });
    }
}
