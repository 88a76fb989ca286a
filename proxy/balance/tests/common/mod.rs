//! Endpoints, sets and draws for the tests of this crate. Not every test needs each of them.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{EndpointSet, EntryIndex, Picker, SetRules, Wish};
use config_model::model::{
    Balancing, ClusterPolicy, Endpoint, EndpointAddress, Health, Locality, OutlierDetection, Workload,
};

/// Every algorithm.
pub(crate) const ALGORITHMS: [Balancing; 5] = [
    Balancing::RoundRobin,
    Balancing::LeastRequest,
    Balancing::Random,
    Balancing::RingHash { minimum_ring_size: 64 },
    Balancing::Maglev { table_size: 251 },
];

/// Those that know no keys.
pub(crate) const UNHASHED: [Balancing; 3] = [Balancing::RoundRobin, Balancing::LeastRequest, Balancing::Random];

/// A set under this algorithm, and no other policy.
pub(crate) fn set(balancing: Balancing, endpoints: Vec<Endpoint>) -> EndpointSet {
    EndpointSet::new(endpoints, rules(balancing, ClusterPolicy::default()), None, Instant::now())
}

/// Both.
pub(crate) fn rules(balancing: Balancing, policy: ClusterPolicy) -> SetRules {
    SetRules { balancing, policy: Arc::new(policy) }
}

/// Ejection after so many server errors, of as many as this.
pub(crate) fn outliers(consecutive_5xx: u32, max_ejection_percent: u8) -> OutlierDetection {
    OutlierDetection {
        consecutive_5xx: NonZeroU32::new(consecutive_5xx),
        consecutive_gateway_errors: None,
        consecutive_local_origin_failures: None,
        split_external_local_origin_errors: false,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent,
        min_health_percent: 0,
        error_codes: Vec::new(),
    }
}

/// That policy alone.
pub(crate) fn outlier_policy(outliers: OutlierDetection) -> ClusterPolicy {
    ClusterPolicy { outliers: Some(outliers), ..ClusterPolicy::default() }
}

/// How often each entry is picked, with nothing tried before and no key.
pub(crate) fn hits(set: &EndpointSet, picks: usize, draws: &mut impl FnMut() -> u64) -> Vec<u32> {
    let mut picker = Picker::new(draws());
    let mut hits = vec![0; set.len()];
    for _ in 0..picks {
        hits[picker.pick(set, draws, Wish::first(None)).expect("somebody can be picked").0 as usize] += 1;
    }
    hits
}

/// After these tries.
pub(crate) fn after(tried: &[EntryIndex]) -> Wish<'_> {
    Wish { tried, ..Wish::first(None) }
}

/// The endpoint of this number, which is its port.
pub(crate) fn endpoint(number: u16, weight: u32, health: Health) -> Endpoint {
    let workload = Workload::all(&"unknown".into());
    let address = EndpointAddress::Ip(SocketAddr::from(([127, 0, 0, 1], number)));
    Endpoint {
        address,
        weight,
        health,
        priority: 0,
        locality_share: None,
        proxies: None,
        locality: Locality::default(),
        workload: Arc::new(workload),
    }
}

/// `count` ready endpoints of weight 1.
pub(crate) fn endpoints(count: u16) -> Vec<Endpoint> {
    (0..count).map(|number| endpoint(number, 1, Health::Ready)).collect()
}

/// Draws that look random and are the same each time.
pub(crate) fn xorshift(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
