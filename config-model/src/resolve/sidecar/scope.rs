//! What a sidecar is told to listen on and to know. Source: Istio, `Sidecar`: the oldest with a selector for the workload in
//! its namespace, else the one of the namespace, else the one of the root namespace, else everything.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::model::ListenerAddress;
use crate::name::{self, HostPattern};
use crate::origin::Origin;
use crate::resolve::protocol::Protocol;
use crate::resolve::services::{self, Service};
use crate::resolve::set::{Item, ResourceSet};
use crate::resolve::{Proxy, gateway, names};
use crate::resource::{
    CaptureMode, Destination, InterceptionMode, IstioEgressListener, MeshOutboundTrafficPolicyMode,
    OutboundTrafficPolicyMode, Sidecar, VirtualService,
};

/// The Sidecar that holds for a proxy, or what holds without one.
pub(super) struct Scope<'a> {
    pub(super) egress: Vec<Egress<'a>>,
    pub(super) unknown: UnknownTraffic<'a>,
    /// Where it was written, if it was.
    pub(super) origin: Option<Origin>,
    /// Whether connections are redirected to us that nobody has bound a port for.
    pub(super) is_captured: bool,
}

/// What is done with traffic to hosts that are not known.
#[derive(Clone, Copy)]
pub(super) enum UnknownTraffic<'a> {
    /// It goes where the client wanted it to go.
    PassedOn,
    /// It goes to this service, which the Sidecar names.
    Proxied(&'a Destination, &'a str),
    /// It is refused.
    Refused,
}

/// A port, or all others.
pub(super) struct Egress<'a> {
    /// None for all others.
    pub(super) port: Option<(u16, Protocol)>,
    /// Where it is bound, or where clients connect to if it isn't; nothing for the services' own addresses.
    pub(super) address: Option<IpAddr>,
    /// The Unix socket that it listens on, instead of an address and port.
    pub(super) socket: Option<ListenerAddress>,
    /// Whether a socket is bound for it.
    pub(super) is_bound: bool,
    /// Services that are known there, by host.
    pub(super) services: Vec<Known<'a>>,
    /// VirtualServices of the mesh that are known there, those first that go first.
    pub(super) virtual_services: Vec<Item<'a, VirtualService>>,
    pub(super) origin: Option<Origin>,
}

/// A service by one of its hosts.
#[derive(Clone)]
pub(super) struct Known<'a> {
    pub(super) host: Arc<str>,
    pub(super) service: Service<'a>,
    /// Hosts of services of type `ExternalName` that stand for it.
    pub(super) aliases: Vec<Arc<str>>,
}

impl Known<'_> {
    /// Whether it only stands for another one, or for a name that nobody here knows: it has no listeners and no routes of its own.
    pub(super) fn is_alias(&self) -> bool {
        self.service.external_name().is_some()
    }
}

/// `NAMESPACE/HOST`
struct Import<'a> {
    /// Any if `None`.
    namespace: Option<&'a str>,
    pattern: HostPattern,
    /// `~NAMESPACE/HOST`: none of these.
    is_excluded: bool,
}

impl<'a> Import<'a> {
    fn parse(text: &'a str, own: &'a str) -> Option<Self> {
        let (namespace, host) = text.split_once('/')?;
        let excluded = namespace.strip_prefix('~');
        let namespace = match excluded.unwrap_or(namespace) {
            "*" | "" => None,
            "." => Some(own),
            other => Some(other),
        };
        Some(Self { namespace, pattern: HostPattern::parse(host), is_excluded: excluded.is_some() })
    }

    fn is_of(&self, namespace: &str) -> bool {
        self.namespace.is_none_or(|own| own == namespace)
    }
}

/// Whether some entry takes `host` of `namespace`, as `matches` compares it with the entry's, and none excludes all of it.
fn takes(
    imports: &[Import<'_>],
    namespace: &str,
    host: &HostPattern,
    matches: fn(&HostPattern, &HostPattern) -> bool,
) -> bool {
    let mut of_namespace = imports.iter().filter(|import| import.is_of(namespace));
    let is_excluded = of_namespace.clone().any(|import| import.is_excluded && host.is_within(&import.pattern));
    !is_excluded && of_namespace.any(|import| !import.is_excluded && matches(host, &import.pattern))
}

/// The scope of `proxy`.
pub(super) fn scope<'a>(resources: &'a ResourceSet, proxy: &'a Proxy, root_namespace: &str) -> Scope<'a> {
    let found = find(resources, proxy, root_namespace);
    let never = resources.mesh_config().and_then(|(_, mesh)| mesh.default_config.as_ref());
    let never = never.is_some_and(|config| *config.interception_mode == InterceptionMode::None);
    let written = found.map(|found| &found.spec.egress[..]).unwrap_or_default();
    let mut egress: Vec<Egress<'a>> =
        written.iter().map(|written| Egress::new(resources, proxy, (found, written), never)).collect();
    if written.is_empty() {
        egress.push(Egress::all(resources, proxy, never));
    }
    Scope {
        is_captured: !never && egress.iter().any(|egress| !egress.is_bound),
        egress,
        unknown: unknown(resources, found),
        origin: found.map(Item::own_origin),
    }
}

fn find<'a>(resources: &'a ResourceSet, proxy: &Proxy, root_namespace: &str) -> Option<Item<'a, Sidecar>> {
    let sidecars = resources.by_age::<Sidecar>();
    let of = |namespace: &str, has_selector: bool| {
        let mut own = sidecars.iter().filter(|sidecar| sidecar.namespace() == namespace);
        let found = own.find(|sidecar| match &sidecar.spec.workload_selector {
            Some(selector) => has_selector && name::selects(&selector.labels, &proxy.labels),
            None => !has_selector,
        });
        found.copied()
    };
    of(&proxy.namespace, true).or_else(|| of(&proxy.namespace, false)).or_else(|| of(root_namespace, false))
}

