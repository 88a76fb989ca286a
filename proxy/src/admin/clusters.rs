//! `/clusters` and `/listeners`, in Envoy's formats.

use std::fmt::Write;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use balance::Entry;
use bytes::Bytes;
use config_model::model::{EndpointAddress, ListenerAddress};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::{Context, wants_json};
use crate::control::ListenerStatus;
use crate::snapshot::ClusterRuntime;

/// `/clusters`
pub(super) fn clusters(request: &Request<Bytes>, context: &Context) -> Answer {
    let snapshot = context.status.snapshot();
    let clusters = snapshot.iter().flat_map(|snapshot| snapshot.clusters.iter());
    if wants_json(request) {
        let statuses: Vec<Value> = clusters.map(|cluster| cluster_status(cluster)).collect();
        return answer::json(StatusCode::OK, &json!({ "cluster_statuses": statuses }));
    }
    let (mut text, now) = (String::new(), Instant::now());
    for cluster in clusters {
        cluster_lines(&mut text, cluster);
        let entries = cluster.endpoints.entries();
        entries.for_each(|entry| endpoint_lines(&mut text, cluster, entry, now));
    }
    answer::text(StatusCode::OK, text)
}

/// Limits in Envoy's words, and what is counted against them; nothing is counted where there is no limit.
fn cluster_lines(text: &mut String, cluster: &ClusterRuntime) {
    let name = &cluster.name;
    let _ = writeln!(text, "{name}::observability_name::{name}");
    for (limit, value) in thresholds(cluster) {
        let _ = writeln!(text, "{name}::default_priority::{limit}::{value}");
    }
    let state = cluster.endpoints.cluster();
    if cluster.has_limits {
        let counted = [
            ("cx_active", state.connections().open()),
            ("rq_pending_active", state.connections().waiting()),
            ("rq_active", state.requests()),
            ("rq_retry_active", state.retries()),
        ];
        for (what, count) in counted {
            let _ = writeln!(text, "{name}::default_priority::{what}::{count}");
        }
    }
    if cluster.definition.policy().outliers.is_some() {
        let _ = writeln!(text, "{name}::outlier::ejections_active::{}", state.ejected());
    }
}

/// The circuit breaker's limits; none is the largest number, as for Envoy.
fn thresholds(cluster: &ClusterRuntime) -> [(&'static str, u32); 4] {
    let pool = &cluster.definition.policy().pool;
    let limits = [
        ("max_connections", pool.connections_max),
        ("max_pending_requests", pool.pending_max),
        ("max_requests", pool.requests_max),
        ("max_retries", pool.retries_max),
    ];
    limits.map(|(name, limit)| (name, limit.map_or(u32::MAX, NonZeroU32::get)))
}

/// `healthy`, or why it takes no traffic, in Envoy's words.
fn health_flags(entry: &Entry) -> &'static str {
    match (entry.is_ready(), entry.state.is_ejected()) {
        (true, false) => "healthy",
        (true, true) => "/failed_outlier_check",
        (false, _) => "/failed_eds_health",
    }
}

fn endpoint_lines(text: &mut String, cluster: &ClusterRuntime, entry: &Entry, now: Instant) {
    let (endpoint, state, name) = (&entry.endpoint, &entry.state, &cluster.name);
    let fields: [(&str, &dyn std::fmt::Display); 10] = [
        ("rq_active", &state.active()),
        ("rq_error", &state.failed()),
        ("rq_success", &state.total().saturating_sub(state.failed() + u64::from(state.active()))),
        ("rq_total", &state.total()),
        ("health_flags", &health_flags(entry)),
        ("weight", &endpoint.weight),
        ("region", &endpoint.locality.region),
        ("zone", &endpoint.locality.zone),
        ("sub_zone", &endpoint.locality.subzone),
        ("priority", &endpoint.priority),
    ];
    for (field, value) in fields {
        let _ = writeln!(text, "{name}::{}::{field}::{value}", endpoint.address);
    }
    if let Some(share) = cluster.endpoints.warming_share(entry, now) {
        let _ = writeln!(text, "{name}::{}::warmup::{share:.3}", endpoint.address);
    }
}

/// A cluster in the words of Envoy's `ClusterStatus`.
fn cluster_status(cluster: &ClusterRuntime) -> Value {
    let hosts: Vec<Value> = cluster.endpoints.entries().map(host_status).collect();
    let mut limits = json!({ "priority": "DEFAULT" });
    for (name, limit) in thresholds(cluster) {
        limits[name] = limit.into();
    }
    json!({
        "name": &*cluster.name,
        "observability_name": &*cluster.name,
        "circuit_breakers": { "thresholds": [limits] },
        "host_statuses": hosts,
    })
}

/// An endpoint in the words of Envoy's `HostStatus`.
pub(super) fn host_status(entry: &Entry) -> Value {
    let (endpoint, state) = (&entry.endpoint, &entry.state);
    let counter = |name: &str, value: u64| json!({ "name": name, "value": value.to_string(), "type": "COUNTER" });
    let health = if entry.is_ready() { "HEALTHY" } else { "UNHEALTHY" };
    json!({
        "address": address(&endpoint.address),
        "stats": [
            counter("rq_error", state.failed()),
            counter("rq_total", state.total()),
            json!({ "name": "rq_active", "value": state.active().to_string(), "type": "GAUGE" }),
        ],
        "health_status": { "eds_health_status": health, "failed_outlier_check": state.is_ejected() },
        "priority": endpoint.priority,
        "weight": endpoint.weight,
        "locality": {
            "region": &*endpoint.locality.region,
            "zone": &*endpoint.locality.zone,
            "sub_zone": &*endpoint.locality.subzone,
        },
    })
}

fn address(address: &EndpointAddress) -> Value {
    match address {
        EndpointAddress::Ip(address) => {
            json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
        }
        EndpointAddress::Dns { host, port } => json!({ "socket_address": { "address": &**host, "port_value": port } }),
        EndpointAddress::Unix(path) => json!({ "pipe": { "path": &**path } }),
    }
}

/// `/listeners`
pub(super) fn listeners(request: &Request<Bytes>, context: &Context) -> Answer {
    let applied = context.status.applied();
    if wants_json(request) {
        let statuses: Vec<Value> = applied.listeners.iter().map(listener_status).collect();
        return answer::json(StatusCode::OK, &json!({ "listener_statuses": statuses }));
    }
    let lines = applied.listeners.iter().map(|listener| match (&listener.bound, listener.address.listener_name()) {
        (Some(ListenerAddress::Unix(path)), name) => format!("{name}::{path}\n"),
        (Some(bound), name) => format!("{name}::{bound}\n"),
        (None, name) => format!("{name}::not bound: {}\n", listener.error.as_deref().unwrap_or("not yet")),
    });
    answer::text(StatusCode::OK, lines.collect::<String>())
}

fn listener_status(listener: &ListenerStatus) -> Value {
    let bound = listener.bound.as_ref().and_then(|bound| match bound {
        ListenerAddress::Ip(bound) => Some(address(&EndpointAddress::Ip(*bound))),
        ListenerAddress::Unix(path) => Some(address(&EndpointAddress::Unix(Arc::clone(path)))),
        ListenerAddress::Pods { .. } => None,
    });
    json!({ "name": listener.address.listener_name(), "local_address": bound, "error": listener.error })
}
