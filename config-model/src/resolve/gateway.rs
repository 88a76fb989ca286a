//! Virtual hosts of a gateway: its Gateways' servers with the VirtualServices bound to them. Source: Istio, `Gateway`.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::Diagnostic;
use crate::model::{Cluster, Listener, RouteConfiguration, TcpProxy};
use crate::name::{self, HostPattern};
use crate::origin::Origin;
use crate::resource::{Gateway, Server, VirtualService};

use super::build::{Build, Built};
use super::clusters::Clusters;
use super::names::{self, ServerHost};
use super::set::{Item, ResourceSet};
use super::virtual_hosts::VirtualHosts;
use super::visibility::Visibility;
use super::{Place, Proxy, listeners};

/// A server and the Gateway that it is part of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatewayServer<'a> {
    pub(crate) gateway: Item<'a, Gateway>,
    pub(crate) server: &'a Server,
    /// Its place in the Gateway.
    pub(crate) index: usize,
    pub(crate) port: u16,
}

impl<'a> GatewayServer<'a> {
    pub(super) fn name(&self) -> (&'a str, &'a str) {
        (self.gateway.namespace(), self.gateway.name())
    }

    pub(super) fn origin(&self) -> Origin {
        self.gateway.origin(self.server.position)
    }

    fn redirects(&self) -> bool {
        self.server.tls.as_ref().is_some_and(|tls| *tls.https_redirect)
    }
}

/// Gateways whose selector takes `proxy`, the oldest first.
pub(crate) fn selected<'a>(resources: &'a ResourceSet, proxy: &Proxy) -> Vec<Item<'a, Gateway>> {
    let mut gateways = resources.by_age::<Gateway>();
    gateways.retain(|gateway| name::selects(&gateway.spec.selector, &proxy.labels));
    gateways
}

/// A VirtualService that this proxy sees, and its hosts.
struct Bound<'a> {
    item: Item<'a, VirtualService>,
    hosts: Vec<HostPattern>,
}

/// VirtualServices by namespace and name of the Gateways that they name, in the order in which they are merged.
pub(super) struct Bindings<'a> {
    bound: Vec<Bound<'a>>,
    by_gateway: HashMap<(&'a str, &'a str), OfGateway>,
}

/// Places of the VirtualServices of a Gateway, in order; found by host, too, as a Gateway may have thousands of servers.
#[derive(Default)]
struct OfGateway {
    all: Vec<usize>,
    by_exact_host: HashMap<Arc<str>, Vec<usize>>,
    /// Those with a wildcard among their hosts.
    wide: Vec<usize>,
}

impl OfGateway {
    fn add(&mut self, place: usize, hosts: &[HostPattern]) {
        self.all.push(place);
        for host in hosts {
            let list = match host {
                HostPattern::Exact(name) => self.by_exact_host.entry(name.clone()).or_default(),
                HostPattern::Suffix(_) | HostPattern::Any => &mut self.wide,
            };
            if list.last() != Some(&place) {
                list.push(place);
            }
        }
    }

    /// Those that may have something in common with a server of these hosts.
    fn of_hosts<'h>(&self, hosts: impl Iterator<Item = ServerHost<'h>>) -> Vec<usize> {
        let mut places = self.wide.clone();
        for host in hosts {
            let HostPattern::Exact(name) = &host.pattern else { return self.all.clone() };
            places.extend(self.by_exact_host.get(name).into_iter().flatten());
        }
        places.sort_unstable();
        places.dedup();
        places
    }
}

