//! Connections that were redirected to us: where they were meant to go, and which listener takes such.
//! Source: Linux, `SO_ORIGINAL_DST` and `IP_TRANSPARENT`; Envoy, `use_original_dst`, and `transparent`, of which a connection's own
//! address is the one that the client wanted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use config_model::model::{Binding, ListenerAddress};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Place;
use crate::worker::Local;

/// Where a redirected connection was meant to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Way {
    /// The address that the client wanted.
    pub(super) wanted: SocketAddr,
    /// The listener that takes it: that of the address, else that of the pods of whom one has it, else that of its port on every
    /// address, else the one that it came to.
    pub(super) listener: ListenerAddress,
}

/// The way of a connection that came in at `place`; nothing if it was not redirected, but meant for us.
pub(super) fn way(local: &Local, place: &Place, socket: &TcpStream) -> Option<Way> {
    let keeps_address = match place.binding {
        Binding::Redirected => false,
        Binding::Transparent => true,
        Binding::Bound | Binding::Unbound => return None,
    };
    let here = socket.local_addr().ok();
    let wanted =
        original_destination(socket).filter(|wanted| Some(*wanted) != here).or(here.filter(|_| keeps_address))?;
    // Whoever wants to go to us by another of our addresses would come back here for ever.
    if wanted.port() == place.address.port() {
        return None;
    }
    let pinned = local.pin();
    let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), wanted.port());
    let of_pod = pinned.snapshot.listener_of_pod(wanted);
    let places = [Some(wanted.into()), of_pod, Some(ListenerAddress::from(everywhere))];
    let found = places.into_iter().flatten().find(|address| pinned.listener(address).is_some());
    Some(Way { wanted, listener: found.unwrap_or_else(|| place.address.clone()) })
}

/// By the kernel's table of connections, which has those too that were not redirected.
fn original_destination(socket: &TcpStream) -> Option<SocketAddr> {
    let here = socket.local_addr().ok()?;
    let socket = SockRef::from(socket);
    let found =
        if here.is_ipv6() && !is_mapped(here.ip()) { socket.original_dst_v6() } else { socket.original_dst_v4() };
    let found = found.ok()?.as_socket()?;
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}

/// Whether an address of IPv4 is written as one of IPv6, as sockets for both families do.
fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}
