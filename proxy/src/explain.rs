//! Where a connection would go that is not read as HTTP, and why: for `route` and `/explain`, which are asked of `tcp://...`
//! and `tls://...`. Start at [`explain`].

use std::net::{IpAddr, Ipv4Addr};

use config_model::model::{
    ClusterIndex, ClusterName, ClusterTarget, Endpoint, Listener, ListenerAddress, Model, Tunnel,
};
use config_model::origin::Origin;
use http::Uri;
use routing::Table;
use serde::Serialize;

use crate::cli::terminal::{DIM, ERROR, paint};

/// What becomes of a connection.
#[derive(Debug, Serialize)]
pub(crate) struct Answer<'m> {
    connection: String,
    listener: String,
    /// Those that were looked at, in order; the last one is taken, if any is.
    routes: Vec<Looked>,
    /// What endpoints are asked for, if they are proxies.
    #[serde(skip_serializing_if = "Option::is_none")]
    tunnel: Option<&'m Tunnel>,
    destinations: Vec<Share<'m>>,
}

/// A route, and whether it takes the connection.
#[derive(Debug, Serialize)]
struct Looked {
    id: String,
    origin: Origin,
    takes: bool,
    reason: String,
}

/// A destination and its share.
#[derive(Debug, Serialize)]
struct Share<'m> {
    cluster: &'m ClusterName,
    exists: bool,
    share: f64,
    /// Whether the draw falls on it.
    chosen: bool,
    endpoints: Vec<&'m Endpoint>,
}

/// Whether `url` stands for a connection, not for a request.
pub(crate) fn is_meant(url: &Uri) -> bool {
    matches!(url.scheme_str(), Some("tcp" | "tls"))
}

/// Explains a connection to `url` that comes in at `listener`; `table` is made of `model`, and `draw` is a fraction of 2^64.
///
/// # Errors
/// If the listener takes no such connection; in words, with the cure.
pub(crate) fn explain<'m>(
    url: &Uri,
    listener: &Listener,
    (model, table): (&'m Model, &Table),
    endpoints_of: impl Fn(ClusterIndex) -> Vec<&'m Endpoint>,
    draw: u64,
) -> Result<Answer<'m>, String> {
    let host = url.host().unwrap_or("").trim_matches(['[', ']']).to_ascii_lowercase();
    let own = listener.address.ip_and_port().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
    let wanted = host.parse::<IpAddr>().unwrap_or(own);
    let name = (url.scheme_str() == Some("tls") && !host.is_empty()).then_some(&*host);
    let place = place(&listener.address);
    let proxy = listener.tcp_for(wanted, name).ok_or_else(|| match name {
        Some(name) => format!("{place} passes no TLS for {name:?} on"),
        None => format!("{place} takes no connections but HTTP or TLS; ask for http://, https:// or tls://"),
    })?;
    let routes = table.tcp(proxy).into_iter().flat_map(|entry| entry.routes());
    let mut looked = Vec::new();
    let mut taken = None;
    for entry in routes {
        let subnets: Vec<String> = entry.route.destination_subnets.iter().map(ToString::to_string).collect();
        let takes = entry.takes(wanted);
        let reason = match (subnets.is_empty(), takes) {
            (true, _) => "takes every connection".to_owned(),
            (false, true) => format!("{wanted} is in {}", subnets.join(", ")),
            (false, false) => format!("{wanted} is not in {}", subnets.join(", ")),
        };
        looked.push(Looked { id: entry.route.id.to_string(), origin: entry.route.origin.clone(), takes, reason });
        if takes {
            taken = Some(entry);
            break;
        }
    }
    let chosen = taken.and_then(|entry| entry.split.as_ref()).map_or(0, |(_, split)| split.pick(draw));
    let destinations = taken.and_then(|entry| model_route(model, &entry.route.id, proxy.0));
    let total: u64 = destinations.iter().flat_map(|route| &route.destinations).map(|to| u64::from(to.weight)).sum();
    let shares = destinations.iter().flat_map(|route| &route.destinations).enumerate().filter_map(|(place, to)| {
        let (cluster, exists, endpoints) = match &to.cluster {
            ClusterTarget::Known(index) => (&model.clusters.get(index.0 as usize)?.name, true, endpoints_of(*index)),
            ClusterTarget::Missing(name) => (name, false, Vec::new()),
        };
        let share = f64::from(to.weight) / total.max(1) as f64;
        Some(Share { cluster, exists, share, chosen: place == chosen, endpoints })
    });
    let tunnel = destinations.and_then(|route| route.tunnel.as_deref());
    let (destinations, listener) = (shares.collect(), listener.address.to_string());
    Ok(Answer { connection: url.to_string(), listener, routes: looked, tunnel, destinations })
}

/// `port 80`, `unix:///run/mesh.sock`
pub(crate) fn place(address: &ListenerAddress) -> String {
    address.ip_and_port().map_or_else(|| address.to_string(), |address| format!("port {}", address.port()))
}

fn model_route<'m>(model: &'m Model, id: &str, proxy: u32) -> Option<&'m config_model::model::TcpRoute> {
    model.tcp_proxies.get(proxy as usize)?.routes.iter().find(|route| *route.id == *id)
}

impl Answer<'_> {
    /// In words, with colours.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} at {}\n\n", self.connection.trim_end_matches('/'), self.listener);
        for looked in &self.routes {
            let mark = if looked.takes { "taken " } else { "passed" };
            text += &format!("{mark} {}  {}  {}\n", looked.id, looked.reason, paint(DIM, &looked.origin));
        }
        if self.destinations.is_empty() {
            text += &format!("\n{}\n", paint(ERROR, "no route takes it: the connection is closed"));
        }
        if let Some(Tunnel { method, target }) = self.tunnel {
            text += &format!("\nendpoints are asked for a tunnel: {} {target}\n", method.as_str());
        }
        for share in &self.destinations {
            let percent = (share.share * 1e4).round() / 1e2;
            let chosen = if share.chosen { "  <- the draw falls here" } else { "" };
            text += &format!("\n{percent} % {}{chosen}\n", share.cluster);
            if !share.exists {
                text += &format!("  {}\n", paint(ERROR, "does not exist: the connection is closed"));
            }
            for endpoint in &share.endpoints {
                text += &format!("  {}\n", endpoint.address);
            }
        }
        text
    }
}
