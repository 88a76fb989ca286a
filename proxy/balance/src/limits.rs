//! What a cluster takes at once, all workers together. Source: Istio, `connectionPool` and `retryBudget`; Envoy, "Circuit
//! breaking". Start at [`ClusterState::try_request`].
//!
//! Where this differs from Envoy: no limit is ever exceeded, also when several workers ask at the same moment.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use config_model::model::{ClusterPolicy, Fraction};

use crate::gate::ConnectionGate;
use crate::window::Window;

/// No budget for retries.
const NO_BUDGET: u32 = u32::MAX;

/// A limit of the cluster was reached: [`crate::AttemptError::Overflow`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cluster takes no more now")]
pub struct Overflow;

/// A counter on cache lines of its own, since workers write to it with every request.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU32);

/// Limits in force, 0 for none. They change with a configuration, and are only read otherwise.
#[derive(Debug)]
struct Limits {
    requests: AtomicU32,
    retries: AtomicU32,
    budget_millionths: AtomicU32,
    budget_minimum: AtomicU32,
}

/// What is counted for a cluster. It outlives its [`crate::EndpointSet`]s: each one hands it on to the next.
#[derive(Debug)]
pub struct ClusterState {
    requests: Counter,
    retries: Counter,
    limits: Limits,
    /// Tries of late, where a budget is a share of those; boxed, as that is rare.
    tries: OnceLock<Box<Window>>,
    connections: Arc<ConnectionGate>,
    /// For [`crate::outlier`].
    pub(crate) ejections: Ejections,
    /// Grows with every ejection and every return, whichever set it was reported to.
    health_version: AtomicU64,
    last_sweep: Mutex<Option<Instant>>,
}

/// How many endpoints are ejected, and of how many.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Ejections {
    pub(crate) ejected: AtomicU32,
    pub(crate) members: AtomicU32,
}

impl Default for ClusterState {
    fn default() -> Self {
        Self {
            requests: Counter::default(),
            retries: Counter::default(),
            limits: Limits {
                requests: AtomicU32::new(0),
                retries: AtomicU32::new(0),
                budget_millionths: AtomicU32::new(NO_BUDGET),
                budget_minimum: AtomicU32::new(0),
            },
            tries: OnceLock::new(),
            connections: Arc::default(),
            ejections: Ejections::default(),
            health_version: AtomicU64::new(0),
            last_sweep: Mutex::new(None),
        }
    }
}

impl ClusterState {
    /// Sets the limits. What is under way beyond a smaller limit stays.
    pub(crate) fn configure(&self, policy: &ClusterPolicy) {
        let limit = |limit: Option<NonZeroU32>| limit.map_or(0, NonZeroU32::get);
        let budget = policy.retry_budget;
        self.limits.requests.store(limit(policy.pool.requests_max), Relaxed);
        self.limits.retries.store(limit(policy.pool.retries_max), Relaxed);
        let millionths = budget.map_or(NO_BUDGET, |budget| budget.share.millionths());
        self.limits.budget_millionths.store(millionths, Relaxed);
        self.limits.budget_minimum.store(budget.map_or(0, |budget| budget.minimum), Relaxed);
        let span = budget.and_then(|budget| budget.interval);
        if span.is_some() || self.tries.get().is_some() {
            self.tries.get_or_init(Box::default).set_span(span);
        }
        self.connections.set_limits(limit(policy.pool.connections_max), limit(policy.pool.pending_max));
    }

    /// Counts a request as active until its permit is dropped, which should be after the last byte of its answer; one that waits
    /// for a connection is active too. An error is answered at once: it has reached `http2MaxRequests`. The clock is read only
    /// where a budget goes by time.
    pub fn try_request(self: &Arc<Self>, clock: impl FnOnce() -> Instant) -> Result<RequestPermit, Overflow> {
        if !within(&self.requests.0, self.limits.requests.load(Relaxed)) {
            return Err(Overflow);
        }
        if let Some(tries) = self.timed_tries() {
            tries.count(clock());
        }
        Ok(RequestPermit { cluster: Arc::clone(self) })
    }

