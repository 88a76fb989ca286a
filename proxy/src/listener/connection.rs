//! One client connection: what is known of it, and its first bytes, which tell what it speaks.

use std::cell::{Cell, OnceCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use config_model::model::{Discovery, ListenerAddress, RouteConfigurationIndex, Scheme};
use http1::Message;
use tokio::net::TcpStream;

use super::handshake::{ClientTls, Shaken, shake_hands};
use super::redirect::{self, Way};
use super::sniff::PREFACE;
use super::{Place, detect, misdirected};
use crate::http::{HEAD_LIMIT, serve_http1, serve_http2};
use crate::net::{Ends, IpText, Stream, ip_text, proxy_header};
use crate::snapshot::{Accepts, ClusterRuntime, ListenerRuntime, SnapshotNumber};
use crate::tcp::{self, Opening};
use crate::telemetry::{Address, ListenerId};
use crate::tls::{Chain, Chains};
use crate::worker::{ConnectionGuard, Deadline, Local, Pinned};

/// To the first bytes of a connection.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// The same, when it came shortly before a drain: its request may be on its way.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(1);

/// To the end of a header of the PROXY protocol. Source: PROMISES.md, section 2, which has so long for any first bytes.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// HTTP/3
    #[cfg(feature = "http3")]
    Http3,
}

/// What is known of a connection.
pub(crate) struct Connection {
    /// The worker's state.
    pub(crate) local: Rc<Local>,
    /// Address of the listener as the Gateway says it.
    pub(crate) listener: ListenerAddress,
    /// The client's address, and ours as the client dialled it, or as it wanted it if it was redirected to us; nothing for a
    /// connection by a Unix socket.
    pub(crate) ends: Option<Ends>,
    /// Both, as log lines have them; made for the first.
    texts: OnceCell<Box<[Box<str>; 2]>>,
    /// The client's address as `x-forwarded-for` has it.
    pub(crate) peer_text: IpText,
    /// Whether it was redirected to us, so that it can go where it was meant to.
    pub(crate) is_redirected: bool,
    /// Whether its requests may say how they are tried, and for how long.
    pub(crate) is_trusted: bool,
    /// For whatever its task waits for.
    pub(crate) deadline: Deadline,
    protocol: Cell<Protocol>,
    /// What its handshake has told, if it is TLS.
    tls: OnceCell<Box<ClientTls>>,
    /// The snapshot that was asked last, and the listener's place in it.
    place: Cell<(SnapshotNumber, usize)>,
    metrics: Option<ListenerId>,
}

impl Connection {
    fn new(local: Rc<Local>, listener: ListenerAddress, ends: Option<Ends>, is_redirected: bool) -> Self {
        let metrics = local.pin().listener(&listener).map(|listener| listener.metrics.clone());
        if let Some(metrics) = &metrics {
            local.shard.borrow_mut().downstream_connection_opened(metrics);
        }
        let client = ends.map(|ends| ends.client.ip().to_canonical());
        let is_trusted = |client| local.shared.trusted_clients.iter().any(|network| network.contains(&client));
        Self {
            is_trusted: client.is_some_and(is_trusted),
            deadline: Deadline::new(&local.deadlines),
            peer_text: client.map(ip_text).unwrap_or_default(),
            protocol: Cell::new(Protocol::Http1),
            tls: OnceCell::new(),
            texts: OnceCell::new(),
            place: Cell::new((SnapshotNumber::NONE, usize::MAX)),
            local,
            listener,
            ends,
            is_redirected,
            metrics,
        }
    }

    /// One whose handshake is part of QUIC's, and has told `tls`.
    #[cfg(feature = "http3")]
    pub(super) fn over_quic(
        local: Rc<Local>,
        listener: SocketAddr,
        peer: SocketAddr,
        here: SocketAddr,
        tls: Box<ClientTls>,
    ) -> Self {
        let ends = Some(Ends { client: peer, server: here });
        let connection = Self::new(local, listener.into(), ends, false);
        connection.protocol.set(Protocol::Http3);
        // Set once, here.
        let _ = connection.tls.set(tls);
        connection
    }

