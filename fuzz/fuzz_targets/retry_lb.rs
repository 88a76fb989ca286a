//! Whatever the endpoints, their weights and the outcomes of attempts: only ready endpoints are picked, no request is sent
//! more often than its policy allows, and what may have had an effect is not repeated.

#![no_main]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use balance::{AttemptError, AttemptOutcome, EndpointSet, Picker, Replay, RetryState, Verdict};
use config_model::model::{Balancing, Endpoint, EndpointAddress, Health, Locality, Workload};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    endpoints: Vec<(u8, u32, bool)>,
    changed: Vec<(u8, u32, bool)>,
    draws: Vec<u64>,
    requests: Vec<Request>,
}

#[derive(Debug, Arbitrary)]
struct Request {
    balancing: u8,
    attempts: u8,
    idempotent: bool,
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
    CutBody,
}

fuzz_target!(|input: Input| {
    let workload = workload();
    let first = EndpointSet::new(endpoints(&input.endpoints, &workload), None);
    let set = EndpointSet::new(endpoints(&input.changed, &workload), Some(&first));
    check_survival(&first, &set);
    let mut draws = input.draws.iter().copied().cycle();
    let mut draw = || draws.next().unwrap_or(0);
    let mut picker = Picker::new(draw());
    for request in &input.requests {
        serve(&set, &mut picker, &mut draw, request);
    }
    assert!(set.entries().iter().all(|entry| entry.state.active() == 0));
});

fn check_survival(first: &EndpointSet, second: &EndpointSet) {
    for entry in second.entries() {
        if let Some(before) = first.by_address(&entry.endpoint.address) {
            assert!(Arc::ptr_eq(&before.state, &entry.state));
        }
    }
}

/// One request with all its attempts.
fn serve(set: &EndpointSet, picker: &mut Picker, draw: &mut impl FnMut() -> u64, request: &Request) {
    let idempotent = request.idempotent;
    let balancing =
        [Balancing::RoundRobin, Balancing::LeastRequest, Balancing::Random][usize::from(request.balancing % 3)];
    let attempts = u32::from(request.attempts % 8);
    let mut state = RetryState::new(attempts);
    let (mut tried, mut sent, mut acted) = (Vec::new(), 0, false);
    for (outcome, back_off) in &request.outcomes {
        let Some(index) = picker.pick(set, balancing, draw, &tried) else { return assert_eq!(set.ready_count(), 0) };
        let entry = set.get(index).expect("an index of this set");
        assert!(entry.is_ready());
        let _active = entry.state.begin();
        assert!(!acted || idempotent || !matches!(outcome, Outcome::Answered(..)), "sent again after it had an effect");
        sent += 1;
        let outcome = AttemptOutcome::from(*outcome);
        acted |= matches!(&outcome, AttemptOutcome::Failed(error) if error.may_have_acted());
        match state.judge(&outcome, Replay { idempotent, body_available: true }, *back_off) {
            Verdict::Retry { after } => assert!(after <= Duration::from_millis(250)),
            Verdict::Resend => {}
            Verdict::Final | Verdict::Exhausted => break,
        }
        tried.push(index);
    }
    assert!(sent <= attempts + 2);
}

impl From<Outcome> for AttemptOutcome {
    fn from(outcome: Outcome) -> Self {
        let limit = Duration::from_secs(1);
        Self::Failed(match outcome {
            Outcome::Answered(status, grpc) => return Self::Answered { status, grpc_status: grpc.map(u32::from) },
            Outcome::ConnectTimeout => AttemptError::ConnectTimeout { limit },
            Outcome::ConnectFailed => AttemptError::ConnectFailed { reason: ErrorKind::ConnectionRefused },
            Outcome::ClosedUnsent => AttemptError::ClosedUnsent,
            Outcome::ClosedReused => AttemptError::ClosedReused,
            Outcome::ClosedBeforeHead => AttemptError::ClosedBeforeHead,
            Outcome::RefusedStream => AttemptError::RefusedStream,
            Outcome::StreamReset => AttemptError::StreamReset,
            Outcome::Malformed => AttemptError::Malformed { reason: "".into() },
            Outcome::Stalled => AttemptError::Stalled { limit },
            Outcome::CutBody => AttemptError::CutBody,
        })
    }
}

fn endpoints(described: &[(u8, u32, bool)], workload: &Arc<Workload>) -> Vec<Endpoint> {
    let endpoint = |&(number, weight, ready): &(u8, u32, bool)| Endpoint {
        address: match number {
            255 => EndpointAddress::Dns { host: "pool.example".into(), port: 80 },
            254 => EndpointAddress::Unix("/run/pool.sock".into()),
            _ => EndpointAddress::Ip(SocketAddr::from(([10, 0, 0, number], 80))),
        },
        weight: weight.max(1),
        health: if ready { Health::Ready } else { Health::NotReady },
        priority: 0,
        locality_share: None,
        locality: Locality::default(),
        workload: Arc::clone(workload),
    };
    described.iter().map(endpoint).collect()
}

fn workload() -> Arc<Workload> {
    let text = || Arc::from("unknown");
    Arc::new(Workload {
        name: text(),
        namespace: text(),
        app: text(),
        version: text(),
        canonical_service: text(),
        canonical_revision: text(),
        principal: text(),
        cluster: text(),
    })
}
