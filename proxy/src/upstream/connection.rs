//! One connection to a back end.

use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{ConnectionGate, ConnectionPermit, EndpointState};
use config_model::model::ConnectionPool;
use http1::{Head, Name};

use crate::net::{Stream, WrittenAddress};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::ClusterId;
use crate::tls::BackEndTls;
use crate::worker::Local;

/// A connection to an endpoint, counted as open until it is dropped. It serves one request at a time.
pub(crate) struct UpstreamConnection {
    /// The socket.
    pub(crate) stream: Stream,
    /// Whose it is.
    pub(crate) endpoint: Arc<EndpointState>,
    /// Our end.
    pub(crate) local_address: Option<WrittenAddress>,
    /// Whether it has served another request before.
    pub(crate) reused: bool,
    /// The TLS that it was made with.
    security: Option<Box<Security>>,
    /// Requests that it may still serve, if they are limited.
    requests_left: Option<u32>,
    /// How long it is kept idle.
    pub(super) idle_limit: Option<Duration>,
    /// When it takes no further request, if its life is limited.
    ends: Option<Instant>,
    /// Its place, if places are limited.
    permit: Option<ConnectionPermit>,
    local: Rc<Local>,
    cluster: ClusterId,
}

/// The TLS that a connection is made with.
#[derive(Clone)]
pub(crate) struct Security {
    /// The cluster's.
    pub(crate) tls: Arc<BackEndTls>,
    /// The server name that is asked for.
    pub(crate) server_name: Option<Arc<str>>,
}

impl Security {
    /// For a request to `host` that goes to `cluster`; nothing for plain text.
    pub(crate) fn of(cluster: &ClusterRuntime, host: &[u8]) -> Option<Self> {
        let tls = Arc::clone(cluster.tls.as_ref()?);
        Some(Self { server_name: tls.server_name(host), tls })
    }

    /// Whether both are made in the same way, or in plain text.
    pub(super) fn are_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(&one.tls, &other.tls) && one.server_name == other.server_name,
            _ => false,
        }
    }
}

/// When a connection that is made now takes no further request. Source: Envoy, `max_connection_duration`.
pub(super) fn end_of_life(pool: &ConnectionPool) -> Option<Instant> {
    let limit = pool.connection_duration_max?;
    Instant::now().checked_add(limit)
}

impl UpstreamConnection {
    /// A connection that has just been made for a cluster.
    pub(super) fn new(
        stream: Stream,
        endpoint: Arc<EndpointState>,
        local: &Rc<Local>,
        cluster: &ClusterRuntime,
        permit: Option<ConnectionPermit>,
        security: Option<&Security>,
    ) -> Box<Self> {
        local.shard.borrow_mut().upstream_connection_opened(&cluster.metrics);
        let pool = &cluster.definition.policy().pool;
        Box::new(Self {
            local_address: stream.local_address().map(WrittenAddress::new),
            stream,
            endpoint,
            reused: false,
            security: security.cloned().map(Box::new),
            // What it was told of the client holds for no other.
            requests_left: match cluster.definition.proxy_protocol {
                Some(_) => Some(1),
                None => pool.requests_per_connection_max.map(NonZeroU32::get),
            },
            idle_limit: pool.idle_timeout,
            ends: end_of_life(pool),
            permit,
            local: Rc::clone(local),
            cluster: cluster.metrics.clone(),
        })
    }

    /// Whether it was made with that TLS, or both are plain text.
    pub(super) fn is_secured_by(&self, security: Option<&Security>) -> bool {
        Security::are_same(self.security.as_deref(), security)
    }

    /// Whether it takes no further request.
    pub(super) fn has_ended(&self) -> bool {
        self.ends.is_some_and(|ends| ends <= Instant::now())
    }

    /// Where its place is counted, if places are limited.
    pub(super) fn gate(&self) -> Option<&Arc<ConnectionGate>> {
        self.permit.as_ref().map(ConnectionPermit::gate)
    }

    /// Whether its place is counted by `gate`.
    pub(super) fn is_of(&self, gate: &Arc<ConnectionGate>) -> bool {
        self.gate().is_some_and(|own| Arc::ptr_eq(own, gate))
    }

    /// Whether somebody waits for its place.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.gate().is_some_and(|gate| gate.waiting() > 0)
    }

    /// Notes how long the back end says that it keeps an idle connection: `Keep-Alive: timeout=5, max=100`, in seconds.
    /// Source: RFC 2068, 19.7.1.1, and what servers write.
    pub(crate) fn learn_keep_alive(&self, head: &Head) {
        if !head.names().has(Name::OneHop) {
            return;
        }
        let parameters = head.values(b"keep-alive").flat_map(|value| value.split(|byte| *byte == b','));
        for parameter in parameters {
            let seconds = parameter.trim_ascii().strip_prefix(b"timeout=").and_then(|text| str::from_utf8(text).ok());
            if let Some(seconds) = seconds.and_then(|seconds| seconds.parse::<u32>().ok()) {
                self.endpoint.keep_alive().told(Duration::from_secs(seconds.into()));
            }
        }
    }

    /// Keeps it for another request, after an answer that came to its end with nothing behind it.
    pub(crate) fn keep(mut self: Box<Self>) {
        if let Some(left) = &mut self.requests_left {
            *left -= 1;
            if *left == 0 {
                return;
            }
        }
        if !self.local.hurrying.get() && !self.is_in_the_way() && !self.has_ended() {
            let local = Rc::clone(&self.local);
            local.pool.put(self);
        }
    }
}

impl Drop for UpstreamConnection {
    fn drop(&mut self) {
        self.local.shard.borrow_mut().upstream_connection_closed(&self.cluster);
    }
}
