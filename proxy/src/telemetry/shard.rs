//! A worker's own counters. In the steady state counting takes no lock, hashes no label and allocates nothing; only the
//! first request of a series, answer code, flags and protocol registers cells, under a lock of the shard.

use balance::EjectionCause;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::HashMap;

use super::cells::{Cell, ClusterCells, ListenerCells, MessageCells, RequestCells, TcpCells};
use super::flags::Flags;
use super::names::{ClusterId, ListenerId, SeriesId, Slot, SplitDestinationId};

/// How many combinations of answer code, flags, protocol and gRPC status one series has at most on one worker; further
/// ones are counted as one, whose code is `overflow`. It takes a hostile back end to get there.
const OUTCOMES_MAX: usize = 128;

/// Label `request_protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestProtocol {
    /// `http`
    Http,
    /// `grpc`: by the request's content type.
    Grpc,
}

/// What happens to a connection that is not read as HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpEvent {
    /// `istio_tcp_connections_opened_total`
    Opened,
    /// `istio_tcp_received_bytes_total` and `istio_tcp_sent_bytes_total`
    Moved {
        /// From the client.
        received: u64,
        /// To the client.
        sent: u64,
    },
    /// `istio_tcp_connections_closed_total`
    Closed,
}

/// One request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct RequestRecord<'a> {
    /// Where it went.
    pub series: &'a SeriesId,
    /// The destination that its route's split chose.
    pub split: Option<&'a SplitDestinationId>,
    /// Its protocol.
    pub protocol: RequestProtocol,
    /// The answer's status, 0 if there was none.
    pub status: u16,
    /// The answer's gRPC status, if it had one.
    pub grpc_status: Option<u8>,
    /// Its response flags.
    pub flags: Flags,
    /// From the first byte of the request to the last byte of the answer.
    pub duration: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
}

/// What tells the series of one destination apart, packed so that it compares in one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Outcome(u64);

impl Outcome {
    /// All that is beyond [`OUTCOMES_MAX`].
    pub(super) const OVERFLOW: Self = Self(u64::MAX);

    fn new(record: &RequestRecord<'_>) -> Self {
        let grpc = match (record.protocol, record.grpc_status) {
            (RequestProtocol::Http, _) => 0,
            (RequestProtocol::Grpc, None) => 1,
            (RequestProtocol::Grpc, Some(status)) => 2 + u64::from(status),
        };
        Self(u64::from(record.flags.bits()) | u64::from(record.status) << 32 | grpc << 48)
    }

    pub(super) fn flags(self) -> Flags {
        Flags::from_bits(self.0 as u32)
    }

    pub(super) fn status(self) -> u16 {
        (self.0 >> 32) as u16
    }

    pub(super) fn protocol(self) -> RequestProtocol {
        if self.0 >> 48 == 0 { RequestProtocol::Http } else { RequestProtocol::Grpc }
    }

    pub(super) fn grpc_status(self) -> Option<u8> {
        (self.0 >> 48).checked_sub(2).and_then(|status| u8::try_from(status).ok())
    }
}

/// The lock of what is never left half-changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Cells of connections by their flags.
type Connections = Vec<(Flags, Arc<TcpCells>)>;

type Outcomes = Vec<(Outcome, Arc<RequestCells>)>;

/// A shard as the admin thread sees it.
#[derive(Default)]
pub(super) struct SharedShard {
    pub(super) requests: Mutex<HashMap<Slot, Outcomes>>,
    pub(super) messages: Mutex<HashMap<Slot, Arc<MessageCells>>>,
    pub(super) tcp: Mutex<HashMap<Slot, Connections>>,
    pub(super) splits: Mutex<HashMap<Slot, Arc<Cell>>>,
    pub(super) clusters: Mutex<HashMap<Slot, Arc<ClusterCells>>>,
    pub(super) listeners: Mutex<HashMap<Slot, Arc<ListenerCells>>>,
}

/// What the worker itself keeps by slot, so that it needs neither the lock nor the hash.
struct Local<T>(Vec<Option<(u32, T)>>);

impl<T> Local<T> {
    fn get(&self, slot: Slot) -> Option<&T> {
        match self.0.get(slot.index as usize) {
            Some(Some((tenant, value))) if *tenant == slot.tenant => Some(value),
            _ => None,
        }
    }

    fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        match self.0.get_mut(slot.index as usize) {
            Some(Some((tenant, value))) if *tenant == slot.tenant => Some(value),
            _ => None,
        }
    }

    fn put(&mut self, slot: Slot, value: T) {
        let index = slot.index as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        if let Some(place) = self.0.get_mut(index) {
            *place = Some((slot.tenant, value));
        }
    }
}

type Shared<C> = Mutex<HashMap<Slot, Arc<C>>>;

