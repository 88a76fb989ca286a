//! Which filter chain a QUIC handshake is for: the library wants to know before it reads the ClientHello, and it is the
//! ClientHello that tells. So a session begins by reading that, and then becomes one of the chain's.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session, UnsupportedVersion,
};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectionId, Side, TransportError, TransportErrorCode};
use rustls::server::{ResolvesServerCertUsingSni, ServerConfig};
use rustls::{AlertDescription, version};

use crate::listener::hello::{self, Hello};
use crate::tls::{Chain, ServerSetup, provider};
use crate::worker::Shared;

/// The servers of a listener, as they are in force at each handshake.
pub(super) struct Servers {
    shared: Arc<Shared>,
    /// Of the listener, as the Gateway says it.
    listener: SocketAddr,
    /// Serves nobody: for what is the same whatever the server.
    nobody: Arc<QuicServerConfig>,
}

/// What both sides have agreed on.
#[derive(Clone)]
pub(super) struct Agreed {
    /// In lower case.
    pub(super) server_name: Option<Box<str>>,
    pub(super) chain: Arc<Chain>,
    pub(super) setup: Arc<ServerSetup>,
}

impl Servers {
    /// Those of the listener at `listener`.
    ///
    /// # Errors
    /// If the cryptography that is used has no part of what QUIC asks for.
    pub(super) fn new(
        shared: Arc<Shared>,
        listener: SocketAddr,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let config = ServerConfig::builder_with_provider(Arc::clone(provider()))
            .with_protocol_versions(&[&version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        Ok(Self { shared, listener, nobody: Arc::new(QuicServerConfig::try_from(config)?) })
    }

    /// Who serves `server_name`, and with what.
    fn find(&self, server_name: Option<Box<str>>) -> Result<(Agreed, QuicServerConfig), AlertDescription> {
        let snapshot = self.shared.snapshots.load();
        let listener = snapshot.listeners.iter().find(|listener| listener.address == self.listener);
        let chains = listener.and_then(|listener| listener.chains()).ok_or(AlertDescription::InternalError)?;
        let chain = chains.find(server_name.as_deref()).ok_or(AlertDescription::UnrecognisedName)?;
        if !chain.offers_http3() {
            return Err(AlertDescription::NoApplicationProtocol);
        }
        let setup = chain.setup().ok_or(AlertDescription::InternalError)?;
        let mut config = ServerConfig::clone(&setup.config);
        config.alpn_protocols = vec![b"h3".to_vec()];
        let config = QuicServerConfig::try_from(config).map_err(|_| AlertDescription::InternalError)?;
        Ok((Agreed { server_name, chain: Arc::clone(chain), setup }, config))
    }
}

impl crypto::ServerConfig for Servers {
    fn initial_keys(&self, version: u32, dst_cid: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.nobody.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.nobody.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let session = Arc::clone(&self.nobody).start_session(version, params);
        Box::new(Opening { servers: self, version, parameters: *params, hello: Vec::new(), agreed: None, session })
    }
}

/// A session that reads the ClientHello first.
struct Opening {
    servers: Arc<Servers>,
    version: u32,
    parameters: TransportParameters,
    /// What is here of it; empty once it is known whom it is for.
    hello: Vec<u8>,
    agreed: Option<Agreed>,
    /// With nobody, and then with whom it is for.
    session: Box<dyn Session>,
}

fn refused(alert: AlertDescription) -> TransportError {
    TransportErrorCode::crypto(alert.into()).into()
}

impl Session for Opening {
    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        if self.agreed.is_some() {
            return self.session.read_handshake(bytes);
        }
        self.hello.extend_from_slice(bytes);
        let server_name = match hello::read_message(&self.hello) {
            Hello::Incomplete => return Ok(false),
            Hello::NotTls => return Err(refused(AlertDescription::DecodeError)),
            Hello::Complete(server_name) => server_name,
        };
        let (agreed, config) = self.servers.find(server_name).map_err(refused)?;
        self.session = crypto::ServerConfig::start_session(Arc::new(config), self.version, &self.parameters);
        self.agreed = Some(agreed);
        self.session.read_handshake(&std::mem::take(&mut self.hello))
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.session.handshake_data()?;
        Some(Box::new(self.agreed.clone()?))
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.session.initial_keys(dst_cid, side)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.session.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.session.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.session.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.session.transport_parameters()
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        self.session.write_handshake(out)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.session.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.session.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.session.export_keying_material(output, label, context)
    }
}
