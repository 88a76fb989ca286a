//! Listeners of a sidecar's outbound side: a port of its own for each egress listener that names one, and for all others the
//! services' own ports, to which connections are redirected. Source: Istio, `buildSidecarOutboundListeners`.
//! Start at [`serve`].

mod chains;
mod connections;
mod hosts;
mod listeners;
mod scope;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::model::{
    Action, Binding, Cluster, ClusterTarget, Destination, FilterChains, Forward, HeaderOperations, Listener,
    NetworkFilter, RetryPolicy, Rewrite, RouteConfiguration, RouteConfigurationIndex, TcpRoute, WeightedCluster,
};
use crate::name::HostPattern;
use crate::origin::{Origin, Position, ResourceId};
use crate::resource::{InterceptionMode, MeshConfig};

use super::Proxy;
use super::build::{Build, Built};
use super::clusters::Clusters;
use super::gateway::Served;
use super::set::ResourceSet;
use super::virtual_hosts::Block;
use hosts::Unfinished;
use listeners::Listeners;
use scope::{Scope, UnknownTraffic};

/// Where redirected connections come in. Source: MeshConfig, `proxyListenPort`.
const LISTEN_PORT: u16 = 15001;
/// The route configuration of what an HTTP proxy is asked for.
const HTTP_PROXY: &str = "http_proxy";

/// A route configuration whose routes are not settled yet.
struct UnfinishedRoutes {
    name: String,
    port: u16,
    compares_ports: bool,
    hosts: Vec<Unfinished>,
}

/// What a sidecar is made of while it is put together.
struct Serving<'a> {
    build: Build<'a>,
    unknown: ClusterTarget,
    is_refusing: bool,
    /// What unknown traffic is said to come from.
    origin: Origin,
    configurations: Vec<UnfinishedRoutes>,
}

/// The listeners and virtual hosts of a sidecar, and the clusters that its routes need.
pub(super) fn serve<'a>(
    resources: &'a ResourceSet,
    proxy: &'a Proxy,
    mut clusters: Clusters<'a>,
    root_namespace: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Served, Vec<Cluster>) {
    let scope = scope::scope(resources, proxy, root_namespace);
    for known in scope.egress.iter().flat_map(|egress| &egress.services) {
        clusters.import(&known.host, known.service.namespace());
    }
    let unknown = match scope.unknown {
        UnknownTraffic::PassedOn => clusters.passthrough(),
        UnknownTraffic::Refused => clusters.black_hole(),
        UnknownTraffic::Proxied(destination, namespace) => clusters.resolve(destination, namespace, 0).target,
    };
    let mut serving = Serving {
        build: Build::new(resources, proxy, clusters, 16),
        unknown,
        is_refusing: matches!(scope.unknown, UnknownTraffic::Refused),
        origin: scope.origin.clone().unwrap_or_else(nowhere),
        configurations: Vec::new(),
    };
    let mut listeners = listeners(&mut serving, &scope);
    let mesh = resources.mesh_config().map(|(_, mesh)| mesh);
    let of_mesh = http_proxy(&mut serving, mesh, &scope).into_iter().chain(capturing(&mut serving, mesh, &scope));
    // A port that a Sidecar says something of is its own.
    let of_mesh: Vec<Listener> =
        of_mesh.filter(|new| listeners.iter().all(|known| known.address != new.address)).collect();
    listeners.extend(of_mesh);
    diagnostics.append(&mut serving.build.diagnostics);
    let Built { blocks, tcp_proxies, clusters } = serving.build.finish();
    let finished = |routes: UnfinishedRoutes| routes.finish(&blocks);
    let route_configurations = serving.configurations.into_iter().map(finished).collect();
    (Served { listeners, route_configurations, tcp_proxies }, clusters)
}

/// Where what follows from no resource was written.
fn nowhere() -> Origin {
    let resource =
        ResourceId { kind: "Sidecar", namespace: "".into(), name: "default".into(), file: "built-in".into() };
    Origin { resource: resource.into(), position: Position::default() }
}

fn listeners<'a>(serving: &mut Serving<'a>, scope: &Scope<'a>) -> Vec<Listener> {
    let mut listeners = Listeners::default();
    for egress in &scope.egress {
        listeners.lock();
        listeners.add(serving, egress);
    }
    let mut listeners = listeners.finish(serving);
    // A gateway's are in this order, too.
    listeners.sort_by_cached_key(|listener| listener.address.rank());
    listeners
}

