//! The time of day, which is asked for from time to time and not for each request.

use std::cell::Cell;
use std::time::{Instant, SystemTime};

/// A worker's clock, which [`Clock::set`] sets.
pub(crate) struct Clock {
    /// When it was set, and the time of day then.
    set: Cell<(Instant, SystemTime)>,
    date: Cell<[u8; 29]>,
}

impl Clock {
    /// Set to `now`.
    pub(crate) fn new(now: SystemTime) -> Self {
        let clock = Self { set: Cell::new((Instant::now(), now)), date: Cell::new([b' '; 29]) };
        clock.set(now);
        clock
    }

    /// Sets it to `now`.
    pub(crate) fn set(&self, now: SystemTime) {
        self.set.set((Instant::now(), now));
        if let Ok(text) = httpdate::fmt_http_date(now).as_bytes().try_into() {
            self.date.set(text);
        }
    }

    /// The time of day, as `date` has it, when it was set: `Thu, 26 Nov 2026 04:15:30 GMT`. Source: RFC 9110, 5.6.7.
    pub(crate) fn date(&self) -> [u8; 29] {
        self.date.get()
    }

    /// The time of day at `instant`.
    pub(crate) fn time_at(&self, instant: Instant) -> SystemTime {
        let (set, time) = self.set.get();
        let since = instant.saturating_duration_since(set);
        let time = time.checked_add(since).unwrap_or(time);
        time.checked_sub(set.saturating_duration_since(instant)).unwrap_or(time)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_time_of_day_follows_from_when_the_clock_was_set() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_666_530);
        let clock = Clock::new(time);
        assert_eq!(&clock.date(), b"Thu, 26 Nov 2026 04:15:30 GMT");
        let (set, _) = clock.set.get();
        let second = Duration::from_secs(1);
        for (instant, want) in [(set, time), (set + second, time + second), (set - second, time - second)] {
            assert_eq!(clock.time_at(instant), want);
        }
        clock.set(time + 5 * second);
        assert_eq!(clock.time_at(clock.set.get().0), time + 5 * second);
    }
}
