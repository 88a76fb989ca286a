//! A client of another make: h3 over h3-quinn.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, Request, Response};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use crate::certificates::{Authority, Pair};

/// What is asked for has to be there by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// A connection.
pub(crate) struct Client {
    pub(crate) quic: quinn::Connection,
    pub(crate) requests: SendRequest<OpenStreams, Bytes>,
    /// Tells how the connection ended.
    pub(crate) driver: tokio::task::JoinHandle<String>,
    _endpoint: quinn::Endpoint,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: Response<()>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

/// A connection of QUIC.
pub(crate) async fn dial(
    address: SocketAddr,
    name: &str,
    authority: &Authority,
    own: Option<&Pair>,
) -> Result<(quinn::Endpoint, quinn::Connection), quinn::ConnectionError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_auth_cert(vec![own.der()], own.key_der()).unwrap(),
    };
    config.alpn_protocols = vec![b"h3".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
    let endpoint = quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let quic = endpoint.connect_with(config, address, name).unwrap().await?;
    Ok((endpoint, quic))
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr, name: &str, authority: &Authority) -> Self {
        let (endpoint, quic) = dial(address, name, authority, None).await.unwrap();
        Self::over(endpoint, quic).await
    }

    pub(crate) async fn over(endpoint: quinn::Endpoint, quic: quinn::Connection) -> Self {
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await.unwrap();
        let driver = tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await.to_string() });
        Self { quic, requests, driver, _endpoint: endpoint }
    }

    /// The certificate that was shown.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        let chain = self.quic.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
        chain[0].clone()
    }

    /// Begins a request.
    pub(crate) async fn send(&mut self, request: Request<()>) -> Result<Stream, StreamError> {
        self.requests.send_request(request).await
    }

    /// One request with a body, and its answer.
    pub(crate) async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, StreamError> {
        let mut stream = self.send(request).await?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body)).await?;
        }
        stream.finish().await?;
        read(&mut stream).await
    }

    pub(crate) async fn get(&mut self, uri: &str) -> Answer {
        self.ask(Request::get(uri).body(()).unwrap(), b"").await.unwrap()
    }
}

/// Reads an answer to its end.
pub(crate) async fn read(stream: &mut Stream) -> Result<Answer, StreamError> {
    let head = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?;
    Ok(Answer { head, body, trailers })
}
