//! Coarse deadlines on a wheel: a request sets a number instead of a timer. Limits are seconds long (PROMISES.md, section 2);
//! a deadline fires up to one tick late, never early.
//!
//! The wheel has a spoke for each tick of a turn. A deadline is entered on a spoke only if it would else be visited too late, so
//! that one which is moved on again and again, as by requests on a busy connection, is entered once in its whole length.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

/// How often [`Deadlines::tick`] is called.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// Tick that no clock reaches: nothing is armed.
const NEVER: u32 = u32::MAX;
/// Ticks of one turn. What is due later is looked at once a turn.
const SPOKES: usize = 64;

/// All deadlines of a worker.
pub(crate) struct Deadlines {
    now: Cell<u32>,
    /// 1 if limits are half as long as usual.
    halvings: Cell<u8>,
    slots: RefCell<Slab<Rc<Slot>>>,
    /// Keys of slots to look at in a tick.
    spokes: [RefCell<Vec<usize>>; SPOKES],
}

struct Slot {
    due: Cell<u32>,
    /// The tick of the entry on a spoke that counts; others are leftovers.
    visited: Cell<u32>,
    waker: Cell<Option<Waker>>,
}

impl Default for Deadlines {
    fn default() -> Self {
        let spokes = std::array::from_fn(|_| RefCell::default());
        Self { now: Cell::new(0), halvings: Cell::new(0), slots: RefCell::default(), spokes }
    }
}

impl Deadlines {
    /// Advances the clock by one [`TICK`] and wakes whoever is late.
    pub(crate) fn tick(&self) {
        let now = self.now.get().saturating_add(1);
        self.now.set(now);
        let Some(spoke) = self.spokes.get(now as usize % SPOKES) else { return };
        let keys = spoke.take();
        for &key in &keys {
            let slot = self.slots.borrow().get(key).map(Rc::clone);
            if let Some(slot) = slot.filter(|slot| slot.visited.get() == now) {
                self.visit(key, &slot, now);
            }
        }
    }

    fn visit(&self, key: usize, slot: &Slot, now: u32) {
        slot.visited.set(NEVER);
        if slot.due.get() > now {
            self.enter(key, slot);
        } else if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }

    /// Has the slot looked at when it is due, in the next tick if that has come already, or after a turn if that is earlier.
    fn enter(&self, key: usize, slot: &Slot) {
        let now = self.now.get();
        let due = slot.due.get().clamp(now.saturating_add(1), now.saturating_add(SPOKES as u32 - 1));
        if slot.due.get() < slot.visited.get() && due < slot.visited.get() {
            slot.visited.set(due);
            if let Some(spoke) = self.spokes.get(due as usize % SPOKES) {
                spoke.borrow_mut().push(key);
            }
        }
    }

