//! Connections that were redirected to us: where they were meant to go, and which listener takes such.
//! Source: Linux, `SO_ORIGINAL_DST`; Envoy, `use_original_dst`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::worker::Local;

/// Where a redirected connection was meant to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    /// The address that the client wanted.
    pub(super) wanted: SocketAddr,
    /// The listener that takes it: that of the address, else that of its port on every address, else the one that it came to.
    pub(super) listener: SocketAddr,
}

/// The way of a connection that came in at `capturing`; nothing if it was not redirected, but meant for us.
pub(super) fn way(local: &Local, capturing: SocketAddr, socket: &TcpStream) -> Option<Way> {
    let wanted = original_destination(socket)?;
    // Whoever wants to go to us by another of our addresses would come back here for ever.
    if wanted.port() == capturing.port() || socket.local_addr().is_ok_and(|here| here == wanted) {
        return None;
    }
    let pinned = local.pin();
    let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), wanted.port());
    let found = [wanted, everywhere].into_iter().find(|address| pinned.listener(*address).is_some());
    Some(Way { wanted, listener: found.unwrap_or(capturing) })
}

fn original_destination(socket: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(socket);
    let found = socket.original_dst_v4().or_else(|_| socket.original_dst_v6());
    let found = found.ok()?.as_socket()?;
    Some(SocketAddr::new(found.ip().to_canonical(), found.port()))
}
