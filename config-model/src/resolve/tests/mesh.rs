//! Settings of the mesh.

use super::*;
use crate::model::{AccessLogFormat, ForwardedClientCertificate, Mesh, PathNormalization, Topology};

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
        access_log: None,
        path_normalization: PathNormalization::Strict,
        root_namespace: "istio-system".to_owned(),
        trust_domain: "cluster.local".to_owned(),
        topology: Topology::default(),
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

/// File, and the format or the names of the fields.
fn log(config: &str) -> Option<(Option<String>, String)> {
    let log = mesh(config).0.access_log?;
    let format = match log.format {
        AccessLogFormat::Text(format) => format.as_str().to_owned(),
        AccessLogFormat::Json(fields) => {
            fields.into_iter().map(|(name, format)| format!("{name}={} ", format.as_str())).collect()
        }
    };
    Some((log.file, format))
}

#[test]
fn the_access_log_is_left_to_the_command_line_unless_something_is_said_of_it() {
    let stdout = || Some("/dev/stdout".to_owned());
    let (file, format) = log("accessLogFile: /dev/stdout").expect("a log");
    assert_eq!(file, stdout());
    assert!(format.starts_with("[%START_TIME%] \"%REQ(:METHOD)%") && format.ends_with("%ROUTE_NAME%\n"), "{format}");
    assert_eq!(log("accessLogFile: ''").map(|(file, _)| file), Some(None), "no log");
    assert_eq!(log("accessLogFormat: '%PROTOCOL%'"), Some((stdout(), "%PROTOCOL%".to_owned())));
    let (file, fields) = log("accessLogFile: /log\naccessLogEncoding: JSON").expect("a log");
    assert_eq!(file.as_deref(), Some("/log"));
    assert!(
        fields.starts_with("start_time=%START_TIME% method=") && fields.ends_with("route_name=%ROUTE_NAME% "),
        "{fields}"
    );
    let own = r#"accessLogFormat: '{"z": "%PROTOCOL%", "a": "%RESPONSE_CODE%"}'"#;
    assert_eq!(
        log(&format!("accessLogEncoding: JSON\n{own}")).map(|(_, fields)| fields).as_deref(),
        Some("z=%PROTOCOL% a=%RESPONSE_CODE% "),
        "in the order in which they were written"
    );
}

#[test]
fn a_format_that_cannot_be_used_is_reported_and_changes_nothing() {
    let (got, findings) = mesh("accessLogEncoding: JSON\naccessLogFormat: '{\"a\": {\"b\": \"%PROTOCOL%\"}}'");
    assert_eq!((got.access_log, findings), (None, 1));
}
