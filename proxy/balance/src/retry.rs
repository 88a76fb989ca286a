//! Whether a failed attempt is followed by another one. Start at [`RetryState::judge`].
//!
//! Two rules. The first is Istio's default policy, `connect-failure,refused-stream,unavailable,cancelled`: the last two are
//! gRPC statuses in a response head, so a plain 503 and a connection that breaks after the request was sent are final. The
//! second is our own: a request that met a stale kept connection is sent once more, over a new one, if that can do no harm.

use std::time::Duration;

use crate::outcome::{AttemptError, AttemptOutcome, GRPC_CANCELLED, GRPC_UNAVAILABLE};

/// Back-off before the first retry is below this. Source: Envoy, `retry_back_off.base_interval`.
const BACK_OFF_BASE: Duration = Duration::from_millis(25);
/// Back-off is never above this: ten times the base.
const BACK_OFF_MAX: Duration = Duration::from_millis(250);

/// What is left of a request's tries.
#[derive(Debug, Clone)]
pub struct RetryState {
    attempts_left: u32,
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
    /// Try again after this time, at another endpoint if there is one.
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

impl RetryState {
    /// For a request whose route allows so many further tries.
    pub fn new(attempts: u32) -> Self {
        Self { attempts_left: attempts, retries: 0, resent: false }
    }

