//! A gateway, its clients and its back ends.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use tidegate::control::PortMap;
use tidegate::process::{Gateway, GatewayOptions};

use super::certificates::{Authority, Pair};

const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway whose port 443 is bound on any that is free.
pub(crate) struct Running {
    pub(crate) folder: TempDir,
    pub(crate) gateway: Gateway,
}

impl Running {
    pub(crate) fn start(files: &[(&str, &str)]) -> Self {
        Self::start_with(files, |_| {})
    }

    /// With other options, whose folder is known.
    pub(crate) fn start_with(files: &[(&str, &str)], change: impl FnOnce(&mut GatewayOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|(name, text)| std::fs::write(folder.path().join(name), text).unwrap());
        let mut options = GatewayOptions {
            mesh_certificates: folder.path().join("mesh"),
            workers: 2,
            port_map: PortMap::new([(443, 0), (80, 0)]),
            #[cfg(feature = "http3")]
            http3: true,
            ..GatewayOptions::new(folder.path())
        };
        change(&mut options);
        let gateway = Gateway::start(options, None).unwrap();
        Self { folder, gateway }
    }

    /// Puts a file in place by a rename, in the folder or beside it.
    pub(crate) fn put(&self, name: &str, text: &str) {
        write(&self.folder.path().join(name), text);
    }

    /// The same, and waits until the program has taken note of it.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        let mut news = self.gateway.status().subscribe();
        self.put(name, text);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, news.changed()).await }).unwrap().unwrap();
    }

    pub(crate) fn bound(&self, port: u16) -> SocketAddr {
        let applied = self.gateway.status().applied();
        let listener = applied.listeners.iter().find(|listener| listener.address.port() == port);
        (Ipv4Addr::LOCALHOST, listener.unwrap().bound.as_ref().unwrap().port()).into()
    }

    /// What is wrong, one line each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.gateway.status().applied().warnings.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn admin(&self, path: &str) -> String {
        plain(self.gateway.admin(), &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    }
}

pub(crate) fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Asks without TLS.
pub(crate) fn plain(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Tries again until `seen` is true.
pub(crate) fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !seen() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

/// A client that trusts one authority.
#[derive(Clone)]
pub(crate) struct Client(Arc<ClientConfig>);

/// What came of one request on a connection of its own.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Client {
    pub(crate) fn new(authority: &Authority, own: Option<&Pair>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_auth_cert(vec![own.der()], own.key_der()).unwrap(),
        };
        // Each handshake shows the certificate of its moment.
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// The configuration, to be changed.
    pub(crate) fn with(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        change(&mut config);
        Self(Arc::new(config))
    }

    /// One with only these versions.
    pub(crate) fn of_versions(authority: &Authority, versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der()).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        Self(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    }

    pub(crate) fn get(&self, address: SocketAddr, name: &str, host: &str, fields: &str) -> io::Result<Answer> {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n{fields}connection: close\r\n\r\n").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let certificate = stream.conn.peer_certificates().and_then(|chain| chain.first()).cloned();
        Ok(Answer { text, certificate: certificate.ok_or(io::ErrorKind::InvalidData)? })
    }

    /// The status of the answer.
    pub(crate) fn status(&self, address: SocketAddr, name: &str, host: &str) -> io::Result<u16> {
        let answer = self.get(address, name, host, "")?;
        answer.text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

/// A back end that speaks TLS and answers every request with the head that it got.
pub(crate) fn back_end(own: &Pair, clients: Option<&Authority>) -> SocketAddr {
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(vec![own.der()], own.key_der()).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || serve(socket, config));
        }
    });
    address
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).ok()?, socket);
    let mut served = 0;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let name = stream.conn.server_name().unwrap_or("-").to_owned();
        served += 1;
        let kind = stream.conn.handshake_kind();
        let body = format!("sni={name}\nserved={served} {kind:?}\n{}", String::from_utf8_lossy(&head));
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).ok()?;
    }
}
