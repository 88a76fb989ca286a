//! Rules for `Telemetry`.

use super::values;
use crate::decode::{Path, Report};
use crate::origin::Position;
use crate::resource::{
    AccessLogging, CustomTag, Metrics, MetricsOverrides, PolicyTargetReference, ProviderRef, TagOverride,
    TagOverrideOperation, Telemetry, Tracing,
};

pub(super) fn check(telemetry: &Telemetry, at: &Path<'_>, report: &mut Report) {
    scope(telemetry, at, report);
    let field = at.field("accessLogging");
    for (index, logging) in telemetry.access_logging.iter().enumerate() {
        access_logging(logging, &field.index(index), report);
    }
    let field = at.field("tracing");
    if let Some(second) = telemetry.tracing.get(1) {
        report.warning(second.position, &field.index(1), "is one too many: Istio supports one", None);
    }
    for (index, tracing) in telemetry.tracing.iter().enumerate() {
        self::tracing(tracing, &field.index(index), report);
    }
    let field = at.field("metrics");
    for (index, metrics) in telemetry.metrics.iter().enumerate() {
        self::metrics(metrics, &field.index(index), report);
    }
}

/// The workloads that it is for.
fn scope(telemetry: &Telemetry, at: &Path<'_>, report: &mut Report) {
    let kinds = [telemetry.selector.is_some(), telemetry.target_ref.is_some(), !telemetry.target_refs.is_empty()];
    if kinds.iter().filter(|is_there| **is_there).count() > 1 {
        let hint = "keep selector, targetRef or targetRefs";
        report.error(telemetry.position, at, "must not have a selector and targets", Some(hint));
    }
    if let Some(selector) = &telemetry.selector {
        let at = at.field("selector");
        values::selecting(&selector.match_labels, selector.position, &at.field("matchLabels"), report);
    }
    if let Some(target) = &telemetry.target_ref {
        self::target(target, &at.field("targetRef"), report);
    }
    let field = at.field("targetRefs");
    for (index, target) in telemetry.target_refs.iter().enumerate() {
        self::target(target, &field.index(index), report);
    }
}

/// Groups and kinds that a target can have.
const TARGETS: [(&str, &str); 5] = [
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

fn target(target: &PolicyTargetReference, at: &Path<'_>, report: &mut Report) {
    values::required(&target.name, target.position, &at.field("name"), report, "name the resource");
    if !target.namespace.is_empty() {
        let message = "must not be set: the target is in the namespace of the Telemetry";
        report.error(target.namespace.position, &at.field("namespace"), message, Some("remove it"));
    }
    if !TARGETS.contains(&(&target.group, &target.kind)) {
        let found = format!("{}/{}", &*target.group.value, &*target.kind.value);
        let message = format!("must be a Service, ServiceEntry, Gateway or GatewayClass, is {found:?}");
        let hint = "write group: gateway.networking.k8s.io, kind: Gateway";
        report.error(values::place(&target.kind, target.position), &at.field("kind"), message, Some(hint));
    }
}

fn providers(providers: &[ProviderRef], at: &Path<'_>, report: &mut Report) {
    let field = at.field("providers");
    for (index, provider) in providers.iter().enumerate() {
        let at = field.index(index);
        let hint = "name one of MeshConfig's extensionProviders";
        values::required(&provider.name, provider.position, &at.field("name"), report, hint);
    }
}

fn access_logging(logging: &AccessLogging, at: &Path<'_>, report: &mut Report) {
    providers(&logging.providers, at, report);
    let Some(filter) = &logging.filter else { return };
    let at = at.field("filter");
    if filter.expression.is_none() {
        let hint = "write an expression such as response.code >= 400";
        report.error(filter.position, &at.field("expression"), "is required", Some(hint));
    }
    if logging.providers.is_empty() {
        let hint = "write providers beside it";
        report.warning(filter.position, &at, "has no effect without providers, as in Istio", Some(hint));
    }
}

fn tracing(tracing: &Tracing, at: &Path<'_>, report: &mut Report) {
    providers(&tracing.providers, at, report);
    if let Some(second) = tracing.providers.get(1) {
        let at = at.field("providers");
        report.warning(second.position, &at.index(1), "is one too many: Istio supports one", None);
    }
    if let Some(percentage) =
        tracing.random_sampling_percentage.filter(|percent| !(0.0..=100.0).contains(&percent.value))
    {
        let at = at.field("randomSamplingPercentage");
        report.error(percentage.position, &at, format_args!("must be from 0 to 100, found {}", percentage.value), None);
    }
    let tags = at.field("customTags");
    for (name, tag) in tracing.custom_tags.iter() {
        let at = tags.key(&name.value);
        if name.is_empty() {
            report.error(name.position, &at, "must have a name", None);
        }
        custom_tag(tag, &at, report);
    }
}

fn custom_tag(tag: &CustomTag, at: &Path<'_>, report: &mut Report) {
    let sources = [("environment", &tag.environment), ("header", &tag.header)];
    let texts = [("literal", &tag.literal), ("formatter", &tag.formatter)];
    let written = sources.iter().filter(|(_, source)| source.is_some()).count()
        + texts.iter().filter(|(_, text)| text.is_some()).count();
    if written > 1 {
        one_of(tag.position, at, report, "literal, environment, header or formatter");
    }
    if let Some(literal) = &tag.literal {
        values::required(
            &literal.value,
            literal.position,
            &at.field("literal").field("value"),
            report,
            "write the tag's text",
        );
    }
    for (field, source) in sources.into_iter().filter_map(|(field, source)| Some((field, source.as_ref()?))) {
        values::required(&source.name, source.position, &at.field(field).field("name"), report, "name it");
    }
}

fn one_of(position: Position, at: &Path<'_>, report: &mut Report, which: &str) {
    report.error(position, at, "must have one field only", Some(&format!("keep {which}")));
}

fn metrics(metrics: &Metrics, at: &Path<'_>, report: &mut Report) {
    providers(&metrics.providers, at, report);
    let field = at.field("overrides");
    for (index, change) in metrics.overrides.iter().enumerate() {
        metrics_override(change, &field.index(index), report);
    }
}

fn metrics_override(change: &MetricsOverrides, at: &Path<'_>, report: &mut Report) {
    if let Some(selector) = &change.r#match {
        let at = at.field("match");
        if selector.metric.is_some() && selector.custom_metric.is_some() {
            one_of(selector.position, &at, report, "metric or customMetric");
        }
        if let Some(custom) = selector.custom_metric.as_ref().filter(|custom| custom.is_empty()) {
            report.error(custom.position, &at.field("customMetric"), "must not be empty", None);
        }
    }
    let tags = at.field("tagOverrides");
    for (name, tag) in change.tag_overrides.iter() {
        let at = tags.key(&name.value);
        if name.is_empty() {
            report.warning(name.position, &at, "has no name", None);
        }
        tag_override(tag, &at, report);
    }
}

fn tag_override(tag: &TagOverride, at: &Path<'_>, report: &mut Report) {
    let at = at.field("value");
    let position = values::place(&tag.value, tag.position);
    match tag.operation.value {
        TagOverrideOperation::Upsert if tag.value.is_empty() => {
            report.error(position, &at, "is required", Some("write it, or operation: REMOVE"));
        }
        TagOverrideOperation::Remove if !tag.value.is_empty() => {
            report.error(position, &at, "must not be set where the tag is removed", Some("remove it"));
        }
        _ => {}
    }
}
