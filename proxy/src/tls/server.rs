//! TLS that ends here: a listener's filter chains, and with which certificates and rules each of them shakes hands.
//!
//! A chain lives as long as its settings stay; a renewed certificate is exchanged in it by one store, so that no handshake
//! meets half of a change. Start at [`Chains::find`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use config_model::model::{
    ClientCertificates, DownstreamTls, FilterChain, NetworkFilter, PeerValidation, RouteConfigurationIndex,
    TcpProxyIndex, TransportSocket,
};
use config_model::name::HostPattern;
use ipnet::IpNet;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls::{Error, SignatureAlgorithm};

use super::certificate::{Authorities, Certificate, RevocationLists};
use super::server_names::ServerNames;
use super::{provider, verify};

/// The filter chains of a listener.
pub(crate) struct Chains {
    /// Of chains for any address.
    names: ServerNames,
    /// Of chains for certain addresses, the narrowest subnet first, each once.
    by_subnet: Box<[(IpNet, ServerNames)]>,
    chains: Box<[Arc<Chain>]>,
}

/// A filter chain, and what it serves with now.
pub(crate) struct Chain {
    /// As configured.
    pub(crate) definition: FilterChain,
    /// Nothing: no handshake can succeed, as there is no certificate.
    setup: ArcSwapOption<ServerSetup>,
}

/// What a chain serves with.
pub(crate) struct ServerSetup {
    /// For the library.
    pub(crate) config: Arc<ServerConfig>,
    /// The certificates in it.
    pub(crate) certificates: Box<[Arc<Certificate>]>,
    policy: Arc<Policy>,
}

impl Chains {
    /// Those of a listener. A chain of `previous` whose definition is the same is taken over.
    pub(crate) fn new(definitions: &[FilterChain], previous: Option<&Self>) -> Self {
        let chain = |definition: &FilterChain| {
            let first = definition.server_names.first();
            let known = previous.and_then(|previous| previous.named(first?));
            match known.filter(|known| known.definition == *definition) {
                Some(same) => Arc::clone(same),
                None => Arc::new(Chain::new(definition.clone(), known)),
            }
        };
        let mut names = ServerNames::default();
        let mut by_subnet: BTreeMap<(Reverse<u8>, IpNet), ServerNames> = BTreeMap::new();
        for (place, definition) in (0..).zip(definitions) {
            let subnets = &definition.destination_subnets;
            for subnet in subnets {
                by_subnet
                    .entry((Reverse(subnet.prefix_len()), *subnet))
                    .or_default()
                    .add(&definition.server_names, place);
            }
            if subnets.is_empty() {
                names.add(&definition.server_names, place);
            }
        }
        let by_subnet = by_subnet.into_iter().map(|((_, subnet), names)| (subnet, names)).collect();
        Self { names, by_subnet, chains: definitions.iter().map(chain).collect() }
    }

    /// Whether there is but one.
    pub(crate) fn is_one(&self) -> bool {
        self.chains.len() == 1
    }

    /// The chain that takes connections for `server_name`, which is in lower case, where no address counts: at a gateway.
    pub(crate) fn find(&self, server_name: Option<&str>) -> Option<&Arc<Chain>> {
        self.chains.get(self.names.find(server_name)? as usize)
    }

    /// The chain that takes connections to `wanted` for `server_name`, which is in lower case. The narrowest subnet that has the
    /// address decides first; what its chains don't take no other does.
    pub(crate) fn find_at(&self, wanted: IpAddr, server_name: Option<&str>) -> Option<&Arc<Chain>> {
        let wanted = wanted.to_canonical();
        let names =
            self.by_subnet.iter().find(|(subnet, _)| subnet.contains(&wanted)).map_or(&self.names, |(_, names)| names);
        self.chains.get(names.find(server_name)? as usize)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Chain>> {
        self.chains.iter()
    }

    fn named(&self, pattern: &HostPattern) -> Option<&Arc<Chain>> {
        let found = match pattern {
            HostPattern::Exact(name) => self.find(Some(name)),
            HostPattern::Suffix(suffix) => self.find(Some(&format!("*{suffix}"))),
            HostPattern::Any => self.find(None),
        };
        found.filter(|chain| chain.definition.server_names.contains(pattern))
    }
}

impl Chain {
    fn new(definition: FilterChain, known: Option<&Arc<Self>>) -> Self {
        // Until its certificates have been looked up, which happens before it is in force.
        let setup = known.filter(|known| known.context() == definition_context(&definition));
        Self { definition, setup: ArcSwapOption::new(setup.and_then(|known| known.setup.load_full())) }
    }

