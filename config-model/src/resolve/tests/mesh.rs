//! Settings of the mesh.

use super::*;
use crate::model::{ForwardedClientCertificate, Mesh, PathNormalization, ProxyHeaders, ServerHeader, Topology};

fn mesh(config: &str) -> (Mesh, usize) {
    let lines: Vec<String> = config.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{}",
        lines.concat()
    );
    let resolution = resolved(&text);
    (resolution.model.mesh, resolution.diagnostics.len())
}

#[test]
fn without_mesh_config_the_defaults_hold() {
    let want = Mesh {
        path_normalization: PathNormalization::Strict,
        root_namespace: "istio-system".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        topology: Topology::default(),
        headers: ProxyHeaders::default(),
    };
    assert_eq!(resolved("").model.mesh, want);
    assert_eq!(mesh("enableTracing: false"), (want, 0));
}

#[test]
fn namespace_trust_domain_and_normalisation_are_as_written() {
    let (got, _) = mesh("rootNamespace: mesh-root\ntrustDomain: td.example");
    assert_eq!((got.root_namespace.as_str(), got.trust_domain.as_str()), ("mesh-root", "td.example"));
    for (written, want) in [
        ("NONE", PathNormalization::None),
        ("BASE", PathNormalization::Base),
        ("DEFAULT", PathNormalization::Base),
        ("MERGE_SLASHES", PathNormalization::MergeSlashes),
        ("DECODE_AND_MERGE_SLASHES", PathNormalization::DecodeAndMergeSlashes),
    ] {
        assert_eq!(
            mesh(&format!("pathNormalization: {{normalization: {written}}}")).0.path_normalization,
            want,
            "{written}"
        );
    }
}

#[test]
fn what_the_proxy_says_of_itself_is_as_the_default_configuration_has_it() {
    let headers = |text: &str| {
        let (mesh, findings) = mesh(&format!("defaultConfig: {{proxyHeaders: {{{text}}}}}"));
        assert_eq!(findings, 0, "{text}");
        mesh.headers
    };
    let usual = ProxyHeaders::default;
    for (written, want) in [
        ("", usual()),
        ("server: {}, attemptCount: {}, requestId: {disabled: false}", usual()),
        ("server: {value: mine}", ProxyHeaders { server: ServerHeader::Named("mine".to_owned()), ..usual() }),
        ("server: {value: mine, disabled: true}", ProxyHeaders { server: ServerHeader::OfBackEnd, ..usual() }),
        ("attemptCount: {disabled: true}", ProxyHeaders { attempt_count: false, ..usual() }),
        ("requestId: {disabled: true}", ProxyHeaders { request_id: false, ..usual() }),
        ("envoyDebugHeaders: {disabled: true}", ProxyHeaders { debug: false, ..usual() }),
        ("xForwardedHost: {}, xForwardedPort: {enabled: false}", usual()),
        ("xForwardedHost: {enabled: true}", ProxyHeaders { forwarded_host: true, ..usual() }),
        ("xForwardedPort: {enabled: true}", ProxyHeaders { forwarded_port: true, ..usual() }),
    ] {
        assert_eq!(headers(written), want, "{written}");
    }
}

#[test]
fn the_topology_is_that_of_the_default_configuration() {
    let topology = |text: &str| {
        let (mesh, findings) = mesh(&format!("defaultConfig: {{gatewayTopology: {{{text}}}}}"));
        (mesh.topology.trusted_proxies, mesh.topology.client_certificate, findings)
    };
    assert_eq!(topology(""), (0, ForwardedClientCertificate::Set, 0));
    assert_eq!(topology("numTrustedProxies: 2"), (2, ForwardedClientCertificate::Set, 0));
    for (written, want) in [
        ("UNDEFINED", ForwardedClientCertificate::Set),
        ("SANITIZE", ForwardedClientCertificate::Drop),
        ("FORWARD_ONLY", ForwardedClientCertificate::Keep),
        ("APPEND_FORWARD", ForwardedClientCertificate::Append),
        ("SANITIZE_SET", ForwardedClientCertificate::Set),
        ("ALWAYS_FORWARD_ONLY", ForwardedClientCertificate::AlwaysKeep),
    ] {
        assert_eq!(topology(&format!("forwardClientCertDetails: {written}")), (0, want, 0), "{written}");
    }
}
