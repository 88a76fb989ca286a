//! Weights, compiled: whose turn it is, and on whom a random draw falls. Positions count the endpoints that may be picked.
//!
//! Turns are exact: over a whole cycle each endpoint has exactly as many as its weight says (divided by the greatest common
//! divisor of all), and they are spread evenly over it. Envoy keeps a heap of deadlines for each worker; here the order is
//! a function of the turn's number, so that all workers share it and a change of endpoints costs the data path nothing.

/// The longest cycle that is written out turn by turn: 16 KiB, and 0.2 ms to make.
const WRITTEN_CYCLE_MAX: u64 = 4096;

/// Candidates for a stride. Of any 100 successive numbers one has no divisor in common with a given 64-bit number.
const STRIDES_TRIED: u64 = 128;

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Weights of the endpoints that may be picked.
#[derive(Debug)]
pub(crate) enum Schedule {
    /// All weigh the same; there may be none.
    Equal {
        /// How many there are.
        count: usize,
    },
    /// At least two, of unequal weight.
    Weighted(Weighted),
}

/// Unequal weights.
#[derive(Debug)]
pub(crate) struct Weighted {
    /// Running sums of the weights, which have no divisor in common. The last one is the sum of all.
    upper_bounds: Vec<u64>,
    guide: Guide,
    turns: Turns,
}

/// Where a search for a draw begins and ends: about one bucket for each endpoint, so that it is over at once unless weights are
/// most unequal.
#[derive(Debug)]
struct Guide {
    /// By the leading bits of a draw the first endpoint that such a draw can fall on.
    begins: Vec<u32>,
    shift: u32,
}

/// The order of turns within a cycle.
#[derive(Debug)]
enum Turns {
    /// Position by number of the turn.
    Written(Vec<u32>),
    /// The n-th turn falls on the draw `n * stride` modulo the sum. The stride has no divisor in common with the sum, so a
    /// cycle meets each draw once; it is near the golden section, so successive turns are far apart.
    Strided { stride: u64 },
}

impl Schedule {
    /// Compiles weights, each at least 1.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let first = weights.first().copied().unwrap_or(1);
        if weights.iter().all(|&weight| weight == first) {
            return Self::Equal { count: weights.len() };
        }
        let mut divisor = u64::from(first);
        // Most are as the one before.
        for (&before, &weight) in weights.iter().zip(weights.iter().skip(1)) {
            if weight != before {
                divisor = greatest_common_divisor(divisor, weight.into());
            }
            if divisor == 1 {
                break;
            }
        }
        let weights = weights.iter().map(|&weight| u64::from(weight) / divisor.max(1));
        let mut sum = 0;
        let upper_bounds: Vec<u64> = weights
            .clone()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        let turns = if sum <= WRITTEN_CYCLE_MAX {
            Turns::Written(write_cycle(&weights.collect::<Vec<_>>()))
        } else {
            Turns::Strided { stride: stride(sum) }
        };
        Self::Weighted(Weighted { guide: Guide::new(&upper_bounds, sum), upper_bounds, turns })
    }

    /// The position whose turn it is.
    pub(crate) fn turn(&self, turn: u64) -> usize {
        match self {
            Self::Equal { count } => (turn % (*count).max(1) as u64) as usize,
            Self::Weighted(weighted) => weighted.turn(turn),
        }
    }
}

impl Guide {
    fn new(upper_bounds: &[u64], sum: u64) -> Self {
        let bits = usize::BITS - upper_bounds.len().leading_zeros();
        let shift = (u64::BITS - sum.leading_zeros()).saturating_sub(bits);
        let last = upper_bounds.len().saturating_sub(1);
        let mut position = 0;
        let begin = |bucket: u64| {
            while position < last && upper_bounds.get(position).is_some_and(|&bound| bound <= bucket << shift) {
                position += 1;
            }
            u32::try_from(position).unwrap_or(u32::MAX)
        };
        Self { begins: (0..=(sum >> shift) + 1).map(begin).collect(), shift }
    }

    /// The endpoints that a draw can fall on: the first and the last.
    fn range(&self, draw: u64) -> (usize, usize) {
        let bucket = (draw >> self.shift) as usize;
        let begin = |bucket: usize| self.begins.get(bucket).map_or(0, |&position| position as usize);
        (begin(bucket), begin(bucket + 1))
    }
}

impl Weighted {
    /// Sum of the weights.
    pub(crate) fn sum(&self) -> u64 {
        self.upper_bounds.last().copied().unwrap_or(1)
    }

    /// The position on which `draw` falls, for a draw below the sum.
    pub(crate) fn at(&self, draw: u64) -> usize {
        let (from, to) = self.guide.range(draw);
        let within = self.upper_bounds.get(from..=to).unwrap_or_default();
        from + within.partition_point(|&bound| bound <= draw)
    }

    /// The draws that fall on `position`: from the first to below the second.
    pub(crate) fn draws_of(&self, position: usize) -> (u64, u64) {
        let bound = |position: usize| self.upper_bounds.get(position).copied().unwrap_or(0);
        (position.checked_sub(1).map_or(0, bound), bound(position))
    }

