//! Priorities and shares of endpoints, by the cluster's [`LocalityPolicy`].
//! Source: Istio, `LocalityLoadBalancerSetting`; Envoy, `LocalityLbEndpoints`.

use std::num::NonZeroU32;

use foldhash::{HashMap, HashMapExt};

use super::super::locality;
use crate::model::{Endpoint, Health, Locality, LocalityPolicy};

/// All of a cluster's traffic, in the unit of [`Endpoint::locality_share`].
const ALL: u64 = 1_000_000;

/// Gives the endpoints their priorities or shares. `levels` says how far each of them is. Leaves out those of localities that
/// get nothing.
pub(super) fn rank(policy: Option<&LocalityPolicy>, endpoints: &mut Vec<Endpoint>, levels: &[u32]) {
    match policy {
        Some(LocalityPolicy::Failover(_)) => prioritize(endpoints, levels),
        Some(LocalityPolicy::Distribute { shares }) => distribute(shares, endpoints),
        None => {}
    }
}

/// Only levels of ready endpoints are counted, as Istio does not hand out the others.
fn prioritize(endpoints: &mut [Endpoint], levels: &[u32]) {
    let ready = endpoints.iter().zip(levels).filter(|(endpoint, _)| endpoint.health == Health::Ready);
    let mut known: Vec<u32> = ready.map(|(_, level)| *level).collect();
    known.sort_unstable();
    known.dedup();
    for (endpoint, level) in endpoints.iter_mut().zip(levels) {
        let nearer = known.partition_point(|known| known < level);
        endpoint.priority = u8::try_from(nearer).unwrap_or(u8::MAX);
    }
}

/// Localities that a wildcard takes together divide its share by the weights of their ready endpoints.
fn distribute(shares: &[(Locality, u32)], endpoints: &mut Vec<Endpoint>) {
    let entry = |locality: &Locality| shares.iter().position(|(pattern, _)| locality::matches(pattern, locality));
    endpoints.retain(|endpoint| entry(&endpoint.locality).is_some());
    let mut of_entry = vec![0; shares.len()];
    let mut of_locality: HashMap<Locality, u64> = HashMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready) {
        let weight = u64::from(endpoint.weight);
        *of_locality.entry(endpoint.locality.clone()).or_default() += weight;
        if let Some(total) = entry(&endpoint.locality).and_then(|index| of_entry.get_mut(index)) {
            *total += weight;
        }
    }
    for endpoint in endpoints {
        let index = entry(&endpoint.locality).unwrap_or(0);
        let total = of_entry.get(index).copied().unwrap_or(0).max(1);
        let percent = shares.get(index).map_or(0, |(_, share)| u64::from(*share));
        let weight = of_locality.get(&endpoint.locality).copied().unwrap_or(0);
        let share = (u128::from(ALL * percent) * u128::from(weight) / (100 * u128::from(total))).max(1);
        endpoint.locality_share = u32::try_from(share).ok().and_then(NonZeroU32::new);
    }
}
