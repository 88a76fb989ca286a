//! Rules for MeshConfig, as far as it is read.

use super::{destination_rule, http_policy, locality, names, values};
use crate::decode::{Path, Report};
use crate::model::Format;
use crate::resolve::zones;
use crate::resource::{AccessLogEncoding, MeshConfig, MeshOutboundTrafficPolicyMode};

pub(super) fn check(config: &MeshConfig, report: &mut Report) {
    let data = Path::ROOT.field("data");
    let at = data.field("mesh");
    if !config.root_namespace.value.is_empty() {
        values::text(&config.root_namespace, names::dns_label, &at.field("rootNamespace"), report, "");
    }
    if !config.trust_domain.value.is_empty() {
        values::text(&config.trust_domain, names::fqdn, &at.field("trustDomain"), report, "");
    }
    if let Some(policy) = &config.default_http_retry_policy {
        http_policy::retries(policy, &at.field("defaultHttpRetryPolicy"), report);
    }
    values::duration(config.connect_timeout.as_ref(), &at.field("connectTimeout"), report);
    if let Some(setting) = &config.locality_lb_setting {
        locality::check(setting, &at.field("localityLbSetting"), report);
    }
    if let Some(setting) = &config.zone_aware_lb_setting {
        locality::zones(setting, &at.field("zoneAwareLbSetting"), report);
    }
    if let Some(keepalive) = &config.tcp_keepalive {
        destination_rule::keepalive(keepalive, &at.field("tcpKeepalive"), report);
    }
    let unknown = config.outbound_traffic_policy.as_ref().map(|policy| &policy.mode);
    if let Some(mode) = unknown.filter(|mode| mode.value == MeshOutboundTrafficPolicyMode::AllowAnyDynamicDns) {
        let policy = at.field("outboundTrafficPolicy");
        report.not_honoured(mode.position, &policy.field("mode"), "ALLOW_ANY_DYNAMIC_DNS, which counts as ALLOW_ANY,");
    }
    if let Some(proxy) = &config.default_config {
        let at = at.field("defaultConfig");
        let field = at.field("proxyMetadata");
        for (name, value) in proxy.proxy_metadata.iter().filter(|(name, _)| *name.value != *zones::SELF_DISCOVERY) {
            report.not_honoured(value.position, &field.key(&name.value), &name.value);
        }
    }
    access_log(config, &at.field("accessLogFormat"), report);
}

/// A text format, or a JSON object whose values are formats.
fn access_log(config: &MeshConfig, at: &Path<'_>, report: &mut Report) {
    let written = &config.access_log_format;
    let formats = match config.access_log_encoding.value {
        AccessLogEncoding::Text => {
            Format::parse(&written.value).map(|format| vec![format]).map_err(|error| error.to_string())
        }
        AccessLogEncoding::Json => json_formats(&written.value),
    };
    match formats {
        Ok(formats) => formats.iter().for_each(|format| {
            report.unavailable_commands(written.position, at, format, "its value is - in a line, null in JSON");
        }),
        Err(problem) => {
            report.error(written.position, at, problem, Some("write a percent sign that stands for itself as %%"));
        }
    }
}

/// The values of the JSON object `text`.
fn json_formats(text: &str) -> Result<Vec<Format>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(text).map_err(|error| format!("must be a JSON object, {error}"))?;
    let texts = fields.values().filter_map(serde_json::Value::as_str);
    texts.map(|text| Format::parse(text).map_err(|error| error.to_string())).collect()
}
