//! What `zoneAwareLbSetting` comes to, and which service the proxy is a part of.
//! Source: Istio, `ZoneAwareLoadBalancerSetting`, and `ISTIO_META_ENABLE_SELF_DISCOVERY`, without which a proxy doesn't know the
//! others of its kind, and regions alone make a difference.

use crate::decode::Timestamp;
use crate::model::OwnService;
use crate::name::{self, Labels};
use crate::resource::{MeshConfig, Resource, Service as KubernetesService, ServiceEntry};

use super::services::Service;
use super::set::ResourceSet;
use super::{Proxy, names};

/// What in `proxyMetadata` lets proxies know each other.
pub(crate) const SELF_DISCOVERY: &str = "ISTIO_META_ENABLE_SELF_DISCOVERY";

/// `minClusterSize`, as Envoy has it.
pub(super) const HEALTHY_MIN: u64 = 6;

/// Whether proxies of the mesh know the others of their service.
pub(crate) fn know_each_other(mesh: Option<&MeshConfig>) -> bool {
    let config = mesh.and_then(|mesh| mesh.default_config.as_ref());
    let written = config.and_then(|config| config.proxy_metadata.get(SELF_DISCOVERY));
    written.is_some_and(|written| matches!(&*written.value, "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// The service that the proxy's workload is a part of: of several the oldest, then the first by host.
pub(super) fn own_service(resources: &ResourceSet, proxy: &Proxy) -> Option<OwnService> {
    let is_meant = |namespace: &str, selector: Option<&Labels>| {
        let selects = |selector: &Labels| !selector.is_empty() && name::selects(selector, &proxy.labels);
        *namespace == *proxy.namespace && selector.is_some_and(selects)
    };
    let kubernetes = resources.all::<KubernetesService>().filter_map(|item| {
        let selector = item.spec.spec.as_ref().map(|spec| &spec.selector);
        let host = names::full_host(item.name(), item.namespace());
        is_meant(item.namespace(), selector).then(|| (age(item.resource), host, Service::Kubernetes(item)))
    });
    let entries = resources.all::<ServiceEntry>().filter_map(|item| {
        let selector = item.spec.workload_selector.as_ref().map(|selector| &selector.labels);
        let host = names::lower(item.spec.hosts.first()?);
        is_meant(item.namespace(), selector).then(|| (age(item.resource), host, Service::Entry(item)))
    });
    let (_, host, service) =
        kubernetes.chain(entries).min_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)))?;
    let port = service.ports().into_iter().find(|port| !port.datagram)?;
    Some(OwnService { host, namespace: service.namespace().into(), port: port.number, port_name: port.name.into() })
}

/// By which the oldest comes first; without a time of creation a resource is younger than all that have one.
fn age(resource: &Resource) -> (bool, Option<Timestamp>) {
    let created = resource.metadata.creation_timestamp.map(|time| time.value);
    (created.is_none(), created)
}
