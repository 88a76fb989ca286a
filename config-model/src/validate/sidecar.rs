//! Rules for `Sidecar`. What it says of traffic to the workload is not honoured yet.

use std::collections::HashSet;

use super::{destination_rule, names, tls, values};
use crate::decode::{Path, Report, Text};
use crate::origin::Position;
use crate::resource::{
    CaptureMode, IstioEgressListener, IstioIngressListener, OutboundTrafficPolicyMode, ServerTlsMode,
    ServerTlsSettings, Sidecar, SidecarPort,
};

pub(super) fn check(sidecar: &Sidecar, at: &Path<'_>, report: &mut Report) {
    if let Some(first) = sidecar.ingress.first() {
        report.not_honoured(first.position, &at.field("ingress"), "traffic to the workload");
    }
    if let Some(pool) = &sidecar.inbound_connection_pool {
        report.not_honoured(pool.position, &at.field("inboundConnectionPool"), "traffic to the workload");
    }
    values::workloads(sidecar.workload_selector.as_ref(), at, report);
    let nothing = sidecar.egress.is_empty()
        && sidecar.ingress.is_empty()
        && sidecar.outbound_traffic_policy.is_none()
        && sidecar.inbound_connection_pool.is_none();
    if nothing {
        report.error(sidecar.position, at, "must not be empty", Some("write egress, ingress or outboundTrafficPolicy"));
    }
    if let Some(pool) = &sidecar.inbound_connection_pool {
        destination_rule::connection_pool(pool, &at.field("inboundConnectionPool"), report);
    }
    let field = at.field("ingress");
    let mut ports = HashSet::new();
    for (index, listener) in sidecar.ingress.iter().enumerate() {
        ingress(listener, &mut ports, &field.index(index), report);
    }
    let field = at.field("egress");
    let mut sockets = HashSet::new();
    let last = sidecar.egress.len().saturating_sub(1);
    for (index, listener) in sidecar.egress.iter().enumerate() {
        let at = field.index(index);
        if listener.port.is_none() && index != last {
            report.error(listener.position, &at, "has no port and so must be the last", Some("move it to the end"));
        }
        egress(listener, &mut sockets, &at, report);
    }
    outbound(sidecar, &at.field("outboundTrafficPolicy"), report);
}

fn outbound(sidecar: &Sidecar, at: &Path<'_>, report: &mut Report) {
    let Some(policy) = &sidecar.outbound_traffic_policy else { return };
    let Some(proxy) = &policy.egress_proxy else { return };
    let at = at.field("egressProxy");
    if policy.mode.value != OutboundTrafficPolicyMode::AllowAny {
        report.error(proxy.position, &at, "needs mode ALLOW_ANY", Some("write mode: ALLOW_ANY"));
    }
    if proxy.port.is_none() {
        report.error(proxy.position, &at.field("port"), "is required", Some("write port: {number: 80}"));
    }
    values::destination(proxy, &at, report);
    let host = &proxy.host.value;
    if names::wildcard_host(host).is_ok() && names::fqdn(host).is_err() {
        let message = format_args!("must be a single host, found {host:?}");
        report.error(proxy.host.position, &at.field("host"), message, Some("name the proxy"));
    }
}

fn port(port: &SidecarPort, at: &Path<'_>, report: &mut Report) {
    if !port.name.value.is_empty() {
        values::text(&port.name, names::dns_label, &at.field("name"), report, "");
    }
    if !port.protocol.value.is_empty() {
        values::protocol(&port.protocol, &at.field("protocol"), report);
    }
    if port.target_port.value > 0 {
        report.error(
            port.target_port.position,
            &at.field("targetPort"),
            "has no meaning in a Sidecar",
            Some("remove it"),
        );
    }
}

