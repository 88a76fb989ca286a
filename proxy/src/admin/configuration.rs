//! What is in force, what it was understood to mean, and what was refused.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use config_model::resource::{Resource, Spec};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::clusters::host_status;
use super::{Context, wants_json};
use crate::snapshot::Snapshot;

/// What stands in place of what nobody may read.
const REDACTED: &str = "[redacted]";

/// `/config/version`
pub(super) fn version(request: &Request<Bytes>, context: &Context) -> Answer {
    let applied = context.status.applied();
    if wants_json(request) {
        let value = json!({ "version": &*applied.version, "since_unix_seconds": seconds(applied.since) });
        return answer::json(StatusCode::OK, &value);
    }
    answer::text(StatusCode::OK, format!("{}\n", applied.version))
}

/// `/config/errors`
pub(super) fn errors(_: &Request<Bytes>, context: &Context) -> Answer {
    let applied = context.status.applied();
    let listeners: Vec<_> = applied.listeners.iter().filter(|listener| listener.error.is_some()).collect();
    let value = json!({
        "version": &*applied.version,
        "errors": applied.errors,
        "listeners": listeners,
        "warnings": applied.warnings,
    });
    answer::json(StatusCode::OK, &value)
}

/// `/config_dump`
pub(super) fn dump(_: &Request<Bytes>, context: &Context) -> Answer {
    let applied = context.status.applied();
    let resources: Vec<Value> = applied.resources.resources().map(|resource| redacted(resource)).collect();
    let snapshot = context.status.snapshot();
    let value = json!({
        "version": &*applied.version,
        "since_unix_seconds": seconds(applied.since),
        "resources": resources,
        "model": snapshot.as_deref().map(|snapshot| &*snapshot.model),
        "endpoints": snapshot.as_deref().map(endpoints),
    });
    answer::json(StatusCode::OK, &value)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Endpoints of each cluster, by its name.
fn endpoints(snapshot: &Snapshot) -> Value {
    let of = |cluster: &crate::snapshot::ClusterRuntime| {
        let hosts: Vec<Value> = cluster.endpoints.entries().map(host_status).collect();
        (cluster.name.to_string(), hosts.into())
    };
    Value::Object(snapshot.clusters.iter().map(|cluster| of(cluster)).collect())
}

/// A resource in the words of its author, but for keys and the contents of Secrets.
fn redacted(resource: &Resource) -> Value {
    let spec = match &resource.spec {
        Spec::Secret(_) => Value::from(REDACTED),
        spec => serde_json::to_value(spec).unwrap_or(Value::Null),
    };
    json!({
        "kind": resource.id.kind,
        "namespace": &*resource.id.namespace,
        "name": &*resource.id.name,
        "file": &*resource.id.file,
        "line": resource.metadata.name.position.line,
        "spec": spec,
    })
}
