//! What a route's policies do with a request before it has a back end, and what they keep for later: faults, CORS, what it is
//! hashed by, time-outs. Rules are those of [`routing`] and [`balance`]; here they meet clocks and draws.

use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use balance::{
    RequestHash, RequestPermit, cookie_value, hash_bytes, header_hash, made_cookie_value, query_parameter_hash,
    set_cookie, source_ip_hash,
};
use config_model::model::{AbortStatus, Fault, HashSource};
use http1::Name;
use routing::{RouteEntry, cors, fault};
use smallvec::SmallVec;
use tokio::time::Sleep;

use super::answer::Answer;
use super::record::Exchange;
use crate::telemetry::Flags;

/// What only few requests have: a box of its own keeps the others small.
#[derive(Default)]
pub(super) struct Rare {
    /// Of the route: from the request's end to the answer's.
    pub(super) timeout: Option<Timer>,
    /// Of the try under way.
    pub(super) per_try: Option<Timer>,
    /// Milliseconds that the back end of the try under way is told to have.
    pub(super) expected: Option<NonZeroU64>,
    /// For the answer, whoever makes it.
    pub(super) cors: cors::Fields,
    /// For the answer: a cookie that the client will be hashed by.
    pub(super) cookie: Option<String>,
    /// Counts the request as active in its cluster.
    pub(super) permit: Option<RequestPermit>,
}

/// A limit of time that begins to run when the request has been sent.
pub(super) struct Timer {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Not running yet.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// Its length.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// What is left of it.
    fn left(&self) -> Duration {
        let deadline = self.sleep.as_ref().map(|sleep| sleep.deadline());
        deadline.map_or(self.limit, |deadline| deadline.saturating_duration_since(tokio::time::Instant::now()))
    }

    /// Whether it is over. It begins to run if `is_sent`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_sent: bool) -> bool {
        if self.sleep.is_none() && !is_sent {
            return false;
        }
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.limit)));
        sleep.as_mut().poll(cx).is_ready()
    }
}

/// Notes what the back end of the next try has of time, of which it is told. `of_try` is the limit of a single one.
/// Source: Envoy, `x-envoy-expected-rq-timeout-ms`.
pub(super) fn tell_time(exchange: &mut Exchange, of_try: Option<Duration>) {
    let of_request = exchange.rare.as_ref().and_then(|rare| rare.timeout.as_ref()).map(Timer::left);
    if let Some(left) = [of_request, of_try].into_iter().flatten().min() {
        let millis = u64::try_from(left.as_millis()).ok().and_then(NonZeroU64::new);
        exchange.rare().expected = Some(millis.unwrap_or(NonZeroU64::MIN));
    }
}

/// Waits for `future`, but no longer than the route allows. Nothing if that was not enough.
pub(super) async fn in_time<T>(exchange: &mut Exchange, future: impl Future<Output = T>) -> Option<T> {
    let is_sent = exchange.request.has_ended();
    let Some(timer) = exchange.rare.as_mut().and_then(|rare| rare.timeout.as_mut()) else { return Some(future.await) };
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if timer.poll(cx, is_sent) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}

/// Does to a request what its route's policies ask before anything else: faults first, then, for a request that goes to a
/// back end, CORS. Yields the answer, if the request ends here, and whether the route's operations on answers hold for it.
pub(super) async fn admit(exchange: &mut Exchange, route: &RouteEntry, forwards: bool) -> Option<(Answer, bool)> {
    if let Some(fault) = route.route.fault().filter(|fault| !fault.per_attempt)
        && let Some(answer) = inject(exchange, fault).await
    {
        return Some((answer, true));
    }
    let policy = route.cors.as_ref().filter(|_| forwards)?;
    let head = exchange.request.head();
    match policy.judge(&cors::Request::new(head.method(), head)) {
        cors::Verdict::Answer(fields) => {
            exchange.rare().cors = fields;
            Some((Answer::new(200, Flags::NONE, cors::PREFLIGHT_DETAILS), false))
        }
        cors::Verdict::Forward(fields) => {
            if !fields.is_empty() {
                exchange.rare().cors = fields;
            }
            None
        }
    }
}

/// Delays, and yields the answer to a request that is aborted.
pub(super) async fn inject(exchange: &mut Exchange, fault: &Fault) -> Option<Answer> {
    let local = std::rc::Rc::clone(exchange.record.local());
    let injection = fault::inject(fault, local.draw(), local.draw());
    if let Some(delay) = injection.delay {
        exchange.record.flag(Flags::DELAY_INJECTED);
        tokio::time::sleep(delay).await;
    }
    let status = injection.abort?;
    Some(abort(exchange, status))
}

fn abort(exchange: &Exchange, status: AbortStatus) -> Answer {
    let answer = fault::abort_answer(status, exchange.record.is_grpc());
    Answer::new(answer.status, Flags::FAULT_INJECTED, fault::ABORT_DETAILS)
        .with_body(fault::ABORT_BODY)
        .with_grpc_status(answer.grpc_status)
}

/// What the request is hashed by; nothing if it has none of it. A cookie that is missing may be made, for the answer.
pub(super) fn hash(exchange: &mut Exchange, sources: &[HashSource]) -> Option<u64> {
    let mut hash = RequestHash::default();
    for source in sources {
        hash.add(hash_of(exchange, source));
    }
    hash.get()
}

fn hash_of(exchange: &mut Exchange, source: &HashSource) -> Option<u64> {
    let head = exchange.request.head();
    match source {
        HashSource::Header(name) => {
            let mut values: SmallVec<[&[u8]; 4]> = head.values(name.as_bytes()).collect();
            header_hash(&mut values)
        }
        HashSource::SourceIp => Some(source_ip_hash(exchange.record.peer().ip())),
        HashSource::QueryParameter(name) => {
            let query = exchange.target.query(head).and_then(|query| std::str::from_utf8(query).ok())?;
            query_parameter_hash(query, name)
        }
        HashSource::Cookie { name, path, ttl, attributes } => {
            if let Some(value) = cookie_value(head.values_of(Name::Cookie), name) {
                return Some(hash_bytes(value));
            }
            let ttl = (*ttl)?;
            let (peer, here) = (exchange.record.peer(), exchange.record.here());
            let value = made_cookie_value(peer, here);
            let hash = hash_bytes(value.as_bytes());
            exchange.rare().cookie = Some(set_cookie(name, &value, path, ttl, attributes));
            Some(hash)
        }
    }
}
