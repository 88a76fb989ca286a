//! Endpoint choice. Source: Istio, `loadBalancer`; Envoy, "Supported load balancers" and "Host selection retry".
//!
//! Where this differs from Envoy: the two candidates of least request are never one endpoint twice; and with unequal weights
//! the candidates are drawn by weight and the one with fewer active requests *per weight* is taken, where Envoy runs a
//! weighted schedule over weight / (active + 1). Both follow the weights when endpoints are idle and settle where active
//! requests are in proportion to weight; this one needs no heap to be kept in order.

use std::sync::Arc;

use config_model::model::Balancing;

use crate::blocks::EntryIndex;
use crate::priority::{PrioritySet, bit};
use crate::schedule::{Schedule, Weighted};
use crate::set::EndpointSet;
use crate::view::{Group, Level, View};

/// How often a pick is repeated because it fell on an endpoint tried before. Source: Istio's default retry policy,
/// `hostSelectionRetryMaxAttempts`.
const RESELECTIONS_MAX: usize = 5;

/// After so many tries their priorities are avoided, and again after as many. Source: Istio, `retryRemoteLocalities`, which
/// becomes Envoy's `previous_priorities` with this `update_frequency`.
const TRIES_PER_PRIORITY: u32 = 2;

/// What a request asks of a pick.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Of what the request is hashed by; `None` if it has nothing of it. See [`crate::RequestHash`].
    pub hash: Option<u64>,
    /// Endpoints of this set that were tried, in order.
    pub tried: &'a [EntryIndex],
    /// Whether they are avoided: five new picks are made, then any is taken. With consistent hashing each is the next one in
    /// the table. Source: `retryIgnorePreviousHosts`, which Istio has off for hashed requests unless a rule sets it.
    pub avoid_tried: bool,
    /// Whether priorities that were tried are avoided after each second try. Not with consistent hashing, as in Envoy.
    /// Source: `retryRemoteLocalities`.
    pub avoid_tried_priorities: bool,
}

impl Wish<'_> {
    /// A first try.
    pub fn first(hash: Option<u64>) -> Self {
        Self { hash, tried: &[], avoid_tried: true, avoid_tried_priorities: false }
    }
}

/// The choice's memory: one for each worker and cluster. It outlives the sets that it picks from.
#[derive(Debug)]
pub struct Picker {
    view: Arc<View>,
    /// Whose turn it is, by group.
    turns: Vec<u64>,
    /// Where turns of a new group begin.
    start: u64,
}

impl Picker {
    /// A picker whose round robin starts anywhere, as `draw` has it, so that workers don't move in step.
    pub fn new(draw: u64) -> Self {
        // Far from the end of the numbers: a turn that wraps round would break the cycle.
        Self { view: Arc::new(View::empty()), turns: Vec::new(), start: draw >> 32 }
    }

    /// An endpoint for the next attempt; `None` if none of the set may be picked. `draws` yields uniform random numbers.
    /// As long as nothing has changed this allocates nothing, and reads of what others write only the number of the view and,
    /// with least request, the load of two endpoints.
    pub fn pick(&mut self, set: &EndpointSet, draws: &mut impl FnMut() -> u64, wish: Wish<'_>) -> Option<EntryIndex> {
        self.follow(set);
        let Self { view, turns, .. } = self;
        let excluded = if wish.avoid_tried_priorities { excluded_priorities(set, view, wish.tried) } else { 0 };
        let mut choice = Choice { view, turns, balancing: set.rules().balancing, excluded, draws };
        let avoided = if wish.avoid_tried { wish.tried } else { &[] };
        let mut chosen = choice.pick(wish.hash, 0)?;
        for number in 1..=RESELECTIONS_MAX {
            if !avoided.contains(&chosen) {
                break;
            }
            chosen = choice.pick(wish.hash, number)?;
        }
        Some(chosen)
    }

    /// Lets go of what it knows of another set, whose endpoints may be gone, if it has not picked from `set` yet.
    #[inline]
    pub fn follow(&mut self, set: &EndpointSet) {
        if self.view.id() != set.view_id() {
            self.look_anew(set);
        }
    }

    #[cold]
    fn look_anew(&mut self, set: &EndpointSet) {
        self.view = set.view();
        self.turns.resize(self.view.group_count(), self.start);
    }
}

