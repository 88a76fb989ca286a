//! One HTTP/2 connection, and the deadlines that hold for it.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http1::Message;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;

use super::io::ClientIo;
use super::request::{Client, into_message};
use super::response::ResponseBody;
use super::tunnel::Upgrade;
use crate::http::body::Streamed;
use crate::http::exchange::{Plan, plan, refuse};
use crate::http::forward::{Forwarding, Outcome, forward};
use crate::http::record::Exchange;
use crate::listener::Connection;
use crate::net::Stream;
use crate::pressure::Pressure;
use crate::worker::Deadline;

/// Without a request.
pub(in crate::http) const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// For a client to answer our goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// A client that takes nothing of its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// Decoded fields of a head.
const HEAD_BYTES_MAX: u32 = http1::HEAD_BYTES_MAX as u32;
/// What may wait in memory for one stream, each way.
const BUFFER_MAX: usize = 64 * 1024;
/// Streams that a client may have open at once.
const STREAMS_MAX: u32 = 100;
/// What may wait in memory for one connection.
const CONNECTION_WINDOW: u32 = 1 << 20;

/// What goes on on a connection.
pub(in crate::http) struct State {
    pub(super) connection: Rc<Connection>,
    requests: Cell<u32>,
    /// For a client whose socket takes nothing.
    stall: Deadline,
    /// For a client that opens no window for what it asked for.
    windows: Deadline,
    /// Parts of answers that wait for a window.
    parts_owed: Cell<u32>,
}

impl State {
    pub(in crate::http) fn new(connection: Rc<Connection>) -> Self {
        let deadline = || Deadline::new(&connection.local.deadlines);
        let (stall, windows) = (deadline(), deadline());
        Self { requests: Cell::new(0), stall, windows, parts_owed: Cell::new(0), connection }
    }

    /// So many more, or fewer, parts of answers wait for the client to take them.
    pub(in crate::http) fn owed(&self, change: i32) {
        self.parts_owed.set(self.parts_owed.get().saturating_add_signed(change));
        if self.parts_owed.get() == 0 { self.windows.clear() } else { self.windows.set(WRITE_LIMIT) }
    }

    pub(super) fn write_blocked(&self, blocked: bool) {
        if blocked {
            self.stall.set_once(WRITE_LIMIT);
        } else {
            self.stall.clear();
        }
    }

    fn request_begins(&self) {
        self.requests.set(self.requests.get() + 1);
        self.connection.deadline.clear();
    }

    fn request_ends(&self) {
        self.requests.set(self.requests.get() - 1);
        if self.requests.get() == 0 {
            let hurries = self.connection.local.hurrying.get();
            self.connection.deadline.set(if hurries { Duration::ZERO } else { IDLE_LIMIT });
        }
    }

    /// Whether the client has to be told to go: we drain, or memory is so short that no connection is worth it, or none that
    /// is idle.
    fn shall_leave(&self) -> bool {
        let local = &self.connection.local;
        local.hurrying.get()
            && (local.draining.get() || self.requests.get() == 0 || local.pressure.get() >= Pressure::Severe)
    }

    pub(in crate::http) fn verdict(&self, cx: &Context<'_>) -> Option<Verdict> {
        let stalled = self.stall.has_passed(cx) | self.windows.has_passed(cx);
        let idle = self.connection.deadline.has_passed(cx);
        if stalled { Some(Verdict::Reset) } else { idle.then_some(Verdict::Idle) }
    }
}

/// A request under way, until it is dropped.
pub(in crate::http) struct Busy(Rc<State>);

impl Busy {
    pub(in crate::http) fn new(state: &Rc<State>) -> Self {
        state.request_begins();
        Self(Rc::clone(state))
    }

    /// Another part of the same request.
    pub(super) fn again(&self) -> Self {
        Self::new(&self.0)
    }

