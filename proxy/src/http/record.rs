//! One exchange: the request, and what is remembered of it while it runs. Dropping it is what ends the exchange, when the last
//! byte of the answer has gone, or when the exchange has broken off; it is counted and logged then, once.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime};

use balance::{ActiveRequest, Entry, EntryIndex};
use config_model::model::{ClusterIndex, Command, Scheme};
use http::{HeaderMap, HeaderValue, Version};
use http1::{Head, Message, Name};
use routing::headers::Values;
use routing::{DestinationEntry, DestinationIndex, RouteEntry, RouteIndex, VirtualHostEntry};

use super::forwarded::Forwarded;
use super::head::Wishes;
use super::messages::Messages;
use super::policy::Rare;
use super::pump::SILENCE_LIMIT;
use super::target::Target;
use crate::listener::{Connection, Protocol};
use crate::net::WrittenAddress;
use crate::snapshot::ClusterRuntime;
use crate::telemetry::{
    AccessRecord, Address, CapturedHeaders, Flags, Headers, NO_HEADERS, RequestProtocol, RequestRecord, SeriesId,
};
use crate::worker::{Local, Pinned};

/// A request on its way, and what is known of it.
pub(super) struct Exchange {
    /// Its head, and on HTTP/1 its body.
    pub(super) request: Held,
    /// Where it wants to go.
    pub(super) target: Target,
    /// What it asks of its connection.
    pub(super) wishes: Wishes,
    /// What is counted and logged.
    pub(super) record: Record,
    /// What few requests have.
    pub(super) rare: Option<Box<Rare>>,
}

/// A message that is there until the exchange ends, when it goes back to where it was lent.
pub(super) struct Held(Option<Box<Message>>);

/// What a message is that has gone back.
static EMPTY: LazyLock<Message> = LazyLock::new(Message::default);

impl Deref for Held {
    type Target = Message;

    fn deref(&self) -> &Message {
        self.0.as_deref().unwrap_or_else(|| &EMPTY)
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Message {
        self.0.get_or_insert_default()
    }
}

/// What is remembered of an exchange.
pub(super) struct Record {
    connection: Rc<Connection>,
    pinned: Rc<Pinned>,
    started: Instant,
    /// From the start to the head of the back end's answer.
    head_after: Option<Duration>,
    /// Whether anything had to be waited for since then.
    pub(super) has_waited: bool,
    answered: Option<Duration>,
    grpc: bool,
    /// Those of a gRPC call over HTTP/2.
    pub(super) messages: Option<Box<Messages>>,
    /// Whether it may be silent for as long as it likes: gRPC, and answers that bring events.
    open_ended: bool,
    /// Whether the attempt under way has been counted as failed.
    failed: bool,
    status: u16,
    grpc_status: Option<u8>,
    flags: Flags,
    details: Cow<'static, str>,
    /// Bytes of the request's body.
    pub(super) request_bytes: u64,
    /// Bytes of the answer's body.
    pub(super) response_bytes: u64,
    cluster: Option<ClusterIndex>,
    /// The cluster as it is for this connection alone, whose client wanted to go to a certain address.
    original: Option<Arc<ClusterRuntime>>,
    endpoint: Option<(EntryIndex, ActiveRequest)>,
    destination: Option<DestinationIndex>,
    route: Option<RouteIndex>,
    attempts: u32,
    words: Option<Box<Words>>,
    /// What proxies in front of us say of it, if they are believed.
    pub(super) forwarded: Option<Box<Forwarded>>,
}

/// What only log lines and header formats want to know; kept if there is either.
struct Words {
    start: SystemTime,
    virtual_host: Option<Box<str>>,
    /// The target that back ends see, if it is another one.
    rewritten: Option<Box<[u8]>>,
    is_host_rewritten: bool,
    response_headers: CapturedHeaders,
    response_trailers: CapturedHeaders,
    /// From the start to the request's last byte, once that has gone.
    request_took: Option<Duration>,
    transport_failure: Option<String>,
    upstream_local_address: Option<(SocketAddr, Rc<str>)>,
}

fn content_type(head: &Head) -> Option<&[u8]> {
    if head.names().has(Name::ContentType) { head.values_of(Name::ContentType).next() } else { None }
}

/// Whether a body of that type is a stream of events, which come when they come. Source: HTML, 9.2, server-sent events.
fn brings_events(content_type: &[u8]) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    let is_kind = content_type.get(..KIND.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(KIND));
    is_kind && matches!(content_type.get(KIND.len()), None | Some(b';' | b' ' | b'\t'))
}

