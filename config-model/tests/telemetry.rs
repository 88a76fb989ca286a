//! What users are told of a Telemetry: YAML in, lines out.

use config_model::file::ParsedFile;

/// What is told of this spec: place, field, message and cure, behind the level.
fn told(spec: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {{name: t}}\nspec:\n  {}\n",
        spec.replace('\n', "\n  ")
    );
    let lines = ParsedFile::parse("main.yaml", &text, None).diagnostics;
    let short = |line: String| line.replace("(Telemetry default/t main.yaml:", "").replacen(") ", " ", 1);
    lines.iter().map(|line| short(line.to_string())).collect()
}

#[test]
fn a_wrong_field_is_an_error_with_place_and_cure() {
    for (spec, want) in [
        ("accessLoging: []", "5:3 spec.accessLoging: unknown field; did you mean accessLogging?"),
        (
            "accessLogging: [{provider: []}]",
            "5:20 spec.accessLogging[0].provider: unknown field; did you mean providers?",
        ),
        (
            "accessLogging: [{providers: [{}]}]",
            "5:32 spec.accessLogging[0].providers[0].name: is required; name one of MeshConfig's extensionProviders",
        ),
        (
            "accessLogging: [{match: {mode: CLIENTS}}]",
            "5:34 spec.accessLogging[0].match.mode: unknown value \"CLIENTS\"; did you mean CLIENT?",
        ),
        (
            "accessLogging: [{providers: [{name: envoy}], filter: {}}]",
            "5:56 spec.accessLogging[0].filter.expression: is required; write an expression such as response.code >= 400",
        ),
        (
            "selector: {matchLabels: {app: 'a*'}}",
            "5:13 spec.selector.matchLabels[\"app\"]: must not have an empty key or a wildcard; name the labels in full",
        ),
        (
            "tracing: [{randomSamplingPercentage: 101}]",
            "5:40 spec.tracing[0].randomSamplingPercentage: must be from 0 to 100, found 101",
        ),
        (
            "tracing: [{customTags: {a: {literal: {value: ''}}}}]",
            "5:48 spec.tracing[0].customTags[\"a\"].literal.value: is required; write the tag's text",
        ),
        (
            "tracing: [{customTags: {a: {header: {}}}}]",
            "5:39 spec.tracing[0].customTags[\"a\"].header.name: is required; name it",
        ),
        (
            "tracing: [{customTags: {a: {header: {name: b}, literal: {value: c}}}}]",
            "5:30 spec.tracing[0].customTags[\"a\"]: must have one field only; keep literal, environment, header or formatter",
        ),
        (
            "metrics: [{overrides: [{tagOverrides: {a: {operation: UPSERT}}}]}]",
            "5:45 spec.metrics[0].overrides[0].tagOverrides[\"a\"].value: is required; write it, or operation: REMOVE",
        ),
        (
            "metrics: [{overrides: [{tagOverrides: {a: {operation: REMOVE, value: b}}}]}]",
            "5:72 spec.metrics[0].overrides[0].tagOverrides[\"a\"].value: must not be set where the tag is removed; remove it",
        ),
        (
            "metrics: [{overrides: [{match: {customMetric: ''}}]}]",
            "5:49 spec.metrics[0].overrides[0].match.customMetric: must not be empty",
        ),
        (
            "targetRefs: [{kind: Pod, name: a}]",
            "5:23 spec.targetRefs[0].kind: must be a Service, ServiceEntry, Gateway or GatewayClass, is \"/Pod\"; write group: \
             gateway.networking.k8s.io, kind: Gateway",
        ),
        (
            "targetRefs: [{kind: Service, name: a, namespace: b}]",
            "5:52 spec.targetRefs[0].namespace: must not be set: the target is in the namespace of the Telemetry; remove it",
        ),
    ] {
        let all = told(spec);
        let errors: Vec<&String> = all.iter().filter(|line| line.starts_with("Error ")).collect();
        assert_eq!(errors, [&format!("Error [IST0106] {want}")], "{spec}\n{all:#?}");
    }
    let both = "selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, name: a}]";
    assert!(told(both)[0].contains("spec: must not have a selector and targets"), "{:?}", told(both));
}

#[test]
fn what_is_not_honoured_is_a_warning_that_names_it() {
    for (spec, want) in [
        ("accessLogging: [{providers: [{name: envoy}], disabled: false}]", None),
        (
            "accessLogging: [{providers: [{name: envoy}], filter: {expression: request.total_size > 9}}]",
            Some("5:69 spec.accessLogging[0].filter.expression: request.total_size, which has no value here, is"),
        ),
        ("tracing: [{providers: [{name: a}]}]", Some("5:3 spec.tracing: tracing is")),
        ("metrics: [{providers: [{name: prometheus}]}]", Some("5:3 spec.metrics: metrics is")),
        ("targetRefs: [{kind: Service, name: a}]", Some("5:3 spec.targetRefs: targetRefs is")),
        (
            "targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: a}",
            Some("5:3 spec.targetRef: targetRef is"),
        ),
    ] {
        let want: Vec<String> =
            want.iter().map(|want| format!("Warning [TG0002] {want} understood but not honoured yet")).collect();
        assert_eq!(told(spec), want, "{spec}");
    }
}

