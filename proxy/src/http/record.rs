//! What is remembered of an exchange while it runs, and recorded once when it is over: when the last byte of the answer has
//! gone, or when the exchange has broken off. Dropping the record is what ends the exchange.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use balance::{ActiveRequest, Entry, EntryIndex};
use bytes::Bytes;
use config_model::model::{ClusterIndex, Command};
use http::header::HeaderMap;
use http::request::Parts;
use http::{Method, Uri, Version};
use http_body::Frame;
use routing::headers::Values;
use routing::{DestinationEntry, DestinationIndex, RouteEntry, RouteIndex, VirtualHostEntry, rewrite};

use super::body::Progress;
use super::head::Target;
use super::response::is_grpc;
use super::survey::{Field, Survey};
use crate::listener::{Connection, Protocol};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::{AccessRecord, CapturedHeaders, Flags, Headers, NO_HEADERS, RequestProtocol, RequestRecord};
use crate::worker::{Local, Pinned};

/// One exchange.
pub(crate) struct Record {
    connection: Rc<Connection>,
    pinned: Rc<Pinned>,
    started: Instant,
    answered: Option<Duration>,
    version: Version,
    grpc: bool,
    waits_for_leave: bool,
    head: bool,
    /// Whether the client's side holds a part of the answer that it has not taken.
    owed: bool,
    /// Whether the attempt under way has been counted as failed.
    failed: bool,
    status: u16,
    grpc_status: Option<u8>,
    flags: Flags,
    details: Cow<'static, str>,
    upload: Option<Rc<Progress>>,
    response_bytes: u64,
    cluster: Option<ClusterIndex>,
    endpoint: Option<(EntryIndex, ActiveRequest)>,
    destination: Option<DestinationIndex>,
    route: Option<RouteIndex>,
    attempts: u32,
    words: Option<Box<Words>>,
}

/// What only log lines and header formats want to know; kept if there is either.
struct Words {
    start: SystemTime,
    method: Method,
    path: String,
    original_path: Option<String>,
    authority: String,
    virtual_host: Option<Box<str>>,
    request_headers: CapturedHeaders,
    /// For operations on the answer that name fields of the request.
    whole_head: Option<HeaderMap>,
    response_headers: CapturedHeaders,
    transport_failure: Option<String>,
    upstream_local_address: Option<SocketAddr>,
}

impl Record {
    /// Begins with the head of a request.
    pub(super) fn begin(connection: &Rc<Connection>, pinned: &Rc<Pinned>, parts: &Parts) -> Box<Self> {
        connection.request_begins();
        Box::new(Self {
            connection: Rc::clone(connection),
            pinned: Rc::clone(pinned),
            started: Instant::now(),
            answered: None,
            version: parts.version,
            grpc: false,
            waits_for_leave: false,
            head: parts.method == Method::HEAD,
            owed: false,
            failed: false,
            status: 0,
            grpc_status: None,
            flags: Flags::NONE,
            details: Cow::Borrowed(""),
            upload: None,
            response_bytes: 0,
            cluster: None,
            endpoint: None,
            destination: None,
            route: None,
            attempts: 0,
            words: None,
        })
    }

    /// The worker's state.
    pub(super) fn local(&self) -> &Rc<Local> {
        &self.connection.local
    }

    /// What the fields of the request say of the exchange.
    pub(super) fn survey(&mut self, headers: &HeaderMap, survey: Survey) {
        self.grpc = survey.has(Field::ContentType) && is_grpc(headers);
        self.waits_for_leave = survey.has(Field::Expect);
    }

    /// Whether the client waits for a leave before it sends its body.
    pub(super) fn waits_for_leave(&self) -> bool {
        self.waits_for_leave
    }

    /// Whether the request speaks gRPC.
    pub(super) fn is_grpc(&self) -> bool {
        self.grpc
    }

    /// Remembers the head of a request that is not routed, as far as the log wants it.
    pub(super) fn refused_head(&mut self, parts: &Parts, uri: &Uri) {
        if self.is_logged() {
            let path = uri.path_and_query().map_or(String::new(), |path| path.as_str().to_owned());
            let host = parts.headers.get(http::header::HOST).map_or(&b""[..], |host| host.as_bytes());
            self.keep_words(parts, path, host);
        }
    }

