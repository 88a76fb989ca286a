//! From all resources of a folder to the runtime model of one proxy. Start at [`resolve`].
//!
//! Whatever can't be used is left out by itself, with a diagnostic; nothing here refuses a file. Every route, destination and
//! cluster keeps the place where it was written.

pub(crate) mod access_logs;
mod action;
mod back_end_protocol;
mod build;
mod change;
mod clusters;
mod connections;
mod destination_rules;
mod downstream_tls;
pub(crate) mod endpoints;
mod findings;
pub(crate) mod gateway;
mod hashing;
mod listeners;
pub(crate) mod locality;
mod matching;
mod mesh;
pub(crate) mod names;
mod policies;
mod protocol;
mod retries;
mod route_policies;
pub(crate) mod routes;
mod rule;
pub(crate) mod services;
pub(crate) mod set;
mod sidecar;
mod tunnels;
mod upstream_tls;
mod virtual_hosts;
pub(crate) mod visibility;
pub(crate) mod zones;

use std::sync::Arc;

pub use change::{Change, Parts, change};
pub use endpoints::EndpointIndex;
pub use set::ResourceSet;

use crate::diagnostic::Diagnostic;
use crate::model::Model;
use crate::name::Labels;
use clusters::Clusters;
pub(crate) use route_policies::{EMPTY_SUBSETS, FAULT_SCOPE, SPLIT};

/// Which resources apply to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Gateways whose selector matches, and the VirtualServices bound to them.
    Gateway,
    /// The mesh's own traffic.
    Sidecar,
}

/// The proxy that a model is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What it does.
    pub role: Role,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its workload's labels.
    pub labels: Labels,
}

/// What came of resolving.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The model.
    pub model: Model,
    /// What was left out of it, and why; whatever else resources say of each other is found by
    /// [`crate::analyze::analyze`]. None of it is a reason to refuse the configuration.
    pub diagnostics: Vec<Diagnostic>,
}

/// Where routes are for: a port of a Gateway, or of the mesh.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    port: u16,
    /// Namespace and name.
    gateway: (&'a str, &'a str),
}

/// The model of `proxy`.
pub fn resolve(resources: &ResourceSet, proxy: &Proxy) -> Resolution {
    let mesh = mesh::mesh(resources);
    let mut diagnostics = resources.diagnostics().to_vec();
    let access_logs = access_logs::access_logs(resources, proxy, &mesh.root_namespace, &mut diagnostics);
    let clusters = Clusters::new(resources, proxy, &mesh.root_namespace);
    let (served, clusters) = match proxy.role {
        Role::Gateway => gateway::serve(resources, proxy, clusters, &mut diagnostics),
        Role::Sidecar => sidecar::serve(resources, proxy, clusters, &mesh.root_namespace, &mut diagnostics),
    };
    let gateway::Served { listeners, route_configurations, tcp_proxies } = served;
    let locality = locality::of_pod(&proxy.labels);
    let model = Model { listeners, route_configurations, tcp_proxies, clusters, mesh, access_logs, locality };
    Resolution { model, diagnostics }
}

/// The namespace whose resources hold for the whole mesh.
pub(crate) fn root_namespace(resources: &ResourceSet) -> String {
    mesh::mesh(resources).root_namespace
}

#[cfg(test)]
pub(crate) mod tests;