    /// Its listener in the snapshot that is pinned; none if it has just been removed.
    pub(super) fn listener<'p>(&self, pinned: &'p Pinned) -> Option<&'p ListenerRuntime> {
        let snapshot = pinned.snapshot.number;
        if self.place.get().0 != snapshot {
            self.place.set((snapshot, pinned.listener_place(&self.listener).unwrap_or(usize::MAX)));
        }
        pinned.snapshot.listeners.get(self.place.get().1)
    }

    /// The routes of its requests in the snapshot that is pinned; none if they have just been removed.
    pub(crate) fn routes(&self, pinned: &Pinned) -> Option<RouteConfigurationIndex> {
        match &self.listener(pinned)?.accepts {
            Accepts::PlainText(filter) => filter.routes(),
            Accepts::Tls(chains) => self.chain(chains)?.routes(),
            Accepts::Detected(detected) => detected.http,
        }
    }

    /// The filter chain that takes connections like this one now.
    fn chain<'c>(&self, chains: &'c Chains) -> Option<&'c Arc<Chain>> {
        chains.find(self.tls.get()?.server_name.as_deref())
    }

    /// The client's address; none for one of a Unix socket.
    pub(crate) fn client_ip(&self) -> Option<IpAddr> {
        self.ends.map(|ends| ends.client.ip())
    }

    /// The address that the client wanted. Who came by a Unix socket has wanted none, and no rule for certain addresses holds.
    pub(crate) fn wanted_ip(&self) -> IpAddr {
        self.ends.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ends| ends.server.ip())
    }

    /// The client's address and ours, in words. Source: Envoy, where a client that came by a Unix socket has the socket's.
    pub(crate) fn addresses(&self) -> (Address<'_>, Address<'_>) {
        match (&self.ends, &self.listener) {
            (Some(ends), _) => {
                let texts = || [ends.client.to_string(), ends.server.to_string()].map(String::into_boxed_str).into();
                let [client, server] = &**self.texts.get_or_init(texts);
                (Address::Written(ends.client, client), Address::Written(ends.server, server))
            }
            (None, ListenerAddress::Unix(path)) => (Address::Unix(path), Address::Unix(path)),
            (None, ListenerAddress::Ip(address)) => (Address::Ip(*address), Address::Ip(*address)),
            (None, ListenerAddress::Pods { port, .. }) => {
                let somewhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), *port);
                (Address::Ip(somewhere), Address::Ip(somewhere))
            }
        }
    }

    /// `cluster` with the address that the client wanted, or another port there, as its only endpoint, if that is where connections
    /// to it go and if this connection was redirected.
    pub(crate) fn original(&self, cluster: &Arc<ClusterRuntime>) -> Option<Arc<ClusterRuntime>> {
        let goes_there = self.is_redirected && cluster.definition.discovery == Discovery::None;
        let mut wanted = self.ends.filter(|_| goes_there)?.server;
        if let Some(port) = cluster.definition.port_override {
            wanted.set_port(port);
        }
        Some(self.local.originals.cluster(cluster, wanted, &self.local.deadlines))
    }

    /// What its handshake has told, if it is TLS.
    pub(crate) fn tls(&self) -> Option<&ClientTls> {
        self.tls.get().map(|tls| &**tls)
    }

    /// Whether its client has shown a certificate.
    pub(crate) fn has_client_certificate(&self) -> bool {
        self.tls().is_some_and(|tls| tls.client_certificate.is_some())
    }

    /// By the listener.
    pub(crate) fn scheme(&self) -> Scheme {
        if self.tls.get().is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// Whether a request for `authority` has come on a connection that was not made for it, so that it has to come again on one
    /// that was.
    pub(crate) fn is_misdirected(&self, pinned: &Pinned, authority: &[u8]) -> bool {
        let Some(tls) = self.tls.get() else { return false };
        let chains = self.listener(pinned).and_then(ListenerRuntime::chains);
        chains.is_some_and(|chains| misdirected::is_misdirected(tls, chains, authority, self.protocol()))
    }

    /// The port at which the same may be asked for in HTTP/3, if that is to be told: as Istio, of the Gateway.
    #[cfg(feature = "http3")]
    pub(crate) fn http3_port(&self) -> Option<u16> {
        let is_told = self.local.shared.http3 && self.protocol() != Protocol::Http3;
        let tls = self.tls.get().filter(|_| is_told)?;
        tls.chain.offers_http3().then_some(self.listener.port())
    }

    /// What the client speaks.
    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol.get()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            self.local.shard.borrow_mut().downstream_connection_closed(metrics);
        }
    }
}

