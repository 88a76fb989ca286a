//! A connection from its route to its end. As in Envoy a connection is tried at one endpoint: nobody knows what a second try
//! would mean to a protocol that isn't read.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use balance::{AttemptError, AttemptOutcome, Entry, EntryIndex, Wish, source_ip_hash};
use config_model::model::{self, ClusterTarget, TcpProxyIndex};

use super::relay::Relay;
use super::session::Session;
use super::side::{BackEnd, Side};
use crate::listener::Connection;
use crate::net::{Stream, WrittenAddress};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::Flags;
use crate::tls::Offer;
use crate::upstream::{Security, Tunnel, connect_or_refuse, report};

/// What is known of a connection before it goes on.
#[derive(Default)]
pub(crate) struct Opening {
    /// What has been read of it, and goes on as it came.
    pub(crate) bytes: Vec<u8>,
    /// The server name that it asks for in its TLS handshake.
    pub(crate) server_name: Option<Box<str>>,
}

/// A connection whose back end is known, and connected to unless that failed.
pub(crate) struct Prepared {
    connection: Rc<Connection>,
    session: Session,
    upstream: Option<BackEnd>,
}

/// Decides by the routes of `proxy` where a connection goes, and connects to it.
pub(crate) async fn prepare(connection: &Rc<Connection>, proxy: TcpProxyIndex) -> Prepared {
    let mut session = Session::begin(connection);
    let upstream = match Attempt::new(connection, proxy, &mut session) {
        Some(attempt) => attempt.connect(connection, &mut session).await,
        None => None,
    };
    Prepared { connection: Rc::clone(connection), session, upstream }
}

impl Prepared {
    /// Ready when the back end has said something, or has closed the connection.
    pub(crate) fn poll_speaks(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.upstream {
            Some(upstream) => upstream.poll_read_ready(cx).map(|_| ()),
            None => Poll::Pending,
        }
    }

    /// Takes it back: the connection is HTTP, or has gone. What was connected may serve requests.
    pub(crate) fn forget(self) {
        if let Some(upstream) = self.upstream {
            upstream.keep();
        }
    }

    /// Moves bytes both ways, to the end of the connection.
    pub(crate) async fn serve(self, client: Stream, opening: Opening) {
        let Self { connection, mut session, upstream } = self;
        let Opening { bytes: prefix, server_name } = opening;
        session.opened(server_name);
        if let Some(upstream) = upstream {
            Relay::new(&connection, client, upstream, prefix, &session).run(&mut session).await;
        }
    }
}

/// The endpoint that was picked for a connection. The snapshot is held no longer than until it has been connected to.
struct Attempt {
    cluster: Arc<ClusterRuntime>,
    pick: EntryIndex,
    tunnel: Option<Arc<model::Tunnel>>,
}

impl Attempt {
    /// Decides; nothing, with the reason remembered, if the connection goes nowhere.
    fn new(connection: &Connection, proxy: TcpProxyIndex, session: &mut Session) -> Option<Self> {
        match Self::decide(connection, proxy, session) {
            Ok(attempt) => Some(attempt),
            Err(flags) => {
                session.refuse(flags);
                None
            }
        }
    }

    fn decide(connection: &Connection, proxy: TcpProxyIndex, session: &mut Session) -> Result<Self, Flags> {
        let local = &connection.local;
        let pinned = local.pin();
        let snapshot = &pinned.snapshot;
        let routes = snapshot.table.tcp(proxy).ok_or(Flags::NO_ROUTE_FOUND)?;
        let decided = routes.decide(connection.wanted_ip(), |split| pinned.next_draw(split));
        let (route, destination) = decided.ok_or(Flags::NO_ROUTE_FOUND)?;
        session.split(snapshot.splits.get(destination.index.0 as usize).and_then(Option::as_ref));
        let ClusterTarget::Known(index) = destination.target else { return Err(Flags::NO_CLUSTER_FOUND) };
        let cluster = snapshot.cluster(index).ok_or(Flags::NO_CLUSTER_FOUND)?;
        let original = connection.original(cluster);
        let cluster = original.as_ref().unwrap_or(cluster);
        session.cluster(cluster);
        let hash = connection.client_ip().filter(|_| route.route.hashes_source_ip).map(source_ip_hash);
        let wish = Wish { hash, tried: &[], avoid_tried: false, avoid_tried_priorities: false };
        let pick = local.pick(&pinned, index, cluster, wish).ok_or(Flags::NO_HEALTHY_UPSTREAM)?;
        let entry = cluster.endpoints.get(pick).ok_or(Flags::NO_HEALTHY_UPSTREAM)?;
        session.endpoint(pick, entry);
        Ok(Self { cluster: Arc::clone(cluster), pick, tunnel: route.route.tunnel.clone() })
    }

    /// Connects to the endpoint, and through it where it is a proxy.
    async fn reach(&self, connection: &Connection, entry: &Entry) -> Result<BackEnd, AttemptError> {
        let (local, cluster, ends) = (&connection.local, &self.cluster, connection.ends);
        let security = Security::of(cluster, b"");
        let Some(wanted) = &self.tunnel else {
            let connected = connect_or_refuse(local, cluster, entry, security.as_ref(), ends, Offer::Other);
            return connected.await.map(BackEnd::Direct);
        };
        // Boxed, as it is rare.
        let opened = Box::pin(Tunnel::open(local, cluster, entry, (security.as_ref(), ends), wanted)).await?;
        Ok(BackEnd::Tunnel(Box::new(opened)))
    }

    async fn connect(self, connection: &Connection, session: &mut Session) -> Option<BackEnd> {
        let cluster = &self.cluster;
        let entry: &Entry = cluster.endpoints.get(self.pick)?;
        match self.reach(connection, entry).await {
            Ok(upstream) => {
                let connected = AttemptOutcome::Answered { status: 200, grpc_status: None, rate_limited: false };
                report(&connection.local, cluster, self.pick, &connected);
                session.connected(upstream.local_address().map(WrittenAddress::address));
                Some(upstream)
            }
            Err(AttemptError::Overflow) => {
                connection.local.shard.borrow_mut().pending_overflow(&cluster.metrics);
                session.refuse(Flags::UPSTREAM_OVERFLOW);
                None
            }
            Err(error) => {
                session.transport_failure(match error {
                    AttemptError::TunnelRefused { status } => format!("tunnel_response:{status}"),
                    ref error => error.transport_failure().unwrap_or_else(|| format!("delayed connect error: {error}")),
                });
                session.refuse(Flags::UPSTREAM_CONNECTION_FAILURE | Flags::CONNECT_ATTEMPTS_EXCEEDED);
                report(&connection.local, cluster, self.pick, &AttemptOutcome::Failed(error));
                None
            }
        }
    }
}
