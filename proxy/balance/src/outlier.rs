//! Which endpoints are left alone for a while because they fail. Source: Istio, `outlierDetection`; Envoy, "Outlier
//! detection". Start at [`crate::EndpointSet::report`].
//!
//! An endpoint is ejected at the very report that fills its count, by whichever worker makes it, and never more of them than
//! `maxEjectionPercent` allows, however many workers report at once. It comes back in a sweep.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config_model::model::OutlierDetection;

use crate::limits::Ejections;
use crate::outcome::Report;

/// Longest ejection, unless the first one is longer. Source: Envoy, `max_ejection_time`.
const EJECTION_TIME_MAX: Duration = Duration::from_mins(5);

/// In the set, and picked.
const HEALTHY: u32 = 0;
/// Somebody is about to eject it: for a moment nobody else does.
const CLAIMED: u32 = 1;
/// In the set, but left alone.
const EJECTED: u32 = 2;
/// Not in the set any more, or not ready: it is neither ejected nor counted.
const AWAY: u32 = 3;

/// Which count was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EjectionCause {
    /// `consecutive5xxErrors`
    Consecutive5xx,
    /// `consecutiveGatewayErrors`
    ConsecutiveGatewayErrors,
    /// `consecutiveLocalOriginFailures`
    ConsecutiveLocalOriginFailures,
}

/// What a report has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutlierEvent {
    /// The endpoint gets no more requests for now: `ejections_enforced_total`.
    Ejected {
        /// Why.
        cause: EjectionCause,
        /// Its time away is this many times the base.
        times: u32,
    },
    /// It would have been ejected, if that were not too many: `ejections_overflow`.
    Refused {
        /// Why.
        cause: EjectionCause,
    },
}

/// An endpoint's record.
#[derive(Debug)]
pub(crate) struct Standing {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    phase: AtomicU32,
    /// How many times the base the last ejection lasts, or the next one at least.
    times: AtomicU32,
    /// Of an ejected endpoint since when; of another one when it came back.
    since: Mutex<Option<Instant>>,
}

impl EjectionCause {
    /// As Envoy names it in metrics and its event log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayErrors => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailures => "consecutive_local_origin_failure",
        }
    }
}

impl Default for Standing {
    fn default() -> Self {
        let zero = || AtomicU32::new(0);
        Self {
            consecutive_5xx: zero(),
            consecutive_gateway: zero(),
            consecutive_local: zero(),
            phase: AtomicU32::new(AWAY),
            times: zero(),
            since: Mutex::new(None),
        }
    }
}

impl Ejections {
    /// Counts one more ejection, if there may be one.
    fn admit(&self, percent_max: u8) -> bool {
        let allowed = u64::from(percent_max.min(100)) * u64::from(self.members.load(SeqCst));
        let one_more = |ejected: u32| (100 * (u64::from(ejected) + 1) <= allowed).then_some(ejected + 1);
        self.ejected.fetch_update(SeqCst, SeqCst, one_more).is_ok()
    }

    fn release(&self) {
        self.ejected.fetch_sub(1, SeqCst);
    }
}

impl Standing {
    pub(crate) fn is_ejected(&self) -> bool {
        self.phase.load(SeqCst) == EJECTED
    }

    /// Counts the end of an attempt, and ejects the endpoint if that is one too many.
    pub(crate) fn report(
        &self,
        report: Report,
        rules: &OutlierDetection,
        ejections: &Ejections,
        now: Instant,
    ) -> Option<OutlierEvent> {
        let split = rules.split_external_local_origin_errors;
        let full = match report {
            Report::Nothing => [None; 2],
            Report::Unreached if split => [self.count_local(rules), None],
            Report::NoAnswer | Report::TimedOut if split => {
                // That there was a connection has begun the count anew.
                reset(&self.consecutive_local);
                [self.count_local(rules), None]
            }
            Report::Unreached | Report::NoAnswer => self.count_status(503, rules),
            Report::TimedOut => self.count_status(504, rules),
            Report::Answer(status) => {
                if split {
                    reset(&self.consecutive_local);
                }
                self.count_status(judged(status, rules), rules)
            }
        };
        if let [None, None] = full {
            return None;
        }
        let events = full.into_iter().flatten().filter_map(|cause| self.eject(cause, rules, ejections, now));
        // Ejected for one cause, it is not there for the other one.
        events.reduce(|first, second| if matches!(first, OutlierEvent::Ejected { .. }) { first } else { second })
    }

    /// Which counts this status has filled.
    #[inline]
    fn count_status(&self, status: u16, rules: &OutlierDetection) -> [Option<EjectionCause>; 2] {
        if !(500..600).contains(&status) {
            reset(&self.consecutive_5xx);
            reset(&self.consecutive_gateway);
            return [None; 2];
        }
        let gateway = (502..=504).contains(&status)
            && is_full(&self.consecutive_gateway, rules.consecutive_gateway_errors.map(u32::from));
        if !(502..=504).contains(&status) {
            reset(&self.consecutive_gateway);
        }
        let any = is_full(&self.consecutive_5xx, rules.consecutive_5xx.map(u32::from));
        [gateway.then_some(EjectionCause::ConsecutiveGatewayErrors), any.then_some(EjectionCause::Consecutive5xx)]
    }

