//! Which resource a document holds: `apiVersion`, `kind`, `metadata`, and the rest by kind.

use std::sync::Arc;

use super::{Metadata, Resource, Spec};
use crate::decode::{Decode, Field, Path, Report, Text, Unknown, suggest};
use crate::diagnostic::{Code, Level};
use crate::document::{Node, Value};
use crate::origin::ResourceId;

const NETWORKING: &str = "networking.istio.io";
const TELEMETRY: &str = "telemetry.istio.io";

/// Istio's groups, and the versions of each whose resources are the same.
const VERSIONS: [(&str, &[&str]); 2] = [(NETWORKING, &["v1", "v1beta1", "v1alpha3"]), (TELEMETRY, &["v1", "v1alpha1"])];

/// The Gateway API of Kubernetes, of which no kind is read.
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// Kinds that would route traffic or change what becomes of it, but aren't read.
const UNREAD: [(&str, &str); 10] = [
    ("networking.k8s.io", "Ingress"),
    (NETWORKING, "EnvoyFilter"),
    (NETWORKING, "ProxyConfig"),
    (NETWORKING, "WorkloadGroup"),
    ("security.istio.io", "AuthorizationPolicy"),
    ("security.istio.io", "PeerAuthentication"),
    ("security.istio.io", "RequestAuthentication"),
    ("extensions.istio.io", "WasmPlugin"),
    ("extensions.istio.io", "TrafficExtension"),
    ("install.istio.io", "IstioOperator"),
];

/// Makes the typed resource of a kind from a document.
type Reader = fn(&Node<'_>, &mut Report) -> Spec;

/// A kind that is read: group, kind, reader.
const READ: [(&str, &str, Reader); 14] = [
    (NETWORKING, "Gateway", |node, report| Spec::Gateway(spec(node, report))),
    (NETWORKING, "VirtualService", |node, report| Spec::VirtualService(spec(node, report))),
    (NETWORKING, "DestinationRule", |node, report| Spec::DestinationRule(spec(node, report))),
    (NETWORKING, "ServiceEntry", |node, report| Spec::ServiceEntry(spec(node, report))),
    (NETWORKING, "WorkloadEntry", |node, report| Spec::WorkloadEntry(spec(node, report))),
    (NETWORKING, "Sidecar", |node, report| Spec::Sidecar(spec(node, report))),
    (TELEMETRY, "Telemetry", |node, report| Spec::Telemetry(spec(node, report))),
    ("", "Service", |node, report| Spec::Service(whole(node, report))),
    ("", "Endpoints", |node, report| Spec::Endpoints(whole(node, report))),
    ("discovery.k8s.io", "EndpointSlice", |node, report| Spec::EndpointSlice(whole(node, report))),
    ("", "Pod", |node, report| Spec::Pod(whole(node, report))),
    ("", "Namespace", |_, _| Spec::Namespace),
    ("", "Secret", |node, report| Spec::Secret(whole(node, report))),
    ("", "ConfigMap", |node, report| Spec::ConfigMap(whole(node, report))),
];

/// Reads one document. What it isn't, or what is wrong with it, goes to `report`.
pub fn read(node: &Node<'_>, ordinal: u32, report: &mut Report) -> Option<Resource> {
    report.resource = None;
    report.mapping(node, &Path::ROOT)?;
    let api_version = required(node, "apiVersion", report);
    let kind = required(node, "kind", report);
    let (api_version, kind) = (api_version?, kind?);
    let (group, version) = api_version.value.rsplit_once('/').unwrap_or(("", &api_version.value));
    let Some((_, kind, reader)) = READ.iter().find(|(known, name, _)| (*known, *name) == (group, &*kind.value)) else {
        unread(group, &kind, node, report);
        return None;
    };
    if let Some(hint) = unknown_version(group, version) {
        let text = (format!("unknown version {:?}", api_version.value), Some(hint));
        report.add(Code::UnknownKind, Level::Error, api_version.position, &Path::ROOT.field("apiVersion"), text);
        return None;
    }
    let identity = identify(node, kind, report);
    report.resource = identity.as_ref().map(|(_, id)| Arc::clone(id));
    let spec = reader(node, report);
    identity.map(|(metadata, id)| {
        let is_healthy = !matches!(spec, Spec::WorkloadEntry(_)) || is_healthy(node, &metadata);
        Resource { id, metadata, ordinal, spec, is_healthy }
    })
}

/// The annotation of a WorkloadEntry that its sidecar looks after.
const HEALTH_CHECKED: &str = "proxy.istio.io/health-checks-enabled";

/// Whether a workload is up. One that is to be checked is down until its `status` says otherwise. Source: Istio, `isHealthy`.
fn is_healthy(node: &Node<'_>, metadata: &Metadata) -> bool {
    let checked = metadata.annotations.get(HEALTH_CHECKED);
    if !checked.is_some_and(|text| matches!(&**text, "1" | "t" | "T" | "true" | "TRUE" | "True")) {
        return true;
    }
    let conditions = node.get("status").and_then(|status| status.get("conditions"));
    let Some(Value::Sequence(conditions)) = conditions.map(|conditions| &conditions.value) else { return false };
    let says = |condition: &Node<'_>, name: &str, wanted: &str| {
        let value = condition.get(name).map(|value| &value.value);
        matches!(value, Some(Value::String(text)) if **text == *wanted)
    };
    let told = conditions.iter().find(|condition| says(condition, "type", "Healthy"));
    told.is_some_and(|condition| says(condition, "status", "True"))
}

