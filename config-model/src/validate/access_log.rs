//! Rules for access logs of MeshConfig: the one by itself, and those of `extensionProviders`.

use std::collections::HashSet;

use crate::decode::{Path, Report, Text};
use crate::model::{Format, JsonObject};
use crate::origin::Position;
use crate::resource::{AccessLogEncoding, EnvoyFileAccessLog, ExtensionProvider, MeshConfig};

/// What is told of a command without a value.
const INSTEAD: &str = "its value is - in a line, null in JSON";

pub(super) fn check(config: &MeshConfig, at: &Path<'_>, report: &mut Report) {
    own(config, &at.field("accessLogFormat"), report);
    let field = at.field("extensionProviders");
    let mut names = HashSet::new();
    for (index, provider) in config.extension_providers.iter().enumerate() {
        let at = field.index(index);
        self::provider(provider, &at, report);
        if !provider.name.is_empty() && !names.insert(&*provider.name.value) {
            let message = format!("{:?} is the name of another provider", &*provider.name.value);
            report.error(provider.name.position, &at.field("name"), message, Some("give each its own name"));
        }
    }
    let metrics = config.default_providers.iter().flat_map(|providers| &providers.metrics);
    for other in metrics.filter(|name| *name.value != *"prometheus") {
        let defaults = at.field("defaultProviders");
        report.not_honoured(
            other.position,
            &defaults.field("metrics"),
            format_args!("the metrics provider {}", &*other.value),
        );
    }
}

/// A text format, or a JSON object whose values are formats.
fn own(config: &MeshConfig, at: &Path<'_>, report: &mut Report) {
    let written = &config.access_log_format;
    match config.access_log_encoding.value {
        AccessLogEncoding::Text => format(written, at, report),
        AccessLogEncoding::Json => match json_formats(&written.value) {
            Ok(formats) => formats.iter().for_each(|format| {
                report.unavailable_commands(written.position, at, format, INSTEAD);
            }),
            Err(problem) => unusable(written.position, problem, at, report),
        },
    }
}

fn format(written: &Text, at: &Path<'_>, report: &mut Report) {
    match Format::parse(&written.value) {
        Ok(format) => report.unavailable_commands(written.position, at, &format, INSTEAD),
        Err(problem) => unusable(written.position, problem.to_string(), at, report),
    }
}

fn unusable(position: Position, problem: String, at: &Path<'_>, report: &mut Report) {
    report.error(position, at, problem, Some("write a percent sign that stands for itself as %%"));
}

/// The formats in the JSON object `text`.
fn json_formats(text: &str) -> Result<Vec<Format>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let members: JsonObject<String> =
        serde_json::from_str(text).map_err(|error| format!("must be a JSON object, {error}"))?;
    let mut formats = Vec::new();
    members.values().for_each(|value| value.for_each_text(&mut |text| formats.push(Format::parse(text))));
    formats.into_iter().map(|format| format.map_err(|error| error.to_string())).collect()
}

fn provider(provider: &ExtensionProvider, at: &Path<'_>, report: &mut Report) {
    if provider.name.is_empty() {
        report.error(provider.position, &at.field("name"), "is required", Some("give the provider a name"));
    }
    match provider.kinds().count() {
        1 => {}
        0 => report.error(
            provider.position,
            at,
            "says nothing of what it is",
            Some("write envoyFileAccessLog or another"),
        ),
        _ => report.error(provider.position, at, "must be one thing only", Some("keep one of its fields")),
    }
    if let Some(log) = &provider.envoy_file_access_log {
        file(log, &at.field("envoyFileAccessLog").field("logFormat"), report);
    }
}

fn file(log: &EnvoyFileAccessLog, at: &Path<'_>, report: &mut Report) {
    let Some(written) = &log.log_format else { return };
    if written.text.is_written() && written.labels.is_some() {
        report.error(written.position, at, "must have one field only", Some("keep text or labels"));
    }
    format(&written.text, &at.field("text"), report);
    let field = at.field("labels");
    for (name, value) in written.labels.iter().flat_map(|labels| &labels.fields) {
        let at = field.key(name);
        value.for_each_text(&mut |text| format(text, &at, report));
    }
}