/// Priorities that a further try avoids; none of them if nobody would be left.
fn excluded_priorities(set: &EndpointSet, view: &View, tried: &[EntryIndex]) -> PrioritySet {
    let (mut excluded, mut seen, mut count) = (0, 0, 0);
    for index in tried {
        seen |= bit(set.get(*index).map_or(0, |entry| set.layout().priority_of(entry)));
        count += 1;
        if count == TRIES_PER_PRIORITY {
            (excluded, count) = (seen, 0);
            if view.loads.pick_beside(excluded, || 0).is_none() {
                (excluded, seen) = (0, 0);
            }
        }
    }
    excluded
}

/// One choice among those of a view.
struct Choice<'a, D> {
    view: &'a View,
    turns: &'a mut [u64],
    balancing: Balancing,
    excluded: PrioritySet,
    draws: &'a mut D,
}

impl<D: FnMut() -> u64> Choice<'_, D> {
    fn is_hashed(&self) -> bool {
        matches!(self.balancing, Balancing::RingHash { .. } | Balancing::Maglev { .. })
    }

    /// `number` counts the picks of one try, from 0.
    fn pick(&mut self, hash: Option<u64>, number: usize) -> Option<EntryIndex> {
        if self.is_hashed() {
            // A request without a key goes anywhere. The key decides on the priority too, so that it stays there.
            let key = hash.unwrap_or_else(&mut *self.draws);
            return self.view.level(self.view.loads.pick(|| key))?.hashed.as_ref()?.pick(key, number);
        }
        let level = self.view.level(self.priority())?;
        let group = self.group(level)?;
        let position = self.position(group);
        group.members.get(position).copied()
    }

    fn priority(&mut self) -> usize {
        let beside = match self.excluded {
            0 => None,
            excluded => self.view.loads.pick_beside(excluded, &mut *self.draws),
        };
        beside.unwrap_or_else(|| self.view.loads.pick(&mut *self.draws))
    }

    fn group<'v>(&mut self, level: &'v Level) -> Option<&'v Group> {
        match &level.shares {
            _ if level.groups.len() < 2 => level.groups.first(),
            Schedule::Equal { count } => level.groups.get(below(*count as u64, (self.draws)()) as usize),
            Schedule::Weighted(shares) => level.groups.get(shares.at(below(shares.sum(), (self.draws)()))),
        }
    }

    fn position(&mut self, group: &Group) -> usize {
        let count = group.members.len() as u64;
        match self.balancing {
            _ if count < 2 => 0,
            Balancing::RoundRobin => self.next_turn(group),
            Balancing::LeastRequest => match &group.schedule {
                Schedule::Equal { count } => least_of_two(self.view, group, *count as u64, self.draws),
                Schedule::Weighted(weighted) => least_of_two_weighted(self.view, group, weighted, self.draws),
            },
            Balancing::Random | Balancing::RingHash { .. } | Balancing::Maglev { .. } => {
                below(count, (self.draws)()) as usize
            }
        }
    }

    fn next_turn(&mut self, group: &Group) -> usize {
        let Some(turn) = self.turns.get_mut(group.number) else { return 0 };
        let position = group.schedule.turn(*turn);
        *turn = turn.wrapping_add(1);
        position
    }
}

/// Attempts under way at the endpoint at `position`.
fn active(view: &View, group: &Group, position: usize) -> u64 {
    group.members.get(position).map_or(0, |&index| view.active(index).into())
}

/// The less busy of two different endpoints; the first one drawn if they are equal.
fn least_of_two(view: &View, group: &Group, count: u64, draws: &mut impl FnMut() -> u64) -> usize {
    let first = below(count, draws());
    let other = below(count - 1, draws());
    let second = if other < first { other } else { other + 1 };
    let (first, second) = (first as usize, second as usize);
    if active(view, group, second) < active(view, group, first) { second } else { first }
}

/// As [`least_of_two`], both drawn by weight, and compared by active requests per weight.
fn least_of_two_weighted(view: &View, group: &Group, weighted: &Weighted, draws: &mut impl FnMut() -> u64) -> usize {
    let first = weighted.at(below(weighted.sum(), draws()));
    let (from, to) = weighted.draws_of(first);
    let first_weight = to - from;
    let other = below(weighted.sum() - first_weight, draws());
    let second = weighted.at(if other < from { other } else { other + first_weight });
    let (from, to) = weighted.draws_of(second);
    // Both are at most 32 bits wide. active / weight, without the division.
    let second_load = active(view, group, second) * first_weight;
    let first_load = active(view, group, first) * (to - from);
    if second_load < first_load { second } else { first }
}

/// `draw`, uniform over all of `u64`, as a number below `bound`.
fn below(bound: u64, draw: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}
