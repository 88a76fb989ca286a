//! A request on its way to a back end: tried, and tried again, until the head of an answer is there.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{
    AttemptError, AttemptOutcome, Entry, EntryIndex, Replay, ResponseFlag, RetryPermit, RetryState, Verdict, Wish,
};
use config_model::model::{Action, ClusterIndex, ClusterTarget, Fault, RetryConditions, RetryPolicy};
use http1::{Framing, Message, Name, Version};
use routing::headers::Mutation;
use routing::{DestinationEntry, RouteEntry};
use smallvec::SmallVec;

use super::answer::Answer;
use super::attempt::{Attempt, AttemptEnd, Client, Upload};
use super::body::Kept;
use super::head::Refusal;
use super::policy::{self, Timer};
use super::record::Exchange;
use super::rewrite::{self, rewrite_head};
use super::steer::{self, Times};
use super::{mirror, response};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::Flags;
use crate::upstream::{Security, Upstream, report};
use crate::worker::{Local, Pinned};

/// What was decided.
pub(super) struct Forwarding<'a> {
    pub(super) pinned: &'a Rc<Pinned>,
    pub(super) route: &'a RouteEntry,
    pub(super) destination: &'a DestinationEntry,
}

/// A back end's answer, its head as the client shall see it.
pub(super) struct Relay {
    pub(super) upstream: Upstream,
    pub(super) response: Box<Message>,
    /// What is still to be sent of the request, if anything is.
    pub(super) upload: Option<Box<Upload>>,
    /// Whether the back end's connection can take another request afterwards.
    pub(super) keeps: bool,
    /// Memory for the head that goes to the client; empty.
    pub(super) out: Vec<u8>,
}

/// What has come of a request.
pub(super) enum Outcome {
    /// A back end has answered.
    Relay(Relay),
    /// It is answered here.
    Answer(Answer),
    /// Nobody is left to be answered.
    ClientLeft,
}

/// What is kept of a request's body, so that it can be sent again or to a mirror. Source: Istio's default buffer.
const KEPT_MAX: usize = 1 << 20;

/// Sends the request on, and yields what has come of it.
pub(super) async fn forward<C: Client>(
    forwarding: &Forwarding<'_>,
    exchange: &mut Exchange,
    client: &mut C,
    rules: &[&Mutation],
) -> Outcome {
    let Forwarding { pinned, route, destination } = *forwarding;
    exchange.record.destination(destination);
    let hash = match route.route.hash() {
        [] => None,
        sources => policy::hash(exchange, sources),
    };
    let times = Times::take(exchange.request.head_mut());
    if let ClusterTarget::Known(index) = destination.target {
        exchange.record.cluster(index);
    }
    // Nobody gets such a request, so that log and answer tell it as it came. Source: Envoy, the order in its router.
    let ClusterTarget::Known(index) = destination.target else {
        return Outcome::Answer(Answer::new(503, Flags::NO_CLUSTER_FOUND, "cluster_not_found"));
    };
    let target = rewrite_head(exchange, route, destination);
    let Some(cluster) = pinned.snapshot.cluster(index) else { return Outcome::Answer(no_healthy_upstream()) };
    // Only a route that forwards has destinations.
    let Action::Forward(action) = &route.route.action else { return Outcome::Answer(no_healthy_upstream()) };
    let original = exchange.record.original(cluster);
    let cluster = original.as_ref().unwrap_or(cluster);
    let steered = steer::retries(exchange.request.head_mut(), times, &action.retry);
    let retry = steered.as_deref().unwrap_or(&action.retry);
    limit(exchange, times.request.unwrap_or(action.timeout));
    let mirrors = route.route.mirrors();
    let is_http2 = !exchange.wishes.upgrade && cluster.definition.protocol.is_http2(exchange.record.speaks_http2());
    let keeps_body = !exchange.request.is_complete() && {
        // What is known not to fit needn't be tried.
        let fits = exchange.request.remaining() <= KEPT_MAX as u64;
        !mirrors.is_empty() || may_repeat_what_was_sent(retry, fits, is_http2)
    };
    let local = Rc::clone(exchange.record.local());
    let kept = match keeps_body {
        false => Kept::nothing(),
        true if client.reads_in_place(&exchange.request) => Kept::in_place(),
        true => Kept::up_to(KEPT_MAX, local.memory.body()),
    };
    let mut tries = Tries {
        local,
        pinned,
        index,
        cluster,
        target: target.as_deref(),
        policy: retry,
        fault: route.route.fault().filter(|fault| fault.per_attempt),
        hash,
        security: security(cluster, exchange),
        state: RetryState::new(retry),
        retry: None,
        tried: SmallVec::new(),
        kept,
    };
    if let Err(error) = tries.admit(exchange) {
        exchange.record.attempt_without_endpoint(tries.state.attempt());
        return Outcome::Answer(tries.failure(&error, Verdict::Final, exchange));
    }
    let outcome = tries.run(exchange, client).await;
    if let Some(body) = tries.kept.whole(&exchange.request).filter(|_| !mirrors.is_empty()) {
        mirror::send_copies(mirrors, exchange, tries.target, body);
    }
    tries.kept.give_back(&tries.local.memory);
    outcome.map_or_else(|outcome| outcome, |(relay, took)| received(relay, took, exchange, rules))
}

