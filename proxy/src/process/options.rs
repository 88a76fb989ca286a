//! What a gateway is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use config_model::name::Labels;
use config_model::resolve::Role;
use ipnet::IpNet;

use crate::control::PortMap;
use crate::pressure::MemoryLimit;
use crate::telemetry;

/// Everything that the command line says.
#[derive(Debug, Clone)]
pub struct GatewayOptions {
    /// Which resources apply.
    pub role: Role,
    /// The configuration folder.
    pub config: PathBuf,
    /// Our namespace.
    pub namespace: String,
    /// Our labels, which Gateways select.
    pub labels: Labels,
    /// Where the admin listens; port 0 for any that is free.
    pub admin: SocketAddr,
    /// Data threads, at least 1.
    pub workers: usize,
    /// Where the access log goes, unless MeshConfig says otherwise.
    pub access_log: telemetry::Target,
    /// The folder of the workload's own certificate in the mesh: `cert-chain.pem`, `key.pem` and `root-cert.pem`.
    pub mesh_certificates: PathBuf,
    /// Whether HTTP/1.0 is served.
    pub http10: bool,
    /// Clients whose `x-envoy-...` fields about time-outs and retries count.
    pub trusted_clients: Vec<IpNet>,
    /// How much memory there is.
    pub memory_limit: MemoryLimit,
    /// Ports that are bound in place of the Gateways'.
    pub port_map: PortMap,
    /// Whether HTTP/3 is served where HTTPS is.
    #[cfg(feature = "http3")]
    pub http3: bool,
    /// How long all goes on when we are told to end, before we drain.
    pub drain_delay: Duration,
    /// How long requests may take to end once we drain.
    pub drain: Duration,
    /// Version and commit, for `/server_info` and the metric `istio_build`.
    pub version: String,
}

impl GatewayOptions {
    /// Istio's ingress gateway over the folder `config`, by one worker, that logs no request and meets the world only where its
    /// resources say; the admin has a free port of this machine. What is to be otherwise is changed in what comes back, so that an
    /// option more is nothing to those who don't know it.
    pub fn new(config: impl Into<PathBuf>) -> Self {
        Self {
            role: Role::Gateway,
            config: config.into(),
            namespace: "default".to_owned(),
            labels: [("istio".into(), "ingressgateway".into())].into(),
            admin: (Ipv4Addr::LOCALHOST, 0).into(),
            workers: 1,
            access_log: telemetry::Target::Off,
            mesh_certificates: "/etc/certs".into(),
            http10: false,
            trusted_clients: Vec::new(),
            memory_limit: MemoryLimit::Off,
            port_map: PortMap::default(),
            #[cfg(feature = "http3")]
            http3: false,
            drain_delay: Duration::ZERO,
            drain: Duration::from_secs(10),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
