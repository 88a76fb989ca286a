//! TLS towards clients and towards back ends: which certificates, and what the other side has to show. What the certificates
//! are is looked up apart, so that a renewed one leaves the model as it is. Source: Gateway, `servers[].tls`;
//! DestinationRule, `trafficPolicy.tls`; Envoy: `DownstreamTlsContext`, `UpstreamTlsContext`.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::origin::Origin;

/// TLS that we end. Envoy: `DownstreamTlsContext`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct DownstreamTls {
    /// Certificates and their keys, at least one. Of several the client's abilities and the server name pick one.
    pub certificates: Vec<Credential<CertificateSource>>,
    /// Whether clients have to show a certificate.
    pub client: ClientCertificates,
    /// Versions that are spoken.
    pub versions: TlsVersions,
    /// Suites of TLS 1.2 that may be used; all of them if none were named. Those of TLS 1.3 can't be chosen.
    pub cipher_suites: Option<Vec<CipherSuite>>,
}

/// A suite of TLS 1.2. Only those with forward secrecy and authenticated encryption are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum CipherSuite {
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`
    EcdsaAes128,
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`
    EcdsaAes256,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`
    EcdsaChaCha20,
    /// `ECDHE-RSA-AES128-GCM-SHA256`
    RsaAes128,
    /// `ECDHE-RSA-AES256-GCM-SHA384`
    RsaAes256,
    /// `ECDHE-RSA-CHACHA20-POLY1305`
    RsaChaCha20,
}

impl CipherSuite {
    /// The suite of that name, as OpenSSL or as IANA has it; nothing for one that is not spoken here.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ECDHE-ECDSA-AES128-GCM-SHA256" | "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => Self::EcdsaAes128,
            "ECDHE-ECDSA-AES256-GCM-SHA384" | "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => Self::EcdsaAes256,
            "ECDHE-ECDSA-CHACHA20-POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => Self::EcdsaChaCha20,
            "ECDHE-RSA-AES128-GCM-SHA256" | "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => Self::RsaAes128,
            "ECDHE-RSA-AES256-GCM-SHA384" | "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => Self::RsaAes256,
            "ECDHE-RSA-CHACHA20-POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => Self::RsaChaCha20,
            _ => return None,
        })
    }
}

/// Whether a client has to show a certificate. Source: `tls.mode`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum ClientCertificates {
    /// It is not asked: SIMPLE.
    NotAsked,
    /// It may: OPTIONAL_MUTUAL. One that doesn't fit is refused; any fits with `insecureSkipVerify`.
    Optional(Option<Box<PeerValidation>>),
    /// It has to: MUTUAL, ISTIO_MUTUAL. Any fits with `insecureSkipVerify`.
    Required(Option<Box<PeerValidation>>),
}

/// TLS towards a back end. Envoy: `UpstreamTlsContext`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct UpstreamTls {
    /// What we show if the back end asks. Source: MUTUAL, ISTIO_MUTUAL.
    pub certificate: Option<Credential<CertificateSource>>,
    /// What the back end has to show; nothing with `insecureSkipVerify`.
    pub server: Option<PeerValidation>,
    /// `sni`. Nothing: the request's host.
    pub server_name: Option<Arc<str>>,
    /// Whether the certificate has to name the server name that was asked for: neither names nor `sni` were given.
    /// Envoy: `auto_san_validation`.
    pub verifies_server_name: bool,
    /// Whether Istio's own protocols are offered by ALPN, as between workloads of the mesh.
    pub is_mesh: bool,
}

/// What a certificate of the other side has to be. Envoy: `CertificateValidationContext`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct PeerValidation {
    /// Who may have signed it.
    pub authorities: Credential<AuthoritySource>,
    /// Path of a list of revoked certificates. Source: `caCrl`. Without one, that of the Secret of the authorities counts, if it
    /// has one: `ca.crl` beside `ca.crt`, `crl` beside `cacert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Credential<Arc<str>>>,
    /// Names of which it has to have one; any will do if empty. Source: `subjectAltNames`.
    pub names: Vec<Arc<str>>,
    /// SHA-256 of its public key, in base64, of which one has to fit; any will do if empty. Source: `verifyCertificateSpki`.
    pub key_hashes: Vec<Arc<str>>,
    /// SHA-256 of it, in hexadecimal, of which one has to fit; any will do if empty. Source: `verifyCertificateHash`.
    pub hashes: Vec<Arc<str>>,
}

impl PeerValidation {
    /// Whether not any certificate of the authorities will do.
    pub fn is_narrow(&self) -> bool {
        !(self.names.is_empty() && self.key_hashes.is_empty() && self.hashes.is_empty())
    }
}

/// Where something secret or public is found, and the field that says so.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Credential<S> {
    /// Where it is found.
    pub source: S,
    /// `spec.servers[0].tls.credentialName`
    pub field: Arc<str>,
    /// The place of that field.
    pub origin: Origin,
}

/// Where a certificate and its key are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum CertificateSource {
    /// `tls.crt` and `tls.key` of a Secret, or `cert` and `key`.
    Secret(SecretName),
    /// Paths of PEM files.
    Files {
        /// The certificate, and those that lead to its authority.
        certificate: Arc<str>,
        /// Its key.
        key: Arc<str>,
    },
    /// The workload's own in the mesh.
    Mesh,
}

/// Where the certificates of authorities are found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub enum AuthoritySource {
    /// `ca.crt` or `cacert` of a Secret, or of the one whose name has `-cacert` behind it.
    Secret(SecretName),
    /// Path of a PEM file.
    File(Arc<str>),
    /// Those that the system trusts.
    System,
    /// Those of the mesh.
    Mesh,
}

/// A Secret. Envoy: the name in `SdsSecretConfig`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SecretName {
    /// The proxy's own.
    pub namespace: Arc<str>,
    /// As the field says, without `kubernetes://`.
    pub name: Arc<str>,
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Versions of TLS from the least to the greatest. Older ones than 1.2 are not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct TlsVersions {
    /// Source: `minProtocolVersion`; 1.2 if absent or older.
    pub min: TlsVersion,
    /// Source: `maxProtocolVersion`; 1.3 if absent.
    pub max: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum TlsVersion {
    /// 1.2, with forward secrecy and authenticated encryption only.
    V1_2,
    /// 1.3
    V1_3,
}
