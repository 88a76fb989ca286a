//! Coarse deadlines: one tick serves all connections of a worker, so that a request sets a number instead of a timer.
//! Limits are seconds long (PROMISES.md, section 2); a deadline fires up to one tick late, never early.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use slab::Slab;

/// How often [`Deadlines::tick`] is called.
pub(crate) const TICK: Duration = Duration::from_millis(500);

/// Tick that no clock reaches: nothing is armed.
const NEVER: u32 = u32::MAX;

/// All deadlines of a worker.
#[derive(Default)]
pub(crate) struct Deadlines {
    now: Cell<u32>,
    slots: RefCell<Slab<Rc<Slot>>>,
}

struct Slot {
    due: Cell<u32>,
    waker: Cell<Option<Waker>>,
}

impl Deadlines {
    /// Advances the clock by one [`TICK`] and wakes whoever is late.
    pub(crate) fn tick(&self) {
        let now = self.now.get().saturating_add(1);
        self.now.set(now);
        for (_, slot) in self.slots.borrow().iter() {
            if slot.due.get() <= now
                && let Some(waker) = slot.waker.take()
            {
                waker.wake();
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

    fn after(&self, limit: Duration) -> u32 {
        let ticks = limit.as_millis().div_ceil(TICK.as_millis());
        // One more, since the current tick has begun already.
        self.now.get().saturating_add(u32::try_from(ticks).unwrap_or(NEVER)).saturating_add(1)
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
        let slot = Rc::new(Slot { due: Cell::new(NEVER), waker: Cell::new(None) });
        let key = deadlines.slots.borrow_mut().insert(Rc::clone(&slot));
        Self { deadlines: Rc::clone(deadlines), slot, key }
    }

    /// Arms it anew: it passes `limit` from now.
    pub(crate) fn set(&self, limit: Duration) {
        self.slot.due.set(self.deadlines.after(limit));
    }

    /// Arms it if it isn't armed.
    pub(crate) fn set_once(&self, limit: Duration) {
        if self.slot.due.get() == NEVER {
            self.set(limit);
        }
    }

    /// Disarms it.
    pub(crate) fn clear(&self) {
        self.slot.due.set(NEVER);
    }

    /// Whether it has passed.
    pub(crate) fn passed(&self) -> bool {
        self.slot.due.get() <= self.deadlines.now.get()
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
}
