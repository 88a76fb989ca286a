//! What a service's port carries. Source: Istio, "Protocol Selection": `appProtocol`, else the beginning of the port's name; of
//! a ServiceEntry its `protocol`.

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP in plain text, of any version.
    Http,
    /// HTTP of any port, by absolute URLs.
    HttpProxy,
    /// TLS that ends at the service.
    Tls,
    /// Anything that is not read.
    Tcp,
    /// Nobody has said: the first bytes tell.
    Unknown,
    /// Datagrams.
    Datagram,
}

/// Ports whose servers speak first, or are known not to speak HTTP. Source: Istio, `wellKnownPorts`.
const WELL_KNOWN: [u16; 4] = [25, 53, 3306, 27017];

impl Protocol {
    /// Of a protocol as a ServiceEntry or a Sidecar names it.
    pub(crate) fn of_name(name: &str) -> Self {
        match &*name.to_ascii_uppercase() {
            "HTTP" | "HTTP2" | "GRPC" | "GRPC-WEB" => Self::Http,
            "HTTP_PROXY" => Self::HttpProxy,
            "HTTPS" | "TLS" => Self::Tls,
            "TCP" | "MONGO" | "REDIS" | "MYSQL" => Self::Tcp,
            "UDP" => Self::Datagram,
            _ => Self::Unknown,
        }
    }

    /// Of a port of a Kubernetes Service.
    pub(crate) fn of_kubernetes(number: u16, name: &str, transport: &str, application: &str) -> Self {
        if matches!(transport, "UDP" | "SCTP") {
            return Self::Datagram;
        }
        let written = if application.is_empty() { name } else { application };
        match written {
            "kubernetes.io/h2c" | "kubernetes.io/ws" if !application.is_empty() => return Self::Http,
            "kubernetes.io/wss" if !application.is_empty() => return Self::Tls,
            _ => {}
        }
        if written.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("grpc-web")) {
            return Self::Http;
        }
        match Self::of_name(written.split('-').next().unwrap_or(written)) {
            Self::Unknown if WELL_KNOWN.contains(&number) => Self::Tcp,
            Self::HttpProxy => Self::Unknown,
            known => known,
        }
    }

    /// Whether requests may come in there.
    pub(crate) fn may_be_http(self) -> bool {
        matches!(self, Self::Http | Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ports_protocol_is_told_by_app_protocol_then_name_then_number() {
        for (number, name, transport, application, protocol) in [
            (80, "http", "TCP", "", Protocol::Http),
            (80, "http-web", "", "", Protocol::Http),
            (80, "grpc-web-x", "", "", Protocol::Http),
            (80, "web", "", "", Protocol::Unknown),
            (443, "https-a", "", "", Protocol::Tls),
            (443, "web", "", "https", Protocol::Tls),
            (443, "http", "", "kubernetes.io/wss", Protocol::Tls),
            (80, "tcp", "", "kubernetes.io/h2c", Protocol::Http),
            (3306, "db", "", "", Protocol::Tcp),
            (53, "http-dns", "UDP", "", Protocol::Datagram),
            (6379, "redis", "", "", Protocol::Tcp),
            (80, "udp-x", "TCP", "", Protocol::Datagram),
            (80, "", "", "", Protocol::Unknown),
        ] {
            let found = Protocol::of_kubernetes(number, name, transport, application);
            assert_eq!(found, protocol, "{number} {name} {transport} {application}");
        }
        assert_eq!(Protocol::of_name("Mongo"), Protocol::Tcp);
        assert_eq!(Protocol::of_name("http_proxy"), Protocol::HttpProxy);
        assert_eq!(Protocol::of_name(""), Protocol::Unknown);
    }
}
