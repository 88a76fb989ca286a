//! `x-forwarded-client-cert`: who the client was, for back ends. Source: Envoy, `ConnectionManagerUtility::mutateXfccRequestHeader`
//! with `SANITIZE_SET`, and with the details that Istio's gateway asks for: certificate, subject, URI, DNS.

use std::fmt::Write;

use data_encoding::{BASE64, HEXLOWER};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

use super::names::Facts;

/// Characters of a line of PEM.
const PEM_LINE: usize = 64;

/// The field's value for a client that has shown `chain`; nothing if its certificate can't be read.
pub(crate) fn client_certificate_field(chain: &[CertificateDer<'_>]) -> Option<Box<[u8]>> {
    let certificate = chain.first()?;
    let facts = Facts::read(certificate).ok()?;
    let mut field = format!("Hash={};Cert=\"", HEXLOWER.encode(&Sha256::digest(certificate)));
    push_pem(certificate, &mut field);
    // Writing to a string cannot fail.
    let _ = write!(field, "\";Subject=\"{}\";URI=", facts.names.subject.replace('"', "\\\""));
    field.push_str(&facts.names.uris.join(";URI="));
    for name in &facts.names.dns {
        field.push_str(";DNS=");
        field.push_str(name);
    }
    // Names are what somebody had signed: nothing of them may end the field.
    let is_text = field.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_text.then(|| field.into_bytes().into())
}

/// PEM with what has a meaning in URLs or in the field written as `%2F`.
fn push_pem(der: &[u8], out: &mut String) {
    let mut push = |text: &str| {
        for character in text.chars() {
            match character {
                '\n' => out.push_str("%0A"),
                ' ' => out.push_str("%20"),
                '+' => out.push_str("%2B"),
                '/' => out.push_str("%2F"),
                '=' => out.push_str("%3D"),
                other => out.push(other),
            }
        }
    };
    push("-----BEGIN CERTIFICATE-----\n");
    let body = BASE64.encode(der);
    for line in body.as_bytes().chunks(PEM_LINE) {
        push(std::str::from_utf8(line).unwrap_or_default());
        push("\n");
    }
    push("-----END CERTIFICATE-----\n");
}
