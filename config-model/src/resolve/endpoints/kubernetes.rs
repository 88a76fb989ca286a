//! Endpoints of a Kubernetes Service: from its EndpointSlices, else from its Endpoints, else straight from the pods that it
//! selects; WorkloadEntries that it selects join them, as in Istio.

use std::net::IpAddr;

use crate::model::{Health, Locality};
use crate::name::{self, Labels};
use crate::resource::{
    EndpointPort, EndpointSlice, Endpoints, EndpointsAddress, ObjectReference, Pod, Service, SliceEndpoint, Text,
    WorkloadEntry,
};

use super::super::locality;
use super::super::services::Service as AnyService;
use super::super::set::Item;
use super::gathering::{Candidate, Gathering};
use super::workload::{self, Facts};
use super::{EndpointIndex, NOWHERE, Target, address};

/// The addresses of a pod.
pub(super) fn addresses(pod: &Pod) -> impl Iterator<Item = IpAddr> {
    let status = pod.status.as_ref();
    let several = status.into_iter().flat_map(|status| &status.pod_ips).map(|ip| &ip.ip);
    let single = status.into_iter().map(|status| &status.pod_ip);
    single.chain(several).filter_map(|ip| ip.parse().ok())
}

/// Whether a pod takes traffic, as far as it says so itself.
fn is_ready(pod: Item<'_, Pod>) -> bool {
    let Some(status) = &pod.spec.status else { return false };
    let ready = status.conditions.iter().find(|condition| *condition.r#type.value == *"Ready");
    match ready {
        Some(condition) => *condition.status.value == *"True",
        None => matches!(&*status.phase.value, "" | "Running"),
    }
}

impl EndpointIndex {
    pub(super) fn kubernetes(&self, service: Item<'_, Service>, gathering: &mut Gathering<'_>) {
        let Some(spec) = &service.spec.spec else { return };
        if let Some(name) = AnyService::Kubernetes(service).external_name() {
            return gathering.external_name(service, name);
        }
        let id = &service.resource.id;
        let slices = self.slices.get(&(id.namespace.clone(), id.name.clone()));
        if let Some(slices) = slices {
            for slice in slices.iter().filter_map(|&index| self.resources.item::<EndpointSlice>(index)) {
                gathering.slice(slice.resource, |gathering| self.slice(slice, gathering));
            }
        } else if let Some(endpoints) = self.resources.find::<Endpoints>(&id.namespace, &id.name) {
            self.legacy(endpoints, gathering);
        } else if !spec.selector.is_empty() {
            let pods = self.resources.all::<Pod>().filter(|pod| pod.namespace() == service.namespace());
            for pod in pods.filter(|pod| name::selects(&spec.selector, &pod.resource.metadata.labels)) {
                gathering.pod(pod);
            }
        }
        if !spec.selector.is_empty() {
            for workload in self.resources.all::<WorkloadEntry>().filter(|workload| workload.resource.is_healthy) {
                let labels = workload.labels();
                if workload.namespace() == service.namespace() && name::selects(&spec.selector, &labels) {
                    gathering.workload_entry(workload.spec, &labels, (workload.name(), workload.namespace()));
                }
            }
        }
    }

    fn slice(&self, slice: Item<'_, EndpointSlice>, gathering: &mut Gathering<'_>) {
        // A slice of names is left alone, as Istio does.
        if *slice.spec.address_type.value == *"FQDN" {
            return;
        }
        let Some(port) = gathering.port_among(&slice.spec.ports) else { return };
        for endpoint in &slice.spec.endpoints {
            let health = if is_slice_ready(endpoint) { Health::Ready } else { Health::NotReady };
            for ip in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
                let pod = self.pod(endpoint.target_ref.as_ref(), slice.namespace(), ip);
                gathering.pod_endpoint(
                    (ip, port),
                    pod,
                    slice.namespace(),
                    (health, &endpoint.zone, &endpoint.node_name),
                );
            }
        }
    }

    fn legacy(&self, endpoints: Item<'_, Endpoints>, gathering: &mut Gathering<'_>) {
        let zone = Text::default();
        for subset in &endpoints.spec.subsets {
            let Some(port) = gathering.port_among(&subset.ports) else { continue };
            let lists = [(&subset.addresses, Health::Ready), (&subset.not_ready_addresses, Health::NotReady)];
            for (written, health) in lists.iter().flat_map(|(list, health)| list.iter().map(move |one| (one, *health)))
            {
                let EndpointsAddress { ip, target_ref, node_name, .. } = written;
                let Ok(ip) = ip.parse::<IpAddr>() else { continue };
                let pod = self.pod(target_ref.as_ref(), endpoints.namespace(), ip);
                gathering.pod_endpoint((ip, port), pod, endpoints.namespace(), (health, &zone, node_name));
            }
        }
    }

    /// The pod that an endpoint points to, or else the one that has its address.
    fn pod(&self, target: Option<&ObjectReference>, namespace: &str, ip: IpAddr) -> Option<Item<'_, Pod>> {
        let target = target.filter(|target| *target.kind.value == *"Pod");
        let named = target.and_then(|target| {
            let of = if target.namespace.is_empty() { namespace } else { &target.namespace };
            self.resources.find::<Pod>(of, &target.name)
        });
        named.or_else(|| self.pods.get(&ip).and_then(|&index| self.resources.item(index)))
    }
}