/// Serves a connection that begins with a header of the PROXY protocol, to its end.
pub(super) async fn serve_behind_proxy(
    local: Rc<Local>,
    guard: ConnectionGuard,
    place: Place,
    mut socket: TcpStream,
    peer: SocketAddr,
) {
    match tokio::time::timeout(HEADER_LIMIT, proxy_header::read(&mut socket)).await {
        Ok(Ok(Some(Ends { client, server }))) => {
            serve_at(&local, guard, &Place { here: Some(server), ..place }, Stream::Tcp(socket), Some(client)).await;
        }
        Ok(Ok(None)) => serve_at(&local, guard, &place, Stream::Tcp(socket), Some(peer)).await,
        Ok(Err(_)) | Err(_) => {
            tracing::debug!(target: "listener", %peer, "a connection begins without a PROXY header");
        }
    }
}

/// Serves the connection of `peer` that came in at `place`, to its end.
pub(super) fn serve_at(
    local: &Rc<Local>,
    guard: ConnectionGuard,
    place: &Place,
    stream: Stream,
    peer: Option<SocketAddr>,
) -> impl Future<Output = ()> + use<> {
    // Out of the future, which needs no room for what it was made of.
    let connection = connection(Rc::clone(local), place, &stream, peer).map(Rc::new);
    serve(guard, connection, stream)
}

async fn serve(guard: ConnectionGuard, connection: Option<Rc<Connection>>, stream: Stream) {
    let Some(connection) = connection else { return };
    let stream = match (beginning(&connection), stream) {
        (Beginning::Http, stream) => Some(stream),
        // Boxed, as it is over soon.
        (Beginning::Tls, Stream::Tcp(socket)) => Box::pin(secure(&connection, socket)).await,
        // Boxed, as the futures of HTTP/1 connections would have to have room for it.
        (Beginning::Other, stream) => {
            Box::pin(detect::serve(Rc::clone(&connection), stream)).await;
            None
        }
        // No TLS ends on a Unix socket.
        (Beginning::Tls, Stream::Unix(_) | Stream::Tls(_)) => None,
    };
    if let Some(mut stream) = stream
        && let Some((protocol, first)) = first_bytes(&connection, &mut stream).await
    {
        let protocol = connection.tls().and_then(|tls| tls.protocol).unwrap_or(protocol);
        connection.protocol.set(protocol);
        match protocol {
            Protocol::Http1 => serve_http1(Rc::clone(&connection), stream, first).await,
            // Boxed, as the futures of HTTP/1 connections would have to have room for it.
            Protocol::Http2 => Box::pin(serve_http2(Rc::clone(&connection), stream, first)).await,
            // Not over TCP.
            #[cfg(feature = "http3")]
            Protocol::Http3 => {}
        }
    }
    drop(connection);
    drop(guard);
}

/// What is known of a connection that came in at `place`; nothing if it has gone already.
fn connection(local: Rc<Local>, place: &Place, stream: &Stream, peer: Option<SocketAddr>) -> Option<Connection> {
    let (Some(socket), Some(client)) = (stream.tcp(), peer) else {
        return Some(Connection::new(local, place.address.clone(), None, false));
    };
    let server = place.here.or_else(|| socket.local_addr().ok())?;
    // One that was redirected counts as one of the address that it was meant for.
    Some(match redirect::way(&local, place, socket) {
        Some(Way { wanted, listener }) => Connection::new(local, listener, Some(Ends { client, server: wanted }), true),
        None => Connection::new(local, place.address.clone(), Some(Ends { client, server }), false),
    })
}

/// Serves HTTP on a connection of which `first` has been read.
pub(super) async fn serve_http(connection: Rc<Connection>, stream: Stream, protocol: Protocol, first: Box<Message>) {
    connection.protocol.set(protocol);
    connection.deadline.set(HEAD_LIMIT);
    match protocol {
        Protocol::Http1 => serve_http1(connection, stream, first).await,
        Protocol::Http2 => serve_http2(connection, stream, first).await,
        // Not over TCP.
        #[cfg(feature = "http3")]
        Protocol::Http3 => {}
    }
}

/// What the connections of a listener begin with.
enum Beginning {
    /// HTTP in plain text.
    Http,
    /// A TLS handshake.
    Tls,
    /// Anything.
    Other,
}

fn beginning(connection: &Connection) -> Beginning {
    let pinned = connection.local.pin();
    match connection.listener(&pinned).map(|listener| &listener.accepts) {
        None => Beginning::Http,
        Some(Accepts::PlainText(filter)) if filter.tcp().is_none() => Beginning::Http,
        Some(Accepts::Tls(_)) => Beginning::Tls,
        Some(Accepts::PlainText(_) | Accepts::Detected(_)) => Beginning::Other,
    }
}

