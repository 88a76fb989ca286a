//! Destinations that nobody is behind: requests that go there are answered with 503. Nothing is said of services whose endpoints
//! only look-ups could tell, nor of Kubernetes Services without any, as a folder may well have routes and no EndpointSlices.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use super::Findings;
use super::destinations;
use super::policies::{Rules, cluster, rules_by_host, warn};
use crate::model::Health;
use crate::name::Labels;
use crate::resolve::services::{self, Service};
use crate::resolve::{EMPTY_SUBSETS, EndpointIndex, ResourceSet, names};
use crate::resource::{Destination, VirtualService};

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    if resources.all::<VirtualService>().next().is_none() {
        return;
    }
    let (rules, index) = (rules_by_host(resources), EndpointIndex::new(resources));
    // Many routes name the same few.
    let mut known: HashMap<(Arc<str>, &str), Option<String>> = HashMap::new();
    for item in resources.all::<VirtualService>() {
        // Of these another warning tells where the requests go instead.
        let spills = item.resource.metadata.annotations.get(EMPTY_SUBSETS).is_some_and(|value| **value == *"spill");
        for named in destinations::of_http(item.spec).filter(|_| !spills) {
            let destination = named.destination;
            let host = names::full_host(&destination.host, item.namespace());
            let key = (Arc::clone(&host), &*destination.subset.value);
            let found = known.entry(key).or_insert_with(|| message(resources, destination, &host, &rules, &index));
            if let Some(message) = found {
                warn(findings, &item.origin(destination.position), (named.field, message.clone(), None));
            }
        }
    }
}

fn message(
    resources: &ResourceSet,
    destination: &Destination,
    host: &Arc<str>,
    rules: &Rules<'_>,
    index: &EndpointIndex,
) -> Option<String> {
    let service = services::of_host(resources, host).next()?;
    let has_any = |labels: &Labels| {
        let endpoints = index.endpoints(&cluster(service, host, labels)?);
        Some(endpoints.iter().any(|endpoint| endpoint.health == Health::Ready))
    };
    if !has_any(&Labels::new())? {
        let is_entry = matches!(service, Service::Entry(_));
        return is_entry.then(|| format!("The service {:?} has no ready endpoint: {ANSWER}", &*destination.host.value));
    }
    let name = &*destination.subset.value;
    let mut subsets = rules.get(host)?.iter().flat_map(|rule| &rule.spec.subsets);
    let subset = subsets.find(|subset| *subset.name.value == *name)?;
    (!has_any(&subset.labels)?).then(|| format!("No ready endpoint has the labels of subset {name:?}: {ANSWER}"))
}

const ANSWER: &str = "requests that go there are answered with 503.";