/// An answer of a back end, its head made what the client shall see.
fn received(mut relay: Relay, took: Duration, exchange: &mut Exchange, rules: &[&Mutation]) -> Outcome {
    let framing = framing_of(&relay.upstream, &relay.response);
    let head = relay.response.head_mut();
    response::receive(head, framing, took, exchange, rules);
    Outcome::Relay(relay)
}

/// Begins the time that the request has.
fn limit(exchange: &mut Exchange, timeout: Option<Duration>) {
    let of_client = exchange.record.is_grpc().then(|| exchange.request.head().value(b"grpc-timeout")).flatten();
    // Source: Envoy, `max_grpc_timeout`, which Istio sets to the route's time-out.
    let limit = routing::grpc::limit(of_client.and_then(routing::grpc::timeout), timeout);
    if let Some(limit) = limit {
        exchange.rare().timeout = Some(Timer::new(limit));
    }
}

/// The TLS that connections for this request are made with.
fn security(cluster: &ClusterRuntime, exchange: &Exchange) -> Option<Box<Security>> {
    cluster.tls.as_ref()?;
    let host = exchange.request.head().values_of(Name::Host).next().unwrap_or_default();
    Security::of(cluster, host).map(Box::new)
}

/// Whether the policy may want to send a request again that has gone out with its body. A body that is too long to be kept, unless
/// it `fits`, is kept as far as it goes for failures that may come before its end; a gRPC status comes behind it.
fn may_repeat_what_was_sent(policy: &RetryPolicy, fits: bool, is_http2: bool) -> bool {
    const UNSENT: RetryConditions = RetryConditions::CONNECT_FAILURE.with(RetryConditions::RESET_BEFORE_REQUEST);
    const GRPC: RetryConditions = RetryConditions::CANCELLED
        .with(RetryConditions::DEADLINE_EXCEEDED)
        .with(RetryConditions::INTERNAL)
        .with(RetryConditions::RESOURCE_EXHAUSTED)
        .with(RetryConditions::UNAVAILABLE);
    let ignored = if fits { UNSENT } else { UNSENT.with(GRPC) }.with(RetryConditions::STATUS_CODES);
    // A stream may be refused when much of its body is on its way already.
    let ignored = if is_http2 { ignored } else { ignored.with(RetryConditions::REFUSED_STREAM) };
    policy.attempts > 0 && (!policy.status_codes.is_empty() || !ignored.contains(policy.conditions))
}

fn no_healthy_upstream() -> Answer {
    Answer::new(503, Flags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream").with_body("no healthy upstream")
}

/// The tries of one request.
pub(super) struct Tries<'a> {
    pub(super) local: Rc<Local>,
    pinned: &'a Rc<Pinned>,
    index: ClusterIndex,
    pub(super) cluster: &'a Arc<ClusterRuntime>,
    /// The rewritten target.
    pub(super) target: Option<&'a [u8]>,
    policy: &'a RetryPolicy,
    /// Made in each try.
    fault: Option<&'a Fault>,
    hash: Option<u64>,
    /// Nothing for plain text.
    pub(super) security: Option<Box<Security>>,
    pub(super) state: RetryState<'a>,
    /// Counts the retry under way.
    retry: Option<RetryPermit>,
    tried: SmallVec<[EntryIndex; 4]>,
    pub(super) kept: Kept,
}

impl<'a> Tries<'a> {
    /// Counts the request, if its cluster has limits.
    fn admit(&self, exchange: &mut Exchange) -> Result<(), AttemptError> {
        if self.cluster.has_limits {
            let permit = self
                .cluster
                .endpoints
                .cluster()
                .try_request(Instant::now)
                .map_err(|_overflow| AttemptError::Overflow)?;
            exchange.rare().permit = Some(permit);
        }
        Ok(())
    }

