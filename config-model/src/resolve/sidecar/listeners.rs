//! Which listeners a sidecar has, and what each of them takes. Several services may come to one address: requests are told
//! apart by their host, TLS by its server name, other connections by the address that the client wanted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipnet::IpNet;

use crate::model::{Binding, FilterChains, Listener, ListenerAddress, NetworkFilter, TcpRoute};
use crate::name::HostPattern;
use crate::origin::Origin;
use crate::resolve::protocol::Protocol;
use crate::resolve::services::Port;

use super::chains::filter_chains;
use super::connections::{self, Connections};
use super::hosts;
use super::scope::{Egress, Known};
use super::{HTTP_PROXY, Serving};

/// Listeners as they are put together, by the address that they are bound to, or that clients want to go to.
#[derive(Default)]
pub(super) struct Listeners<'e, 'a> {
    entries: BTreeMap<ListenerAddress, Entry<'e, 'a>>,
}

/// What has been found for one address.
struct Entry<'e, 'a> {
    is_bound: bool,
    /// An earlier entry of the Sidecar has it alone.
    is_locked: bool,
    http: Option<Http<'e, 'a>>,
    /// Whether HTTP has to be told from other connections.
    is_mixed: bool,
    tls: Vec<(Vec<HostPattern>, TcpRoute)>,
    tcp: Vec<TcpRoute>,
    origins: Vec<Origin>,
}

/// Requests at an address.
struct Http<'e, 'a> {
    egress: &'e Egress<'a>,
    /// None for an HTTP proxy, and for a Unix socket, which is one in all but name.
    port: Option<u16>,
    /// The only service that is meant there, whatever the host says.
    only: Option<&'e Known<'a>>,
    is_declared: bool,
}

const EVERYWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

impl<'e, 'a> Listeners<'e, 'a> {
    /// What was added is not added to any more.
    pub(super) fn lock(&mut self) {
        self.entries.values_mut().for_each(|entry| entry.is_locked = true);
    }

    /// Adds what `egress` listens on.
    pub(super) fn add(&mut self, serving: &mut Serving<'a>, egress: &'e Egress<'a>) {
        let services = || egress.services.iter().filter(|known| !known.is_alias());
        let Some((number, protocol)) = egress.port else {
            for known in services() {
                for port in known.service.ports() {
                    let declared = port.protocol;
                    self.service(serving, (egress, known), port, declared);
                }
            }
            return;
        };
        if protocol == Protocol::HttpProxy {
            self.http(address(egress, number), egress, Http { egress, port: None, only: None, is_declared: true });
            return;
        }
        if egress.socket.is_some() {
            return self.socket(serving, egress, protocol);
        }
        for known in services() {
            let named = known.service.ports().into_iter().find(|port| port.number == number);
            if let Some(port) = named {
                self.service(serving, (egress, known), port, protocol);
            }
        }
        if protocol == Protocol::Http {
            // Bound also where no service has the port: requests are told so.
            let http = Http { egress, port: Some(number), only: None, is_declared: true };
            self.http(address(egress, number), egress, http);
        }
    }

    /// Adds a Unix socket, where every port of every service is known.
    fn socket(&mut self, serving: &mut Serving<'a>, egress: &'e Egress<'a>, protocol: Protocol) {
        let address = address(egress, 0);
        if matches!(protocol, Protocol::Http | Protocol::Unknown) {
            let is_declared = protocol == Protocol::Http;
            self.http(address.clone(), egress, Http { egress, port: None, only: None, is_declared });
        }
        let protocol = if protocol == Protocol::Unknown { Protocol::Tcp } else { protocol };
        if matches!(protocol, Protocol::Tls | Protocol::Tcp) {
            for known in egress.services.iter().filter(|known| !known.is_alias()) {
                let found = connections::of_service(serving, egress, known, (0, protocol, true, &[]));
                self.tcp(address.clone(), egress, found);
            }
        }
    }

