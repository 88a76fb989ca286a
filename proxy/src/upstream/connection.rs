//! One connection to a back end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use balance::EndpointState;

use crate::net::Stream;
use crate::telemetry::ClusterId;
use crate::worker::Local;

/// A connection to an endpoint, counted as open until it is dropped. It serves one request at a time.
pub(crate) struct UpstreamConnection {
    /// The socket.
    pub(crate) stream: Stream,
    /// Whose it is.
    pub(crate) endpoint: Arc<EndpointState>,
    /// Our end.
    pub(crate) local_address: Option<SocketAddr>,
    /// Whether it has served another request before.
    pub(crate) reused: bool,
    local: Rc<Local>,
    cluster: ClusterId,
}

impl UpstreamConnection {
    /// A connection that has just been made for a cluster.
    pub(super) fn new(
        stream: Stream,
        endpoint: Arc<EndpointState>,
        local: &Rc<Local>,
        cluster: &ClusterId,
    ) -> Box<Self> {
        local.shard.borrow_mut().upstream_connection_opened(cluster);
        let local_address = stream.local_address();
        let (local, cluster) = (Rc::clone(local), cluster.clone());
        Box::new(Self { stream, endpoint, local_address, reused: false, local, cluster })
    }

    /// Keeps it for another request, after an answer that came to its end with nothing behind it.
    pub(crate) fn keep(self: Box<Self>) {
        if !self.local.draining.get() {
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