    async fn run<C: Client>(&mut self, exchange: &mut Exchange, client: &mut C) -> Result<(Relay, Duration), Outcome> {
        let mut fresh = false;
        loop {
            let Some((pick, entry)) = self.pick() else {
                exchange.record.attempt_without_endpoint(self.state.attempt());
                return Err(Outcome::Answer(no_healthy_upstream()));
            };
            // Boxed, as it is rare.
            if self.fault.is_some()
                && let Some(is_fresh) = Box::pin(self.inject(exchange)).await?
            {
                fresh = is_fresh;
                continue;
            }
            exchange.record.attempt(pick, entry, self.state.attempt());
            let outcome = match self.attempt(entry, fresh, exchange, client).await {
                Ok((relay, took)) => {
                    let outcome = self.outcome_of(&relay.response);
                    let Some(outcome) = outcome else { return Ok((relay, took)) };
                    if outcome.is_failure() {
                        exchange.record.failed_attempt();
                    }
                    self.report(pick, &outcome, exchange);
                    match self.judge(&outcome, exchange).await? {
                        Next::Over(_) => return Ok((relay, took)),
                        Next::Again(is_fresh) => fresh = is_fresh,
                    }
                    self.give_up(relay);
                    continue;
                }
                Err(end) => AttemptOutcome::Failed(failed(end, exchange)?),
            };
            exchange.record.failed_attempt();
            match self.judge(&outcome, exchange).await? {
                // A stale connection says nothing of the endpoint.
                Next::Again(true) => fresh = true,
                next => {
                    self.report(pick, &outcome, exchange);
                    fresh = false;
                    if let (Next::Over(verdict), AttemptOutcome::Failed(error)) = (next, &outcome) {
                        return Err(Outcome::Answer(self.failure(error, verdict, exchange)));
                    }
                }
            }
        }
    }

    /// The endpoint of the next try; nothing if there is none.
    fn pick(&mut self) -> Option<(EntryIndex, &'a Entry)> {
        let wish = Wish {
            hash: self.hash,
            tried: &self.tried,
            avoid_tried: self.policy.ignore_previous_hosts,
            avoid_tried_priorities: self.policy.remote_localities,
        };
        let pick = self.local.pick(self.pinned, self.index, self.cluster, wish)?;
        self.tried.push(pick);
        Some((pick, self.cluster.endpoints.get(pick)?))
    }

    /// Makes the fault of this try. Nothing if it has none, else whether the next try is over a new connection.
    async fn inject(&mut self, exchange: &mut Exchange) -> Result<Option<bool>, Outcome> {
        let Some(fault) = self.fault else { return Ok(None) };
        let Some(aborted) = policy::inject(exchange, fault).await else { return Ok(None) };
        let outcome = AttemptOutcome::Answered { status: aborted.status(), grpc_status: None, rate_limited: false };
        match self.judge(&outcome, exchange).await? {
            Next::Again(is_fresh) => Ok(Some(is_fresh)),
            Next::Over(_) => Err(Outcome::Answer(aborted)),
        }
    }

    /// What an answer means to retries and outlier detection; nothing if neither could care.
    fn outcome_of(&self, response: &Message) -> Option<AttemptOutcome> {
        let head = response.head();
        let is_watched = self.cluster.definition.policy().outliers.is_some();
        let has_grpc_status = head.names().has(Name::GrpcStatus);
        if head.status() < 400 && !has_grpc_status && self.policy.status_codes.is_empty() && !is_watched {
            return None;
        }
        // Of whatever the request is: so Envoy's retries have it.
        let grpc = if has_grpc_status { head.value(b"grpc-status") } else { None }.filter(|status| !status.is_empty());
        let number = |status| std::str::from_utf8(status).ok()?.parse().ok();
        Some(AttemptOutcome::Answered {
            status: head.status(),
            // What is no number is none that is known.
            grpc_status: grpc.map(|status| number(status).unwrap_or(u32::MAX)),
            rate_limited: head.names().has(Name::Envoy) && head.value(b"x-envoy-ratelimited").is_some(),
        })
    }

    /// Tells outlier detection, to which a gRPC status means something if the request was gRPC.
    fn report(&self, pick: EntryIndex, outcome: &AttemptOutcome, exchange: &Exchange) {
        match *outcome {
            AttemptOutcome::Answered { status, rate_limited, .. } if !exchange.record.is_grpc() => {
                let plain = AttemptOutcome::Answered { status, grpc_status: None, rate_limited };
                report(&self.local, self.cluster, pick, &plain);
            }
            _ => report(&self.local, self.cluster, pick, outcome),
        }
    }