    fn turn(&self, turn: u64) -> usize {
        let turn = turn % self.sum();
        match &self.turns {
            Turns::Written(positions) => positions.get(turn as usize).map_or(0, |&position| position as usize),
            Turns::Strided { stride } => {
                self.at((u128::from(turn) * u128::from(*stride) % u128::from(self.sum())) as u64)
            }
        }
    }
}

/// Every endpoint's turns lie at equal distances on a circle; the order is that in which one walk meets them. Where an
/// endpoint begins is spread by the golden section, so that endpoints of one weight don't crowd in one place.
fn write_cycle(weights: &[u64]) -> Vec<u32> {
    let mut turns = Vec::new();
    for (position, &weight) in (0u32..).zip(weights) {
        let begin = u128::from(u64::from(position).wrapping_mul(GOLDEN));
        turns.extend((0..weight).map(|turn| (((u128::from(turn) << 64) + begin) / u128::from(weight), position)));
    }
    turns.sort_unstable();
    turns.into_iter().map(|(_, position)| position).collect()
}

/// The number near the golden section of `sum` whose multiples are spread best.
fn stride(sum: u64) -> u64 {
    let golden = ((u128::from(sum) * u128::from(GOLDEN)) >> 64) as u64;
    (golden..golden + STRIDES_TRIED).min_by_key(|&stride| largest_quotient(sum, stride)).unwrap_or(1)
}

/// The largest quotient of the continued fraction of `a / b`: the smaller, the more evenly multiples of `b` fill a circle of
/// `a`. The largest of all if the two have a common divisor.
fn largest_quotient(mut a: u64, mut b: u64) -> u64 {
    let mut largest = 0;
    while b != 0 {
        largest = largest.max(a / b);
        (a, b) = (b, a % b);
    }
    if a == 1 { largest } else { u64::MAX }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn compile(weights: &[u32]) -> Schedule {
        Schedule::new(weights)
    }

    /// Length of a whole cycle.
    fn cycle(schedule: &Schedule) -> u64 {
        match schedule {
            Schedule::Equal { count } => *count as u64,
            Schedule::Weighted(weighted) => weighted.sum(),
        }
    }

    fn hits(schedule: &Schedule, turns: impl Iterator<Item = u64>, count: usize) -> Vec<u64> {
        let mut hits = vec![0; count];
        turns.for_each(|turn| hits[schedule.turn(turn)] += 1);
        hits
    }

    fn letters(weights: &[u32]) -> String {
        let schedule = compile(weights);
        (0..cycle(&schedule)).map(|turn| char::from(b'a' + schedule.turn(turn) as u8)).collect()
    }

    #[test]
    fn equal_weights_take_turns_in_order_whatever_the_weight() {
        for weight in [1, 7, u32::MAX] {
            assert_eq!(letters(&[weight; 4]), "abcd", "{weight}");
        }
    }

    #[test]
    fn turns_of_a_heavy_endpoint_lie_between_those_of_the_others() {
        // The last two: a queue of deadlines that all begin together would give ten turns to the first one after another.
        for (weights, turns) in [
            (&[1, 3][..], "abbb"),
            (&[10, 30], "abbb"),
            (&[1, 1, 2], "acbc"),
            (&[4, 1, 1, 1, 1], "acaeabad"),
            (&[10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "afakacahaeajabagadai"),
        ] {
            assert_eq!(letters(weights), turns, "{weights:?}");
        }
    }

    proptest! {
        #[test]
        fn over_a_cycle_every_endpoint_has_exactly_its_weight(weights in vec(1u32..=400, 1..40), start in 0u64..u64::from(u32::MAX)) {
            let schedule = compile(&weights);
            let cycle = cycle(&schedule);
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            let exact: Vec<u64> = weights.iter().map(|&weight| u64::from(weight) * cycle / sum).collect();
            prop_assert_eq!(hits(&schedule, start..start + cycle, weights.len()), exact);
        }

        #[test]
        fn in_any_stretch_nobody_is_far_from_its_share(
            weights in prop_oneof![vec(1u32..=100, 2..40), vec(1u32..=4000, 2..40)], start in 0u64..1 << 32, length in 1u64..4_000,
        ) {
            let schedule = compile(&weights);
            let written = matches!(&schedule, Schedule::Weighted(Weighted { turns: Turns::Written(_), .. }));
            let far = if written { 2.5 } else { 8.0 };
            let sum: u64 = weights.iter().copied().map(u64::from).sum();
            for (weight, got) in weights.iter().zip(hits(&schedule, start..start + length, weights.len())) {
                let share = length as f64 * f64::from(*weight) / sum as f64;
                prop_assert!((got as f64 - share).abs() < far, "{} for a share of {}", got, share);
            }
        }

        #[test]
        fn every_draw_falls_on_the_endpoint_that_owns_it(weights in vec(1u32..=50, 2..20)) {
            let Schedule::Weighted(weighted) = compile(&weights) else { return Ok(()) };
            for draw in 0..weighted.sum() {
                let (from, to) = weighted.draws_of(weighted.at(draw));
                prop_assert!((from..to).contains(&draw));
            }
        }

        #[test]
        fn any_weights_have_turns(weights in vec(1u32.., 0..20), turn: u64) {
            prop_assert!(compile(&weights).turn(turn) < weights.len().max(1));
        }
    }
}