impl<'a> Bindings<'a> {
    fn new(resources: &'a ResourceSet, proxy: &Proxy, gateways: &[Item<'a, Gateway>]) -> Self {
        let mut by_gateway: HashMap<(&'a str, &'a str), OfGateway> =
            gateways.iter().map(|gateway| ((gateway.namespace(), gateway.name()), OfGateway::default())).collect();
        let mut visible: Vec<_> = resources
            .by_age::<VirtualService>()
            .into_iter()
            .filter_map(|item| precedence(resources, item, &proxy.namespace).map(|rank| (rank, item)))
            .collect();
        visible.sort_by_key(|(rank, _)| *rank);
        let mut bound = Vec::new();
        for (_, item) in visible {
            let place = bound.len();
            let mut hosts = None;
            for gateway in &item.spec.gateways {
                let known = by_gateway.get_mut(&names::gateway(&gateway.value, item.namespace()));
                if let Some(known) = known.filter(|known| known.all.last() != Some(&place)) {
                    known.add(place, hosts.get_or_insert_with(|| answered_hosts(item)));
                }
            }
            bound.extend(hosts.map(|hosts| Bound { item, hosts }));
        }
        Self { bound, by_gateway }
    }

    /// The VirtualServices of a server's Gateway that may have a host of it, in order.
    fn of(&self, server: &GatewayServer<'a>) -> impl Iterator<Item = &Bound<'a>> {
        let known = self.by_gateway.get(&server.name());
        let places = known.map(|known| known.of_hosts(server_hosts(server))).unwrap_or_default();
        places.into_iter().filter_map(|place| self.bound.get(place))
    }
}

/// The hosts of a VirtualService, short ones completed.
pub(crate) fn hosts(item: Item<'_, VirtualService>) -> Vec<HostPattern> {
    item.spec.hosts.iter().map(|host| HostPattern::from_lower(names::full_host(host, item.namespace()))).collect()
}

/// The hosts of a VirtualService that a gateway answers for: a short one also as it is written. Istio's gateway answers for
/// the completed name alone; who puts a short host behind a gateway means the one that clients send.
fn answered_hosts(item: Item<'_, VirtualService>) -> Vec<HostPattern> {
    let mut hosts = hosts(item);
    let short = item.spec.hosts.iter().filter(|host| !host.contains('.') && *host.value != *"*");
    hosts.extend(short.map(|host| HostPattern::parse(host)));
    hosts
}

/// How a VirtualService stands among others for a proxy of `namespace`: those that only its own namespace sees go first,
/// then those exported to it by name, then those for all; `None` if it is none of these, or a delegate.
pub(super) fn precedence(resources: &ResourceSet, item: Item<'_, VirtualService>, namespace: &str) -> Option<u8> {
    if item.spec.hosts.is_empty() {
        return None;
    }
    match visibility(resources, item) {
        Visibility::All => Some(2),
        named if !named.includes(namespace) => None,
        _ if item.namespace() == namespace => Some(0),
        _ => Some(1),
    }
}

/// Who sees a VirtualService.
pub(crate) fn visibility<'a>(resources: &'a ResourceSet, item: Item<'a, VirtualService>) -> Visibility<'a> {
    let default = || resources.mesh_config().map_or(&[][..], |(_, mesh)| &mesh.default_virtual_service_export_to);
    let written = if item.spec.export_to.is_empty() { default() } else { &item.spec.export_to };
    Visibility::new(written.iter().map(|text| &*text.value), item.namespace())
}

/// Hosts of a server, found without comparing each with each.
struct ServerHosts<'a> {
    exact: HashMap<Arc<str>, Vec<ServerHost<'a>>>,
    wildcards: Vec<ServerHost<'a>>,
}

impl<'a> ServerHosts<'a> {
    fn new(server: &GatewayServer<'a>) -> Self {
        let mut hosts = Self { exact: HashMap::new(), wildcards: Vec::new() };
        for host in server_hosts(server) {
            match &host.pattern {
                HostPattern::Exact(name) => hosts.exact.entry(name.clone()).or_default().push(host),
                HostPattern::Suffix(_) | HostPattern::Any => hosts.wildcards.push(host),
            }
        }
        hosts
    }

    /// What `host` of a VirtualService in `namespace` has in common with this server.
    fn intersections(&self, host: &HostPattern, namespace: &str) -> impl Iterator<Item = HostPattern> {
        let (same, all) = match host {
            HostPattern::Exact(name) => (self.exact.get(name), None),
            HostPattern::Suffix(_) | HostPattern::Any => (None, Some(self.exact.values().flatten())),
        };
        let exact = same.into_iter().flatten().chain(all.into_iter().flatten());
        let taken = exact.chain(&self.wildcards).filter(move |server| server.takes(namespace));
        taken.filter_map(move |server| server.pattern.intersection(host))
    }
}

