//! Certificates: the Secrets of Gateways, and the authorities that DestinationRules verify servers with.
//! Source: Istio's analyzers of Gateway secrets and of CA certificates (IST0101, 0128, 0129, 0161).

use super::{Finding, Findings, did_you_mean};
use crate::decode::Bytes;
use crate::diagnostic::{Code, Level};
use crate::name;
use crate::resolve::set::Item;
use crate::resource::{ClientTlsMode, ClientTlsSettings, DestinationRule, Gateway, Pod, Secret, Text};

pub(super) fn analyze(findings: &mut Findings<'_>) {
    for gateway in findings.resources.all::<Gateway>() {
        secrets(gateway, findings);
    }
    for rule in findings.resources.all::<DestinationRule>() {
        authorities(rule, findings);
    }
}

/// Where the proxy of a Gateway looks for its Secrets: in its own namespace.
fn namespace<'a>(gateway: Item<'a, Gateway>, findings: &Findings<'a>) -> &'a str {
    let selector = &gateway.spec.selector;
    let proxy = findings.proxy.filter(|proxy| name::selects(selector, &proxy.labels)).map(|proxy| &*proxy.namespace);
    let pod = || {
        let mut pods = findings.resources.all::<Pod>();
        pods.find(|pod| name::selects(selector, &pod.resource.metadata.labels)).map(Item::namespace)
    };
    proxy.or_else(pod).unwrap_or_else(|| gateway.namespace())
}

fn secrets(gateway: Item<'_, Gateway>, findings: &mut Findings<'_>) {
    for (index, server) in gateway.spec.servers.iter().enumerate() {
        let credential = server.tls.as_ref().map(|tls| &tls.credential_name).filter(|name| !name.is_empty());
        if let Some(credential) = credential {
            let field = format!("spec.servers[{index}].tls.credentialName");
            self::credential(gateway, credential, field, findings);
        }
    }
}

fn credential(gateway: Item<'_, Gateway>, name: &Text, field: String, findings: &mut Findings<'_>) {
    let namespace = namespace(gateway, findings);
    let origin = gateway.origin(name.position);
    let Some(secret) = findings.resources.find::<Secret>(namespace, name) else {
        let near = findings.near::<Secret>(namespace, name);
        let hint = near.map_or_else(|| format!("it has to be in namespace {namespace}"), |near| did_you_mean(&near));
        return findings.missing("credentialName", name, &origin, (field, Some(hint)));
    };
    let Some(problem) = problem(secret.spec) else { return };
    let message = format!(
        "The credential referenced by the Gateway {} in namespace {} is invalid, which can cause the traffic not to work as \
         expected.",
        gateway.name(),
        gateway.namespace()
    );
    let hint = Some(format!("{}: {problem}", secret.resource.id));
    let code = Code::InvalidGatewayCredential;
    findings.add(Finding { code, level: Level::Error, origin: &origin, field, message, hint });
}

/// What keeps a Secret from being a certificate and its key.
fn problem(secret: &Secret) -> Option<String> {
    let text = |names: [&str; 2]| names.iter().find_map(|name| value(secret, name));
    let Some(certificate) = text(["tls.crt", "cert"]) else { return Some("tls.crt is missing".to_owned()) };
    let Some(key) = text(["tls.key", "key"]) else { return Some("tls.key is missing".to_owned()) };
    if !is_pem(&certificate, "CERTIFICATE") {
        return Some("tls.crt is no certificate in PEM form".to_owned());
    }
    let is_key = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"].iter().any(|kind| is_pem(&key, kind));
    (!is_key).then(|| "tls.key is no private key in PEM form".to_owned())
}

fn value(secret: &Secret, name: &str) -> Option<String> {
    let written = secret.string_data.get(name).map(|text| text.0.value.to_string());
    written.or_else(|| secret.data.get(name).map(|bytes| String::from_utf8_lossy(&bytes.value.0).into_owned()))
}

/// Whether `text` has a section of that kind that holds a sequence in DER, as certificates and keys are.
fn is_pem(text: &str, kind: &str) -> bool {
    const SEQUENCE: u8 = 0x30;
    let body = text.split_once(&format!("-----BEGIN {kind}-----"));
    let body = body.and_then(|(_, rest)| rest.split_once(&format!("-----END {kind}-----")));
    let bytes = body.and_then(|(body, _)| Bytes::from_base64(body));
    bytes.is_some_and(|bytes| bytes.0.first() == Some(&SEQUENCE))
}

/// A server's certificate is verified only if somebody says by whom it has to be signed.
fn authorities(rule: Item<'_, DestinationRule>, findings: &mut Findings<'_>) {
    let Some(policy) = &rule.spec.traffic_policy else { return };
    let facts = |mode: ClientTlsMode| {
        format!(
            "DestinationRule {}/{} in namespace {} has TLS mode set to {mode} but no caCertificates are set to validate \
             server identity for host: {}",
            rule.namespace(),
            rule.name(),
            rule.namespace(),
            rule.spec.host.value
        )
    };
    if let Some(tls) = policy.tls.as_ref().filter(|tls| is_unverified(rule, tls)) {
        let field = "spec.trafficPolicy.tls".to_owned();
        let code = Code::NoServerCertificateVerificationDestinationLevel;
        unverified(rule, tls, (code, field, facts(*tls.mode)), findings);
    }
    for (index, settings) in policy.port_level_settings.iter().enumerate() {
        let Some(tls) = settings.tls.as_ref().filter(|tls| is_unverified(rule, tls)) else { continue };
        let port = settings.port.as_ref().map_or(0, |port| *port.number);
        let field = format!("spec.trafficPolicy.portLevelSettings[{index}].tls");
        let code = Code::NoServerCertificateVerificationPortLevel;
        unverified(rule, tls, (code, field, format!("{} at port {port}", facts(*tls.mode))), findings);
    }
}

fn is_unverified(rule: Item<'_, DestinationRule>, tls: &ClientTlsSettings) -> bool {
    let in_secret = !tls.credential_name.is_empty() && rule.spec.workload_selector.is_some();
    matches!(*tls.mode, ClientTlsMode::Simple | ClientTlsMode::Mutual) && tls.ca_certificates.is_empty() && !in_secret
}

fn unverified(
    rule: Item<'_, DestinationRule>,
    tls: &ClientTlsSettings,
    (code, field, message): (Code, String, String),
    findings: &mut Findings<'_>,
) {
    let origin = rule.origin(tls.position);
    let hint = Some("set caCertificates to the authority that signs the server's certificate".to_owned());
    findings.add(Finding { code, level: Level::Warning, origin: &origin, field, message, hint });
}
