//! A request on its way to a back end: changed as its route says, tried, tried again, and its answer passed on.

use std::fmt::Write;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use balance::{AttemptError, AttemptOutcome, EntryIndex, Replay, ResponseFlag, RetryState, Verdict};
use config_model::model::{Action, ClusterIndex, ClusterTarget, RetryConditions, RetryPolicy};
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use routing::{DestinationEntry, RouteEntry, headers};
use smallvec::SmallVec;

use super::answer::Answer;
use super::body::{Progress, RequestBody, ResponseBody};
use super::record::Record;
use super::response::{self, small_number};
use crate::listener::{Connection, Protocol};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::Flags;
use crate::upstream::{Lease, SendError, connect};
use crate::worker::{Deadline, Pinned};

/// A back end that has the whole request and says nothing. Source: Envoy, `stream_idle_timeout`.
const HEAD_SILENCE: Duration = Duration::from_mins(5);

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");

/// What was decided.
pub(super) struct Forwarding<'a> {
    pub(super) connection: &'a Rc<Connection>,
    pub(super) pinned: &'a Rc<Pinned>,
    pub(super) route: &'a RouteEntry,
    pub(super) destination: &'a DestinationEntry,
}

/// Sends the request on, and yields the answer, be it the back end's or ours.
pub(super) async fn forward(
    forwarding: Forwarding<'_>,
    mut parts: Parts,
    body: Incoming,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    let Forwarding { connection, pinned, route, destination } = forwarding;
    let mutations = [&route.response_headers, &destination.response_headers];
    record.destination(destination);
    let ClusterTarget::Known(index) = destination.target else {
        let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, Flags::NO_CLUSTER_FOUND, "cluster_not_found");
        return answer.send(record, &mutations[..1]);
    };
    let Some(cluster) = pinned.snapshot.cluster(index) else {
        return no_healthy_upstream().send(record, &mutations);
    };
    record.cluster(index);
    let (body, upload) = RequestBody::relay(body, &connection.local);
    if upload.is_some() && !parts.headers.contains_key(header::CONTENT_LENGTH) {
        // Without it hyper sends no body with a method that usually has none.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    record.upload(upload.clone());
    let policy = retry_of(route);
    let attempts = Attempts {
        connection,
        pinned,
        index,
        cluster,
        state: RetryState::new(&policy),
        tried: SmallVec::new(),
        upload,
    };
    match attempts.run(parts, body, &mut record).await {
        Ok(answered) => pass_on(answered, connection, record, &mutations),
        Err(answer) => answer.send(record, &mutations),
    }
}

/// Istio's default policy, with the route's number of tries.
fn retry_of(route: &RouteEntry) -> RetryPolicy {
    let attempts = match &route.route.action {
        Action::Forward(forward) => forward.retry.attempts,
        Action::Redirect(_) | Action::DirectResponse(_) => 0,
    };
    RetryPolicy {
        attempts,
        per_try_timeout: None,
        conditions: RetryConditions::ISTIO_DEFAULT,
        status_codes: Vec::new(),
        remote_localities: false,
        ignore_previous_hosts: true,
        back_off: Duration::from_millis(25),
    }
}

fn no_healthy_upstream() -> Answer {
    let flags = Flags::NO_HEALTHY_UPSTREAM;
    Answer::new(StatusCode::SERVICE_UNAVAILABLE, flags, "no_healthy_upstream").with_body("no healthy upstream")
}

/// A head that came, and what it came over.
struct Answered {
    response: Response<Incoming>,
    lease: Lease,
    sent_at: Instant,
    upload: Option<Rc<Progress>>,
}

/// A head without its index, which is cheaper to make than a whole one, and hardly ever needed.
struct HeadCopy {
    method: Method,
    uri: Uri,
    fields: Vec<(HeaderName, HeaderValue)>,
}

impl HeadCopy {
    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        for (name, value) in self.fields {
            request.headers_mut().append(name, value);
        }
        request
    }
}

/// The tries of one request.
struct Attempts<'a> {
    connection: &'a Rc<Connection>,
    pinned: &'a Rc<Pinned>,
    index: ClusterIndex,
    cluster: &'a Arc<ClusterRuntime>,
    state: RetryState<'a>,
    tried: SmallVec<[EntryIndex; 4]>,
    upload: Option<Rc<Progress>>,
}

