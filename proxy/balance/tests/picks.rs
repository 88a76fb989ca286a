//! Where picks fall: exactly, by any algorithm, and after failed attempts.

mod common;

use std::time::Instant;

use balance::{ActiveRequest, EndpointSet, EntryIndex, Picker, Report, Wish};
use common::{ALGORITHMS, UNHASHED, after, endpoint, endpoints, hits, outlier_policy, outliers, rules, set, xorshift};
use config_model::model::{Balancing, Endpoint, Health};
use proptest::collection::vec;
use proptest::prelude::*;

fn weighted(weights: &[u32]) -> Vec<Endpoint> {
    (0..).zip(weights).map(|(number, &weight)| endpoint(number, weight, Health::Ready)).collect()
}

/// Draws that are spread perfectly: a picture of chance without its noise.
fn spread(count: u64) -> impl FnMut() -> u64 {
    let mut drawn = 0u64;
    move || {
        drawn += 1;
        ((u128::from(drawn % count) << 64) / u128::from(count)) as u64
    }
}

#[test]
fn round_robin_is_even_from_any_start() {
    let set = set(Balancing::RoundRobin, endpoints(4));
    for start in [0, 1 << 32, u64::MAX] {
        let mut picker = Picker::new(start);
        let picks: Vec<u32> = (0..8).map(|_| picker.pick(&set, &mut || 0, Wish::first(None)).unwrap().0).collect();
        let first = picks[0];
        let in_order: Vec<u32> = (0..8).map(|turn| (first + turn) % 4).collect();
        assert_eq!(picks, in_order);
    }
}

#[test]
fn random_takes_every_endpoint_alike_whatever_its_weight() {
    let set = set(Balancing::Random, weighted(&[1, 50, 3, 9]));
    assert_eq!(hits(&set, 400, &mut spread(400)), [100; 4]);
}

#[test]
fn idle_endpoints_are_used_in_proportion_to_weight_by_least_request() {
    let set = set(Balancing::LeastRequest, weighted(&[1, 3, 6]));
    let mut picker = Picker::new(0);
    let mut hits = [0; 3];
    for draw in 0..100u64 {
        // The first of two draws decides between idle endpoints.
        let mut draws = [draw * (u64::MAX / 100), 1 << 63].into_iter();
        let index = picker.pick(&set, &mut || draws.next().unwrap(), Wish::first(None)).unwrap();
        hits[index.0 as usize] += 1;
    }
    assert_eq!(hits, [11, 30, 59], "100 draws, the borders rounded");
}

#[test]
fn least_request_takes_the_less_busy_of_two_different_endpoints() {
    let set = set(Balancing::LeastRequest, endpoints(2));
    let _busy = set.get(EntryIndex(0)).unwrap().state.begin();
    assert_eq!(hits(&set, 50, &mut xorshift(3)), [0, 50]);
}

#[test]
fn least_request_compares_every_pair_equally_often() {
    let set = set(Balancing::LeastRequest, endpoints(3));
    let _busy = [0, 1].map(|index| set.get(EntryIndex(index)).unwrap().state.begin());
    let at = |part: u64, of: u64| u64::MAX / of * part + 2;
    let pairs = (0..3).flat_map(|first| (0..2).map(move |second| [at(first, 3), at(second, 2)]));
    let picked = pairs.map(|draws| {
        let mut draws = draws.into_iter();
        Picker::new(0).pick(&set, &mut || draws.next().unwrap(), Wish::first(None))
    });
    // The idle one is in four of the six.
    assert_eq!(picked.filter(|picked| *picked == Some(EntryIndex(2))).count(), 4);
}

#[test]
fn least_request_fills_endpoints_in_proportion_to_weight() {
    for weights in [&[1, 1, 1, 1][..], &[1, 2, 4], &[5, 1]] {
        let set = set(Balancing::LeastRequest, weighted(weights));
        let (mut picker, mut draws) = (Picker::new(0), xorshift(5));
        let sum: u32 = weights.iter().sum();
        let _held: Vec<ActiveRequest> = (0..sum * 50)
            .map(|_| picker.pick(&set, &mut draws, Wish::first(None)).unwrap())
            .map(|index| set.get(index).unwrap().state.begin())
            .collect();
        for (entry, &weight) in set.entries().zip(weights) {
            let active = entry.state.active();
            assert!(active.abs_diff(weight * 50) <= 2 * weight + 3, "{active} active, weight {weight} of {weights:?}");
        }
    }
}