fn is_slice_ready(endpoint: &SliceEndpoint) -> bool {
    let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
    ready.is_none_or(|ready| ready.value)
}

impl Gathering<'_> {
    /// The number of the service's port among those of a slice.
    fn port_among(&self, ports: &[EndpointPort]) -> Option<u16> {
        let named = ports.iter().find(|port| *port.name.value == *self.port.name)?;
        match (*named.port, self.port.target) {
            (0, Target::Number(number)) => Some(number),
            (0, Target::Name(_)) => None,
            (number, _) => Some(number),
        }
    }

    fn external_name(&mut self, service: Item<'_, Service>, name: &str) {
        let port = match self.port.target {
            Target::Number(number) => number,
            Target::Name(_) => self.port.number,
        };
        let labels = &service.resource.metadata.labels;
        let facts = Facts { name: service.name(), namespace: service.namespace(), labels, service_account: "" };
        let locality = Locality::default();
        self.add(address(name, port), Candidate { facts, health: Health::Ready, locality, weight: 1, around: NOWHERE });
    }

    /// A pod that a selector found, by its own word.
    pub(super) fn pod(&mut self, pod: Item<'_, Pod>) {
        let Some(ip) = addresses(pod.spec).next() else { return };
        let containers = pod.spec.spec.iter().flat_map(|spec| &spec.containers);
        let port = match self.port.target {
            Target::Number(number) => Some(number),
            Target::Name(name) => containers
                .flat_map(|container| &container.ports)
                .find(|port| *port.name.value == *name)
                .map(|port| *port.container_port),
        };
        let Some(port) = port else { return };
        let health = if is_ready(pod) { Health::Ready } else { Health::NotReady };
        self.pod_endpoint((ip, port), Some(pod), pod.namespace(), (health, &Text::default(), &Text::default()));
    }

    fn pod_endpoint(
        &mut self,
        (ip, port): (IpAddr, u16),
        pod: Option<Item<'_, Pod>>,
        namespace: &str,
        (health, zone, node): (Health, &Text, &Text),
    ) {
        let none = Labels::new();
        let labels = pod.map_or(&none, |pod| &pod.resource.metadata.labels);
        let spec = pod.and_then(|pod| pod.spec.spec.as_ref());
        let facts = Facts {
            name: pod.map_or("unknown", workload_name),
            namespace: pod.map_or(namespace, Item::namespace),
            labels,
            service_account: spec.map_or("", |spec| &spec.service_account_name),
        };
        let mut locality = locality::of_pod(labels);
        if locality.zone.is_empty() && locality::of_label(labels).is_none() {
            locality.zone = zone.value.clone();
        }
        let of_pod = spec.map_or("", |spec| &spec.node_name);
        let node = if of_pod.is_empty() { &*node.value } else { of_pod };
        let address = crate::model::EndpointAddress::Ip(std::net::SocketAddr::new(ip, port));
        self.add(address, Candidate { facts, health, locality, weight: 1, around: (node, "") });
    }
}

/// The workload that a pod is a part of.
fn workload_name(pod: Item<'_, Pod>) -> &str {
    let metadata = &pod.resource.metadata;
    match metadata.owner_references.iter().find(|owner| *owner.controller) {
        Some(owner) => workload::owner_name(&owner.kind, &owner.name, &metadata.labels),
        None => pod.name(),
    }
}