impl Attempts<'_> {
    async fn run(mut self, parts: Parts, body: RequestBody, record: &mut Record) -> Result<Answered, Answer> {
        let mut request = Request::from_parts(parts, body);
        let mut fresh = false;
        loop {
            let local = &self.connection.local;
            let Some(pick) = local.pick(self.pinned, self.index, self.cluster, &self.tried) else {
                return Err(no_healthy_upstream());
            };
            self.tried.push(pick);
            let (error, unsent) = match self.attempt(pick, fresh, request, record).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            // What is left to be sent again was either not sent, or is the copy of a request that may be sent twice.
            let replay = Replay { idempotent: true, body_available: unsent.is_some() };
            let outcome = AttemptOutcome::Failed(error);
            let verdict = self.state.judge(&outcome, replay, local.draw());
            let AttemptOutcome::Failed(error) = outcome else { return Err(no_healthy_upstream()) };
            let Some(again) = unsent else { return Err(self.failure(&error, Verdict::Final, record)) };
            match verdict {
                Verdict::Retry { after } => {
                    local.shard.borrow_mut().retry(&self.cluster.metrics);
                    tokio::time::sleep(after).await;
                    fresh = false;
                }
                Verdict::Resend => fresh = true,
                Verdict::Final | Verdict::Exhausted => return Err(self.failure(&error, verdict, record)),
            }
            request = again;
        }
    }

    /// One try at one endpoint. A failure comes with the request, if it can be sent again.
    async fn attempt(
        &self,
        pick: EntryIndex,
        fresh: bool,
        mut request: Request<RequestBody>,
        record: &mut Record,
    ) -> Result<Answered, (AttemptError, Option<Request<RequestBody>>)> {
        let Some(entry) = self.cluster.endpoints.get(pick) else { return Err((AttemptError::ClosedUnsent, None)) };
        let local = &self.connection.local;
        record.attempt(pick, entry, self.state.attempt());
        local.shard.borrow_mut().upstream_request(&self.cluster.metrics);
        request.headers_mut().insert(ATTEMPT_COUNT, small_number(self.state.attempt().into()));
        let kept = if fresh { None } else { local.pool.reuse(&entry.state).await };
        let mut lease = match kept {
            Some(lease) => lease,
            None => {
                let limit = self.cluster.definition.connect_timeout;
                match connect(local, &self.cluster.metrics, entry, limit).await {
                    Ok(lease) => lease,
                    Err(error) => {
                        record.failed_attempt();
                        return Err((error, Some(request)));
                    }
                }
            }
        };
        record.connected(lease.local_address());
        let copy = self.copy_for_stale(&lease, &request);
        let sent_at = Instant::now();
        match self.answer(lease.send(request)).await {
            Ok(response) => Ok(Answered { response, lease, sent_at, upload: self.upload.clone() }),
            Err(failed) => {
                record.failed_attempt();
                Err((failed.error, failed.unsent.or_else(|| copy.map(HeadCopy::into_request))))
            }
        }
    }

    /// Waits for the head of an answer, as long as the request still moves, and for [`HEAD_SILENCE`] when it doesn't.
    async fn answer<T>(&self, sending: impl Future<Output = Result<T, SendError>>) -> Result<T, SendError> {
        let own;
        let silence = match self.connection.protocol() {
            Protocol::Http1 => &self.connection.answer,
            Protocol::Http2 => {
                own = Deadline::new(&self.connection.local.deadlines);
                &own
            }
        };
        let mut sending = pin!(sending);
        let mut seen = None;
        poll_fn(|cx| {
            if let Poll::Ready(result) = sending.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            let sent = self.upload.as_ref().map(|upload| upload.bytes.get());
            if seen != Some(sent) {
                seen = Some(sent);
                silence.set(HEAD_SILENCE);
            }
            silence.register(cx.waker());
            if !silence.passed() {
                return Poll::Pending;
            }
            let error = AttemptError::Stalled { limit: HEAD_SILENCE };
            Poll::Ready(Err(SendError { error, unsent: None }))
        })
        .await
    }

    /// A kept connection may have been given up by the back end at this very moment. A request that may be sent twice, and has
    /// no body, is kept for that.
    fn copy_for_stale(&self, lease: &Lease, request: &Request<RequestBody>) -> Option<HeadCopy> {
        if !lease.reused() || self.upload.is_some() || !Replay::is_idempotent(request.method().as_str()) {
            return None;
        }
        let fields = request.headers().iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Some(HeadCopy { method: request.method().clone(), uri: request.uri().clone(), fields })
    }

    /// The answer to a request that no try has brought an answer to.
    fn failure(&self, error: &AttemptError, verdict: Verdict, record: &mut Record) -> Answer {
        if self.upload.as_ref().is_some_and(|upload| upload.failed.get()) {
            record.client_left();
            return Answer::new(StatusCode::REQUEST_TIMEOUT, Flags::NONE, "request_body_broken_off");
        }
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
            record.transport_failure(format!("delayed connect error: {reason}"));
        }
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Answer::new(status, flags, details).with_body(body)
    }
}

fn flags_of(error: &AttemptError) -> Flags {
    match error.flag() {
        ResponseFlag::UpstreamConnectionFailure => Flags::UPSTREAM_CONNECTION_FAILURE,
        ResponseFlag::UpstreamConnectionTermination => Flags::UPSTREAM_CONNECTION_TERMINATION,
        ResponseFlag::UpstreamRemoteReset => Flags::UPSTREAM_REMOTE_RESET,
        ResponseFlag::UpstreamProtocolError => Flags::UPSTREAM_PROTOCOL_ERROR,
        // There are no time-outs and no limits yet.
        ResponseFlag::StreamIdleTimeout | ResponseFlag::UpstreamRequestTimeout | ResponseFlag::UpstreamOverflow => {
            Flags::STREAM_IDLE_TIMEOUT
        }
    }
}

/// The back end's answer, as the client shall see it.
fn pass_on(
    answered: Answered,
    connection: &Connection,
    mut record: Box<Record>,
    mutations: &[&headers::Mutation],
) -> Response<ResponseBody> {
    let Answered { response, lease, sent_at, upload } = answered;
    let (mut head, body) = response.into_parts();
    if !response::is_sound(&head) {
        let details = "upstream_reset_before_response_started{protocol_error}";
        let answer = Answer::new(StatusCode::BAD_GATEWAY, Flags::UPSTREAM_PROTOCOL_ERROR, details);
        record.failed_attempt();
        return answer.send(record, mutations);
    }
    if head.status.is_server_error() {
        record.failed_attempt();
    }
    response::receive(&mut head, sent_at.elapsed());
    // Before the rules write: their commands read the answer from here on, and the request as it was kept.
    record.answered(head.status.as_u16(), Flags::NONE, "via_upstream".into());
    headers::apply(mutations, &mut head.headers, &*record);
    response::sign(&mut head.headers);
    record.response_head(&head.headers);
    let trailers = connection.protocol() == Protocol::Http2;
    Response::from_parts(head, ResponseBody::relay(body, lease, upload, trailers, record))
}
