//! Listeners of a gateway: which servers share a socket, and how its connections are told apart.
//! Source: Istio, how a gateway's servers are merged: plain-text HTTP servers on one port and address share a listener and its
//! routes, whichever Gateways they are in; servers that end TLS share the listener, and each has routes of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::diagnostic::Diagnostic;
use crate::model::{
    DownstreamTls, FilterChain, FilterChains, Listener, NetworkFilter, RouteConfiguration, RouteConfigurationIndex,
    TransportSocket,
};
use crate::name::HostPattern;
use crate::resource::{Gateway, Server, ServerTlsSettings};

use super::downstream_tls;
use super::gateway::{self, GatewayServer, Served};
use super::set::Item;
use super::virtual_hosts::{Block, VirtualHosts};
use super::{Proxy, findings};

/// What a server does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// HTTP in plain text.
    PlainHttp,
    /// HTTP in TLS that ends here.
    Https,
}

/// The servers that share a listener, all of one kind.
pub(super) struct Socket<'a> {
    address: SocketAddr,
    kind: Kind,
    servers: Vec<GatewayServer<'a>>,
}

/// Nothing for what is not served yet.
fn kind(server: &Server) -> Option<Kind> {
    let protocol = &*server.port.as_ref()?.protocol;
    if ["HTTP", "HTTP2", "GRPC", "GRPC-WEB"].iter().any(|http| protocol.eq_ignore_ascii_case(http)) {
        return Some(Kind::PlainHttp);
    }
    let ends_here = server.tls.as_ref().is_some_and(|tls| downstream_tls::is_terminated(tls.mode.value));
    (protocol.eq_ignore_ascii_case("HTTPS") && ends_here).then_some(Kind::Https)
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
    /// Adds a listener. `hosts` yields what some of its servers serve together.
    pub(super) fn add<'a>(
        &mut self,
        socket: Socket<'a>,
        proxy: &Proxy,
        diagnostics: &mut Vec<Diagnostic>,
        mut hosts: impl FnMut(&[GatewayServer<'a>]) -> VirtualHosts,
    ) {
        let Socket { address, kind, servers } = socket;
        let chains = match kind {
            Kind::PlainHttp => {
                let routes = self.configuration(plain_name(address), address.port(), hosts(&servers));
                FilterChains::PlainText(NetworkFilter::Http(routes))
            }
            Kind::Https => {
                let mut taken = HashSet::default();
                let mut chains = Vec::with_capacity(servers.len());
                for server in &servers {
                    let Some((server_names, context)) = terminated(server, proxy, &mut taken, diagnostics) else {
                        continue;
                    };
                    let own = hosts(std::slice::from_ref(server));
                    let routes = self.configuration(tls_name(server), address.port(), own);
                    let transport = TransportSocket::Tls { context, filter: NetworkFilter::Http(routes) };
                    chains.push(FilterChain { server_names, transport, origin: server.origin() });
                }
                FilterChains::Tls(chains)
            }
        };
        let origins = servers.iter().map(GatewayServer::origin).collect();
        self.listeners.push(Listener { address, chains, origins });
    }

    fn configuration(&mut self, name: String, port: u16, hosts: VirtualHosts) -> RouteConfigurationIndex {
        let index = RouteConfigurationIndex(u32::try_from(self.configurations.len()).unwrap_or(u32::MAX));
        self.configurations.push(Unfinished { name, port, hosts });
        index
    }

    /// All of it, once routes are known.
    pub(super) fn finish(self, blocks: &[Block]) -> Served {
        let finished = |Unfinished { name, port, hosts }| RouteConfiguration {
            name,
            port,
            virtual_hosts: hosts.finish(port, blocks),
        };
        Served {
            listeners: self.listeners,
            route_configurations: self.configurations.into_iter().map(finished).collect(),
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