    /// Certificates and rules of the handshake, if it is us who end TLS.
    pub(crate) fn context(&self) -> Option<&Arc<DownstreamTls>> {
        definition_context(&self.definition)
    }

    /// The routes of its requests, if it is HTTP.
    pub(crate) fn routes(&self) -> Option<RouteConfigurationIndex> {
        self.definition.filter().routes()
    }

    /// Where its connections go, if they are not HTTP for us.
    pub(crate) fn tcp(&self) -> Option<TcpProxyIndex> {
        self.definition.filter().tcp()
    }

    /// The same, if their TLS ends behind us.
    pub(crate) fn passed_on(&self) -> Option<TcpProxyIndex> {
        if self.context().is_none() { self.tcp() } else { None }
    }

    /// Whether its requests may come in HTTP/3, whose TLS is 1.3.
    #[cfg(feature = "http3")]
    pub(crate) fn offers_http3(&self) -> bool {
        let max = self.context().map(|context| context.versions.max);
        self.routes().is_some() && max == Some(config_model::model::TlsVersion::V1_3)
    }

    /// What it serves with; nothing if it can't serve now.
    pub(crate) fn setup(&self) -> Option<Arc<ServerSetup>> {
        self.setup.load_full()
    }

    /// Exchanges what it serves with.
    pub(crate) fn set(&self, setup: Option<Arc<ServerSetup>>) {
        self.setup.store(setup);
    }

    /// Whether clients have to show of themselves what those of `other` have to.
    pub(crate) fn has_client_rules_of(&self, other: &Self) -> bool {
        let rules = |chain: &Self| chain.context().map(|context| context.client.clone());
        let policy = |chain: &Self| chain.setup().map(|setup| Arc::as_ptr(&setup.policy));
        rules(self) == rules(other) || policy(self).is_some() && policy(self) == policy(other)
    }
}

fn definition_context(definition: &FilterChain) -> Option<&Arc<DownstreamTls>> {
    match &definition.transport {
        TransportSocket::Tls { context, .. } => Some(context),
        TransportSocket::Raw(_) => None,
    }
}

impl ServerSetup {
    /// Whether it was made of these.
    pub(crate) fn is_made_of(&self, certificates: &[Arc<Certificate>], policy: &Arc<Policy>) -> bool {
        let same = |(one, other): (&Arc<Certificate>, &Arc<Certificate>)| Arc::ptr_eq(one, other);
        self.certificates.len() == certificates.len()
            && self.certificates.iter().zip(certificates).all(same)
            && Arc::ptr_eq(&self.policy, policy)
    }

    /// Serves with `certificates` by the rules of `policy`.
    pub(crate) fn new(certificates: Vec<Arc<Certificate>>, policy: Arc<Policy>) -> Self {
        let mut config = ServerConfig::clone(&policy.template);
        let certificates: Box<[_]> = certificates.into();
        config.cert_resolver = Arc::new(Resolver(certificates.clone()));
        Self { config: Arc::new(config), certificates, policy }
    }
}

/// Picks one of several certificates.
struct Resolver(Box<[Arc<Certificate>]>);

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Resolver({})", self.0.len())
    }
}

impl ResolvesServerCert for Resolver {
    /// Of those whose key the client can verify one for the server name goes before others, then one with the faster kind of
    /// key, then the first.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = &*self.0 {
            return Some(Arc::clone(&only.key));
        }
        let usable = self.0.iter().filter(|one| one.key.key.choose_scheme(hello.signature_schemes()).is_some());
        let rank = |one: &&Arc<Certificate>| {
            let covers = |name| one.own().is_some_and(|facts| facts.names.covers(name));
            (!hello.server_name().is_some_and(covers), one.key.key.algorithm() != SignatureAlgorithm::ECDSA)
        };
        usable.min_by_key(rank).map(|one| Arc::clone(&one.key))
    }
}

/// The rules of a handshake without the certificates that are served: chains with the same rules share them, and a session
/// can be resumed only under the rules that it began with.
pub(crate) struct Policy {
    key: PolicyKey,
    template: ServerConfig,
    /// So that the addresses in the key are nobody else's.
    _trust: Option<Trust>,
}

