//! Whether a failed attempt is followed by another one. Start at [`RetryState::judge`].
//!
//! Two rules. The first is the route's policy: a condition of `retryOn` holds and tries are left. Source: Istio, `retries`;
//! Envoy, `x-envoy-retry-on` and the router's retry state. The second is our own: a request that met a stale kept connection
//! is sent once more, over a new one, if that can do no harm.

use std::time::Duration;

use config_model::model::{RetryConditions, RetryPolicy};

use crate::outcome::{AttemptError, AttemptOutcome};

/// Back-off is never above this many times its base. Source: Envoy, `retry_back_off.max_interval`.
const BACK_OFF_FACTOR_MAX: u32 = 10;

/// What is left of a request's tries.
#[derive(Debug, Clone)]
pub struct RetryState<'a> {
    policy: &'a RetryPolicy,
    retries: u32,
    resent: bool,
}

/// What there is to send again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay {
    /// By its method: see [`Replay::is_idempotent`].
    pub idempotent: bool,
    /// Whether the whole body can be sent again: nothing of it was taken from the client, or all that was is still in memory.
    pub body_available: bool,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again after this time, at another endpoint if there is one, if [`crate::ClusterState::try_retry`] grants it.
    /// If it doesn't, the outcome stands, with flag UO.
    Retry {
        /// Back-off.
        after: Duration,
    },
    /// Send again at once, over a new connection, to whichever endpoint: the kept connection was stale.
    Resend,
    /// The outcome stands.
    Final,
    /// The outcome stands, though it would have been tried again if tries were left: flag URX.
    Exhausted,
}

impl Replay {
    /// Methods that may be sent twice. Source: RFC 9110, 9.2.2.
    pub fn is_idempotent(method: &str) -> bool {
        matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }
}

impl<'a> RetryState<'a> {
    /// For a request whose route has this policy.
    pub fn new(policy: &'a RetryPolicy) -> Self {
        Self { policy, retries: 0, resent: false }
    }

    /// The number of the attempt under way, from 1: header `x-envoy-attempt-count`. A resend is no attempt of its own.
    pub fn attempt(&self) -> u32 {
        self.retries.saturating_add(1)
    }

    /// What follows an attempt that ended like this. `draw` is a uniform random number, for the back-off.
    pub fn judge(&mut self, outcome: &AttemptOutcome, replay: Replay, draw: u64) -> Verdict {
        if !replay.body_available {
            return Verdict::Final;
        }
        if !self.resent && is_stale(outcome, replay) {
            self.resent = true;
            return Verdict::Resend;
        }
        if !is_retriable(self.policy, outcome) {
            return Verdict::Final;
        }
        if self.retries >= self.policy.attempts {
            // Without retries there is no limit that could be exceeded.
            return if self.retries == 0 { Verdict::Final } else { Verdict::Exhausted };
        }
        self.retries += 1;
        Verdict::Retry { after: back_off(self.policy.back_off, self.retries, draw) }
    }
}

fn is_stale(outcome: &AttemptOutcome, replay: Replay) -> bool {
    match outcome {
        AttemptOutcome::Failed(AttemptError::ClosedUnsent) => true,
        AttemptOutcome::Failed(AttemptError::ClosedReused) => replay.idempotent,
        _ => false,
    }
}

/// Whether a condition of the policy holds.
fn is_retriable(policy: &RetryPolicy, outcome: &AttemptOutcome) -> bool {
    match outcome {
        // Whatever else it says: who limits a rate doesn't want the request again, unless the operator thinks otherwise.
        AttemptOutcome::Answered { rate_limited: true, .. } => {
            policy.conditions.contains(RetryConditions::RATE_LIMITED)
        }
        AttemptOutcome::Answered { status, grpc_status, .. } => {
            is_retriable_status(policy, *status) || is_retriable_grpc_status(policy.conditions, *grpc_status)
        }
        AttemptOutcome::Failed(error) => is_retriable_error(policy.conditions, error),
    }
}

fn is_retriable_status(policy: &RetryPolicy, status: u16) -> bool {
    let on = |condition| policy.conditions.contains(condition);
    on(RetryConditions::ANY_5XX) && (500..600).contains(&status)
        || on(RetryConditions::GATEWAY_ERROR) && (502..=504).contains(&status)
        || on(RetryConditions::RETRIABLE_4XX) && status == 409
        || on(RetryConditions::STATUS_CODES) && policy.status_codes.contains(&status)
}

fn is_retriable_grpc_status(conditions: RetryConditions, status: Option<u32>) -> bool {
    let condition = match status {
        Some(1) => RetryConditions::CANCELLED,
        Some(4) => RetryConditions::DEADLINE_EXCEEDED,
        Some(8) => RetryConditions::RESOURCE_EXHAUSTED,
        Some(13) => RetryConditions::INTERNAL,
        Some(14) => RetryConditions::UNAVAILABLE,
        _ => return false,
    };
    conditions.contains(condition)
}

/// A break before the head counts as a server's error too, since that is what the client would see of it.
fn is_retriable_error(conditions: RetryConditions, error: &AttemptError) -> bool {
    let on = |condition| conditions.contains(condition);
    match error {
        // The limit of a cluster is no better a moment later, and a request's time is over.
        AttemptError::Overflow | AttemptError::RequestTimeout { .. } | AttemptError::Stalled { .. } => return false,
        AttemptError::RefusedStream if on(RetryConditions::REFUSED_STREAM) => return true,
        _ => {}
    }
    error.is_unsent() && (on(RetryConditions::CONNECT_FAILURE) || on(RetryConditions::RESET_BEFORE_REQUEST))
        || [RetryConditions::RESET, RetryConditions::ANY_5XX, RetryConditions::GATEWAY_ERROR].into_iter().any(on)
}

/// Uniform in `[0, base * (2^n - 1)]` before the n-th retry, at most ten times the base. Source: Envoy, "jittered exponential
/// back-off".
fn back_off(base: Duration, retry: u32, draw: u64) -> Duration {
    let factor = 1u32.checked_shl(retry).map_or(u32::MAX, |power| power - 1).min(BACK_OFF_FACTOR_MAX);
    let limit = base.saturating_mul(factor);
    let micros = (u128::from(draw) * (limit.as_micros() + 1)) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
