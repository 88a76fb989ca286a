//! Access logs: those of MeshConfig, and what Telemetries make of them.

use super::*;
use crate::model::{AccessLog, AccessLogFormat};

/// A MeshConfig with these lines.
fn mesh(config: &str) -> String {
    let lines: Vec<String> = config.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n{}---\n",
        lines.concat()
    )
}

fn telemetry(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {spec}\n---\n"
    )
}

/// Path and look of each log, and how many findings there are.
fn logs(text: &str) -> (Option<Vec<String>>, usize) {
    let resolution = resolved(text);
    let logs = resolution.model.access_logs;
    (logs.map(|logs| logs.iter().map(described).collect()), resolution.diagnostics.len())
}

fn described(log: &AccessLog) -> String {
    let format = match &log.format {
        AccessLogFormat::Text(format) => format.as_str().to_owned(),
        AccessLogFormat::Json(members) => serde_json::to_string(members).unwrap(),
    };
    let short = if format.starts_with("[%START_TIME%] ") { "default" } else { &format };
    let short =
        if short.starts_with(r#"{"authority":"%REQ(:AUTHORITY)%","bytes_received""#) { "default JSON" } else { short };
    let filter = log.filter.as_ref().map(|filter| format!(" if {}", filter.as_str())).unwrap_or_default();
    format!("{} {short}{}{filter}", log.path, if log.omits_absent { " omitting" } else { "" })
}

fn some(logs: &[&str]) -> (Option<Vec<String>>, usize) {
    (Some(logs.iter().map(|log| (*log).to_owned()).collect()), 0)
}

#[test]
fn the_access_log_is_left_to_the_command_line_unless_something_is_said_of_it() {
    let own = r#"accessLogFormat: '{"z": "%PROTOCOL%", "a": {"b": ["%RESPONSE_CODE%", 1, null]}}'"#;
    for (config, want) in [
        ("enableTracing: false", (None, 0)),
        ("accessLogFile: /dev/stdout", some(&["/dev/stdout default"])),
        ("accessLogFile: ''", some(&[])),
        ("accessLogFormat: '%PROTOCOL%'", some(&["/dev/stdout %PROTOCOL%"])),
        ("accessLogFile: /log\naccessLogEncoding: JSON", some(&["/log default JSON"])),
        (
            &format!("accessLogEncoding: JSON\n{own}"),
            some(&[r#"/dev/stdout {"a":{"b":["%RESPONSE_CODE%",1,null]},"z":"%PROTOCOL%"}"#]),
        ),
        ("defaultProviders: {accessLogging: [envoy]}", some(&["/dev/stdout default"])),
        (
            "accessLogFile: ''\naccessLogEncoding: JSON\ndefaultProviders: {accessLogging: [envoy]}",
            some(&["/dev/stdout default JSON"]),
        ),
    ] {
        assert_eq!(logs(&mesh(config)), want, "{config}");
    }
    assert_eq!(logs(""), (None, 0));
}

const PROVIDERS: &str = "\
accessLogFile: /mesh
accessLogFormat: '%PROTOCOL%'
extensionProviders:
- {name: text, envoyFileAccessLog: {path: /text, logFormat: {text: 'x %RESPONSE_CODE%'}}}
- {name: json, envoyFileAccessLog: {path: /json, omitEmptyValues: true, logFormat: {labels: {b: '%PROTOCOL%', a: [z, 1.5, {c: true}]}}}}
- {name: plain, envoyFileAccessLog: {}}
- {name: default-json, envoyFileAccessLog: {path: /dj, logFormat: {labels: {}}}}
- {name: otel, envoyOtelAls: {service: otel.example, port: 4317}}
- {name: zipkin, zipkin: {service: zipkin.example, port: 9411}}
";

#[test]
fn a_provider_is_a_file_and_a_look() {
    for (names, want) in [
        ("text", some(&["/text x %RESPONSE_CODE%"])),
        ("json", some(&[r#"/json {"a":["z",1.5,{"c":true}],"b":"%PROTOCOL%"} omitting"#])),
        ("plain", some(&["/dev/stdout default"])),
        ("default-json", some(&["/dj default JSON"])),
        // Istio's own looks as MeshConfig has it.
        ("envoy", some(&["/dev/stdout %PROTOCOL%"])),
        ("TEXT", some(&["/text x %RESPONSE_CODE%"])),
        // In the order of their names.
        (
            "text}, {name: json",
            some(&[r#"/json {"a":["z",1.5,{"c":true}],"b":"%PROTOCOL%"} omitting"#, "/text x %RESPONSE_CODE%"]),
        ),
        // Nothing is sent there, nor does MeshConfig's own log take its place.
        ("otel", some(&[])),
        // What takes no logs, or doesn't exist, is as if nothing were said.
        ("zipkin", some(&["/mesh %PROTOCOL%"])),
        ("prometheus", some(&["/mesh %PROTOCOL%"])),
        ("nobody", some(&["/mesh %PROTOCOL%"])),
    ] {
        let spec = format!("{{accessLogging: [{{providers: [{{name: {names}}}]}}]}}");
        assert_eq!(logs(&(mesh(PROVIDERS) + &telemetry("default", "t", &spec))), want, "{names}");
    }
    let own = mesh("extensionProviders: [{name: envoy, envoyFileAccessLog: {path: /own}}]\naccessLogEncoding: JSON");
    let text = own + &telemetry("default", "t", "{accessLogging: [{providers: [{name: envoy}]}]}");
    assert_eq!(logs(&text), some(&["/own default JSON"]));
    let alone = telemetry("default", "t", "{accessLogging: [{providers: [{name: envoy}]}]}");
    assert_eq!(logs(&alone), some(&["/dev/stdout default"]));
}

#[test]
fn the_narrower_telemetry_names_the_providers_and_inherits_them_if_it_names_none() {
    let wide = |logging: &str| telemetry("istio-system", "mesh", &format!("{{accessLogging: [{logging}]}}"));
    let own = |logging: &str| telemetry("default", "own", &format!("{{accessLogging: [{logging}]}}"));
    let selecting = |labels: &str, logging: &str| {
        telemetry("default", "some", &format!("{{selector: {{matchLabels: {labels}}}, accessLogging: [{logging}]}}"))
    };
    let (text, plain, off) = ("{providers: [{name: text}]}", "{providers: [{name: plain}]}", "{disabled: true}");
    let (is_text, is_plain, of_mesh) = (&["/text x %RESPONSE_CODE%"], &["/dev/stdout default"], &["/mesh %PROTOCOL%"]);
    let this = "{istio: ingressgateway}";
    for (what, resources, want) in [
        ("the mesh's alone", wide(text), some(is_text)),
        ("its namespace's instead", wide(text) + &own(plain), some(is_plain)),
        ("its own instead", wide(text) + &own(text) + &selecting(this, plain), some(is_plain)),
        ("another workload's", wide(text) + &selecting("{istio: egressgateway}", plain), some(is_text)),
        ("another namespace's", telemetry("other", "own", &format!("{{accessLogging: [{text}]}}")), some(of_mesh)),
        ("its namespace switches it off", wide(text) + &own(off), some(&[])),
        (
            "it switches one of several off",
            wide("{providers: [{name: text}, {name: plain}]}") + &own("{providers: [{name: text}], disabled: true}"),
            some(&[]),
        ),
        ("and back on", wide(text) + &own(off) + &selecting(this, "{}"), some(is_text)),
        ("the provider of the entry before", own(&format!("{text}, {off}")), some(&[])),
        ("without providers nothing is said", own(off), some(of_mesh)),
        ("without access logs nothing is said", telemetry("default", "own", "{}"), some(of_mesh)),
        (
            "of two for all the first is in force",
            own(text) + &telemetry("default", "own2", &format!("{{accessLogging: [{plain}]}}")),
            some(is_text),
        ),
        (
            "of two for workloads both are",
            selecting(this, text)
                + &telemetry(
                    "default",
                    "some2",
                    "{selector: {matchLabels: {istio: ingressgateway}}, accessLogging: [{disabled: true}]}",
                ),
            some(&[]),
        ),
        (
            "one for a target is not looked at",
            telemetry(
                "default",
                "t",
                &format!("{{targetRefs: [{{kind: Service, name: s}}], accessLogging: [{text}]}}"),
            ),
            some(of_mesh),
        ),
        ("for clients", own("{match: {mode: CLIENT}, providers: [{name: text}]}"), some(is_text)),
        ("for both sides", own("{match: {mode: CLIENT_AND_SERVER}, providers: [{name: text}]}"), some(is_text)),
        ("for servers", own("{match: {mode: SERVER}, providers: [{name: text}]}"), some(of_mesh)),
        ("off for servers", own(&format!("{text}, {{match: {{mode: SERVER}}, disabled: true}}")), some(is_text)),
    ] {
        assert_eq!(logs(&(mesh(PROVIDERS) + &resources)), want, "{what}");
    }
}

#[test]
fn default_providers_are_what_a_telemetry_inherits() {
    let config = format!("{PROVIDERS}defaultProviders: {{accessLogging: [text, plain]}}\n");
    let both = &["/dev/stdout default", "/text x %RESPONSE_CODE%"];
    for (logging, want) in [
        ("{disabled: true}", some(&[])),
        ("{}", some(both)),
        ("{match: {mode: SERVER}, disabled: true}", some(&["/mesh %PROTOCOL%"])),
        ("{providers: [{name: plain}]}", some(&["/dev/stdout default"])),
    ] {
        let text = mesh(&config) + &telemetry("default", "t", &format!("{{accessLogging: [{logging}]}}"));
        assert_eq!(logs(&text), want, "{logging}");
    }
    assert_eq!(logs(&mesh(&config)), some(both));
}

#[test]
fn the_root_namespace_is_the_one_that_mesh_config_names() {
    let text = mesh(&format!("rootNamespace: mesh-root\n{PROVIDERS}"))
        + &telemetry("mesh-root", "t", "{accessLogging: [{providers: [{name: text}]}]}");
    assert_eq!(logs(&text), some(&["/text x %RESPONSE_CODE%"]));
    // A selector holds in its own namespace only, also in this one.
    let text = mesh(PROVIDERS)
        + &telemetry(
            "istio-system",
            "t",
            "{selector: {matchLabels: {istio: ingressgateway}}, accessLogging: [{providers: [{name: text}]}]}",
        );
    assert_eq!(logs(&text), some(&["/mesh %PROTOCOL%"]));
}

#[test]
fn a_filter_is_that_of_the_last_entry_that_names_the_provider() {
    let wide = |logging: &str| telemetry("istio-system", "mesh", &format!("{{accessLogging: [{logging}]}}"));
    let own = |logging: &str| telemetry("default", "own", &format!("{{accessLogging: [{logging}]}}"));
    let filtered = "{providers: [{name: plain}], filter: {expression: response.code >= 400}}";
    let is_filtered = &["/dev/stdout default if response.code >= 400"];
    for (what, resources, want) in [
        ("alone", own(filtered), some(is_filtered)),
        ("inherited", wide(filtered) + &own("{}"), some(is_filtered)),
        ("replaced by none", wide(filtered) + &own("{providers: [{name: plain}]}"), some(&["/dev/stdout default"])),
        (
            "without providers",
            wide("{providers: [{name: plain}]}") + &own("{filter: {expression: 'false'}}"),
            some(&["/dev/stdout default"]),
        ),
        (
            "for servers",
            own(
                "{providers: [{name: plain}]}, {match: {mode: SERVER}, providers: [{name: plain}], filter: {expression: 'false'}}",
            ),
            some(&["/dev/stdout default"]),
        ),
        (
            "one of two",
            own(&format!("{filtered}, {{providers: [{{name: text}}]}}")),
            some(&["/dev/stdout default if response.code >= 400", "/text x %RESPONSE_CODE%"]),
        ),
    ] {
        assert_eq!(logs(&(mesh(PROVIDERS) + &resources)), want, "{what}");
    }
}
