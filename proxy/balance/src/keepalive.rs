//! How long a back end keeps an idle connection. Learned, since hardly any of them says so: a connection that is reused at the
//! very moment at which its back end gives it up costs an error or a second try. Our own; Envoy leaves it to `idleTimeout`.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Nothing is known.
const UNKNOWN: u64 = u64::MAX;

/// A connection that was closed at a younger idle age says nothing about a limit: its back end is going, or had an error.
const TELLING_AGE: Duration = Duration::from_secs(1);

/// For so long what was seen is held to be a limit. A back end that was only restarted has closed its connections at whatever age
/// they had, and is not to be believed for ever.
const BELIEVED_FOR: Duration = Duration::from_mins(10);

/// What times are counted from.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The idle age beyond which connections to one endpoint are not used again: 80 percent of the shortest that its back end has
/// told, or has shown lately. An endpoint that leaves takes it along.
#[derive(Debug)]
pub struct KeepAliveLimit {
    /// The shortest that was told, in microseconds.
    told: AtomicU64,
    seen: AtomicU64,
}

/// The shortest idle age at which a connection was closed, and when that was seen.
#[derive(Clone, Copy)]
struct Seen {
    millis: u32,
    /// Seconds since the beginning.
    at: u32,
}

impl Seen {
    fn new(age: Duration, now: Instant) -> Self {
        let millis = u32::try_from(age.as_millis()).unwrap_or(u32::MAX);
        Self { millis, at: now.saturating_duration_since(*BEGINNING).as_secs() as u32 }
    }

    /// What `bits` say, if that is still believed.
    fn of(bits: u64, now: Instant) -> Option<Self> {
        if bits == UNKNOWN {
            return None;
        }
        let seen = Self { millis: (bits >> 32) as u32, at: bits as u32 };
        let since = Self::new(Duration::ZERO, now).at.saturating_sub(seen.at);
        (u64::from(since) < BELIEVED_FOR.as_secs()).then_some(seen)
    }

    fn bits(self) -> u64 {
        u64::from(self.millis) << 32 | u64::from(self.at)
    }
}

impl Default for KeepAliveLimit {
    fn default() -> Self {
        Self { told: AtomicU64::new(UNKNOWN), seen: AtomicU64::new(UNKNOWN) }
    }
}

impl KeepAliveLimit {
    /// The back end closed a connection that had been idle for so long. Ages below a second are not taken for a limit.
    pub fn closed_by_peer(&self, idle: Duration, now: Instant) {
        let seen = Seen::new(idle, now);
        let is_news = Seen::of(self.seen.load(Relaxed), now).is_none_or(|known| seen.millis <= known.millis);
        // Of two workers that learn at once one is as good as the other.
        if idle >= TELLING_AGE && is_news {
            self.seen.store(seen.bits(), Relaxed);
        }
    }

    /// The back end said so itself: `Keep-Alive: timeout=`.
    pub fn told(&self, timeout: Duration) {
        let micros = u64::try_from(timeout.as_micros()).unwrap_or(UNKNOWN);
        // Read first: most answers teach nothing new, and the line is shared by all workers.
        if micros < self.told.load(Relaxed) {
            self.told.fetch_min(micros, Relaxed);
        }
    }

    /// The longest idle age at which a connection may be used again; `None` if nothing is known.
    pub fn reusable_for(&self, now: Instant) -> Option<Duration> {
        let told = Some(self.told.load(Relaxed)).filter(|told| *told != UNKNOWN).map(Duration::from_micros);
        let seen = Seen::of(self.seen.load(Relaxed), now).map(|seen| Duration::from_millis(seen.millis.into()));
        let shortest = told.into_iter().chain(seen).min()?;
        Some(shortest / 5 * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_limit_is_four_fifths_of_the_shortest_seen() {
        let (limit, now) = (KeepAliveLimit::default(), Instant::now());
        assert_eq!(limit.reusable_for(now), None);
        for (idle, reusable) in [(60, 48), (75, 48), (5, 4), (30, 4)] {
            limit.closed_by_peer(seconds(idle), now);
            assert_eq!(limit.reusable_for(now), Some(seconds(reusable)), "after {idle} s");
        }
    }

    #[test]
    fn what_the_back_end_says_counts_like_what_it_does() {
        let (limit, now) = (KeepAliveLimit::default(), Instant::now());
        limit.told(seconds(5));
        assert_eq!(limit.reusable_for(now), Some(seconds(4)));
        limit.closed_by_peer(seconds(10), now);
        assert_eq!(limit.reusable_for(now), Some(seconds(4)));
        limit.told(Duration::ZERO);
        assert_eq!(limit.reusable_for(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_back_end_that_goes_down_does_not_teach_a_limit() {
        let (limit, now) = (KeepAliveLimit::default(), Instant::now());
        limit.closed_by_peer(Duration::from_millis(3), now);
        assert_eq!(limit.reusable_for(now), None);
    }

    #[test]
    fn what_is_not_seen_again_is_forgotten_and_what_is_stays() {
        let (limit, start) = (KeepAliveLimit::default(), Instant::now());
        limit.closed_by_peer(seconds(2), start);
        limit.closed_by_peer(seconds(2), start + BELIEVED_FOR / 2);
        assert!(limit.reusable_for(start + BELIEVED_FOR).is_some());
        let later = start + 2 * BELIEVED_FOR;
        assert_eq!(limit.reusable_for(later), None);
        limit.closed_by_peer(seconds(60), later);
        assert_eq!(limit.reusable_for(later), Some(seconds(48)));
    }
}