    /// Wakes every holder of a deadline, late or not: something else has happened that concerns them all.
    pub(crate) fn wake_all(&self) {
        for (_, slot) in self.slots.borrow().iter() {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// The tick in which a time of `limit` from now has surely passed.
    #[inline]
    pub(crate) fn after(&self, limit: Duration) -> u32 {
        let millis = limit.as_secs().saturating_mul(1000).saturating_add(u64::from(limit.subsec_millis()));
        let ticks = (millis >> self.halvings.get()).div_ceil(TICK.as_millis() as u64);
        // One more, since the current tick has begun already.
        self.now.get().saturating_add(u32::try_from(ticks).unwrap_or(NEVER)).saturating_add(1)
    }

    /// The current tick.
    pub(crate) fn now(&self) -> u32 {
        self.now.get()
    }

    /// Makes limits half as long from now on, or as long as they are again.
    pub(crate) fn halve(&self, halved: bool) {
        self.halvings.set(halved.into());
    }

    /// Whether that tick has come.
    pub(crate) fn has_come(&self, tick: u32) -> bool {
        tick <= self.now.get()
    }
}

/// One deadline, unarmed at first; gone when dropped.
pub(crate) struct Deadline {
    deadlines: Rc<Deadlines>,
    slot: Rc<Slot>,
    key: usize,
}

impl Deadline {
    /// A deadline on the clock of `deadlines`.
    pub(crate) fn new(deadlines: &Rc<Deadlines>) -> Self {
        let slot = Rc::new(Slot { due: Cell::new(NEVER), visited: Cell::new(NEVER), waker: Cell::new(None) });
        let key = deadlines.slots.borrow_mut().insert(Rc::clone(&slot));
        Self { deadlines: Rc::clone(deadlines), slot, key }
    }

    /// Arms it anew: it passes `limit` from now.
    #[inline]
    pub(crate) fn set(&self, limit: Duration) {
        self.set_at(self.deadlines.after(limit));
    }

    /// Arms it anew: it passes with `tick`, which [`Deadlines::after`] has told.
    pub(crate) fn set_at(&self, tick: u32) {
        self.slot.due.set(tick);
        if tick < self.slot.visited.get() {
            self.deadlines.enter(self.key, &self.slot);
        }
    }

    /// Arms it if it isn't armed, and says so.
    pub(crate) fn set_once(&self, limit: Duration) -> bool {
        let is_unarmed = self.slot.due.get() == NEVER;
        if is_unarmed {
            self.set(limit);
        }
        is_unarmed
    }

    /// Disarms it.
    pub(crate) fn clear(&self) {
        self.slot.due.set(NEVER);
    }

    /// Whether it has passed.
    pub(crate) fn passed(&self) -> bool {
        self.deadlines.has_come(self.slot.due.get())
    }

    /// Whether it has passed; if not, whoever polls is woken when it does.
    pub(crate) fn has_passed(&self, cx: &std::task::Context<'_>) -> bool {
        self.register(cx.waker());
        self.passed()
    }

    /// Whoever polls with this waker is woken when it passes.
    pub(crate) fn register(&self, waker: &Waker) {
        match self.slot.waker.take() {
            Some(known) if known.will_wake(waker) => self.slot.waker.set(Some(known)),
            _ => self.slot.waker.set(Some(waker.clone())),
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.deadlines.slots.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_deadline_passes_after_its_limit_and_at_most_one_tick_later() {
        let deadlines = Rc::new(Deadlines::default());
        let deadline = Deadline::new(&deadlines);
        let count = Arc::new(Count::default());
        deadline.set(TICK * 3);
        deadline.register(&Arc::clone(&count).into());
        for _ in 0..3 {
            deadlines.tick();
            assert!(!deadline.passed());
        }
        deadlines.tick();
        assert!(deadline.passed());
        assert_eq!(count.0.load(Relaxed), 1);
    }

    #[test]
    fn limits_are_half_as_long_while_they_are_halved() {
        let deadlines = Rc::new(Deadlines::default());
        deadlines.halve(true);
        assert_eq!(deadlines.after(TICK * 8), 5);
        deadlines.halve(false);
        assert_eq!(deadlines.after(TICK * 8), 9);
    }

    #[test]
    fn a_cleared_deadline_never_passes_and_setting_once_keeps_the_first() {
        let deadlines = Rc::new(Deadlines::default());
        let deadline = Deadline::new(&deadlines);
        deadline.set_once(TICK);
        deadlines.tick();
        deadline.set_once(TICK * 100);
        deadlines.tick();
        assert!(deadline.passed());
        deadline.clear();
        deadlines.tick();
        assert!(!deadline.passed());
    }

    #[test]
    fn a_dropped_deadline_leaves_nothing_behind() {
        let deadlines = Rc::new(Deadlines::default());
        drop(Deadline::new(&deadlines));
        assert!(deadlines.slots.borrow().is_empty());
    }

    #[test]
    fn a_deadline_of_many_turns_passes_in_its_tick_and_one_that_is_moved_on_is_entered_once() {
        let deadlines = Rc::new(Deadlines::default());
        let deadline = Deadline::new(&deadlines);
        let count = Arc::new(Count::default());
        let entries = || deadlines.spokes.iter().map(|spoke| spoke.borrow().len()).sum::<usize>();
        deadline.register(&Arc::clone(&count).into());
        for _ in 0..300 {
            deadline.set(TICK * 200);
            assert!(entries() <= 1);
            deadlines.tick();
        }
        for _ in 0..199 {
            deadlines.tick();
            assert!(!deadline.passed());
        }
        assert_eq!(count.0.load(Relaxed), 0);
        deadlines.tick();
        assert!(deadline.passed());
        assert_eq!((count.0.load(Relaxed), entries()), (1, 0));
    }

    #[test]
    fn a_deadline_whose_tick_has_come_wakes_in_the_next_one_and_can_be_armed_again() {
        for behind in [0, 1, 5] {
            let deadlines = Rc::new(Deadlines::default());
            (0..70).for_each(|_| deadlines.tick());
            let deadline = Deadline::new(&deadlines);
            let count = Arc::new(Count::default());
            deadline.set_at(deadlines.now() - behind);
            deadline.register(&Arc::clone(&count).into());
            deadlines.tick();
            assert_eq!(count.0.load(Relaxed), 1, "{behind}");
            deadline.set(TICK * 3);
            deadline.register(&Arc::clone(&count).into());
            (0..4).for_each(|_| deadlines.tick());
            assert_eq!(count.0.load(Relaxed), 2, "{behind}");
        }
    }

    #[test]
    fn a_deadline_that_is_moved_forward_passes_then_and_its_old_entry_means_nothing() {
        let deadlines = Rc::new(Deadlines::default());
        let deadline = Deadline::new(&deadlines);
        deadline.set(TICK * 20);
        deadline.set(TICK * 2);
        for _ in 0..3 {
            deadlines.tick();
        }
        assert!(deadline.passed());
        deadline.set(TICK * 30);
        for _ in 0..30 {
            deadlines.tick();
            assert!(!deadline.passed());
        }
        deadlines.tick();
        assert!(deadline.passed());
    }
}
