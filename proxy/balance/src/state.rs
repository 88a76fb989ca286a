//! What is counted for an endpoint, by all workers together. Counters are statistics and hints for the choice, not locks, so
//! every access is relaxed; its record for outlier detection is exact, and kept by [`crate::outlier`]. Names follow Envoy's
//! host statistics: `rq_active`, `rq_total`, `rq_error`.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::keepalive::KeepAliveLimit;
use crate::outlier::Standing;

/// Shared state of one endpoint of one cluster; it outlives the [`crate::EndpointSet`] that it is in, by address. On cache
/// lines of its own, since workers write to it with every request.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EndpointState {
    active: AtomicU32,
    total: AtomicU64,
    failed: AtomicU64,
    pub(crate) standing: Standing,
    keep_alive: KeepAliveLimit,
}

impl EndpointState {
    /// Whether outlier detection has ejected it.
    pub fn is_ejected(&self) -> bool {
        self.standing.is_ejected()
    }

    /// How long its connections may be idle and be used again.
    pub fn keep_alive(&self) -> &KeepAliveLimit {
        &self.keep_alive
    }

    /// Attempts under way.
    pub fn active(&self) -> u32 {
        self.active.load(Relaxed)
    }

    /// Attempts begun so far.
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    /// Attempts that failed or were answered with a status of 500 or more.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Counts an attempt as begun, and as active until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> ActiveRequest {
        self.active.fetch_add(1, Relaxed);
        self.total.fetch_add(1, Relaxed);
        ActiveRequest { state: Arc::clone(self) }
    }
}

/// An attempt under way at an endpoint: it stays active until this is dropped, in whatever way the exchange ends.
#[derive(Debug)]
#[must_use = "an attempt that is dropped at once does not count as active"]
pub struct ActiveRequest {
    state: Arc<EndpointState>,
}

impl ActiveRequest {
    /// Counts the attempt as failed; at most once an attempt.
    pub fn record_failure(&self) {
        self.state.failed.fetch_add(1, Relaxed);
    }
}

impl Deref for ActiveRequest {
    type Target = EndpointState;

    fn deref(&self) -> &EndpointState {
        &self.state
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.state.active.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_active_until_its_guard_is_dropped() {
        let state = Arc::new(EndpointState::default());
        let first = state.begin();
        let second = state.begin();
        assert_eq!((second.active(), second.total()), (2, 2));
        first.record_failure();
        drop(first);
        assert_eq!((state.active(), state.total(), state.failed()), (1, 2, 1));
        drop(second);
        assert_eq!((state.active(), state.total(), state.failed()), (0, 2, 1));
    }

    #[test]
    fn endpoints_do_not_share_a_cache_line() {
        assert_eq!(std::mem::align_of::<EndpointState>(), 128);
        assert_eq!(std::mem::size_of::<EndpointState>(), 128);
    }
}
