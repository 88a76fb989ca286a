//! New connections.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use balance::{AttemptError, Entry};
use config_model::model::EndpointAddress;
use tokio::net::{TcpStream, UnixStream};

use super::UpstreamConnection;
use crate::net::Stream;
use crate::telemetry::ClusterId;
use crate::worker::Local;

/// Connects to an endpoint within `limit`.
///
/// # Errors
/// If that takes longer, or fails.
pub(crate) async fn connect(
    local: &Rc<Local>,
    cluster: &ClusterId,
    entry: &Entry,
    limit: Duration,
) -> Result<Box<UpstreamConnection>, AttemptError> {
    // Boxed, as it is rare: the futures of idle connections would have to have room for it.
    match Box::pin(tokio::time::timeout(limit, dial(&entry.endpoint.address))).await {
        Ok(Ok(stream)) => Ok(UpstreamConnection::new(stream, Arc::clone(&entry.state), local, cluster)),
        Ok(Err(error)) => Err(AttemptError::ConnectFailed { reason: error.kind() }),
        Err(_elapsed) => Err(AttemptError::ConnectTimeout { limit }),
    }
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
