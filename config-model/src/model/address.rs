//! Where listeners listen.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What the address of a Unix socket begins with.
const UNIX: &str = "unix://";

/// What the addresses of pods begin with.
const PODS: &str = "pods://";

/// Where a listener listens, as the Gateway or the Sidecar says it. In words `0.0.0.0:80`, `unix:///run/mesh.sock` or
/// `pods://db.default.svc.cluster.local:5432`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerAddress {
    /// An address and port.
    Ip(SocketAddr),
    /// A Unix socket: the path of its file; or its name behind `@`, which has no file. Envoy: `Pipe`.
    Unix(Arc<str>),
    /// The addresses that pods of a service have at the moment, with a port of the service. Nothing is bound for them: it is for
    /// connections that are redirected. Envoy: a listener for each pod.
    Pods {
        /// The service, in lower case.
        host: Arc<str>,
        /// Its port, whichever the pods listen on.
        port: u16,
    },
}

impl ListenerAddress {
    /// The one that `text` names, if it is a Unix socket.
    pub fn unix(text: &str) -> Option<Self> {
        text.strip_prefix(UNIX).map(|path| Self::Unix(path.into()))
    }

    /// The address and port; none for a Unix socket and for pods.
    pub fn ip_and_port(&self) -> Option<SocketAddr> {
        if let Self::Ip(address) = self { Some(*address) } else { None }
    }

    /// The port: 0 for a Unix socket, as in the Sidecar.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Unix(_) => 0,
            Self::Pods { port, .. } => *port,
        }
    }

    /// Envoy's name of its listener: `0.0.0.0_80`, `unix:///run/mesh.sock_0`. Source: Istio, `getListenerName`.
    pub fn listener_name(&self) -> String {
        match self {
            Self::Ip(address) => format!("{}_{}", address.ip(), address.port()),
            Self::Unix(path) => format!("{UNIX}{path}_0"),
            Self::Pods { host, port } => format!("{PODS}{host}_{port}"),
        }
    }

    /// What listeners are ordered by: the port, then the address; those of pods come last.
    pub fn rank(&self) -> (u16, bool, Option<IpAddr>, Self) {
        let is_of_pods = matches!(self, Self::Pods { .. });
        (self.port(), is_of_pods, self.ip_and_port().map(|address| address.ip()), self.clone())
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
        let pods = || {
            let (host, port) = text.strip_prefix(PODS)?.rsplit_once(':')?;
            Some(Self::Pods { host: host.into(), port: port.parse().ok()? })
        };
        Self::unix(text).or_else(pods).map_or_else(|| text.parse().map(Self::Ip), Ok)
    }
}

impl fmt::Display for ListenerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{UNIX}{path}"),
            Self::Pods { host, port } => write!(f, "{PODS}{host}:{port}"),
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
            ("pods://db.example:5432", 5432, "pods://db.example_5432"),
        ] {
            let address: ListenerAddress = text.parse().unwrap();
            assert_eq!((&*address.to_string(), address.port(), &*address.listener_name()), (text, port, name));
        }
        for text in ["/run/mesh.sock", "pods://db.example", "pods://db.example:x"] {
            assert!(text.parse::<ListenerAddress>().is_err(), "{text}");
        }
    }
}
