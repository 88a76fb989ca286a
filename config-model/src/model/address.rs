//! Where listeners listen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix://";

/// Where a listener listens, as the Gateway or the Sidecar says it. In words `0.0.0.0:80` or `unix:///run/mesh.sock`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerAddress {
    /// An address and port.
    Ip(SocketAddr),
    /// A Unix socket: the path of its file; or its name behind `@`, which has no file. Envoy: `Pipe`.
    Unix(Arc<str>),
}

impl ListenerAddress {
    /// The one that `text` names, if it is a Unix socket.
    pub fn unix(text: &str) -> Option<Self> {
        text.strip_prefix(UNIX).map(|path| Self::Unix(path.into()))
    }

    /// The address and port; none for a Unix socket.
    pub fn ip_and_port(&self) -> Option<SocketAddr> {
        if let Self::Ip(address) = self { Some(*address) } else { None }
    }

    /// The port: 0 for a Unix socket, as in the Sidecar.
    pub fn port(&self) -> u16 {
        self.ip_and_port().map_or(0, |address| address.port())
    }

    /// Envoy's name of its listener: `0.0.0.0_80`, `unix:///run/mesh.sock_0`. Source: Istio, `getListenerName`.
    pub fn listener_name(&self) -> String {
        match self {
            Self::Ip(address) => format!("{}_{}", address.ip(), address.port()),
            Self::Unix(path) => format!("{UNIX}{path}_0"),
        }
    }

    /// What listeners are ordered by: the port, then the address.
    pub fn rank(&self) -> (u16, Option<IpAddr>, Self) {
        (self.port(), self.ip_and_port().map(|address| address.ip()), self.clone())
    }
}

impl From<SocketAddr> for ListenerAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl PartialEq<SocketAddr> for ListenerAddress {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.ip_and_port() == Some(*other)
    }
}

impl FromStr for ListenerAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::unix(text).map_or_else(|| text.parse().map(Self::Ip), Ok)
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
        }
    }
}

impl Serialize for ListenerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, port, name) in [
            ("0.0.0.0:80", 80, "0.0.0.0_80"),
            ("[::1]:8443", 8443, "::1_8443"),
            ("unix:///run/mesh.sock", 0, "unix:///run/mesh.sock_0"),
            ("unix://@mesh", 0, "unix://@mesh_0"),
        ] {
            let address: ListenerAddress = text.parse().unwrap();
            assert_eq!((&*address.to_string(), address.port(), &*address.listener_name()), (text, port, name));
        }
        assert!("/run/mesh.sock".parse::<ListenerAddress>().is_err());
    }
}
