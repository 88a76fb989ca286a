//! Certificates with their keys, and those of authorities, read once from PEM.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::names::Facts;
use super::provider::provider;

/// A certificate, those that lead to its authority, and its key.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// As the library takes it.
    pub(crate) key: Arc<CertifiedKey>,
    /// What each certificate says, the server's own first.
    pub(crate) facts: Box<[Facts]>,
}

impl Certificate {
    /// Reads both from PEM. `staple` is an answer of OCSP in DER that goes with it.
    ///
    /// # Errors
    /// Says what is wrong, as the end of a sentence.
    pub(crate) fn read(certificate: &[u8], key: &[u8], staple: Option<Vec<u8>>) -> Result<Self, String> {
        let chain = certificates(certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "the key is no private key in PEM form".to_owned())?;
        let facts = chain.iter().map(|der| Facts::read(der)).collect::<Result<Box<[_]>, _>>()?;
        let key =
            provider().key_provider.load_private_key(key).map_err(|error| format!("the key can't be used: {error}"))?;
        let mut certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(_) => return Err("the key does not fit the certificate".to_owned()),
        }
        certified.ocsp = staple;
        Ok(Self { key: Arc::new(certified), facts })
    }

    /// What the server's own certificate says.
    pub(crate) fn own(&self) -> Option<&Facts> {
        self.facts.first()
    }
}

/// Certificates of authorities.
#[derive(Debug)]
pub(crate) struct Authorities {
    /// As the library takes them.
    pub(crate) roots: Arc<RootCertStore>,
    /// The same as they came: a certificate that is here is trusted itself, too.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// What each says.
    pub(crate) facts: Vec<Facts>,
}

impl Authorities {
    /// Reads them from PEM.
    ///
    /// # Errors
    /// Says what is wrong, as the end of a sentence.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, String> {
        let certificates = certificates(pem)?;
        // Bundles of systems have a few that no library reads.
        let facts = certificates.iter().filter_map(|der| Facts::read(der).ok()).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            return Err("no certificate in it can be read".to_owned());
        }
        Ok(Self { roots: Arc::new(roots), certificates, facts })
    }

    /// Those that the system trusts.
    ///
    /// # Errors
    /// If there are none.
    pub(crate) fn of_system() -> Result<Self, String> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err("the system has no certificates of authorities; install ca-certificates".to_owned());
        }
        Ok(Self { roots: Arc::new(roots), certificates: Vec::new(), facts: Vec::new() })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        // Thousands of them stay, so that each takes no more memory than it has to.
        Ok(found) if !found.is_empty() => {
            let exact: Box<[_]> = found.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
            Ok(exact.into_vec())
        }
        Ok(_) => Err("there is no certificate in PEM form".to_owned()),
        Err(error) => Err(format!("the certificate is damaged: {error}")),
    }
}

/// Lists of revoked certificates.
#[derive(Debug)]
pub(crate) struct RevocationLists(pub(super) Vec<CertificateRevocationListDer<'static>>);

impl RevocationLists {
    /// Reads them from PEM.
    ///
    /// # Errors
    /// Says what is wrong, as the end of a sentence.
    pub(crate) fn read(pem: &[u8]) -> Result<Self, String> {
        let found = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        match found {
            Ok(found) if !found.is_empty() => Ok(Self(found)),
            Ok(_) => Err("there is no list of revoked certificates in PEM form".to_owned()),
            Err(error) => Err(format!("the list is damaged: {error}")),
        }
    }
}