impl Exchange {
    /// Begins with a request whose head is there, or has been refused.
    pub(super) fn begin(connection: &Rc<Connection>, pinned: &Rc<Pinned>, request: Box<Message>) -> Self {
        let record = Record::begin(connection, pinned, &request);
        Self { request: Held(Some(request)), target: Target::unknown(), wishes: Wishes::default(), record, rare: None }
    }

    /// What few requests have, made if need be.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether the number of the try is in the head already, or not to be told.
    pub(super) fn is_counted(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.first_is_counted)
    }

    /// Whether the answer has no body, whatever it says.
    pub(super) fn is_head(&self) -> bool {
        self.request.head().method() == b"HEAD"
    }

    /// What commands of header operations on the answer yield.
    pub(super) fn commands_of_answer(&self) -> Commands<'_> {
        Commands { record: &self.record, target: &self.target, request: Some(self.request.head()) }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.record.end(self.request.head(), &self.target);
        if let Some(request) = self.request.0.take() {
            self.record.local().memory.give_back(request);
        }
    }
}

impl Record {
    fn begin(connection: &Rc<Connection>, pinned: &Rc<Pinned>, request: &Message) -> Self {
        let is_logged = pinned.has_header_commands || pinned.is_logged();
        let words = || {
            Box::new(Words {
                start: SystemTime::now(),
                virtual_host: None,
                rewritten: None,
                is_host_rewritten: false,
                response_headers: CapturedHeaders::default(),
                response_trailers: CapturedHeaders::default(),
                request_took: request.is_complete().then_some(Duration::ZERO),
                transport_failure: None,
                upstream_local_address: None,
            })
        };
        let grpc = content_type(request.head()).is_some_and(routing::grpc::is_grpc);
        Self {
            connection: Rc::clone(connection),
            pinned: Rc::clone(pinned),
            started: Instant::now(),
            head_after: None,
            has_waited: false,
            answered: None,
            grpc,
            messages: (grpc && connection.protocol() != Protocol::Http1).then(Box::default),
            open_ended: grpc,
            failed: false,
            status: 0,
            grpc_status: None,
            flags: Flags::NONE,
            details: Cow::Borrowed(""),
            request_bytes: 0,
            response_bytes: 0,
            cluster: None,
            original: None,
            endpoint: None,
            destination: None,
            route: None,
            attempts: 0,
            words: is_logged.then(words),
            forwarded: None,
        }
    }

    /// The worker's state.
    pub(super) fn local(&self) -> &Rc<Local> {
        &self.connection.local
    }

    /// The configuration that holds for it.
    pub(super) fn pinned(&self) -> &Rc<Pinned> {
        &self.pinned
    }

    /// The client's connection.
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Whether the client speaks HTTP/2, or what came after it.
    pub(super) fn speaks_http2(&self) -> bool {
        self.connection.protocol() != Protocol::Http1
    }

    /// The port of HTTP/3, if the client is to be told of it.
    #[cfg(feature = "http3")]
    pub(super) fn http3_port(&self) -> Option<u16> {
        self.connection.http3_port()
    }

    /// The client, as far as it is known: whoever the proxies in front of us have seen, if they are believed. Nobody by a Unix
    /// socket.
    pub(super) fn client(&self) -> Option<SocketAddr> {
        let forwarded = self.forwarded.as_ref().and_then(|forwarded| forwarded.client);
        forwarded.or_else(|| self.connection.ends.map(|ends| ends.client))
    }

    /// By its listener, or by the proxies in front of us.
    pub(super) fn scheme(&self) -> Scheme {
        let forwarded = self.forwarded.as_ref().and_then(|forwarded| forwarded.scheme);
        forwarded.unwrap_or_else(|| self.connection.scheme())
    }

    /// Something has happened that the log tells with a flag.
    pub(super) fn flag(&mut self, flag: Flags) {
        self.flags.insert(flag);
    }

