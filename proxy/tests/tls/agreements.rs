//! What a handshake can be agreed on: versions, suites, kinds of keys, what a client's certificate has to be.

use data_encoding::{BASE64, HEXLOWER};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use rustls::SignatureScheme;
use sha2::{Digest, Sha256};

use super::certificates::{Authority, Pair, secret, secret_of};
use super::peers::{Client, Running, back_end, plain};

/// A server of any host with these TLS settings.
fn gateway(tls: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: default}}\nspec:\n  selector: {{istio: \
         ingressgateway}}\n  servers:\n  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: \
         {tls}}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: default}}\nspec:\n  \
         hosts: ['*']\n  gateways: [web]\n  http: [{{directResponse: {{status: 200, body: {{string: ok}}}}}}]\n---\n"
    )
}

fn is_served(running: &Running, client: &Client) -> bool {
    client.status(running.bound(443), "a.example", "a.example").is_ok_and(|status| status == 200)
}

#[test]
fn a_client_gets_the_certificate_whose_key_it_can_verify() {
    let authority = Authority::new("ca");
    let rsa = authority.issue_for("rsa", &["a.example"], KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap());
    let ecdsa = authority.issue("ecdsa", &["a.example"]);
    let other = authority.issue("other", &["b.example"]);
    let secrets = [("rsa", &rsa), ("other", &other), ("ecdsa", &ecdsa)].map(|(name, pair)| secret_of(name, pair, pair));
    let text = gateway("{mode: SIMPLE, credentialNames: [rsa, other, ecdsa]}") + &secrets.concat();
    let running = Running::start(&[("web.yaml", &text)]);
    let client = Client::new(&authority, None);
    let shown = |client: &Client, name: &str| client.get(running.bound(443), name, name, "").unwrap().certificate;
    assert_eq!(shown(&client, "a.example"), ecdsa.der());
    assert_eq!(shown(&client, "b.example"), other.der());
    let only_rsa = client.with(|config| config.dangerous().set_certificate_verifier(only_rsa(&authority)));
    assert_eq!(shown(&only_rsa, "a.example"), rsa.der());
}

/// Verifies nothing but what RSA signs.
fn only_rsa(authority: &Authority) -> std::sync::Arc<OnlyRsa> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    std::sync::Arc::new(OnlyRsa(rustls::client::WebPkiServerVerifier::builder(roots.into()).build().unwrap()))
}

#[derive(Debug)]
struct OnlyRsa(std::sync::Arc<rustls::client::WebPkiServerVerifier>);

impl rustls::client::danger::ServerCertVerifier for OnlyRsa {
    fn verify_server_cert(
        &self,
        certificate: &rustls::pki_types::CertificateDer<'_>,
        intermediates: &[rustls::pki_types::CertificateDer<'_>],
        name: &rustls::pki_types::ServerName<'_>,
        staple: &[u8],
        now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        self.0.verify_server_cert(certificate, intermediates, name, staple, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::RSA_PSS_SHA256]
    }
}

#[test]
fn only_versions_and_suites_that_the_server_allows_are_spoken() {
    let authority = Authority::new("ca");
    let own = authority.issue("own", &["a.example"]);
    let old = Client::of_versions(&authority, &[&rustls::version::TLS12]);
    let new = Client::of_versions(&authority, &[&rustls::version::TLS13]);
    for (settings, takes_old, takes_new) in [
        ("", true, true),
        (", minProtocolVersion: TLSV1_3", false, true),
        (", maxProtocolVersion: TLSV1_2", true, false),
        (", minProtocolVersion: TLSV1_0", true, true),
        (", cipherSuites: [ECDHE-ECDSA-AES128-GCM-SHA256]", true, true),
        (", cipherSuites: [ECDHE-RSA-AES128-GCM-SHA256]", false, true),
        (", cipherSuites: [AES128-SHA]", false, true),
    ] {
        let text = gateway(&format!("{{mode: SIMPLE, credentialName: own{settings}}}")) + &secret_of("own", &own, &own);
        let running = Running::start(&[("web.yaml", &text)]);
        assert_eq!((is_served(&running, &old), is_served(&running, &new)), (takes_old, takes_new), "{settings}");
        let named = running.warnings().iter().any(|line| line.contains("\"AES128-SHA\" is not spoken here"));
        assert_eq!(named, settings.contains("AES128-SHA"), "{settings}");
    }
}

#[test]
fn a_clients_certificate_has_to_have_the_names_and_hashes_that_are_asked_for() {
    let authority = Authority::new("ca");
    let (own, client) = (authority.issue("own", &["a.example"]), authority.issue("client", &["client.example"]));
    let hash = HEXLOWER.encode(&Sha256::digest(client.der()));
    let colons = hash.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair)).collect::<Vec<_>>().join(":");
    let key_hash = BASE64.encode(&Sha256::digest(client.public_key_der()));
    let credentials =
        secret("own", &[("tls.crt", &own.pem()), ("tls.key", &own.key_pem()), ("cacert", &authority.pem())]);
    for (settings, served) in [
        (String::new(), true),
        (", subjectAltNames: [other.example, client.example]".to_owned(), true),
        (", subjectAltNames: [other.example]".to_owned(), false),
        (format!(", verifyCertificateHash: ['{hash}']"), true),
        (format!(", verifyCertificateHash: ['{}']", colons.to_uppercase()), true),
        (format!(", verifyCertificateHash: ['{}']", "0".repeat(64)), false),
        (format!(", verifyCertificateSpki: ['{key_hash}']"), true),
        (format!(", verifyCertificateSpki: ['{}']", BASE64.encode(&[0; 32])), false),
    ] {
        let text = gateway(&format!("{{mode: MUTUAL, credentialName: own{settings}}}")) + &credentials;
        let running = Running::start(&[("web.yaml", &text)]);
        assert_eq!(is_served(&running, &Client::new(&authority, Some(&client))), served, "{settings}");
    }
}