    fn count_local(&self, rules: &OutlierDetection) -> Option<EjectionCause> {
        let limit = rules.consecutive_local_origin_failures.map(u32::from);
        is_full(&self.consecutive_local, limit).then_some(EjectionCause::ConsecutiveLocalOriginFailures)
    }

    fn eject(
        &self,
        cause: EjectionCause,
        rules: &OutlierDetection,
        ejections: &Ejections,
        now: Instant,
    ) -> Option<OutlierEvent> {
        if !self.moves(HEALTHY, CLAIMED) {
            return None;
        }
        if !ejections.admit(rules.max_ejection_percent) {
            self.moves(CLAIMED, HEALTHY);
            return Some(OutlierEvent::Refused { cause });
        }
        let times = self.lengthen(rules);
        *self.since() = Some(now);
        if self.moves(CLAIMED, EJECTED) {
            return Some(OutlierEvent::Ejected { cause, times });
        }
        // It has left the set at this moment.
        ejections.release();
        None
    }

    /// The next ejection lasts once more the base, up to the longest.
    fn lengthen(&self, rules: &OutlierDetection) -> u32 {
        let base = rules.base_ejection_time;
        let times = self.times.load(SeqCst);
        let times = if base.saturating_mul(times) < longest(rules).saturating_add(base) { times + 1 } else { times };
        self.times.store(times, SeqCst);
        times
    }

    /// Brings the endpoint back if its time is over, and says so. One that has been back for an interval has its next ejection
    /// shortened.
    pub(crate) fn sweep(&self, rules: &OutlierDetection, ejections: &Ejections, now: Instant) -> bool {
        let times = self.times.load(SeqCst);
        if times == 0 {
            return false;
        }
        let mut since = self.since();
        let passed = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if !self.is_ejected() {
            if since.is_some() && passed >= rules.interval {
                self.times.store(times - 1, SeqCst);
            }
            return false;
        }
        if passed < rules.base_ejection_time.saturating_mul(times).min(longest(rules)) {
            return false;
        }
        *since = Some(now);
        self.come_back(ejections)
    }

    /// Brings the endpoint back, since nobody may be ejected any more.
    pub(crate) fn pardon(&self, ejections: &Ejections) {
        // Read first: hardly anybody has ever been ejected.
        if self.times.load(SeqCst) != 0 {
            self.times.store(0, SeqCst);
            self.come_back(ejections);
        }
    }

    fn come_back(&self, ejections: &Ejections) -> bool {
        // Old failures don't count against it.
        self.forget_failures();
        let back = self.moves(EJECTED, HEALTHY);
        if back {
            ejections.release();
        }
        back
    }

    /// The endpoint is in the set, and ready.
    pub(crate) fn join(&self) {
        if self.phase.load(SeqCst) == AWAY {
            self.forget_failures();
            self.times.store(0, SeqCst);
            *self.since() = None;
            self.moves(AWAY, HEALTHY);
        }
    }

    /// The endpoint is not in the set any more, or not ready. An ejection ends with that.
    pub(crate) fn leave(&self, ejections: &Ejections) {
        if self.phase.swap(AWAY, SeqCst) == EJECTED {
            ejections.release();
        }
    }

    fn forget_failures(&self) {
        [&self.consecutive_5xx, &self.consecutive_gateway, &self.consecutive_local].into_iter().for_each(reset);
    }

    fn moves(&self, from: u32, to: u32) -> bool {
        self.phase.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        // A time cannot be left half written.
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer's status counts as: where the rules list the statuses that are errors, those are one as 500, and no other is.
/// Source: Envoy, `error_matcher`.
fn judged(status: u16, rules: &OutlierDetection) -> u16 {
    if rules.error_codes.is_empty() { status } else { listed(status, &rules.error_codes) }
}

/// Out of the way of who lists nothing.
#[cold]
fn listed(status: u16, errors: &[u16]) -> u16 {
    if errors.contains(&status) { 500 } else { 200 }
}

fn longest(rules: &OutlierDetection) -> Duration {
    EJECTION_TIME_MAX.max(rules.base_ejection_time)
}

/// Read first: success is what happens nearly always, and then there is nothing to write.
fn reset(count: &AtomicU32) {
    use std::sync::atomic::Ordering::Relaxed;
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

/// Counts one failure more, and says whether that is the last one; then it begins anew.
fn is_full(count: &AtomicU32, limit: Option<u32>) -> bool {
    let Some(limit) = limit else { return false };
    let full = count.fetch_add(1, SeqCst).saturating_add(1) >= limit;
    if full {
        reset(count);
    }
    full
}
