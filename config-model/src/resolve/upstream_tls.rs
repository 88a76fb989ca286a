//! TLS towards the endpoints of a cluster. Source: Istio, `ClientTLSSettings`, and how istiod makes Envoy's
//! `UpstreamTlsContext` of it: server certificates are verified unless that is switched off, by the system's authorities if no
//! others are named; their names only if names or no `sni` were given.

use std::sync::Arc;

use crate::model::{
    AuthoritySource, CertificateSource, ClusterName, Credential, PeerValidation, SecretName, UpstreamTls,
};
use crate::origin::Position;
use crate::resource::{ClientTlsMode, ClientTlsSettings, DestinationRule, Subset, Text, TrafficPolicy};

use super::destination_rules::Merged;
use super::downstream_tls::secret_name;
use super::set::Item;

/// What `settings` come to for the cluster `name`; nothing for plain text. `service_names` are those that the service says its
/// certificates have.
pub(super) fn context(
    settings: &ClientTlsSettings,
    merged: &Merged<'_>,
    (name, service_names): (&ClusterName, &[Text]),
    namespace: &Arc<str>,
) -> Option<UpstreamTls> {
    let (rule, field) = place(settings, merged)?;
    let fields = Fields { rule, field, namespace };
    let certificate = match settings.mode.value {
        ClientTlsMode::Disable => return None,
        ClientTlsMode::Simple => None,
        ClientTlsMode::Mutual => Some(fields.certificate(settings)),
        ClientTlsMode::IstioMutual => Some(fields.of_mode(CertificateSource::Mesh, settings)),
    };
    let is_mesh = settings.mode.value == ClientTlsMode::IstioMutual;
    let is_skipped = !is_mesh && settings.insecure_skip_verify.as_ref().is_some_and(|skip| skip.value);
    let names = if settings.subject_alt_names.is_empty() { service_names } else { &settings.subject_alt_names };
    let written = Some(&settings.sni.value).filter(|sni| !sni.is_empty()).cloned();
    let verifies_server_name = !is_mesh && !is_skipped && names.is_empty() && written.is_none();
    let server = (!is_skipped).then(|| PeerValidation {
        authorities: fields.authorities(settings),
        revoked: Some(&settings.ca_crl)
            .filter(|path| !path.is_empty())
            .map(|path| fields.credential(path.value.clone(), "caCrl", path.position)),
        names: names.iter().map(|name| name.value.clone()).collect(),
        key_hashes: Vec::new(),
        hashes: Vec::new(),
    });
    let server_name = written.or_else(|| is_mesh.then(|| mesh_server_name(name)));
    Some(UpstreamTls { certificate, server, server_name, verifies_server_name, is_mesh })
}

/// `outbound_.9080_.v1_.reviews.default.svc.cluster.local`
fn mesh_server_name(name: &ClusterName) -> Arc<str> {
    format!("outbound_.{}_.{}_.{}", name.port, name.subset, name.host).into()
}

/// The rule that `settings` stand in, and the path of the field.
fn place<'a>(settings: &ClientTlsSettings, merged: &Merged<'a>) -> Option<(Item<'a, DestinationRule>, String)> {
    let is_here = |own: Option<&ClientTlsSettings>| own.is_some_and(|own| std::ptr::eq(own, settings));
    let within = |policy: &TrafficPolicy| {
        if is_here(policy.tls.as_ref()) {
            return Some("tls".to_owned());
        }
        let port = policy.port_level_settings.iter().position(|port| is_here(port.tls.as_ref()))?;
        Some(format!("portLevelSettings[{port}].tls"))
    };
    let of_subset = |(place, subset): (usize, &Subset)| {
        let field = within(subset.traffic_policy.as_deref()?)?;
        Some(format!("spec.subsets[{place}].trafficPolicy.{field}"))
    };
    merged.rules.iter().find_map(|rule| {
        let whole = rule.spec.traffic_policy.as_deref().and_then(within);
        let whole = whole.map(|field| format!("spec.trafficPolicy.{field}"));
        let field = whole.or_else(|| rule.spec.subsets.iter().enumerate().find_map(of_subset))?;
        Some((*rule, field))
    })
}

/// The fields of one block, by the places where they are written.
struct Fields<'a> {
    rule: Item<'a, DestinationRule>,
    field: String,
    /// The proxy's own, where its Secrets are.
    namespace: &'a Arc<str>,
}

impl Fields<'_> {
    fn credential<S>(&self, source: S, field: &str, position: Position) -> Credential<S> {
        Credential { source, field: format!("{}.{field}", self.field).into(), origin: self.rule.origin(position) }
    }

    fn of_mode<S>(&self, source: S, settings: &ClientTlsSettings) -> Credential<S> {
        self.credential(source, "mode", settings.mode.position)
    }

    fn secret(&self, text: &Text) -> SecretName {
        secret_name(text, self.namespace)
    }

    fn certificate(&self, settings: &ClientTlsSettings) -> Credential<CertificateSource> {
        let name = &settings.credential_name;
        if !name.is_empty() {
            return self.credential(CertificateSource::Secret(self.secret(name)), "credentialName", name.position);
        }
        let certificate = &settings.client_certificate;
        let source = CertificateSource::Files {
            certificate: certificate.value.clone(),
            key: settings.private_key.value.clone(),
        };
        self.credential(source, "clientCertificate", certificate.position)
    }

    fn authorities(&self, settings: &ClientTlsSettings) -> Credential<AuthoritySource> {
        let (name, path) = (&settings.credential_name, &settings.ca_certificates);
        if settings.mode.value == ClientTlsMode::IstioMutual {
            self.of_mode(AuthoritySource::Mesh, settings)
        } else if !name.is_empty() {
            self.credential(AuthoritySource::Secret(self.secret(name)), "credentialName", name.position)
        } else if !path.is_empty() {
            self.credential(AuthoritySource::File(path.value.clone()), "caCertificates", path.position)
        } else {
            self.of_mode(AuthoritySource::System, settings)
        }
    }
}
