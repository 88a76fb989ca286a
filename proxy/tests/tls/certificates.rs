//! Certificates made for a test.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SanType, string::Ia5String,
};

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Pair {
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A list of revoked certificates with one serial number in it.
    pub(crate) fn revoke(&self, serial: u64) -> String {
        let now = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = RevokedCertParams {
            serial_number: serial.into(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2099, 1, 1),
            crl_number: 1u64.into(),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    /// A certificate for host names, or URIs.
    pub(crate) fn issue(&self, common_name: &str, names: &[&str]) -> Pair {
        self.issue_for(common_name, names, KeyPair::generate().unwrap())
    }

    /// A certificate for a key.
    pub(crate) fn issue_for(&self, common_name: &str, names: &[&str], key: KeyPair) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = serial(common_name);
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.contains("://") {
                true => SanType::URI(Ia5String::try_from(*name).unwrap()),
                false => SanType::DnsName(Ia5String::try_from(*name).unwrap()),
            })
            .collect();
        Pair { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

impl Pair {
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// The public key as a certificate has it.
    pub(crate) fn public_key_der(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn der(&self) -> rustls::pki_types::CertificateDer<'static> {
        self.certificate.der().clone()
    }

    pub(crate) fn key_der(&self) -> rustls::pki_types::PrivateKeyDer<'static> {
        rustls::pki_types::PrivateKeyDer::try_from(self.key.serialize_der()).unwrap()
    }
}

/// `revoked 7` has serial number 7, others any.
fn serial(common_name: &str) -> Option<rcgen::SerialNumber> {
    common_name.strip_prefix("revoked ").map(|number| number.parse::<u64>().unwrap().into())
}

/// A Secret of these texts.
pub(crate) fn secret(name: &str, texts: &[(&str, &str)]) -> String {
    let indented = |(key, text): &(&str, &str)| {
        let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
        format!("  {key}: |\n{lines}")
    };
    let data: String = texts.iter().map(indented).collect();
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: default}}\nstringData:\n{data}---\n")
}

/// A Secret with a certificate and a key.
pub(crate) fn secret_of(name: &str, certificate: &Pair, key: &Pair) -> String {
    secret(name, &[("tls.crt", &certificate.pem()), ("tls.key", &key.key_pem())])
}
