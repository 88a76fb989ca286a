//! How many events there were of late: in the tenth of a span that is running and the ten before it, so that one counts for at
//! least the span and at most a tenth more. Source: Envoy, `retry_budget.budget_interval`, whose tenths these are.
//!
//! Workers count with one atomic, and nobody has to clear up: a cell that has an old tenth is taken for the new one by whoever
//! counts in it first.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Tenths that count in full.
const SLOTS: u64 = 10;

/// Those, and the one that is running.
const CELLS: usize = 11;

/// A cell's lower half is the count, its upper half the number of its tenth.
const COUNT_BITS: u32 = 32;

/// Events of a span. Without a span none is counted.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Length of a tenth in nanoseconds; 0 for none.
    slot: AtomicU64,
    /// When the first tenth began.
    start: OnceLock<Instant>,
    cells: [AtomicU64; CELLS],
}

impl Window {
    /// Counts over `span` from now on, or not at all. What was counted over another span is forgotten.
    pub(crate) fn set_span(&self, span: Option<Duration>) {
        let slot = span.map_or(0, |span| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX) / SLOTS);
        if self.slot.swap(slot, Relaxed) != slot {
            self.cells.iter().for_each(|cell| cell.store(0, Relaxed));
        }
    }

    /// Whether there is a span.
    pub(crate) fn is_on(&self) -> bool {
        self.slot.load(Relaxed) != 0
    }

    /// Counts an event at `now`.
    pub(crate) fn count(&self, now: Instant) {
        let Some(number) = self.number(now) else { return };
        let Some(cell) = self.cells.get((number % CELLS as u64) as usize) else { return };
        let counted = |value: u64| match value >> COUNT_BITS == number {
            // A count that is full stays so: one more would be a tenth more.
            true if value << COUNT_BITS == u64::MAX << COUNT_BITS => value,
            true => value + 1,
            false => number << COUNT_BITS | 1,
        };
        let _counted = cell.fetch_update(Relaxed, Relaxed, |value| Some(counted(value)));
    }

    /// Events that count at `now`.
    pub(crate) fn sum(&self, now: Instant) -> u64 {
        let Some(number) = self.number(now) else { return 0 };
        let counts = |value: &u64| (number.saturating_sub(SLOTS)..=number).contains(&(value >> COUNT_BITS));
        let cells = self.cells.iter().map(|cell| cell.load(Relaxed)).filter(counts);
        cells.map(|value| value & u64::from(u32::MAX)).sum()
    }

    /// The number of the tenth that is running.
    fn number(&self, now: Instant) -> Option<u64> {
        let start = self.start.get_or_init(|| now);
        let passed = u64::try_from(now.saturating_duration_since(*start).as_nanos()).unwrap_or(u64::MAX);
        Some(passed.checked_div(self.slot.load(Relaxed))? & u64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const SPAN: Duration = Duration::from_millis(100);

    fn window(span: Option<Duration>) -> Window {
        let window = Window::default();
        window.set_span(span);
        window
    }

    #[test]
    fn an_event_counts_for_the_span_and_no_longer_than_a_tenth_beyond_it() {
        let window = window(Some(SPAN));
        let start = Instant::now();
        assert_eq!(window.sum(start), 0);
        let at = |millis| start + Duration::from_millis(millis);
        window.count(at(9));
        window.count(at(10));
        for (millis, sum) in [(10, 2), (109, 2), (110, 1), (119, 1), (120, 0), (10_000, 0)] {
            assert_eq!(window.sum(at(millis)), sum, "after {millis} ms");
        }
    }

    #[test]
    fn another_span_begins_anew_and_none_counts_nothing() {
        let window = window(None);
        let now = Instant::now();
        window.count(now);
        assert!(!window.is_on());
        assert_eq!(window.sum(now), 0);
        window.set_span(Some(SPAN));
        window.count(now);
        window.set_span(Some(SPAN));
        assert_eq!(window.sum(now), 1, "nothing has changed");
        window.set_span(Some(SPAN * 2));
        assert_eq!(window.sum(now), 0);
    }

    proptest! {
        #[test]
        fn the_sum_is_that_of_a_list_of_all_events(steps in vec((0u64..40, any::<bool>()), 1..200)) {
            let window = window(Some(SPAN));
            let start = Instant::now();
            window.count(start);
            let mut events = vec![0];
            let mut millis = 0;
            for (step, is_event) in steps {
                millis += step;
                let now = start + Duration::from_millis(millis);
                if is_event {
                    window.count(now);
                    events.push(millis);
                }
                let counted = events.iter().filter(|&&at| at / 10 + 10 >= millis / 10).count();
                prop_assert_eq!(window.sum(now), counted as u64);
            }
        }
    }
}
