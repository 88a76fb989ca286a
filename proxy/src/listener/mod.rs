//! Listeners: from a listening socket to a connection of which it is known what it speaks: HTTP/1.1 or HTTP/2, by its first
//! bytes, or something that is passed on unread.

mod connection;
mod detect;
mod handshake;
mod hello;
mod misdirected;
mod redirect;
mod sniff;

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot::Receiver;

use crate::worker::{Connections, Local};

pub(crate) use connection::{Connection, Protocol};
pub(crate) use handshake::ClientTls;

/// Pause after the system refused a connection for want of descriptors or memory, so that the worker doesn't spin.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts until `closed`, then takes what is queued already.
pub(crate) async fn accept(local: Rc<Local>, address: SocketAddr, socket: TcpListener, mut closed: Receiver<()>) {
    let is_redirected = local.pin().listener(address).is_some_and(|listener| listener.is_redirected);
    let place = Place { address, here: prepare(&socket), is_redirected };
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            accepted = next(&local, &socket) => take(&local, place, accepted).await,
        }
    }
    for accepted in queued(socket) {
        take(&local, place, Ok(accepted)).await;
    }
    local.connections.listening(-1);
}

/// Where connections come in.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Address of the listener as the Gateway says it.
    address: SocketAddr,
    /// The address that clients dial, if there is but one.
    here: Option<SocketAddr>,
    /// Whether connections are redirected here that were meant for others.
    is_redirected: bool,
}

/// Has connections inherit what each would else have to be told, and yields the address that they all are dialled by: none if
/// the socket takes any.
fn prepare(socket: &TcpListener) -> Option<SocketAddr> {
    // Without it small answers wait for an acknowledgement; they come all the same.
    let _ = SockRef::from(socket).set_tcp_nodelay(true);
    socket.local_addr().ok().filter(|bound| !bound.ip().is_unspecified())
}

async fn next(local: &Local, socket: &TcpListener) -> Result<(TcpStream, SocketAddr), Error> {
    local.connections.below(local.shared.connections_per_worker).await;
    socket.accept().await
}

/// The connections that wait in the queue. The system is asked, not the runtime, which may not have heard of them yet.
fn queued(socket: TcpListener) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
    let socket = socket.into_std().ok();
    std::iter::from_fn(move || {
        let (stream, peer) = socket.as_ref()?.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some((TcpStream::from_std(stream).ok()?, peer))
    })
}

async fn take(local: &Rc<Local>, place: Place, accepted: Result<(TcpStream, SocketAddr), Error>) {
    match accepted {
        Ok((socket, peer)) => {
            let guard = Connections::enter(local);
            tokio::task::spawn_local(connection::serve(Rc::clone(local), guard, place, socket, peer));
        }
        // The client gave up while it was queued.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
        Err(error) => {
            tracing::warn!(address = %place.address, %error, "no connection can be accepted for a moment");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_inherit_what_their_listener_was_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        assert_eq!(prepare(&listener), listener.local_addr().ok());
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
    }

    #[tokio::test]
    async fn a_listener_that_takes_any_address_knows_none() {
        assert_eq!(prepare(&TcpListener::bind("[::]:0").await.unwrap()), None);
    }
}
