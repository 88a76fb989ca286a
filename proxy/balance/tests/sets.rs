//! What a change of endpoints keeps, and which of them may be picked.

mod common;

use std::sync::Arc;
use std::time::Instant;

use balance::{EndpointSet, EntryIndex, Picker, Report, Wish};
use common::{ALGORITHMS, endpoint, endpoints, outlier_policy, outliers, rules, xorshift};
use config_model::model::{Balancing, ClusterPolicy, Endpoint, EndpointAddress, EndpointList, Health};
use proptest::collection::vec;
use proptest::prelude::*;

fn build(endpoints: Vec<Endpoint>, previous: Option<&EndpointSet>) -> EndpointSet {
    EndpointSet::new(endpoints, rules(Balancing::RoundRobin, ClusterPolicy::default()), previous, Instant::now())
}

#[test]
fn state_survives_by_address_whatever_else_changes() {
    let first = build(endpoints(4), None);
    let _active = first.get(EntryIndex(2)).unwrap().state.begin();
    let mut changed = endpoints(4);
    changed.rotate_left(1);
    changed.iter_mut().for_each(|endpoint| endpoint.weight = 9);
    let second = build(changed, Some(&first));
    assert!(Arc::ptr_eq(&first.get(EntryIndex(2)).unwrap().state, &second.get(EntryIndex(1)).unwrap().state));
    assert_eq!(second.get(EntryIndex(1)).unwrap().state.active(), 1);
}

#[test]
fn an_endpoint_that_left_comes_back_without_its_past() {
    let first = build(endpoints(1), None);
    drop(first.get(EntryIndex(0)).unwrap().state.begin());
    let empty = build(Vec::new(), Some(&first));
    let third = build(endpoints(1), Some(&empty));
    assert_eq!(third.get(EntryIndex(0)).unwrap().state.total(), 0);
}

#[test]
fn of_several_endpoints_with_one_address_the_first_is_kept() {
    let mut doubled = endpoints(2);
    doubled.push(endpoint(0, 50, Health::Ready));
    let set = build(doubled, None);
    assert_eq!(set.len(), 2);
    assert_eq!(set.get(EntryIndex(0)).unwrap().endpoint.weight, 1);
}

#[test]
fn names_and_endpoints_that_are_not_ready_are_listed_but_not_picked() {
    let mut listed = endpoints(1);
    listed[0].health = Health::NotReady;
    listed.push(endpoint(1, 1, Health::Ready));
    listed[1].address = EndpointAddress::Dns { host: "pool.example".into(), port: 80 };
    for balancing in ALGORITHMS {
        let set = common::set(balancing, listed.clone());
        assert_eq!((set.len(), set.ready_count(), set.is_pickable()), (2, 0, false));
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
        prop_assert_eq!(set.len(), unique.len());
        for number in 0..30 {
            let address = endpoint(number, 1, Health::Ready).address;
            let found = set.by_address(&address);
            prop_assert_eq!(found.is_some(), unique.contains(&number));
            if let (Some(old), Some(new)) = (previous.by_address(&address), found) {
                prop_assert!(Arc::ptr_eq(&old.state, &new.state));
            }
        }
    }
}

/// What happens to the lists of a set before the next one is made, and to an endpoint of that.
#[derive(Debug, Clone)]
enum Step {
    /// The list at this place, if there is one, becomes another; behind the last one it is added.
    Put(usize, Vec<(u16, bool, u32)>),
    Remove(usize),
    Swap(usize, usize),
    /// One is used, and fails.
    Eject(usize),
    /// Outlier detection is switched off, or on again.
    Switch,
}

#[test]
fn a_picker_that_follows_lets_go_of_endpoints_that_are_gone() {
    for balancing in ALGORITHMS {
        let first = common::set(balancing, vec![endpoint(1, 1, Health::Ready), endpoint(2, 1, Health::Ready)]);
        let mut picker = Picker::new(0);
        assert!(picker.pick(&first, &mut xorshift(1), Wish::first(None)).is_some());
        let gone = Arc::downgrade(&first.get(EntryIndex(1)).unwrap().state);
        let rules = rules(balancing, ClusterPolicy::default());
        let next = EndpointSet::new(vec![endpoint(1, 1, Health::Ready)], rules, Some(&first), Instant::now());
        drop(first);
        picker.follow(&next);
        assert!(gone.upgrade().is_none(), "{balancing:?}");
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..5, vec((0u16..40, any::<bool>(), 1u32..3), 0..12)).prop_map(|(place, list)| Step::Put(place, list)),
        1 => (0usize..5).prop_map(Step::Remove),
        1 => (0usize..5, 0usize..5).prop_map(|(one, other)| Step::Swap(one, other)),
        2 => any::<prop::sample::Index>().prop_map(|index| Step::Eject(index.index(40))),
        1 => Just(Step::Switch),
    ]
}

