//! Rules for MeshConfig, as far as it is read.

use super::{destination_rule, http_policy, locality, names, values};
use crate::decode::{Path, Report};
use crate::model::Format;
use crate::resource::{AccessLogEncoding, MeshConfig};

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
    if let Some(keepalive) = &config.tcp_keepalive {
        destination_rule::keepalive(keepalive, &at.field("tcpKeepalive"), report);
    }
    access_log(config, &at.field("accessLogFormat"), report);
}

/// A text format, or a JSON object whose values are formats.
fn access_log(config: &MeshConfig, at: &Path<'_>, report: &mut Report) {
    let format = &config.access_log_format;
    let problem = match config.access_log_encoding.value {
        AccessLogEncoding::Text => Format::parse(&format.value).err().map(|error| error.to_string()),
        AccessLogEncoding::Json if format.value.is_empty() => None,
        AccessLogEncoding::Json => match serde_json::from_str::<serde_json::Map<_, _>>(&format.value) {
            Err(error) => Some(format!("must be a JSON object, {error}")),
            Ok(fields) => fields
                .values()
                .filter_map(|value: &serde_json::Value| value.as_str())
                .find_map(|text| Format::parse(text).err().map(|error| error.to_string())),
        },
    };
    if let Some(problem) = problem {
        report.error(format.position, at, problem, Some("write a percent sign that stands for itself as %%"));
    }
}
