//! A request that came on a stream, from its head to an answer: what HTTP/2 and HTTP/3 have in common.

use std::rc::Rc;

use http::{Request, Response};
use routing::headers::Mutation;

use super::connection::{Busy, State};
use super::inform::Informer;
use super::request::{Client, into_message};
use super::response::ResponseBody;
use super::tunnel::Upgrade;
use crate::http::answer::Answer;
use crate::http::body::Streamed;
use crate::http::exchange::{Operations, Plan, plan, refuse};
use crate::http::forward::{Forwarding, Outcome, forward};
use crate::http::head::Refusal;
use crate::http::record::Exchange;
use crate::telemetry::Flags;

/// What HTTP/2 has beside the request itself.
pub(in crate::http) struct Extras {
    /// What the client wants its stream to become.
    pub(super) upgrade: Option<Upgrade>,
    /// Tells the client what comes before its answer.
    pub(super) informer: Informer,
}

/// A request whose head has come.
pub(in crate::http) struct Arrival<B: Streamed> {
    exchange: Box<Exchange>,
    /// Whether it is one that can be served.
    read: Result<(), Refusal>,
    client: Client<B>,
}

impl<B: Streamed> Arrival<B> {
    /// `request`, brought into our form.
    pub(in crate::http) fn new(state: &State, request: Request<B>, extras: Option<Extras>) -> Self {
        let connection = &state.connection;
        let (parts, body) = request.into_parts();
        let (upgrade, informer) = extras.map_or((None, None), |extras| (extras.upgrade, Some(extras.informer)));
        let (message, read) = into_message(&parts, &body, upgrade.as_ref(), &connection.local.memory);
        let mut exchange = Box::new(Exchange::begin(connection, &connection.local.pin(), message));
        exchange.wishes.connect = upgrade.is_some();
        Self { exchange, read, client: Client::new(connection, parts.headers.len(), body, informer) }
    }
}

/// Serves a request.
pub(in crate::http) async fn exchange<B: Streamed>(busy: Busy, arrival: Arrival<B>) -> Response<ResponseBody<B>> {
    let Arrival { mut exchange, read, mut client } = arrival;
    if let Err(refusal) = read {
        let made = refuse(&mut exchange, refusal).make(&mut exchange, &[]);
        return ResponseBody::whole(made, exchange, busy);
    }
    let pinned = Rc::clone(exchange.record.pinned());
    let mut plan = plan(&busy.state().connection, &pinned, &mut exchange);
    if let Some(route) = plan.policed_route() {
        // Boxed, as it is rare.
        plan = Box::pin(plan.after_policies(&mut exchange, route)).await;
    }
    match plan {
        Plan::Answer(answer, operations) => {
            let made = answer.make(&mut exchange, &Operations::on_answer(operations.as_ref()));
            ResponseBody::whole(made, exchange, busy)
        }
        Plan::Forward(route, destination) => {
            if exchange.wishes.leave {
                client.leave();
            }
            let rules = [&route.response_headers, &destination.response_headers];
            let forwarding = Forwarding { pinned: &pinned, route, destination };
            let outcome = forward(&forwarding, &mut exchange, &mut client, &rules).await;
            answered(outcome, client, exchange, busy, &rules)
        }
    }
}

fn answered<B: Streamed>(
    outcome: Outcome,
    client: Client<B>,
    mut exchange: Box<Exchange>,
    busy: Busy,
    rules: &[&Mutation],
) -> Response<ResponseBody<B>> {
    let answer = match outcome {
        Outcome::Relay(relay) if relay.response.head().status() == 101 => {
            return ResponseBody::agreement(relay, exchange, busy);
        }
        Outcome::Relay(relay) => return ResponseBody::relay(relay, client, exchange, busy),
        Outcome::Answer(answer) => answer.make(&mut exchange, rules),
        // The exchange of a client that has gone is dropped, so that nobody gets this.
        Outcome::ClientLeft => Answer::new(400, Flags::NONE, "").make(&mut exchange, &[]),
    };
    ResponseBody::whole(answer, exchange, busy)
}