    /// Remembers the head of a request, as far as the log wants it.
    pub(super) fn request_head(&mut self, parts: &Parts, target: &Target<'_>) {
        if self.is_logged() {
            let path = rewrite::target(target.path.forwarded(), target.query);
            self.keep_words(parts, String::from_utf8_lossy(&path).into_owned(), target.authority);
        }
    }

    fn is_logged(&self) -> bool {
        self.pinned.has_header_commands || self.local().logger.borrow().is_enabled()
    }

    fn keep_words(&mut self, parts: &Parts, path: String, authority: &[u8]) {
        let request_headers = self.pinned.snapshot.line_format.capture_request(&parts.headers);
        let whole_head = self.pinned.has_header_commands.then(|| parts.headers.clone());
        self.words = Some(Box::new(Words {
            start: SystemTime::now(),
            method: parts.method.clone(),
            path,
            original_path: None,
            authority: String::from_utf8_lossy(authority).into_owned(),
            virtual_host: None,
            request_headers,
            whole_head,
            response_headers: CapturedHeaders::default(),
            transport_failure: None,
            upstream_local_address: None,
        }));
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

    /// The path that came, if the rule rewrites it.
    pub(super) fn path_rewritten(&mut self, original: &Bytes) {
        if let Some(words) = &mut self.words {
            words.original_path = Some(String::from_utf8_lossy(original).into_owned());
        }
    }

    /// Where the progress of the request's body is seen.
    pub(super) fn upload(&mut self, upload: Option<Rc<Progress>>) {
        self.upload = upload;
    }

    /// Whether something of the request's body has not come, on a connection where the next request would follow it.
    pub(super) fn has_unread_body(&self) -> bool {
        let unread = self.upload.as_ref().is_some_and(|upload| !upload.complete.get());
        unread && self.connection.protocol() == Protocol::Http1
    }

    /// A try begins.
    pub(super) fn attempt(&mut self, index: EntryIndex, entry: &Entry, count: u32) {
        self.attempts = count;
        self.failed = false;
        self.endpoint = Some((index, entry.state.begin()));
    }

    /// The try has a connection.
    pub(super) fn connected(&mut self, local_address: Option<SocketAddr>) {
        if let Some(words) = &mut self.words {
            words.upstream_local_address = local_address;
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
            self.answered = Some(self.started.elapsed());
        }
    }

    /// The head of the answer is complete.
    pub(super) fn response_head(&mut self, headers: &HeaderMap) {
        if self.grpc {
            self.note_grpc_status(headers);
        }
        if let Some(words) = &mut self.words {
            words.response_headers = self.pinned.snapshot.line_format.capture_response(headers);
        }
    }

    /// `grpc-status` of a head or of trailers.
    pub(super) fn note_grpc_status(&mut self, fields: &HeaderMap) {
        let status = fields.get("grpc-status").and_then(|status| status.to_str().ok());
        self.grpc_status = status.and_then(|status| status.parse().ok()).or(self.grpc_status);
    }

    /// A part of the answer's body is handed to the client's side, which asks for the next one when it has found room for
    /// it: on HTTP/2 that takes as long as the client likes.
    pub(super) fn passed(&mut self, frame: &Frame<Bytes>, last: bool) {
        self.response_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        if let Some(trailers) = frame.trailers_ref().filter(|_| self.grpc) {
            self.note_grpc_status(trailers);
        }
        if !last && !std::mem::replace(&mut self.owed, true) {
            self.connection.owed(1);
        }
    }

    /// The client's side has taken what it was handed.
    pub(super) fn taken(&mut self) {
        if std::mem::replace(&mut self.owed, false) {
            self.connection.owed(-1);
        }
    }

    /// Whether the answer has no body, whatever it says.
    pub(super) fn is_head(&self) -> bool {
        self.head
    }

    /// What the client still sends is not read: it is given a moment to take the answer before the connection closes.
    pub(super) fn linger(&self) {
        self.connection.linger();
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

    /// The client broke the exchange off.
    pub(super) fn client_left(&mut self) {
        self.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION);
        self.details = Cow::Borrowed("downstream_remote_disconnect");
    }

    fn cluster_runtime(&self) -> Option<&Arc<ClusterRuntime>> {
        self.pinned.snapshot.cluster(self.cluster?)
    }

    fn view<'a>(&'a self, words: &'a Words, request: &'a dyn Headers, response: &'a dyn Headers) -> AccessRecord<'a> {
        let cluster = self.cluster_runtime();
        let endpoint = self.endpoint.as_ref().and_then(|(index, _)| cluster?.endpoint(*index));
        let route = self.route.and_then(|index| self.pinned.snapshot.table.routes().get(index.0 as usize));
        AccessRecord {
            start: words.start,
            method: words.method.as_str(),
            path: &words.path,
            original_path: words.original_path.as_deref(),
            authority: &words.authority,
            scheme: "http",
            request_headers: request,
            response_headers: response,
            response_trailers: NO_HEADERS,
            protocol: self.version,
            status: self.status,
            flags: self.flags,
            details: (!self.details.is_empty()).then_some(&*self.details),
            connection_termination_details: None,
            upstream_transport_failure_reason: words.transport_failure.as_deref(),
            bytes_received: self.bytes_received(),
            bytes_sent: self.response_bytes,
            duration: (self.status != 0).then(|| self.started.elapsed()),
            request_duration: None,
            response_duration: self.answered,
            response_tx_duration: self.answered.map(|answered| self.started.elapsed().saturating_sub(answered)),
            upstream_host: endpoint.map(|endpoint| &*endpoint.address),
            upstream_cluster: cluster.map(|cluster| &*cluster.name),
            upstream_local_address: words.upstream_local_address,
            attempt_count: self.attempts,
            downstream_local_address: Some(self.connection.here),
            downstream_remote_address: Some(self.connection.peer),
            downstream_direct_remote_address: Some(self.connection.peer),
            server_name: None,
            route_name: route.and_then(|route| route.route.name.as_deref()),
            virtual_host_name: words.virtual_host.as_deref(),
        }
    }

    fn bytes_received(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.bytes.get())
    }

