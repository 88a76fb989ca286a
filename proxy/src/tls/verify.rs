//! What a certificate of the other side has to be: signed by an authority, not revoked, and with the names or hashes that
//! were asked for. Source: Envoy, `CertificateValidationContext`; Istio, how it fills that in.

use std::sync::Arc;

use config_model::model::PeerValidation;
use data_encoding::{BASE64, HEXLOWER};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use sha2::{Digest, Sha256};

use super::certificate::{Authorities, RevocationLists};
use super::names::Facts;
use super::provider::provider;

/// Rules beyond the chain of signatures.
#[derive(Debug, Default)]
struct Rules {
    names: Vec<Arc<str>>,
    key_hashes: Vec<String>,
    hashes: Vec<String>,
}

/// Why a certificate with a good chain is refused.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("the certificate has none of the names that subjectAltNames lists")]
    Names,
    #[error("the certificate is none of those that verifyCertificateHash and verifyCertificateSpki list")]
    Hashes,
    #[error("the certificate {0}")]
    Unreadable(String),
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

impl Rules {
    fn new(validation: &PeerValidation) -> Self {
        let plain = |hash: &Arc<str>| hash.replace(':', "").to_ascii_lowercase();
        Self {
            names: validation.names.clone(),
            key_hashes: validation.key_hashes.iter().map(|hash| hash.to_string()).collect(),
            hashes: validation.hashes.iter().map(plain).collect(),
        }
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Refused> {
        if self.names.is_empty() && self.key_hashes.is_empty() && self.hashes.is_empty() {
            return Ok(());
        }
        let facts = Facts::read(certificate).map_err(Refused::Unreadable)?;
        if !self.names.is_empty() && !self.names.iter().any(|name| facts.names.has(name)) {
            return Err(Refused::Names);
        }
        if self.key_hashes.is_empty() && self.hashes.is_empty() {
            return Ok(());
        }
        let hash = HEXLOWER.encode(&Sha256::digest(certificate));
        let key_hash = BASE64.encode(&facts.key_hash);
        let fits = self.hashes.contains(&hash) || self.key_hashes.contains(&key_hash);
        if fits { Ok(()) } else { Err(Refused::Hashes) }
    }
}

/// Whether `certificate`, whose chain is refused for `error`, is one of the authorities' itself, and holds now: who lists a
/// certificate trusts it, unless it is revoked. Source: Envoy, which sets `X509_V_FLAG_PARTIAL_CHAIN`.
fn is_trusted_itself(
    error: &Error,
    authorities: &Authorities,
    certificate: &CertificateDer<'_>,
    now: UnixTime,
) -> bool {
    let is_revoked = matches!(error, Error::InvalidCertificate(CertificateError::Revoked));
    let listed = authorities.certificates.iter().any(|listed| listed.as_ref() == certificate.as_ref());
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let holds = |facts: Facts| (facts.valid_from..=facts.valid_until).contains(&seconds);
    !is_revoked && listed && Facts::read(certificate).is_ok_and(holds)
}

/// What signatures of a handshake are verified with.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

fn lists(revoked: Option<&RevocationLists>) -> Vec<CertificateRevocationListDer<'static>> {
    revoked.map(|revoked| revoked.0.clone()).unwrap_or_default()
}

/// Verifies clients.
#[derive(Debug)]
struct Clients {
    /// Nothing: any certificate will do.
    chain: Option<(Arc<dyn ClientCertVerifier>, Arc<Authorities>)>,
    rules: Rules,
    is_mandatory: bool,
}

/// A verifier of clients. With no `validation` any certificate will do.
///
/// # Errors
/// If the lists of revoked certificates can't be used.
pub(super) fn clients(
    validation: Option<(&PeerValidation, &Arc<Authorities>)>,
    revoked: Option<&RevocationLists>,
    is_mandatory: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let Some((validation, authorities)) = validation else {
        return Ok(Arc::new(Clients { chain: None, rules: Rules::default(), is_mandatory }));
    };
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::clone(&authorities.roots), Arc::clone(provider()));
    let chain = builder.with_crls(lists(revoked)).build().map_err(|error| error.to_string())?;
    let chain = Some((chain, Arc::clone(authorities)));
    Ok(Arc::new(Clients { chain, rules: Rules::new(validation), is_mandatory }))
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |(chain, _)| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some((chain, authorities)) = &self.chain
            && let Err(error) = chain.verify_client_cert(certificate, intermediates, now)
            && !is_trusted_itself(&error, authorities, certificate, now)
        {
            return Err(error);
        }
        self.rules.check(certificate)?;
        Ok(ClientCertVerified::assertion())
    }

    signatures!();
}

/// Verifies back ends.
#[derive(Debug)]
struct Servers {
    /// Nothing: any certificate will do.
    chain: Option<(Arc<WebPkiServerVerifier>, Arc<Authorities>)>,
    rules: Rules,
    /// Whether the certificate has to name the server name that was asked for.
    verifies_server_name: bool,
}

/// A verifier of back ends. With no `validation` any certificate will do.
///
/// # Errors
/// If the lists of revoked certificates can't be used.
pub(super) fn servers(
    validation: Option<(&PeerValidation, &Arc<Authorities>)>,
    revoked: Option<&RevocationLists>,
    verifies_server_name: bool,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let Some((validation, authorities)) = validation else {
        return Ok(Arc::new(Servers { chain: None, rules: Rules::default(), verifies_server_name: false }));
    };
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(&authorities.roots), Arc::clone(provider()));
    let chain = builder.with_crls(lists(revoked)).build().map_err(|error| error.to_string())?;
    let chain = Some((chain, Arc::clone(authorities)));
    Ok(Arc::new(Servers { chain, rules: Rules::new(validation), verifies_server_name }))
}

impl Servers {
    fn verify_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some((chain, authorities)) = &self.chain else { return Ok(()) };
        match chain.verify_server_cert(certificate, intermediates, server_name, staple, now) {
            Ok(_) => Ok(()),
            // The name is looked at last: all else is as it should be.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verifies_server_name => Ok(()),
            Err(error) if is_trusted_itself(&error, authorities, certificate, now) => {
                let covers = || {
                    let name = server_name.to_str();
                    Facts::read(certificate).is_ok_and(|facts| facts.names.covers(&name))
                };
                if !self.verifies_server_name || covers() { Ok(()) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        staple: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_chain(certificate, intermediates, server_name, staple, now)?;
        self.rules.check(certificate)?;
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}
