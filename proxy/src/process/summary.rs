//! What a gateway says when it has started: what it bound, which hosts and splits it serves, and what it ignored.

use std::fmt::Write;

use config_model::model::{Action, ClusterTarget, Model, Route, VirtualHost};

use super::Gateway;
use crate::control::ListenerStatus;

/// Lines of one kind; the rest is counted.
const LINES_MAX: usize = 20;

/// Logs it, a line at a time.
pub(super) fn log(gateway: &Gateway) {
    let applied = gateway.status().applied();
    let Some(snapshot) = gateway.status().snapshot() else { return };
    tracing::info!(target: "process", "ready; admin on http://{}, configuration {}", gateway.admin(), snapshot.version);
    let lines = lines(&snapshot.model, &applied.listeners);
    for line in lines.iter().take(LINES_MAX) {
        tracing::info!(target: "process", "{line}");
    }
    if lines.len() > LINES_MAX {
        tracing::info!(target: "process", "and {} more; `tidegate routes` lists all", lines.len() - LINES_MAX);
    }
    if snapshot.model.listeners.is_empty() {
        tracing::warn!(target: "process", "no Gateway selects these labels: nothing is served (see --labels)");
    }
}

/// A line for each listener, and under it one for each virtual host and each split.
fn lines(model: &Model, listeners: &[ListenerStatus]) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in &model.listeners {
        let status = listeners.iter().find(|status| status.address == listener.address);
        let bound = status.and_then(|status| status.bound.as_ref());
        let mapped = bound.filter(|bound| bound.port() != listener.address.port());
        let mapped = mapped.map(|_| format!(" for port {}", listener.address.port())).unwrap_or_default();
        lines.push(format!("serving {}{mapped}", bound.unwrap_or(&listener.address)));
        let configurations = listener.route_configurations();
        let configurations = configurations.filter_map(|index| model.route_configurations.get(index.0 as usize));
        for host in configurations.flat_map(|configuration| &configuration.virtual_hosts) {
            lines.push(host_line(host));
            lines.extend(host.routes.iter().filter_map(|route| split_line(route, model)));
        }
    }
    lines
}

fn host_line(host: &VirtualHost) -> String {
    let domains: Vec<String> = host.domains.iter().map(ToString::to_string).collect();
    let origins: Vec<String> = host.origins.iter().map(|origin| format!("{} {origin}", origin.resource)).collect();
    let rules = match host.routes.len() {
        1 => "1 route".to_owned(),
        count => format!("{count} routes"),
    };
    format!("  {}: {rules} of {}", domains.join(", "), origins.join(", "))
}

/// `    50 % outbound|9080|v1|reviews..., 50 % outbound|9080|v2|reviews... (reviews.yaml:14)`, if there is a choice.
fn split_line(route: &Route, model: &Model) -> Option<String> {
    let Action::Forward(forward) = &route.action else { return None };
    if forward.destinations.len() < 2 {
        return None;
    }
    let total: u64 = forward.destinations.iter().map(|destination| u64::from(destination.weight)).sum();
    let mut line = "    ".to_owned();
    for (position, destination) in forward.destinations.iter().enumerate() {
        let percent = (f64::from(destination.weight) * 1e4 / total.max(1) as f64).round() / 1e2;
        let separator = if position == 0 { "" } else { ", " };
        let name = match &destination.cluster {
            ClusterTarget::Known(index) => model.clusters.get(index.0 as usize)?.name.to_string(),
            ClusterTarget::Missing(name) => format!("{name} (missing)"),
        };
        let _ = write!(line, "{separator}{percent} % {name}");
    }
    let _ = write!(line, " ({})", route.origin);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_which_hosts_and_which_splits_are_told() {
        let files = crate::control::tests::example();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let (snapshot, _) = crate::control::tests::snapshot_of(&files);
        let address = snapshot.model.listeners[0].address.ip_and_port().unwrap();
        let bound = |port| std::net::SocketAddr::new(address.ip(), port);
        let status = |port| ListenerStatus { address: address.into(), bound: Some(bound(port).into()), error: None };
        let told = lines(&snapshot.model, &[status(8080)]);
        assert_eq!(told[0], "serving 0.0.0.0:8080 for port 80");
        assert_eq!(told[1], "  *: 2 routes of VirtualService default/v routes.yaml:3");
        assert!(told[2].starts_with("    50 % outbound|80|v1|a.example, 50 % outbound|80|v2|a.example (routes.yaml:"));
        assert_eq!(told.len(), 3);
        assert_eq!(lines(&snapshot.model, &[status(80)])[0], "serving 0.0.0.0:80");
    }
}