/// Shakes hands; nothing if the connection is over by that. One whose TLS does not end here is served to its end, and so is one
/// with something else than HTTP in its TLS.
async fn secure(connection: &Rc<Connection>, socket: TcpStream) -> Option<Stream> {
    let shaken = {
        let pinned = connection.local.pin();
        let chains = connection.listener(&pinned).and_then(ListenerRuntime::chains)?;
        shake_hands(connection, chains, socket).await
    };
    if let (Some(metrics), false) = (&connection.metrics, matches!(shaken, Ok(Shaken::PassedOn { .. }))) {
        connection.local.shard.borrow_mut().handshake(metrics, shaken.is_ok());
    }
    match shaken {
        Ok(Shaken::Ended(stream, told)) => {
            let (tcp, server_name) = (told.chain.tcp(), told.server_name.clone());
            // Set once, here.
            let _ = connection.tls.set(told);
            let stream = Stream::Tls(stream);
            let Some(proxy) = tcp else { return Some(stream) };
            tcp::prepare(connection, proxy).await.serve(stream, Opening { bytes: Vec::new(), server_name }).await;
            None
        }
        Ok(Shaken::PassedOn { socket, proxy, opening }) => {
            tcp::prepare(connection, proxy).await.serve(Stream::Tcp(socket), opening).await;
            None
        }
        Err(failure) => {
            let (peer, _) = connection.addresses();
            tracing::debug!(target: "listener", %peer, "a TLS handshake has failed: {failure}");
            None
        }
    }
}

/// Reads until HTTP/1 and HTTP/2 can be told apart; nothing if the client is silent for too long, or leaves. What takes too long to be
/// HTTP/2 is HTTP/1, whose head is late then by the connection's deadline, unless the handshake has promised HTTP/2.
async fn first_bytes(connection: &Connection, stream: &mut Stream) -> Option<(Protocol, Box<Message>)> {
    let mut first = None;
    let mut hurried = false;
    connection.deadline.set(IDLE_LIMIT);
    let protocol = std::future::poll_fn(|cx| {
        loop {
            match poll_more(cx, connection, stream, &mut first) {
                Poll::Ready(Some(protocol)) => return Poll::Ready(protocol),
                Poll::Ready(None) => {}
                Poll::Pending => break,
            }
        }
        let has_begun = first.as_ref().is_some_and(|first| !first.is_empty());
        if connection.local.hurrying.get() && !has_begun && !std::mem::replace(&mut hurried, true) {
            connection.deadline.set(FIRST_BYTES_LIMIT);
        }
        if !connection.deadline.has_passed(cx) {
            return Poll::Pending;
        }
        let promised = connection.tls().and_then(|tls| tls.protocol);
        Poll::Ready((has_begun && promised != Some(Protocol::Http2)).then_some(Protocol::Http1))
    })
    .await;
    match (protocol, first) {
        (Some(protocol), Some(first)) => Some((protocol, first)),
        (_, first) => {
            first.into_iter().for_each(|first| connection.local.memory.give_back(first));
            None
        }
    }
}

/// Reads some bytes. Yields the protocol if they tell, nothing within if the client has left, and nothing if they don't tell.
fn poll_more(
    cx: &mut Context<'_>,
    connection: &Connection,
    stream: &mut Stream,
    first: &mut Option<Box<Message>>,
) -> Poll<Option<Option<Protocol>>> {
    if ready!(stream.poll_read_ready(cx)).is_err() {
        return Poll::Ready(Some(None));
    }
    let message = first.get_or_insert_with(|| connection.local.memory.message());
    let count = ready!(stream.poll_read(cx, message.space())).unwrap_or(0);
    if count > 0 && message.is_empty() {
        connection.deadline.set(HEAD_LIMIT);
    }
    message.filled(count);
    let received = message.received();
    Poll::Ready(if count == 0 {
        Some(None)
    } else if received.starts_with(PREFACE) {
        Some(Some(Protocol::Http2))
    } else if PREFACE.starts_with(received) {
        None
    } else {
        Some(Some(Protocol::Http1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what an asynchronous function with these arguments yields, without calling it.
    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_is_small() {
        // Its task, its socket's registration and its deadline have to stay under 4 KiB in all.
        let size = size_of_future(serve);
        assert!(size <= 2048, "{size} bytes");
    }
}
