//! A client's TLS handshake: which filter chain it is for, then the library's work. Bounded in time; and of all handshakes of
//! a worker only a few may compute in one turn, so that those who are served already don't wait for many of them.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use config_model::model::TcpProxyIndex;
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, Error, ProtocolVersion};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::hello::{self, Hello};
use super::{Connection, Protocol};
use crate::net::{Session, TlsStream};
use crate::tcp::Opening;
use crate::tls::{Certificate, Chain, Chains, client_certificate_field};

/// From the connection to the end of its handshake. Source: PROMISES.md, section 2.
const LIMIT: Duration = Duration::from_secs(10);
/// The same once we drain.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// What a ClientHello may be long, with the records around it.
const HELLO_MAX: usize = 2 * hello::HELLO_MAX;

/// What a handshake has told of a connection.
pub(crate) struct ClientTls {
    /// In lower case, as the client sent it.
    pub(crate) server_name: Option<Box<str>>,
    /// The chain that took the connection.
    pub(crate) chain: Arc<Chain>,
    /// By ALPN; nothing: the first bytes tell.
    pub(crate) protocol: Option<Protocol>,
    /// The certificates that the chain served with.
    pub(crate) certificates: Box<[Arc<Certificate>]>,
    /// `x-forwarded-client-cert`, of a client that has shown a certificate.
    pub(crate) client_certificate: Option<Box<[u8]>>,
}

/// Why a handshake has not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    /// It took too long.
    #[error("it took longer than {LIMIT:?}")]
    TooSlow,
    /// The client left.
    #[error("the client left")]
    Left,
    /// What it sent is no ClientHello.
    #[error("what the client sent is no ClientHello")]
    NoHello,
    /// There is nothing that both sides agree on, or no certificate.
    #[error("{0}")]
    Refused(#[from] Error),
    /// No server takes this name.
    #[error("no server takes connections for {}", .0.as_deref().unwrap_or("a client without a server name"))]
    UnknownName(Option<Box<str>>),
    /// The server has no certificate that can be used.
    #[error("the server of {0} has no certificate that can be used")]
    NoCertificate(String),
}

/// What has come of a ClientHello.
pub(super) enum Shaken {
    /// TLS ends here.
    Ended(Box<TlsStream>, Box<ClientTls>),
    /// It ends behind us: nothing was answered, and the connection goes on with what was read.
    PassedOn {
        /// The client.
        socket: TcpStream,
        /// Where it goes.
        proxy: TcpProxyIndex,
        /// The ClientHello.
        opening: Opening,
    },
}

/// Shakes hands with the client on `socket`, or finds out where its TLS is passed on to.
pub(super) async fn shake_hands(
    connection: &Connection,
    chains: &Chains,
    socket: TcpStream,
) -> Result<Shaken, HandshakeFailure> {
    connection.deadline.set(LIMIT);
    let mut handshake = Handshake { connection, socket, received: Vec::new(), hurried: false };
    let server_name = handshake.hello().await?;
    let Some(chain) = chains.find(server_name.as_deref()) else {
        refuse(&handshake.socket, AlertDescription::UnrecognisedName);
        return Err(HandshakeFailure::UnknownName(server_name));
    };
    let Handshake { socket, received: bytes, hurried, .. } = handshake;
    if let Some(proxy) = chain.passed_on() {
        return Ok(Shaken::PassedOn { socket, proxy, opening: Opening { bytes, server_name } });
    }
    let (stream, told) = terminate(connection, chain, socket, Received { bytes, server_name, hurried }).await?;
    Ok(Shaken::Ended(Box::new(stream), told))
}

/// A ClientHello.
pub(super) struct Received {
    /// All that has been read of the connection.
    pub(super) bytes: Vec<u8>,
    /// In lower case.
    pub(super) server_name: Option<Box<str>>,
    /// Whether the time has been cut short already, as we drain.
    pub(super) hurried: bool,
}

