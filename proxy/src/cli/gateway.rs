//! `gateway` and `sidecar`: the arguments of the data plane, at the mesh's edge or beside a workload.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use clap::{Args, ValueEnum};
use config_model::name::Labels;
use config_model::resolve::Role;
use ipnet::IpNet;

use super::value::{self, PortMapping};
use super::{Failure, VERSION};
use crate::control::PortMap;
use crate::pressure::MemoryLimit;
use crate::process::{self, GatewayOptions};
use crate::telemetry::Target;
use tracing::level_filters::LevelFilter;

/// Serves the Gateways of a configuration folder
///
/// The folder is watched: a changed file is in force within half a second, and no request fails because of it. A file with an
/// error is refused whole and the last good version of it stays in force; at start an error ends the program with status 1.
/// SIGTERM or Ctrl-C finishes the requests in flight and ends with status 0; a second one ends at once. SIGHUP reads the folder anew,
/// SIGUSR1 opens the access logs again, SIGUSR2 has the program on disk take over and answers once more whoever is connected.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate gateway --config ./config --port-map 80:8080
      Serve Gateways with selector istio: ingressgateway; what they have on port 80 is bound on 8080
  tidegate gateway --config ./config --labels istio=egressgateway --admin 127.0.0.1:15000 --workers 2
  tidegate gateway --config ./config --access-log off --drain 30s")]
pub(crate) struct GatewayArguments {
    /// The proxy's labels, which Gateways select
    #[arg(long, env = "TIDEGATE_LABELS", value_name = "K=V,...", default_value = "istio=ingressgateway", value_parser = value::labels)]
    labels: Labels,
    /// Serves HTTP/3 too, wherever HTTPS is served, on the UDP port of the same number (experimental)
    #[cfg(feature = "http3")]
    #[arg(long, env = "TIDEGATE_HTTP3")]
    http3: bool,
    #[command(flatten)]
    proxy: ProxyArguments,
}

/// Routes the outbound traffic of the workload beside it
///
/// Serves what the Sidecar resource says that holds for these labels: ports and Unix sockets that clients connect to (captureMode
/// NONE), and connections that are redirected to port 15001, wherever they were meant to go. VirtualServices of the mesh hold, and services are
/// known by all their names. Changes, signals and the exit status are as with `tidegate gateway`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate sidecar --config ./config --namespace default --labels app=client
  tidegate sidecar --config ./config --labels app=client --port-map 15001:15101")]
pub(crate) struct SidecarArguments {
    /// The workload's labels, which Sidecars and sourceLabels select
    #[arg(long, env = "TIDEGATE_LABELS", value_name = "K=V,...", value_parser = value::labels)]
    labels: Option<Labels>,
    #[command(flatten)]
    proxy: ProxyArguments,
}

/// What both are told.
#[derive(Debug, Args)]
struct ProxyArguments {
    /// The folder of YAML files (.yaml, .yml)
    #[arg(long, env = "TIDEGATE_CONFIG", value_name = "DIR")]
    config: PathBuf,
    /// The proxy's own namespace
    #[arg(long, env = "TIDEGATE_NAMESPACE", value_name = "NS", default_value = "default")]
    namespace: String,
    /// The admin address: /ready, /stats/prometheus, /config_dump and more
    #[arg(long, env = "TIDEGATE_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    admin: SocketAddr,
    /// Data threads; one for each core that may be used if not given
    #[arg(long, env = "TIDEGATE_WORKERS", value_name = "N")]
    workers: Option<NonZeroU16>,
    /// The access log: - for standard output, off, or a file; MeshConfig and Telemetries stand before this
    #[arg(long, env = "TIDEGATE_ACCESS_LOG", value_name = "-|off|FILE", default_value = "-")]
    access_log: String,
    /// The folder of the proxy's own certificate in the mesh: cert-chain.pem, key.pem and root-cert.pem
    #[arg(long, env = "TIDEGATE_MESH_CERTIFICATES", value_name = "DIR", default_value = "/etc/certs")]
    mesh_certificates: PathBuf,
    /// Binds another port than the Gateway says, 0 for any that is free (repeatable)
    #[arg(long, env = "TIDEGATE_PORT_MAP", value_name = "GATEWAY:BOUND", value_delimiter = ',', value_parser = value::port_mapping)]
    port_map: Vec<PortMapping>,
    /// Serves HTTP/1.0 too, which gets 426 otherwise
    #[arg(long, env = "TIDEGATE_HTTP10")]
    http10: bool,
    /// Clients whose x-envoy-... headers about time-outs and retries count: addresses or networks (repeatable)
    #[arg(long, env = "TIDEGATE_TRUSTED_CLIENTS", value_name = "CIDR", value_delimiter = ',', value_parser = value::network)]
    trusted_clients: Vec<IpNet>,
    /// How much memory there is: bytes as in 512Mi, off, or auto for the limit of the control group. Above 80 percent of it
    /// idle connections close, above 90 requests get 503, above 95 no connection is accepted
    #[arg(long, env = "TIDEGATE_MEMORY_LIMIT", value_name = "BYTES|auto|off", default_value = "auto", value_parser = value::memory_limit)]
    memory_limit: MemoryLimit,
    /// How long connections are still accepted after SIGTERM, before requests in flight are finished: for load balancers that have
    /// yet to see in `/ready` that this is the end, and for the workload beside a sidecar, which is told to end at the same time
    #[arg(long, env = "TIDEGATE_DRAIN_DELAY", value_name = "DURATION", default_value = "0s", value_parser = value::duration)]
    drain_delay: Duration,
    /// How long requests in flight may take after SIGTERM
    #[arg(long, env = "TIDEGATE_DRAIN", value_name = "DURATION", default_value = "10s", value_parser = value::duration)]
    drain: Duration,
    /// What is logged to standard error
    #[arg(long, env = "TIDEGATE_LOG_LEVEL", value_name = "LEVEL", value_enum, default_value = "info")]
    log_level: LogLevel,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::OFF,
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

impl GatewayArguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let level = self.proxy.log_level;
        run(self.options(), level)
    }

    fn options(self) -> GatewayOptions {
        let options = self.proxy.options(Role::Gateway, self.labels);
        #[cfg(feature = "http3")]
        let options = GatewayOptions { http3: self.http3, ..options };
        options
    }
}