/// What makes two sets of rules the same.
#[derive(PartialEq, Eq, Hash)]
struct PolicyKey {
    versions: config_model::model::TlsVersions,
    suites: Option<Vec<config_model::model::CipherSuite>>,
    is_http: bool,
    /// Whether a client is asked, and whether it has to answer.
    asks: Option<bool>,
    validation: Option<ValidationKey>,
}

#[derive(PartialEq, Eq, Hash)]
struct ValidationKey {
    /// By their addresses: the policy keeps them alive.
    authorities: usize,
    revoked: usize,
    names: Vec<Arc<str>>,
    key_hashes: Vec<Arc<str>>,
    hashes: Vec<Arc<str>>,
}

/// What clients are verified with.
#[derive(Clone)]
pub(crate) struct Trust {
    /// Who may have signed a certificate.
    pub(crate) authorities: Arc<Authorities>,
    /// What was revoked.
    pub(crate) revoked: Option<Arc<RevocationLists>>,
}

/// The rules that are in force somewhere.
#[derive(Default)]
pub(crate) struct Policies {
    /// By the hash of their keys.
    known: HashMap<u64, Weak<Policy>>,
}

impl Policies {
    /// The rules of `context`; `trust` is what its clients are verified with, if they are.
    ///
    /// # Errors
    /// Says why handshakes would not be possible by these rules.
    pub(crate) fn policy(
        &mut self,
        context: &DownstreamTls,
        filter: &NetworkFilter,
        trust: Option<&Trust>,
    ) -> Result<Arc<Policy>, String> {
        let key = PolicyKey::new(context, filter, trust);
        let hash = std::hash::BuildHasher::hash_one(&foldhash::fast::FixedState::default(), &key);
        if let Some(known) = self.known.get(&hash).and_then(Weak::upgrade).filter(|known| known.key == key) {
            return Ok(known);
        }
        let template = template(context, filter, trust)?;
        let policy = Arc::new(Policy { key, template, _trust: trust.cloned() });
        self.known.retain(|_, known| known.strong_count() > 0);
        self.known.insert(hash, Arc::downgrade(&policy));
        Ok(policy)
    }
}

impl PolicyKey {
    fn new(context: &DownstreamTls, filter: &NetworkFilter, trust: Option<&Trust>) -> Self {
        let (asks, validation) = asked(&context.client);
        let validation = validation.zip(trust).map(|(validation, trust)| ValidationKey {
            authorities: Arc::as_ptr(&trust.authorities).addr(),
            revoked: trust.revoked.as_ref().map_or(0, |revoked| Arc::as_ptr(revoked).addr()),
            names: validation.names.clone(),
            key_hashes: validation.key_hashes.clone(),
            hashes: validation.hashes.clone(),
        });
        let is_http = filter.routes().is_some();
        Self { versions: context.versions, suites: context.cipher_suites.clone(), is_http, asks, validation }
    }
}

/// Whether a client is asked and has to answer, and how the answer is verified.
pub(crate) fn asked(client: &ClientCertificates) -> (Option<bool>, Option<&PeerValidation>) {
    match client {
        ClientCertificates::NotAsked => (None, None),
        // As for Envoy, who asks for names or hashes asks for a certificate.
        ClientCertificates::Optional(validation) => {
            let validation = validation.as_deref();
            (Some(validation.is_some_and(PeerValidation::is_narrow)), validation)
        }
        ClientCertificates::Required(validation) => (Some(true), validation.as_deref()),
    }
}

fn template(context: &DownstreamTls, filter: &NetworkFilter, trust: Option<&Trust>) -> Result<ServerConfig, String> {
    let words = |error: Error| error.to_string();
    let provider = provider::with_suites(context.cipher_suites.as_deref());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&provider::versions(context.versions)).map_err(words)?;
    let (asks, validation) = asked(&context.client);
    let builder = match asks {
        None => builder.with_no_client_auth(),
        Some(is_mandatory) => {
            let revoked = trust.and_then(|trust| trust.revoked.clone());
            let verified = validation.zip(trust.map(|trust| &trust.authorities));
            builder.with_client_cert_verifier(verify::clients(verified, revoked.as_deref(), is_mandatory)?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(Resolver(Box::default())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets().map_err(words)?;
    if filter.routes().is_some() {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    Ok(config)
}

/// Keys of its own, which are changed every few hours.
fn tickets() -> Result<Arc<dyn ProducesTickets>, Error> {
    rustls::crypto::aws_lc_rs::Ticketer::new()
}
