//! Rules for `DestinationRule`; those for endpoint choice are in `load_balancer`.

use std::collections::HashSet;

use super::{load_balancer, names, tls, values};
use crate::decode::{Path, Report};
use crate::origin::ResourceId;
use crate::resource::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, DestinationRule, H2UpgradePolicy, HttpSettings,
    OutlierDetection, PortTrafficPolicy, TcpSettings, TrafficPolicy, TunnelSettings,
};

pub(super) fn check(rule: &DestinationRule, id: &ResourceId, at: &Path<'_>, report: &mut Report) {
    let host = at.field("host");
    if values::required(&rule.host, rule.position, &host, report, "name a service") {
        values::text(&rule.host, names::wildcard_host, &host, report, "name a service, as reviews or *.example");
    }
    if let Some(policy) = &rule.traffic_policy {
        traffic_policy(policy, &at.field("trafficPolicy"), report);
    }
    let field = at.field("subsets");
    let mut names_seen = HashSet::new();
    for (index, subset) in rule.subsets.iter().enumerate() {
        let at = field.index(index);
        let name = at.field("name");
        if values::required(&subset.name, subset.position, &name, report, "give the subset a name") {
            values::text(&subset.name, names::dns_label, &name, report, "");
            if !names_seen.insert(&subset.name.value) {
                let message = format_args!("{:?} is the name of an earlier subset", subset.name.value);
                report.error(subset.name.position, &name, message, Some("give each subset its own"));
            }
        }
        values::labels(&subset.labels, subset.position, &at.field("labels"), report);
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(policy, &at.field("trafficPolicy"), report);
        }
    }
    values::export_to(&rule.export_to, id, false, at, report);
    let own = |entry: &crate::decode::Text| *entry.value == *"." || entry.value == id.namespace;
    if let (Some(selector), Some(entry)) = (&rule.workload_selector, rule.export_to.iter().find(|entry| !own(entry))) {
        let message = "must be the own namespace only, as there is a workloadSelector";
        report.error(entry.position, &at.field("exportTo"), message, Some("write exportTo: [\".\"]"));
        values::labels(&selector.match_labels, selector.position, &at.field("workloadSelector"), report);
    }
}

fn traffic_policy(policy: &TrafficPolicy, at: &Path<'_>, report: &mut Report) {
    let nothing = policy.load_balancer.is_none()
        && policy.connection_pool.is_none()
        && policy.outlier_detection.is_none()
        && policy.tls.is_none()
        && policy.port_level_settings.is_empty()
        && policy.tunnel.is_none()
        && policy.proxy_protocol.is_none()
        && policy.retry_budget.is_none();
    if nothing {
        report.error(policy.position, at, "must not be empty", Some("remove it or fill it in"));
    }
    if let (Some(tunnel), Some(_)) = (&policy.tunnel, &policy.proxy_protocol) {
        report.error(
            tunnel.position,
            &at.field("tunnel"),
            "must not stand beside proxyProtocol",
            Some("keep one of the two"),
        );
    }
    if let Some(balancer) = &policy.load_balancer {
        load_balancer::check(balancer, policy.outlier_detection.as_ref(), &at.field("loadBalancer"), report);
    }
    if let Some(pool) = &policy.connection_pool {
        connection_pool(pool, &at.field("connectionPool"), report);
    }
    if let Some(outlier) = &policy.outlier_detection {
        outlier_detection(outlier, &at.field("outlierDetection"), report);
    }
    if let Some(settings) = &policy.tls {
        client_tls(settings, &at.field("tls"), report);
    }
    if let Some(tunnel) = &policy.tunnel {
        self::tunnel(tunnel, &at.field("tunnel"), report);
    }
    let field = at.field("portLevelSettings");
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        port_policy(port, &field.index(index), report);
    }
}

fn client_tls(settings: &ClientTlsSettings, at: &Path<'_>, report: &mut Report) {
    tls::client(settings, at, report);
    if settings.mode.value != ClientTlsMode::Disable {
        let what = format!("TLS of mode {} towards a service", settings.mode.value);
        report.not_honoured(settings.mode.position, &at.field("mode"), what);
    }
}

