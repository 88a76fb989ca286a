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
use tokio::time::{Instant, Sleep, sleep_until};

use super::answer::Answer;
use super::record::Exchange;
use crate::telemetry::Flags;
use crate::worker::{Deadlines, TICK};

/// What only few requests have: a box of its own keeps the others small.
#[derive(Default)]
pub(super) struct Rare {
    /// Of the route: from the request's end to the answer's.
    pub(super) timeout: Option<Timer>,
    /// Of the try under way.
    pub(super) per_try: Option<Timer>,
    /// Milliseconds that the back end of the try under way is told to have.
    pub(super) expected: Option<NonZeroU64>,
    /// Whether the rules have had their way with the number of the first try, so that it is in the head, or is not.
    pub(super) first_is_counted: bool,
    /// For the answer, whoever makes it.
    pub(super) cors: cors::Fields,
    /// For the answer: a cookie that the client will be hashed by.
    pub(super) cookie: Option<String>,
    /// Counts the request as active in its cluster.
    pub(super) permit: Option<RequestPermit>,
}

/// A limit of time that begins to run when the request has been sent. Most answers come long before it is over: up to shortly
/// before its end it is a tick of the worker's wheel, and only then a timer, which is precise.
pub(super) struct Timer {
    limit: Duration,
    running: Option<Running>,
}

struct Running {
    end: Instant,
    /// The tick from which on there is a timer.
    near: u32,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Not running yet.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, running: None }
    }

    /// Its length.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// What is left of it.
    fn left(&self) -> Duration {
        self.running.as_ref().map_or(self.limit, |running| running.end.saturating_duration_since(Instant::now()))
    }

    /// Whether it is over. It begins to run if `is_sent`. Who polls it does so again in the tick [`Timer::wakes_in`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_sent: bool, deadlines: &Deadlines) -> bool {
        // A tick fires up to one late, and is followed by one in which the timer is made.
        let near = |limit: Duration| limit.checked_sub(3 * TICK).map_or(0, |before| deadlines.after(before));
        let Some(running) = self.running(is_sent, near) else { return false };
        deadlines.has_come(running.near) && running.poll(cx)
    }

    /// The same for who can't poll it in a certain tick.
    fn poll_closely(&mut self, cx: &mut Context<'_>, is_sent: bool) -> bool {
        self.running(is_sent, |_| 0).is_some_and(|running| running.poll(cx))
    }

    fn running(&mut self, is_sent: bool, near: impl FnOnce(Duration) -> u32) -> Option<&mut Running> {
        if self.running.is_none() && is_sent {
            self.running = Some(Running { end: Instant::now() + self.limit, near: near(self.limit), sleep: None });
        }
        self.running.as_mut()
    }

    /// The tick in which it is to be polled, unless its timer does that.
    pub(super) fn wakes_in(&self) -> Option<u32> {
        self.running.as_ref().filter(|running| running.sleep.is_none()).map(|running| running.near)
    }
}

impl Running {
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let end = self.end;
        self.sleep.get_or_insert_with(|| Box::pin(sleep_until(end))).as_mut().poll(cx).is_ready()
    }
}

impl Rare {
    /// `due`, or the earlier tick in which one of the limits of time is to be polled.
    pub(super) fn wakes_in(&self, due: u32) -> u32 {
        let ticks = [&self.timeout, &self.per_try].into_iter().flatten().filter_map(Timer::wakes_in);
        ticks.fold(due, u32::min)
    }
}

/// Notes what the back end of the next try has of time, of which it is told. `of_try` is the limit of a single one.
/// Source: Envoy, `x-envoy-expected-rq-timeout-ms`, and `grpc-timeout` of calls.
pub(super) fn tell_time(exchange: &mut Exchange, of_try: Option<Duration>) {
    let of_request = exchange.rare.as_ref().and_then(|rare| rare.timeout.as_ref()).map(Timer::left);
    if let Some(left) = [of_request, of_try].into_iter().flatten().min() {
        let millis = u64::try_from(left.as_millis()).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MIN);
        exchange.rare().expected = Some(millis);
        if exchange.record.is_grpc() {
            let text = routing::grpc::timeout_text(Duration::from_millis(millis.get()));
            exchange.request.head_mut().set(b"grpc-timeout", text.as_bytes());
        }
    }
}

