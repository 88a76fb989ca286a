//! How long a back end keeps an idle connection. Learned, since hardly any of them says so: a connection that is reused at the
//! very moment at which its back end gives it up costs an error or a second try. Our own; Envoy leaves it to `idleTimeout`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Nothing is known.
const UNKNOWN: u64 = u64::MAX;

/// A connection that was closed at a younger idle age says nothing about a limit: its back end is going, or had an error.
const TELLING_AGE: Duration = Duration::from_secs(1);

/// The idle age beyond which connections to one endpoint are not used again: 80 percent of the shortest that its back end has
/// shown. It only ever shortens; an endpoint that leaves takes it along.
#[derive(Debug)]
pub struct KeepAliveLimit {
    /// In microseconds.
    shortest: AtomicU64,
}

impl Default for KeepAliveLimit {
    fn default() -> Self {
        Self { shortest: AtomicU64::new(UNKNOWN) }
    }
}

impl KeepAliveLimit {
    /// The back end closed a connection that had been idle for so long. Ages below a second are not taken for a limit.
    pub fn closed_by_peer(&self, idle: Duration) {
        if idle >= TELLING_AGE {
            self.shorten(idle);
        }
    }

    /// The back end said so itself: `Keep-Alive: timeout=`.
    pub fn told(&self, timeout: Duration) {
        self.shorten(timeout);
    }

    /// The longest idle age at which a connection may be used again; `None` if nothing is known.
    pub fn reusable_for(&self) -> Option<Duration> {
        match self.shortest.load(Relaxed) {
            UNKNOWN => None,
            micros => Some(Duration::from_micros(micros / 5 * 4)),
        }
    }

    fn shorten(&self, age: Duration) {
        let micros = u64::try_from(age.as_micros()).unwrap_or(UNKNOWN);
        // Read first: most connections teach nothing new, and the line is shared by all workers.
        if micros < self.shortest.load(Relaxed) {
            self.shortest.fetch_min(micros, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_four_fifths_of_the_shortest_seen() {
        let limit = KeepAliveLimit::default();
        assert_eq!(limit.reusable_for(), None);
        for (idle, reusable) in [(60, 48), (75, 48), (5, 4), (30, 4)] {
            limit.closed_by_peer(Duration::from_secs(idle));
            assert_eq!(limit.reusable_for(), Some(Duration::from_secs(reusable)), "after {idle} s");
        }
    }

    #[test]
    fn what_the_back_end_says_counts_like_what_it_does() {
        let limit = KeepAliveLimit::default();
        limit.told(Duration::from_secs(5));
        assert_eq!(limit.reusable_for(), Some(Duration::from_secs(4)));
        limit.told(Duration::ZERO);
        assert_eq!(limit.reusable_for(), Some(Duration::ZERO));
    }

    #[test]
    fn a_back_end_that_goes_down_does_not_teach_a_limit() {
        let limit = KeepAliveLimit::default();
        limit.closed_by_peer(Duration::from_millis(3));
        assert_eq!(limit.reusable_for(), None);
    }
}
