//! A request on its way to a back end: tried, and tried again, until the head of an answer is there.

use std::fmt::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{AttemptError, AttemptOutcome, Entry, EntryIndex, Replay, ResponseFlag, RetryState, Verdict};
use config_model::model::{Action, ClusterIndex, ClusterTarget};
use http1::{Framing, Message, Version};
use routing::headers::Mutation;
use routing::{DestinationEntry, RouteEntry};
use smallvec::SmallVec;

use super::answer::Answer;
use super::attempt::{Attempt, AttemptEnd, Client, Upload};
use super::body::Kept;
use super::record::Exchange;
use super::response;
use super::rewrite::{rewrite_head, write_request};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::Flags;
use crate::upstream::{UpstreamConnection, connect};
use crate::worker::{Local, Pinned};

/// What was decided.
pub(super) struct Forwarding<'a> {
    pub(super) pinned: &'a Rc<Pinned>,
    pub(super) route: &'a RouteEntry,
    pub(super) destination: &'a DestinationEntry,
}

/// A back end's answer, its head as the client shall see it.
pub(super) struct Relay {
    pub(super) upstream: Box<UpstreamConnection>,
    pub(super) response: Box<Message>,
    /// What is still to be sent of the request, if anything is.
    pub(super) upload: Option<Box<Upload>>,
    /// Whether the back end's connection can take another request afterwards.
    pub(super) keeps: bool,
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

/// Sends the request on, and yields what has come of it.
pub(super) async fn forward<C: Client>(
    forwarding: &Forwarding<'_>,
    exchange: &mut Exchange,
    client: &mut C,
    rules: &[&Mutation],
) -> Outcome {
    let Forwarding { pinned, route, destination } = *forwarding;
    exchange.record.destination(destination);
    let target = rewrite_head(exchange, route, destination);
    let ClusterTarget::Known(index) = destination.target else {
        return Outcome::Answer(Answer::new(503, Flags::NO_CLUSTER_FOUND, "cluster_not_found"));
    };
    let Some(cluster) = pinned.snapshot.cluster(index) else { return Outcome::Answer(no_healthy_upstream()) };
    // Only a route that forwards has destinations.
    let Action::Forward(action) = &route.route.action else { return Outcome::Answer(no_healthy_upstream()) };
    exchange.record.cluster(index);
    let tries = Tries {
        local: Rc::clone(exchange.record.local()),
        pinned,
        index,
        cluster,
        target: target.as_deref(),
        state: RetryState::new(&action.retry),
        tried: SmallVec::new(),
        kept: Kept::up_to(0),
    };
    match tries.run(exchange, client).await {
        Ok((mut relay, took)) => {
            let framing = relay.response.framing();
            let head = relay.response.head_mut();
            if head.status() >= 500 {
                exchange.record.failed_attempt();
            }
            response::receive(head, framing, took, exchange, rules);
            Outcome::Relay(relay)
        }
        Err(outcome) => outcome,
    }
}

fn no_healthy_upstream() -> Answer {
    Answer::new(503, Flags::NO_HEALTHY_UPSTREAM, "no_healthy_upstream").with_body("no healthy upstream")
}

/// The tries of one request.
struct Tries<'a> {
    local: Rc<Local>,
    pinned: &'a Rc<Pinned>,
    index: ClusterIndex,
    cluster: &'a Arc<ClusterRuntime>,
    /// The rewritten target.
    target: Option<&'a [u8]>,
    state: RetryState<'a>,
    tried: SmallVec<[EntryIndex; 4]>,
    kept: Kept,
}

