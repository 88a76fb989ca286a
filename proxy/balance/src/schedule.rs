//! Weights, compiled: whose turn it is, and on whom a random draw falls. Positions count the endpoints that may be picked.
//!
//! Turns are exact: over a whole cycle each endpoint has exactly as many as its weight says (divided by the greatest common
//! divisor of all), and they are spread evenly over it. Envoy keeps a heap of deadlines for each worker; here the order is
//! a function of the turn's number, so that all workers share it and a change of endpoints costs the data path nothing.

/// The longest cycle that is written out turn by turn: 16 KiB, and 0.2 ms to make.
const WRITTEN_CYCLE_MAX: u64 = 4096;

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
    turns: Turns,
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
    pub(crate) fn new(weights: impl ExactSizeIterator<Item = u32> + Clone) -> Self {
        let divisor = weights.clone().map(u64::from).fold(0, greatest_common_divisor).max(1);
        if weights.clone().all(|weight| u64::from(weight) == divisor) {
            return Self::Equal { count: weights.len() };
        }
        let weights: Vec<u64> = weights.map(|weight| u64::from(weight) / divisor).collect();
        let mut sum = 0;
        let upper_bounds = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        let turns = if sum <= WRITTEN_CYCLE_MAX {
            Turns::Written(write_cycle(&weights))
        } else {
            Turns::Strided { stride: stride(sum) }
        };
        Self::Weighted(Weighted { upper_bounds, turns })
    }

    /// The position whose turn it is.
    pub(crate) fn turn(&self, turn: u64) -> usize {
        match self {
            Self::Equal { count } => (turn % (*count).max(1) as u64) as usize,
            Self::Weighted(weighted) => weighted.turn(turn),
        }
    }
}

impl Weighted {
    /// Sum of the weights.
    pub(crate) fn sum(&self) -> u64 {
        self.upper_bounds.last().copied().unwrap_or(1)
    }

    /// The position on which `draw` falls, for a draw below the sum.
    pub(crate) fn at(&self, draw: u64) -> usize {
        self.upper_bounds.partition_point(|&bound| bound <= draw)
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

fn stride(sum: u64) -> u64 {
    let golden = ((u128::from(sum) * u128::from(GOLDEN)) >> 64) as u64;
    (golden.max(1)..).find(|&stride| greatest_common_divisor(stride, sum) == 1).unwrap_or(1)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
