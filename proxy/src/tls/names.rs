//! Who a certificate is for. Source: RFC 5280, 4.2.1.6 (subject alternative names); RFC 2253 (names as text).

use std::fmt::Write;
use std::net::IpAddr;

use data_encoding::{HEXLOWER, HEXUPPER};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Names of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Names {
    /// As RFC 2253 writes it: `CN=client,O=Shop`.
    pub(crate) subject: String,
    /// Host names, perhaps with a wildcard as their first label.
    pub(crate) dns: Vec<String>,
    /// URIs, by which workloads of a mesh are known.
    pub(crate) uris: Vec<String>,
    emails: Vec<String>,
    addresses: Vec<IpAddr>,
}

/// What a certificate says, as far as it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its names.
    pub(crate) names: Names,
    /// In hexadecimal.
    pub(crate) serial: String,
    /// Seconds since 1970 from which on it holds.
    pub(crate) valid_from: i64,
    /// Seconds since 1970 from which on it doesn't any more.
    pub(crate) valid_until: i64,
    /// SHA-256 of its public key.
    pub(crate) key_hash: [u8; 32],
}

impl Facts {
    /// Reads a certificate in DER.
    ///
    /// # Errors
    /// If it is none.
    pub(crate) fn read(der: &[u8]) -> Result<Self, String> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("is no certificate that can be read: {error}"))?;
        Ok(Self {
            names: Names::of(&certificate),
            serial: HEXLOWER.encode(certificate.raw_serial()),
            valid_from: certificate.validity().not_before.timestamp(),
            valid_until: certificate.validity().not_after.timestamp(),
            key_hash: Sha256::digest(certificate.public_key().raw).into(),
        })
    }
}

impl Names {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self { subject: rfc2253(certificate.subject()), ..Self::default() };
        let alternative = certificate.subject_alternative_name().ok().flatten();
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.dns.push((*name).to_owned()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(email) => names.emails.push((*email).to_owned()),
                GeneralName::IPAddress(bytes) => names.addresses.extend(address(bytes)),
                _ => {}
            }
        }
        for list in [&mut names.dns, &mut names.uris, &mut names.emails] {
            list.shrink_to_fit();
        }
        names
    }

    /// Whether it is for this host name or address.
    pub(crate) fn covers(&self, host: &str) -> bool {
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(address) => self.addresses.contains(&address),
            Err(_) => self.dns.iter().any(|pattern| dns_matches(pattern, host)),
        }
    }

    /// Whether one of its names is `wanted`, of which `/*` at the end stands for all URIs below it. Source: Envoy,
    /// `match_subject_alt_names` with an exact string.
    pub(crate) fn has(&self, wanted: &str) -> bool {
        if let Some(above) = wanted.strip_suffix('*').filter(|above| above.ends_with('/')) {
            return self.uris.iter().any(|uri| uri.starts_with(above));
        }
        self.uris.iter().chain(&self.emails).any(|name| name == wanted) || self.covers(wanted)
    }

    /// All alternative names, as text.
    pub(crate) fn alternative(&self) -> impl Iterator<Item = (&'static str, String)> {
        let kind = |kind: &'static str| move |name: &String| (kind, name.clone());
        let texts = self.uris.iter().map(kind("uri")).chain(self.dns.iter().map(kind("dns")));
        let texts = texts.chain(self.emails.iter().map(kind("email")));
        texts.chain(self.addresses.iter().map(|address| ("ip_address", address.to_string())))
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A wildcard stands for one whole label, the first. Source: RFC 6125, 6.4.3.
fn dns_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => {
            host.split_once('.').is_some_and(|(first, parent)| !first.is_empty() && parent.eq_ignore_ascii_case(rest))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

/// The last part first, with commas between, as OpenSSL writes it with `XN_FLAG_RFC2253`.
fn rfc2253(name: &X509Name<'_>) -> String {
    let mut sets: Vec<String> =
        name.iter_rdn().map(|set| set.iter().map(attribute).collect::<Vec<_>>().join("+")).collect();
    sets.reverse();
    sets.join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let known = match &*oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => "",
    };
    match attribute.as_str() {
        Ok(value) if !known.is_empty() => format!("{known}={}", escaped(value)),
        _ => {
            format!("{oid}=#{}", HEXUPPER.encode(attribute.attr_value().data))
        }
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (place, byte) in value.bytes().enumerate() {
        let at_edge = byte == b' ' && (place == 0 || place == last) || byte == b'#' && place == 0;
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => text.extend(['\\', char::from(byte)]),
            _ if at_edge => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, string::Ia5String};

    use super::*;

    fn facts(common_name: &str, names: Vec<SanType>) -> Facts {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Shop");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Facts::read(certificate.der()).unwrap()
    }

    fn text(text: &str) -> Ia5String {
        Ia5String::try_from(text).unwrap()
    }

    #[test]
    fn a_subject_is_written_as_rfc_2253_has_it() {
        for (name, written) in [
            ("client", "CN=client,O=Shop,C=DE"),
            (" a,b+\"c\\d<e>;f ", "CN=\\ a\\,b\\+\\\"c\\\\d\\<e\\>\\;f\\ ,O=Shop,C=DE"),
            ("#é", "CN=\\#\\C3\\A9,O=Shop,C=DE"),
        ] {
            assert_eq!(facts(name, Vec::new()).names.subject, written);
        }
    }

    #[test]
    fn a_wildcard_stands_for_one_label_and_addresses_are_told_from_names() {
        let names = vec![
            SanType::DnsName(text("shop.example")),
            SanType::DnsName(text("*.shop.example")),
            SanType::IpAddress("10.0.0.1".parse().unwrap()),
            SanType::IpAddress("::1".parse().unwrap()),
        ];
        let names = facts("x.test", names).names;
        for (host, covered) in [
            ("shop.example", true),
            ("SHOP.example", true),
            ("a.shop.example", true),
            ("a.b.shop.example", false),
            (".shop.example", false),
            ("x.test", false),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
            ("[::1]", true),
        ] {
            assert_eq!(names.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn a_workload_is_known_by_its_uri_or_by_what_it_is_below() {
        let names = facts("x", vec![SanType::URI(text("spiffe://cluster.local/ns/a/sa/b"))]).names;
        for (wanted, has) in [
            ("spiffe://cluster.local/ns/a/sa/b", true),
            ("spiffe://cluster.local/*", true),
            ("spiffe://cluster.local/ns/a/sa/b/*", false),
            ("spiffe://cluster.local*", false),
            ("spiffe://other/*", false),
            ("spiffe://cluster.local/ns/a/sa", false),
        ] {
            assert_eq!(names.has(wanted), has, "{wanted}");
        }
    }
}