/// Waits for `future`, but no longer than the route allows. Nothing if that was not enough.
pub(super) async fn in_time<T>(exchange: &mut Exchange, future: impl Future<Output = T>) -> Option<T> {
    let is_sent = exchange.request.has_ended();
    let Some(timer) = exchange.rare.as_mut().and_then(|rare| rare.timeout.as_mut()) else { return Some(future.await) };
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if timer.poll_closely(cx, is_sent) => Poll::Ready(None),
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
        HashSource::SourceIp => exchange.record.client().map(|client| source_ip_hash(client.ip())),
        HashSource::QueryParameter(name) => {
            let query = exchange.target.query(head).and_then(|query| std::str::from_utf8(query).ok())?;
            query_parameter_hash(query, name)
        }
        HashSource::Cookie { name, path, ttl, attributes } => {
            if let Some(value) = cookie_value(head.values_of(Name::Cookie), name) {
                return Some(hash_bytes(value));
            }
            let ttl = (*ttl)?;
            let (peer, here) = exchange.record.connection().addresses();
            let value = made_cookie_value(peer, here);
            let hash = hash_bytes(value.as_bytes());
            exchange.rare().cookie = Some(set_cookie(name, &value, path, ttl, attributes));
            Some(hash)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Two clocks that run together: the wheel's and tokio's.
    async fn pass(deadlines: &Deadlines, ticks: u32) {
        for _ in 0..ticks {
            tokio::time::advance(TICK).await;
            deadlines.tick();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_limit_is_a_tick_until_shortly_before_its_end_which_is_precise() {
        let mut cx = Context::from_waker(Waker::noop());
        let deadlines = Deadlines::default();
        let mut timer = Timer::new(10 * TICK + Duration::from_millis(7));
        assert!(!timer.poll(&mut cx, false, &deadlines));
        assert_eq!(timer.wakes_in(), None, "it does not run yet");
        pass(&deadlines, 5).await;
        assert!(!timer.poll(&mut cx, true, &deadlines));
        let near = timer.wakes_in().unwrap();
        let mut ticks = 0;
        while !deadlines.has_come(near) {
            pass(&deadlines, 1).await;
            ticks += 1;
        }
        assert!((7..=9).contains(&ticks), "{ticks}");
        assert!(!timer.poll(&mut cx, true, &deadlines));
        assert_eq!(timer.wakes_in(), None, "now there is a timer");
        tokio::time::advance((10 - ticks) * TICK + Duration::from_millis(5)).await;
        assert!(!timer.poll(&mut cx, true, &deadlines));
        tokio::time::advance(Duration::from_millis(3)).await;
        assert!(timer.poll(&mut cx, true, &deadlines));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_limit_is_a_timer_from_the_start() {
        let mut cx = Context::from_waker(Waker::noop());
        let deadlines = Deadlines::default();
        let mut timer = Timer::new(Duration::from_millis(20));
        assert!(!timer.poll(&mut cx, true, &deadlines));
        assert_eq!(timer.wakes_in(), None);
        tokio::time::advance(Duration::from_millis(22)).await;
        assert!(timer.poll(&mut cx, true, &deadlines));
    }

    #[test]
    fn the_earliest_of_all_ticks_is_waited_for() {
        let deadlines = Deadlines::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut rare = Rare { timeout: Some(Timer::new(60 * TICK)), ..Rare::default() };
        assert_eq!(rare.wakes_in(100), 100);
        rare.per_try = Some(Timer::new(20 * TICK));
        for timer in [&mut rare.timeout, &mut rare.per_try] {
            assert!(!timer.as_mut().unwrap().poll(&mut cx, true, &deadlines));
        }
        let per_try = rare.per_try.as_ref().and_then(Timer::wakes_in).unwrap();
        assert_eq!((rare.wakes_in(100), rare.wakes_in(3)), (per_try, 3));
        assert!(per_try < rare.timeout.as_ref().and_then(Timer::wakes_in).unwrap());
    }
}