impl SidecarArguments {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let level = self.proxy.log_level;
        run(self.proxy.options(Role::Sidecar, self.labels.unwrap_or_default()), level)
    }
}

fn run(options: GatewayOptions, level: LogLevel) -> Result<(), Failure> {
    process::run(options, level.into()).map_err(|error| Failure(error.to_string()))
}

impl ProxyArguments {
    fn options(self, role: Role, labels: Labels) -> GatewayOptions {
        let cores = || available_parallelism().map_or(1, usize::from);
        GatewayOptions {
            role,
            config: self.config,
            namespace: self.namespace,
            labels,
            admin: self.admin,
            mesh_certificates: self.mesh_certificates,
            workers: self.workers.map_or_else(cores, |workers| usize::from(workers.get())),
            access_log: Target::parse(&self.access_log),
            http10: self.http10,
            trusted_clients: self.trusted_clients,
            memory_limit: self.memory_limit,
            port_map: PortMap::new(self.port_map.into_iter().map(|mapping| (mapping.from, mapping.to))),
            #[cfg(feature = "http3")]
            http3: false,
            drain_delay: self.drain_delay,
            drain: self.drain,
            version: VERSION.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: GatewayArguments,
    }

    fn options(line: &str) -> GatewayOptions {
        Line::try_parse_from(line.split(' ')).unwrap().arguments.options()
    }

    #[test]
    fn a_folder_is_enough() {
        let options = options("gateway --config conf");
        assert_eq!(options.config, PathBuf::from("conf"));
        assert_eq!(&*options.namespace, "default");
        assert_eq!(options.labels.get("istio").map(|value| &**value), Some("ingressgateway"));
        assert_eq!(options.admin, SocketAddr::from(([127, 0, 0, 1], 15000)));
        assert_eq!((options.access_log, options.drain), (Target::Stdout, Duration::from_secs(10)));
        assert!(options.workers >= 1);
    }

    #[test]
    fn what_is_given_stands() {
        let options = options(
            "gateway --config conf --namespace edge --labels app=web,tier=edge --admin [::1]:9901 --workers 3 \
             --access-log off --port-map 80:8080 --port-map 443:8443 --drain 1m30s --log-level warn",
        );
        assert_eq!((&*options.namespace, options.labels.len(), options.workers), ("edge", 2, 3));
        assert_eq!(options.admin, "[::1]:9901".parse().unwrap());
        assert_eq!((options.access_log, options.drain), (Target::Off, Duration::from_secs(90)));
        for (from, bound) in [(80, 8080), (443, 8443), (81, 81)] {
            let address = |port| SocketAddr::from(([0, 0, 0, 0], port)).into();
            assert_eq!(options.port_map.apply(&address(from)), address(bound));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "--workers 0",
            "--memory-limit 5Q",
            "--memory-limit 0",
            "--admin 15000",
            "--labels istio",
            "--port-map 80",
            "--drain 10",
            "--log-level loud",
        ] {
            let line = format!("gateway --config conf {line}");
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