#[test]
fn an_endpoint_tried_before_is_taken_when_there_is_no_other() {
    let tried = [EntryIndex(0), EntryIndex(1)];
    for balancing in ALGORITHMS {
        let set = set(balancing, endpoints(2));
        assert!(Picker::new(0).pick(&set, &mut xorshift(7), after(&tried)).is_some(), "{balancing:?}");
    }
}

#[test]
fn five_new_picks_are_made_to_avoid_what_was_tried() {
    let set = set(Balancing::RoundRobin, endpoints(8));
    for (tried, got) in [(5, 5), (6, 5), (7, 5)] {
        let tried: Vec<EntryIndex> = (0..tried).map(EntryIndex).collect();
        let pick = Picker::new(0).pick(&set, &mut || 0, after(&tried));
        assert_eq!(pick, Some(EntryIndex(got)), "{} tried", tried.len());
    }
}

#[test]
fn what_was_tried_is_not_avoided_if_the_policy_says_so() {
    let set = set(Balancing::RoundRobin, endpoints(8));
    let tried: Vec<EntryIndex> = (0..5).map(EntryIndex).collect();
    let wish = Wish { avoid_tried: false, ..after(&tried) };
    assert_eq!(Picker::new(0).pick(&set, &mut || 0, wish), Some(EntryIndex(0)));
}

#[test]
fn with_few_tried_of_many_a_retry_goes_elsewhere() {
    let mut draws = xorshift(11);
    let mut again = 0;
    for balancing in UNHASHED {
        let set = set(balancing, endpoints(4));
        let mut picker = Picker::new(draws());
        for _ in 0..1000 {
            let first = picker.pick(&set, &mut draws, Wish::first(None)).unwrap();
            again += u32::from(picker.pick(&set, &mut draws, after(&[first])) == Some(first));
        }
    }
    assert!(again <= 3, "{again} of 3000, 4^-6 each at most by chance");
}

#[test]
fn what_a_request_asks_for_allocates_nothing() {
    for balancing in ALGORITHMS {
        let policy = outlier_policy(outliers(5, 10));
        let set = EndpointSet::new(weighted(&[1, 2, 3, 4]), rules(balancing, policy), None, Instant::now());
        let (mut picker, mut draws, now) = (Picker::new(0), xorshift(13), Instant::now());
        picker.pick(&set, &mut draws, Wish::first(None));
        let allocations = allocation_counter::measure(|| {
            for key in 0..1000 {
                let _request = set.cluster().try_request(Instant::now);
                let _retry = set.cluster().try_retry(Instant::now);
                let tried = [EntryIndex(0), EntryIndex(1)];
                let wish = Wish { hash: Some(key), avoid_tried_priorities: true, ..after(&tried) };
                let picked = picker.pick(&set, &mut draws, wish).unwrap();
                let _active = set.get(picked).unwrap().state.begin();
                set.report(picked, Report::Answer(200), now);
            }
        });
        assert_eq!(allocations.count_total, 0, "{balancing:?}");
    }
}

fn any_endpoint() -> impl Strategy<Value = (u16, u32, bool)> {
    (0u16..50, prop_oneof![Just(1u32), 1u32..200, 1u32..], any::<bool>())
}

proptest! {
    #[test]
    fn only_ready_endpoints_are_ever_picked(described in vec(any_endpoint(), 0..50), seed: u64, tried in vec((0u32..50).prop_map(EntryIndex), 0..4)) {
        let health = |ready| if ready { Health::Ready } else { Health::NotReady };
        let listed: Vec<_> = described.iter().map(|&(number, weight, ready)| endpoint(number, weight, health(ready))).collect();
        let mut draws = xorshift(seed);
        for balancing in ALGORITHMS {
            // A ring gives the lightest one a point, and the others as many times more as they weigh.
            let heaviest = if UNHASHED.contains(&balancing) { u32::MAX } else { 100 };
            let mut listed = listed.clone();
            listed.iter_mut().for_each(|endpoint| endpoint.weight = endpoint.weight.min(heaviest));
            let set = set(balancing, listed);
            let mut picker = Picker::new(draws());
            for _ in 0..20 {
                let picked = picker.pick(&set, &mut draws, after(&tried));
                prop_assert_eq!(picked.is_some(), set.ready_count() > 0);
                prop_assert!(picked.is_none_or(|index| set.get(index).unwrap().is_ready()));
            }
        }
    }

    #[test]
    fn round_robin_gives_each_endpoint_exactly_its_weight(weights in vec(1u32..=100, 1..20), start: u64) {
        let set = set(Balancing::RoundRobin, weighted(&weights));
        let sum: u32 = weights.iter().sum();
        let mut start = Some(start);
        let hits = hits(&set, sum as usize, &mut || start.take().unwrap_or(0));
        prop_assert_eq!(hits, weights);
    }
}