    /// Whether the request speaks gRPC.
    pub(super) fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// How long a body may be without a byte, the request's or the answer's.
    pub(super) fn silence_limit(&self) -> Duration {
        if self.open_ended { Duration::MAX } else { SILENCE_LIMIT }
    }

    /// The head of the back end's answer is here; yields the time since the request came.
    pub(super) fn head_came(&mut self, now: Instant) -> Duration {
        let after = now.saturating_duration_since(self.started);
        self.head_after = Some(after);
        after
    }

    /// How long it has taken until now. A clock is read only if it can have moved since it was read last.
    fn elapsed(&self) -> Duration {
        self.head_after.filter(|_| !self.has_waited).unwrap_or_else(|| self.started.elapsed())
    }

    /// The virtual host of which no rule was found.
    pub(super) fn virtual_host(&mut self, virtual_host: Option<&VirtualHostEntry>) {
        if let Some(words) = &mut self.words {
            words.virtual_host = virtual_host.map(|host| host.name.clone());
        }
    }

    /// The rule that matched.
    pub(super) fn route(&mut self, route: &RouteEntry) {
        self.route = Some(route.index);
    }

    /// Where the draw fell.
    pub(super) fn destination(&mut self, destination: &DestinationEntry) {
        self.destination = Some(destination.index);
    }

    /// The cluster of the destination.
    pub(super) fn cluster(&mut self, cluster: ClusterIndex) {
        self.cluster = Some(cluster);
    }

    /// `cluster` with the address that the client wanted, if connections to it go there.
    pub(super) fn original(&mut self, cluster: &Arc<ClusterRuntime>) -> Option<Arc<ClusterRuntime>> {
        if self.connection.is_redirected {
            self.original = self.connection.original(cluster);
        }
        self.original.clone()
    }

    /// The rule makes `target` of the path and query.
    pub(super) fn path_rewritten(&mut self, target: &[u8]) {
        if let Some(words) = &mut self.words {
            words.rewritten = Some(target.into());
        }
    }

    /// The back end sees another host than was asked for.
    pub(super) fn host_rewritten(&mut self) {
        if let Some(words) = &mut self.words {
            words.is_host_rewritten = true;
        }
    }

    /// A try begins.
    pub(super) fn attempt(&mut self, index: EntryIndex, entry: &Entry, count: u32) {
        self.attempts = count;
        self.failed = false;
        self.endpoint = Some((index, entry.state.begin()));
        if let Some(words) = &mut self.words {
            words.upstream_local_address = None;
        }
    }