impl<C: Default> Local<Arc<C>> {
    fn with(&mut self, slot: Slot, shared: &Shared<C>, count: impl FnOnce(&C)) {
        match self.get(slot) {
            Some(cells) => count(cells),
            None => count(&self.enter(slot, shared)),
        }
    }

    #[cold]
    fn enter(&mut self, slot: Slot, shared: &Shared<C>) -> Arc<C> {
        let cells = Arc::clone(lock(shared).entry(slot).or_default());
        self.put(slot, Arc::clone(&cells));
        cells
    }
}

/// The counters of one worker.
pub struct Shard {
    requests: Local<Outcomes>,
    messages: Local<Arc<MessageCells>>,
    tcp: Local<Connections>,
    splits: Local<Arc<Cell>>,
    clusters: Local<Arc<ClusterCells>>,
    listeners: Local<Arc<ListenerCells>>,
    shared: Arc<SharedShard>,
}

impl Shard {
    pub(super) fn new(shared: Arc<SharedShard>) -> Self {
        Self {
            requests: Local(Vec::new()),
            messages: Local(Vec::new()),
            tcp: Local(Vec::new()),
            splits: Local(Vec::new()),
            clusters: Local(Vec::new()),
            listeners: Local(Vec::new()),
            shared,
        }
    }

    /// Counts a request that has ended. Once for each.
    pub fn record(&mut self, record: &RequestRecord<'_>) {
        let (slot, outcome) = (record.series.slot, Outcome::new(record));
        let known = self.requests.get(slot).and_then(|outcomes| outcomes.iter().find(|(key, _)| *key == outcome));
        match known {
            Some((_, cells)) => cells.observe(record.duration, record.request_bytes, record.response_bytes),
            None => self.enter(slot, outcome).observe(record.duration, record.request_bytes, record.response_bytes),
        }
        if let Some(split) = record.split {
            self.splits.with(split.slot, &self.shared.splits, |requests| requests.add(1));
        }
    }

    #[cold]
    fn enter(&mut self, slot: Slot, outcome: Outcome) -> Arc<RequestCells> {
        match self.requests.get(slot).map(Vec::as_slice) {
            None => self.requests.put(slot, Vec::new()),
            Some([.., (Outcome::OVERFLOW, cells)]) => return Arc::clone(cells),
            Some(_) => {}
        }
        let mut all = lock(&self.shared.requests);
        let shared = all.entry(slot).or_default();
        let outcome = if shared.len() < OUTCOMES_MAX { outcome } else { Outcome::OVERFLOW };
        if let Some((_, cells)) = shared.iter().find(|(key, _)| *key == outcome) {
            return Arc::clone(cells);
        }
        let cells = Arc::new(RequestCells::new());
        shared.push((outcome, Arc::clone(&cells)));
        if let Some(local) = self.requests.get_mut(slot) {
            local.push((outcome, Arc::clone(&cells)));
        }
        cells
    }

    /// So many messages of a gRPC call have begun: `istio_request_messages_total`, `istio_response_messages_total`.
    pub fn messages(&mut self, series: &SeriesId, request: u64, response: u64) {
        self.messages.with(series.slot, &self.shared.messages, |cells| {
            cells.request.add(request);
            cells.response.add(response);
        });
    }

    /// A connection that is not read as HTTP has begun, has moved bytes, or has ended.
    pub fn tcp(&mut self, series: &SeriesId, flags: Flags, event: &TcpEvent) {
        let known = self.tcp.get(series.slot).and_then(|known| known.iter().find(|(key, _)| *key == flags));
        let cells = match known {
            Some((_, cells)) => Arc::clone(cells),
            None => self.enter_tcp(series.slot, flags),
        };
        match *event {
            TcpEvent::Opened => cells.opened.add(1),
            TcpEvent::Moved { received, sent } => {
                cells.received.add(received);
                cells.sent.add(sent);
            }
            TcpEvent::Closed => cells.closed.add(1),
        }
    }

    #[cold]
    fn enter_tcp(&mut self, slot: Slot, flags: Flags) -> Arc<TcpCells> {
        let mut shared = lock(&self.shared.tcp);
        let shared = shared.entry(slot).or_default();
        let cells = match shared.iter().find(|(key, _)| *key == flags) {
            Some((_, cells)) => Arc::clone(cells),
            None => {
                shared.push((flags, Arc::default()));
                shared.last().map(|(_, cells)| Arc::clone(cells)).unwrap_or_default()
            }
        };
        self.tcp.put(slot, shared.clone());
        cells
    }

    /// The destination of a split has been chosen for a connection.
    pub fn split(&mut self, split: &SplitDestinationId) {
        self.splits.with(split.slot, &self.shared.splits, |connections| connections.add(1));
    }

