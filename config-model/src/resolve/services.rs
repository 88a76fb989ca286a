//! Services, whether from Kubernetes or from a ServiceEntry, and which one a name means.
//! Source: Istio's service registry, `SidecarScope`: of several services with one host one is meant, to which others like it may
//! add ports.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::model::Discovery;
use crate::name::Labels;
use crate::resource::{
    Located, Location, Resolution, Resource, Service as KubernetesService, ServiceEntry, TargetPort,
};

use super::protocol::Protocol;
use super::set::{Item, ResourceSet};
use super::visibility::Visibility;
use super::{Proxy, Role, names};

/// The annotation that is a Service's `exportTo`.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// The annotation that is the `trafficDistribution` of a service, or of the services of a Namespace.
pub(super) const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";

/// Which endpoints of a service are preferred: those that are as near as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Preference {
    None,
    SameZone,
    SameNode,
}

/// A service as routes see it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Service<'a> {
    /// Of Kubernetes.
    Kubernetes(Item<'a, KubernetesService>),
    /// Written for the mesh.
    Entry(Item<'a, ServiceEntry>),
}

/// A port of a service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Port<'a> {
    pub(crate) number: u16,
    pub(crate) name: &'a str,
    /// Where endpoints listen that don't say so themselves.
    pub(crate) target: Target<'a>,
    /// Whether this is a port of UDP or SCTP, be it by its name alone, which no HTTP goes to.
    pub(crate) datagram: bool,
    /// What it carries.
    pub(crate) protocol: Protocol,
    /// What has it.
    pub(crate) service: Service<'a>,
}

/// The port of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Number(u16),
    /// Name of a container's port.
    Name(&'a str),
}