/// All that can be seen of a set.
fn seen(set: &EndpointSet) -> Vec<String> {
    let now = Instant::now();
    let entries = set.entries().map(|entry| {
        let EndpointAddress::Ip(address) = entry.endpoint.address else { return String::new() };
        let (state, known) = (&entry.state, set.by_address(&entry.endpoint.address));
        assert!(known.is_some_and(|known| Arc::ptr_eq(&known.state, state)));
        let counted = (state.total(), state.is_ejected(), state.active());
        let warms = set.warming_share(entry, now).is_some();
        format!("{address} {} {:?} {counted:?} {warms}", entry.endpoint.weight, entry.is_ready())
    });
    let counts = (set.len(), set.ready_count(), set.healthy_count(), set.cluster().ejected(), set.is_pickable());
    let (mut picker, mut draws) = (Picker::new(0), xorshift(1));
    let picks = (0..50).map(|_| picker.pick(set, &mut draws, Wish::first(None)));
    let address =
        |index: Option<EntryIndex>| index.and_then(|index| set.get(index)).map(|entry| &entry.endpoint.address);
    let picks: Vec<_> = picks.map(|pick| address(pick).cloned()).collect();
    entries.chain([format!("{counts:?} {picks:?}")]).collect()
}

proptest! {
    #[test]
    fn lists_that_stay_make_no_difference_to_going_through_all_of_them(
        balancing in prop::sample::select(&ALGORITHMS[..]), steps in vec(step(), 1..30),
    ) {
        let now = Instant::now();
        let mut lists: Vec<EndpointList> = Vec::new();
        let mut policies = [outlier_policy(outliers(1, 50)), ClusterPolicy::default()].map(|policy| rules(balancing, policy));
        let make = |lists: Vec<EndpointList>, rules: &balance::SetRules, previous: &EndpointSet| {
            EndpointSet::of_lists(lists, rules.clone(), Some(previous), now)
        };
        let mut shared = EndpointSet::of_lists(Vec::new(), policies[0].clone(), None, now);
        let mut copied = EndpointSet::of_lists(Vec::new(), policies[0].clone(), None, now);
        for step in steps {
            match step {
                Step::Put(place, list) => {
                    let ready = |ready: bool| if ready { Health::Ready } else { Health::NotReady };
                    let list = list.iter().map(|&(number, is_ready, weight)| endpoint(number, weight, ready(is_ready)).into());
                    let place = place.min(lists.len());
                    lists.splice(place..(place + 1).min(lists.len()), [list.collect()]);
                }
                Step::Remove(place) if place < lists.len() => drop(lists.remove(place)),
                Step::Swap(one, other) if one.max(other) < lists.len() => lists.swap(one, other),
                Step::Switch => policies.swap(0, 1),
                Step::Eject(number) => {
                    for set in [&shared, &copied] {
                        let address = endpoint(number as u16, 1, Health::Ready).address;
                        let indexes = set.blocks().iter().enumerate().flat_map(|(block, entries)| {
                            (0..entries.len()).map(move |place| EntryIndex((block << 16 | place) as u32))
                        });
                        let found = indexes.into_iter().find(|index| set.get(*index).unwrap().endpoint.address == address);
                        if let Some(index) = found {
                            drop(set.get(index).unwrap().state.begin());
                            set.report(index, Report::NoAnswer, now);
                        }
                    }
                }
                Step::Remove(_) | Step::Swap(..) => {}
            }
            shared = make(lists.clone(), &policies[0], &shared);
            let copies = lists.iter().map(|list| list.iter().map(|endpoint| Arc::new((**endpoint).clone())).collect());
            copied = make(copies.collect(), &policies[0], &copied);
            prop_assert_eq!(seen(&shared), seen(&copied));
        }
    }
}

#[test]
fn a_list_that_stays_is_taken_over_as_it_is_wherever_it_stands() {
    let lists: Vec<EndpointList> = [0u16..10, 10..20, 20..30]
        .map(|numbers| numbers.map(|number| endpoint(number, 1, Health::Ready).into()).collect())
        .into();
    let made = |lists: Vec<EndpointList>, previous| {
        EndpointSet::of_lists(lists, rules(Balancing::RoundRobin, ClusterPolicy::default()), previous, Instant::now())
    };
    let first = made(lists.clone(), None);
    let new: EndpointList = [endpoint(99, 1, Health::Ready).into()].into();
    let second = made(vec![Arc::clone(&new), Arc::clone(&lists[2]), Arc::clone(&lists[0])], Some(&first));
    assert!(
        Arc::ptr_eq(&second.blocks()[1], &first.blocks()[2]) && Arc::ptr_eq(&second.blocks()[2], &first.blocks()[0])
    );
    assert!(second.is_of(&[new, Arc::clone(&lists[2]), Arc::clone(&lists[0])]));
    assert!(!second.is_of(&lists));
}