fn ingress(listener: &IstioIngressListener, ports: &mut HashSet<u16>, at: &Path<'_>, report: &mut Report) {
    let field = at.field("port");
    match &listener.port {
        None => report.error(listener.position, &field, "is required", Some("write number and protocol")),
        Some(port) => {
            self::port(port, &field, report);
            values::port(&port.number, port.position, &field.field("number"), report);
            if !ports.insert(port.number.value) {
                let message = format_args!("{} is the port of an earlier listener", port.number.value);
                report.error(port.number.position, &field.field("number"), message, None);
            }
        }
    }
    if !listener.bind.value.is_empty() {
        values::text(&listener.bind, names::ip, &at.field("bind"), report, "");
    }
    if !listener.default_endpoint.value.is_empty() {
        values::text(&listener.default_endpoint, default_endpoint, &at.field("defaultEndpoint"), report, "");
    }
    if let Some(pool) = &listener.connection_pool {
        destination_rule::connection_pool(pool, &at.field("connectionPool"), report);
    }
    let Some(settings) = &listener.tls else { return };
    let at = at.field("tls");
    let protocol = listener.port.as_ref().map_or("", |port| &*port.protocol.value);
    if names::protocol(protocol) != Some(names::Protocol::Tls) {
        report.error(settings.position, &at, "must not be set for plain text", Some("use protocol HTTPS or TLS"));
    }
    not_of_sidecars(settings, &at, report);
    if matches!(settings.mode.value, ServerTlsMode::IstioMutual | ServerTlsMode::AutoPassthrough) {
        let message = format_args!("must not be {} in a Sidecar", settings.mode.value);
        report.error(settings.mode.position, &at.field("mode"), message, None);
    }
    if settings.https_redirect.value {
        report.error(settings.https_redirect.position, &at.field("httpsRedirect"), "has no meaning in a Sidecar", None);
    }
    tls::server(settings, &at, report);
}

/// Certificates of the workload come from files, and its clients are not asked for names.
fn not_of_sidecars(settings: &ServerTlsSettings, at: &Path<'_>, report: &mut Report) {
    let given = [
        ("subjectAltNames", settings.subject_alt_names.first().map(|name| name.position)),
        (
            "credentialName",
            Some(settings.credential_name.position).filter(|_| !settings.credential_name.value.is_empty()),
        ),
        ("credentialNames", settings.credential_names.first().map(|name| name.position)),
        ("tlsCertificates", settings.tls_certificates.first().map(|pair| pair.position)),
    ];
    for (name, position) in given.iter().filter_map(|(name, position)| Some((name, (*position)?))) {
        report.error(position, &at.field(name), "must not be set in a Sidecar", Some("remove it"));
    }
}

/// `127.0.0.1:PORT`, `[::1]:PORT`, `:PORT` or `unix://PATH`.
fn default_endpoint(text: &str) -> Result<(), String> {
    if let Some(path) = text.strip_prefix("unix://") {
        return names::unix_path(path);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let known = matches!(host, "" | "127.0.0.1" | "0.0.0.0" | "[::1]" | "[::]");
    if known && port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Ok(());
    }
    Err(format!("must be 127.0.0.1:PORT, 0.0.0.0:PORT, [::1]:PORT, [::]:PORT or unix://PATH, found {text:?}"))
}

fn egress<'a>(
    listener: &'a IstioEgressListener,
    sockets: &mut HashSet<(u16, &'a str)>,
    at: &Path<'_>,
    report: &mut Report,
) {
    let hosts = at.field("hosts");
    if listener.hosts.is_empty() {
        report.error(listener.position, &hosts, "is required", Some("write \"*/*\" for all services"));
    }
    for (index, host) in listener.hosts.iter().enumerate() {
        values::text(host, |host| names::namespaced_host(host, false), &hosts.index(index), report, "");
    }
    let Some(port) = &listener.port else { return };
    let field = at.field("port");
    self::port(port, &field, report);
    let number = field.field("number");
    let bind = &listener.bind;
    if port.number.value == 0 {
        socket(bind, port.position, &at.field("bind"), report);
        if listener.capture_mode.value == CaptureMode::Iptables {
            let message = "must be NONE for a Unix socket";
            report.error(listener.capture_mode.position, &at.field("captureMode"), message, None);
        }
    } else if !bind.value.is_empty() {
        values::text(bind, names::ip, &at.field("bind"), report, "");
    }
    let unix = if port.number.value == 0 { &*bind.value } else { "" };
    if !sockets.insert((port.number.value, unix)) {
        report.error(port.number.position, &number, "is the port of an earlier listener", None);
    }
}

fn socket(bind: &Text, position: Position, at: &Path<'_>, report: &mut Report) {
    match bind.value.strip_prefix("unix://") {
        Some(path) => values::text(bind, |_| names::unix_path(path), at, report, ""),
        None => {
            let message = "must be a Unix socket (unix://PATH), as the port is 0";
            report.error(values::place(bind, position), at, message, None);
        }
    }
}
