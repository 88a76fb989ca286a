//! The configuration in force, as data threads see it: immutable, and published by one store.
//!
//! What outlives a change (connections, active-request counts, counters) hangs on stable keys: an endpoint's
//! [`balance::EndpointState`] is carried from set to set by address, a worker's pools are keyed by that state.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use balance::{EndpointSet, EntryIndex};
use config_model::model::{
    Binding, Cluster, ClusterIndex, ListenerAddress, Model, NetworkFilter, RouteConfigurationIndex, TcpProxyIndex,
};
use ipnet::IpNet;
use routing::Table;

use crate::telemetry::{ClusterId, ListenerId, RequestLogs, SeriesId, SplitDestinationId};
use crate::tls::{BackEndTls, Chains};

/// One configuration, whole.
pub struct Snapshot {
    /// No other snapshot of this process has it.
    pub(crate) number: SnapshotNumber,
    /// Hash of the content that it was made from, in hexadecimal.
    pub version: Arc<str>,
    /// Everything that routes, as understood.
    pub model: Arc<Model>,
    /// The same, as compiled.
    pub table: Arc<Table>,
    /// Clusters with their endpoints, by [`ClusterIndex`]. Endpoint churn makes a new list beside the same table.
    pub clusters: Arc<[Arc<ClusterRuntime>]>,
    /// Clusters whose endpoints come back after an ejection, or warm up; shared while the model is.
    pub tended: Arc<[ClusterIndex]>,
    /// Listeners, in the order of the model.
    pub listeners: Arc<[ListenerRuntime]>,
    /// Whom listeners for pods are for, in the order of the model. Beside the table, as the endpoints of clusters are.
    pub pods: Arc<[Pods]>,
    /// Metric cells of each destination, by the table's destination index; shared while the table is.
    pub splits: Arc<[Option<SplitDestinationId>]>,
    /// The access logs; none until whoever publishes it has opened them.
    pub access_logs: Arc<RequestLogs>,
    /// Cells for answers that no cluster had a part in.
    pub local_series: SeriesId,
}

/// Tells snapshots apart, also those that were in the same memory one after another. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotNumber(u64);

impl SnapshotNumber {
    /// That of no snapshot.
    pub(crate) const NONE: Self = Self(0);

    /// One that nobody has had.
    pub(crate) fn next() -> Self {
        static LATEST: AtomicU64 = AtomicU64::new(0);
        Self(LATEST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Snapshot {
    /// The cluster of that index, which the table of this snapshot has handed out.
    pub fn cluster(&self, index: ClusterIndex) -> Option<&Arc<ClusterRuntime>> {
        self.clusters.get(index.0 as usize)
    }

    /// The listener for the pod of that address, if it is the one of a service that has such listeners.
    pub(crate) fn listener_of_pod(&self, wanted: SocketAddr) -> Option<ListenerAddress> {
        let is_meant = |pods: &&Pods| pods.port == wanted.port() && pods.addresses.contains(&wanted.ip());
        self.pods.iter().find(is_meant).map(Pods::listener)
    }
}

/// The pods of a service that connections are redirected from by their own addresses.
#[derive(Clone)]
pub struct Pods {
    /// The service.
    pub(crate) host: Arc<str>,
    /// Its port.
    pub(crate) port: u16,
    /// Where its pods are now.
    pub(crate) addresses: Arc<BTreeSet<IpAddr>>,
}

impl Pods {
    fn listener(&self) -> ListenerAddress {
        ListenerAddress::Pods { host: Arc::clone(&self.host), port: self.port }
    }
}

/// A listener and the cells of its connections.
pub struct ListenerRuntime {
    /// As the Gateway says it; what is bound may be a mapped port.
    pub address: ListenerAddress,
    /// What becomes of its connections.
    pub(crate) accepts: Accepts,
    /// How connections get here.
    pub binding: Binding,
    /// Whether connections begin with a header of the PROXY protocol.
    pub has_proxy_header: bool,
    /// Metric cells.
    pub metrics: ListenerId,
}

/// What becomes of the connections of a listener.
pub(crate) enum Accepts {
    /// They are plain text.
    PlainText(NetworkFilter),
    /// The server name of their ClientHello tells.
    Tls(Box<Chains>),
    /// Their first bytes tell.
    Detected(Box<Detected>),
}

/// What becomes of connections that are told apart by their first bytes.
pub(crate) struct Detected {
    /// For TLS, which is passed on.
    pub(crate) tls: Chains,
    /// For HTTP in plain text.
    pub(crate) http: Option<RouteConfigurationIndex>,
    /// Addresses where nothing is read as HTTP.
    pub(crate) unread: Box<[IpNet]>,
    /// For all others.
    pub(crate) other: TcpProxyIndex,
    /// Whether a protocol was named for the port, so that a server that speaks first is not expected.
    pub(crate) is_http_expected: bool,
}

impl ListenerRuntime {
    /// The routes of its connections, if they are HTTP in plain text.
    pub fn plain_routes(&self) -> Option<RouteConfigurationIndex> {
        match &self.accepts {
            Accepts::PlainText(filter) => filter.routes(),
            Accepts::Tls(_) | Accepts::Detected(_) => None,
        }
    }

    /// Its filter chains, if its connections are TLS.
    pub(crate) fn chains(&self) -> Option<&Chains> {
        match &self.accepts {
            Accepts::PlainText(_) | Accepts::Detected(_) => None,
            Accepts::Tls(chains) => Some(chains),
        }
    }
}

/// A cluster and those who answer for it now.
pub struct ClusterRuntime {
    /// As understood.
    pub definition: Cluster,
    /// `outbound|9080|v1|reviews.default.svc.cluster.local`, for log lines.
    pub name: Arc<str>,
    /// Endpoints and their shared state.
    pub endpoints: EndpointSet,
    /// TLS towards its endpoints.
    pub(crate) tls: Option<Arc<BackEndTls>>,
    /// Whether there is any limit of requests, retries or connections. Without one nothing has to be counted.
    pub has_limits: bool,
    /// Metric cells of the cluster.
    pub metrics: ClusterId,
    /// What the log and the metrics need of each entry of `endpoints`, in the same blocks.
    pub labels: Box<[Arc<[EndpointLabels]>]>,
    /// Metric cells of requests that reached no endpoint.
    pub unreached_series: SeriesId,
}

impl ClusterRuntime {
    /// What is to be said of the endpoint at `index`.
    pub fn endpoint(&self, index: EntryIndex) -> Option<&EndpointLabels> {
        self.labels.get(index.block())?.get(index.place())
    }
}

/// An endpoint, in words.
pub struct EndpointLabels {
    /// `10.0.0.7:9080`, for log lines.
    pub address: Box<str>,
    /// Metric cells of requests to its workload.
    pub series: SeriesId,
}

/// Where the snapshot in force is found.
pub struct SnapshotStore {
    current: ArcSwap<Snapshot>,
}

impl SnapshotStore {
    /// A store that starts with `first`.
    pub fn new(first: Arc<Snapshot>) -> Self {
        Self { current: ArcSwap::new(first) }
    }

    /// Puts `next` in force for every request that begins after this.
    pub fn publish(&self, next: Arc<Snapshot>) {
        self.current.store(next);
    }

    /// The snapshot in force.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// For the workers' caches.
    pub(crate) fn inner(&self) -> &ArcSwap<Snapshot> {
        &self.current
    }
}
