//! What resolving finds: resources and rules that could not be used. Nothing of it refuses a file.

use crate::diagnostic::{Code, Diagnostic, Level};
use crate::name::HostPattern;
use crate::origin::Origin;
use crate::resource::{Resource, TlsMatchAttributes, VirtualService};

use super::gateway::GatewayServer;
use super::rule::Source;
use super::set::{Item, ResourceSet};

/// Resources among which a name is sought that could have been meant: routes don't wait for more.
const COMPARED_MAX: usize = 500;

/// Two resources of one name, of which `first` stands.
pub(super) fn duplicate(first: &Resource, second: &Resource) -> Diagnostic {
    let origin = second.origin(second.metadata.name.position);
    let first = first.origin(first.metadata.name.position);
    let message = format!("{} is defined twice; the one in {first} stands", second.id);
    Diagnostic {
        reference: Some(first),
        hint: Some("rename or remove one of them".to_owned()),
        ..Diagnostic::new(Code::DuplicateResource, Level::Warning, &origin, message)
    }
}

/// An address that can't be bound.
pub(super) fn unusable_bind(origin: &Origin, bind: &str) -> Diagnostic {
    let message = format!("bind {bind:?} is no IP address; the server is left out");
    Diagnostic::new(Code::NotHonoured, Level::Warning, origin, message)
}

fn delegate(root: Source<'_>) -> Origin {
    let position = root.rule.delegate.as_ref().map_or(root.rule.position, |delegate| delegate.name.position);
    root.origin(position)
}

/// No VirtualService of that name could be a delegate.
pub(super) fn missing_delegate(
    resources: &ResourceSet,
    root: Source<'_>,
    namespace: &str,
    has_hosts: bool,
) -> Diagnostic {
    let name = root.rule.delegate.as_ref().map_or("", |delegate| &*delegate.name.value);
    let message = format!("Referenced delegate not found: \"{namespace}/{name}\"");
    let near = || {
        let is_small = resources.len() <= COMPARED_MAX;
        let near = is_small.then(|| resources.near::<VirtualService>(namespace, name)).flatten();
        near.map(|near| format!("did you mean {near}?"))
    };
    let hint = if has_hosts { Some("a delegate must not have hosts".to_owned()) } else { near() };
    Diagnostic { hint, ..Diagnostic::new(Code::ReferencedResourceNotFound, Level::Error, &delegate(root), message) }
}

/// The delegate's `exportTo` does not include the root's namespace.
pub(super) fn hidden_delegate(root: Source<'_>, found: Item<'_, VirtualService>) -> Diagnostic {
    let message = format!("{} is not exported to namespace {}", found.resource.id, root.virtual_service.namespace());
    Diagnostic {
        reference: Some(found.own_origin()),
        ..Diagnostic::new(Code::ReferencedResourceNotFound, Level::Error, &delegate(root), message)
    }
}

/// A delegate's rule that delegates again.
pub(super) fn nested_delegate(root: Source<'_>, own: Source<'_>) -> Diagnostic {
    let message = "a delegate's rule must not delegate again; it is left out".to_owned();
    Diagnostic {
        reference: Some(delegate(root)),
        ..Diagnostic::new(Code::UnreachableRule, Level::Warning, &delegate(own), message)
    }
}

/// A delegate's rule whose matches contradict those of the rule that delegates to it.
pub(super) fn contradicting_delegate(root: Source<'_>, own: Source<'_>) -> Diagnostic {
    let message = format!(
        "VirtualService rule #{} not used (its matches contradict those of {} rule #{}, which delegates to it).",
        own.index, root.virtual_service.resource.id, root.index
    );
    Diagnostic {
        reference: Some(root.origin(root.rule.position)),
        hint: Some("each match has to lie within one of the root's".to_owned()),
        ..Diagnostic::new(Code::UnreachableRule, Level::Warning, &own.origin(own.rule.position), message)
    }
}

/// A server whose port another server has taken for something else.
pub(super) fn other_protocol(server: &GatewayServer<'_>, first: Option<&GatewayServer<'_>>) -> Diagnostic {
    let name =
        |server: &GatewayServer<'_>| server.server.port.as_ref().map_or("", |port| &*port.protocol.value).to_owned();
    let (own, other) = (name(server), first.map(name).unwrap_or_default());
    let message =
        format!("port {} is served as {other} already; this server of protocol {own} is left out", server.port);
    Diagnostic {
        field: Some(format!("spec.servers[{}].port", server.index)),
        hint: Some("use another port, or the same protocol".to_owned()),
        reference: first.map(GatewayServer::origin),
        ..Diagnostic::new(Code::ConflictingGateways, Level::Warning, &server.origin(), message)
    }
}

/// A server name that another server of the same port has.
pub(super) fn server_name_taken(server: &GatewayServer<'_>, name: &HostPattern) -> Diagnostic {
    let message =
        format!("{name} is served on port {} by an older server already; this server is left out", server.port);
    Diagnostic {
        field: Some(format!("spec.servers[{}].hosts", server.index)),
        hint: Some("serve each host of a TLS port from one server".to_owned()),
        ..Diagnostic::new(Code::ConflictingGateways, Level::Warning, &server.origin(), message)
    }
}

/// A server that allows only versions of TLS that are not spoken.
pub(super) fn no_tls_version(origin: &Origin, field: &str) -> Diagnostic {
    let message = "leaves no version of TLS that is spoken here; the server is left out".to_owned();
    Diagnostic {
        field: Some(field.to_string()),
        hint: Some("allow TLSV1_2 or TLSV1_3".to_owned()),
        ..Diagnostic::new(Code::NotHonoured, Level::Warning, origin, message)
    }
}

/// A server for connections that no VirtualService has a rule for.
pub(super) fn no_tcp_route(server: &GatewayServer<'_>) -> Diagnostic {
    let message = format!("no VirtualService has a rule for connections to port {}: it is not served", server.port);
    Diagnostic {
        field: Some(format!("spec.servers[{}]", server.index)),
        hint: Some("write a VirtualService for this Gateway with a rule under tcp".to_owned()),
        ..Diagnostic::new(Code::NotHonoured, Level::Warning, &server.origin(), message)
    }
}

/// A match of a TLS route whose server name an earlier one has.
pub(super) fn tls_route_shadowed(
    item: Item<'_, VirtualService>,
    entry: &TlsMatchAttributes,
    name: &HostPattern,
) -> Diagnostic {
    let message = format!("{name} is taken by an earlier match on this port; this match is left out");
    let hint = Some("name each server name once".to_owned());
    Diagnostic { hint, ..Diagnostic::new(Code::UnreachableRule, Level::Warning, &item.origin(entry.position), message) }
}

/// Conditions on addresses and sources, which a gateway does not look at.
pub(super) fn ignored_at_gateway(origin: &Origin) -> Diagnostic {
    let message =
        "subnets and sources of a match for connections are not looked at by a gateway, as in Istio".to_owned();
    let hint = Some("match by port, gateways or sniHosts".to_owned());
    Diagnostic { hint, ..Diagnostic::new(Code::NotHonoured, Level::Warning, origin, message) }
}
