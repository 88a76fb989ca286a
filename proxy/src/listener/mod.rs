//! Listeners: from a listening socket to a connection of which it is known what it speaks: HTTP/1.1 or HTTP/2, by its first
//! bytes, or something that is passed on unread.

mod connection;
mod detect;
mod handshake;
mod hello;
mod misdirected;
mod sniff;

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot::Receiver;

use crate::worker::{Connections, Local};

pub(crate) use connection::{Connection, Protocol};
pub(crate) use handshake::ClientTls;

/// Pause after the system refused a connection for want of descriptors or memory, so that the worker doesn't spin.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts until `closed`, then takes what is queued already.
pub(crate) async fn accept(local: Rc<Local>, address: SocketAddr, socket: TcpListener, mut closed: Receiver<()>) {
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            accepted = next(&local, &socket) => take(&local, address, accepted).await,
        }
    }
    for accepted in queued(socket) {
        take(&local, address, Ok(accepted)).await;
    }
    local.connections.listening(-1);
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

async fn take(local: &Rc<Local>, address: SocketAddr, accepted: Result<(TcpStream, SocketAddr), Error>) {
    match accepted {
        Ok((socket, peer)) => {
            let guard = Connections::enter(local);
            tokio::task::spawn_local(connection::serve(Rc::clone(local), guard, address, socket, peer));
        }
        // The client gave up while it was queued.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
        Err(error) => {
            tracing::warn!(%address, %error, "no connection can be accepted for a moment");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
