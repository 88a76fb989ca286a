//! Listeners of a gateway: which servers share a socket, and how its connections are told apart.
//! Source: Istio, how a gateway's servers are merged: plain-text HTTP servers on one port and address share a listener and its
//! routes, whichever Gateways they are in; servers that end TLS share the listener, and each has routes of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::diagnostic::Diagnostic;
use crate::model::{
    Binding, DownstreamTls, FilterChain, FilterChains, Listener, NetworkFilter, RouteConfiguration,
    RouteConfigurationIndex, TcpProxy, TransportSocket,
};
use crate::name::HostPattern;
use crate::resource::{Gateway, Server, ServerTlsMode, ServerTlsSettings};

use super::downstream_tls;
use super::gateway::{self, GatewayServer, Served, Serving};
use super::set::{Item, ResourceSet};
use super::virtual_hosts::{Block, VirtualHosts};
use super::{Proxy, connections, findings};

/// What a server does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// HTTP in plain text.
    PlainHttp,
    /// Whatever it is, in plain text.
    PlainTcp,
    /// TLS, which ends here or behind us, with HTTP or anything else in it.
    Tls,
}

/// The servers that share a listener, all of one kind.
pub(super) struct Socket<'a> {
    address: SocketAddr,
    kind: Kind,
    servers: Vec<GatewayServer<'a>>,
}

fn kind(server: &Server) -> Option<Kind> {
    let protocol = &*server.port.as_ref()?.protocol;
    if ["HTTP", "HTTP2", "GRPC", "GRPC-WEB"].iter().any(|http| protocol.eq_ignore_ascii_case(http)) {
        return Some(Kind::PlainHttp);
    }
    Some(if server.tls.is_some() { Kind::Tls } else { Kind::PlainTcp })
}

/// The servers of `gateways` by the socket that they share, in the order of ports and addresses. The first server decides what
/// a socket speaks.
pub(super) fn sockets<'a>(gateways: &[Item<'a, Gateway>], diagnostics: &mut Vec<Diagnostic>) -> Vec<Socket<'a>> {
    let mut sockets: Vec<Socket<'a>> = Vec::new();
    let mut by_address: HashMap<SocketAddr, usize> = HashMap::new();
    let servers =
        gateways.iter().flat_map(|gateway| gateway.spec.servers.iter().enumerate().map(move |at| (gateway, at)));
    for (gateway, (index, server)) in servers {
        let (Some(port), Some(kind)) = (&server.port, kind(server)) else { continue };
        let bind = &*server.bind.value;
        let ip = if bind.is_empty() { Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) } else { bind.parse::<IpAddr>() };
        let Ok(ip) = ip else {
            diagnostics.push(findings::unusable_bind(&gateway.origin(server.bind.position), bind));
            continue;
        };
        let address = SocketAddr::new(ip, *port.number);
        let server = GatewayServer { gateway: *gateway, server, index, port: *port.number };
        let place = *by_address.entry(address).or_insert(sockets.len());
        match sockets.get_mut(place) {
            Some(socket) if socket.kind == kind => socket.servers.push(server),
            Some(socket) => diagnostics.push(findings::other_protocol(&server, socket.servers.first())),
            None => sockets.push(Socket { address, kind, servers: vec![server] }),
        }
    }
    sockets.sort_by_key(|socket| (socket.address.port(), socket.address.ip()));
    sockets
}

/// Whether what stands in front of gateways says who their clients are.
fn has_proxy_header(resources: &ResourceSet) -> bool {
    let config = resources.mesh_config().and_then(|(_, mesh)| mesh.default_config.as_ref());
    config.and_then(|config| config.gateway_topology.as_ref()).is_some_and(|topology| topology.proxy_protocol.is_some())
}

/// A route configuration whose virtual hosts are not put together yet.
struct Unfinished {
    name: String,
    port: u16,
    hosts: VirtualHosts,
}

/// Listeners as they are made, and the virtual hosts behind them.
#[derive(Default)]
pub(super) struct Sockets {
    listeners: Vec<Listener>,
    configurations: Vec<Unfinished>,
}

