//! QUIC, which carries HTTP/3: from a socket to a connection whose handshake is done. Source: RFC 9000, RFC 9001.
//!
//! A listener has one socket, and one worker has it. The kernel gives a datagram to one of several sockets by the client's
//! address, and a client may change its address in the middle of a connection; only a socket that gets everything can follow
//! it without sharing state between workers. What that costs: HTTP/3 on one port is served by one core.

mod handshake;

use std::cell::Cell;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;
use tokio::sync::{oneshot, watch};

use super::{ClientTls, Connection, Protocol};
use crate::http::serve_http3;
use crate::tls::client_certificate_field;
use crate::worker::{Connections, Local};
use handshake::{Agreed, Servers};

/// From the first datagram to the end of the handshake. Source: PROMISES.md, section 2.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// Handshakes under way from which on a client first has to show that its address is its own. Source: RFC 9000, 8.1.2.
const UNPROVEN_MAX: usize = 64;
/// Handshakes that wait to be looked at, and what they may have sent meanwhile.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES: u64 = 16 * 1024;
const WAITING_BYTES_IN_ALL: u64 = 4 << 20;
/// A connection on which nothing at all comes is lost. One that only waits is kept alive by its client, or by its deadlines.
const SILENCE_LIMIT_MS: u32 = 300_000;
/// Streams that a client may have open at once, for requests. Source: PROMISES.md, section 2.
const REQUESTS_MAX: u32 = 100;
/// The same for HTTP/3's own, which are three, and a few to be ignored.
const SIDE_STREAMS_MAX: u32 = 8;
/// What may wait in memory for one stream of requests, and for one connection each way.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A listener, as its connections see it.
struct Place {
    local: Rc<Local>,
    /// Its address as the Gateway says it.
    address: SocketAddr,
    /// Where its socket is bound.
    bound: SocketAddr,
    /// Its sender is gone once connections are to come to their end.
    leaving: watch::Receiver<()>,
    handshakes: Cell<usize>,
}

/// Takes connections until `closed`, then has those that stand come to their end.
pub(crate) async fn accept(
    local: Rc<Local>,
    address: SocketAddr,
    socket: UdpSocket,
    mut closed: oneshot::Receiver<()>,
) {
    let (leave, leaving) = watch::channel(());
    match open(&local, address, socket) {
        Ok((endpoint, bound)) => {
            let place = Rc::new(Place { local: Rc::clone(&local), address, bound, leaving, handshakes: Cell::new(0) });
            loop {
                tokio::select! {
                    biased;
                    _ = &mut closed => break,
                    incoming = next(&local, &endpoint) => match incoming {
                        Some(incoming) => take(&place, incoming),
                        None => break,
                    }
                }
            }
            endpoint.set_server_config(None);
            drop(leave);
            // The last datagrams tell clients that their connections have ended.
            endpoint.wait_idle().await;
        }
        Err(error) => tracing::error!(target: "listener", %address, %error, "a socket for HTTP/3 can't be used"),
    }
    local.connections.listening(-1);
}

fn open(local: &Local, address: SocketAddr, socket: UdpSocket) -> io::Result<(Endpoint, SocketAddr)> {
    let bound = socket.local_addr()?;
    let servers = Servers::new(Arc::clone(&local.shared), address).map_err(io::Error::other)?;
    let mut server = ServerConfig::with_crypto(Arc::new(servers));
    server.transport_config(Arc::new(transport()));
    server.max_incoming(WAITING_MAX).incoming_buffer_size(WAITING_BYTES);
    server.incoming_buffer_size_total(WAITING_BYTES_IN_ALL);
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, Arc::new(TokioRuntime))?;
    Ok((endpoint, bound))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(REQUESTS_MAX.into())
        .max_concurrent_uni_streams(SIDE_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(SILENCE_LIMIT_MS))))
        .datagram_receive_buffer_size(None);
    transport
}

async fn next(local: &Local, endpoint: &Endpoint) -> Option<Incoming> {
    local.connections.below(local.shared.connections_per_worker).await;
    endpoint.accept().await
}

fn take(place: &Rc<Place>, incoming: Incoming) {
    if place.handshakes.get() >= UNPROVEN_MAX && incoming.may_retry() {
        // Whoever used another's address never answers this.
        let _ = incoming.retry();
        return;
    }
    let guard = Connections::enter(&place.local);
    let place = Rc::clone(place);
    tokio::task::spawn_local(async move {
        serve(&place, incoming).await;
        drop(guard);
    });
}

/// Serves a connection to its end.
async fn serve(place: &Place, incoming: Incoming) {
    let peer = incoming.remote_address();
    let here = incoming.local_ip().map_or(place.bound, |ip| SocketAddr::new(ip.to_canonical(), place.bound.port()));
    place.handshakes.set(place.handshakes.get() + 1);
    let shaken = shake_hands(place, incoming).await;
    place.handshakes.set(place.handshakes.get() - 1);
    if let Some(metrics) = place.local.pin().listener(&place.address.into()).map(|listener| listener.metrics.clone()) {
        place.local.shard.borrow_mut().handshake(&metrics, shaken.is_ok());
    }
    match shaken {
        Ok((quic, tls)) => {
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let connection = Connection::over_quic(Rc::clone(&place.local), place.address, peer, here, tls);
            serve_http3(Rc::new(connection), quic, place.leaving.clone()).await;
        }
        Err(failure) => tracing::debug!(target: "listener", %peer, "a QUIC handshake has failed: {failure}"),
    }
}

async fn shake_hands(place: &Place, incoming: Incoming) -> Result<(quinn::Connection, Box<ClientTls>), String> {
    let connecting = incoming.accept().map_err(|error| error.to_string())?;
    let mut leaving = place.leaving.clone();
    let quic = tokio::select! {
        connected = tokio::time::timeout(HANDSHAKE_LIMIT, connecting) => match connected {
            Ok(connected) => connected.map_err(|error| error.to_string())?,
            Err(_) => return Err(format!("it took longer than {HANDSHAKE_LIMIT:?}")),
        },
        _ = leaving.changed() => return Err("we are about to end".to_owned()),
    };
    let agreed = quic.handshake_data().and_then(|data| data.downcast::<Agreed>().ok());
    let Agreed { server_name, chain, setup } = *agreed.ok_or("nothing was agreed on")?;
    let shown = quic.peer_identity().and_then(|shown| shown.downcast::<Vec<CertificateDer<'static>>>().ok());
    let tls = ClientTls {
        server_name,
        chain,
        protocol: Some(Protocol::Http3),
        certificates: setup.certificates.clone(),
        client_certificate: shown.and_then(|shown| client_certificate_field(&shown)),
    };
    Ok((quic, Box::new(tls)))
}