#[test]
fn a_revoked_certificate_is_refused_even_if_it_is_listed_beside_its_authority() {
    let authority = Authority::new("ca");
    let own = authority.issue("own", &["a.example"]);
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        folder.path().join(name).display().to_string()
    };
    let clients = ["revoked 7", "revoked 8"].map(|name| authority.issue(name, &["client.example"]));
    let both: String = clients.iter().map(|client| client.pem()).collect();
    for trusted in [authority.pem(), authority.pem() + &both] {
        let files = format!(
            "serverCertificate: {}, privateKey: {}, caCertificates: {}, caCrl: {}",
            put("tls.crt", &own.pem()),
            put("tls.key", &own.key_pem()),
            put("ca.crt", &trusted),
            put("ca.crl", &authority.revoke(7))
        );
        let running = Running::start(&[("web.yaml", &gateway(&format!("{{mode: MUTUAL, {files}}}")))]);
        let served = clients.each_ref().map(|client| is_served(&running, &Client::new(&authority, Some(client))));
        assert_eq!(served, [false, true], "{trusted}");
    }
}

#[test]
fn a_certificate_is_refused_that_the_list_beside_its_authority_in_the_secret_names() {
    let authority = Authority::new("ca");
    let own = authority.issue("own", &["a.example"]);
    let (list, of_authority) = (authority.revoke(7), authority.pem());
    for (name, field, refused) in
        [("ca.crt", "ca.crl", true), ("cacert", "crl", true), ("ca.crt", "crl", false), ("cacert", "ca.crl", false)]
    {
        let pair = [("tls.crt", own.pem()), ("tls.key", own.key_pem())];
        let pair: Vec<(&str, &str)> = pair.iter().map(|(key, text)| (*key, text.as_str())).collect();
        let entries = [&pair[..], &[(name, of_authority.as_str()), (field, list.as_str())]].concat();
        let text = gateway("{mode: MUTUAL, credentialName: own}") + &secret("own", &entries);
        let running = Running::start(&[("web.yaml", &text)]);
        for (client, served) in [("revoked 7", !refused), ("revoked 8", true)] {
            let client = Client::new(&authority, Some(&authority.issue(client, &["client.example"])));
            assert_eq!(is_served(&running, &client), served, "{name} {field}");
        }
    }
}

#[test]
fn a_client_that_need_not_show_a_certificate_has_to_where_names_or_hashes_are_asked_for() {
    let authority = Authority::new("ca");
    let own = authority.issue("own", &["a.example"]);
    let credentials =
        secret("own", &[("tls.crt", &own.pem()), ("tls.key", &own.key_pem()), ("cacert", &authority.pem())]);
    for (settings, served) in [
        ("", true),
        (", subjectAltNames: [client.example]", false),
        (", verifyCertificateHash: ['00']", false),
        (", verifyCertificateSpki: ['AA==']", false),
    ] {
        let text = gateway(&format!("{{mode: OPTIONAL_MUTUAL, credentialName: own{settings}}}")) + &credentials;
        let running = Running::start(&[("web.yaml", &text)]);
        assert_eq!(is_served(&running, &Client::new(&authority, None)), served, "{settings}");
    }
}

#[test]
fn a_second_connection_to_a_back_end_resumes_the_session_of_the_first() {
    let authority = Authority::new("ca");
    let own: Pair = authority.issue("own", &["s.internal"]);
    let address = back_end(&own, None);
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: default}}\nspec:\n  selector: {{istio: \
         ingressgateway}}\n  servers: [{{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}]\n---\napiVersion: \
         networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: default}}\nspec:\n  hosts: ['*']\n  gateways: \
         [web]\n  http: [{{route: [{{destination: {{host: s.internal}}}}]}}]\n---\napiVersion: \
         networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s, namespace: default}}\nspec:\n  hosts: [s.internal]\n  \
         resolution: STATIC\n  ports: [{{number: 443, name: http-s, protocol: HTTP}}]\n  endpoints: [{{address: 127.0.0.1, ports: \
         {{http-s: {}}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s, namespace: \
         default}}\nspec:\n  host: s.internal\n  trafficPolicy:\n    tls: {{mode: SIMPLE, insecureSkipVerify: true, sni: \
         s.internal}}\n    connectionPool: {{http: {{maxRequestsPerConnection: 2}}}}\n",
        address.port()
    );
    let running = Running::start(&[("web.yaml", &text)]);
    let mut seen = Vec::new();
    for _ in 0..12 {
        let answer = plain(running.bound(80), "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        seen.extend(answer.lines().find(|line| line.starts_with("served=")).map(str::to_owned));
    }
    assert_eq!(seen.len(), 12);
    for kind in ["served=1 Some(Full)", "served=2 Some(Full)", "served=1 Some(Resumed)", "served=2 Some(Resumed)"] {
        assert!(seen.iter().any(|line| line == kind), "{kind}: {seen:?}");
    }
}
