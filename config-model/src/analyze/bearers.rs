//! Which VirtualServices have a host, for who wonders why none of their rules is tried.

use crate::name::HostPattern;
use crate::resolve::ResourceSet;
use crate::resolve::names;
use crate::resolve::set::Item;
use crate::resource::{Gateway, VirtualService};

/// VirtualServices that are told of at most.
const TOLD_MAX: usize = 10;

/// A line for each VirtualService that has `host`, which is in lower case and without a port: what it is for.
pub fn bearers(resources: &ResourceSet, host: &str) -> Vec<String> {
    let has_host = |item: &Item<'_, VirtualService>| {
        item.spec.hosts.iter().any(|written| HostPattern::parse(written).matches(host))
    };
    resources.all::<VirtualService>().filter(has_host).take(TOLD_MAX).map(|item| line(resources, item)).collect()
}

fn line(resources: &ResourceSet, item: Item<'_, VirtualService>) -> String {
    let origin = item.own_origin();
    let gateways = item.spec.gateways.iter().map(|written| {
        let (namespace, name) = names::gateway(&written.value, item.namespace());
        let is_there = *written.value == *"mesh" || resources.find::<Gateway>(namespace, name).is_some();
        format!("{}{}", written.value, if is_there { "" } else { ", which does not exist" })
    });
    let gateways: Vec<String> = gateways.collect();
    let place = match &gateways[..] {
        [] => "for the mesh alone, as it names no gateways".to_owned(),
        gateways => format!("for {}", gateways.join(" and ")),
    };
    format!("{} has this host, and is {place}  {origin}", origin.resource)
}
