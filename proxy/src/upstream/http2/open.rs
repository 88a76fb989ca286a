//! New connections: one is opened at a time for an endpoint, and all who need one wait for it.

use std::rc::Rc;

use balance::{AttemptError, ConnectionPermit, Entry};

use super::SETTINGS_LIMIT;
use super::connection::{Http2Connection, Lease};
use super::pool::{Opening, Slot};
use crate::snapshot::ClusterRuntime;
use crate::tls::Offer;
use crate::upstream::Security;
use crate::upstream::connect::{open, permit};
use crate::worker::Local;

/// A place for a stream to an endpoint, on a new connection if there is none on those that stand.
///
/// # Errors
/// If a connection can't be opened.
pub(crate) async fn acquire(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
) -> Result<Lease, AttemptError> {
    let slot = local.pool.http2.slot(&entry.state);
    loop {
        // Asked for before it is looked, so that nothing is missed.
        let changed = slot.changed.notified();
        if let Some(lease) = slot.lease(security) {
            return Ok(lease);
        }
        let under_way = slot.opening.borrow().clone();
        if let Some(opening) = under_way {
            changed.await;
            let failure = opening.failure.take();
            opening.failure.set(failure.clone());
            if let Some(error) = failure {
                return Err(error);
            }
            continue;
        }
        let turn = Turn::take(&slot);
        let permit = tokio::select! {
            biased;
            permit = permit(local, cluster) => permit,
            () = changed => continue,
        };
        match begin(local, cluster, entry, security, permit, &slot).await {
            Ok(connection) => {
                if let Some(gate) = connection.gate() {
                    local.pool.watch(gate);
                }
                slot.keep(connection);
            }
            Err(error) => {
                turn.opening.failure.set(Some(error.clone()));
                return Err(error);
            }
        }
    }
}

/// A place for a tunnel, as [`acquire`] has one for a stream. Nothing if the back end doesn't take tunnels.
///
/// # Errors
/// If a connection can't be opened.
pub(crate) async fn acquire_tunnel(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
) -> Result<Option<Lease>, AttemptError> {
    let lease = acquire(local, cluster, entry, security).await?;
    let slot = local.pool.http2.slot(&entry.state);
    let settled = async {
        loop {
            // Asked for before it is looked, so that nothing is missed.
            let changed = slot.changed.notified();
            match lease.connection().takes_tunnels() {
                Some(takes) => return takes,
                None => changed.await,
            }
        }
    };
    let takes = tokio::time::timeout(SETTINGS_LIMIT, settled).await.unwrap_or(false);
    Ok(takes.then_some(lease))
}

async fn begin(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
    permit: Result<Option<ConnectionPermit>, AttemptError>,
    slot: &Rc<Slot>,
) -> Result<Rc<Http2Connection>, AttemptError> {
    let permit = permit?;
    let stream = open(cluster, entry, (security, None), local, Offer::Http2).await?;
    Http2Connection::begin(stream, local, cluster, permit, security, slot).await
}

/// The turn of whoever opens a connection; those who wait go on when it ends, however that comes.
struct Turn {
    slot: Rc<Slot>,
    opening: Rc<Opening>,
}

impl Turn {
    fn take(slot: &Rc<Slot>) -> Self {
        let opening = Rc::new(Opening::default());
        slot.opening.replace(Some(Rc::clone(&opening)));
        Self { slot: Rc::clone(slot), opening }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.slot.opening.replace(None);
        self.slot.changed.notify_waiters();
    }
}
