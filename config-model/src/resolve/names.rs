//! Names as a resource writes them, made whole: short hosts, gateway references, hosts of a Gateway's server.
//! Source: Istio, `Destination.host`, `VirtualService.gateways`, `Server.hosts`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::name::HostPattern;

/// Domain of services, as every cluster has it unless its kubelet says otherwise.
pub(crate) const CLUSTER_DOMAIN: &str = "svc.cluster.local";

/// The reserved name of the mesh's own sidecars among gateways.
pub(crate) const MESH: &str = "mesh";

/// `host` in lower case; one without a dot is completed with `namespace`, that of the resource that names it.
pub(crate) fn full_host(host: &str, namespace: &str) -> Arc<str> {
    if host.contains('.') || host == "*" || host.parse::<IpAddr>().is_ok() {
        return lower(host);
    }
    let mut full = String::with_capacity(host.len() + namespace.len() + CLUSTER_DOMAIN.len() + 2);
    full.push_str(host);
    full.push('.');
    full.push_str(namespace);
    full.push('.');
    full.push_str(CLUSTER_DOMAIN);
    full.make_ascii_lowercase();
    full.into()
}

/// `text` in lower case.
pub(crate) fn lower(text: &str) -> Arc<str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

/// Service name and namespace, if `host` is that of a Kubernetes Service.
pub(crate) fn kubernetes_service(host: &str) -> Option<(&str, &str)> {
    let (name, namespace) = host.strip_suffix(CLUSTER_DOMAIN)?.strip_suffix('.')?.split_once('.')?;
    (!name.is_empty() && !namespace.is_empty() && !namespace.contains('.')).then_some((name, namespace))
}

/// Namespace and name of the Gateway that `reference` means in a resource of `namespace`. Besides `NAME` and
/// `NAMESPACE/NAME` there is the old form `NAME.NAMESPACE.svc.cluster.local`.
pub(crate) fn gateway<'a>(reference: &'a str, namespace: &'a str) -> (&'a str, &'a str) {
    if reference == MESH {
        return ("", MESH);
    }
    if let Some((of, name)) = reference.split_once('/') {
        return (if of == "." { namespace } else { of }, name);
    }
    match reference.split_once('.') {
        Some((name, rest)) => (rest.split_once('.').map_or(rest, |(of, _)| of), name),
        None => (namespace, reference),
    }
}

/// A host of a Gateway's server: `shop.example`, `team-a/shop.example`, `./shop.example`, `*/shop.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerHost<'a> {
    /// Namespace of the VirtualServices that it takes; any if `None`.
    pub(crate) namespace: Option<&'a str>,
    /// The hosts.
    pub(crate) pattern: HostPattern,
}

impl<'a> ServerHost<'a> {
    /// Reads a host of a Gateway that is in `namespace`.
    pub(crate) fn parse(host: &'a str, namespace: &'a str) -> Self {
        let (of, pattern) = match host.split_once('/') {
            None | Some(("*", _)) => (None, host.rsplit('/').next().unwrap_or(host)),
            Some((".", pattern)) => (Some(namespace), pattern),
            Some((of, pattern)) => (Some(of), pattern),
        };
        Self { namespace: of, pattern: HostPattern::parse(pattern) }
    }

    /// Whether VirtualServices of `namespace` may serve this host.
    pub(crate) fn takes(&self, namespace: &str) -> bool {
        self.namespace.is_none_or(|of| of == namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_a_dot_is_of_the_namespace_that_names_it() {
        let table = [
            ("reviews", "reviews.default.svc.cluster.local"),
            ("Reviews", "reviews.default.svc.cluster.local"),
            ("reviews.team", "reviews.team"),
            ("Shop.Example", "shop.example"),
            ("*", "*"),
            ("10.0.0.1", "10.0.0.1"),
            ("::1", "::1"),
        ];
        for (host, want) in table {
            assert_eq!(&*full_host(host, "default"), want, "{host}");
        }
    }

    #[test]
    fn only_a_name_with_namespace_and_cluster_domain_is_a_kubernetes_service() {
        let table = [
            ("reviews.default.svc.cluster.local", Some(("reviews", "default"))),
            ("a.b.default.svc.cluster.local", None),
            ("reviews.svc.cluster.local", None),
            ("reviews.default", None),
            (".default.svc.cluster.local", None),
        ];
        for (host, want) in table {
            assert_eq!(kubernetes_service(host), want, "{host}");
        }
    }

    #[test]
    fn a_bare_gateway_is_of_the_resources_own_namespace() {
        let table = [
            ("web", ("default", "web")),
            ("team/web", ("team", "web")),
            ("./web", ("default", "web")),
            ("web.team", ("team", "web")),
            ("web.team.svc.cluster.local", ("team", "web")),
        ];
        for (reference, want) in table {
            assert_eq!(gateway(reference, "default"), want, "{reference}");
        }
    }

    #[test]
    fn a_server_host_with_a_namespace_takes_virtual_services_of_that_one_only() {
        let table = [
            ("a.example", "other", true),
            ("*/a.example", "other", true),
            ("./a.example", "own", true),
            ("./a.example", "other", false),
            ("team/a.example", "team", true),
            ("team/a.example", "own", false),
        ];
        for (host, namespace, want) in table {
            let host = ServerHost::parse(host, "own");
            assert_eq!(host.pattern, HostPattern::parse("a.example"));
            assert_eq!(host.takes(namespace), want, "{host:?} for {namespace}");
        }
        assert_eq!(ServerHost::parse("*/*", "own").pattern, HostPattern::Any);
    }
}
