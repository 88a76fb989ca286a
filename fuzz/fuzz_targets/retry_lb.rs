//! Whatever the endpoints, their weights, priorities and limits, and the outcomes of attempts: only healthy endpoints are
//! picked, never more are ejected than allowed, no request is sent more often than its policy allows, what may have had an
//! effect is not repeated unless the policy asks for it, and every count comes back to nothing.

#![no_main]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arbitrary::Arbitrary;
use balance::{
    AttemptError, AttemptOutcome, EndpointSet, OutlierEvent, Picker, Replay, RetryState, SetRules, Verdict, Wish,
};
use config_model::model::{
    Balancing, ClusterPolicy, ConnectionPool, Endpoint, EndpointAddress, Health, Locality, OutlierDetection,
    RetryConditions, RetryPolicy, Workload,
};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    balancing: u8,
    endpoints: Vec<(u8, u16, bool)>,
    changed: Vec<(u8, u16, bool)>,
    max_ejection_percent: u8,
    min_health_percent: u8,
    retries_max: u8,
    draws: Vec<u64>,
    requests: Vec<Request>,
}

#[derive(Debug, Arbitrary)]
struct Request {
    attempts: u8,
    retry_on: u16,
    hash: Option<u64>,
    idempotent: bool,
    remote_localities: bool,
    /// Seconds since the request before.
    later: u8,
    /// Of each attempt, with the draw for the back-off after it.
    outcomes: Vec<(Outcome, u64)>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Outcome {
    Answered(u16, Option<u8>),
    ConnectTimeout,
    ConnectFailed,
    ClosedUnsent,
    ClosedReused,
    ClosedBeforeHead,
    RefusedStream,
    StreamReset,
    Malformed,
    Stalled,
    PerTryTimeout,
    Overflow,
}

fuzz_target!(|input: Input| {
    let workload = workload();
    let mut now = Instant::now();
    let build = |described: &[_], previous: Option<&EndpointSet>| {
        EndpointSet::new(endpoints(described, &workload), rules(&input), previous, now)
    };
    let first = build(&input.endpoints, None);
    let set = build(&input.changed, Some(&first));
    check_survival(&first, &set);
    let mut draws = input.draws.iter().copied().cycle();
    let mut draw = || draws.next().unwrap_or(0);
    let mut picker = Picker::new(draw());
    for request in &input.requests {
        now += Duration::from_secs(request.later.into());
        set.tick(now);
        serve(&set, &mut picker, &mut draw, request, now);
        let ejected = set.entries().filter(|entry| entry.state.is_ejected()).count();
        assert_eq!(set.cluster().ejected() as usize, ejected);
    }
    assert!(set.entries().all(|entry| entry.state.active() == 0));
    assert_eq!((set.cluster().requests(), set.cluster().retries()), (0, 0));
});

fn rules(input: &Input) -> SetRules {
    let outliers = OutlierDetection {
        consecutive_5xx: NonZeroU32::new(2),
        consecutive_gateway_errors: NonZeroU32::new(1),
        consecutive_local_origin_failures: None,
        split_external_local_origin_errors: false,
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_percent: input.max_ejection_percent,
        min_health_percent: input.min_health_percent,
        error_codes: Vec::new(),
    };
    let pool = ConnectionPool { retries_max: NonZeroU32::new(input.retries_max.into()), ..ConnectionPool::default() };
    let balancing = match input.balancing % 5 {
        0 => Balancing::RoundRobin,
        1 => Balancing::LeastRequest,
        2 => Balancing::Random,
        3 => Balancing::RingHash { minimum_ring_size: 64 },
        _ => Balancing::Maglev { table_size: 251 },
    };
    SetRules {
        balancing,
        policy: Arc::new(ClusterPolicy { pool, outliers: Some(outliers), ..ClusterPolicy::default() }),
    }
}

fn retry_policy(request: &Request) -> RetryPolicy {
    let words =
        ["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx", "unavailable"];
    let chosen = words.iter().enumerate().filter(|(bit, _)| request.retry_on >> bit & 1 == 1);
    let conditions = chosen.filter_map(|(_, word)| RetryConditions::from_word(word));
    RetryPolicy {
        attempts: u32::from(request.attempts % 8),
        per_try_timeout: None,
        conditions: conditions.fold(RetryConditions::default(), RetryConditions::with),
        status_codes: Vec::new(),
        remote_localities: request.remote_localities,
        ignore_previous_hosts: true,
        back_off: Duration::from_millis(25),
    }
}

fn check_survival(first: &EndpointSet, second: &EndpointSet) {
    for entry in second.entries() {
        if let Some(before) = first.by_address(&entry.endpoint.address) {
            assert!(Arc::ptr_eq(&before.state, &entry.state));
        }
    }
}

/// One request with all its attempts.
fn serve(set: &EndpointSet, picker: &mut Picker, draw: &mut impl FnMut() -> u64, request: &Request, now: Instant) {
    let policy = retry_policy(request);
    // Whether the operator wants to have sent again what may have been acted on.
    let eager = request.retry_on & 0b111 != 0;
    let mut state = RetryState::new(&policy);
    let _permit = set.cluster().try_request(|| now);
    let (mut tried, mut sent, mut acted, mut retry) = (Vec::new(), 0, false, None);
    for (outcome, back_off) in &request.outcomes {
        let wish = Wish {
            hash: request.hash,
            tried: &tried,
            avoid_tried: policy.ignore_previous_hosts,
            avoid_tried_priorities: policy.remote_localities,
        };
        let Some(index) = picker.pick(set, draw, wish) else { return assert!(!set.is_pickable()) };
        let entry = set.get(index).expect("an index of this set");
        let panic_is_allowed = set.rules().policy.outliers.as_ref().is_some_and(|rules| rules.min_health_percent > 0);
        assert!(entry.is_ready() && (panic_is_allowed || !entry.state.is_ejected()));
        let _active = entry.state.begin();
        assert!(!acted || request.idempotent || eager, "sent again after it may have had an effect");
        sent += 1;
        let outcome = AttemptOutcome::from(*outcome);
        acted |= matches!(
            &outcome,
            AttemptOutcome::Failed(error) if !error.is_unsent() && *error != AttemptError::RefusedStream
        );
        if let Some(OutlierEvent::Ejected { .. }) = set.report(index, outcome.report(), now) {
            set.refresh(now);
        }
        match state.judge(&outcome, Replay { idempotent: request.idempotent, body_available: true }, *back_off) {
            Verdict::Retry { after } => {
                assert!(after <= Duration::from_millis(250));
                // The one before has ended, whatever the limit.
                drop(retry.take());
                match set.cluster().try_retry(|| now) {
                    Ok(granted) => retry = Some(granted),
                    Err(_) => break,
                }
            }
            Verdict::Resend => {}
            Verdict::Final | Verdict::Exhausted => break,
        }
        tried.push(index);
    }
    assert!(sent <= policy.attempts + 2);
}

impl From<Outcome> for AttemptOutcome {
    fn from(outcome: Outcome) -> Self {
        let limit = Duration::from_secs(1);
        Self::Failed(match outcome {
            Outcome::Answered(status, grpc) => {
                return Self::Answered { status, grpc_status: grpc.map(u32::from), rate_limited: false };
            }
            Outcome::ConnectTimeout => AttemptError::ConnectTimeout { limit },
            Outcome::ConnectFailed => AttemptError::ConnectFailed { reason: ErrorKind::ConnectionRefused },
            Outcome::ClosedUnsent => AttemptError::ClosedUnsent,
            Outcome::ClosedReused => AttemptError::ClosedReused,
            Outcome::ClosedBeforeHead => AttemptError::ClosedBeforeHead,
            Outcome::RefusedStream => AttemptError::RefusedStream,
            Outcome::StreamReset => AttemptError::StreamReset,
            Outcome::Malformed => AttemptError::Malformed { reason: "".into() },
            Outcome::Stalled => AttemptError::Stalled { limit },
            Outcome::PerTryTimeout => AttemptError::PerTryTimeout { limit },
            Outcome::Overflow => AttemptError::Overflow,
        })
    }
}

fn endpoints(described: &[(u8, u16, bool)], workload: &Arc<Workload>) -> Vec<Endpoint> {
    let endpoint = |&(number, weight, ready): &(u8, u16, bool)| Endpoint {
        address: match number {
            255 => EndpointAddress::Dns { host: "pool.example".into(), port: 80 },
            254 => EndpointAddress::Unix("/run/pool.sock".into()),
            _ => EndpointAddress::Ip(SocketAddr::from(([10, 0, 0, number], 80))),
        },
        weight: u32::from(weight % 100).max(1),
        health: if ready { Health::Ready } else { Health::NotReady },
        priority: number % 3,
        locality_share: None,
        proxies: None,
        locality: Locality::default(),
        workload: Arc::clone(workload),
    };
    described.iter().map(endpoint).collect()
}

fn workload() -> Arc<Workload> {
    Arc::new(Workload::all(&"unknown".into()))
}
