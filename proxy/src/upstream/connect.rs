//! New connections.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balance::{AttemptError, Entry};
use config_model::model::EndpointAddress;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};

use super::Lease;
use crate::http::RequestBody;
use crate::telemetry::ClusterId;
use crate::worker::Local;

/// What may wait in memory for one answer.
const BUFFER_MAX: usize = 64 * 1024;
/// Line and fields of an answer.
const HEAD_BYTES_MAX: usize = 60 * 1024;

/// Connects to an endpoint within `limit`.
///
/// # Errors
/// If that takes longer, or fails.
pub(crate) async fn connect(
    local: &Rc<Local>,
    cluster: &ClusterId,
    entry: &Entry,
    limit: Duration,
) -> Result<Lease, AttemptError> {
    match tokio::time::timeout(limit, dial(local, cluster, entry)).await {
        Ok(connected) => connected.map_err(|error| AttemptError::ConnectFailed { reason: error.kind() }),
        Err(_elapsed) => Err(AttemptError::ConnectTimeout { limit }),
    }
}

async fn dial(local: &Rc<Local>, cluster: &ClusterId, entry: &Entry) -> io::Result<Lease> {
    let endpoint = Arc::clone(&entry.state);
    match &entry.endpoint.address {
        EndpointAddress::Ip(address) => {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let local_address = socket.local_addr().ok();
            let sender = handshake(local, cluster, TokioIo::new(socket)).await?;
            Ok(Lease::fresh(sender, endpoint, local_address))
        }
        EndpointAddress::Unix(path) => {
            let socket = UnixStream::connect(&**path).await?;
            let sender = handshake(local, cluster, TokioIo::new(socket)).await?;
            Ok(Lease::fresh(sender, endpoint, None))
        }
        // Names are looked up by the control thread; an entry that can be picked has an address.
        EndpointAddress::Dns { .. } => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

/// Hands the socket to hyper, and drives it in a task of its own until it closes.
async fn handshake<I>(local: &Rc<Local>, cluster: &ClusterId, io: I) -> io::Result<SendRequest<RequestBody>>
where
    I: Read + Write + Unpin + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(BUFFER_MAX).max_header_size(HEAD_BYTES_MAX);
    let (sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    local.shard.borrow_mut().upstream_connection_opened(cluster);
    let (local, cluster) = (Rc::clone(local), cluster.clone());
    tokio::task::spawn_local(async move {
        // Its failures are seen by the request that they befall.
        let _ = connection.await;
        local.shard.borrow_mut().upstream_connection_closed(&cluster);
    });
    Ok(sender)
}