impl<'a> Service<'a> {
    pub(crate) fn namespace(self) -> &'a str {
        match self {
            Self::Kubernetes(item) => item.namespace(),
            Self::Entry(item) => item.namespace(),
        }
    }

    pub(crate) fn resource(self) -> &'a Arc<Resource> {
        match self {
            Self::Kubernetes(item) => item.resource,
            Self::Entry(item) => item.resource,
        }
    }

    pub(crate) fn origin(self) -> crate::origin::Origin {
        match self {
            Self::Kubernetes(item) => item.own_origin(),
            Self::Entry(item) => item.own_origin(),
        }
    }

    /// How Istio's metrics name it: a Service by its name, a ServiceEntry by its host.
    pub(crate) fn metric_name(self, host: &'a str) -> &'a str {
        match self {
            Self::Kubernetes(item) => item.name(),
            Self::Entry(_) => host,
        }
    }

    /// Its own ports; [`ports`] are those of the service that a host means.
    pub(crate) fn ports(self) -> Vec<Port<'a>> {
        match self {
            Self::Kubernetes(item) => {
                let ports = item.spec.spec.iter().flat_map(|spec| &spec.ports);
                ports.map(|port| kubernetes_port(self, port)).collect()
            }
            Self::Entry(item) => item.spec.ports.iter().map(|port| entry_port(self, port)).collect(),
        }
    }

    /// Its virtual addresses, or blocks of them, as written.
    pub(crate) fn addresses(self) -> impl Iterator<Item = &'a str> {
        let (kubernetes, entry) = match self {
            Self::Kubernetes(item) => (item.spec.spec.as_ref(), None),
            Self::Entry(item) => (None, Some(&item.spec.addresses)),
        };
        let of_kubernetes = kubernetes.into_iter().flat_map(|spec| {
            let all: &[crate::resource::Text] =
                if spec.cluster_ips.is_empty() { std::slice::from_ref(&spec.cluster_ip) } else { &spec.cluster_ips };
            all.iter()
        });
        of_kubernetes.chain(entry.into_iter().flatten()).map(|text| &*text.value)
    }

    /// Whether clients connect to its pods by their own addresses: a Service without an address of its own.
    pub(crate) fn is_headless(self) -> bool {
        let Self::Kubernetes(item) = self else { return false };
        item.spec.spec.as_ref().is_some_and(|spec| *spec.cluster_ip.value == *"None")
    }

    /// Whether it is not part of the mesh.
    pub(crate) fn is_external(self) -> bool {
        match self {
            Self::Kubernetes(_) => self.external_name().is_some(),
            Self::Entry(item) => *item.spec.location == Location::MeshExternal,
        }
    }

    /// The name that a Service of type `ExternalName` stands for.
    pub(crate) fn external_name(self) -> Option<&'a str> {
        let Self::Kubernetes(item) = self else { return None };
        let spec = item.spec.spec.as_ref()?;
        (*spec.r#type.value == *"ExternalName" && !spec.external_name.is_empty()).then_some(&spec.external_name.value)
    }

    pub(crate) fn discovery(self) -> Discovery {
        match self {
            Self::Kubernetes(_) if self.external_name().is_some() => Discovery::Dns,
            Self::Kubernetes(_) => Discovery::Static,
            Self::Entry(item) => match *item.spec.resolution {
                Resolution::Static => Discovery::Static,
                Resolution::Dns => Discovery::Dns,
                Resolution::DnsRoundRobin => Discovery::DnsRoundRobin,
                // Who selects workloads knows their addresses.
                Resolution::None if item.spec.workload_selector.is_some() => Discovery::Static,
                Resolution::None | Resolution::DynamicDns => Discovery::None,
            },
        }
    }

    /// The port that is connected to instead of its own `port`, at the address that the client wanted. As in Istio, of ServiceEntries
    /// that are one service only the oldest one's ports have such.
    pub(crate) fn port_override(self, port: u16) -> Option<u16> {
        let Self::Entry(item) = self else { return None };
        let written = item.spec.ports.iter().find(|known| *known.number == port && *known.target_port != 0)?;
        (*item.spec.resolution == Resolution::None).then_some(*written.target_port)
    }

    /// Which of its endpoints are preferred: by `trafficDistribution`, else by the annotation, of which the case doesn't count, else by
    /// that of its Namespace. Source: Istio, `GetTrafficDistribution`.
    pub(crate) fn preference(self, resources: &'a ResourceSet) -> Preference {
        let written = match self {
            Self::Kubernetes(item) => item.spec.spec.as_ref().map_or("", |spec| &spec.traffic_distribution.value),
            Self::Entry(_) => "",
        };
        match written {
            "PreferClose" | "PreferSameZone" => return Preference::SameZone,
            "PreferSameNode" => return Preference::SameNode,
            _ => {}
        }
        let said = |resource: &'a Resource| {
            let annotation = resource.metadata.annotations.get(TRAFFIC_DISTRIBUTION);
            annotation.filter(|text| !text.is_empty())
        };
        let of_namespace = || said(resources.namespace(self.namespace())?);
        let annotation = said(self.resource()).or_else(of_namespace);
        match annotation.map(|text| text.to_ascii_lowercase()).as_deref() {
            Some("preferclose" | "prefersamezone") => Preference::SameZone,
            Some("prefersamenode") => Preference::SameNode,
            _ => Preference::None,
        }
    }

    /// Where it is said that only endpoints on the proxy's node take its traffic. Source: Service, `internalTrafficPolicy`.
    pub(crate) fn node_local(self) -> Option<&'a crate::resource::Text> {
        let Self::Kubernetes(item) = self else { return None };
        item.spec.spec.as_ref().map(|spec| &spec.internal_traffic_policy).filter(|policy| *policy.value == *"Local")
    }

    /// Names that certificates of its endpoints have.
    pub(crate) fn certificate_names(self) -> &'a [crate::resource::Text] {
        match self {
            Self::Kubernetes(_) => &[],
            Self::Entry(item) => &item.spec.subject_alt_names,
        }
    }

    fn visibility(self, resources: &'a ResourceSet) -> Visibility<'a> {
        let default = || resources.mesh_config().map_or(&[][..], |(_, mesh)| &mesh.default_service_export_to);
        let texts = |list: &'a [crate::resource::Text]| list.iter().map(|text| &*text.value);
        match self {
            Self::Entry(item) if !item.spec.export_to.is_empty() => {
                Visibility::new(texts(&item.spec.export_to), item.namespace())
            }
            Self::Entry(item) => Visibility::new(texts(default()), item.namespace()),
            Self::Kubernetes(item) => match item.resource.metadata.annotations.get(EXPORT_TO) {
                Some(list) if !list.is_empty() => Visibility::new(list.split(',').map(str::trim), item.namespace()),
                _ => Visibility::new(texts(default()), item.namespace()),
            },
        }
    }

    pub(crate) fn is_visible_to(self, namespace: &str, resources: &'a ResourceSet) -> bool {
        self.visibility(resources).includes(namespace)
    }

    /// By which services come before others where only one can have what they want: those that only their own namespace sees, then those
    /// shown to some, then the oldest. Source: Istio, `servicesExportedToNamespace`, `SortServicesByCreationTime`.
    pub(crate) fn seniority(self, resources: &'a ResourceSet) -> impl Ord + use<'a> {
        let exposure = match self.visibility(resources) {
            Visibility::All => 2u8,
            shown if shown.only(self.namespace()) => 0,
            Visibility::Namespaces(_) => 1,
        };
        let index = match self {
            Self::Kubernetes(item) => item.index,
            Self::Entry(item) => item.index,
        };
        let created = self.resource().metadata.creation_timestamp.map(|time| time.value);
        (exposure, created.is_none(), created, if created.is_none() { index } else { 0 })
    }

    /// By which the one comes first that a host means to `proxy`: a sidecar's own namespace goes before Kubernetes, and who is shown
    /// to some namespaces before who is shown to all.
    pub(crate) fn rank(self, proxy: &Proxy, resources: &'a ResourceSet) -> (bool, bool, bool) {
        let is_elsewhere = proxy.role == Role::Sidecar && *self.namespace() != *proxy.namespace;
        let is_entry = matches!(self, Self::Entry(_));
        (is_elsewhere, is_entry, self.visibility(resources) == Visibility::All)
    }
}

fn kubernetes_port<'a>(service: Service<'a>, port: &'a crate::resource::KubernetesServicePort) -> Port<'a> {
    let target = match &port.target_port {
        Some(TargetPort::Number(Located { value, .. })) if *value != 0 => Target::Number(*value),
        Some(TargetPort::Name(name)) => Target::Name(name),
        _ => Target::Number(*port.port),
    };
    let protocol = Protocol::of_kubernetes(*port.port, &port.name, &port.protocol, &port.app_protocol);
    let datagram = protocol == Protocol::Datagram;
    Port { number: *port.port, name: &port.name.value, target, datagram, protocol, service }
}

fn entry_port<'a>(service: Service<'a>, port: &'a crate::resource::ServicePort) -> Port<'a> {
    let target = if *port.target_port == 0 { *port.number } else { *port.target_port };
    let target = Target::Number(target);
    let protocol = Protocol::of_name(&port.protocol);
    let datagram = protocol == Protocol::Datagram;
    Port { number: *port.number, name: &port.name.value, target, datagram, protocol, service }
}

/// The ports of the service that `host` means: its own, and those of younger ServiceEntries that are one service with it. Of two
/// with one number the older one's stands.
pub(crate) fn ports<'a>(resources: &'a ResourceSet, host: &str, service: Service<'a>) -> Vec<Port<'a>> {
    let mut ports = service.ports();
    let Service::Entry(first) = service else { return ports };
    let others = resources.entries(host).filter(|other| other.index != first.index && is_one(first, *other));
    for port in others.flat_map(|other| Service::Entry(other).ports()) {
        if ports.iter().all(|known| known.number != port.number) {
            ports.push(port);
        }
    }
    ports
}

/// Whether two ServiceEntries of one host are one service.
fn is_one(one: Item<'_, ServiceEntry>, other: Item<'_, ServiceEntry>) -> bool {
    one.namespace() == other.namespace() && differences(one, other).is_empty()
}

/// What keeps two ServiceEntries of one host and namespace from being one service. Source: Istio, `canMergeServices`.
pub(crate) fn differences(one: Item<'_, ServiceEntry>, other: Item<'_, ServiceEntry>) -> Vec<&'static str> {
    fn shown(entry: &ServiceEntry) -> BTreeSet<&str> {
        entry.export_to.iter().map(|text| &*text.value).collect()
    }
    fn selected(entry: &ServiceEntry) -> Option<&Labels> {
        entry.workload_selector.as_ref().map(|selector| &selector.labels).filter(|labels| !labels.is_empty())
    }
    let same = [
        ("resolution", *one.spec.resolution == *other.spec.resolution),
        ("labels", one.resource.metadata.labels == other.resource.metadata.labels),
        ("workloadSelector", selected(one.spec) == selected(other.spec)),
        ("exportTo", shown(one.spec) == shown(other.spec)),
    ];
    same.into_iter().filter(|(_, is_same)| !is_same).map(|(what, _)| what).collect()
}

