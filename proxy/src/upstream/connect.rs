//! New connections.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use balance::{AttemptError, ConnectionPermit, Entry};
use config_model::model::EndpointAddress;
use tokio::net::{TcpStream, UnixStream};

use super::{Security, UpstreamConnection, handshake};
use crate::net::{Ends, Stream, proxy_header};
use crate::snapshot::ClusterRuntime;
use crate::worker::Local;

/// Connects to an endpoint of a cluster within its limits of time and number; with TLS if `security` says so. `ends` are those
/// of the client's connection, if the endpoint is to be told.
///
/// # Errors
/// If that takes longer, or fails.
pub(crate) async fn connect(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
    ends: Option<Ends>,
) -> Result<Box<UpstreamConnection>, AttemptError> {
    let permit = permit(local, cluster).await?;
    establish(local, cluster, entry, security, ends, permit).await
}

/// The same, but where the cluster has as many connections as it may have nobody waits for one.
///
/// # Errors
/// As above.
pub(crate) async fn connect_or_refuse(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
    ends: Option<Ends>,
) -> Result<Box<UpstreamConnection>, AttemptError> {
    let gate = cluster.endpoints.cluster().connections();
    let permit = match cluster.definition.policy().pool.connections_max {
        Some(_) => Some(gate.try_acquire().ok_or(AttemptError::Overflow)?),
        None => None,
    };
    establish(local, cluster, entry, security, ends, permit).await
}

async fn establish(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
    ends: Option<Ends>,
    permit: Option<ConnectionPermit>,
) -> Result<Box<UpstreamConnection>, AttemptError> {
    let limit = cluster.definition.connect_timeout;
    let connecting = async {
        let dialled = dial(&entry.endpoint.address).await;
        let failed = |error: io::Error| AttemptError::ConnectFailed { reason: error.kind() };
        let mut stream = dialled.map_err(failed)?;
        if let Some(version) = cluster.definition.proxy_protocol {
            tell(&mut stream, &proxy_header::header(version, ends)).await.map_err(failed)?;
        }
        match security {
            None => Ok(stream),
            Some(security) => handshake::secure(local, security, stream).await,
        }
    };
    match tokio::time::timeout(limit, connecting).await {
        Ok(stream) => Ok(UpstreamConnection::new(stream?, Arc::clone(&entry.state), local, cluster, permit, security)),
        Err(_elapsed) => Err(AttemptError::ConnectTimeout { limit }),
    }
}

/// The right to open a connection, if the cluster limits their number. Idle ones of this worker are closed for it.
async fn permit(local: &Local, cluster: &ClusterRuntime) -> Result<Option<ConnectionPermit>, AttemptError> {
    if cluster.definition.policy().pool.connections_max.is_none() {
        return Ok(None);
    }
    let gate = cluster.endpoints.cluster().connections();
    if let Some(permit) = gate.try_acquire() {
        return Ok(Some(permit));
    }
    local.pool.close_one_of(gate);
    gate.acquire().await.map(Some).map_err(|_overflow| AttemptError::Overflow)
}

/// Writes all of `header`.
async fn tell(stream: &mut Stream, header: &[u8]) -> io::Result<()> {
    let mut rest = header;
    while !rest.is_empty() {
        let sent = std::future::poll_fn(|cx| stream.poll_write(cx, &[io::IoSlice::new(rest)])).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

async fn dial(address: &EndpointAddress) -> io::Result<Stream> {
    match address {
        EndpointAddress::Ip(address) => {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            Ok(Stream::Tcp(socket))
        }
        EndpointAddress::Unix(path) => Ok(Stream::Unix(UnixStream::connect(&**path).await?)),
        // Names are looked up by the control thread; an entry that can be picked has an address.
        EndpointAddress::Dns { .. } => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
