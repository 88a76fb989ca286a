//! `/clusters` and `/listeners`, in Envoy's formats.

use std::fmt::Write;

use balance::Entry;
use bytes::Bytes;
use config_model::model::{EndpointAddress, Health};
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
    let mut text = String::new();
    for cluster in clusters {
        let _ = writeln!(text, "{0}::observability_name::{0}", cluster.name);
        cluster.endpoints.entries().iter().for_each(|entry| endpoint_lines(&mut text, &cluster.name, entry));
    }
    answer::text(StatusCode::OK, text)
}

fn endpoint_lines(text: &mut String, cluster: &str, entry: &Entry) {
    let (endpoint, state) = (&entry.endpoint, &entry.state);
    let health = if endpoint.health == Health::Ready { "healthy" } else { "/failed_eds_health" };
    let fields: [(&str, &dyn std::fmt::Display); 9] = [
        ("rq_active", &state.active()),
        ("rq_error", &state.failed()),
        ("rq_success", &state.total().saturating_sub(state.failed() + u64::from(state.active()))),
        ("rq_total", &state.total()),
        ("health_flags", &health),
        ("weight", &endpoint.weight),
        ("region", &endpoint.locality.region),
        ("zone", &endpoint.locality.zone),
        ("sub_zone", &endpoint.locality.subzone),
    ];
    for (name, value) in fields {
        let _ = writeln!(text, "{cluster}::{}::{name}::{value}", endpoint.address);
    }
}

/// A cluster in the words of Envoy's `ClusterStatus`.
fn cluster_status(cluster: &ClusterRuntime) -> Value {
    let hosts: Vec<Value> = cluster.endpoints.entries().iter().map(host_status).collect();
    json!({ "name": &*cluster.name, "observability_name": &*cluster.name, "host_statuses": hosts })
}

/// An endpoint in the words of Envoy's `HostStatus`.
pub(super) fn host_status(entry: &Entry) -> Value {
    let (endpoint, state) = (&entry.endpoint, &entry.state);
    let counter = |name: &str, value: u64| json!({ "name": name, "value": value.to_string(), "type": "COUNTER" });
    let health = if endpoint.health == Health::Ready { "HEALTHY" } else { "UNHEALTHY" };
    json!({
        "address": address(&endpoint.address),
        "stats": [
            counter("rq_error", state.failed()),
            counter("rq_total", state.total()),
            json!({ "name": "rq_active", "value": state.active().to_string(), "type": "GAUGE" }),
        ],
        "health_status": { "eds_health_status": health },
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
    let lines = applied.listeners.iter().map(|listener| match (listener.bound, &listener.error) {
        (Some(bound), _) => format!("{}::{bound}\n", name(listener)),
        (None, error) => format!("{}::not bound: {}\n", name(listener), error.as_deref().unwrap_or("not yet")),
    });
    answer::text(StatusCode::OK, lines.collect::<String>())
}

fn listener_status(listener: &ListenerStatus) -> Value {
    let bound = listener.bound.map(|bound| address(&EndpointAddress::Ip(bound)));
    json!({ "name": name(listener), "local_address": bound, "error": listener.error })
}

/// As Istio names listeners: `0.0.0.0_80`.
fn name(listener: &ListenerStatus) -> String {
    format!("{}_{}", listener.address.ip(), listener.address.port())
}
