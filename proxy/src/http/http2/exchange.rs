//! A request that came on a stream, from its head to an answer: what HTTP/2 and HTTP/3 have in common.

use std::rc::Rc;

use http::{Request, Response};

use super::connection::Busy;
use super::inform::Informer;
use super::request::{Client, into_message};
use super::response::ResponseBody;
use super::tunnel::Upgrade;
use crate::http::body::Streamed;
use crate::http::exchange::{Operations, Plan, plan, refuse};
use crate::http::forward::{Forwarding, Outcome, forward};
use crate::http::record::Exchange;

/// What HTTP/2 has beside the request itself.
pub(in crate::http) struct Extras {
    /// What the client wants its stream to become.
    pub(super) upgrade: Option<Upgrade>,
    /// Tells the client what comes before its answer.
    pub(super) informer: Informer,
}

/// Serves one request.
pub(in crate::http) async fn exchange<B: Streamed>(
    busy: Busy,
    request: Request<B>,
    extras: Option<Extras>,
) -> Response<ResponseBody<B>> {
    let connection = Rc::clone(&busy.state().connection);
    let pinned = connection.local.pin();
    let (body, informer, fields, mut exchange, read) = {
        let (parts, body) = request.into_parts();
        let (upgrade, informer) = extras.map_or((None, None), |extras| (extras.upgrade, Some(extras.informer)));
        let (message, read) = into_message(&parts, &body, upgrade.as_ref(), &connection.local.memory);
        let mut exchange = Box::new(Exchange::begin(&connection, &pinned, message));
        exchange.wishes.connect = upgrade.is_some();
        (body, informer, parts.headers.len(), exchange, read)
    };
    if let Err(refusal) = read {
        let made = refuse(&mut exchange, refusal).make(&mut exchange, &[]);
        return ResponseBody::whole(made, exchange, busy);
    }
    let mut plan = plan(&connection, &pinned, &mut exchange);
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
            if let Some(informer) = informer.as_ref().filter(|_| exchange.wishes.leave) {
                informer.leave();
            }
            let forwarding = Forwarding { pinned: &pinned, route, destination };
            forwarded(forwarding, exchange, Client::new(&connection, fields, body, informer), busy).await
        }
    }
}

async fn forwarded<B: Streamed>(
    forwarding: Forwarding<'_>,
    mut exchange: Box<Exchange>,
    mut client: Client<B>,
    busy: Busy,
) -> Response<ResponseBody<B>> {
    let rules = [&forwarding.route.response_headers, &forwarding.destination.response_headers];
    match forward(&forwarding, &mut exchange, &mut client, &rules).await {
        Outcome::Relay(relay) if relay.response.head().status() == 101 => {
            ResponseBody::agreement(relay, exchange, busy)
        }
        Outcome::Relay(relay) => ResponseBody::relay(relay, client, exchange, busy),
        Outcome::Answer(answer) => {
            let made = answer.make(&mut exchange, &rules);
            ResponseBody::whole(made, exchange, busy)
        }
        // The exchange of a client that has gone is dropped, so that nobody gets this.
        Outcome::ClientLeft => {
            let answer = crate::http::answer::Answer::new(400, crate::telemetry::Flags::NONE, "");
            let made = answer.make(&mut exchange, &[]);
            ResponseBody::whole(made, exchange, busy)
        }
    }
}