/// All services of `host`, which is in lower case: the Kubernetes Service first, then ServiceEntries, the oldest first.
pub(crate) fn of_host<'a>(resources: &'a ResourceSet, host: &str) -> impl Iterator<Item = Service<'a>> {
    let kubernetes = names::kubernetes_service(host)
        .and_then(|(name, namespace)| resources.find::<KubernetesService>(namespace, name))
        .map(Service::Kubernetes);
    kubernetes.into_iter().chain(resources.entries(host).map(Service::Entry))
}

/// Every host that a service has, in lower case and in order.
pub(crate) fn hosts(resources: &ResourceSet) -> BTreeSet<Arc<str>> {
    let mut hosts: BTreeSet<Arc<str>> = BTreeSet::new();
    for service in resources.all::<KubernetesService>() {
        hosts.insert(names::full_host(service.name(), service.namespace()));
    }
    hosts.extend(resources.all::<ServiceEntry>().flat_map(|entry| &entry.spec.hosts).map(|host| names::lower(host)));
    hosts
}

/// The service that `host` means to `proxy`, of those that are visible to it, and of that namespace if there is one.
pub(crate) fn find<'a>(
    resources: &'a ResourceSet,
    host: &str,
    proxy: &Proxy,
    namespace: Option<&str>,
) -> Option<Service<'a>> {
    let is_meant = |service: &Service<'a>| {
        namespace.is_none_or(|namespace| service.namespace() == namespace)
            && service.is_visible_to(&proxy.namespace, resources)
    };
    of_host(resources, host).filter(is_meant).min_by_key(|service| service.rank(proxy, resources))
}

/// The service that one of type `ExternalName` stands for, and its host, if that is a service itself.
pub(crate) fn concrete<'a>(
    resources: &'a ResourceSet,
    service: Service<'a>,
    proxy: &Proxy,
) -> Option<(Arc<str>, Service<'a>)> {
    /// Chains of names are short, and a circle has no end.
    const HOPS_MAX: usize = 8;
    let mut found = None;
    let mut current = service;
    for _ in 0..HOPS_MAX {
        let Some(name) = current.external_name() else { break };
        let host = names::lower(name);
        let Some(next) = find(resources, &host, proxy, None) else { break };
        found = Some((host, next));
        current = next;
    }
    found
}
