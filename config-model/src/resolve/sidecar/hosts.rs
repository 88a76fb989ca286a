//! The virtual hosts of a sidecar's HTTP listener: a service by all its names, with the routes of the VirtualService that has
//! it, else with a route to itself. Source: Istio, `BuildSidecarOutboundVirtualHosts`. Nothing is merged: who comes first has a
//! host alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::{
    Action, ClusterName, Destination, DirectResponse, Direction, Forward, HeaderOperations, PathMatch, Rewrite, Route,
    RouteMatch, RoutePolicy, VirtualHost,
};
use crate::name::HostPattern;
use crate::origin::Origin;
use crate::resolve::build::Build;
use crate::resolve::services::{Port, Service};
use crate::resolve::set::Item;
use crate::resolve::virtual_hosts::{Block, BlockIndex};
use crate::resolve::{Place, gateway, names};
use crate::resource::VirtualService;

use super::scope::{Egress, Known};

/// A virtual host whose routes are not settled yet.
pub(super) struct Unfinished {
    pub(super) name: String,
    pub(super) domains: Vec<HostPattern>,
    pub(super) block: BlockIndex,
    pub(super) origins: Vec<Origin>,
}

impl Unfinished {
    pub(super) fn finish(self, blocks: &[Block]) -> Option<VirtualHost> {
        let Self { name, domains, block, origins } = self;
        let routes = blocks.get(block.0)?.routes.clone();
        Some(VirtualHost { name, domains, routes, https_redirect: false, origins })
    }
}

/// What requests see that come in on `listener_port`: services with that port, or every port if it is an HTTP proxy's.
pub(super) fn virtual_hosts<'a>(
    build: &mut Build<'a>,
    egress: &Egress<'a>,
    listener_port: Option<u16>,
) -> Vec<Unfinished> {
    let mut ports: BTreeSet<u16> = BTreeSet::new();
    match listener_port {
        Some(port) => drop(ports.insert(port)),
        None => {
            let all = egress.services.iter().flat_map(|known| known.service.ports());
            ports.extend(all.filter(|port| port.protocol.may_be_http()).map(|port| port.number));
        }
    }
    let mut hosts =
        Hosts { build, egress, with_port: listener_port.is_none(), taken: BTreeSet::new(), found: Vec::new() };
    ports.into_iter().for_each(|port| hosts.port(port));
    hosts.found
}

/// Virtual hosts as they are put together.
struct Hosts<'h, 'a> {
    build: &'h mut Build<'a>,
    egress: &'h Egress<'a>,
    /// Whether names are known by their port, as behind an HTTP proxy; without it only those of port 80 are.
    with_port: bool,
    taken: BTreeSet<HostPattern>,
    found: Vec<Unfinished>,
}

impl<'a> Hosts<'_, 'a> {
    fn port(&mut self, port: u16) {
        let of_port =
            |known: &&Known<'a>| known.service.ports().iter().any(|of| of.number == port && of.protocol.may_be_http());
        // Of several ServiceEntries with one host and port the youngest one's addresses are names, too.
        let services: BTreeMap<&Arc<str>, &Known<'a>> =
            self.egress.services.iter().filter(of_port).map(|known| (&known.host, known)).collect();
        let services: Vec<&Known<'a>> = services.into_values().collect();
        // What a VirtualService has is known before shorter names of others are given away.
        let names: BTreeSet<Arc<str>> = services.iter().map(|known| known.host.clone()).collect();
        let mut owned: BTreeSet<Arc<str>> = BTreeSet::new();
        for &item in &self.egress.virtual_services {
            self.virtual_service(item, port, &services, (&names, &mut owned));
        }
        for known in services.iter().filter(|known| !known.is_alias() && !owned.contains(&known.host)) {
            self.service(known, port, &names);
        }
    }

    /// Virtual hosts of a VirtualService: each service of its hosts, and hosts that no service has where there is one beside them or
    /// the listener is for port 80.
    fn virtual_service(
        &mut self,
        item: Item<'a, VirtualService>,
        port: u16,
        services: &[&Known<'a>],
        (names, owned): (&BTreeSet<Arc<str>>, &mut BTreeSet<Arc<str>>),
    ) {
        let hosts = gateway::hosts(item);
        let matching = |host: &HostPattern| -> Vec<&Known<'a>> {
            let of_host = services.iter().filter(|known| host.matches(&known.host) || is_same(host, &known.host));
            of_host.copied().collect()
        };
        let of_hosts: Vec<(&HostPattern, Vec<&Known<'a>>)> = hosts.iter().map(|host| (host, matching(host))).collect();
        let is_unknown = of_hosts.iter().all(|(_, known)| known.is_empty());
        if is_unknown && (port != 80 || self.with_port) {
            return;
        }
        let Some(block) = self.build.block(item, &Place { port, gateway: ("", names::MESH) }) else {
            return;
        };
        for (host, known) in of_hosts {
            if known.is_empty() {
                self.add(&host.to_string(), port, vec![host.clone()], block, vec![item.own_origin()]);
            }
            for known in known {
                let is_specific = !matches!(host, HostPattern::Exact(_));
                if is_specific && self.has_narrower(item, host, &known.host) || !owned.insert(known.host.clone()) {
                    continue;
                }
                let domains = self.domains(known, names);
                self.add(&known.host, port, domains, block, vec![item.own_origin()]);
            }
        }
    }

    /// Whether another VirtualService names `service` more closely than `host` does.
    fn has_narrower(&self, item: Item<'a, VirtualService>, host: &HostPattern, service: &str) -> bool {
        let others = self.egress.virtual_services.iter().filter(|other| other.index != item.index);
        others.flat_map(|other| gateway::hosts(*other)).any(|other| {
            (other.matches(service) || is_same(&other, service)) && other.is_within(host) && other != *host
        })
    }

    fn service(&mut self, known: &Known<'a>, port: u16, names: &BTreeSet<Arc<str>>) {
        let block = default_block(self.build, known, port);
        let domains = self.domains(known, names);
        self.add(&known.host, port, domains, block, vec![known.service.origin()]);
    }

    /// All names of a service; of a shorter one that is another service's whole name the other has it.
    fn domains(&self, known: &Known<'a>, names: &BTreeSet<Arc<str>>) -> Vec<HostPattern> {
        let mut domains = Vec::new();
        for host in std::iter::once(&known.host).chain(&known.aliases) {
            domains.push(HostPattern::from_lower(host.clone()));
            let others = other_names(host, &self.build.proxy.namespace);
            let others = others.into_iter().filter(|name| !names.contains(&**name));
            domains.extend(others.map(|name| HostPattern::parse(&name)));
        }
        if known.service.is_headless() {
            // Its pods have names of their own, such as `db-0.db`.
            let pods: Vec<HostPattern> = domains.iter().map(|name| HostPattern::parse(&format!("*.{name}"))).collect();
            domains.extend(pods);
        }
        domains.extend(known.service.addresses().filter_map(|text| text.parse::<IpAddr>().ok()).map(address_domain));
        domains
    }

    fn add(&mut self, host: &str, port: u16, domains: Vec<HostPattern>, block: BlockIndex, origins: Vec<Origin>) {
        let with_port = |domain: &HostPattern| HostPattern::parse(&format!("{domain}:{port}"));
        let domains: Vec<HostPattern> = match (self.with_port, port) {
            (false, _) => domains,
            (true, 80) => domains.iter().flat_map(|domain| [domain.clone(), with_port(domain)]).collect(),
            (true, _) => domains.iter().map(with_port).collect(),
        };
        let domains: Vec<HostPattern> =
            domains.into_iter().filter(|domain| self.taken.insert(domain.clone())).collect();
        if !domains.is_empty() {
            self.found.push(Unfinished { name: format!("{host}:{port}"), domains, block, origins });
        }
    }
}

