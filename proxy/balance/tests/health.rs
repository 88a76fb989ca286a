//! Priorities, localities, warmup and consistent hashing: where requests go while health and membership change.

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{EndpointSet, EntryIndex, Picker, Report, Wish, hash_bytes};
use common::{ALGORITHMS, after, endpoint, endpoints, hits, outlier_policy, outliers, rules, set, xorshift};
use config_model::model::{
    Balancing, ClusterPolicy, Endpoint, EndpointAddress, Failover, Health, Locality, LocalityPolicy, Warmup, ZoneAware,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Endpoints in priorities of this many each.
fn in_priorities(balancing: Balancing, each: u16, count: u16) -> EndpointSet {
    let rules = rules(balancing, outlier_policy(outliers(1, 100)));
    let ranked = |number| Endpoint { priority: (number / each) as u8, ..endpoint(number, 1, Health::Ready) };
    EndpointSet::new((0..count).map(ranked).collect(), rules, None, Instant::now())
}

fn eject(set: &EndpointSet, positions: impl IntoIterator<Item = u32>) {
    let now = Instant::now();
    for position in positions {
        assert!(set.report(EntryIndex(position), Report::NoAnswer, now).is_some());
    }
    set.refresh(now);
}

#[test]
fn the_next_priority_is_used_as_health_falls() {
    for balancing in ALGORITHMS {
        let set = in_priorities(balancing, 10, 20);
        let first = |set: &EndpointSet| hits(set, 10_000, &mut xorshift(1))[..10].iter().sum::<u32>();
        assert_eq!(first(&set), 10_000, "{balancing:?}");
        eject(&set, 0..2);
        assert_eq!(first(&set), 10_000, "{balancing:?}: 80 percent are enough for all");
        eject(&set, 2..5);
        assert!(first(&set).abs_diff(7_000) < 200, "{balancing:?}: half of them for 70 percent");
        eject(&set, 5..10);
        assert_eq!(first(&set), 0, "{balancing:?}");
    }
}

#[test]
fn each_second_retry_goes_to_a_priority_that_was_not_tried_if_the_policy_says_so() {
    let set = in_priorities(Balancing::RoundRobin, 2, 6);
    let mut picker = Picker::new(0);
    let mut pick = |tried: &[u32]| {
        let tried: Vec<EntryIndex> = tried.iter().copied().map(EntryIndex).collect();
        let wish = Wish { avoid_tried_priorities: true, ..after(&tried) };
        picker.pick(&set, &mut || 0, wish).unwrap().0 / 2
    };
    assert_eq!((pick(&[]), pick(&[0])), (0, 0));
    assert_eq!((pick(&[0, 1]), pick(&[0, 1, 2])), (1, 1));
    assert_eq!(pick(&[0, 1, 2, 3]), 2);
    assert_eq!(pick(&[0, 1, 2, 3, 4, 5]), 0, "all were tried: from the beginning");
}

fn placed((number, (zone, millionths)): (u16, (&str, u32))) -> Endpoint {
    let locality = Locality { region: "r".into(), zone: zone.into(), subzone: "".into() };
    Endpoint { locality, locality_share: NonZeroU32::new(millionths), ..endpoint(number, 1, Health::Ready) }
}

fn distributed(balancing: Balancing) -> EndpointSet {
    let places = [("z1", 700_000), ("z2", 200_000), ("z1", 700_000), ("z3", 100_000), ("z4", 0), ("z3", 100_000)];
    let endpoints = (0..).zip(places).map(placed).collect();
    EndpointSet::new(endpoints, rules(balancing, outlier_policy(outliers(1, 100))), None, Instant::now())
}

#[test]
fn each_locality_gets_its_share_and_one_without_any_gets_nothing() {
    for balancing in ALGORITHMS {
        let set = distributed(balancing);
        let hits = hits(&set, 100_000, &mut xorshift(3));
        let localities = [hits[0] + hits[2], hits[1], hits[3] + hits[5], hits[4]];
        // A small ring is not exact.
        let far = if matches!(balancing, Balancing::RingHash { .. }) { 15_000 } else { 1_000 };
        for (got, share) in localities.into_iter().zip([70_000u32, 20_000, 10_000, 0]) {
            assert!(got.abs_diff(share) <= far.min(share), "{balancing:?}: {localities:?}");
        }
    }
}

#[test]
fn a_locality_leaves_its_share_to_the_others_as_it_falls_ill() {
    let set = distributed(Balancing::Random);
    eject(&set, [0]);
    let hits = hits(&set, 100_000, &mut xorshift(3));
    // 70 * 0.7 of 79.
    assert!(hits[2].abs_diff(62_025) < 1_000 && hits[0] == 0, "{hits:?}");
}

/// Endpoints in zones of which the first is the proxy's own, each with ten-thousandths of the proxies.
fn in_zones(balancing: Balancing, places: &[(&str, u16)], healthy_min: u64) -> EndpointSet {
    let at = |zone: &str| Locality { region: "r".into(), zone: zone.into(), subzone: "".into() };
    let one = |(number, &(zone, proxies)): (u16, &(&str, u16))| Endpoint {
        locality: at(zone),
        proxies: Some(proxies),
        ..endpoint(number, 1, Health::Ready)
    };
    let failover = Failover::default();
    let zones = ZoneAware { failover, own: at(places[0].0), proxies: None, healthy_min };
    let locality = Some(LocalityPolicy::ZoneAware(zones));
    let policy = ClusterPolicy { locality, ..outlier_policy(outliers(1, 100)) };
    EndpointSet::new((0..).zip(places).map(one).collect(), rules(balancing, policy), None, Instant::now())
}

#[test]
fn requests_stay_in_the_zone_as_far_as_its_healthy_endpoints_can_serve_them() {
    let places = [("z1", 5_000), ("z1", 5_000), ("z2", 5_000), ("z2", 5_000)];
    for balancing in [Balancing::RoundRobin, Balancing::LeastRequest, Balancing::Random] {
        let set = in_zones(balancing, &places, 3);
        let zones = |set: &EndpointSet| {
            let hits = hits(set, 60_000, &mut xorshift(7));
            (hits[0] + hits[1], hits[2] + hits[3])
        };
        assert_eq!(zones(&set), (60_000, 0), "{balancing:?}");
        eject(&set, [0]);
        // A third of the endpoints for half of the proxies: two thirds stay.
        assert!(zones(&set).0.abs_diff(40_000) < 500, "{balancing:?}: {:?}", zones(&set));
        eject(&set, [3]);
        // Two are fewer than three: any of them.
        assert!(zones(&set).0.abs_diff(30_000) < 500, "{balancing:?}: {:?}", zones(&set));
        eject(&set, [1]);
        assert_eq!(zones(&set), (0, 60_000), "{balancing:?}: nobody is left in the zone");
    }
}

#[test]
fn localities_of_equal_shares_stay_apart() {
    let places = [("a", 500_000), ("b", 500_000), ("b", 500_000), ("b", 500_000)];
    let set = set(Balancing::RoundRobin, (0..).zip(places).map(placed).collect());
    let hits = hits(&set, 10_000, &mut xorshift(5));
    assert!(hits[0].abs_diff(5_000) < 200 && hits[1].abs_diff(1_667) < 200, "{hits:?}");
}

#[test]
fn a_priority_of_names_that_were_not_found_is_empty() {
    let name = EndpointAddress::Dns { host: "a.example".into(), port: 80 };
    let unknown = Endpoint { address: name, ..endpoint(0, 1, Health::Ready) };
    let next = Endpoint { priority: 1, ..endpoint(1, 1, Health::Ready) };
    for balancing in ALGORITHMS {
        let set = set(balancing, vec![unknown.clone(), next.clone()]);
        assert_eq!((set.ready_count(), hits(&set, 100, &mut xorshift(1))), (1, vec![0, 100]), "{balancing:?}");
    }
}

#[test]
fn round_robin_stays_even_within_a_locality() {
    let set = distributed(Balancing::RoundRobin);
    let hits = hits(&set, 10_000, &mut xorshift(3));
    assert!(hits[0].abs_diff(hits[2]) <= 1 && hits[3].abs_diff(hits[5]) <= 1, "{hits:?}");
}

fn warming(count: u16, previous: Option<&EndpointSet>, now: Instant) -> EndpointSet {
    let warmup = Warmup { duration: Duration::from_secs(100), minimum_percent: 10.0, aggression: 1.0 };
    let policy = ClusterPolicy { warmup: Some(warmup), ..ClusterPolicy::default() };
    EndpointSet::new(endpoints(count), rules(Balancing::RoundRobin, policy), previous, now)
}

#[test]
fn a_new_endpoint_comes_to_its_share_step_by_step() {
    let start = Instant::now();
    let old = warming(3, None, start);
    let set = warming(4, Some(&old), start + Duration::from_secs(200));
    for (seconds, share) in [(0, 10), (5, 10), (50, 50), (100, 100), (500, 100)] {
        set.tick(start + Duration::from_secs(200 + seconds));
        let hits = hits(&set, (300 + share) * 10, &mut xorshift(1));
        assert_eq!(hits, [1000, 1000, 1000, share as u32 * 10], "after {seconds} s");
    }
}

#[test]
fn who_comes_back_warms_up_again_and_who_stays_does_not() {
    let start = Instant::now();
    let late = start + Duration::from_secs(200);
    let first = warming(2, None, start);
    let mut unready = endpoints(2);
    unready[1].health = Health::NotReady;
    let second = EndpointSet::new(unready, first.rules().clone(), Some(&first), late);
    let third = warming(2, Some(&second), late);
    assert_eq!(hits(&third, 110, &mut xorshift(1)), [100, 10]);
}

#[test]
fn in_a_new_cluster_all_are_equally_new() {
    let set = warming(4, None, Instant::now());
    assert_eq!(hits(&set, 400, &mut xorshift(1)), [100; 4]);
}

const HASHED: [Balancing; 2] =
    [Balancing::RingHash { minimum_ring_size: 1024 }, Balancing::Maglev { table_size: 65_537 }];

fn with_hash(picker: &mut Picker, set: &EndpointSet, hash: u64) -> u32 {
    picker.pick(set, &mut || 0, Wish::first(Some(hash))).expect("all are ready").0
}

#[test]
fn a_key_stays_with_its_endpoint_on_every_worker_and_in_whatever_order_they_are_listed() {
    for balancing in HASHED {
        let (one, mut turned) = (set(balancing, endpoints(7)), endpoints(7));
        turned.rotate_left(3);
        let other = set(balancing, turned);
        let (mut first, mut second) = (Picker::new(1), Picker::new(u64::MAX));
        for key in 0..500u64 {
            let hash = hash_bytes(format!("user-{key}").as_bytes());
            let (here, there) = (with_hash(&mut first, &one, hash), with_hash(&mut second, &other, hash));
            let address = |set: &EndpointSet, index| set.get(EntryIndex(index)).unwrap().endpoint.address.clone();
            assert_eq!(address(&one, here), address(&other, there), "{balancing:?}");
        }
    }
}

#[test]
fn with_a_key_what_was_tried_is_taken_again_and_without_one_anybody_is() {
    for balancing in HASHED {
        let set = set(balancing, endpoints(4));
        let mut picker = Picker::new(0);
        let first = with_hash(&mut picker, &set, 42);
        let tried = [EntryIndex(first)];
        let wish = Wish { hash: Some(42), avoid_tried: false, ..after(&tried) };
        assert_eq!(picker.pick(&set, &mut || 0, wish), Some(EntryIndex(first)));
        let elsewhere = picker.pick(&set, &mut || 0, Wish { avoid_tried: true, ..wish });
        assert_ne!(elsewhere, Some(EntryIndex(first)), "{balancing:?}: unless a rule says otherwise");
        assert!(hits(&set, 4_000, &mut xorshift(9)).into_iter().all(|hits| hits > 300), "{balancing:?}");
    }
}

#[test]
fn keys_of_others_stay_when_an_endpoint_is_ejected_and_all_are_back_when_it_is() {
    for (balancing, moved_max) in HASHED.into_iter().zip([350, 50]) {
        let set =
            EndpointSet::new(endpoints(4), rules(balancing, outlier_policy(outliers(1, 100))), None, Instant::now());
        let mut picker = Picker::new(0);
        let mut owners = || -> Vec<u32> {
            (0..1000).map(|key| with_hash(&mut picker, &set, hash_bytes(&[key as u8, (key >> 8) as u8]))).collect()
        };
        let before = owners();
        eject(&set, [3]);
        let without = owners();
        let moved = before.iter().zip(&without).filter(|(before, after)| **before != 3 && before != after).count();
        assert!(moved <= moved_max && !without.contains(&3), "{balancing:?}: {moved} moved");
        let later = Instant::now() + Duration::from_secs(100);
        set.tick(later);
        assert_eq!(set.tick(later + Duration::from_secs(100)), [EntryIndex(3)]);
        assert_eq!(owners(), before);
    }
}

proptest! {
    #[test]
    fn nobody_old_gets_more_because_somebody_new_warms_up(old in 1u16..6, new in 1u16..4, seconds in 0u64..120) {
        let start = Instant::now();
        let before = warming(old, None, start);
        let joined = start + Duration::from_secs(500);
        let set = warming(old + new, Some(&before), joined);
        set.tick(joined + Duration::from_secs(seconds));
        let picks = 1000 * u32::from(old + new);
        let hits = hits(&set, picks as usize, &mut xorshift(1));
        let share_before = picks / u32::from(old);
        for (position, hits) in (0u16..).zip(hits) {
            prop_assert!(hits <= share_before + 3);
            // And nobody new gets more than somebody old.
            prop_assert!(position < old || hits <= picks / u32::from(old + new) + 3);
        }
    }

    #[test]
    fn only_healthy_endpoints_of_some_priority_are_picked(
        each in 1u16..5, count in 1u16..16, ejections in vec(0u32..16, 0..12), keys in vec(any::<u64>(), 1..20),
    ) {
        for balancing in ALGORITHMS {
            let set = in_priorities(balancing, each, count);
            let now = Instant::now();
            ejections.iter().for_each(|&position| { set.report(EntryIndex(position), Report::NoAnswer, now); });
            set.refresh(now);
            let mut picker = Picker::new(0);
            let mut draws = xorshift(keys[0]);
            for &key in &keys {
                let tried: Vec<EntryIndex> = (0..(key % 5) as u32).map(EntryIndex).collect();
                let wish = Wish { hash: Some(key), avoid_tried_priorities: key % 2 == 0, ..after(&tried) };
                let picked = picker.pick(&set, &mut draws, wish);
                prop_assert_eq!(picked.is_some(), set.healthy_count() > 0);
                prop_assert!(picked.is_none_or(|picked| !set.get(picked).unwrap().state.is_ejected()));
            }
        }
    }
}

#[test]
fn sets_of_two_clusters_never_share_a_view() {
    let (one, other) = (set(Balancing::RoundRobin, endpoints(1)), set(Balancing::RoundRobin, endpoints(3)));
    let mut picker = Picker::new(0);
    for _ in 0..3 {
        let mut pick = |set: &EndpointSet| picker.pick(set, &mut || 0, Wish::first(None)).unwrap();
        assert_eq!(pick(&one), EntryIndex(0));
        assert!(pick(&other).0 < 3);
    }
    assert!(!Arc::ptr_eq(one.cluster(), other.cluster()));
}