    fn service(
        &mut self,
        serving: &mut Serving<'a>,
        (egress, known): (&'e Egress<'a>, &'e Known<'a>),
        port: Port<'a>,
        declared: Protocol,
    ) {
        let number = egress.port.map_or(port.number, |(number, _)| number);
        match declared {
            Protocol::Datagram | Protocol::HttpProxy => {}
            Protocol::Http => {
                let http = Http { egress, port: Some(port.number), only: None, is_declared: true };
                self.http(address(egress, port.number), egress, http);
            }
            Protocol::Tls | Protocol::Tcp => {
                for (address, subnets) in places(egress, known, port.number) {
                    let is_for = (number, declared, !is_everywhere(&address), &subnets[..]);
                    let found = connections::of_service(serving, egress, known, is_for);
                    self.tcp(address, egress, found);
                }
            }
            Protocol::Unknown => {
                for (address, subnets) in places(egress, known, port.number) {
                    let has_address = !is_everywhere(&address);
                    let only = has_address.then_some(known);
                    let is_for = (number, Protocol::Tcp, has_address, &subnets[..]);
                    let found = connections::of_service(serving, egress, known, is_for);
                    let http = Http { egress, port: Some(port.number), only, is_declared: false };
                    self.http(address.clone(), egress, http);
                    self.tcp(address, egress, found);
                }
            }
        }
    }

    fn entry(&mut self, address: ListenerAddress, egress: &Egress<'a>) -> Option<&mut Entry<'e, 'a>> {
        let is_everywhere = address.ip_and_port().is_some_and(|address| address.ip() == EVERYWHERE);
        let entry = self.entries.entry(address).or_insert_with(|| Entry {
            is_bound: egress.is_bound,
            is_locked: false,
            http: None,
            // Whoever redirects connections to a port may redirect other services' connections to it, too.
            is_mixed: is_everywhere && !egress.is_bound,
            tls: Vec::new(),
            tcp: Vec::new(),
            origins: egress.origin.iter().cloned().collect(),
        });
        (!entry.is_locked).then_some(entry)
    }

    fn http(&mut self, address: ListenerAddress, egress: &Egress<'a>, http: Http<'e, 'a>) {
        let Some(entry) = self.entry(address, egress) else { return };
        entry.is_mixed |= !http.is_declared || !entry.tcp.is_empty() || !entry.tls.is_empty();
        match &mut entry.http {
            Some(known) => known.is_declared |= http.is_declared,
            None => entry.http = Some(http),
        }
    }

    fn tcp(&mut self, address: ListenerAddress, egress: &Egress<'a>, found: Connections) {
        let Some(entry) = self.entry(address, egress) else { return };
        entry.is_mixed |= entry.http.is_some();
        // Of two that take the same the first stands.
        for (names, route) in found.tls {
            let is_same = |(of, known): &(Vec<HostPattern>, TcpRoute)| {
                *of == names && known.destination_subnets == route.destination_subnets
            };
            if !entry.tls.iter().any(is_same) {
                entry.tls.push((names, route));
            }
        }
        for route in found.tcp {
            if entry.tcp.iter().all(|known| known.destination_subnets != route.destination_subnets) {
                entry.tcp.push(route);
            }
        }
        entry.origins.extend(found.origin);
    }

    /// The listeners.
    pub(super) fn finish(self, serving: &mut Serving<'a>) -> Vec<Listener> {
        let mut configurations = BTreeMap::new();
        let entries = self.entries.into_iter();
        entries.map(|(address, entry)| entry.finish(address, serving, &mut configurations)).collect()
    }
}

/// Where `egress` listens for what is told apart by other things than its address.
fn address(egress: &Egress<'_>, port: u16) -> ListenerAddress {
    let of_port = || SocketAddr::new(egress.address.unwrap_or(EVERYWHERE), port).into();
    egress.socket.clone().unwrap_or_else(of_port)
}