impl Tries<'_> {
    async fn run<C: Client>(mut self, exchange: &mut Exchange, client: &mut C) -> Result<(Relay, Duration), Outcome> {
        let mut fresh = false;
        loop {
            let Some(pick) = self.local.pick(self.pinned, self.index, self.cluster, &self.tried) else {
                return Err(Outcome::Answer(no_healthy_upstream()));
            };
            self.tried.push(pick);
            let Some(entry) = self.cluster.endpoints.get(pick) else {
                return Err(Outcome::Answer(no_healthy_upstream()));
            };
            exchange.record.attempt(pick, entry, self.state.attempt());
            let error = match self.attempt(entry, fresh, exchange, client).await {
                Ok(answered) => return Ok(answered),
                Err(AttemptEnd::ClientLeft) => return Err(Outcome::ClientLeft),
                Err(AttemptEnd::ClientSilent) => return Err(Outcome::Answer(broken_request(exchange, 408))),
                Err(AttemptEnd::ClientBroke) => return Err(Outcome::Answer(broken_request(exchange, 400))),
                Err(AttemptEnd::Failed(error)) => error,
            };
            exchange.record.failed_attempt();
            let idempotent = Replay::is_idempotent(std::str::from_utf8(exchange.request.head().method()).unwrap_or(""));
            let replay = Replay { idempotent, body_available: self.kept.is_whole() };
            let outcome = AttemptOutcome::Failed(error);
            let verdict = self.state.judge(&outcome, replay, self.local.draw());
            let AttemptOutcome::Failed(error) = outcome else { return Err(Outcome::Answer(no_healthy_upstream())) };
            match verdict {
                Verdict::Retry { after } => {
                    self.local.shard.borrow_mut().retry(&self.cluster.metrics);
                    // Boxed, as it is rare.
                    Box::pin(tokio::time::sleep(after)).await;
                    fresh = false;
                }
                Verdict::Resend => fresh = true,
                Verdict::Final | Verdict::Exhausted => {
                    return Err(Outcome::Answer(self.failure(&error, verdict, exchange)));
                }
            }
        }
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
        let kept = if fresh { None } else { self.local.pool.reuse(&entry.state) };
        let upstream = match kept {
            Some(upstream) => upstream,
            None => {
                let limit = self.cluster.definition.connect_timeout;
                connect(&self.local, &self.cluster.metrics, entry, limit).await.map_err(AttemptEnd::Failed)?
            }
        };
        exchange.record.connected(upstream.local_address);
        let mut out = self.local.memory.out();
        write_request(exchange, self.target, self.state.attempt(), &mut out);
        let framing = exchange.request.framing();
        let upload = Upload::new(out, framing, std::mem::take(&mut self.kept));
        // A kept connection is had at once.
        let sent_at = if upstream.reused && self.tried.len() == 1 { exchange.record.started() } else { Instant::now() };
        let mut attempt = Attempt::new(upstream, upload);
        match std::future::poll_fn(|cx| attempt.poll_head(cx, exchange, client, &self.local)).await {
            Ok(response) => {
                let Attempt { upstream, upload, .. } = attempt;
                let upload = upload.unfinished(&self.local.memory);
                let keeps = keeps_connection(&response);
                let now = Instant::now();
                exchange.record.head_came(now);
                Ok((Relay { upstream, response, upload, keeps }, now.saturating_duration_since(sent_at)))
            }
            Err(end) => {
                self.kept = attempt.upload.into_kept(&self.local.memory);
                Err(end)
            }
        }
    }

    /// The answer to a request that no try has brought an answer to.
    fn failure(&self, error: &AttemptError, verdict: Verdict, exchange: &mut Exchange) -> Answer {
        let mut flags = flags_of(error);
        if verdict == Verdict::Exhausted {
            flags.insert(Flags::UPSTREAM_RETRY_LIMIT_EXCEEDED);
        }
        let reason = error.reset_reason();
        let details = format!("upstream_reset_before_response_started{{{}}}", reason.replace(' ', "_"));
        let retried = if self.state.attempt() > 1 { "retried and the latest reset reason: " } else { "reset reason: " };
        let mut body = format!("upstream connect error or disconnect/reset before headers. {retried}{reason}");
        if let AttemptError::ConnectFailed { reason } = error {
            // Writing to a string cannot fail.
            let _ = write!(body, ", transport failure reason: delayed connect error: {reason}");
            exchange.record.transport_failure(format!("delayed connect error: {reason}"));
        }
        Answer::new(error.status(), flags, details).with_body(body)
    }
}

/// The answer to a request whose body was broken off, malformed or didn't come.
fn broken_request(exchange: &mut Exchange, status: u16) -> Answer {
    exchange.record.client_left();
    let details = if status == 408 { "request_body_timeout" } else { "http1.codec_error" };
    Answer::new(status, Flags::NONE, details).and_close()
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
fn keeps_connection(response: &Message) -> bool {
    let head = response.head();
    let mut options = http1::connection_options(head);
    match head.version() {
        _ if response.framing() == Framing::UntilClose => false,
        Version::Http11 => !options.any(|option| option.eq_ignore_ascii_case(b"close")),
        Version::Http10 => options.any(|option| option.eq_ignore_ascii_case(b"keep-alive")),
    }
}

/// How a response's body goes out to a client.
pub(super) fn framing_to_client(framing: Framing) -> Framing {
    // A body that ends with the back end's connection must not end with the client's, where its end couldn't be told from a cut.
    if framing == Framing::UntilClose { Framing::Chunked } else { framing }
}
