//! Rules for `DestinationRule`; those for endpoint choice are in `load_balancer`.

use std::collections::HashSet;

use super::{load_balancer, names, outlier_detection, tls, values};
use crate::decode::{Path, Report};
use crate::origin::ResourceId;
use crate::resource::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, H2UpgradePolicy, HttpSettings, OutlierDetection,
    PortTrafficPolicy, RetryBudget, TcpKeepalive, TcpSettings, TrafficPolicy, TunnelSettings,
};

pub(super) fn check(rule: &DestinationRule, id: &ResourceId, at: &Path<'_>, report: &mut Report) {
    let host = at.field("host");
    if values::required(&rule.host, rule.position, &host, report, "name a service") {
        values::text(&rule.host, names::wildcard_host, &host, report, "name a service, as reviews or *.example");
    }
    let of_rule = rule.traffic_policy.as_deref();
    if let Some(policy) = of_rule {
        traffic_policy(policy, None, &at.field("trafficPolicy"), report);
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
            let inherited = of_rule.and_then(|policy| policy.outlier_detection.as_ref());
            traffic_policy(policy, inherited, &at.field("trafficPolicy"), report);
        }
    }
    values::export_to(&rule.export_to, id, false, at, report);
    let own = |entry: &crate::decode::Text| *entry.value == *"." || entry.value == id.namespace;
    if let (Some(_), Some(entry)) = (&rule.workload_selector, rule.export_to.iter().find(|entry| !own(entry))) {
        let message = "must be the own namespace only, as there is a workloadSelector";
        report.error(entry.position, &at.field("exportTo"), message, Some("write exportTo: [\".\"]"));
    }
    if let Some(selector) = &rule.workload_selector {
        let selector_field = at.field("workloadSelector");
        values::selecting(&selector.match_labels, selector.position, &selector_field.field("matchLabels"), report);
    }
}

/// `inherited` is the ejection of the rule, for the policy of a subset.
fn traffic_policy(policy: &TrafficPolicy, inherited: Option<&OutlierDetection>, at: &Path<'_>, report: &mut Report) {
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
        let outlier = policy.outlier_detection.as_ref().or(inherited);
        load_balancer::check(balancer, outlier, &at.field("loadBalancer"), report);
    }
    if let Some(pool) = &policy.connection_pool {
        connection_pool(pool, &at.field("connectionPool"), report);
    }
    if let Some(outlier) = &policy.outlier_detection {
        outlier_detection::check(outlier, &at.field("outlierDetection"), report);
    }
    if let Some(settings) = &policy.tls {
        client_tls(settings, &at.field("tls"), report);
    }
    if let Some(tunnel) = &policy.tunnel {
        self::tunnel(tunnel, &at.field("tunnel"), report);
    }
    if let Some(budget) = &policy.retry_budget {
        retry_budget(budget, &at.field("retryBudget"), report);
        let http = policy.connection_pool.as_ref().and_then(|pool| pool.http.as_ref());
        if let Some(http) = http.filter(|http| http.max_retries.value > 0) {
            let at = at.field("connectionPool");
            let at = at.field("http");
            let message = "has no effect beside retryBudget, which limits retries instead";
            report.warning(http.max_retries.position, &at.field("maxRetries"), message, Some("keep one of the two"));
        }
    }
    let field = at.field("portLevelSettings");
    let mut ports = HashSet::new();
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let at = field.index(index);
        port_policy(port, &at, report);
        if let Some(selector) = port.port.as_ref().filter(|selector| !ports.insert(selector.number.value)) {
            let message = format_args!("has no effect: earlier settings are for port {} too", selector.number.value);
            report.warning(selector.position, &at.field("port"), message, Some("put them together"));
        }
    }
}

fn client_tls(settings: &ClientTlsSettings, at: &Path<'_>, report: &mut Report) {
    tls::client(settings, at, report);
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
        outlier_detection::check(outlier, &at.field("outlierDetection"), report);
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
    // Zero switches it off, as does what is no millisecond.
    let idle_timeout = tcp.idle_timeout.as_ref().filter(|timeout| timeout.nanoseconds.abs() >= values::MILLISECOND);
    values::duration(idle_timeout, &at.field("idleTimeout"), report);
    if let Some(keepalive) = &tcp.tcp_keepalive {
        self::keepalive(keepalive, &at.field("tcpKeepalive"), report);
    }
}

pub(super) fn keepalive(keepalive: &TcpKeepalive, at: &Path<'_>, report: &mut Report) {
    values::duration(keepalive.time.as_ref(), &at.field("time"), report);
    values::duration(keepalive.interval.as_ref(), &at.field("interval"), report);
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
    if let Some(pings) = &http.http2_keep_alive {
        let at = at.field("http2KeepAlive");
        for (name, duration) in [("interval", &pings.interval), ("timeout", &pings.timeout)] {
            let at = at.field(name);
            if duration.is_none() {
                report.error(pings.position, &at, "is required", Some("write a duration such as 30s"));
            }
            values::duration(duration.as_ref(), &at, report);
        }
    }
    if http.h2_upgrade_policy.value == H2UpgradePolicy::Upgrade && http.use_client_protocol.value {
        let message = "must not be true with h2UpgradePolicy UPGRADE";
        report.error(http.use_client_protocol.position, &at.field("useClientProtocol"), message, None);
    }
}

fn retry_budget(budget: &RetryBudget, at: &Path<'_>, report: &mut Report) {
    if let Some(percent) = budget.percent.as_ref().filter(|percent| !(0.0..=100.0).contains(&percent.value)) {
        let message = format_args!("must be from 0 to 100 percent, found {}", percent.value);
        report.error(percent.position, &at.field("percent"), message, Some("write a percentage"));
    }
    // None at all is how the requests that are active are asked for.
    let interval = budget.budget_interval.as_ref().filter(|interval| interval.nanoseconds != 0);
    values::duration(interval, &at.field("budgetInterval"), report);
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
