use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The smallest draw that falls on `place` of `total`.
fn draw_of(place: u64, total: u64) -> u64 {
    ((u128::from(place) << 64).div_ceil(u128::from(total))) as u64
}

/// How far each destination is from its share after `draws`, at the worst of all moments.
fn worst_error(split: &Split, destinations: usize, draws: impl Iterator<Item = u64>) -> f64 {
    let mut hits = vec![0u32; destinations];
    let mut worst = 0f64;
    for (count, draw) in (1..).zip(draws) {
        hits[split.pick(draw)] += 1;
        let errors =
            hits.iter().enumerate().map(|(index, &hits)| f64::from(hits) - split.share(index) * f64::from(count));
        worst = errors.map(f64::abs).fold(worst, f64::max);
    }
    worst
}

fn draws(mut rotation: Rotation) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || rotation.draw())
}

proptest! {
    #[test]
    fn every_destination_gets_exactly_its_weight(weights in vec(0u32..=100, 1..8)) {
        let Some(split) = Split::from_weights(weights.iter().copied()) else { return Ok(()) }; // All of them zero.
        let mut hits = vec![0u32; weights.len()];
        (0..split.total()).for_each(|place| hits[split.pick(draw_of(place, split.total()))] += 1);
        prop_assert_eq!(hits, weights);
    }

    #[test]
    fn weight_zero_gets_nothing_and_every_draw_falls_on_somebody(
        weights in vec(prop_oneof![Just(0u32), any::<u32>()], 1..8), draw: u64,
    ) {
        let Some(split) = Split::from_weights(weights.iter().copied()) else { return Ok(()) };
        for draw in [draw, 0, u64::MAX] {
            prop_assert_ne!(weights[split.pick(draw)], 0);
        }
    }

    #[test]
    fn a_draw_keeps_its_destination_but_for_what_the_weights_moved(draw: u64, first in 1u32..100) {
        // 90/10 becoming 80/20 moves a tenth of the draws, all of them in one direction.
        let narrow = Split::from_weights([first, 100 - first]).unwrap();
        let wide = Split::from_weights([first + 1, 99 - first.min(99)]).unwrap();
        prop_assert!(wide.pick(draw) <= narrow.pick(draw));
    }

    #[test]
    fn a_two_way_split_is_never_off_by_more_than_four(phase: u64, weight in 0u32..=100) {
        let split = Split::from_weights([weight, 100 - weight]).unwrap();
        let worst = worst_error(&split, 2, draws(Rotation::new(phase)).take(5_000));
        prop_assert!(worst < 4.0, "{}", worst);
    }

    #[test]
    fn an_n_way_split_is_never_off_by_more_than_six(phase: u64, weights in vec(0u32..1000, 2..6)) {
        let Some(split) = Split::from_weights(weights.iter().copied()) else { return Ok(()) };
        let worst = worst_error(&split, weights.len(), draws(Rotation::new(phase)).take(5_000));
        prop_assert!(worst < 6.0, "{}", worst);
    }

    #[test]
    fn kinds_of_request_that_take_turns_each_see_the_split(phase: u64, kinds in 2usize..=8, kind in 0usize..8) {
        let split = Split::from_weights([50, 50]).unwrap();
        let seen = draws(Rotation::new(phase)).skip(kind % kinds).step_by(kinds);
        let worst = worst_error(&split, 2, seen.take(2_000));
        prop_assert!(worst < 12.0, "{}", worst);
    }
}

#[test]
fn half_and_half_stays_within_four_of_even_for_a_hundred_thousand_requests() {
    let split = Split::from_weights([50, 50]).unwrap();
    for phase in [0, 1 << 63, 0x1234_5678_9ABC_DEF0, u64::MAX] {
        let worst = worst_error(&split, 2, draws(Rotation::new(phase)).take(100_000));
        assert!(worst <= 4.0, "{worst} from {phase}");
    }
}

#[test]
fn all_zero_is_no_split() {
    assert_eq!(Split::from_weights([0, 0]), None);
    assert_eq!(Split::from_weights([]), None);
}

#[test]
fn weights_may_add_up_to_more_than_32_bits() {
    let split = Split::from_weights([u32::MAX; 3]).unwrap();
    assert_eq!((split.pick(0), split.pick(1 << 63), split.pick(u64::MAX)), (0, 1, 2));
    assert_eq!(split.total(), 3 * u64::from(u32::MAX));
}