    /// Whether another try follows; waits until it is due.
    async fn judge(&mut self, outcome: &AttemptOutcome, exchange: &mut Exchange) -> Result<Next, Outcome> {
        let method = std::str::from_utf8(exchange.request.head().method()).unwrap_or("");
        let replay = Replay { idempotent: Replay::is_idempotent(method), body_available: self.kept.is_whole() };
        let verdict = self.state.judge(outcome, replay, self.local.draw());
        let after = match verdict {
            Verdict::Retry { after } => after,
            Verdict::Resend => return Ok(Next::Again(true)),
            Verdict::Final | Verdict::Exhausted => {
                if verdict == Verdict::Exhausted {
                    exchange.record.flag(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
                }
                return Ok(Next::Over(verdict));
            }
        };
        if self.cluster.has_limits {
            self.retry = None;
            match self.cluster.endpoints.cluster().try_retry(Instant::now) {
                Ok(permit) => self.retry = Some(permit),
                Err(_overflow) => {
                    self.local.shard.borrow_mut().retry_overflow(&self.cluster.metrics);
                    exchange.record.flag(Flags::UPSTREAM_OVERFLOW);
                    return Ok(Next::Over(Verdict::Final));
                }
            }
        }
        self.local.shard.borrow_mut().retry(&self.cluster.metrics);
        // Boxed, as it is rare.
        match Box::pin(policy::in_time(exchange, tokio::time::sleep(after))).await {
            Some(()) => Ok(Next::Again(false)),
            None => Err(Outcome::Answer(self.failure(&timed_out(exchange), Verdict::Final, exchange))),
        }
    }

    /// Lets go of an answer that isn't passed on. Its request has gone whole: no other is sent again.
    fn give_up(&self, relay: Relay) {
        self.local.memory.give_back_out(relay.out);
        self.local.memory.give_back(relay.response);
    }

    /// One try at one endpoint.
    async fn attempt<C: Client>(
        &mut self,
        entry: &Entry,
        fresh: bool,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Result<(Relay, Duration), AttemptEnd> {
        self.local.shard.borrow_mut().upstream_request(&self.cluster.metrics);
        if self.policy.per_try_timeout.is_some() || exchange.rare.is_some() {
            policy::tell_time(exchange, self.policy.per_try_timeout);
        }
        if self.state.attempt() > 1 {
            rewrite::recount(exchange);
        }
        let security = self.security.as_deref();
        // Boxed where it waits, as that is rare: the futures of idle connections would have to have room for it.
        let lease = match self.speaks_http2(exchange) {
            true if exchange.wishes.upgrade => Box::pin(self.lease_tunnel(entry, exchange)).await?,
            true => match self.local.pool.http2.lease(&entry.state, security) {
                Some(lease) => Some(lease),
                None => Some(Box::pin(self.lease(entry, exchange)).await?),
            },
            false => None,
        };
        let mut attempt = if let Some(lease) = lease {
            self.begin_http2(lease, exchange, client)?
        } else {
            let kept = if fresh { None } else { self.local.pool.reuse(&entry.state, security) };
            let connection = match kept {
                Some(connection) => connection,
                None => Box::pin(self.connect(entry, exchange)).await?,
            };
            self.begin_http1(connection, exchange)
        };
        exchange.record.connected(attempt.upstream.local_address());
        if let Some(limit) = self.policy.per_try_timeout {
            exchange.rare().per_try = Some(Timer::new(limit));
        }
        // A kept connection is had at once, so that the first try begins with the request.
        let sent_at = (!attempt.upstream.is_reused() || self.tried.len() > 1).then(Instant::now);
        match std::future::poll_fn(|cx| attempt.poll_head(cx, exchange, client, &self.local)).await {
            Ok(response) => {
                let now = Instant::now();
                let since_start = exchange.record.head_came(now);
                let took = sent_at.map_or(since_start, |sent_at| now.saturating_duration_since(sent_at));
                Ok((self.answered(attempt, response), took))
            }
            Err(end) => {
                self.kept = attempt.upload.into_kept(&self.local.memory);
                Err(end)
            }
        }
    }

    /// What there is of a try whose answer's head has come.
    fn answered(&mut self, mut attempt: Attempt, response: Box<Message>) -> Relay {
        let (upload, kept, out) = attempt.upload.take_unfinished(&self.local.memory);
        let mut upstream = attempt.upstream;
        self.kept = kept;
        // A 101 is an agreement to a tunnel, whose bytes are no body.
        if let Upstream::Http2(stream) = &mut upstream
            && response.framing() == Framing::None
            && response.head().status() != 101
        {
            stream.forgo_body();
        }
        let keeps = match &upstream {
            Upstream::Http1(connection) => {
                connection.learn_keep_alive(response.head());
                keeps_connection(&response)
            }
            Upstream::Http2(_) => false,
        };
        Relay { upstream, response, upload, keeps, out }
    }

    /// The answer to a request that no try has brought an answer to.
    fn failure(&self, error: &AttemptError, verdict: Verdict, exchange: &mut Exchange) -> Answer {
        let mut flags = flags_of(error);
        if verdict == Verdict::Exhausted {
            flags.insert(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
        }
        let is_overflow = *error == AttemptError::Overflow;
        if is_overflow {
            self.local.shard.borrow_mut().pending_overflow(&self.cluster.metrics);
        }
        // The cause is for the log: clients needn't know what is wrong behind the proxy.
        if let Some(reason) = error.transport_failure() {
            exchange.record.transport_failure(reason);
        }
        let body = error.body(self.state.attempt() > 1).into_owned();
        Answer::new(error.status(), flags, error.details()).with_body(body).overloaded(is_overflow)
    }
}

/// What follows a try.
enum Next {
    /// Another one; over a new connection if so.
    Again(bool),
    /// Nothing.
    Over(Verdict),
}

/// The route's time is up.
pub(super) fn timed_out(exchange: &Exchange) -> AttemptError {
    let timer = exchange.rare.as_ref().and_then(|rare| rare.timeout.as_ref());
    AttemptError::RequestTimeout { limit: timer.map_or(Duration::ZERO, Timer::limit) }
}

/// The back end's part in a try that has brought no answer; if it had none, what the request ends with.
fn failed(end: AttemptEnd, exchange: &mut Exchange) -> Result<AttemptError, Outcome> {
    match end {
        AttemptEnd::Failed(error) => Ok(error),
        AttemptEnd::ClientLeft => Err(Outcome::ClientLeft),
        AttemptEnd::ClientSilent => Err(Outcome::Answer(broken_request(exchange, Refusal::BODY_TOO_SLOW))),
        AttemptEnd::ClientBroke(refusal) => Err(Outcome::Answer(broken_request(exchange, refusal))),
    }
}

/// The answer to a request whose body was broken off, malformed, too large or didn't come.
fn broken_request(exchange: &mut Exchange, refusal: Refusal) -> Answer {
    exchange.record.client_left();
    Answer::new(refusal.status, Flags::NONE, refusal.details).and_close()
}

fn flags_of(error: &AttemptError) -> Flags {
    match error.flag() {
        ResponseFlag::UpstreamConnectionFailure => Flags::UPSTREAM_CONNECTION_FAILURE,
        ResponseFlag::UpstreamConnectionTermination => Flags::UPSTREAM_CONNECTION_TERMINATION,
        ResponseFlag::UpstreamRemoteReset => Flags::UPSTREAM_REMOTE_RESET,
        ResponseFlag::UpstreamProtocolError => Flags::UPSTREAM_PROTOCOL_ERROR,
        ResponseFlag::StreamIdleTimeout => Flags::STREAM_IDLE_TIMEOUT,
        ResponseFlag::UpstreamRequestTimeout => Flags::UPSTREAM_REQUEST_TIMEOUT,
        ResponseFlag::UpstreamOverflow => Flags::UPSTREAM_OVERFLOW,
    }
}

/// Whether a back end keeps its connection open after this response, as far as its head says. Source: RFC 9112, 9.3.
pub(super) fn keeps_connection(response: &Message) -> bool {
    let head = response.head();
    let has = |word: &[u8]| http1::connection_options(head).any(|option| option.eq_ignore_ascii_case(word));
    match head.version() {
        _ if response.framing() == Framing::UntilClose => false,
        Version::Http11 => !head.names().has(Name::Connection) || !has(b"close"),
        Version::Http10 => has(b"keep-alive"),
    }
}

/// How a back end has framed an answer's body; nothing if it has none.
pub(super) fn framing_of(upstream: &Upstream, response: &Message) -> Framing {
    match upstream {
        Upstream::Http2(stream) if stream.is_bodiless() => Framing::None,
        _ => response.framing(),
    }
}

/// How a response's body goes out to a client, of HTTP/1.0 if so.
pub(super) fn framing_to_client(framing: Framing, http10: bool) -> Framing {
    match framing {
        Framing::Chunked | Framing::UntilClose if http10 => Framing::UntilClose,
        // A body that ends with the back end's connection must not end with the client's, where its end couldn't be told from a cut.
        Framing::UntilClose => Framing::Chunked,
        framing => framing,
    }
}