    /// A try has been sent to the cluster: `envoy_cluster_upstream_rq_total`.
    pub fn upstream_request(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.requests.add(1));
    }

    /// A connection to the cluster is open: `envoy_cluster_upstream_cx_active` and `_total`.
    pub fn upstream_connection_opened(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.connections_opened.add(1));
    }

    /// A connection that was counted as opened, on this worker, is closed.
    pub fn upstream_connection_closed(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.connections_closed.add(1));
    }

    /// A try that is not the first: `envoy_cluster_upstream_rq_retry`.
    pub fn retry(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.retries.add(1));
    }

    /// A request that a circuit breaker refused: `envoy_cluster_upstream_rq_pending_overflow`.
    pub fn pending_overflow(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.pending_overflow.add(1));
    }

    /// A retry that the cluster's limit or budget of retries refused: `envoy_cluster_upstream_rq_retry_overflow`.
    pub fn retry_overflow(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.retry_overflow.add(1));
    }

    /// An endpoint was ejected: `envoy_cluster_outlier_detection_ejections_enforced_total`, and the one of its cause.
    pub fn ejection(&mut self, cluster: &ClusterId, cause: EjectionCause) {
        self.cluster(cluster, |cells| match cause {
            EjectionCause::Consecutive5xx => cells.ejections_5xx.add(1),
            EjectionCause::ConsecutiveGatewayErrors => cells.ejections_gateway.add(1),
            EjectionCause::ConsecutiveLocalOriginFailures => cells.ejections_local.add(1),
        });
    }

    /// An endpoint was not ejected, since that would have been more than are allowed:
    /// `envoy_cluster_outlier_detection_ejections_overflow`.
    pub fn ejection_overflow(&mut self, cluster: &ClusterId) {
        self.cluster(cluster, |cells| cells.ejections_overflow.add(1));
    }

    fn cluster(&mut self, id: &ClusterId, count: impl FnOnce(&ClusterCells)) {
        self.clusters.with(id.slot, &self.shared.clusters, count);
    }

    /// A client's connection was accepted: `envoy_listener_downstream_cx_active` and `_total`.
    pub fn downstream_connection_opened(&mut self, listener: &ListenerId) {
        self.listeners.with(listener.slot, &self.shared.listeners, |cells| cells.connections_opened.add(1));
    }

    /// A client's connection that was counted as opened, on this worker, is closed.
    pub fn downstream_connection_closed(&mut self, listener: &ListenerId) {
        self.listeners.with(listener.slot, &self.shared.listeners, |cells| cells.connections_closed.add(1));
    }

    /// A client's TLS handshake has ended, well or not: `envoy_listener_ssl_handshake` and `_connection_error`.
    pub fn handshake(&mut self, listener: &ListenerId, is_good: bool) {
        let count = |cells: &ListenerCells| if is_good { &cells.handshakes } else { &cells.handshakes_failed }.add(1);
        self.listeners.with(listener.slot, &self.shared.listeners, count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::telemetry::DestinationLabels;
    use crate::telemetry::names::Names;

    proptest! {
        #[test]
        fn an_outcome_is_told_from_every_other_and_reads_back(
            status in any::<u16>(),
            bits in 0u32..1 << 30,
            grpc_status in any::<Option<u8>>(),
            is_grpc in any::<bool>(),
        ) {
            let labels = DestinationLabels::unknown();
            let series = Names::new(1, labels.clone()).id(&labels);
            let protocol = if is_grpc { RequestProtocol::Grpc } else { RequestProtocol::Http };
            let outcome = Outcome::new(&RequestRecord {
                series: &series,
                split: None,
                protocol,
                status,
                grpc_status,
                flags: Flags::from_bits(bits),
                duration: Duration::ZERO,
                request_bytes: 0,
                response_bytes: 0,
            });
            prop_assert_eq!((outcome.status(), outcome.flags()), (status, Flags::from_bits(bits)));
            prop_assert_eq!(outcome.protocol(), protocol);
            prop_assert_eq!(outcome.grpc_status(), grpc_status.filter(|_| is_grpc));
            prop_assert_ne!(outcome, Outcome::OVERFLOW);
        }
    }

    #[test]
    fn a_slot_has_a_value_for_its_tenant_only() {
        let mut local = Local(Vec::new());
        let slot = Slot { index: 3, tenant: 1 };
        local.put(slot, "a");
        assert_eq!(local.get(slot), Some(&"a"));
        assert_eq!(local.get(Slot { tenant: 2, ..slot }), None);
        assert_eq!(local.get(Slot { index: 2, ..slot }), None);
        assert_eq!(local.get(Slot { index: 4, ..slot }), None);
        local.put(Slot { tenant: 2, ..slot }, "b");
        assert_eq!(local.get(slot), None);
    }
}
