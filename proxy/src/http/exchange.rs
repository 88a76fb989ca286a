//! One request, from its head to a decision; what it decides is carried out here or in [`super::forward`].

use std::convert::Infallible;
use std::rc::Rc;

use config_model::model::{RouteConfigurationIndex, Scheme};
use http::header;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use routing::redirect::{self, Url};
use routing::{Decision, DestinationEntry, RouteEntry};

use super::answer::Answer;
use super::body::{self, ResponseBody};
use super::forward::{Forwarding, forward};
use super::head::{Target, View, read_target, sanitize};
use super::record::Record;
use super::rewrite::rewrite_head;
use super::survey::Survey;
use crate::listener::{Connection, Protocol};
use crate::telemetry::Flags;
use crate::worker::Pinned;

/// Serves one request of `connection`.
pub(crate) async fn exchange(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let pinned = connection.local.pin();
    let (mut parts, body) = request.into_parts();
    let mut record = Record::begin(&connection, &pinned, &parts);
    match plan(&connection, &pinned, &mut parts, &mut record) {
        Plan::Answer(answer, route) => {
            let answer = if discard(body, &connection, &record).await { answer } else { answer.and_close() };
            let mutations = route.map(|route| &route.response_headers);
            Ok(answer.send(record, mutations.as_slice()))
        }
        Plan::Forward(route, destination) => {
            let forwarding = Forwarding { connection: &connection, pinned: &pinned, route, destination };
            Ok(forward(forwarding, parts, body, record).await)
        }
    }
}

/// Takes the body of a request that is answered without it, so that the connection can go on. Yields whether it can.
async fn discard(body: Incoming, connection: &Connection, record: &Record) -> bool {
    if connection.protocol() == Protocol::Http2 || body.is_end_stream() {
        return true;
    }
    // Whoever waits for leave to send is better told to keep it.
    !record.waits_for_leave() && body::discard(body, &connection.local).await
}

/// What is to be done with a request.
enum Plan<'t> {
    /// It is answered here, perhaps with the operations of a route.
    Answer(Answer, Option<&'t RouteEntry>),
    /// It goes to a back end; its head has been changed for that.
    Forward(&'t RouteEntry, &'t DestinationEntry),
}

fn plan<'t>(connection: &Connection, pinned: &'t Pinned, parts: &mut Parts, record: &mut Record) -> Plan<'t> {
    let survey = Survey::of(&parts.headers);
    record.survey(&parts.headers, survey);
    let (uri, host) = (parts.uri.clone(), parts.headers.get(header::HOST).cloned());
    let normalization = pinned.snapshot.model.mesh.path_normalization;
    let target = match read_target(parts, survey, &uri, host.as_ref(), normalization) {
        Ok(target) => target,
        Err(refusal) => {
            record.refused_head(parts, &uri);
            return Plan::Answer(Answer::refuse(refusal), None);
        }
    };
    sanitize(&mut parts.headers, survey, &connection.peer_value, Scheme::Http, request_id(connection));
    record.request_head(parts, &target);
    match pinned.listener(connection.listener) {
        Some(listener) => decide(pinned, listener.routes, parts, &target, record),
        None => Plan::Answer(not_found(), None),
    }
}

fn request_id(connection: &Connection) -> u128 {
    u128::from(connection.local.draw()) << 64 | u128::from(connection.local.draw())
}

fn not_found() -> Answer {
    Answer::new(StatusCode::NOT_FOUND, Flags::NO_ROUTE_FOUND, "route_not_found")
}

/// Decides, and prepares what was decided.
fn decide<'t>(
    pinned: &'t Pinned,
    routes: RouteConfigurationIndex,
    parts: &mut Parts,
    target: &Target<'_>,
    record: &mut Record,
) -> Plan<'t> {
    let scheme = Scheme::Http;
    let table = &pinned.snapshot.table;
    let url = Url { scheme, authority: target.authority, path: target.path.forwarded(), query: target.query };
    match table.decide(routes, &View { parts, target, scheme }, |split| pinned.next_draw(split)) {
        Decision::NotFound { virtual_host } => {
            record.virtual_host(virtual_host);
            Plan::Answer(not_found(), None)
        }
        Decision::HttpsRedirect { virtual_host } => {
            record.virtual_host(Some(virtual_host));
            Plan::Answer(Answer::redirect(StatusCode::MOVED_PERMANENTLY, redirect::https_location(&url)), None)
        }
        Decision::Redirect { route, redirect } => {
            record.route(route);
            let location = redirect::location(redirect, &url, table.port(routes));
            Plan::Answer(Answer::redirect(status(redirect.status), location), Some(route))
        }
        Decision::Direct { route, response } => {
            record.route(route);
            Plan::Answer(Answer::direct(status(response.status), response.body.clone()), Some(route))
        }
        Decision::Forward { route, destination } => {
            record.route(route);
            match rewrite_head(parts, route, destination, target, record) {
                Ok(()) => Plan::Forward(route, destination),
                Err(_unfit) => {
                    let answer = Answer::new(StatusCode::BAD_REQUEST, Flags::NONE, "invalid_rewrite");
                    Plan::Answer(answer, Some(route))
                }
            }
        }
    }
}

/// A status of the configuration, which has been checked when it was read.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