/// The hosts of a server, as its Gateway's namespace completes them.
pub(crate) fn server_hosts<'a>(server: &GatewayServer<'a>) -> impl Iterator<Item = ServerHost<'a>> {
    let namespace = server.gateway.namespace();
    server.server.hosts.iter().map(move |host| ServerHost::parse(&host.value, namespace))
}

/// What servers of a gateway serve, as it is put together.
pub(super) struct Serving<'s, 'a> {
    pub(super) build: &'s mut Build<'a>,
    pub(super) bindings: &'s Bindings<'a>,
}

impl<'a> Serving<'_, 'a> {
    /// The hosts that `servers` serve together.
    pub(super) fn hosts(&mut self, servers: &[GatewayServer<'a>]) -> VirtualHosts {
        let mut virtual_hosts = VirtualHosts::with_capacity(expected_hosts(servers, self.bindings.bound.len()));
        for server in servers {
            self.build.server(server, self.bindings, &mut virtual_hosts);
        }
        virtual_hosts
    }

    /// The VirtualServices of a server's Gateway that have a host of it, in order.
    pub(super) fn virtual_services(&self, server: &GatewayServer<'a>) -> Vec<Item<'a, VirtualService>> {
        let server_hosts = ServerHosts::new(server);
        let serves = |bound: &&Bound<'a>| {
            let namespace = bound.item.namespace();
            bound.hosts.iter().any(|host| server_hosts.intersections(host, namespace).next().is_some())
        };
        self.bindings.of(server).filter(serves).map(|bound| bound.item).collect()
    }
}

impl<'a> Build<'a> {
    /// Adds what `server` serves to the hosts of its socket.
    fn server(&mut self, server: &GatewayServer<'a>, bindings: &Bindings<'a>, virtual_hosts: &mut VirtualHosts) {
        let server_hosts = ServerHosts::new(server);
        let place = Place { port: server.port, gateway: server.name() };
        for bound in bindings.of(server) {
            let namespace = bound.item.namespace();
            for host in bound.hosts.iter().flat_map(|host| server_hosts.intersections(host, namespace)) {
                let Some(block) = self.block(bound.item, &place) else { continue };
                if server.redirects() {
                    virtual_hosts.redirect(host.clone(), server.origin());
                }
                virtual_hosts.add(host, block);
            }
        }
        for host in self::server_hosts(server).filter(|_| server.redirects()) {
            virtual_hosts.redirect(host.pattern, server.origin());
        }
    }
}

/// About how many hosts `servers` have in common with so many VirtualServices.
fn expected_hosts(servers: &[GatewayServer<'_>], virtual_services: usize) -> usize {
    let hosts = servers.iter().flat_map(|server| &server.server.hosts);
    let is_wide = hosts.clone().any(|host| host.contains('*'));
    if is_wide { virtual_services } else { hosts.count().min(virtual_services) }
}

/// What a gateway listens on and serves.
pub(super) struct Served {
    pub(super) listeners: Vec<Listener>,
    pub(super) route_configurations: Vec<RouteConfiguration>,
    pub(super) tcp_proxies: Vec<TcpProxy>,
}

/// The listeners and virtual hosts of a gateway, and the clusters that its routes need.
pub(super) fn serve<'a>(
    resources: &'a ResourceSet,
    proxy: &'a Proxy,
    clusters: Clusters<'a>,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Served, Vec<Cluster>) {
    let gateways = selected(resources, proxy);
    let bindings = Bindings::new(resources, proxy, &gateways);
    let mut build = Build::new(resources, proxy, clusters, bindings.bound.len());
    let mut sockets = listeners::Sockets::default();
    for socket in listeners::sockets(&gateways, diagnostics) {
        sockets.add(socket, &mut Serving { build: &mut build, bindings: &bindings }, diagnostics);
    }
    diagnostics.append(&mut build.diagnostics);
    let Built { blocks, tcp_proxies, clusters } = build.finish();
    (sockets.finish(&blocks, tcp_proxies), clusters)
}
