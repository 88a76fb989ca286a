//! TLS of a Gateway's server. Source: Istio, `ServerTLSSettings`, and how istiod makes Envoy's `DownstreamTlsContext` of it.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::model::{
    AuthoritySource, CertificateSource, CipherSuite, ClientCertificates, Credential, DownstreamTls, PeerValidation,
    SecretName, TlsVersion, TlsVersions,
};
use crate::origin::Origin;
use crate::resource::{ServerTlsMode, ServerTlsSettings, Text, TlsProtocol};

use super::findings;
use super::gateway::GatewayServer;

/// The rules of the handshake of a server; nothing, with a diagnostic, if it allows no version that is spoken here.
pub(super) fn context(
    server: &GatewayServer<'_>,
    settings: &ServerTlsSettings,
    namespace: &Arc<str>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<DownstreamTls> {
    let fields = Fields { server, namespace };
    let Some(versions) = versions(settings) else {
        let origin = server.gateway.origin(settings.max_protocol_version.position);
        diagnostics.push(findings::no_tls_version(&origin, &fields.name("maxProtocolVersion")));
        return None;
    };
    let validation = || (!is_any_trusted(settings)).then(|| Box::new(fields.validation(settings)));
    let client = match settings.mode.value {
        ServerTlsMode::OptionalMutual => ClientCertificates::Optional(validation()),
        ServerTlsMode::Mutual | ServerTlsMode::IstioMutual => ClientCertificates::Required(validation()),
        ServerTlsMode::Simple | ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            ClientCertificates::NotAsked
        }
    };
    let named = settings.cipher_suites.iter().filter_map(|suite| CipherSuite::from_name(suite)).collect::<Vec<_>>();
    let cipher_suites = (!settings.cipher_suites.is_empty()).then_some(named);
    if versions.max == TlsVersion::V1_2 && cipher_suites.as_ref().is_some_and(Vec::is_empty) {
        let origin = server.gateway.origin(settings.max_protocol_version.position);
        diagnostics.push(findings::no_tls_version(&origin, &fields.name("cipherSuites")));
        return None;
    }
    Some(DownstreamTls { certificates: fields.certificates(settings), client, versions, cipher_suites })
}

fn is_any_trusted(settings: &ServerTlsSettings) -> bool {
    settings.insecure_skip_verify.as_ref().is_some_and(|skip| skip.value)
}

fn versions(settings: &ServerTlsSettings) -> Option<TlsVersions> {
    let min = match settings.min_protocol_version.value {
        TlsProtocol::V1_3 => TlsVersion::V1_3,
        TlsProtocol::Auto | TlsProtocol::V1_0 | TlsProtocol::V1_1 | TlsProtocol::V1_2 => TlsVersion::V1_2,
    };
    let max = match settings.max_protocol_version.value {
        TlsProtocol::Auto | TlsProtocol::V1_3 => TlsVersion::V1_3,
        TlsProtocol::V1_2 => TlsVersion::V1_2,
        TlsProtocol::V1_0 | TlsProtocol::V1_1 => return None,
    };
    (min <= max).then_some(TlsVersions { min, max })
}

/// The fields of one server, by the places where they are written.
struct Fields<'a> {
    server: &'a GatewayServer<'a>,
    /// The proxy's own, where its Secrets are.
    namespace: &'a Arc<str>,
}

impl Fields<'_> {
    fn name(&self, field: &str) -> Arc<str> {
        format!("spec.servers[{}].tls.{field}", self.server.index).into()
    }

    fn origin(&self, text: &Text) -> Origin {
        self.server.gateway.origin(text.position)
    }

    fn credential<S>(&self, source: S, field: &str, text: &Text) -> Credential<S> {
        Credential { source, field: self.name(field), origin: self.origin(text) }
    }

    fn mesh<S>(&self, source: S, settings: &ServerTlsSettings) -> Credential<S> {
        let origin = self.server.gateway.origin(settings.mode.position);
        Credential { source, field: self.name("mode"), origin }
    }

    fn certificates(&self, settings: &ServerTlsSettings) -> Vec<Credential<CertificateSource>> {
        if settings.mode.value == ServerTlsMode::IstioMutual {
            return vec![self.mesh(CertificateSource::Mesh, settings)];
        }
        let secret = |text: &Text| CertificateSource::Secret(secret_name(text, self.namespace));
        if !settings.credential_names.is_empty() {
            let names = settings.credential_names.iter().enumerate();
            let named =
                names.map(|(place, text)| self.credential(secret(text), &format!("credentialNames[{place}]"), text));
            return named.collect();
        }
        if !settings.credential_name.is_empty() {
            let text = &settings.credential_name;
            return vec![self.credential(secret(text), "credentialName", text)];
        }
        let files = |certificate: &Text, key: &Text| CertificateSource::Files {
            certificate: certificate.value.clone(),
            key: key.value.clone(),
        };
        if settings.tls_certificates.is_empty() {
            let source = files(&settings.server_certificate, &settings.private_key);
            return vec![self.credential(source, "serverCertificate", &settings.server_certificate)];
        }
        let pairs = settings.tls_certificates.iter().enumerate();
        let pair = |(place, pair): (usize, &crate::resource::TlsCertificate)| {
            let field = format!("tlsCertificates[{place}].serverCertificate");
            self.credential(files(&pair.server_certificate, &pair.private_key), &field, &pair.server_certificate)
        };
        pairs.map(pair).collect()
    }

    fn validation(&self, settings: &ServerTlsSettings) -> PeerValidation {
        let texts = |texts: &[Text]| texts.iter().map(|text| text.value.clone()).collect();
        let revoked = Some(&settings.ca_crl).filter(|path| !path.is_empty());
        PeerValidation {
            authorities: self.authorities(settings),
            revoked: revoked.map(|path| self.credential(path.value.clone(), "caCrl", path)),
            names: texts(&settings.subject_alt_names),
            key_hashes: texts(&settings.verify_certificate_spki),
            hashes: texts(&settings.verify_certificate_hash),
        }
    }

    fn authorities(&self, settings: &ServerTlsSettings) -> Credential<AuthoritySource> {
        if settings.mode.value == ServerTlsMode::IstioMutual {
            return self.mesh(AuthoritySource::Mesh, settings);
        }
        let secret = |text: &Text| AuthoritySource::Secret(secret_name(text, self.namespace));
        if !settings.ca_cert_credential_name.is_empty() {
            let text = &settings.ca_cert_credential_name;
            return self.credential(secret(text), "caCertCredentialName", text);
        }
        let named = Some((&settings.credential_name, "credentialName")).filter(|(text, _)| !text.is_empty());
        match named.or_else(|| Some((settings.credential_names.first()?, "credentialNames[0]"))) {
            Some((text, field)) => self.credential(secret(text), field, text),
            None => {
                let path = &settings.ca_certificates;
                self.credential(AuthoritySource::File(path.value.clone()), "caCertificates", path)
            }
        }
    }
}

/// A Secret of the proxy's own namespace, wherever the resource that names it is.
pub(super) fn secret_name(text: &Text, namespace: &Arc<str>) -> SecretName {
    let name = text.strip_prefix("kubernetes://").unwrap_or(text);
    SecretName { namespace: Arc::clone(namespace), name: name.into() }
}