    fn count(&self) {
        let cluster = self.cluster_runtime();
        let endpoint = self.endpoint.as_ref().and_then(|(index, _)| cluster?.endpoint(*index));
        let snapshot = &self.pinned.snapshot;
        let series = match (endpoint, cluster) {
            (Some(endpoint), _) => &endpoint.series,
            (None, Some(cluster)) => &cluster.unreached_series,
            (None, None) => &snapshot.local_series,
        };
        let split = self.destination.and_then(|index| snapshot.splits.get(index.0 as usize)?.as_ref());
        self.local().shard.borrow_mut().record(&RequestRecord {
            series,
            split,
            protocol: if self.grpc { RequestProtocol::Grpc } else { RequestProtocol::Http },
            status: self.status,
            grpc_status: self.grpc_status,
            flags: self.flags,
            duration: self.started.elapsed(),
            request_bytes: self.bytes_received(),
            response_bytes: self.response_bytes,
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.taken();
        if self.status == 0 {
            self.client_left();
        }
        self.count();
        if let Some(words) = &self.words {
            let view = self.view(words, &words.request_headers, &words.response_headers);
            self.local().logger.borrow_mut().log(&self.pinned.snapshot.line_format, &view);
        }
        self.connection.request_ends();
    }
}

impl Values for Record {
    /// `head` is the request's until there is an answer, and the answer's from then on.
    fn command(&self, command: &Command, head: &HeaderMap, out: &mut Vec<u8>) {
        let Some(words) = &self.words else { return };
        let view = match self.status {
            0 => self.view(words, head, NO_HEADERS),
            _ => match &words.whole_head {
                Some(request) => self.view(words, request, head),
                None => self.view(words, &words.request_headers, head),
            },
        };
        view.write_command(command, out);
    }
}