/// Which versions there are, if this is none of its group's.
fn unknown_version(group: &str, version: &str) -> Option<String> {
    let (_, versions) = VERSIONS.iter().find(|(known, versions)| *known == group && !versions.contains(&version))?;
    let names: Vec<String> = versions.iter().map(|version| format!("{group}/{version}")).collect();
    let (last, others) = names.split_last()?;
    Some(format!("use {} or {last}", others.join(", ")))
}

fn required(node: &Node<'_>, name: &str, report: &mut Report) -> Option<Text> {
    let at = Path::ROOT.field(name);
    match node.get(name) {
        Some(value) if !value.is_null() => Text::decode(value, &at, report),
        _ => {
            report.error(node.position, &at, "is required", Some("every document needs apiVersion and kind"));
            None
        }
    }
}

fn identify(node: &Node<'_>, kind: &'static str, report: &mut Report) -> Option<(Metadata, Arc<ResourceId>)> {
    let at = Path::ROOT.field("metadata");
    let metadata = match node.get("metadata") {
        Some(value) => Option::<Metadata>::read(value, &at, report).unwrap_or_default(),
        None => Metadata::default(),
    };
    if metadata.name.value.is_empty() {
        let position = node.get("metadata").map_or(node.position, |value| value.position);
        report.error(position, &at.field("name"), "is required", Some("give the resource a name"));
        return None;
    }
    let namespace = if kind == "Namespace" { Arc::from("") } else { metadata.namespace_or_default(report) };
    let id = ResourceId { kind, namespace, name: Arc::clone(&metadata.name.value), file: Arc::clone(report.file()) };
    Some((metadata, Arc::new(id)))
}

/// A resource of Istio's: what it says is under `spec`, and nothing else is allowed.
fn spec<T: Decode + Default>(node: &Node<'_>, report: &mut Report) -> T {
    const FIELDS: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];
    let at = Path::ROOT.field("spec");
    if let Value::Mapping(fields) = &node.value {
        for (key, _) in fields.iter().filter(|(key, _)| !FIELDS.contains(&&*key.name)) {
            report.unknown_field(key, &Path::ROOT, &FIELDS, Unknown::Refuse);
        }
    }
    let empty = Node { position: node.position, value: Value::Mapping(Vec::new()) };
    let value = node.get("spec").filter(|value| !value.is_null()).unwrap_or(&empty);
    T::decode(value, &at, report).unwrap_or_default()
}

/// A resource of Kubernetes': fields that aren't read are left alone.
fn whole<T: Decode + Default>(node: &Node<'_>, report: &mut Report) -> T {
    T::decode(node, &Path::ROOT, report).unwrap_or_default()
}

/// A document of a kind that isn't read: fine if it is Kubernetes' or somebody else's.
fn unread(group: &str, kind: &Text, node: &Node<'_>, report: &mut Report) {
    let at = Path::ROOT.field("kind");
    if group == GATEWAY_API || UNREAD.contains(&(group, &*kind.value)) {
        let name = node.get("metadata").and_then(|metadata| metadata.get("name"));
        let name = match name.map(|name| &name.value) {
            Some(Value::String(name)) => format!("{} {name}", kind.value),
            _ => kind.value.to_string(),
        };
        return report.not_honoured(kind.position, &at, name);
    }
    if !group.ends_with("istio.io") {
        return;
    }
    let known = READ.iter().map(|(group, kind, _)| (*group, *kind)).chain(UNREAD);
    let kinds: Vec<&str> = known.filter(|(known, _)| *known == group).map(|(_, kind)| kind).collect();
    let hint = match (suggest(&kind.value, &kinds), kinds.is_empty()) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, true) => format!("{group:?} is not one of Istio's groups, perhaps {NETWORKING} was meant"),
        (None, false) => format!("known kinds are {}", kinds.join(", ")),
    };
    let message = format!("unknown kind {:?} of {group}", kind.value);
    report.add(Code::UnknownKind, Level::Error, kind.position, &at, (message, Some(hint)));
}