    /// The number of the attempt under way, from 1: header `x-envoy-attempt-count`. A resend is no attempt of its own.
    pub fn attempt(&self) -> u32 {
        self.retries + 1
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
        if !is_retried_by_default(outcome) {
            return Verdict::Final;
        }
        if self.attempts_left == 0 {
            // Without retries there is no limit that could be exceeded.
            return if self.retries == 0 { Verdict::Final } else { Verdict::Exhausted };
        }
        self.attempts_left -= 1;
        self.retries += 1;
        Verdict::Retry { after: back_off(self.retries, draw) }
    }
}

fn is_stale(outcome: &AttemptOutcome, replay: Replay) -> bool {
    match outcome {
        AttemptOutcome::Failed(AttemptError::ClosedUnsent) => true,
        AttemptOutcome::Failed(AttemptError::ClosedReused) => replay.idempotent,
        _ => false,
    }
}

fn is_retried_by_default(outcome: &AttemptOutcome) -> bool {
    match outcome {
        AttemptOutcome::Answered { grpc_status, .. } => matches!(grpc_status, Some(GRPC_CANCELLED | GRPC_UNAVAILABLE)),
        AttemptOutcome::Failed(error) => !error.may_have_acted(),
    }
}

/// Uniform in `[0, 25 ms * (2^n - 1)]` before the n-th retry, at most 250 ms.
fn back_off(retry: u32, draw: u64) -> Duration {
    let factor = 1u32.checked_shl(retry).map_or(u32::MAX, |power| power - 1);
    let limit = BACK_OFF_BASE.saturating_mul(factor).min(BACK_OFF_MAX);
    let micros = (u128::from(draw) * (limit.as_micros() + 1)) >> 64;
    Duration::from_micros(micros as u64)
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;

    const GET: Replay = Replay { idempotent: true, body_available: true };
    const POST: Replay = Replay { idempotent: false, body_available: true };

    fn answered(status: u16, grpc_status: Option<u32>) -> AttemptOutcome {
        AttemptOutcome::Answered { status, grpc_status }
    }

    fn refused() -> AttemptOutcome {
        AttemptOutcome::Failed(AttemptError::ConnectFailed { reason: io::ErrorKind::ConnectionRefused })
    }

    fn judge_first(outcome: &AttemptOutcome, replay: Replay) -> Verdict {
        RetryState::new(2).judge(outcome, replay, 0)
    }

    #[test]
    fn the_default_policy_retries_what_nobody_acted_on_and_two_grpc_statuses() {
        let retry = Verdict::Retry { after: Duration::ZERO };
        let failed = AttemptOutcome::Failed;
        let table = [
            (refused(), retry),
            (failed(AttemptError::ConnectTimeout { limit: BACK_OFF_MAX }), retry),
            (failed(AttemptError::RefusedStream), retry),
            (answered(200, Some(GRPC_UNAVAILABLE)), retry),
            (answered(200, Some(GRPC_CANCELLED)), retry),
            // The word `unavailable` in the policy is the gRPC status, not 503.
            (answered(503, None), Verdict::Final),
            (answered(200, Some(0)), Verdict::Final),
            (answered(200, Some(13)), Verdict::Final),
            (failed(AttemptError::ClosedBeforeHead), Verdict::Final),
            (failed(AttemptError::StreamReset), Verdict::Final),
            (failed(AttemptError::Malformed { reason: "".into() }), Verdict::Final),
            (failed(AttemptError::CutBody), Verdict::Final),
        ];
        for (outcome, verdict) in table {
            assert_eq!(judge_first(&outcome, POST), verdict, "{outcome:?}");
        }
    }

    #[test]
    fn attempts_is_the_number_of_retries_and_the_end_of_them_is_told_apart() {
        let mut state = RetryState::new(2);
        assert_eq!(state.attempt(), 1);
        for attempt in [2, 3] {
            assert!(matches!(state.judge(&refused(), GET, 0), Verdict::Retry { .. }));
            assert_eq!(state.attempt(), attempt);
        }
        assert_eq!(state.judge(&refused(), GET, 0), Verdict::Exhausted);
        assert_eq!(state.attempt(), 3);
    }

    #[test]
    fn attempts_zero_switches_retries_off() {
        assert_eq!(RetryState::new(0).judge(&refused(), GET, 0), Verdict::Final);
    }

    #[test]
    fn a_stale_connection_is_replaced_once_and_never_for_a_post_that_went_out() {
        let reused = AttemptOutcome::Failed(AttemptError::ClosedReused);
        let mut state = RetryState::new(0);
        assert_eq!(state.judge(&reused, GET, 0), Verdict::Resend);
        assert_eq!(state.attempt(), 1);
        assert_eq!(state.judge(&reused, GET, 0), Verdict::Final);
        assert_eq!(judge_first(&reused, POST), Verdict::Final);
    }

    #[test]
    fn a_request_that_never_went_out_is_sent_again_whatever_its_method() {
        let unsent = AttemptOutcome::Failed(AttemptError::ClosedUnsent);
        let mut state = RetryState::new(1);
        assert_eq!(state.judge(&unsent, POST, 0), Verdict::Resend);
        // From then on it is a connection that could not be had.
        assert!(matches!(state.judge(&unsent, POST, 0), Verdict::Retry { .. }));
        assert_eq!(state.judge(&unsent, POST, 0), Verdict::Exhausted);
    }

    #[test]
    fn nothing_is_sent_again_without_its_body() {
        let lost = Replay { idempotent: true, body_available: false };
        for outcome in [refused(), AttemptOutcome::Failed(AttemptError::ClosedReused)] {
            assert_eq!(judge_first(&outcome, lost), Verdict::Final);
        }
    }

    #[test]
    fn idempotent_methods_are_those_of_the_rfc() {
        for (method, idempotent) in [
            ("GET", true),
            ("HEAD", true),
            ("PUT", true),
            ("DELETE", true),
            ("POST", false),
            ("PATCH", false),
            ("get", false),
        ] {
            assert_eq!(Replay::is_idempotent(method), idempotent, "{method}");
        }
    }

    #[test]
    fn the_back_off_grows_to_its_limit() {
        for (retry, micros) in
            [(1, 25_000), (2, 75_000), (3, 175_000), (4, 250_000), (40, 250_000), (u32::MAX, 250_000)]
        {
            assert_eq!(back_off(retry, u64::MAX), Duration::from_micros(micros), "retry {retry}");
            assert_eq!(back_off(retry, 0), Duration::ZERO, "retry {retry}");
        }
    }

    fn any_outcome() -> impl Strategy<Value = AttemptOutcome> {
        let errors = vec![
            AttemptError::ConnectTimeout { limit: BACK_OFF_MAX },
            AttemptError::ClosedUnsent,
            AttemptError::ClosedReused,
            AttemptError::ClosedBeforeHead,
            AttemptError::RefusedStream,
            AttemptError::CutBody,
        ];
        prop_oneof![
            proptest::sample::select(errors).prop_map(AttemptOutcome::Failed),
            (100u16..600, proptest::option::of(0u32..20)).prop_map(|(status, grpc)| answered(status, grpc)),
        ]
    }

    proptest! {
        #[test]
        fn a_request_is_sent_at_most_its_attempts_and_two_times_more(
            outcomes in proptest::collection::vec((any_outcome(), any::<bool>(), any::<u64>()), 1..40),
            attempts in 0u32..6,
        ) {
            let mut state = RetryState::new(attempts);
            let mut sent = 1;
            for (outcome, idempotent, draw) in outcomes {
                match state.judge(&outcome, Replay { idempotent, body_available: true }, draw) {
                    Verdict::Retry { after } => prop_assert!(after <= BACK_OFF_MAX),
                    Verdict::Resend => {}
                    Verdict::Final | Verdict::Exhausted => break,
                }
                sent += 1;
            }
            prop_assert!(sent <= attempts + 2);
        }

        #[test]
        fn what_may_have_been_acted_on_is_never_sent_twice_unless_idempotent(outcome in any_outcome(), draw: u64) {
            let AttemptOutcome::Failed(error) = &outcome else { return Ok(()) };
            let verdict = RetryState::new(9).judge(&outcome, POST, draw);
            if error.may_have_acted() {
                prop_assert_eq!(verdict, Verdict::Final);
            }
        }
    }
}
