//! Which version of HTTP back ends are spoken to in.
//! Source: Istio, "Protocol Selection", `ConnectionPoolSettings.HTTPSettings`; `ClusterBuilder.setUpstreamProtocol`.

use crate::model::BackEndProtocol;
use crate::resource::{ConnectionPoolSettings, H2UpgradePolicy, MeshConfig, MeshH2UpgradePolicy};

use super::services::{Port, Service};

/// What a service's port says of the version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Declared {
    /// HTTP/2 with prior knowledge, as gRPC has it.
    Http2,
    /// HTTP.
    Http,
    /// Nothing, or something else.
    Other,
}

/// What `port` is spoken to in, with these settings of its connections.
pub(super) fn of(
    port: Option<&Port<'_>>,
    pool: Option<&ConnectionPoolSettings>,
    mesh: Option<&MeshConfig>,
) -> BackEndProtocol {
    let http = pool.and_then(|pool| pool.http.as_deref());
    if http.is_some_and(|http| *http.use_client_protocol) {
        return BackEndProtocol::Clients;
    }
    let declared = port.map_or(Declared::Other, declared);
    let of_rule = http.map_or(H2UpgradePolicy::Default, |http| http.h2_upgrade_policy.value);
    let of_mesh = mesh.is_some_and(|mesh| *mesh.h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade);
    let is_http2 = match of_rule {
        _ if declared == Declared::Http2 => true,
        // Whoever says so for a service knows that it speaks HTTP.
        H2UpgradePolicy::Upgrade => true,
        H2UpgradePolicy::DoNotUpgrade => false,
        H2UpgradePolicy::Default => of_mesh && declared == Declared::Http,
    };
    if is_http2 { BackEndProtocol::Http2 } else { BackEndProtocol::Http1 }
}

fn declared(port: &Port<'_>) -> Declared {
    let found = match port.service {
        Service::Entry(item) => {
            let written = item.spec.ports.iter().find(|known| *known.number == port.number);
            written.map(|written| of_name(&written.protocol))
        }
        Service::Kubernetes(item) => {
            let mut ports = item.spec.spec.iter().flat_map(|spec| &spec.ports);
            let written = ports.find(|known| *known.port == port.number);
            written.map(|written| of_kubernetes(&written.name, &written.app_protocol))
        }
    };
    found.unwrap_or(Declared::Other)
}

/// By `appProtocol`, else by the beginning of the port's name.
fn of_kubernetes(name: &str, app_protocol: &str) -> Declared {
    match app_protocol {
        "kubernetes.io/h2c" => return Declared::Http2,
        "kubernetes.io/ws" => return Declared::Http,
        _ => {}
    }
    let written = if app_protocol.is_empty() { name } else { app_protocol };
    let is_grpc_web = written.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("grpc-web"));
    if is_grpc_web { Declared::Http2 } else { of_name(written.split('-').next().unwrap_or(written)) }
}

fn of_name(name: &str) -> Declared {
    match &*name.to_ascii_lowercase() {
        "http2" | "grpc" | "grpc-web" => Declared::Http2,
        "http" => Declared::Http,
        _ => Declared::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_told_by_app_protocol_then_by_the_ports_name() {
        for (name, app_protocol, declared) in [
            ("grpc", "", Declared::Http2),
            ("grpc-x", "", Declared::Http2),
            ("grpc-web-x", "", Declared::Http2),
            ("http2-x", "", Declared::Http2),
            ("GRPC", "", Declared::Http2),
            ("http-grpc", "", Declared::Http),
            ("http", "kubernetes.io/h2c", Declared::Http2),
            ("grpc", "http", Declared::Http),
            ("grpc", "kubernetes.io/ws", Declared::Http),
            ("grpcx", "", Declared::Other),
            ("https", "", Declared::Other),
            ("", "", Declared::Other),
        ] {
            assert_eq!(of_kubernetes(name, app_protocol), declared, "{name} {app_protocol}");
        }
    }
}
