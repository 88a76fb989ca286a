//! TLS towards back ends: what a cluster's connections begin their handshakes with.
//!
//! It lives as long as the cluster's settings stay; renewed certificates are exchanged in it by one store, and connections that
//! stand are not touched. Sessions are resumed only with the settings and certificates that they began with. Start at
//! [`BackEndTls::session`].

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use config_model::model::UpstreamTls;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, Error};

use super::certificate::Certificate;
use super::server::Trust;
use super::{provider, verify};

/// What is spoken within TLS, which ALPN tells the back end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whatever isn't HTTP. Only workloads of the mesh are told.
    Other,
}

/// Server names whose sessions are kept, of a cluster and protocol.
const SESSIONS: usize = 256;

/// TLS of a cluster.
pub(crate) struct BackEndTls {
    /// As configured.
    pub(crate) definition: Arc<UpstreamTls>,
    setup: ArcSwap<Setup>,
}

/// What handshakes begin with now.
enum Setup {
    /// Nothing was looked up yet, or it can't be used: no connection can be made.
    Missing(Box<str>),
    /// All that is needed.
    Ready(ClientSetup),
}

/// What handshakes begin with.
struct ClientSetup {
    /// Without a protocol and without sessions.
    base: Box<ClientConfig>,
    /// For each [`Offer`] that was asked for, with sessions of its own: those of another may be for another protocol.
    configs: [OnceLock<Arc<ClientConfig>>; 3],
    made_of: Ingredients,
}

/// What a setup is made of.
#[derive(Clone, Default)]
pub(crate) struct Ingredients {
    /// What we show.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// What back ends are verified with.
    pub(crate) trust: Option<Trust>,
    /// Names of the endpoints' workloads in the mesh, of which a certificate has to have one unless the settings name others.
    pub(crate) workloads: Arc<[Arc<str>]>,
}

impl PartialEq for Ingredients {
    fn eq(&self, other: &Self) -> bool {
        fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
            one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
        }
        let authorities = |of: &Self| of.trust.as_ref().map(|trust| Arc::as_ptr(&trust.authorities));
        let revoked = |of: &Self| of.trust.as_ref().and_then(|trust| trust.revoked.as_ref().map(Arc::as_ptr));
        same(self.certificate.as_ref(), other.certificate.as_ref())
            && (authorities(self), revoked(self)) == (authorities(other), revoked(other))
            && self.workloads == other.workloads
    }
}

impl BackEndTls {
    /// TLS by these settings, without anything to begin a handshake with.
    pub(crate) fn new(definition: Arc<UpstreamTls>) -> Self {
        Self { definition, setup: ArcSwap::from_pointee(Setup::Missing("its certificates are not known yet".into())) }
    }

    /// Exchanges what handshakes begin with, if it is made of anything else.
    ///
    /// # Errors
    /// Says why no handshake can be begun with it.
    pub(crate) fn set(&self, ingredients: Ingredients) -> Result<(), String> {
        if matches!(&**self.setup.load(), Setup::Ready(setup) if setup.made_of == ingredients) {
            return Ok(());
        }
        let setup = ClientSetup::new(&self.definition, ingredients);
        let told = setup.as_ref().map(|_| ()).map_err(Clone::clone);
        let setup = setup.map_or_else(|problem| Setup::Missing(problem.into()), Setup::Ready);
        self.setup.store(Arc::new(setup));
        told
    }

    /// No handshake can be begun, for this reason.
    pub(crate) fn fail(&self, reason: &str) {
        self.setup.store(Arc::new(Setup::Missing(reason.into())));
    }

    /// The server name for a request to `host`, which may have a port.
    pub(crate) fn server_name(&self, host: &[u8]) -> Option<Arc<str>> {
        if self.definition.server_name.is_some() {
            return self.definition.server_name.clone();
        }
        let host = std::str::from_utf8(host).ok()?;
        let host = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
            _ => host,
        };
        Some(host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase().into())
    }

    /// Begins a handshake for `server_name` with a back end at `address`.
    ///
    /// # Errors
    /// Says why that is not possible.
    pub(crate) fn session(
        &self,
        offer: Offer,
        server_name: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<UnbufferedClientConnection, String> {
        let setup = self.setup.load_full();
        let Setup::Ready(setup) = &*setup else {
            let Setup::Missing(reason) = &*setup else { return Err(String::new()) };
            return Err(reason.to_string());
        };
        let named = server_name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
        let name = named.or_else(|| address.map(ServerName::from));
        let name = name.ok_or("there is no server name to ask for")?;
        UnbufferedClientConnection::new(setup.config(offer, self.definition.is_mesh), name)
            .map_err(|error| error.to_string())
    }
}

impl ClientSetup {
    fn new(definition: &UpstreamTls, made_of: Ingredients) -> Result<Self, String> {
        let words = |error: Error| error.to_string();
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider::provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(words)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier(definition, &made_of)?);
        let mut base = match &made_of.certificate {
            None => builder.with_no_client_auth(),
            Some(certificate) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&certificate.key))))
            }
        };
        base.resumption = Resumption::disabled();
        Ok(Self { base: base.into(), configs: Default::default(), made_of })
    }

    fn config(&self, offer: Offer, is_mesh: bool) -> Arc<ClientConfig> {
        let [http1, http2, other] = &self.configs;
        let config = match offer {
            Offer::Http1 => http1,
            Offer::Http2 => http2,
            Offer::Other => other,
        };
        let made = config.get_or_init(|| {
            let mut config = ClientConfig::clone(&self.base);
            config.resumption = Resumption::in_memory_sessions(SESSIONS);
            config.alpn_protocols = offer.protocols(is_mesh).iter().map(|name| name.as_bytes().to_vec()).collect();
            Arc::new(config)
        });
        Arc::clone(made)
    }
}

impl Offer {
    /// What ALPN says, the best first.
    fn protocols(self, is_mesh: bool) -> &'static [&'static str] {
        match (self, is_mesh) {
            (Self::Http1, false) => &["http/1.1"],
            (Self::Http1, true) => &["istio-http/1.1", "istio", "http/1.1"],
            (Self::Http2, false) => &["h2"],
            (Self::Http2, true) => &["istio-h2", "istio", "h2"],
            (Self::Other, false) => &[],
            (Self::Other, true) => &["istio"],
        }
    }
}

fn verifier(definition: &UpstreamTls, made_of: &Ingredients) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let Some(validation) = &definition.server else {
        return verify::servers(None, None, false);
    };
    let Some(trust) = &made_of.trust else { return Err("there are no authorities".to_owned()) };
    let mut validation = validation.clone();
    if definition.is_mesh && validation.names.is_empty() {
        validation.names = made_of.workloads.to_vec();
    }
    let verified = Some((&validation, &trust.authorities));
    verify::servers(verified, trust.revoked.as_deref(), definition.verifies_server_name)
}
