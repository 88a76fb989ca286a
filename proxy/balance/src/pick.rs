//! Endpoint choice. Source: Istio, `loadBalancer.simple`; Envoy, "Supported load balancers" and "Host selection retry".
//!
//! Where this differs from Envoy: the two candidates of least request are never one endpoint twice; and with unequal weights
//! the candidates are drawn by weight and the one with fewer active requests *per weight* is taken, where Envoy runs a
//! weighted schedule over weight / (active + 1). Both follow the weights when endpoints are idle and settle where active
//! requests are in proportion to weight; this one needs no heap to be kept in order.

use config_model::model::Balancing;

use crate::schedule::{Schedule, Weighted};
use crate::set::{EndpointSet, EntryIndex};

/// How often a pick is repeated because it fell on an endpoint tried before. Source: Istio's default retry policy,
/// `hostSelectionRetryMaxAttempts`.
const RESELECTIONS_MAX: usize = 5;

/// The choice's memory: one for each worker and cluster. It outlives the sets that it picks from.
#[derive(Debug)]
pub struct Picker {
    turn: u64,
}

impl Picker {
    /// A picker whose round robin starts anywhere, as `draw` has it, so that workers don't move in step.
    pub fn new(draw: u64) -> Self {
        // Far from the end of the numbers: a turn that wraps round would break the cycle.
        Self { turn: draw >> 32 }
    }

    /// An endpoint for the next attempt; `None` if none of the set may be picked. Endpoints of `tried`, which are of this
    /// set, are avoided: up to five new picks are made, then any is taken. `draws` yields uniform random numbers.
    pub fn pick(
        &mut self,
        set: &EndpointSet,
        balancing: Balancing,
        draws: &mut impl FnMut() -> u64,
        tried: &[EntryIndex],
    ) -> Option<EntryIndex> {
        let mut chosen = self.pick_once(set, balancing, draws)?;
        for _ in 0..RESELECTIONS_MAX {
            if !tried.contains(&chosen) {
                break;
            }
            chosen = self.pick_once(set, balancing, draws)?;
        }
        Some(chosen)
    }

    fn pick_once(
        &mut self,
        set: &EndpointSet,
        balancing: Balancing,
        draws: &mut impl FnMut() -> u64,
    ) -> Option<EntryIndex> {
        let position = match balancing {
            _ if set.ready_count() < 2 => 0,
            Balancing::RoundRobin => self.next_turn(set.schedule()),
            Balancing::Random | Balancing::RingHash { .. } | Balancing::Maglev { .. } => {
                below(set.ready_count() as u64, draws()) as usize
            }
            Balancing::LeastRequest => match set.schedule() {
                Schedule::Equal { count } => least_of_two(set, *count as u64, draws),
                Schedule::Weighted(weighted) => least_of_two_weighted(set, weighted, draws),
            },
        };
        set.ready(position)
    }

    fn next_turn(&mut self, schedule: &Schedule) -> usize {
        let position = schedule.turn(self.turn);
        self.turn = self.turn.wrapping_add(1);
        position
    }
}

/// The less busy of two different endpoints; the first one drawn if they are equal.
fn least_of_two(set: &EndpointSet, count: u64, draws: &mut impl FnMut() -> u64) -> usize {
    let first = below(count, draws());
    let other = below(count - 1, draws());
    let second = if other < first { other } else { other + 1 };
    let (first, second) = (first as usize, second as usize);
    if set.active(second) < set.active(first) { second } else { first }
}

/// As [`least_of_two`], both drawn by weight, and compared by active requests per weight.
fn least_of_two_weighted(set: &EndpointSet, weighted: &Weighted, draws: &mut impl FnMut() -> u64) -> usize {
    let first = weighted.at(below(weighted.sum(), draws()));
    let (from, to) = weighted.draws_of(first);
    let first_weight = to - from;
    let other = below(weighted.sum() - first_weight, draws());
    let second = weighted.at(if other < from { other } else { other + first_weight });
    let (from, to) = weighted.draws_of(second);
    // Both are at most 32 bits wide. active / weight, without the division.
    let second_load = u64::from(set.active(second)) * first_weight;
    let first_load = u64::from(set.active(first)) * (to - from);
    if second_load < first_load { second } else { first }
}

/// `draw`, uniform over all of `u64`, as a number below `bound`.
fn below(bound: u64, draw: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}
