//! Rules for TLS at servers and towards services.

use super::values;
use crate::decode::{Path, Report};
use crate::model::CipherSuite;
use crate::resource::{ClientTlsMode, ClientTlsSettings, ServerTlsMode, ServerTlsSettings, TlsProtocol};

/// TLS of a Gateway's server or of a sidecar's inbound listener.
pub(super) fn server(tls: &ServerTlsSettings, at: &Path<'_>, report: &mut Report) {
    let old = matches!(tls.min_protocol_version.value, TlsProtocol::V1_0 | TlsProtocol::V1_1);
    if old && tls.cipher_suites.is_empty() {
        let message = "needs cipherSuites that such a version knows";
        report.warning(tls.min_protocol_version.position, &at.field("minProtocolVersion"), message, None);
    }
    cipher_suites(tls, at, report);
    match tls.mode.value {
        ServerTlsMode::IstioMutual => mesh_certificates(tls, at, report),
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => {
            if let Some(name) = sources(tls).first() {
                let message = format_args!("is not used with mode {}", tls.mode.value);
                report.warning(tls.position, &at.field(name), message, Some("remove it"));
            }
        }
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => certificates(tls, at, report),
    }
}

/// Suites of TLS 1.3 are always on, and older ones without forward secrecy or authenticated encryption are not spoken.
fn cipher_suites(tls: &ServerTlsSettings, at: &Path<'_>, report: &mut Report) {
    let field = at.field("cipherSuites");
    for (index, suite) in tls.cipher_suites.iter().enumerate() {
        let is_newer = ["TLS_AES_", "TLS_CHACHA20_"].iter().any(|start| suite.starts_with(start));
        if !is_newer && CipherSuite::from_name(suite).is_none() {
            let message = format_args!("{:?} is not spoken here and is left out", suite.value);
            let hint = Some("use ECDHE with AES-GCM or CHACHA20-POLY1305");
            report.warning(suite.position, &field.index(index), message, hint);
        }
    }
}

/// The fields by which certificates are given.
fn sources(tls: &ServerTlsSettings) -> Vec<&'static str> {
    let given = [
        ("serverCertificate", !tls.server_certificate.value.is_empty() || !tls.private_key.value.is_empty()),
        ("credentialName", !tls.credential_name.value.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ];
    given.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect()
}

fn mesh_certificates(tls: &ServerTlsSettings, at: &Path<'_>, report: &mut Report) {
    let mut given = sources(tls);
    if !tls.ca_certificates.value.is_empty() {
        given.push("caCertificates");
    }
    for name in given {
        let message = "must not be set with mode ISTIO_MUTUAL, which uses the mesh's certificates";
        report.error(tls.position, &at.field(name), message, Some("remove it"));
    }
}

fn certificates(tls: &ServerTlsSettings, at: &Path<'_>, report: &mut Report) {
    let mode = tls.mode.value;
    let sources = sources(tls);
    // Half a pair is none.
    let is_pair = !tls.server_certificate.value.is_empty() && !tls.private_key.value.is_empty();
    let whole: Vec<_> = sources.iter().filter(|name| is_pair || **name != "serverCertificate").collect();
    if let [_, second, ..] = whole[..] {
        let message = "must not stand beside another source of certificates";
        report.error(tls.position, &at.field(second), message, Some("keep one of the two"));
    }
    if sources.iter().any(|name| name.starts_with("credentialName")) {
        let crl = &tls.ca_crl;
        if !crl.value.is_empty() {
            report.warning(
                crl.position,
                &at.field("caCrl"),
                "has no effect",
                Some("put it into the Secret, as ca.crl"),
            );
        }
        return;
    }
    crl(tls, at, report);
    if mode != ServerTlsMode::Simple
        && tls.ca_certificates.value.is_empty()
        && tls.ca_cert_credential_name.value.is_empty()
    {
        let message = format_args!("is required with mode {mode}");
        report.error(tls.position, &at.field("caCertificates"), message, Some("or write credentialName"));
    }
    if tls.tls_certificates.is_empty() {
        let hint = "write credentialName, or serverCertificate and privateKey";
        for (name, text) in [("serverCertificate", &tls.server_certificate), ("privateKey", &tls.private_key)] {
            if text.value.is_empty() {
                report.error(tls.position, &at.field(name), format_args!("is required with mode {mode}"), Some(hint));
            }
        }
    }
    let field = at.field("tlsCertificates");
    for (index, pair) in tls.tls_certificates.iter().enumerate() {
        let at = field.index(index);
        let hint = "write the path of the file";
        values::required(&pair.server_certificate, pair.position, &at.field("serverCertificate"), report, hint);
        values::required(&pair.private_key, pair.position, &at.field("privateKey"), report, hint);
    }
}

fn crl(tls: &ServerTlsSettings, at: &Path<'_>, report: &mut Report) {
    if tls.ca_crl.value.is_empty() {
        return;
    }
    let field = at.field("caCrl");
    if tls.mode.value == ServerTlsMode::Simple {
        report.error(tls.ca_crl.position, &field, "must not be set with mode SIMPLE", Some("remove it"));
    }
}

/// TLS towards a service.
pub(super) fn client(tls: &ClientTlsSettings, at: &Path<'_>, report: &mut Report) {
    let mode = tls.mode.value;
    let verifies = !tls.ca_certificates.value.is_empty() || !tls.subject_alt_names.is_empty();
    let by_secret = mode == ClientTlsMode::Simple && !tls.credential_name.value.is_empty();
    if let Some(skip) = tls.insecure_skip_verify.as_ref().filter(|skip| skip.value)
        && matches!(mode, ClientTlsMode::Simple | ClientTlsMode::Mutual)
        && (verifies || by_secret)
    {
        let message = "must not stand beside caCertificates, credentialName or subjectAltNames";
        report.error(skip.position, &at.field("insecureSkipVerify"), message, Some("keep one of the two"));
    }
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    let is_ours = matches!(mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
    let has_secret = is_ours && !tls.credential_name.value.is_empty();
    for (name, text) in files.iter().filter(|(_, text)| has_secret && !text.value.is_empty()) {
        report.error(
            text.position,
            &at.field(name),
            "must not stand beside credentialName",
            Some("keep one of the two"),
        );
    }
    if mode == ClientTlsMode::Mutual && !has_secret {
        for (name, _) in files.iter().take(2).filter(|(_, text)| text.value.is_empty()) {
            let hint = "write the path of the file, or credentialName";
            report.error(tls.position, &at.field(name), "is required with mode MUTUAL", Some(hint));
        }
    }
}
