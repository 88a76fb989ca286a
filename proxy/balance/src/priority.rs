//! Which priority a request goes to. Source: Envoy, "Priority levels" and "Panic threshold", whose whole percents are
//! followed: the load of a priority is min(100, healthy percent * 1.4), what is left goes to the next one.

/// Source: Envoy, `overprovisioning_factor`, which Istio leaves at its default of 140 percent.
const OVERPROVISIONING_PERCENT: u64 = 140;

/// How many endpoints a priority has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Population {
    /// Ready, ejected or not.
    pub(crate) members: u64,
    /// Ready and not ejected.
    pub(crate) healthy: u64,
}

/// Shares of the priorities, and which of them are so bad that ejections are ignored.
#[derive(Debug)]
pub(crate) struct Loads {
    /// Percent, made up for with overprovisioning; by priority.
    health: Box<[u64]>,
    /// Percent of the requests; they sum up to 100.
    load: Box<[u64]>,
    panic: Box<[bool]>,
    /// The only priority that gets anything, if it is one only.
    only: Option<usize>,
}

/// Priorities as bits; those beyond the 64th are never excluded.
pub(crate) type PrioritySet = u64;

impl Loads {
    /// Shares of priorities with these populations. Below `min_health_percent` of healthy endpoints a priority ignores
    /// ejections; 0: never.
    pub(crate) fn new(populations: &[Population], min_health_percent: u8) -> Self {
        let health: Box<[u64]> = populations.iter().map(Population::health).collect();
        let availability = health.iter().sum::<u64>().min(100);
        let in_panic = |population: &Population| availability < 100 && population.below(min_health_percent);
        let panic: Box<[bool]> = populations.iter().map(in_panic).collect();
        let load = if min_health_percent > 0 && panic.iter().all(|&panic| panic) {
            by_members(populations)
        } else {
            by_health(&health, availability)
        };
        let only = load.iter().position(|&load| load >= 100);
        Self { health, load, panic, only }
    }

    /// The priority of a request. As in Envoy, the same key that picks an endpoint by its hash picks the priority.
    pub(crate) fn pick(&self, key: impl FnOnce() -> u64) -> usize {
        match self.only {
            Some(only) => only,
            None => nth_percent(self.load.iter().copied(), key() % 100),
        }
    }

    /// The priority of a retry that shall not go to those of `excluded`; `None` if no other one has healthy endpoints.
    /// Source: Envoy, `previous_priorities`.
    pub(crate) fn pick_beside(&self, excluded: PrioritySet, key: impl FnOnce() -> u64) -> Option<usize> {
        let open = |(priority, &health): (usize, &u64)| if contains(excluded, priority) { 0 } else { health };
        let health = self.health.iter().enumerate().map(open);
        let availability = health.clone().sum::<u64>().min(100);
        let first = health.clone().position(|health| health > 0)?;
        let load = health.map(|health| health * 100 / availability);
        let rounded_off = 100u64.saturating_sub(load.clone().sum());
        let load = load.enumerate().map(|(priority, load)| if priority == first { load + rounded_off } else { load });
        Some(nth_percent(load, key() % 100))
    }

    /// Whether this priority ignores ejections.
    pub(crate) fn is_in_panic(&self, priority: usize) -> bool {
        self.panic.get(priority).copied().unwrap_or(false)
    }
}

/// Whether `set` has this priority.
fn contains(set: PrioritySet, priority: usize) -> bool {
    bit(priority) & set != 0
}

/// The set of one priority.
pub(crate) fn bit(priority: usize) -> PrioritySet {
    u32::try_from(priority).ok().and_then(|priority| 1u64.checked_shl(priority)).unwrap_or(0)
}

impl Population {
    /// Percent of what it could take, made up for with overprovisioning.
    pub(crate) fn health(&self) -> u64 {
        (OVERPROVISIONING_PERCENT * self.healthy).checked_div(self.members).unwrap_or(0).min(100)
    }

    fn below(&self, percent: u8) -> bool {
        let percent = u64::from(percent.min(100));
        // None at all are zero percent healthy.
        if self.members == 0 { percent > 0 } else { self.healthy * 100 < percent * self.members }
    }
}

/// From the first one on each takes what it can of 100 percent; what rounding leaves goes to the first that has anybody.
fn by_health(health: &[u64], availability: u64) -> Box<[u64]> {
    let mut left = 100;
    let mut load: Box<[u64]> = health
        .iter()
        .map(|health| {
            let taken = (health * 100).checked_div(availability).unwrap_or(0).min(left);
            left -= taken;
            taken
        })
        .collect();
    let first = health.iter().position(|&health| health > 0).unwrap_or(0);
    if let Some(first) = load.get_mut(first) {
        *first += left;
    }
    load
}

