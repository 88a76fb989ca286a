//! Listeners: from a listening socket to a connection of which it is known what it speaks: HTTP/1.1 or HTTP/2, by its first
//! bytes, or something that is passed on unread.

mod connection;
mod detect;
mod handshake;
mod hello;
mod misdirected;
#[cfg(feature = "http3")]
mod quic;
mod redirect;
mod sniff;
mod socket;

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use config_model::model::{Binding, ListenerAddress};
use tokio::sync::oneshot::Receiver;

use crate::net::Stream;
use crate::worker::{Connections, Local};

pub(crate) use connection::{Connection, Protocol};
pub(crate) use handshake::ClientTls;
#[cfg(feature = "http3")]
pub(crate) use quic::accept as accept_quic;
use socket::Accepted;
pub(crate) use socket::ListeningSocket;

/// Pause after the system refused a connection for want of descriptors or memory, so that the worker doesn't spin.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts until `closed`, then takes what is queued already.
pub(crate) async fn accept(
    local: Rc<Local>,
    address: ListenerAddress,
    socket: ListeningSocket,
    mut closed: Receiver<()>,
) {
    let place = Place { address, here: socket.here, binding: Binding::Bound };
    loop {
        tokio::select! {
            biased;
            _ = &mut closed => break,
            accepted = next(&local, &socket) => take(&local, &place, accepted).await,
        }
    }
    for accepted in socket.into_queued() {
        take(&local, &place, Ok(accepted)).await;
    }
    local.connections.listening(-1);
}

/// Where connections come in.
#[derive(Debug, Clone)]
struct Place {
    /// Address of the listener as the Gateway says it.
    address: ListenerAddress,
    /// The address that clients dial, if there is but one.
    here: Option<SocketAddr>,
    /// How connections get here at this moment.
    binding: Binding,
}

async fn next(local: &Local, socket: &ListeningSocket) -> Result<Accepted, Error> {
    local.connections.below(local.shared.connections_per_worker).await;
    socket.accept().await
}

async fn take(local: &Rc<Local>, place: &Place, accepted: Result<Accepted, Error>) {
    match accepted {
        Ok((socket, peer)) => {
            let guard = Connections::enter(local);
            let told =
                local.pin().listener(&place.address).map(|listener| (listener.has_proxy_header, listener.binding));
            let (has_header, binding) = told.unwrap_or((false, Binding::Bound));
            let place = Place { binding, ..place.clone() };
            match (socket, peer) {
                // Boxed, as the runtime moves what it is given about a few times.
                (Stream::Tcp(socket), Some(peer)) if has_header => {
                    let served = connection::serve_behind_proxy(Rc::clone(local), guard, place, socket, peer);
                    tokio::task::spawn_local(Box::pin(served));
                }
                (stream, peer) => {
                    let served = connection::serve_at(local, guard, &place, stream, peer);
                    tokio::task::spawn_local(Box::pin(served));
                }
            }
        }
        // The client gave up while it was queued.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
        Err(error) => {
            tracing::warn!(address = %place.address, %error, "no connection can be accepted for a moment");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
