//! What differs between two sets of resources, as far as it matters to a proxy: routing, only endpoints, or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::name::{self, Labels};
use crate::resource::{EndpointSlice, Resource, Service, ServiceEntry, Spec};

use super::endpoints::SERVICE_NAME;
use super::names;
use super::services::TRAFFIC_DISTRIBUTION;
use super::set::{Item, ResourceSet};

/// What a new set of resources asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing: the same model, the same endpoints.
    None,
    /// The model stays, and only this has to be looked up again.
    Parts(Parts),
    /// The model has to be resolved anew, and every endpoint looked up again.
    Routing,
}

/// What is looked up apart from the model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// Hosts, in lower case, whose clusters may have other endpoints.
    pub endpoints_of: BTreeSet<Arc<str>>,
    /// Whether Secrets may be others.
    pub secrets: bool,
}

/// What is different in `new`. Resources that are the same in memory are not compared.
pub fn change(old: &ResourceSet, new: &ResourceSet) -> Change {
    let mut parts = Parts::default();
    let mut is_any = false;
    for (before, after) in read_again(old, new).filter(|(before, after)| before != after) {
        match effect(before, after) {
            Effect::Nothing => {}
            Effect::Routing => return Change::Routing,
            Effect::Secrets => (is_any, parts.secrets) = (true, true),
            Effect::Endpoints => {
                is_any = true;
                for (set, resource) in [(old, before), (new, after)] {
                    if let Some(resource) = resource {
                        collect(set, resource, &mut parts.endpoints_of);
                    }
                }
            }
        }
    }
    if is_any { Change::Parts(parts) } else { Change::None }
}

/// A resource as it was and as it is.
pub(super) type Difference<'a> = (Option<&'a Arc<Resource>>, Option<&'a Arc<Resource>>);

/// Resources that came, went or were read again, in no order that matters.
pub(super) fn read_again<'a>(old: &'a ResourceSet, new: &'a ResourceSet) -> impl Iterator<Item = Difference<'a>> {
    let find = |set: &'a ResourceSet, resource: &Resource| {
        let id = &resource.id;
        set.get(id.kind, &id.namespace, &id.name)
    };
    let came = new.others_than(old).filter_map(move |after| {
        let before = find(old, after);
        let is_same = before.is_some_and(|before| Arc::ptr_eq(before, after));
        (!is_same).then_some((before, Some(after)))
    });
    let went = old.others_than(new).filter(move |before| find(new, before).is_none());
    came.chain(went.map(|before| (Some(before), None)))
}

enum Effect {
    Nothing,
    Endpoints,
    Secrets,
    Routing,
}

fn effect(before: Option<&Arc<Resource>>, after: Option<&Arc<Resource>>) -> Effect {
    match (before.or(after).map(|resource| &resource.spec), before, after) {
        (Some(Spec::ConfigMap(_)), ..) | (None, ..) => Effect::Nothing,
        (Some(Spec::Namespace), ..) => {
            let said = |resource: Option<&Arc<Resource>>| {
                resource.and_then(|resource| resource.metadata.annotations.get(TRAFFIC_DISTRIBUTION).cloned())
            };
            if said(before) == said(after) { Effect::Nothing } else { Effect::Routing }
        }
        (Some(Spec::Secret(_)), ..) => Effect::Secrets,
        (Some(Spec::EndpointSlice(_) | Spec::Endpoints(_) | Spec::Pod(_) | Spec::WorkloadEntry(_)), ..) => {
            Effect::Endpoints
        }
        (Some(Spec::ServiceEntry(_)), Some(before), Some(after)) if differ_in_endpoints_only(before, after) => {
            Effect::Endpoints
        }
        _ => Effect::Routing,
    }
}

fn differ_in_endpoints_only(before: &Resource, after: &Resource) -> bool {
    let without = |resource: &Resource| {
        let mut copy = resource.clone();
        if let Spec::ServiceEntry(entry) = &mut copy.spec {
            entry.endpoints.clear();
        }
        copy
    };
    without(before) == without(after)
}

/// Adds the hosts whose endpoints `resource` has to do with.
fn collect(set: &ResourceSet, resource: &Arc<Resource>, hosts: &mut BTreeSet<Arc<str>>) {
    let namespace = &*resource.id.namespace;
    let labels = &resource.metadata.labels;
    match &resource.spec {
        Spec::ServiceEntry(entry) => hosts.extend(entry.hosts.iter().map(|host| names::lower(host))),
        Spec::Endpoints(_) => {
            hosts.insert(names::full_host(&resource.id.name, namespace));
        }
        Spec::EndpointSlice(_) => hosts.extend(labels.get(SERVICE_NAME).map(|name| names::full_host(name, namespace))),
        Spec::WorkloadEntry(spec) => {
            let workload = Item { resource, spec, index: 0 };
            selected(set, namespace, &workload.labels(), hosts);
        }
        Spec::Pod(_) => {
            selected(set, namespace, labels, hosts);
            // Slices may name a pod, or only have its address: any slice of its namespace.
            for slice in set.all::<EndpointSlice>().filter(|slice| points_to(slice, resource)) {
                let service = slice.resource.metadata.labels.get(SERVICE_NAME);
                hosts.extend(service.map(|name| names::full_host(name, namespace)));
            }
        }
        _ => {}
    }
}

fn points_to(slice: &Item<'_, EndpointSlice>, pod: &Resource) -> bool {
    let named = |endpoint: &crate::resource::SliceEndpoint| match &endpoint.target_ref {
        Some(target) => *target.name.value == *pod.id.name,
        None => true,
    };
    slice.namespace() == &*pod.id.namespace && slice.spec.endpoints.iter().any(named)
}

/// Services and ServiceEntries whose selector takes a workload of `namespace` with `labels`.
fn selected(set: &ResourceSet, namespace: &str, labels: &Labels, hosts: &mut BTreeSet<Arc<str>>) {
    for service in set.all::<Service>().filter(|service| service.namespace() == namespace) {
        let selector = service.spec.spec.as_ref().map(|spec| &spec.selector);
        if selector.is_some_and(|selector| !selector.is_empty() && name::selects(selector, labels)) {
            hosts.insert(names::full_host(service.name(), namespace));
        }
    }
    for entry in set.all::<ServiceEntry>().filter(|entry| entry.namespace() == namespace) {
        let selector = entry.spec.workload_selector.as_ref();
        if selector.is_some_and(|selector| name::selects(&selector.labels, labels)) {
            hosts.extend(entry.spec.hosts.iter().map(|host| names::lower(host)));
        }
    }
}