/// All are in panic: by the number of endpoints, whatever their health.
fn by_members(populations: &[Population]) -> Box<[u64]> {
    let members = |population: &Population| population.members;
    let all: u64 = populations.iter().map(members).sum();
    let mut load: Box<[u64]> =
        populations.iter().map(|population| (100 * population.members).checked_div(all).unwrap_or(0)).collect();
    let left = 100u64.saturating_sub(load.iter().sum());
    let first = populations.iter().position(|population| population.members > 0).unwrap_or(0);
    if let Some(first) = load.get_mut(first) {
        *first += left;
    }
    load
}

/// Whose percent the `n`-th is, from 0.
fn nth_percent(loads: impl Iterator<Item = u64>, n: u64) -> usize {
    let mut sum = 0;
    let mut priority = 0;
    for (number, load) in loads.enumerate() {
        sum += load;
        priority = number;
        if n < sum {
            break;
        }
    }
    priority
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn populations(described: &[(u64, u64)]) -> Vec<Population> {
        described.iter().map(|&(healthy, members)| Population { members, healthy }).collect()
    }

    fn loads(described: &[(u64, u64)], min_health_percent: u8) -> Loads {
        Loads::new(&populations(described), min_health_percent)
    }

    #[test]
    fn a_priority_keeps_140_percent_of_its_health_and_the_next_one_gets_the_rest() {
        for (described, load) in [
            (&[(10, 10), (10, 10)][..], &[100, 0][..]),
            (&[(8, 10), (10, 10)], &[100, 0]),
            (&[(5, 10), (10, 10)], &[70, 30]),
            (&[(0, 10), (10, 10)], &[0, 100]),
            (&[(0, 10), (0, 10), (1, 1)], &[0, 0, 100]),
            // Not enough for all requests: in proportion, the rounding to the first.
            (&[(1, 4), (1, 4)], &[50, 50]),
            (&[(1, 5), (1, 10), (1, 10)], &[50, 25, 25]),
            (&[(1, 7), (1, 7), (1, 7)], &[34, 33, 33]),
            // Nobody: the first one gets it all, and has no endpoint.
            (&[(0, 4), (0, 4)], &[100, 0]),
            (&[], &[]),
        ] {
            let loads = loads(described, 0);
            assert_eq!(&*loads.load, load, "{described:?}");
            assert!((0..described.len()).all(|priority| !loads.is_in_panic(priority)));
        }
    }

    #[test]
    fn below_the_minimum_health_ejections_are_ignored() {
        for (healthy, minimum, panic) in [(1, 50, true), (2, 50, false), (0, 0, false), (0, 1, true), (3, 80, false)] {
            assert_eq!(loads(&[(healthy, 4)], minimum).is_in_panic(0), panic, "{healthy} of 4, minimum {minimum}");
        }
    }

    #[test]
    fn no_priority_panics_while_others_can_take_all_requests() {
        let loads = loads(&[(1, 10), (10, 10)], 50);
        assert!(!loads.is_in_panic(0));
        assert_eq!(*loads.load, [14, 86]);
    }

    #[test]
    fn when_all_panic_requests_follow_the_number_of_endpoints() {
        let loads = loads(&[(1, 20), (0, 10)], 50);
        assert!(loads.is_in_panic(0) && loads.is_in_panic(1));
        assert_eq!(*loads.load, [67, 33]);
        // One that has no endpoints gets none, and keeps nobody from panicking.
        assert_eq!(*self::loads(&[(0, 0), (0, 10)], 50).load, [0, 100]);
    }

    #[test]
    fn a_retry_goes_beside_the_priorities_that_were_tried() {
        let loads = loads(&[(10, 10), (1, 10), (10, 10)], 0);
        let beside = |excluded, key| loads.pick_beside(excluded, || key);
        assert_eq!(beside(bit(0), 13), Some(1));
        assert_eq!(beside(bit(0), 14), Some(2));
        assert_eq!(beside(bit(0) | bit(2), 99), Some(1));
        assert_eq!(beside(bit(0) | bit(1) | bit(2), 0), None);
    }

    proptest! {
        #[test]
        fn loads_sum_up_to_100_and_go_only_where_somebody_is(
            described in vec((0u64..20, 0u64..20), 1..5), minimum in 0u8..=100, key: u64,
        ) {
            let described: Vec<_> = described.into_iter().map(|(healthy, more)| (healthy, healthy + more)).collect();
            let loads = loads(&described, minimum);
            prop_assert_eq!(loads.load.iter().sum::<u64>(), 100);
            let picked = loads.pick(|| key);
            let (healthy, members) = described[picked];
            let somebody = if loads.is_in_panic(picked) { members } else { healthy };
            let anybody = described.iter().any(|&(healthy, members)| if minimum > 0 { members > 0 } else { healthy > 0 });
            // A priority in panic may be passed over by none, but one without endpoints only if there is no endpoint at all.
            prop_assert!(somebody > 0 || !anybody || minimum > 0);
        }
    }
}