/// The listeners that connections are redirected to, for each family of addresses. What no other takes goes where the client wanted
/// it to go, or nowhere.
fn capturing(serving: &mut Serving<'_>, mesh: Option<&MeshConfig>, scope: &Scope<'_>) -> Vec<Listener> {
    if !scope.is_captured {
        return Vec::new();
    }
    let written = mesh.map_or(0, |mesh| *mesh.proxy_listen_port);
    let port = if written == 0 { LISTEN_PORT } else { written };
    let mode = mesh.and_then(|mesh| mesh.default_config.as_ref()).map(|config| *config.interception_mode);
    let binding = if mode == Some(InterceptionMode::Tproxy) { Binding::Transparent } else { Binding::Redirected };
    let route = serving.unknown_route();
    let proxy = serving.build.tcp_proxy("virtualOutbound".to_owned(), port, vec![route]);
    let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let listener = |ip: IpAddr| Listener {
        address: SocketAddr::new(ip, port).into(),
        binding,
        has_proxy_header: false,
        chains: FilterChains::PlainText(NetworkFilter::Tcp(proxy)),
        origins: vec![serving.origin.clone()],
    };
    everywhere.map(listener).into()
}

/// The listener of the mesh's HTTP proxy, which knows what the Sidecar's listener without a port knows.
/// Source: MeshConfig, `proxyHttpPort`; Istio, `buildHTTPProxy`.
fn http_proxy<'a>(serving: &mut Serving<'a>, mesh: Option<&MeshConfig>, scope: &Scope<'a>) -> Option<Listener> {
    let port = mesh.map(|mesh| *mesh.proxy_http_port).filter(|port| *port != 0)?;
    let egress = scope.egress.iter().find(|egress| egress.port.is_none());
    let hosts = egress.map(|egress| hosts::virtual_hosts(&mut serving.build, egress, None)).unwrap_or_default();
    let routes = serving.routes(HTTP_PROXY.to_owned(), None, hosts);
    Some(Listener {
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port).into(),
        binding: Binding::Bound,
        has_proxy_header: false,
        chains: FilterChains::PlainText(NetworkFilter::Http(routes)),
        origins: vec![serving.origin.clone()],
    })
}

impl<'a> Serving<'a> {
    /// The route of connections that no other takes.
    fn unknown_route(&self) -> TcpRoute {
        let destination = WeightedCluster { cluster: self.unknown.clone(), weight: 1, origin: self.origin.clone() };
        TcpRoute {
            id: if self.is_refusing { "block_all" } else { "allow_any" }.into(),
            origin: self.origin.clone(),
            destination_subnets: Vec::new(),
            destinations: vec![destination],
            hashes_source_ip: false,
            tunnel: None,
        }
    }

    /// Adds a route configuration. What is asked of no host in it is refused, or goes where the client wanted it to go.
    fn routes(&mut self, name: String, port: Option<u16>, mut hosts: Vec<Unfinished>) -> RouteConfigurationIndex {
        let is_taken = hosts.iter().any(|host| host.domains.contains(&HostPattern::Any));
        if !is_taken {
            hosts.push(self.unknown_host());
        }
        self.routes_of(name, port, hosts)
    }

    fn routes_of(&mut self, name: String, port: Option<u16>, hosts: Vec<Unfinished>) -> RouteConfigurationIndex {
        let index = RouteConfigurationIndex(u32::try_from(self.configurations.len()).unwrap_or(u32::MAX));
        let compares_ports = port.is_none();
        self.configurations.push(UnfinishedRoutes { name, port: port.unwrap_or(0), compares_ports, hosts });
        index
    }

    fn unknown_host(&mut self) -> Unfinished {
        let (name, action) = if self.is_refusing {
            ("block_all", hosts::refusal())
        } else {
            let destination = Destination {
                cluster: self.unknown.clone(),
                weight: 1,
                is_split: false,
                tells_host: false,
                headers: HeaderOperations::default(),
                authority: None,
                origin: self.origin.clone(),
            };
            // What nobody has declared is asked once.
            let retry = Arc::new(RetryPolicy { attempts: 0, ..RetryPolicy::istio_default() });
            let (destinations, rewrite, timeout) = (vec![destination], Rewrite::default(), None);
            ("allow_any", Action::Forward(Forward { destinations, rewrite, timeout, retry }))
        };
        let route = hosts::route(name.to_owned(), name, self.origin.clone(), action, None);
        let block = self.build.own_block(vec![route], self.origin.clone());
        let (domains, origins) = (vec![HostPattern::Any], vec![self.origin.clone()]);
        Unfinished { name: name.to_owned(), domains, block, origins }
    }
}

impl UnfinishedRoutes {
    fn finish(self, blocks: &[Block]) -> RouteConfiguration {
        let Self { name, port, compares_ports, hosts } = self;
        let virtual_hosts = hosts.into_iter().filter_map(|host| host.finish(blocks)).collect();
        RouteConfiguration { name, port, virtual_hosts, compares_ports }
    }
}
