//! One request, from its head to a decision. What is decided is carried out by the protocol that it came in, and in
//! [`super::forward`].

use std::num::NonZeroU128;

use config_model::model::{ClusterTarget, Topology};
use http1::{Head, Version};
use routing::headers::Mutation;
use routing::redirect::{self, Url};
use routing::{Decision, DestinationEntry, RouteEntry};
use smallvec::SmallVec;

use super::answer::Answer;
use super::forwarded::Forwarded;
use super::head::{Refusal, View, Wishes, said_scheme, sanitize, trust};
use super::placement;
use super::policy::admit;
use super::record::Exchange;
use super::steer;
use super::target::Target;
use crate::listener::Connection;
use crate::pressure::Pressure;
use crate::telemetry::Flags;
use crate::worker::Pinned;

/// What is to be done with a request.
pub(super) enum Plan<'t> {
    /// It is answered here, perhaps with the operations of a route.
    Answer(Answer, Option<Operations<'t>>),
    /// It goes to a back end.
    Forward(&'t RouteEntry, &'t DestinationEntry),
}

/// Whose operations hold for an answer that is made here.
pub(super) struct Operations<'t> {
    route: &'t RouteEntry,
    /// The destination, if one had been drawn.
    drawn: Option<&'t DestinationEntry>,
}

impl<'t> Operations<'t> {
    /// Those on the head of the answer.
    pub(super) fn on_answer(operations: Option<&Self>) -> SmallVec<[&'t Mutation; 2]> {
        let of_destination = operations.and_then(|operations| Some(&operations.drawn?.response_headers));
        let of_route = operations.map(|operations| &operations.route.response_headers);
        of_route.into_iter().chain(of_destination).collect()
    }
}

impl<'t> Plan<'t> {
    /// The route, if it has policies that come before the plan.
    pub(super) fn policed_route(&self) -> Option<&'t RouteEntry> {
        let route = match self {
            Self::Answer(_, Some(Operations { route, .. })) | Self::Forward(route, _) => *route,
            Self::Answer(_, None) => return None,
        };
        route.route.policy.is_some().then_some(route)
    }

    /// What is left of the plan after that.
    pub(super) async fn after_policies(self, exchange: &mut Exchange, route: &'t RouteEntry) -> Self {
        // It may have a destination already.
        let drawn = if let Plan::Forward(_, drawn) = &self { Some(*drawn) } else { None };
        match admit(exchange, route, drawn.is_some()).await {
            Some((answer, has_rules)) => {
                if let Some(ClusterTarget::Known(cluster)) = drawn.map(|drawn| &drawn.target) {
                    exchange.record.cluster(*cluster);
                }
                Plan::Answer(answer, has_rules.then_some(Operations { route, drawn }))
            }
            None => match self {
                Plan::Forward(route, drawn) => Plan::Forward(route, placement::place(exchange, route, drawn)),
                answer @ Plan::Answer(..) => answer,
            },
        }
    }
}

/// Decides about a request whose head is whole.
pub(super) fn plan<'t>(connection: &Connection, pinned: &'t Pinned, exchange: &mut Exchange) -> Plan<'t> {
    match read(exchange, connection, pinned) {
        Ok(()) if connection.local.pressure.get() >= Pressure::Severe => Plan::Answer(overloaded(), None),
        Ok(()) => decide(connection, pinned, exchange),
        Err(refusal) => Plan::Answer(refuse(exchange, refusal), None),
    }
}

/// The answer to a request that is refused.
pub(super) fn refuse(exchange: &mut Exchange, refusal: Refusal) -> Answer {
    exchange.target = Target::as_sent(exchange.request.head());
    Answer::refuse(refusal)
}