/// Whether a wildcard of a VirtualService is a service's own.
fn is_same(pattern: &HostPattern, host: &str) -> bool {
    *pattern == HostPattern::parse(host)
}

/// A host with the dot of an absolute name, and `reviews`, `reviews.default` and `reviews.default.svc` for a proxy of that namespace;
/// without the first of these for others.
pub(super) fn other_names(host: &str, namespace: &str) -> Vec<String> {
    let absolute = host.parse::<IpAddr>().is_err().then(|| format!("{host}."));
    let Some((name, of)) = names::kubernetes_service(host) else { return absolute.into_iter().collect() };
    let long = [format!("{name}.{of}.svc"), format!("{name}.{of}")];
    let short = (of == namespace).then(|| name.to_owned());
    absolute.into_iter().chain(short).chain(long).collect()
}

/// An address as it stands in a Host.
fn address_domain(address: IpAddr) -> HostPattern {
    HostPattern::parse(&if address.is_ipv6() { format!("[{address}]") } else { address.to_string() })
}

/// A route to a service itself, for services that no VirtualService has.
pub(super) fn default_block<'a>(build: &mut Build<'a>, known: &Known<'a>, port: u16) -> BlockIndex {
    let name = ClusterName { host: known.host.clone(), port, subset: "".into(), direction: Direction::Outbound };
    let hash = build.clusters.default_hash(known.service, &known.host, port);
    let origin = known.service.origin();
    let policy = hash.map(|hash| Box::new(RoutePolicy { hash: vec![hash], ..RoutePolicy::default() }));
    let destination = Destination {
        cluster: build.clusters.target(name),
        weight: 1,
        is_split: false,
        tells_host: false,
        headers: HeaderOperations::default(),
        authority: None,
        origin: origin.clone(),
    };
    let forward = Forward {
        destinations: vec![destination],
        rewrite: Rewrite::default(),
        timeout: None,
        retry: build.retries.resolve(None, policy.is_some()),
    };
    let id = format!("{}/{}/port[{port}]", known.service.namespace(), known.service.metric_name(&known.host));
    let route = route(id, "default", origin.clone(), Action::Forward(forward), policy);
    build.own_block(vec![route], origin)
}

pub(super) fn route(
    id: String,
    name: &str,
    origin: Origin,
    action: Action,
    policy: Option<Box<RoutePolicy>>,
) -> Arc<Route> {
    let matcher = RouteMatch { path: PathMatch::Any, conditions: Vec::new() };
    let headers = HeaderOperations::default();
    Arc::new(Route { id: id.into(), name: Some(name.into()), origin, matcher, action, headers, policy })
}

/// 502, as for hosts that nobody knows where only known ones may be asked for.
pub(super) fn refusal() -> Action {
    Action::DirectResponse(DirectResponse { status: 502, body: bytes::Bytes::new() })
}

/// The port of a service that a listener of `listener_port` leads to: its only one, or the one of that number.
pub(super) fn port_for<'a>(service: Service<'a>, listener_port: u16) -> Option<Port<'a>> {
    let ports = service.ports();
    if let [only] = ports[..] { Some(only) } else { ports.into_iter().find(|port| port.number == listener_port) }
}