impl Sockets {
    /// Adds the listener of `socket`, if it serves anything.
    pub(super) fn add<'a>(
        &mut self,
        socket: Socket<'a>,
        serving: &mut Serving<'_, 'a>,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let Socket { address, kind, servers } = socket;
        let chains = match kind {
            Kind::PlainHttp => {
                let routes = self.configuration(plain_name(address), address.port(), serving.hosts(&servers));
                FilterChains::PlainText(NetworkFilter::Http(routes))
            }
            Kind::PlainTcp => match servers.iter().find_map(|server| connections::plain(server, serving)) {
                Some(proxy) => FilterChains::PlainText(NetworkFilter::Tcp(proxy)),
                None => return diagnostics.extend(servers.iter().map(findings::no_tcp_route)),
            },
            Kind::Tls => {
                let mut chains = Vec::with_capacity(servers.len());
                let mut taken = HashSet::default();
                for server in &servers {
                    self.tls_chains(server, serving, (&mut chains, &mut taken), diagnostics);
                }
                FilterChains::Tls(chains)
            }
        };
        let origins = servers.iter().map(GatewayServer::origin).collect();
        let has_proxy_header = has_proxy_header(serving.build.resources);
        let address = address.into();
        self.listeners.push(Listener { address, binding: Binding::Bound, has_proxy_header, chains, origins });
    }

    /// Adds the chains of a server that speaks TLS.
    fn tls_chains<'a>(
        &mut self,
        server: &GatewayServer<'a>,
        serving: &mut Serving<'_, 'a>,
        (chains, taken): (&mut Vec<FilterChain>, &mut HashSet<HostPattern>),
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        match server.server.tls.as_ref().map(|tls| tls.mode.value) {
            Some(ServerTlsMode::Passthrough) => {
                return chains.extend(connections::passed_through(server, serving, taken, diagnostics));
            }
            Some(ServerTlsMode::AutoPassthrough) => {
                return chains.extend(connections::automatic(server, serving, taken));
            }
            _ => {}
        }
        let is_http = server.server.port.as_ref().is_some_and(|port| port.protocol.eq_ignore_ascii_case("HTTPS"));
        let proxy = if is_http { None } else { connections::plain(server, serving) };
        if !is_http && proxy.is_none() {
            return diagnostics.push(findings::no_tcp_route(server));
        }
        let Some((server_names, context)) = terminated(server, serving.build.proxy, taken, diagnostics) else { return };
        let filter = match proxy {
            Some(proxy) => NetworkFilter::Tcp(proxy),
            None => {
                let own = serving.hosts(std::slice::from_ref(server));
                NetworkFilter::Http(self.configuration(tls_name(server), server.port, own))
            }
        };
        let transport = TransportSocket::Tls { context, filter };
        let origin = server.origin();
        chains.push(FilterChain { server_names, destination_subnets: Vec::new(), transport, origin });
    }

    fn configuration(&mut self, name: String, port: u16, hosts: VirtualHosts) -> RouteConfigurationIndex {
        let index = RouteConfigurationIndex(u32::try_from(self.configurations.len()).unwrap_or(u32::MAX));
        self.configurations.push(Unfinished { name, port, hosts });
        index
    }

    /// All of it, once routes are known.
    pub(super) fn finish(self, blocks: &[Block], tcp_proxies: Vec<TcpProxy>) -> Served {
        let finished = |Unfinished { name, port, hosts }| RouteConfiguration {
            name,
            port,
            virtual_hosts: hosts.finish(port, blocks),
            compares_ports: false,
        };
        Served {
            listeners: self.listeners,
            route_configurations: self.configurations.into_iter().map(finished).collect(),
            tcp_proxies,
        }
    }
}

/// Server names and TLS of a server that ends TLS; nothing, with a diagnostic, if it can't be served.
fn terminated(
    server: &GatewayServer<'_>,
    proxy: &Proxy,
    taken: &mut HashSet<HostPattern>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<(Vec<HostPattern>, Arc<DownstreamTls>)> {
    let settings: &ServerTlsSettings = server.server.tls.as_deref()?;
    let mut own = HashSet::default();
    let hosts = gateway::server_hosts(server).map(|host| host.pattern);
    let names: Vec<HostPattern> = hosts.filter(|name| own.insert(name.clone())).collect();
    if let Some(twice) = names.iter().find(|name| taken.contains(name)) {
        diagnostics.push(findings::server_name_taken(server, twice));
        return None;
    }
    let context = downstream_tls::context(server, settings, &proxy.namespace, diagnostics)?;
    taken.extend(names.iter().cloned());
    Some((names, Arc::new(context)))
}

/// `http.8080`, or `http.8080.127.0.0.1`
fn plain_name(address: SocketAddr) -> String {
    let is_everywhere = address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    if is_everywhere { format!("http.{}", address.port()) } else { format!("http.{}.{}", address.port(), address.ip()) }
}

/// `https.443.PORT-NAME.GATEWAY.NAMESPACE`
fn tls_name(server: &GatewayServer<'_>) -> String {
    let port_name = server.server.port.as_ref().map_or("", |port| &*port.name.value);
    let (namespace, gateway) = server.name();
    format!("https.{}.{port_name}.{gateway}.{namespace}", server.port)
}