    /// The connection that it is on.
    pub(super) fn state(&self) -> &State {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// Why a connection ends before HTTP ends it.
pub(in crate::http) enum Verdict {
    /// It was idle for too long.
    Idle,
    /// The client takes nothing.
    Reset,
}

/// Serves a connection to its end. `first` holds the bytes that have been read of it.
pub(crate) async fn serve(connection: Rc<Connection>, stream: Stream, first: Box<Message>) {
    let ahead = Bytes::copy_from_slice(first.received());
    connection.local.memory.give_back(first);
    connection.deadline.set(IDLE_LIMIT);
    let state = Rc::new(State::new(connection));
    let mut builder = Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(u32::from(u16::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_MAX)
        .enable_connect_protocol()
        .max_header_list_size(HEAD_BYTES_MAX);
    let owner = Rc::clone(&state);
    let service = service_fn(move |mut request| {
        let upgrade = Upgrade::take(&mut request, &owner.connection.local);
        exchange(Busy::new(&owner), request, upgrade)
    });
    let Some(io) = ClientIo::new(stream, ahead, Rc::clone(&state)) else { return };
    let mut http = builder.serve_connection(io, service);
    let mut leaving = false;
    std::future::poll_fn(|cx| {
        let verdict = state.verdict(cx);
        let idle = matches!(verdict, Some(Verdict::Idle));
        if !leaving && (state.shall_leave() || idle) {
            leaving = true;
            Pin::new(&mut http).graceful_shutdown();
            if state.requests.get() == 0 {
                // The goodbye ends with the client's answer to a PING, which may never come.
                state.connection.deadline.set(GOODBYE_LIMIT);
            }
        }
        match verdict {
            Some(Verdict::Reset) => Poll::Ready(()),
            Some(Verdict::Idle) if state.connection.deadline.passed() => Poll::Ready(()),
            _ => Pin::new(&mut http).poll(cx).map(|_| ()),
        }
    })
    .await;
}

/// Serves one request, which may ask for an `upgrade`.
pub(in crate::http) async fn exchange<B: Streamed>(
    busy: Busy,
    request: Request<B>,
    upgrade: Option<Upgrade>,
) -> Result<Response<ResponseBody<B>>, Infallible> {
    let connection = Rc::clone(&busy.state().connection);
    let pinned = connection.local.pin();
    let (parts, body) = request.into_parts();
    let (message, read) = into_message(&parts, &body, upgrade.as_ref(), &connection.local.memory);
    let mut exchange = Exchange::begin(&connection, &pinned, message);
    exchange.wishes.connect = upgrade.is_some();
    if let Err(refusal) = read {
        let made = refuse(&mut exchange, refusal).make(&mut exchange, &[]);
        return Ok(ResponseBody::whole(made, exchange, busy));
    }
    let mut plan = plan(&connection, &pinned, &mut exchange);
    if let Some(route) = plan.policed_route() {
        plan = plan.after_policies(&mut exchange, route).await;
    }
    match plan {
        Plan::Answer(answer, route) => {
            let rules = route.map(|route| &route.response_headers);
            let made = answer.make(&mut exchange, rules.as_slice());
            Ok(ResponseBody::whole(made, exchange, busy))
        }
        Plan::Forward(route, destination) => {
            let forwarding = Forwarding { pinned: &pinned, route, destination };
            Ok(forwarded(forwarding, exchange, Client::new(&connection, body), upgrade, busy).await)
        }
    }
}

async fn forwarded<B: Streamed>(
    forwarding: Forwarding<'_>,
    mut exchange: Exchange,
    mut client: Client<B>,
    upgrade: Option<Upgrade>,
    busy: Busy,
) -> Response<ResponseBody<B>> {
    let rules = [&forwarding.route.response_headers, &forwarding.destination.response_headers];
    match forward(&forwarding, &mut exchange, &mut client, &rules).await {
        Outcome::Relay(relay) if relay.response.head().status() == 101 => {
            let response = ResponseBody::agreement(relay.response.head(), &busy);
            if let Some(upgrade) = upgrade {
                upgrade.begin(relay, exchange, busy);
            }
            response
        }
        Outcome::Relay(relay) => ResponseBody::relay(relay, client, exchange, busy),
        Outcome::Answer(answer) => {
            let made = answer.make(&mut exchange, &rules);
            ResponseBody::whole(made, exchange, busy)
        }
        // hyper drops the exchange of a client that has gone, so that nobody gets this.
        Outcome::ClientLeft => {
            let answer = crate::http::answer::Answer::new(400, crate::telemetry::Flags::NONE, "");
            let made = answer.make(&mut exchange, &[]);
            ResponseBody::whole(made, exchange, busy)
        }
    }
}

/// Spawns on the worker's own thread.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
