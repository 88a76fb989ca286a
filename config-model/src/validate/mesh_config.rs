//! Rules for MeshConfig, as far as it is read.

use super::{access_log, destination_rule, http_policy, locality, names, outlier_detection, values};
use crate::decode::{Path, Report};
use crate::resolve::zones;
use crate::resource::{MeshConfig, MeshOutboundTrafficPolicyMode};

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
        http_policy::retries_of_mesh(policy, &at.field("defaultHttpRetryPolicy"), report);
    }
    values::duration(config.connect_timeout.as_ref(), &at.field("connectTimeout"), report);
    if let Some(policy) = &config.default_traffic_policy {
        let at = at.field("defaultTrafficPolicy");
        if let Some(pool) = &policy.connection_pool {
            destination_rule::connection_pool(pool, &at.field("connectionPool"), report);
        }
        if let Some(outlier) = &policy.outlier_detection {
            outlier_detection::check(outlier, &at.field("outlierDetection"), report);
        }
    }
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
    access_log::check(config, &at, report);
}