/// Reads what the request wants, and makes of its head what goes on.
fn read(exchange: &mut Exchange, connection: &Connection, pinned: &Pinned) -> Result<(), Refusal> {
    // What is wrong with a body that came together with its head is found before anything is forwarded.
    exchange.request.decode()?;
    let framing = exchange.request.framing();
    let head = exchange.request.head_mut();
    let shared = &connection.local.shared;
    if head.version() == Version::Http10 && !shared.http10 {
        return Err(Refusal::LOW_VERSION);
    }
    let mesh = &pinned.snapshot.model.mesh;
    exchange.target = Target::read(head, mesh.path_normalization)?;
    if shared.is_edge && connection.tls().is_none() && exchange.target.says_https(head) {
        return Err(Refusal::BAD_SCHEME);
    }
    exchange.wishes = Wishes { connect: exchange.wishes.connect, ..Wishes::read(head, framing)? };
    let steering = if connection.is_trusted { steer::fields(head) } else { Vec::new() };
    let id = NonZeroU128::new(connection.local.draw_id()).filter(|_| pinned.headers.request_id);
    let shown = connection.tls().and_then(|tls| tls.client_certificate.as_deref());
    if shared.is_edge && mesh.topology != Topology::default() {
        exchange.record.forwarded = Some(Box::new(Forwarded::read(head, mesh.topology, shown)));
    }
    let scheme = exchange.record.scheme();
    if shared.is_edge {
        sanitize(head, exchange.wishes, framing, &connection.peer_text, scheme, id);
    } else {
        trust(head, exchange.wishes, framing, scheme, id);
    }
    for (name, value) in &steering {
        head.append(name, value);
    }
    match (&exchange.record.forwarded, shown) {
        (Some(forwarded), _) => forwarded.restore(head),
        (None, Some(field)) => head.append(b"x-forwarded-client-cert", field),
        (None, None) => {}
    }
    if pinned.headers.forwarded_port {
        tell_port(head, connection, mesh.topology);
    }
    Ok(())
}

/// Says to which port the request came, unless a trusted proxy has. Source: Envoy, `append_x_forwarded_port`.
#[cold]
fn tell_port(head: &mut Head, connection: &Connection, topology: Topology) {
    const NAME: &[u8] = b"x-forwarded-port";
    let is_trusted = connection.local.shared.is_edge && topology.trusted_proxies > 0;
    if is_trusted && head.value(NAME).is_some() {
        return;
    }
    if let Some(ends) = &connection.ends {
        head.set(NAME, ends.server.port().to_string().as_bytes());
    }
}

/// The answer while memory is too short to serve. Words and details are those of Envoy's overload manager.
#[cold]
fn overloaded() -> Answer {
    Answer::new(503, Flags::OVERLOAD_MANAGER, "overload").with_body("envoy overloaded").and_close()
}

fn not_found() -> Answer {
    Answer::new(404, Flags::NO_ROUTE_FOUND, "route_not_found")
}

fn decide<'t>(connection: &Connection, pinned: &'t Pinned, exchange: &mut Exchange) -> Plan<'t> {
    let Some(routes) = connection.routes(pinned) else { return Plan::Answer(not_found(), None) };
    let table = &pinned.snapshot.table;
    let Exchange { request, target, record, wishes, .. } = exchange;
    if connection.is_misdirected(pinned, target.authority()) {
        return Plan::Answer(Answer::new(421, Flags::NONE, "misdirected_request"), None);
    }
    let head = request.head();
    let path = target.path(head);
    // A sidecar trusts its own application.
    let said = if connection.local.shared.is_edge { None } else { said_scheme(head) };
    let scheme = said.unwrap_or_else(|| record.scheme());
    let connect = wishes.connect;
    let view = View { head, target, path: &path, scheme, connect };
    let url = || Url { scheme, authority: target.authority(), path: &path, query: target.query(head) };
    match table.decide(routes, &view, |split| pinned.next_draw(split)) {
        Decision::NotFound { virtual_host } => {
            record.virtual_host(virtual_host);
            Plan::Answer(not_found(), None)
        }
        Decision::HttpsRedirect { virtual_host } => {
            record.virtual_host(Some(virtual_host));
            let location = redirect::https_location(&url());
            Plan::Answer(Answer::redirect(301, location.as_bytes().to_vec()), None)
        }
        Decision::Redirect { route, redirect } => {
            record.route(route);
            let location = redirect::location(redirect, &url(), table.port(routes));
            Plan::Answer(
                Answer::redirect(redirect.status, location.as_bytes().to_vec()),
                Some(Operations { route, drawn: None }),
            )
        }
        Decision::Direct { route, response } => {
            record.route(route);
            Plan::Answer(
                Answer::direct(response.status, response.body.clone()),
                Some(Operations { route, drawn: None }),
            )
        }
        Decision::Forward { route, .. } if connect && !route.route.asks_for_connect() => {
            record.route(route);
            Plan::Answer(not_found(), None)
        }
        Decision::Forward { route, destination } => {
            record.route(route);
            Plan::Forward(route, destination)
        }
    }
}
