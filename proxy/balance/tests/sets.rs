//! What a change of endpoints keeps, and which of them may be picked.

mod common;

use std::sync::Arc;
use std::time::Instant;

use balance::{EndpointSet, EntryIndex, Picker, Wish};
use common::{ALGORITHMS, endpoint, endpoints, rules, xorshift};
use config_model::model::{Balancing, ClusterPolicy, Endpoint, EndpointAddress, Health};
use proptest::collection::vec;
use proptest::prelude::*;

fn build(endpoints: Vec<Endpoint>, previous: Option<&EndpointSet>) -> EndpointSet {
    EndpointSet::new(endpoints, rules(Balancing::RoundRobin, ClusterPolicy::default()), previous, Instant::now())
}

#[test]
fn state_survives_by_address_whatever_else_changes() {
    let first = build(endpoints(4), None);
    let _active = first.entries()[2].state.begin();
    let mut changed = endpoints(4);
    changed.rotate_left(1);
    changed.iter_mut().for_each(|endpoint| endpoint.weight = 9);
    let second = build(changed, Some(&first));
    assert!(Arc::ptr_eq(&first.entries()[2].state, &second.entries()[1].state));
    assert_eq!(second.entries()[1].state.active(), 1);
}

#[test]
fn an_endpoint_that_left_comes_back_without_its_past() {
    let first = build(endpoints(1), None);
    drop(first.entries()[0].state.begin());
    let empty = build(Vec::new(), Some(&first));
    let third = build(endpoints(1), Some(&empty));
    assert_eq!(third.entries()[0].state.total(), 0);
}

#[test]
fn of_several_endpoints_with_one_address_the_first_is_kept() {
    let mut doubled = endpoints(2);
    doubled.push(endpoint(0, 50, Health::Ready));
    let set = build(doubled, None);
    assert_eq!(set.entries().len(), 2);
    assert_eq!(set.entries()[0].endpoint.weight, 1);
}

#[test]
fn names_and_endpoints_that_are_not_ready_are_listed_but_not_picked() {
    let mut listed = endpoints(1);
    listed[0].health = Health::NotReady;
    listed.push(endpoint(1, 1, Health::Ready));
    listed[1].address = EndpointAddress::Dns { host: "pool.example".into(), port: 80 };
    for balancing in ALGORITHMS {
        let set = common::set(balancing, listed.clone());
        assert_eq!((set.entries().len(), set.ready_count(), set.is_pickable()), (2, 0, false));
        assert_eq!(Picker::new(0).pick(&set, &mut xorshift(1), Wish::first(None)), None);
    }
    listed.push(endpoint(2, 1, Health::Ready));
    listed[2].address = EndpointAddress::Unix("/run/pool.sock".into());
    for balancing in ALGORITHMS {
        let set = common::set(balancing, listed.clone());
        assert_eq!(Picker::new(0).pick(&set, &mut xorshift(1), Wish::first(None)), Some(EntryIndex(2)));
    }
}

proptest! {
    #[test]
    fn a_set_lists_each_address_once_and_finds_it(numbers in vec(0u16..30, 0..60), before in vec(0u16..30, 0..60)) {
        let list = |numbers: &[u16]| numbers.iter().map(|&number| endpoint(number, 1, Health::Ready)).collect();
        let previous = build(list(&before), None);
        let set = build(list(&numbers), Some(&previous));
        let mut unique = numbers;
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(set.entries().len(), unique.len());
        for number in 0..30 {
            let address = endpoint(number, 1, Health::Ready).address;
            let found = set.by_address(&address);
            prop_assert_eq!(found.is_some(), unique.contains(&number));
            if let (Some(old), Some(new)) = (previous.by_address(&address), found) {
                prop_assert!(Arc::ptr_eq(&old.state, &new.state));
                prop_assert!(Arc::ptr_eq(&old.endpoint, &new.endpoint));
            }
        }
    }
}
