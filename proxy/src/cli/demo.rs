//! `demo`: the arguments of Bookinfo's canary in one process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::value::{self, PortMapping};
use super::{Color, Failure};
use crate::demo::{self, Options};

/// Shows Bookinfo's 50/50 canary at work, live
///
/// Starts three versions of Bookinfo's reviews (v1 without stars, v2 with black ones, v3 with red ones), a port that stands for
/// their Kubernetes Service, and a gateway with the Gateway, VirtualService and DestinationRule as Istio's users write them. Sends
/// itself light traffic and shows the configured split beside the observed one. Needs no privileges, network or cluster.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate demo
  tidegate demo --port-map 80:8080 --config ./bookinfo
      Listen on 8080, and keep the configuration in ./bookinfo")]
pub(crate) struct DemoArguments {
    /// Where the configuration is written to and kept; what is there already stays, but for the addresses of the back ends
    #[arg(long, env = "TIDEGATE_DEMO_CONFIG", value_name = "DIR")]
    config: Option<PathBuf>,
    /// The port that is bound for the Gateway's port 80; any that is free if not given (repeatable)
    #[arg(long, env = "TIDEGATE_DEMO_PORT_MAP", value_name = "GATEWAY:BOUND", value_delimiter = ',', value_parser = value::port_mapping)]
    port_map: Vec<PortMapping>,
    /// The port that stands for the Kubernetes Service, 0 for any that is free
    #[arg(long, env = "TIDEGATE_DEMO_SERVICE_PORT", value_name = "PORT", default_value_t = 0)]
    service_port: u16,
    /// The admin address; port 0 is any that is free
    #[arg(long, env = "TIDEGATE_DEMO_ADMIN", value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    admin: SocketAddr,
    /// Ends by itself after this time
    #[arg(long, env = "TIDEGATE_DEMO_DURATION", value_name = "DURATION", value_parser = value::duration)]
    duration: Option<Duration>,
}

impl DemoArguments {
    pub(crate) fn run(self, color: Color) -> Result<(), Failure> {
        let mut port_map: Vec<_> = self.port_map.into_iter().map(|mapping| (mapping.from, mapping.to)).collect();
        if !port_map.iter().any(|(from, _)| *from == demo::GATEWAY_PORT) {
            port_map.push((demo::GATEWAY_PORT, 0));
        }
        let options = Options {
            folder: self.config,
            port_map,
            service_port: self.service_port,
            admin: self.admin,
            duration: self.duration,
            color,
        };
        demo::run(&options).map_err(Failure)
    }
}
