//! Endpoint choice by every algorithm, and what a change of endpoints or of their health costs.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{EndpointSet, EntryIndex, Picker, Report, SetRules, Wish, sticky_index};
use config_model::model::{Balancing, ClusterPolicy, Endpoint, EndpointList, OutlierDetection};

use super::Scenario;
use crate::models::endpoints;

const PICKS: u32 = 2_000;

const RING: Balancing = Balancing::RingHash { minimum_ring_size: 1024 };
const MAGLEV: Balancing = Balancing::Maglev { table_size: 65_537 };

/// A scenario of picks.
macro_rules! pick {
    ($name:literal, $count:literal, $weight:ident, $balancing:expr) => {
        Scenario { name: $name, operations: PICKS, prepare: || picks($count, $weight, $balancing) }
    };
}

pub(super) const SCENARIOS: &[Scenario] = &[
    pick!("pick/round-robin-10", 10, equal, Balancing::RoundRobin),
    pick!("pick/round-robin-10000", 10_000, equal, Balancing::RoundRobin),
    pick!("pick/weighted-10", 10, unequal, Balancing::RoundRobin),
    pick!("pick/weighted-10000", 10_000, unequal, Balancing::RoundRobin),
    pick!("pick/least-request-10", 10, equal, Balancing::LeastRequest),
    pick!("pick/least-request-10000", 10_000, equal, Balancing::LeastRequest),
    pick!("pick/weighted-least-request-10", 10, unequal, Balancing::LeastRequest),
    pick!("pick/weighted-least-request-10000", 10_000, unequal, Balancing::LeastRequest),
    pick!("pick/random-10", 10, equal, Balancing::Random),
    pick!("pick/random-10000", 10_000, equal, Balancing::Random),
    pick!("pick/ring-hash-10", 10, equal, RING),
    pick!("pick/ring-hash-10000", 10_000, equal, RING),
    pick!("pick/maglev-10", 10, equal, MAGLEV),
    pick!("pick/maglev-10000", 10_000, equal, MAGLEV),
    Scenario { name: "split/sticky-3", operations: PICKS, prepare: sticky },
    Scenario { name: "outliers/report-of-10000", operations: PICKS, prepare: reports },
    Scenario { name: "endpoints/one-of-10000-changes", operations: 2, prepare: || changes(equal) },
    Scenario { name: "endpoints/one-of-10000-weighted-changes", operations: 2, prepare: || changes(unequal) },
    Scenario { name: "endpoints/one-of-10000-is-ejected", operations: 2, prepare: || ejections(Balancing::RoundRobin) },
    Scenario { name: "endpoints/one-of-10000-in-a-ring-is-ejected", operations: 2, prepare: || ejections(RING) },
];

fn equal(_: u16) -> u32 {
    1
}

fn unequal(number: u16) -> u32 {
    1 + u32::from(number % 7)
}

fn rules(balancing: Balancing) -> SetRules {
    let outliers = OutlierDetection {
        consecutive_5xx: NonZeroU32::new(1),
        consecutive_gateway_errors: None,
        consecutive_local_origin_failures: None,
        split_external_local_origin_errors: false,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: 10,
        min_health_percent: 0,
        error_codes: Vec::new(),
    };
    SetRules { balancing, policy: Arc::new(ClusterPolicy { outliers: Some(outliers), ..ClusterPolicy::default() }) }
}

fn set(count: u16, weight: fn(u16) -> u32, balancing: Balancing) -> EndpointSet {
    EndpointSet::new(endpoints(count, weight), rules(balancing), None, Instant::now())
}

fn draws() -> impl FnMut() -> u64 {
    let mut drawn = 0u64;
    move || {
        drawn = drawn.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        drawn ^ (drawn >> 29)
    }
}

fn picks(count: u16, weight: fn(u16) -> u32, balancing: Balancing) -> Box<dyn FnMut(u32)> {
    let set = set(count, weight, balancing);
    let (mut picker, mut draw, mut keys) = (Picker::new(0), draws(), draws());
    // The first pick takes up the view.
    picker.pick(&set, &mut draw, Wish::first(None));
    Box::new(move |_| {
        let wish = Wish::first(Some(keys()));
        black_box(picker.pick(black_box(&set), &mut draw, wish));
    })
}

fn sticky() -> Box<dyn FnMut(u32)> {
    let mut keys = draws();
    Box::new(move |_| {
        black_box(sticky_index(black_box([70, 20, 10]), keys()));
    })
}

/// What every answer costs: a success, which is what nearly all of them are.
fn reports() -> Box<dyn FnMut(u32)> {
    let (set, mut draw, now) = (set(10_000, equal, Balancing::RoundRobin), draws(), Instant::now());
    Box::new(move |_| {
        black_box(set.report(EntryIndex((draw() % 10_000) as u32), Report::Answer(200), now));
    })
}

/// One fails, and the view is built anew.
fn ejections(balancing: Balancing) -> Box<dyn FnMut(u32)> {
    let (set, now) = (set(10_000, equal, balancing), Instant::now());
    Box::new(move |number| {
        black_box(set.report(EntryIndex(number), Report::NoAnswer, now));
        set.refresh(now);
    })
}

/// The endpoint in the middle goes, then comes back. Endpoints are in lists of a hundred, as Kubernetes' slices have them.
fn changes(weight: fn(u16) -> u32) -> Box<dyn FnMut(u32)> {
    let now = Instant::now();
    let all: Vec<Arc<Endpoint>> = endpoints(10_000, weight).into_iter().map(Arc::new).collect();
    let all: Vec<EndpointList> = all.chunks(100).map(EndpointList::from).collect();
    let mut fewer = all.clone();
    fewer[50] = fewer[50][1..].into();
    let mut lists = vec![all.clone(), fewer.clone(), all.clone(), fewer];
    let mut set = EndpointSet::of_lists(all, rules(Balancing::RoundRobin), None, now);
    Box::new(move |_| {
        let lists = lists.pop().unwrap_or_default();
        set = EndpointSet::of_lists(lists, rules(Balancing::RoundRobin), Some(&set), now);
    })
}