    /// There is no endpoint for the try, which counts all the same. Source: Envoy, `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    pub(super) fn attempt_without_endpoint(&mut self, count: u32) {
        self.attempts = count;
    }

    /// The try has a connection.
    pub(super) fn connected(&mut self, local_address: Option<&WrittenAddress>) {
        if let Some(words) = &mut self.words {
            words.upstream_local_address = local_address.map(|local| (local.address(), Rc::clone(local.text())));
        }
    }

    /// The try failed.
    pub(super) fn failed_attempt(&mut self) {
        if let Some((_, active)) = &self.endpoint
            && !std::mem::replace(&mut self.failed, true)
        {
            active.record_failure();
        }
    }

    /// Counts the messages that have begun. Before there is an answer another endpoint may come to have them.
    pub(super) fn tell_messages(&mut self) {
        if self.messages.is_some() && self.status != 0 {
            self.count_messages();
        }
    }

    fn count_messages(&mut self) {
        let Some(messages) = &mut self.messages else { return };
        let (request, response) = (messages.request.take(), messages.response.take());
        if request + response > 0 {
            self.local().shard.borrow_mut().messages(self.series(), request, response);
        }
    }

    /// What the system said of a connection that could not be made.
    pub(super) fn transport_failure(&mut self, reason: String) {
        if let Some(words) = &mut self.words {
            words.transport_failure = Some(reason);
        }
    }

    /// The answer's status is known.
    pub(super) fn answered(&mut self, status: u16, flags: Flags, details: Cow<'static, str>) {
        self.status = status;
        self.flags.insert(flags);
        self.details = details;
        if self.words.is_some() {
            self.answered = Some(self.elapsed());
        }
    }

    /// The head of the answer is complete.
    pub(super) fn response_head(&mut self, head: &Head) {
        if self.grpc {
            self.note_grpc_status(head.value(b"grpc-status"));
        }
        // What has a length ends.
        self.open_ended =
            self.grpc || !head.names().has(Name::ContentLength) && content_type(head).is_some_and(brings_events);
        if let Some(words) = &mut self.words {
            words.response_headers = self.pinned.snapshot.access_logs.capture_response(head);
        }
    }

    /// The answer has ended with trailers.
    pub(super) fn response_trailers(&mut self, trailers: &HeaderMap) {
        if self.grpc {
            self.note_grpc_status(trailers.get("grpc-status").map(HeaderValue::as_bytes));
        }
        if let Some(words) = &mut self.words {
            words.response_trailers = self.pinned.snapshot.access_logs.capture_trailers(trailers);
        }
    }

    /// The last byte of the request has gone to the back end.
    pub(super) fn request_ended(&mut self) {
        if let Some(words) = &mut self.words
            && words.request_took.is_none()
        {
            words.request_took = Some(self.started.elapsed());
        }
    }

    fn note_grpc_status(&mut self, status: Option<&[u8]>) {
        let status = status.and_then(|status| std::str::from_utf8(status).ok());
        self.grpc_status = status.and_then(|status| status.parse().ok()).or(self.grpc_status);
    }

    /// The back end broke the answer off, or fell silent in it.
    pub(super) fn cut(&mut self, silent: bool) {
        self.failed_attempt();
        if silent {
            self.flags.insert(Flags::STREAM_IDLE_TIMEOUT);
            self.details = Cow::Borrowed("stream_idle_timeout");
        } else {
            self.flags.insert(Flags::UPSTREAM_CONNECTION_TERMINATION);
            self.details = Cow::Borrowed("upstream_reset_after_response_started{connection_termination}");
        }
    }

    /// The answer took longer than the route allows.
    pub(super) fn timed_out(&mut self) {
        self.flags.insert(Flags::UPSTREAM_REQUEST_TIMEOUT);
        self.details = Cow::Borrowed("response_timeout");
    }

    /// The client broke the exchange off.
    pub(super) fn client_left(&mut self) {
        self.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
        self.details = Cow::Borrowed("downstream_remote_disconnect");
    }

    fn end(&mut self, request: &Head, target: &Target) {
        // Of a request that is given up its client knows as little.
        if self.status == 0 || self.connection.local.ending.get() {
            self.client_left();
        }
        self.count_messages();
        self.count();
        let Some(words) = &self.words else { return };
        if self.pinned.is_logged() {
            let texts = Texts::of(request, target);
            let view = self.view(words, &texts, request, &words.response_headers);
            self.pinned.log(&view);
        }
    }

    fn cluster_runtime(&self) -> Option<&Arc<ClusterRuntime>> {
        self.original.as_ref().or_else(|| self.pinned.snapshot.cluster(self.cluster?))
    }

    fn view<'a>(
        &'a self,
        words: &'a Words,
        texts: &'a Texts<'a>,
        request: &'a Head,
        response: &'a dyn Headers,
    ) -> AccessRecord<'a> {
        let cluster = self.cluster_runtime();
        let endpoint = self.endpoint.as_ref().and_then(|(index, _)| cluster?.endpoint(*index));
        let route = self.route.and_then(|index| self.pinned.snapshot.table.routes().get(index.0 as usize));
        let rewritten_host = if words.is_host_rewritten { request.values_of(Name::Host).next() } else { None };
        let protocol = match self.connection.protocol() {
            #[cfg(feature = "http3")]
            Protocol::Http3 => Version::HTTP_3,
            Protocol::Http2 => Version::HTTP_2,
            Protocol::Http1 if texts.is_http10 => Version::HTTP_10,
            Protocol::Http1 => Version::HTTP_11,
        };
        let (peer, here) = self.connection.addresses();
        // Source: Envoy, `Grpc::Common::getGrpcStatus`.
        let grpc_status = || self.grpc_status.unwrap_or_else(|| routing::grpc::status_of_http(self.status));
        let grpc_status = (self.grpc && self.status != 0).then(grpc_status);
        let upstream_local = words.upstream_local_address.as_ref();
        let forwarded = self.forwarded.as_ref().and_then(|forwarded| forwarded.client);
        AccessRecord {
            start: words.start,
            method: texts.method,
            path: words.rewritten.as_deref().unwrap_or(&texts.path),
            original_path: words.rewritten.is_some().then_some(&*texts.path),
            authority: rewritten_host.unwrap_or(texts.authority),
            scheme: self.scheme().as_str(),
            request_headers: request,
            response_headers: response,
            response_trailers: &words.response_trailers,
            protocol,
            status: self.status,
            grpc_status,
            flags: self.flags,
            details: (!self.details.is_empty()).then_some(&*self.details),
            upstream_transport_failure_reason: words.transport_failure.as_deref(),
            bytes_received: self.request_bytes,
            bytes_sent: self.response_bytes,
            duration: Some(self.elapsed()),
            request_duration: words.request_took,
            response_duration: self.answered,
            response_tx_duration: self.answered.map(|answered| self.elapsed().saturating_sub(answered)),
            upstream_host: endpoint.map(|endpoint| &*endpoint.address),
            upstream_cluster: cluster.map(|cluster| &*cluster.name),
            upstream_local_address: upstream_local.map(|(address, text)| Address::Written(*address, text)),
            attempt_count: self.attempts,
            downstream_local_address: Some(here),
            downstream_remote_address: Some(forwarded.map_or(peer, Address::Ip)),
            downstream_direct_remote_address: Some(peer),
            has_client_certificate: self.connection.has_client_certificate(),
            server_name: self.connection.tls().and_then(|tls| tls.server_name.as_deref()),
            route_name: route.and_then(|route| route.route.name.as_deref()),
            virtual_host_name: words.virtual_host.as_deref(),
        }
    }

    /// Where it went.
    fn series(&self) -> &SeriesId {
        let cluster = self.cluster_runtime();
        let endpoint = self.endpoint.as_ref().and_then(|(index, _)| cluster?.endpoint(*index));
        match (endpoint, cluster) {
            (Some(endpoint), _) => &endpoint.series,
            (None, Some(cluster)) => &cluster.unreached_series,
            (None, None) => &self.pinned.snapshot.local_series,
        }
    }

    fn count(&self) {
        let splits = &self.pinned.snapshot.splits;
        let split = self.destination.and_then(|index| splits.get(index.0 as usize)?.as_ref());
        self.local().shard.borrow_mut().record(&RequestRecord {
            series: self.series(),
            split,
            protocol: if self.grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
            status: self.status,
            grpc_status: self.grpc_status,
            flags: self.flags,
            duration: self.elapsed(),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        });
    }
}

