//! Rules for `Gateway`.

use std::collections::HashSet;

use super::{names, tls, values};
use crate::decode::{Path, Report};
use crate::resource::{Gateway, Port, Resource, Server, ServerTlsMode};

pub(super) fn check(gateway: &Gateway, resource: &Resource, at: &Path<'_>, report: &mut Report) {
    let metadata = Path::ROOT.field("metadata");
    values::text(&resource.metadata.name, names::dns_label, &metadata.field("name"), report, "rename the Gateway");
    values::labels(&gateway.selector, gateway.position, &at.field("selector"), report);
    let field = at.field("servers");
    if gateway.servers.is_empty() {
        report.error(gateway.position, &field, "is required", Some("write at least one server"));
    }
    let mut port_names = HashSet::new();
    for (index, server) in gateway.servers.iter().enumerate() {
        let at = field.index(index);
        self::server(server, &at, report);
        let Some(port) = &server.port else { continue };
        if !port.name.value.is_empty() && !port_names.insert(&port.name.value) {
            let message = format_args!("{:?} is the name of an earlier port", port.name.value);
            report.error(port.name.position, &at.field("port").field("name"), message, Some("give each port its own"));
        }
    }
}

fn server(server: &Server, at: &Path<'_>, report: &mut Report) {
    let hosts = at.field("hosts");
    if server.hosts.is_empty() {
        report.error(server.position, &hosts, "is required", Some("name the hosts, or write \"*\""));
    }
    for (index, host) in server.hosts.iter().enumerate() {
        let hint = "write a name such as shop.example, *.shop.example or NAMESPACE/shop.example";
        values::text(host, |host| names::namespaced_host(host, true), &hosts.index(index), report, hint);
    }
    let unix = server.bind.value.strip_prefix("unix://");
    let bind = at.field("bind");
    match unix {
        Some(path) => values::text(&server.bind, |_| names::unix_path(path), &bind, report, ""),
        None if server.bind.value.is_empty() => {}
        None => values::text(&server.bind, names::ip, &bind, report, "write an address such as 127.0.0.1"),
    }
    match &server.port {
        None => {
            report.error(server.position, &at.field("port"), "is required", Some("write number, name and protocol"));
        }
        Some(port) => self::port(port, server, unix.is_some(), at, report),
    }
    if let Some(settings) = &server.tls {
        tls::server(settings, &at.field("tls"), report);
    }
}

fn port(port: &Port, server: &Server, unix: bool, at: &Path<'_>, report: &mut Report) {
    let field = at.field("port");
    let number = field.field("number");
    if unix && port.number.value != 0 {
        report.error(port.number.position, &number, "must be 0 with a Unix socket", None);
    } else if !unix {
        values::port(&port.number, port.position, &number, report);
    }
    if port.target_port.value > 0 {
        report.error(
            port.target_port.position,
            &field.field("targetPort"),
            "has no meaning in a Gateway",
            Some("remove it"),
        );
    }
    values::required(&port.name, port.position, &field.field("name"), report, "give the port a name");
    let name = field.field("protocol");
    if !values::required(&port.protocol, port.position, &name, report, "write HTTP, HTTPS, HTTP2, GRPC, TLS or TCP") {
        return;
    }
    let Some(protocol) = values::protocol(&port.protocol, &name, report) else { return };
    if port.protocol.eq_ignore_ascii_case("GRPC-WEB") {
        report.not_honoured(port.protocol.position, &name, "the translation of gRPC-Web");
    }
    self::protocol(protocol, port, server, at, report);
}

/// TLS settings go with TLS ports; a plain HTTP port may have the redirect only.
fn protocol(protocol: names::Protocol, port: &Port, server: &Server, at: &Path<'_>, report: &mut Report) {
    let field = at.field("tls");
    match (protocol, &server.tls) {
        (names::Protocol::Tls, None) => {
            let message = format_args!("is required for {}", port.protocol.value);
            report.error(server.position, &field, message, Some("write mode and credentialName"));
        }
        (names::Protocol::Http, Some(tls)) => {
            let plain = matches!(tls.mode.value, ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough);
            let certificates = [&tls.ca_certificates, &tls.private_key, &tls.server_certificate];
            if !plain || certificates.iter().any(|text| !text.value.is_empty()) {
                let hint = Some("use protocol HTTPS, or keep only httpsRedirect");
                report.error(tls.position, &field, "must not be set for plain HTTP", hint);
            }
        }
        (names::Protocol::Tcp, Some(tls)) => {
            let message = format_args!("must not be set for {}", port.protocol.value);
            report.error(tls.position, &field, message, Some("use protocol TLS"));
        }
        _ => {}
    }
}
