//! Tests of [`super`].

use std::io;

use config_model::model::RetryConditions as On;
use proptest::prelude::*;

use super::*;
use crate::outcome::{GRPC_CANCELLED, GRPC_UNAVAILABLE};

const GET: Replay = Replay { idempotent: true, body_available: true };
const POST: Replay = Replay { idempotent: false, body_available: true };
const BASE: Duration = Duration::from_millis(25);
const LIMIT: Duration = Duration::from_secs(1);

fn policy(attempts: u32, conditions: On) -> RetryPolicy {
    RetryPolicy {
        attempts,
        per_try_timeout: None,
        conditions,
        status_codes: Vec::new(),
        remote_localities: false,
        ignore_previous_hosts: true,
        back_off: BASE,
    }
}

fn default_policy(attempts: u32) -> RetryPolicy {
    policy(attempts, On::ISTIO_DEFAULT)
}

fn on(word: &str) -> On {
    On::from_word(word).unwrap()
}

fn answered(status: u16, grpc_status: Option<u32>) -> AttemptOutcome {
    AttemptOutcome::Answered { status, grpc_status, rate_limited: false }
}

fn refused() -> AttemptOutcome {
    AttemptOutcome::Failed(AttemptError::ConnectFailed { reason: io::ErrorKind::ConnectionRefused })
}

fn judge_first(policy: &RetryPolicy, outcome: &AttemptOutcome, replay: Replay) -> Verdict {
    RetryState::new(policy).judge(outcome, replay, 0)
}

fn is_retried(conditions: On, outcome: &AttemptOutcome) -> bool {
    matches!(judge_first(&policy(2, conditions), outcome, POST), Verdict::Retry { .. })
}

#[test]
fn the_default_policy_retries_what_nobody_acted_on_and_two_grpc_statuses() {
    let retry = Verdict::Retry { after: Duration::ZERO };
    let failed = AttemptOutcome::Failed;
    let table = [
        (refused(), retry),
        (failed(AttemptError::ConnectTimeout { limit: LIMIT }), retry),
        (failed(AttemptError::HandshakeFailed { reason: "".into() }), retry),
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
        (failed(AttemptError::PerTryTimeout { limit: LIMIT }), Verdict::Final),
        (failed(AttemptError::Overflow), Verdict::Final),
    ];
    for (outcome, verdict) in table {
        assert_eq!(judge_first(&default_policy(2), &outcome, POST), verdict, "{outcome:?}");
    }
}

#[test]
fn each_condition_holds_for_what_envoy_says() {
    let failed = AttemptOutcome::Failed;
    let reset = failed(AttemptError::ClosedBeforeHead);
    let timeout = failed(AttemptError::PerTryTimeout { limit: LIMIT });
    let table = [
        ("5xx", answered(500, None), true),
        ("5xx", answered(599, None), true),
        ("5xx", answered(499, None), false),
        ("5xx", reset.clone(), true),
        ("5xx", refused(), true),
        ("5xx", timeout.clone(), true),
        ("gateway-error", answered(500, None), false),
        ("gateway-error", answered(502, None), true),
        ("gateway-error", answered(504, None), true),
        ("gateway-error", answered(505, None), false),
        ("gateway-error", timeout.clone(), true),
        ("gateway-error", reset.clone(), true),
        ("reset", reset.clone(), true),
        ("reset", timeout.clone(), true),
        ("reset", refused(), true),
        ("reset", answered(503, None), false),
        ("reset-before-request", reset.clone(), false),
        ("reset-before-request", refused(), true),
        ("connect-failure", refused(), true),
        ("connect-failure", reset, false),
        ("connect-failure", timeout, false),
        ("retriable-4xx", answered(409, None), true),
        ("retriable-4xx", answered(404, None), false),
        ("refused-stream", failed(AttemptError::RefusedStream), true),
        ("refused-stream", failed(AttemptError::StreamReset), false),
        ("deadline-exceeded", answered(200, Some(4)), true),
        ("resource-exhausted", answered(200, Some(8)), true),
        ("internal", answered(200, Some(13)), true),
        ("internal", answered(200, Some(14)), false),
        ("unavailable", answered(503, None), false),
    ];
    for (word, outcome, retried) in table {
        assert_eq!(is_retried(on(word), &outcome), retried, "{word}: {outcome:?}");
    }
}

#[test]
fn numbers_are_status_codes() {
    let mut policy = policy(1, On::STATUS_CODES);
    policy.status_codes = vec![429, 418];
    for (status, retried) in [(429, true), (418, true), (503, false)] {
        let verdict = judge_first(&policy, &answered(status, None), GET);
        assert_eq!(matches!(verdict, Verdict::Retry { .. }), retried, "{status}");
    }
    policy.conditions = On::default();
    assert_eq!(judge_first(&policy, &answered(429, None), GET), Verdict::Final, "the list alone does nothing");
}