/// The request line's parts as the log has them.
struct Texts<'a> {
    method: &'a [u8],
    path: Cow<'a, [u8]>,
    authority: &'a [u8],
    is_http10: bool,
}

impl<'a> Texts<'a> {
    fn of(head: &'a Head, target: &'a Target) -> Self {
        Self {
            method: head.method(),
            path: target.text(head),
            authority: target.authority(),
            is_http10: head.version() == http1::Version::Http10,
        }
    }
}

/// What commands in header operations yield.
pub(super) struct Commands<'a> {
    pub(super) record: &'a Record,
    pub(super) target: &'a Target,
    /// Nothing while it is the request that is being changed.
    pub(super) request: Option<&'a Head>,
}

impl Values for Commands<'_> {
    fn command(&self, command: &Command, head: &Head, out: &mut Vec<u8>) {
        let Some(words) = &self.record.words else { return };
        let request = self.request.unwrap_or(head);
        let response: &dyn Headers = if self.request.is_some() { head } else { NO_HEADERS };
        let texts = Texts::of(request, self.target);
        let mut view = self.record.view(words, &texts, request, response);
        if self.request.is_none() {
            // It is written once, for the first try and all that follow.
            view.attempt_count = 1;
        }
        view.write_command(command, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_events_are_told_by_their_type() {
        for (content_type, want) in [
            ("text/event-stream", true),
            ("Text/Event-Stream; charset=utf-8", true),
            ("text/event-stream ;x", true),
            ("text/event-streams", false),
            ("text/event", false),
            ("text/plain; of=text/event-stream", false),
        ] {
            assert_eq!(brings_events(content_type.as_bytes()), want, "{content_type}");
        }
    }
}
