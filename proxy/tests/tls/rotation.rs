//! Certificates that are renewed, or broken, while the gateway runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::certificates::{Authority, Pair, secret, secret_of};
use super::peers::{Client, Running, until, write};

/// Servers of these hosts, each with its own Secret, whose name is the host's first label.
fn gateway(hosts: &[&str]) -> String {
    let server = |host: &&str| {
        let name = host.split('.').next().unwrap();
        format!(
            "  - {{port: {{number: 443, name: {name}, protocol: HTTPS}}, hosts: [{host}], tls: {{mode: SIMPLE, credentialName: \
             {name}}}}}\n"
        )
    };
    let servers: String = hosts.iter().map(server).collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: default}}\nspec:\n  selector: {{istio: \
         ingressgateway}}\n  servers:\n{servers}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, \
         namespace: default}}\nspec:\n  hosts: ['*']\n  gateways: [web]\n  http: [{{directResponse: {{status: 200, body: {{string: \
         ok}}}}}}]\n"
    )
}

#[test]
fn a_certificate_that_is_replaced_two_hundred_times_under_load_fails_no_handshake_and_no_request() {
    const TIMES: usize = 200;
    let authority = Authority::new("ca");
    let pairs: [Pair; 2] = ["one", "two"].map(|name| authority.issue(name, &["a.example"]));
    let files = pairs.each_ref().map(|pair| secret_of("a", pair, pair));
    let running = Running::start(&[("web.yaml", &gateway(&["a.example"])), ("secret.yaml", &files[0])]);
    let (address, client) = (running.bound(443), Client::new(&authority, None));
    let (is_over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let load = || {
            while !is_over.load(Ordering::Relaxed) {
                let answer = client.get(address, "a.example", "a.example", "").unwrap();
                assert!(answer.text.starts_with("HTTP/1.1 200"), "{}", answer.text);
                assert!(pairs.iter().any(|pair| pair.der() == answer.certificate));
                served.fetch_add(1, Ordering::Relaxed);
            }
        };
        let clients = [scope.spawn(load), scope.spawn(load)];
        for round in 1..=TIMES {
            running.replace("secret.yaml", &files[round % 2]);
            let shown = client.get(address, "a.example", "a.example", "").unwrap().certificate;
            assert_eq!(shown, pairs[round % 2].der(), "round {round}");
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert!(served.load(Ordering::Relaxed) > TIMES / 4);
}

#[test]
fn a_key_that_does_not_fit_is_told_and_the_pair_before_stays() {
    let authority = Authority::new("ca");
    let (own, other) = (authority.issue("own", &["a.example"]), authority.issue("other", &["a.example"]));
    let running =
        Running::start(&[("web.yaml", &gateway(&["a.example"])), ("secret.yaml", &secret_of("a", &own, &own))]);
    let (address, client) = (running.bound(443), Client::new(&authority, None));
    assert_eq!(running.warnings(), [""; 0]);
    running.replace("secret.yaml", &secret_of("a", &other, &own));
    let shown = client.get(address, "a.example", "a.example", "").unwrap().certificate;
    assert_eq!(shown, own.der());
    let told = "Error [IST0161] (Gateway default/web web.yaml:7:109) spec.servers[0].tls.credentialName: the key does not fit the \
                certificate; the one before stays in use";
    let warnings = running.warnings();
    assert!(warnings.len() == 1 && warnings[0].starts_with(told), "{warnings:?}");
    let metric = "tidegate_certificate_unusable{field=\"spec.servers[0].tls.credentialName\",file=\"web.yaml\",line=\"7\",\
                  resource=\"Gateway default/web\"} 1";
    assert!(running.admin("/stats/prometheus").contains(metric));
    running.replace("secret.yaml", &secret_of("a", &other, &other));
    let shown = client.get(address, "a.example", "a.example", "").unwrap().certificate;
    assert_eq!(shown, other.der());
    assert_eq!(running.warnings(), [""; 0]);
}

#[test]
fn a_server_without_a_certificate_is_not_served_and_every_other_is() {
    let authority = Authority::new("ca");
    let own = authority.issue("own", &["a.example", "b.example", "c.example"]);
    let broken =
        secret("b", &[("tls.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), ("tls.key", "x")]);
    let secrets = format!("{}{broken}", secret_of("a", &own, &own));
    let web = gateway(&["a.example", "b.example", "c.example"]);
    let running = Running::start(&[("web.yaml", &web), ("secret.yaml", &secrets)]);
    let (address, client) = (running.bound(443), Client::new(&authority, None));
    assert_eq!(client.status(address, "a.example", "a.example").unwrap(), 200);
    for name in ["b.example", "c.example"] {
        assert!(client.get(address, name, name, "").is_err(), "{name}");
    }
    let warnings = running.warnings();
    assert!(
        warnings.iter().any(|line| line.contains("web.yaml:8") && line.contains("spec.servers[1]")),
        "{warnings:?}"
    );
    assert!(
        warnings.iter().any(|line| line.contains("web.yaml:9") && line.contains("spec.servers[2]")),
        "{warnings:?}"
    );
    assert_eq!(client.status(address, "a.example", "a.example").unwrap(), 200);
    assert_eq!(client.status(address, "a.example", "b.example").unwrap(), 421, "another server's host");
}

#[test]
fn files_that_a_server_names_are_watched_and_told_of_in_certs() {
    let authority = Authority::new("ca");
    let (old, new) = (authority.issue("old", &["a.example"]), authority.issue("new", &["a.example"]));
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    std::fs::write(&certificate, old.pem()).unwrap();
    std::fs::write(&key, old.key_pem()).unwrap();
    let files = format!("serverCertificate: {}, privateKey: {}", certificate.display(), key.display());
    let running = Running::start(&[("web.yaml", &gateway(&["a.example"]).replace("credentialName: a", &files))]);
    let (address, client) = (running.bound(443), Client::new(&authority, None));
    let shown = || client.get(address, "a.example", "a.example", "").unwrap().certificate;
    assert_eq!(shown(), old.der());
    let certs = running.admin("/certs");
    assert!(certs.contains("\"dns\": \"a.example\"") && certs.contains(&certificate.display().to_string()), "{certs}");
    write(&certificate, &new.pem());
    write(&key, &new.key_pem());
    until("the new certificate is shown", || shown() == new.der());
}
