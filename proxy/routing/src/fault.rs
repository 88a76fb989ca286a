//! Failures made on purpose. Source: Istio, `HTTPFaultInjection`; Envoy, `envoy.filters.http.fault`, which stands before all
//! else on a route: a redirect and a CORS preflight are delayed and aborted too, and what is aborted carries no CORS fields.

use std::time::Duration;

use config_model::model::{AbortStatus, Fault};

use crate::grpc;

/// Body of an aborted request, and `grpc-message` of one that speaks gRPC.
pub const ABORT_BODY: &str = "fault filter abort";
/// `%RESPONSE_CODE_DETAILS%` of an aborted request; its flag is FI.
pub const ABORT_DETAILS: &str = "fault_filter_abort";

/// What happens to one request, or to one attempt where [`Fault::per_attempt`] says so: first the pause, then the abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection {
    /// A pause before anything else, flag DI. It is no part of the route's time-out.
    pub delay: Option<Duration>,
    /// The answer in place of the route's action.
    pub abort: Option<AbortStatus>,
}

/// What `fault` does by these draws, both uniform over all of `u64` and independent of each other.
pub fn inject(fault: &Fault, delay_draw: u64, abort_draw: u64) -> Injection {
    Injection {
        delay: fault.delay.filter(|delay| delay.share.holds(delay_draw)).map(|delay| delay.duration),
        abort: fault.abort.filter(|abort| abort.share.holds(abort_draw)).map(|abort| abort.status),
    }
}

/// How an abort is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortAnswer {
    /// Status of the head.
    pub status: u16,
    /// For a request that speaks gRPC: field `grpc-status`, with [`ABORT_BODY`] as `grpc-message` and no body. For others
    /// [`ABORT_BODY`] is the body, of type `text/plain`.
    pub grpc_status: Option<u8>,
}

/// The answer to a request that is aborted with `status`. As in Envoy a status of gRPC is HTTP 200 for whoever asks.
pub fn abort_answer(status: AbortStatus, is_grpc: bool) -> AbortAnswer {
    let (http, grpc) = match status {
        AbortStatus::Http(code) => (code, grpc::status_of_http(code)),
        AbortStatus::Grpc(code) => (200, code),
    };
    match is_grpc {
        true => AbortAnswer { status: 200, grpc_status: Some(grpc) },
        false => AbortAnswer { status: http, grpc_status: None },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config_model::model::{FaultAbort, FaultDelay, Fraction};
    use config_model::origin::{Origin, Position, ResourceId};
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fault(delay: Option<f64>, abort: Option<f64>) -> Fault {
        let resource =
            ResourceId { kind: "VirtualService", namespace: "n".into(), name: "v".into(), file: "v.yaml".into() };
        Fault {
            delay: delay.map(|percent| FaultDelay { duration: SECOND, share: Fraction::from_percent(percent) }),
            abort: abort
                .map(|percent| FaultAbort { status: AbortStatus::Http(418), share: Fraction::from_percent(percent) }),
            per_attempt: false,
            origin: Origin { resource: Arc::new(resource), position: Position::default() },
        }
    }

    #[test]
    fn delay_and_abort_are_drawn_each_by_itself() {
        let half = u64::MAX / 2;
        let table = [
            (Some(50.0), Some(50.0), (half, half), (true, true)),
            (Some(50.0), Some(50.0), (half + 1, half), (false, true)),
            (Some(50.0), Some(50.0), (half, half + 1), (true, false)),
            (Some(100.0), Some(0.0), (u64::MAX, 0), (true, false)),
            (None, Some(100.0), (0, u64::MAX), (false, true)),
            (Some(100.0), None, (0, 0), (true, false)),
        ];
        for (delay, abort, (delay_draw, abort_draw), (delays, aborts)) in table {
            let want = Injection { delay: delays.then_some(SECOND), abort: aborts.then_some(AbortStatus::Http(418)) };
            assert_eq!(inject(&fault(delay, abort), delay_draw, abort_draw), want, "{delay:?} {abort:?}");
        }
    }

    #[test]
    fn an_abort_is_told_in_the_words_of_whoever_asked() {
        let table = [
            (AbortStatus::Http(418), false, 418, None),
            (AbortStatus::Http(418), true, 200, Some(2)),
            (AbortStatus::Http(503), true, 200, Some(14)),
            (AbortStatus::Grpc(5), true, 200, Some(5)),
            // Envoy has no HTTP status for it.
            (AbortStatus::Grpc(5), false, 200, None),
        ];
        for (status, is_grpc, http, grpc_status) in table {
            let answer = abort_answer(status, is_grpc);
            assert_eq!((answer.status, answer.grpc_status), (http, grpc_status), "{status:?} {is_grpc}");
        }
    }

    proptest! {
        #[test]
        fn evenly_spread_draws_abort_exactly_the_share(permille in 0u32..=1000) {
            let fault = fault(None, Some(f64::from(permille) / 10.0));
            let step = u64::MAX / 1000 + 1;
            let hits = (0..1000u64).filter(|number| inject(&fault, 0, number * step).abort.is_some()).count();
            prop_assert_eq!(hits, permille as usize);
        }
    }
}
