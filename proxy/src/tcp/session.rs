//! What is remembered of a connection while it lasts. Dropping it is what ends it: it is counted and logged then, once.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use balance::{ActiveRequest, Entry, EntryIndex};
use config_model::model::ConnectionPool;

use crate::listener::Connection;
use crate::snapshot::ClusterRuntime;
use crate::telemetry::{AccessRecord, Address, Flags, NO_HEADERS, SeriesId, SplitDestinationId, TcpEvent};

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said that they send nothing more.
    Closed,
    /// The client's side broke.
    ClientBroke,
    /// The back end's side broke.
    BackEndBroke,
    /// Nothing moved for too long.
    Idle,
    /// It lasted longer than it may.
    TooLong,
}

/// A connection on its way.
pub(super) struct Session {
    connection: Rc<Connection>,
    start: SystemTime,
    started: Instant,
    server_name: Option<Box<str>>,
    cluster: Option<Arc<ClusterRuntime>>,
    endpoint: Option<(EntryIndex, ActiveRequest)>,
    upstream_local_address: Option<SocketAddr>,
    transport_failure: Option<String>,
    flags: Flags,
    /// Bytes from the client and to it.
    moved: (u64, u64),
    reported: (u64, u64),
    /// What its flags were when it was counted as opened; nothing if it wasn't yet.
    opened: Option<Flags>,
}

impl Session {
    /// A connection of which nothing is known yet.
    pub(super) fn begin(connection: &Rc<Connection>) -> Self {
        Self {
            connection: Rc::clone(connection),
            start: SystemTime::now(),
            started: Instant::now(),
            server_name: None,
            cluster: None,
            endpoint: None,
            upstream_local_address: None,
            transport_failure: None,
            flags: Flags::NONE,
            moved: (0, 0),
            reported: (0, 0),
            opened: None,
        }
    }

    /// The destination of a split that the draw fell on.
    pub(super) fn split(&self, split: Option<&SplitDestinationId>) {
        if let Some(split) = split {
            self.connection.local.shard.borrow_mut().split(split);
        }
    }

    /// The cluster of the destination.
    pub(super) fn cluster(&mut self, cluster: &Arc<ClusterRuntime>) {
        self.cluster = Some(Arc::clone(cluster));
    }

    /// The endpoint that was picked.
    pub(super) fn endpoint(&mut self, index: EntryIndex, entry: &Entry) {
        self.endpoint = Some((index, entry.state.begin()));
    }

    /// It has a connection to the endpoint.
    pub(super) fn connected(&mut self, local_address: Option<SocketAddr>) {
        self.upstream_local_address = local_address;
    }

    /// It is one of ours, and its client asked for `server_name` in its handshake, if it spoke of one.
    pub(super) fn opened(&mut self, server_name: Option<Box<str>>) {
        self.server_name = server_name;
        self.opened = Some(self.flags);
        self.tell(&TcpEvent::Opened);
    }

    /// It goes nowhere.
    pub(super) fn refuse(&mut self, flags: Flags) {
        self.flags.insert(flags);
    }

    /// What was said of a connection that could not be made.
    pub(super) fn transport_failure(&mut self, reason: String) {
        self.transport_failure = Some(reason);
        if let Some((_, active)) = &self.endpoint {
            active.record_failure();
        }
    }

    /// Limits of the cluster.
    pub(super) fn pool(&self) -> Option<&ConnectionPool> {
        self.cluster.as_ref().map(|cluster| &cluster.definition.policy().pool)
    }

    /// So many bytes have come from the client and gone to it until now.
    pub(super) fn count(&mut self, received: u64, sent: u64) {
        self.moved = (received, sent);
    }

    /// Counts what has moved since the last time.
    pub(super) fn report(&mut self) {
        let (received, sent) = (self.moved.0 - self.reported.0, self.moved.1 - self.reported.1);
        self.reported = self.moved;
        self.tell(&TcpEvent::Moved { received, sent });
    }

    /// It is over.
    pub(super) fn ended(&mut self, end: End) {
        match end {
            End::Closed | End::Idle => {}
            End::ClientBroke => self.flags.insert(Flags::DOWNSTREAM_CONNECTION_TERMINATION),
            End::BackEndBroke => self.flags.insert(Flags::UPSTREAM_CONNECTION_TERMINATION),
            End::TooLong => self.flags.insert(Flags::DURATION_TIMEOUT),
        }
    }

    fn tell(&self, event: &TcpEvent) {
        let local = &self.connection.local;
        let of_cluster = self.cluster.as_ref().map(|cluster| self.series(cluster).clone());
        let series = of_cluster.unwrap_or_else(|| local.pin().snapshot.local_series.clone());
        let flags = if *event == TcpEvent::Opened { self.opened.unwrap_or(self.flags) } else { self.flags };
        local.shard.borrow_mut().tcp(&series, flags, event);
    }

    fn series<'c>(&self, cluster: &'c ClusterRuntime) -> &'c SeriesId {
        let endpoint = self.endpoint.as_ref().and_then(|(index, _)| cluster.endpoint(*index));
        endpoint.map_or(&cluster.unreached_series, |endpoint| &endpoint.series)
    }

    fn log(&self) {
        let local = &self.connection.local;
        let pinned = local.pin();
        if !pinned.is_logged() {
            return;
        }
        let (peer, here) = self.connection.addresses();
        let cluster = self.cluster.as_deref();
        let endpoint = self.endpoint.as_ref().and_then(|(index, _)| cluster?.endpoint(*index));
        let elapsed: Duration = self.started.elapsed();
        let record = AccessRecord {
            start: self.start,
            method: b"",
            path: b"",
            original_path: None,
            authority: b"",
            scheme: "",
            request_headers: NO_HEADERS,
            response_headers: NO_HEADERS,
            response_trailers: NO_HEADERS,
            protocol: http::Version::HTTP_09,
            status: 0,
            grpc_status: None,
            flags: self.flags,
            details: None,
            upstream_transport_failure_reason: self.transport_failure.as_deref(),
            bytes_received: self.moved.0,
            bytes_sent: self.moved.1,
            duration: Some(elapsed),
            request_duration: None,
            response_duration: None,
            response_tx_duration: None,
            upstream_host: endpoint.map(|endpoint| &*endpoint.address),
            upstream_cluster: cluster.map(|cluster| &*cluster.name),
            upstream_local_address: self.upstream_local_address.map(Address::Ip),
            attempt_count: u32::from(self.endpoint.is_some()),
            downstream_local_address: Some(here),
            downstream_remote_address: Some(peer),
            downstream_direct_remote_address: Some(peer),
            has_client_certificate: self.connection.has_client_certificate(),
            server_name: self.server_name.as_deref(),
            route_name: None,
            virtual_host_name: None,
        };
        pinned.log(&record);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It was none of ours: the connection turned out to be something else, perhaps while its back end was connected to.
        if self.opened.is_none() {
            return;
        }
        self.report();
        self.tell(&TcpEvent::Closed);
        self.log();
    }
}