#[test]
fn a_rate_limited_answer_is_retried_only_by_its_own_word() {
    let limited = AttemptOutcome::Answered { status: 503, grpc_status: None, rate_limited: true };
    assert!(!is_retried(on("5xx"), &limited));
    assert!(is_retried(on("envoy-ratelimited"), &limited));
    assert!(!is_retried(on("envoy-ratelimited"), &answered(503, None)));
}

#[test]
fn some_ends_are_never_retried() {
    let all = (0..15).fold(On::default(), |all, number| {
        let words = ["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream"];
        all.with(on(words[number % words.len()]))
    });
    for error in
        [AttemptError::Overflow, AttemptError::RequestTimeout { limit: LIMIT }, AttemptError::Stalled { limit: LIMIT }]
    {
        assert!(!is_retried(all, &AttemptOutcome::Failed(error.clone())), "{error}");
    }
}

#[test]
fn attempts_is_the_number_of_retries_and_the_end_of_them_is_told_apart() {
    let policy = default_policy(2);
    let mut state = RetryState::new(&policy);
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
    assert_eq!(judge_first(&default_policy(0), &refused(), GET), Verdict::Final);
}

#[test]
fn a_stale_connection_is_replaced_once_and_never_for_a_post_that_went_out() {
    let reused = AttemptOutcome::Failed(AttemptError::ClosedReused);
    let policy = default_policy(0);
    let mut state = RetryState::new(&policy);
    assert_eq!(state.judge(&reused, GET, 0), Verdict::Resend);
    assert_eq!(state.attempt(), 1);
    assert_eq!(state.judge(&reused, GET, 0), Verdict::Final);
    assert_eq!(judge_first(&default_policy(2), &reused, POST), Verdict::Final);
}

#[test]
fn a_request_that_never_went_out_is_sent_again_whatever_its_method() {
    let unsent = AttemptOutcome::Failed(AttemptError::ClosedUnsent);
    let policy = default_policy(1);
    let mut state = RetryState::new(&policy);
    assert_eq!(state.judge(&unsent, POST, 0), Verdict::Resend);
    // From then on it is a connection that could not be had.
    assert!(matches!(state.judge(&unsent, POST, 0), Verdict::Retry { .. }));
    assert_eq!(state.judge(&unsent, POST, 0), Verdict::Exhausted);
}

#[test]
fn nothing_is_sent_again_without_its_body() {
    let lost = Replay { idempotent: true, body_available: false };
    for outcome in [refused(), AttemptOutcome::Failed(AttemptError::ClosedReused)] {
        assert_eq!(judge_first(&default_policy(2), &outcome, lost), Verdict::Final);
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
fn the_back_off_grows_to_ten_times_its_base() {
    for (retry, times) in [(1, 1), (2, 3), (3, 7), (4, 10), (40, 10), (u32::MAX, 10)] {
        for base in [BASE, Duration::from_secs(2)] {
            assert_eq!(back_off(base, retry, u64::MAX), base * times, "retry {retry}");
            assert_eq!(back_off(base, retry, 0), Duration::ZERO, "retry {retry}");
        }
    }
}

fn any_outcome() -> impl Strategy<Value = AttemptOutcome> {
    let errors = vec![
        AttemptError::ConnectTimeout { limit: LIMIT },
        AttemptError::ClosedUnsent,
        AttemptError::ClosedReused,
        AttemptError::ClosedBeforeHead,
        AttemptError::RefusedStream,
        AttemptError::PerTryTimeout { limit: LIMIT },
        AttemptError::Overflow,
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
        eager: bool,
    ) {
        let policy = policy(attempts, if eager { on("5xx").with(On::ISTIO_DEFAULT) } else { On::ISTIO_DEFAULT });
        let mut state = RetryState::new(&policy);
        let mut sent = 1;
        for (outcome, idempotent, draw) in outcomes {
            match state.judge(&outcome, Replay { idempotent, body_available: true }, draw) {
                Verdict::Retry { after } => prop_assert!(after <= BASE * 10),
                Verdict::Resend => {}
                Verdict::Final | Verdict::Exhausted => break,
            }
            sent += 1;
        }
        prop_assert!(sent <= attempts + 2);
    }

    #[test]
    fn by_default_what_may_have_been_acted_on_is_never_sent_twice_unless_idempotent(outcome in any_outcome(), draw: u64) {
        let AttemptOutcome::Failed(error) = &outcome else { return Ok(()) };
        let policy = default_policy(9);
        let verdict = RetryState::new(&policy).judge(&outcome, POST, draw);
        if !error.is_unsent() && *error != AttemptError::RefusedStream {
            prop_assert_eq!(verdict, Verdict::Final);
        }
    }
}
