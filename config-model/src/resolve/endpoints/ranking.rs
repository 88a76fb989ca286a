//! Priorities and shares of endpoints, by the cluster's [`crate::model::LocalityPolicy`].
//! Source: Istio, `LocalityLoadBalancerSetting`; Envoy, `LocalityLbEndpoints`.

use std::num::NonZeroU32;

use foldhash::{HashMap, HashMapExt};

use super::super::locality;
use crate::model::{Endpoint, Health, Locality};

/// All of a cluster's traffic, in the unit of [`Endpoint::locality_share`].
const ALL: u64 = 1_000_000;

/// The levels at which ready endpoints are, each once and in order: the place of a level is the priority of its endpoints. Only
/// ready ones are counted, as Istio does not hand out the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Priorities(Vec<u32>);

impl Priorities {
    pub(super) fn new(levels: impl Iterator<Item = u32>) -> Self {
        let mut known: Vec<u32> = levels.collect();
        known.sort_unstable();
        known.dedup();
        Self(known)
    }

    pub(super) fn levels(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// The priority of an endpoint at this level.
    pub(super) fn of(&self, level: u32) -> u8 {
        let nearer = self.0.partition_point(|known| *known < level);
        u8::try_from(nearer).unwrap_or(u8::MAX)
    }
}

/// Gives the endpoints the shares of their localities, and leaves out those of localities that get nothing. Localities that a
/// wildcard takes together divide its share by the weights of their ready endpoints.
pub(super) fn distribute(shares: &[(Locality, u32)], endpoints: &mut Vec<Endpoint>) {
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

/// Gives the endpoints the shares of their localities in what their priority gets, by the weights of their ready endpoints. One
/// that is alone in its priority needs none.
pub(super) fn weigh(endpoints: &mut [Endpoint]) {
    let mut of_priority: HashMap<u8, u64> = HashMap::new();
    let mut of_locality: HashMap<(u8, &Locality), u64> = HashMap::new();
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready) {
        let weight = u64::from(endpoint.weight);
        *of_priority.entry(endpoint.priority).or_default() += weight;
        *of_locality.entry((endpoint.priority, &endpoint.locality)).or_default() += weight;
    }
    let share = |endpoint: &Endpoint| {
        let all = of_priority.get(&endpoint.priority).copied().unwrap_or(0);
        let weight = of_locality.get(&(endpoint.priority, &endpoint.locality)).copied().unwrap_or(0);
        let share = (u128::from(ALL) * u128::from(weight) / u128::from(all.max(1))).max(1);
        u32::try_from(share).ok().and_then(NonZeroU32::new).filter(|_| weight != all)
    };
    let shares: Vec<_> = endpoints.iter().map(share).collect();
    for (endpoint, share) in endpoints.iter_mut().zip(shares) {
        endpoint.locality_share = share;
    }
}

/// Notes for each endpoint of the first priority how many of the region's `proxies` are in its locality, if there are any in
/// that of `own`. A zone without a region is of that of `own`, since an EndpointSlice tells no more.
pub(super) fn note_proxies(endpoints: &mut [Endpoint], proxies: &[Endpoint], own: &Locality) {
    let place = |locality: &Locality| match &*locality.region {
        "" if !locality.zone.is_empty() => Locality { region: own.region.clone(), ..locality.clone() },
        _ => locality.clone(),
    };
    let mut counts: HashMap<Locality, usize> = HashMap::new();
    let ready = proxies.iter().filter(|proxy| proxy.health == Health::Ready);
    for place in ready.map(|proxy| place(&proxy.locality)).filter(|place| place.region == own.region) {
        *counts.entry(place).or_default() += 1;
    }
    if !counts.contains_key(own) {
        return;
    }
    let all: usize = counts.values().sum();
    for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.priority == 0) {
        endpoint.locality = place(&endpoint.locality);
        let there = counts.get(&endpoint.locality).copied().unwrap_or(0);
        endpoint.proxies = (there * 10_000).checked_div(all).and_then(|share| u16::try_from(share).ok());
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::model::EndpointAddress;
    use crate::name::Labels;
    use crate::resolve::endpoints::workload::Facts;

    fn endpoints(written: &[(u32, bool, u8)]) -> Vec<Endpoint> {
        let labels = Labels::new();
        let workload =
            Arc::new(Facts { name: "w", namespace: "n", labels: &labels, service_account: "" }.workload("td"));
        let one = |&(weight, ready, place): &(u32, bool, u8)| Endpoint {
            address: EndpointAddress::Ip(SocketAddr::from(([10, 0, 0, place], 80))),
            weight,
            health: if ready { Health::Ready } else { Health::NotReady },
            priority: 0,
            locality_share: None,
            proxies: None,
            locality: locality::parse(&format!("r{}/z{place}", place / 3)),
            workload: Arc::clone(&workload),
        };
        written.iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn priorities_keep_the_order_of_levels_and_have_no_gaps(
            written in prop::collection::vec((0u32..12, any::<bool>()), 0..20)
        ) {
            let levels: Vec<u32> = written.iter().map(|(level, _)| *level).collect();
            let mut all = endpoints(&written.iter().map(|(_, ready)| (1, *ready, 0)).collect::<Vec<_>>());
            let of_ready = written.iter().filter(|(_, is_ready)| *is_ready).map(|(level, _)| *level);
            let priorities = Priorities::new(of_ready);
            all.iter_mut().zip(&levels).for_each(|(endpoint, level)| endpoint.priority = priorities.of(*level));
            let of_ready = all.iter().filter(|one| one.health == Health::Ready).map(|one| one.priority);
            let mut known: Vec<u8> = of_ready.collect();
            known.sort_unstable();
            known.dedup();
            prop_assert_eq!(&known, &(0..known.len() as u8).collect::<Vec<_>>());
            for (left, left_level) in all.iter().zip(&levels) {
                for (right, right_level) in all.iter().zip(&levels) {
                    let is_equal = left_level == right_level && left.priority != right.priority;
                    prop_assert!(!is_equal && (left_level > right_level || left.priority <= right.priority));
                }
            }
        }

        #[test]
        fn localities_that_are_named_get_their_share_and_the_others_leave(
            written in prop::collection::vec((1u32..100, any::<bool>(), 0u8..9), 1..20)
        ) {
            let shares = vec![(locality::parse("r0"), 70), (locality::parse("r1"), 30)];
            let mut all = endpoints(&written);
            distribute(&shares, &mut all);
            prop_assert!(all.iter().all(|one| &*one.locality.region != "r2"));
            for (region, want) in [("r0", 700_000u32), ("r1", 300_000)] {
                let ready = all.iter().filter(|one| *one.locality.region == *region && one.health == Health::Ready);
                let mut by_zone: Vec<(&str, u32)> =
                    ready.map(|one| (&*one.locality.zone, one.locality_share.map_or(0, NonZeroU32::get))).collect();
                by_zone.sort_unstable();
                by_zone.dedup();
                let sum: u32 = by_zone.iter().map(|(_, share)| share).sum();
                prop_assert!(by_zone.is_empty() || sum <= want && want - sum < 3, "{by_zone:?}");
            }
        }
    }
}
