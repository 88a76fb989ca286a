//! The cryptography that is used: one library for all, and what of it a server's settings leave.

use std::sync::{Arc, LazyLock};

use config_model::model::{CipherSuite, TlsVersion, TlsVersions};
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::{TLS12, TLS13};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// All that is spoken.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// The same with these suites of TLS 1.2 only.
pub(super) fn with_suites(suites: Option<&[CipherSuite]>) -> Arc<CryptoProvider> {
    let Some(suites) = suites else { return Arc::clone(provider()) };
    let mut restricted = CryptoProvider::clone(provider());
    let named: Vec<_> = suites.iter().map(|suite| suite_of(*suite)).collect();
    restricted.cipher_suites.retain(|suite| suite.tls13().is_some() || named.contains(suite));
    Arc::new(restricted)
}

fn suite_of(suite: CipherSuite) -> rustls::SupportedCipherSuite {
    use aws_lc_rs::cipher_suite as known;
    match suite {
        CipherSuite::EcdsaAes128 => known::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdsaAes256 => known::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdsaChaCha20 => known::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::RsaAes128 => known::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::RsaAes256 => known::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::RsaChaCha20 => known::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

/// The versions from the least to the greatest.
pub(super) fn versions(versions: TlsVersions) -> Vec<&'static SupportedProtocolVersion> {
    let known = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    let spoken = known.into_iter().filter(|(version, _)| (versions.min..=versions.max).contains(version));
    spoken.map(|(_, version)| version).collect()
}
