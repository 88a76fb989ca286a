//! Providers of access logs.

use super::*;

fn telemetry(namespace: &str, name: &str, spec: &str) -> String {
    resource("telemetry.istio.io/v1", "Telemetry", &format!("{{name: {name}, namespace: {namespace}}}"), spec)
}

fn mesh(config: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata: {{mesh: '{config}'}}\n---\n"
    )
}

fn provided_by(name: &str) -> String {
    telemetry("default", "t", &format!("{{accessLogging: [{{providers: [{{name: {name}}}]}}]}}"))
}

#[test]
fn ist0101_a_provider_that_is_not_there() {
    let providers = mesh("extensionProviders: [{name: stdout, envoyFileAccessLog: {}}]");
    for (name, want) in [
        ("envoy", vec![]),
        ("stdout", vec![]),
        ("stdot", vec!["Error: Referenced provider not found: \"stdot\"; did you mean stdout?"]),
        (
            "nobody",
            vec![
                "Error: Referenced provider not found: \"nobody\"; it has to be one of MeshConfig's extensionProviders, or envoy",
            ],
        ),
    ] {
        assert_eq!(messages(&(providers.clone() + &provided_by(name)), "IST0101"), want, "{name}");
    }
    let defaults = mesh("defaultProviders: {accessLogging: [nobody]}");
    assert_eq!(messages(&defaults, "IST0101").len(), 1);
}

#[test]
fn a_provider_to_which_nothing_is_sent_is_named() {
    let providers = mesh("extensionProviders: [{name: otel, envoyOtelAls: {service: a, port: 1}}]");
    assert_eq!(
        found(&(providers.clone() + &provided_by("otel")), "TG0002", None),
        [
            "Warning [TG0002] (Telemetry default/t main.yaml:9:44) spec.accessLogging[0].providers[0].name: envoyOtelAls, which is what \
             otel is, is understood but not honoured yet"
        ]
    );
    assert_eq!(
        messages(&(providers + &provided_by("prometheus")), "IST0133"),
        ["Warning: prometheus takes no access logs"]
    );
}

#[test]
fn ist0157_a_telemetry_that_inherits_no_provider() {
    let (off, text) = ("{accessLogging: [{disabled: true}]}", "{accessLogging: [{providers: [{name: envoy}]}]}");
    let some = "{selector: {matchLabels: {a: b}}, accessLogging: [{disabled: true}]}";
    for (what, text, want) in [
        ("alone", telemetry("default", "t", off), 1),
        ("with a provider", telemetry("default", "t", text), 0),
        ("below the mesh's", telemetry("istio-system", "m", text) + &telemetry("default", "t", off), 0),
        ("below its namespace's", telemetry("default", "wide", text) + &telemetry("default", "t", some), 0),
        ("below another namespace's", telemetry("other", "wide", text) + &telemetry("default", "t", off), 1),
        (
            "with default providers",
            mesh("defaultProviders: {accessLogging: [envoy]}") + &telemetry("default", "t", off),
            0,
        ),
    ] {
        assert_eq!(messages(&text, "IST0157").len(), want, "{what}");
    }
    assert_eq!(
        messages(&telemetry("default", "t", off), "IST0157"),
        [
            "Warning: The Telemetry t in namespace \"default\" with empty providers will be ignored.; write providers: [{name: \
             envoy}]"
        ]
    );
}

#[test]
fn ist0160_two_telemetries_for_one_namespace() {
    let text = telemetry("default", "a", "{}") + &telemetry("default", "b", "{}") + &telemetry("other", "c", "{}");
    let want = "Error: The Telemetries a, b in namespace \"default\" have no workload selector, which can lead to undefined \
                behavior.; a, the oldest, is in force";
    assert_eq!(messages(&text, "IST0160"), [want, want]);
}
