//! Everything that the demo runs: back ends, the port that stands for the Service, the folder, the gateway.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpListener;

use super::folder::{Folder, ROUTES};
use super::reviews::{self, Version};
use super::traffic::PATH;
use super::{Options, service, shares};
use crate::cli::VERSION;
use crate::cli::request::Request;
use crate::cli::terminal::{DIM, HEADING, paint};
use crate::control::PortMap;
use crate::process::{Gateway, GatewayOptions};

/// How long the requests of others may take once the demo ends.
const DRAIN: Duration = Duration::from_secs(5);

/// What runs, and where.
pub(crate) struct Stage {
    endpoints: Vec<(Version, SocketAddr)>,
    service: SocketAddr,
    /// The configuration.
    pub(crate) folder: Folder,
    /// The gateway.
    pub(crate) gateway: Gateway,
}

impl Stage {
    /// Starts everything.
    pub(crate) async fn set_up(options: &Options) -> Result<Self, String> {
        let mut endpoints = Vec::new();
        for version in Version::ALL {
            let (listener, address) = listen(0).await.map_err(|error| format!("a back end: {error}"))?;
            tokio::spawn(reviews::serve(listener, version));
            endpoints.push((version, address));
        }
        let (listener, service) = listen(options.service_port).await.map_err(|error| {
            format!("port {} can't be bound: {error}; name another one with --service-port", options.service_port)
        })?;
        tokio::spawn(service::serve(listener, endpoints.iter().map(|(_, address)| *address).collect()));
        let folder = Folder::prepare(options.folder.clone(), &endpoints)
            .map_err(|error| format!("the configuration can't be written: {error}; name a folder with --config"))?;
        let gateway =
            Gateway::start(gateway_options(options, folder.path()), None).map_err(|error| error.to_string())?;
        Ok(Self { endpoints, service, folder, gateway })
    }

    /// Where the gateway listens.
    pub(crate) fn entrance(&self) -> Result<SocketAddr, String> {
        let applied = self.gateway.status().applied();
        let bound = applied.listeners.iter().find_map(|listener| listener.bound.as_ref()?.ip_and_port());
        let port = bound.ok_or("the gateway listens nowhere: does the folder have a Gateway with a server?")?.port();
        Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// The shares that are configured now.
    pub(crate) fn configured(&self) -> Option<[f64; 3]> {
        let snapshot = self.gateway.status().snapshot()?;
        let url = format!("http://localhost{PATH}").parse().ok()?;
        let request = Request::new("GET", &url, &[]).ok()?;
        shares::configured(&snapshot, snapshot.listeners.first()?, &request, &self.endpoints)
    }

    /// What runs where, and what to try.
    pub(crate) fn introduction(&self) -> Result<String, String> {
        let (gateway, service) = (self.entrance()?.port(), self.service.port());
        let routes = self.folder.path().join(ROUTES);
        let (folder, routes) = (self.folder.path().display(), routes.display());
        let heading = |text| paint(HEADING, text);
        Ok(format!(
            "\
{}
  {folder}

{}
  curl http://localhost:{gateway}{PATH}
{}
  curl http://localhost:{service}{PATH}

{}
  sed -i.bak '/subset: v1/{{n;s/50/90/;}};/subset: v2/{{n;s/50/10/;}}' {routes}
{}
  sed -i.bak 's/prefix:/prefx:/' {routes}

{}
",
            heading("The configuration, as it would be applied to a cluster:"),
            heading("Through the gateway, half of the answers are from v1 and half from v2:"),
            heading("Past it, as by a plain Kubernetes Service, all three versions answer:"),
            heading("Change the weights while requests flow, and the split follows:"),
            heading("Break the file, and what was in force stays in force:"),
            paint(DIM, format!("The admin is on http://{}. Ctrl-C ends the demo.", self.gateway.admin())),
        ))
    }
}

/// The gateway of a pod with Istio's usual label. One data thread is more than the demo needs.
fn gateway_options(options: &Options, folder: &Path) -> GatewayOptions {
    GatewayOptions {
        admin: options.admin,
        port_map: PortMap::new(options.port_map.iter().copied()),
        drain: DRAIN,
        version: VERSION.to_owned(),
        ..GatewayOptions::new(folder)
    }
}

async fn listen(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
