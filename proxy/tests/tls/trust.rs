//! Who has to show a certificate, and what becomes of it.

use super::certificates::{Authority, secret};
use super::peers::{Client, Running, back_end, plain};

/// A server on port 443 with these TLS settings, and one on port 80, both in front of one back end.
fn config(tls: &str, back_end: std::net::SocketAddr, rule: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: default}}\nspec:\n  selector: {{istio: \
         ingressgateway}}\n  servers:\n  - {{port: {{number: 443, name: https, protocol: HTTPS}}, hosts: ['*'], tls: {tls}}}\n  - \
         {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: ['*']}}\n---\napiVersion: networking.istio.io/v1\nkind: \
         VirtualService\nmetadata: {{name: v, namespace: default}}\nspec:\n  hosts: ['*']\n  gateways: [web]\n  http: [{{route: \
         [{{destination: {{host: s.internal}}}}], retries: {{attempts: 0}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: \
         ServiceEntry\nmetadata: {{name: s, namespace: default}}\nspec:\n  hosts: [s.internal]\n  resolution: STATIC\n  ports: \
         [{{number: 443, name: http-s, protocol: HTTP}}]\n  endpoints: [{{address: 127.0.0.1, ports: {{http-s: {}}}, serviceAccount: \
         reviews}}]\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: s, namespace: \
         default}}\nspec:\n  host: s.internal\n  trafficPolicy: {{tls: {rule}}}\n---\n",
        back_end.port()
    )
}

fn asked(running: &Running) -> String {
    plain(running.bound(80), "GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n\r\n")
}

#[test]
fn a_back_end_learns_who_the_client_was_and_nobody_can_pretend() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let own = servers.issue("own", &["shop.example"]);
    let client = clients.issue("client, \"one\"", &["client.example", "spiffe://cluster.local/ns/a/sa/b"]);
    let credentials =
        secret("own", &[("tls.crt", &own.pem()), ("tls.key", &own.key_pem()), ("ca.crt", &clients.pem())]);
    let address = back_end(&own, None);
    let text =
        config("{mode: OPTIONAL_MUTUAL, credentialName: own}", address, "{mode: SIMPLE, insecureSkipVerify: true}");
    let running = Running::start(&[("web.yaml", &(text + &credentials))]);
    let forged = "x-forwarded-client-cert: Hash=forged\r\n";
    let get = |own| Client::new(&servers, own).get(running.bound(443), "shop.example", "shop.example", forged);
    let named = get(Some(&client)).unwrap().text;
    let field = named.lines().find(|line| line.starts_with("x-forwarded-client-cert: Hash=")).unwrap();
    let end = "\";Subject=\"CN=client\\, \\\\\"one\\\\\"\";URI=spiffe://cluster.local/ns/a/sa/b;DNS=client.example";
    assert!(field.contains(";Cert=\"-----BEGIN%20CERTIFICATE-----%0AMII") && field.ends_with(end), "{field}");
    let unnamed = get(None).unwrap().text;
    assert!(unnamed.starts_with("HTTP/1.1 200") && !unnamed.contains("x-forwarded-client-cert"), "{unnamed}");
    assert!(unnamed.contains("x-forwarded-proto: https"), "{unnamed}");
    assert!(get(Some(&servers.issue("stranger", &["x"]))).is_err());
}

#[test]
fn a_workload_of_the_mesh_is_known_by_its_service_account() {
    let mesh = Authority::new("mesh");
    let account = |name: &str| format!("spiffe://cluster.local/ns/default/sa/{name}");
    for (name, is_served) in [("reviews", true), ("ratings", false)] {
        let address = back_end(&mesh.issue("back end", &[&account(name)]), Some(&mesh));
        let own = mesh.issue("gateway", &[&account("gateway")]);
        let text = config("{httpsRedirect: false, mode: ISTIO_MUTUAL}", address, "{mode: ISTIO_MUTUAL}");
        let running = Running::start(&[("web.yaml", &text)]);
        assert!(asked(&running).contains("503"), "there are no certificates yet");
        std::fs::create_dir(running.folder.path().join("mesh")).unwrap();
        running.put("mesh/root-cert.pem", &mesh.pem());
        running.put("mesh/key.pem", &own.key_pem());
        running.replace("mesh/cert-chain.pem", &own.pem());
        let answer = asked(&running);
        assert_eq!(answer.contains("HTTP/1.1 200"), is_served, "{answer}");
        let words =
            if is_served { "sni=outbound_.443_._.s.internal" } else { "reset reason: remote connection failure" };
        assert!(answer.contains(words), "{answer}");
    }
}

#[test]
fn without_a_name_in_the_rule_the_certificate_has_to_be_for_the_requests_host() {
    let servers = Authority::new("servers");
    let folder = tempfile::tempdir().unwrap();
    let authorities = folder.path().join("ca.crt");
    std::fs::write(&authorities, servers.pem()).unwrap();
    let rule = |rest: &str| format!("{{mode: SIMPLE, caCertificates: {}{rest}}}", authorities.display());
    for (name, rest, is_served) in [
        ("shop.example", "", true),
        ("other.test", "", false),
        ("other.test", ", sni: shop.example", true),
        ("other.test", ", subjectAltNames: [shop.example]", false),
        ("other.test", ", subjectAltNames: [a.test, other.test]", true),
    ] {
        let address = back_end(&servers.issue("back end", &[name]), None);
        let running = Running::start(&[("web.yaml", &config("{mode: ISTIO_MUTUAL}", address, &rule(rest)))]);
        let answer = asked(&running);
        assert_eq!(
            answer.contains("HTTP/1.1 200") && answer.contains("sni=shop.example"),
            is_served,
            "{name}{rest}: {answer}"
        );
    }
}