fn is_everywhere(address: &ListenerAddress) -> bool {
    address.ip_and_port().is_some_and(|address| address.ip().is_unspecified())
}

/// Where connections to a port of a service come in, and the subnets that tell them from others there.
fn places(egress: &Egress<'_>, known: &Known<'_>, port: u16) -> Vec<(ListenerAddress, Vec<IpNet>)> {
    if egress.address.is_none() && egress.port.is_none() && known.service.is_headless() {
        return vec![(ListenerAddress::Pods { host: known.host.clone(), port }, Vec::new())];
    }
    let places = addresses(egress, known).into_iter();
    places.map(|(ip, subnets)| (SocketAddr::new(ip, port).into(), subnets)).collect()
}

fn addresses(egress: &Egress<'_>, known: &Known<'_>) -> Vec<(IpAddr, Vec<IpNet>)> {
    if let Some(address) = egress.address {
        return vec![(address, Vec::new())];
    }
    let mut places = Vec::new();
    for text in known.service.addresses() {
        match (text.parse::<IpAddr>(), text.parse::<IpNet>()) {
            (Ok(ip), _) if !ip.is_unspecified() => places.push((ip, Vec::new())),
            (_, Ok(net)) if net.prefix_len() == net.max_prefix_len() => places.push((net.addr(), Vec::new())),
            (_, Ok(net)) => places.push((EVERYWHERE, vec![net])),
            _ => {}
        }
    }
    if places.is_empty() {
        places.push((EVERYWHERE, Vec::new()));
    }
    places
}

/// A route configuration is known by its egress listener, its port and its only service.
type Configurations = BTreeMap<(usize, Option<u16>, Option<String>), crate::model::RouteConfigurationIndex>;

impl<'e, 'a> Entry<'e, 'a> {
    fn finish(
        mut self,
        address: ListenerAddress,
        serving: &mut Serving<'a>,
        configurations: &mut Configurations,
    ) -> Listener {
        let is_expected = self.http.as_ref().is_some_and(|http| http.is_declared);
        let http = self.http.take().map(|http| http.routes(serving, configurations));
        let chains = match http {
            Some(routes) if !self.is_mixed => FilterChains::PlainText(NetworkFilter::Http(routes)),
            http => {
                let (tls, tcp) = (std::mem::take(&mut self.tls), std::mem::take(&mut self.tcp));
                filter_chains(serving, &address, (tls, tcp), http, is_expected)
            }
        };
        let binding = if self.is_bound { Binding::Bound } else { Binding::Unbound };
        self.origins.dedup();
        Listener { address, binding, has_proxy_header: false, chains, origins: self.origins }
    }
}

impl<'a> Http<'_, 'a> {
    fn routes(
        self,
        serving: &mut Serving<'a>,
        configurations: &mut Configurations,
    ) -> crate::model::RouteConfigurationIndex {
        let only = self.only.map(|known| known.host.to_string());
        let key = (std::ptr::from_ref(self.egress).addr(), self.port, only);
        if let Some(known) = configurations.get(&key) {
            return *known;
        }
        let mut found = hosts::virtual_hosts(&mut serving.build, self.egress, self.port);
        let index = match (&key.2, self.port) {
            (Some(host), Some(port)) => {
                // Whoever comes to the service's own address means it, whatever the host says.
                let name = format!("{host}:{port}");
                found.retain(|host| host.name == name);
                found.iter_mut().for_each(|host| host.domains = vec![HostPattern::Any]);
                serving.routes_of(name, Some(port), found)
            }
            (_, port) => {
                let socket = || self.egress.socket.as_ref().map(ToString::to_string);
                let name = port.map(|port| port.to_string()).or_else(socket);
                let name = name.unwrap_or_else(|| HTTP_PROXY.to_owned());
                serving.routes(name, port, found)
            }
        };
        configurations.insert(key, index);
        index
    }
}
