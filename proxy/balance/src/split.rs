//! Splits whose requests stay with their destination, and splits around destinations that have nobody to answer. Both are
//! our own: Istio draws every request anew, and lets the share of an empty destination fail.

/// Odd, and without a pattern: 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The destination of a key, by weighted rendezvous hashing: over all keys each has exactly its share, and a change of weights
/// moves only keys that the change makes necessary, to destinations that have grown. Of weights that are all zero the first.
///
/// A destination is known by its position, so one that is removed should keep its place with weight 0.
pub fn sticky_index(weights: impl IntoIterator<Item = u32>, hash: u64) -> usize {
    // Each destination waits for a time that is exponentially distributed with its weight as the rate; the first one wins with
    // a probability in proportion to its weight.
    let waits = (0u64..).zip(weights).enumerate().filter(|(_, (_, weight))| *weight > 0);
    let waits = waits.map(|(index, (number, weight))| (index, -uniform(hash, number).ln() / f64::from(weight)));
    waits.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(index, _)| index)
}

/// Weights under which destinations without a ready endpoint leave their share to the others, in proportion to theirs. If
/// nobody would be left the weights are as they were.
pub fn spill<'a>(
    weights: &'a [u32],
    ready: impl Fn(usize) -> bool + Clone + 'a,
) -> impl Iterator<Item = u32> + Clone + 'a {
    let somebody = weights.iter().enumerate().any(|(index, &weight)| weight > 0 && ready(index));
    weights.iter().enumerate().map(move |(index, &weight)| if !somebody || ready(index) { weight } else { 0 })
}

/// The destination of a request that was drawn for `drawn`: by its key, if it has one and the split is sticky; else as drawn,
/// unless nobody is ready there and the split spills, which draws again.
pub fn place(
    weights: &[u32],
    (key, spills): (Option<u64>, bool),
    drawn: usize,
    ready: impl Fn(usize) -> bool + Clone,
    draw: impl FnOnce() -> u64,
) -> usize {
    match key {
        Some(key) if spills => sticky_index(spill(weights, ready), key),
        Some(key) => sticky_index(weights.iter().copied(), key),
        None if spills && !ready(drawn) => drawn_index(spill(weights, ready), draw()),
        None => drawn,
    }
}

/// The destination on which `draw`, uniform over all of `u64`, falls. Of weights that are all zero the first.
pub fn drawn_index(weights: impl Iterator<Item = u32> + Clone, draw: u64) -> usize {
    let sum: u64 = weights.clone().map(u64::from).sum();
    let mut left = ((u128::from(draw) * u128::from(sum)) >> 64) as u64;
    for (index, weight) in weights.map(u64::from).enumerate() {
        if left < weight {
            return index;
        }
        left -= weight;
    }
    0
}

/// A number in (0, 1), the same each time for a key and a destination, and independent of those of others.
fn uniform(hash: u64, number: u64) -> f64 {
    let mixed = mix(mix(hash).wrapping_add((number + 1).wrapping_mul(GOLDEN)));
    ((mixed >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// Spreads every bit over all others: the finalizer of splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators").
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn counts(weights: &[u32], keys: u64) -> Vec<u64> {
        let mut counts = vec![0; weights.len()];
        (0..keys).for_each(|key| counts[sticky_index(weights.iter().copied(), key)] += 1);
        counts
    }

    #[test]
    fn every_destination_gets_its_share_of_keys() {
        for weights in [&[10, 90][..], &[1, 1, 1], &[0, 7, 3], &[u32::MAX, u32::MAX]] {
            let sum: f64 = weights.iter().copied().map(f64::from).sum();
            for (count, &weight) in counts(weights, 100_000).into_iter().zip(weights) {
                let share = 100_000.0 * f64::from(weight) / sum;
                assert!((count as f64 - share).abs() < 600.0, "{count} keys, not {share}, of {weights:?}");
            }
        }
    }

    #[test]
    fn a_tenth_more_moves_a_tenth_of_the_keys_and_only_there() {
        let moved = (0..100_000u64).filter(|&key| {
            let (before, after) = (sticky_index([10, 90], key), sticky_index([20, 80], key));
            assert!(before == after || after == 0);
            before != after
        });
        assert!((9_500..10_500).contains(&moved.count()));
    }

    #[test]
    fn who_has_nobody_ready_leaves_its_share_to_the_others() {
        let effective = |weights: &[u32], ready: &[bool]| spill(weights, |index| ready[index]).collect::<Vec<_>>();
        assert_eq!(effective(&[20, 30, 50], &[true, false, true]), [20, 0, 50]);
        assert_eq!(effective(&[20, 80], &[false, false]), [20, 80], "unchanged if all are empty");
        assert_eq!(effective(&[0, 80], &[true, false]), [0, 80], "nothing is left for who had nothing");
    }

    #[test]
    fn a_request_is_placed_by_its_key_and_else_as_drawn_where_somebody_is_ready() {
        let place = |key, spills, drawn, ready: [bool; 2]| place(&[50, 50], (key, spills), drawn, |at| ready[at], || 0);
        for key in 0..100 {
            let own = place(Some(key), false, 0, [true; 2]);
            assert_eq!(place(Some(key), false, 1, [false; 2]), own, "of the key alone");
            assert_eq!(place(Some(key), true, 1, [true, false]), 0);
        }
        assert_eq!(place(None, false, 1, [true, false]), 1);
        assert_eq!(place(None, true, 1, [true, true]), 1);
        assert_eq!(place(None, true, 1, [true, false]), 0);
        assert_eq!(place(None, true, 1, [false, false]), 0, "drawn again by the weights as they are");
    }

    proptest! {
        #[test]
        fn only_a_destination_that_grew_gains_keys(
            before in vec(0u32..1000, 2..6), at in 0usize..6, more in 1u32..1000, keys in vec(any::<u64>(), 1..50),
        ) {
            let grown = at % before.len();
            let mut after = before.clone();
            after[grown] += more;
            for key in keys {
                let (old, new) = (sticky_index(before.iter().copied(), key), sticky_index(after.iter().copied(), key));
                prop_assert!(old == new || new == grown);
            }
        }

        #[test]
        fn a_weight_of_zero_gets_nothing(weights in vec(0u32..3, 1..6), key: u64) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            prop_assert!(weights[sticky_index(weights.iter().copied(), key)] > 0);
            prop_assert!(weights[drawn_index(weights.iter().copied(), key)] > 0);
        }

        #[test]
        fn draws_fall_on_each_destination_exactly_as_it_weighs(weights in vec(0u32..20, 1..6)) {
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            prop_assume!(sum > 0);
            let mut hits = vec![0; weights.len()];
            for turn in 0..sum {
                let draw = ((u128::from(2 * turn + 1) << 64) / u128::from(2 * sum)) as u64;
                hits[drawn_index(weights.iter().copied(), draw)] += 1;
            }
            prop_assert_eq!(hits, weights);
        }
    }
}