fn port_policy(policy: &PortTrafficPolicy, at: &Path<'_>, report: &mut Report) {
    let field = at.field("port");
    if policy.port.is_none() {
        report.error(policy.position, &field, "is required", Some("write port: {number: 80}"));
    }
    values::selector(policy.port.as_ref(), &field, report);
    let nothing = policy.load_balancer.is_none()
        && policy.connection_pool.is_none()
        && policy.outlier_detection.is_none()
        && policy.tls.is_none();
    if nothing {
        report.error(policy.position, at, "must not be empty", Some("remove it or fill it in"));
    }
    if let Some(balancer) = &policy.load_balancer {
        load_balancer::check(balancer, policy.outlier_detection.as_ref(), &at.field("loadBalancer"), report);
    }
    if let Some(pool) = &policy.connection_pool {
        connection_pool(pool, &at.field("connectionPool"), report);
    }
    if let Some(outlier) = &policy.outlier_detection {
        outlier_detection(outlier, &at.field("outlierDetection"), report);
    }
    if let Some(settings) = &policy.tls {
        client_tls(settings, &at.field("tls"), report);
    }
}

pub(super) fn connection_pool(pool: &ConnectionPoolSettings, at: &Path<'_>, report: &mut Report) {
    if pool.tcp.is_none() && pool.http.is_none() {
        report.error(pool.position, at, "must not be empty", Some("write tcp or http settings"));
    }
    if let Some(tcp) = &pool.tcp {
        tcp_settings(tcp, &at.field("tcp"), report);
    }
    if let Some(http) = &pool.http {
        http_settings(http, &at.field("http"), report);
    }
}

fn tcp_settings(tcp: &TcpSettings, at: &Path<'_>, report: &mut Report) {
    values::not_negative(&tcp.max_connections, &at.field("maxConnections"), report);
    values::duration(tcp.connect_timeout.as_ref(), &at.field("connectTimeout"), report);
    values::duration(tcp.max_connection_duration.as_ref(), &at.field("maxConnectionDuration"), report);
    values::duration(tcp.idle_timeout.as_ref(), &at.field("idleTimeout"), report);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let at = at.field("tcpKeepalive");
        values::duration(keepalive.time.as_ref(), &at.field("time"), report);
        values::duration(keepalive.interval.as_ref(), &at.field("interval"), report);
    }
}

fn http_settings(http: &HttpSettings, at: &Path<'_>, report: &mut Report) {
    let counts = [
        ("http1MaxPendingRequests", &http.http1_max_pending_requests),
        ("http2MaxRequests", &http.http2_max_requests),
        ("maxRequestsPerConnection", &http.max_requests_per_connection),
        ("maxRetries", &http.max_retries),
        ("maxConcurrentStreams", &http.max_concurrent_streams),
    ];
    for (name, count) in counts {
        values::not_negative(count, &at.field(name), report);
    }
    values::duration(http.idle_timeout.as_ref(), &at.field("idleTimeout"), report);
    if http.h2_upgrade_policy.value == H2UpgradePolicy::Upgrade && http.use_client_protocol.value {
        let message = "must not be true with h2UpgradePolicy UPGRADE";
        report.error(http.use_client_protocol.position, &at.field("useClientProtocol"), message, None);
    }
}

fn outlier_detection(outlier: &OutlierDetection, at: &Path<'_>, report: &mut Report) {
    values::duration(outlier.base_ejection_time.as_ref(), &at.field("baseEjectionTime"), report);
    values::duration(outlier.interval.as_ref(), &at.field("interval"), report);
    values::percent(&outlier.max_ejection_percent, &at.field("maxEjectionPercent"), report);
    values::percent(&outlier.min_health_percent, &at.field("minHealthPercent"), report);
    if outlier.consecutive_errors.value != 0 {
        let hint = Some("use consecutive5xxErrors or consecutiveGatewayErrors");
        report.warning(outlier.consecutive_errors.position, &at.field("consecutiveErrors"), "is deprecated", hint);
    }
    if let Some(failures) = &outlier.consecutive_local_origin_failures
        && failures.value > 0
        && !outlier.split_external_local_origin_errors.value
    {
        let hint = Some("write splitExternalLocalOriginErrors: true");
        let message = "needs splitExternalLocalOriginErrors";
        report.error(failures.position, &at.field("consecutiveLocalOriginFailures"), message, hint);
    }
}

fn tunnel(tunnel: &TunnelSettings, at: &Path<'_>, report: &mut Report) {
    if !matches!(&*tunnel.protocol.value, "" | "CONNECT" | "POST") {
        let message = format_args!("must be CONNECT or POST, found {:?}", tunnel.protocol.value);
        report.error(tunnel.protocol.position, &at.field("protocol"), message, None);
    }
    let host = at.field("targetHost");
    if values::required(&tunnel.target_host, tunnel.position, &host, report, "name where the tunnel ends")
        && !names::is_ip(&tunnel.target_host.value)
    {
        values::text(&tunnel.target_host, names::fqdn, &host, report, "write a host name or an address");
    }
    values::port(&tunnel.target_port, tunnel.position, &at.field("targetPort"), report);
}
