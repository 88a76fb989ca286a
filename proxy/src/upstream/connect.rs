//! New connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;

use balance::{AttemptError, ConnectionPermit, Entry};
use config_model::model::EndpointAddress;
use tokio::net::{TcpSocket, UnixStream};

use super::{Security, UpstreamConnection, handshake};
use crate::net::{Ends, Stream, proxy_header};
use crate::snapshot::ClusterRuntime;
use crate::tls::Offer;
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
    establish(local, cluster, entry, (security, ends), Offer::Http1, permit).await
}

/// The same, but where the cluster has as many connections as it may have nobody waits for one. `offer` is what will be spoken.
///
/// # Errors
/// As above.
pub(crate) async fn connect_or_refuse(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    security: Option<&Security>,
    ends: Option<Ends>,
    offer: Offer,
) -> Result<Box<UpstreamConnection>, AttemptError> {
    let permit = try_permit(local, cluster).ok_or(AttemptError::Overflow)?;
    establish(local, cluster, entry, (security, ends), offer, permit).await
}

async fn establish(
    local: &Rc<Local>,
    cluster: &ClusterRuntime,
    entry: &Entry,
    (security, ends): (Option<&Security>, Option<Ends>),
    offer: Offer,
    permit: Option<ConnectionPermit>,
) -> Result<Box<UpstreamConnection>, AttemptError> {
    let stream = open(cluster, entry, (security, ends), local, offer).await?;
    Ok(UpstreamConnection::new(stream, Arc::clone(&entry.state), local, cluster, permit, security))
}

/// Connects within the cluster's limit of time. `offer` is what TLS tells of what will be spoken.
pub(super) async fn open(
    cluster: &ClusterRuntime,
    entry: &Entry,
    (security, ends): (Option<&Security>, Option<Ends>),
    local: &Rc<Local>,
    offer: Offer,
) -> Result<Stream, AttemptError> {
    let limit = cluster.definition.connect_timeout;
    let connecting = async {
        let dialled = dial(local, &entry.endpoint.address).await;
        let failed = |error: io::Error| AttemptError::ConnectFailed { reason: error.kind() };
        let mut stream = dialled.map_err(failed)?;
        if let Some(version) = cluster.definition.proxy_protocol {
            tell(&mut stream, &proxy_header::header(version, ends)).await.map_err(failed)?;
        }
        match security {
            None => Ok(stream),
            Some(security) => handshake::secure(local, security, stream, offer).await,
        }
    };
    let connected = tokio::time::timeout(limit, connecting).await;
    connected.unwrap_or(Err(AttemptError::ConnectTimeout { limit }))
}

/// The right to open a connection, if the cluster limits their number. Idle ones of this worker are closed for it.
pub(super) async fn permit(local: &Local, cluster: &ClusterRuntime) -> Result<Option<ConnectionPermit>, AttemptError> {
    if let Some(permit) = try_permit(local, cluster) {
        return Ok(permit);
    }
    let gate = cluster.endpoints.cluster().connections();
    gate.acquire().await.map(Some).map_err(|_overflow| AttemptError::Overflow)
}

/// Writes all of `header`.
pub(super) async fn tell(stream: &mut Stream, header: &[u8]) -> io::Result<()> {
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

/// The same, if it is to be had at once; without a limit nothing is needed. Else an idle connection of this worker is closed.
fn try_permit(local: &Local, cluster: &ClusterRuntime) -> Option<Option<ConnectionPermit>> {
    if cluster.definition.policy().pool.connections_max.is_none() {
        return Some(None);
    }
    let gate = cluster.endpoints.cluster().connections();
    let permit = gate.try_acquire();
    if permit.is_none() {
        local.pool.close_one_of(gate);
    }
    permit.map(Some)
}

/// A new socket, unless its descriptor is one of the last that there are.
fn socket(local: &Local, address: &SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    let is_reserved =
        u64::try_from(socket.as_raw_fd()).is_ok_and(|descriptor| descriptor >= local.shared.reserved_from);
    if is_reserved { Err(rustix::io::Errno::MFILE.into()) } else { Ok(socket) }
}

async fn dial(local: &Local, address: &EndpointAddress) -> io::Result<Stream> {
    match address {
        EndpointAddress::Ip(address) => {
            // Without a descriptor to spare, idle connections give way.
            let socket = socket(local, address).or_else(|_full| {
                local.pool.close_idle();
                socket(local, address)
            })?;
            socket.set_nodelay(true)?;
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
        EndpointAddress::Unix(path) => Ok(Stream::Unix(UnixStream::connect(&**path).await?)),
        // Names are looked up by the control thread; an entry that can be picked has an address.
        EndpointAddress::Dns { .. } => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}