fn unknown<'a>(resources: &'a ResourceSet, found: Option<Item<'a, Sidecar>>) -> UnknownTraffic<'a> {
    if let Some((sidecar, policy)) =
        found.and_then(|found| found.spec.outbound_traffic_policy.as_ref().map(|policy| (found, policy)))
    {
        return match (*policy.mode, &policy.egress_proxy) {
            (OutboundTrafficPolicyMode::RegistryOnly, _) => UnknownTraffic::Refused,
            (OutboundTrafficPolicyMode::AllowAny, Some(proxy)) => UnknownTraffic::Proxied(proxy, sidecar.namespace()),
            (OutboundTrafficPolicyMode::AllowAny, None) => UnknownTraffic::PassedOn,
        };
    }
    let of_mesh = resources.mesh_config().and_then(|(_, mesh)| mesh.outbound_traffic_policy.as_ref());
    let is_refused = of_mesh.is_some_and(|policy| *policy.mode == MeshOutboundTrafficPolicyMode::RegistryOnly);
    if is_refused { UnknownTraffic::Refused } else { UnknownTraffic::PassedOn }
}

impl<'a> Egress<'a> {
    fn new(
        resources: &'a ResourceSet,
        proxy: &'a Proxy,
        (sidecar, written): (Option<Item<'a, Sidecar>>, &'a IstioEgressListener),
        is_never_captured: bool,
    ) -> Self {
        let imports: Vec<Import<'a>> =
            written.hosts.iter().filter_map(|host| Import::parse(&host.value, &proxy.namespace)).collect();
        let socket = ListenerAddress::unix(&written.bind);
        // Nothing can be redirected to a Unix socket.
        let is_bound = is_never_captured || *written.capture_mode == CaptureMode::None || socket.is_some();
        let bind = written.bind.parse::<IpAddr>().ok();
        Self {
            port: written.port.as_ref().map(|port| (*port.number, Protocol::of_name(&port.protocol))),
            address: bind.or(is_bound.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            socket,
            is_bound,
            services: known(resources, proxy, &imports),
            virtual_services: virtual_services(resources, proxy, &imports),
            origin: sidecar.map(|sidecar| sidecar.origin(written.position)),
        }
    }

    /// Every service on its own port.
    fn all(resources: &'a ResourceSet, proxy: &'a Proxy, is_bound: bool) -> Self {
        let imports = [Import { namespace: None, pattern: HostPattern::Any, is_excluded: false }];
        Self {
            port: None,
            address: is_bound.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            socket: None,
            is_bound,
            services: known(resources, proxy, &imports),
            virtual_services: virtual_services(resources, proxy, &imports),
            origin: None,
        }
    }
}

/// Services that are imported, of each host those of one namespace. Each is known by its own ports and addresses, also where several
/// ServiceEntries are one service.
fn known<'a>(resources: &'a ResourceSet, proxy: &'a Proxy, imports: &[Import<'_>]) -> Vec<Known<'a>> {
    let all = services::hosts(resources).into_iter().flat_map(|host| {
        let pattern = HostPattern::from_lower(host.clone());
        let imported = |service: &Service<'a>| takes(imports, service.namespace(), &pattern, HostPattern::is_within);
        let visible = |service: &Service<'a>| service.is_visible_to(&proxy.namespace, resources);
        let found = services::of_host(resources, &host).filter(visible).filter(imported);
        let mut found: Vec<Service<'a>> = found.collect();
        found.sort_by_cached_key(|service| service.rank(proxy, resources));
        let namespace = found.first().map(|first| first.namespace());
        found.retain(|service| Some(service.namespace()) == namespace);
        found.into_iter().map(move |service| Known { host: host.clone(), service, aliases: Vec::new() })
    });
    let mut all: Vec<Known<'a>> = all.collect();
    // Of those that are as old the first by name stands, as they are found by it.
    all.sort_by_cached_key(|known| known.service.seniority(resources));
    let meaning = |known: &Known<'a>| {
        let (host, _) = services::concrete(resources, known.service, proxy)?;
        Some((known.host.clone(), host))
    };
    let aliases: Vec<(Arc<str>, Arc<str>)> = all.iter().filter_map(meaning).collect();
    for (alias, host) in aliases {
        let of_host = all.iter_mut().filter(|known| known.host == host);
        of_host.for_each(|known| known.aliases.push(alias.clone()));
    }
    all
}

fn virtual_services<'a>(
    resources: &'a ResourceSet,
    proxy: &Proxy,
    imports: &[Import<'_>],
) -> Vec<Item<'a, VirtualService>> {
    let is_of_mesh = |item: &Item<'a, VirtualService>| {
        let gateways = &item.spec.gateways;
        gateways.is_empty() || gateways.iter().any(|gateway| *gateway.value == *names::MESH)
    };
    let imported = |item: &Item<'a, VirtualService>| {
        // A rule for many hosts counts also where only some of them are known.
        let overlaps = |host: &HostPattern, known: &HostPattern| host.intersection(known).is_some();
        gateway::hosts(*item).iter().any(|host| takes(imports, item.namespace(), host, overlaps))
    };
    let of_mesh = resources.by_age::<VirtualService>().into_iter().filter(is_of_mesh).filter(imported);
    let ranked = of_mesh.filter_map(|item| Some((gateway::precedence(resources, item, &proxy.namespace)?, item)));
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, item)| item).collect()
}