#[test]
fn what_is_hardly_meant_is_a_warning() {
    for (spec, want) in [
        ("selector: {}", "5:13 spec.selector.matchLabels: is empty and so selects the whole namespace"),
        (
            "tracing: [{providers: [{name: a}, {name: b}]}]",
            "5:37 spec.tracing[0].providers[1]: is one too many: Istio supports one",
        ),
        (
            "accessLogging: [{filter: {expression: 'true'}}]",
            "5:28 spec.accessLogging[0].filter: has no effect without providers, as in Istio; write providers beside it",
        ),
        ("tracing: [{}, {}]", "5:17 spec.tracing[1]: is one too many: Istio supports one"),
    ] {
        let want = format!("Warning [IST0133] {want}");
        assert!(told(spec).contains(&want), "{spec} {:#?}", told(spec));
    }
}

#[test]
fn both_versions_are_read_and_others_are_named() {
    let version = |version: &str| {
        let text =
            format!("apiVersion: telemetry.istio.io/{version}\nkind: Telemetry\nmetadata: {{name: t}}\nspec: {{}}\n");
        let file = ParsedFile::parse("main.yaml", &text, None);
        file.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(version("v1"), [""; 0]);
    assert_eq!(version("v1alpha1"), [""; 0]);
    assert_eq!(
        version("v1beta1"),
        [
            "Error [TG0003] (main.yaml:1:13) apiVersion: unknown version \"telemetry.istio.io/v1beta1\"; use telemetry.istio.io/v1 \
             or telemetry.istio.io/v1alpha1"
        ]
    );
}

/// What is told of these providers in MeshConfig.
fn told_of_mesh(settings: &str) -> Vec<String> {
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {}\n",
        settings.replace('\n', "\n    ")
    );
    let lines = ParsedFile::parse("main.yaml", &text, None).diagnostics;
    let short = |line: String| line.replace("(ConfigMap istio-system/istio main.yaml:", "").replacen(") ", " ", 1);
    lines.iter().map(|line| short(line.to_string())).collect()
}

#[test]
fn a_provider_has_a_name_and_is_one_thing() {
    for (providers, want) in [
        (
            "[{envoyFileAccessLog: {}}]",
            "Error [IST0106] 6:26 data.mesh.extensionProviders[0].name: is required; give the provider a name",
        ),
        (
            "[{name: a}]",
            "Error [IST0106] 6:26 data.mesh.extensionProviders[0]: says nothing of what it is; write envoyFileAccessLog or another",
        ),
        (
            "[{name: a, zipkin: {}, datadog: {}}]",
            "Error [IST0106] 6:26 data.mesh.extensionProviders[0]: must be one thing only; keep one of its fields",
        ),
        (
            "[{name: a, zipkin: {}}, {name: a, zipkin: {}}]",
            "Error [IST0106] 6:56 data.mesh.extensionProviders[1].name: \"a\" is the name of another provider; give each its own name",
        ),
        (
            "[{name: a, envoyFileAccessLog: {logFormat: {text: '%BOGUS%'}}}]",
            "Error [IST0106] 6:75 data.mesh.extensionProviders[0].envoyFileAccessLog.logFormat.text: %BOGUS% is not a command that \
             is known here; write a percent sign that stands for itself as %%",
        ),
        (
            "[{name: a, envoyFileAccessLog: {logFormat: {labels: {b: '%DYNAMIC_METADATA(a:b)%'}}}}]",
            "Warning [TG0002] 6:81 data.mesh.extensionProviders[0].envoyFileAccessLog.logFormat.labels[\"b\"]: \
             %DYNAMIC_METADATA(a:b)% is understood but not honoured yet; its value is - in a line, null in JSON",
        ),
        (
            "[{name: a, envoyFileAccessLog: {logFormat: {labels: {b: {c: [1, '%TRACE_ID%']}}}}}]",
            "Warning [TG0002] 6:89 data.mesh.extensionProviders[0].envoyFileAccessLog.logFormat.labels[\"b\"]: \
             %TRACE_ID% is understood but not honoured yet; its value is - in a line, null in JSON",
        ),
        (
            "[{name: a, envoyFileAccessLog: {logFormat: {text: a, labels: {b: c}}}}]",
            "Error [IST0106] 6:68 data.mesh.extensionProviders[0].envoyFileAccessLog.logFormat: must have one field only; keep text \
             or labels",
        ),
    ] {
        assert_eq!(told_of_mesh(&format!("extensionProviders: {providers}")), [want], "{providers}");
    }
    assert_eq!(
        told_of_mesh("defaultProviders: {metrics: [prometheus, other], tracing: [a]}"),
        [
            "Warning [TG0002] 6:46 data.mesh.defaultProviders.metrics: the metrics provider other is understood but not honoured yet",
            "Warning [TG0002] 6:54 data.mesh.defaultProviders.tracing: tracing is understood but not honoured yet",
        ]
    );
}

#[test]
fn a_filter_that_is_no_expression_is_an_error() {
    let told = told("accessLogging: [{providers: [{name: envoy}], filter: {expression: 'response.code >'}}]");
    assert_eq!(told.len(), 1, "{told:?}");
    let start = "Error [IST0106] 5:69 spec.accessLogging[0].filter.expression: must be an expression in CEL: ";
    assert!(
        told[0].starts_with(start) && told[0].ends_with("; write an expression such as response.code >= 400"),
        "{told:?}"
    );
}