    /// Counts a retry from before its back-off until its permit is dropped, which should be when that try has ended and before
    /// the next one is asked for. Refused beyond the budget, or `maxRetries` if there is no budget.
    pub fn try_retry(self: &Arc<Self>, clock: impl FnOnce() -> Instant) -> Result<RetryPermit, Overflow> {
        let taken = match (self.limits.budget_millionths.load(Relaxed), self.timed_tries()) {
            (NO_BUDGET, _) => within(&self.retries.0, self.limits.retries.load(Relaxed)),
            (millionths, None) => below(&self.retries.0, self.budget(millionths, self.requests().into())),
            (millionths, Some(tries)) => {
                let now = clock();
                let taken = below(&self.retries.0, self.budget(millionths, tries.sum(now)));
                if taken {
                    // As in Envoy each try is a request.
                    tries.count(now);
                }
                taken
            }
        };
        if taken { Ok(RetryPermit { cluster: Arc::clone(self) }) } else { Err(Overflow) }
    }

    /// Retries at once for so many requests, rounded down as in Envoy.
    fn budget(&self, millionths: u32, requests: u64) -> u32 {
        let share = u128::from(requests) * u128::from(millionths) / u128::from(Fraction::ALL.millionths());
        u32::try_from(share).unwrap_or(u32::MAX).max(self.limits.budget_minimum.load(Relaxed))
    }

    /// Tries of late, if the budget is a share of those. Source: `budgetInterval`.
    fn timed_tries(&self) -> Option<&Window> {
        self.tries.get().map(|tries| &**tries).filter(|tries| tries.is_on())
    }

    /// Where connections ask for their place. Source: `maxConnections`, `http1MaxPendingRequests`.
    pub fn connections(&self) -> &Arc<ConnectionGate> {
        &self.connections
    }

    /// Requests under way.
    pub fn requests(&self) -> u32 {
        self.requests.0.load(Relaxed)
    }

    /// Retries under way.
    pub fn retries(&self) -> u32 {
        self.retries.0.load(Relaxed)
    }

    pub(crate) fn health_version(&self) -> u64 {
        self.health_version.load(SeqCst)
    }

    pub(crate) fn health_changed(&self) {
        self.health_version.fetch_add(1, SeqCst);
    }

    /// Whether an interval has passed since this last said so. The first interval begins when it is asked first.
    pub(crate) fn is_sweep_due(&self, interval: Duration, now: Instant) -> bool {
        let mut last = self.last_sweep.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_some_and(|last| now.saturating_duration_since(last) >= interval);
        if due || last.is_none() {
            *last = Some(now);
        }
        due
    }

    /// Endpoints that are ejected.
    pub fn ejected(&self) -> u32 {
        self.ejections.ejected.load(Relaxed)
    }
}

/// Adds one if that stays within `limit`; 0 is none.
pub(crate) fn within(counter: &AtomicU32, limit: u32) -> bool {
    below(counter, if limit == 0 { u32::MAX } else { limit })
}

/// Adds one if there are fewer than `limit`. The order is for the hand-shake of a gate, which must not miss a slot that has
/// just become free; a limit alone would hold under any.
fn below(counter: &AtomicU32, limit: u32) -> bool {
    counter.fetch_update(SeqCst, SeqCst, |count| (count < limit).then_some(count + 1)).is_ok()
}

/// A request under way.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts nothing"]
pub struct RequestPermit {
    cluster: Arc<ClusterState>,
}

/// A retry under way.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once counts nothing"]
pub struct RetryPermit {
    cluster: Arc<ClusterState>,
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.cluster.requests.0.fetch_sub(1, Relaxed);
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.cluster.retries.0.fetch_sub(1, Relaxed);
    }
}
