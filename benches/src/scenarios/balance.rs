//! Endpoint choice, and what a change of endpoints costs.

use std::hint::black_box;

use balance::{EndpointSet, Picker};
use config_model::model::Balancing;

use super::Scenario;
use crate::models::endpoints;

const PICKS: u32 = 2_000;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "pick/round-robin-10", operations: PICKS, prepare: || picks(10, equal, Balancing::RoundRobin) },
    Scenario {
        name: "pick/round-robin-10000",
        operations: PICKS,
        prepare: || picks(10_000, equal, Balancing::RoundRobin),
    },
    Scenario { name: "pick/weighted-10", operations: PICKS, prepare: || picks(10, unequal, Balancing::RoundRobin) },
    Scenario {
        name: "pick/weighted-10000",
        operations: PICKS,
        prepare: || picks(10_000, unequal, Balancing::RoundRobin),
    },
    Scenario {
        name: "pick/least-request-10",
        operations: PICKS,
        prepare: || picks(10, equal, Balancing::LeastRequest),
    },
    Scenario {
        name: "pick/least-request-10000",
        operations: PICKS,
        prepare: || picks(10_000, equal, Balancing::LeastRequest),
    },
    Scenario {
        name: "pick/weighted-least-request-10000",
        operations: PICKS,
        prepare: || picks(10_000, unequal, Balancing::LeastRequest),
    },
    Scenario { name: "endpoints/one-of-10000-changes", operations: 2, prepare: || changes(equal) },
    Scenario { name: "endpoints/one-of-10000-weighted-changes", operations: 2, prepare: || changes(unequal) },
];

fn equal(_: u16) -> u32 {
    1
}

fn unequal(number: u16) -> u32 {
    1 + u32::from(number % 7)
}

fn picks(count: u16, weight: fn(u16) -> u32, balancing: Balancing) -> Box<dyn FnMut(u32)> {
    let set = EndpointSet::new(endpoints(count, weight), None);
    let mut picker = Picker::new(0);
    let mut drawn = 0u64;
    Box::new(move |_| {
        let mut draw = || {
            drawn = drawn.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            drawn ^ (drawn >> 29)
        };
        black_box(picker.pick(black_box(&set), balancing, &mut draw, &[]));
    })
}

/// The endpoint in the middle goes, then comes back.
fn changes(weight: fn(u16) -> u32) -> Box<dyn FnMut(u32)> {
    let all = endpoints(10_000, weight);
    let mut fewer = all.clone();
    fewer.remove(5_000);
    let mut lists = vec![all.clone(), fewer.clone(), all.clone(), fewer];
    let mut set = EndpointSet::new(all, None);
    Box::new(move |_| {
        let endpoints = lists.pop().unwrap_or_default();
        set = EndpointSet::new(endpoints, Some(&set));
    })
}