/// Goes on with the handshake behind the ClientHello, with what `chain` serves with.
pub(super) async fn terminate(
    connection: &Connection,
    chain: &Arc<Chain>,
    socket: TcpStream,
    received: Received,
) -> Result<(TlsStream, Box<ClientTls>), HandshakeFailure> {
    let Some(setup) = chain.setup() else {
        refuse(&socket, AlertDescription::InternalError);
        return Err(HandshakeFailure::NoCertificate(chain.definition.origin.to_string()));
    };
    let Received { bytes, server_name, mut hurried } = received;
    let session = Session::Server(UnbufferedServerConnection::new(Arc::clone(&setup.config))?);
    let scratch = Rc::clone(&connection.local.tls_scratch);
    let mut stream = TlsStream::new(socket, session, scratch, bytes);
    finish(connection, &mut stream, &mut hurried).await?;
    let told = ClientTls {
        server_name,
        chain: Arc::clone(chain),
        protocol: match stream.common().alpn_protocol() {
            Some(b"h2") => Some(Protocol::Http2),
            Some(b"http/1.1") => Some(Protocol::Http1),
            _ => None,
        },
        certificates: setup.certificates.clone(),
        client_certificate: stream.common().peer_certificates().and_then(client_certificate_field),
    };
    Ok((stream, Box::new(told)))
}

/// The library's part, with as many turns as messages go back and forth.
async fn finish(connection: &Connection, stream: &mut TlsStream, hurried: &mut bool) -> Result<(), HandshakeFailure> {
    loop {
        let stepped = {
            let _turn = connection.local.turn().await;
            let stepped = stream.step();
            // Whoever is served already goes before the next handshake.
            tokio::task::yield_now().await;
            stepped
        };
        let is_done = stepped.is_ok() && !stream.is_handshaking();
        let flushed = std::future::poll_fn(|cx| match stream.poll_flush(cx) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|_gone| HandshakeFailure::Left)),
            Poll::Pending => is_late(cx, connection, hurried).map(|()| Err(HandshakeFailure::TooSlow)),
        });
        let flushed = flushed.await;
        stepped?;
        flushed?;
        if is_done {
            return Ok(());
        }
        std::future::poll_fn(|cx| match stream.poll_more(cx) {
            Poll::Ready(more) => Poll::Ready(more.map_err(|_gone| HandshakeFailure::Left)),
            Poll::Pending => is_late(cx, connection, hurried).map(|()| Err(HandshakeFailure::TooSlow)),
        })
        .await?;
    }
}

/// Ready when the handshake has taken too long.
fn is_late(cx: &mut Context<'_>, connection: &Connection, hurried: &mut bool) -> Poll<()> {
    if connection.local.hurrying.get() && !std::mem::replace(hurried, true) {
        connection.deadline.set(DRAIN_LIMIT);
    }
    if connection.deadline.has_passed(cx) { Poll::Ready(()) } else { Poll::Pending }
}

/// A handshake before it is known which chain it is for.
struct Handshake<'c> {
    connection: &'c Connection,
    socket: TcpStream,
    received: Vec<u8>,
    hurried: bool,
}

impl Handshake<'_> {
    /// Reads the ClientHello, and yields its server name. What was read stays in `received`, for the session or for whoever
    /// ends TLS behind us.
    async fn hello(&mut self) -> Result<Option<Box<str>>, HandshakeFailure> {
        loop {
            std::future::poll_fn(|cx| self.poll_more(cx)).await?;
            match hello::read(&self.received) {
                Hello::Complete(server_name) => return Ok(server_name),
                Hello::Incomplete => {}
                Hello::NotTls => {
                    refuse(&self.socket, AlertDescription::DecodeError);
                    return Err(HandshakeFailure::NoHello);
                }
            }
        }
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), HandshakeFailure>> {
        let mut space = [0; 4096];
        let mut buffer = ReadBuf::new(&mut space);
        match std::pin::Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() && self.received.len() < HELLO_MAX => {
                self.received.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => Poll::Ready(Err(HandshakeFailure::Left)),
            Poll::Pending => {
                ready!(is_late(cx, self.connection, &mut self.hurried));
                Poll::Ready(Err(HandshakeFailure::TooSlow))
            }
        }
    }
}

/// Tells the client why nothing comes of it, as far as the socket takes it.
fn refuse(socket: &TcpStream, alert: AlertDescription) {
    const ALERT: u8 = 21;
    const FATAL: u8 = 2;
    let [high, low] = u16::from(ProtocolVersion::TLSv1_2).to_be_bytes();
    let _ = socket.try_write(&[ALERT, high, low, 0, 2, FATAL, alert.into()]);
}
