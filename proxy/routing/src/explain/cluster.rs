//! Policies of clusters in words, as the table of clusters and explanations print them: a line for each thing that is set.

use std::fmt;
use std::num::NonZeroU32;

use config_model::model::{
    Balancing, Cluster, ClusterPolicy, ConnectionPool, Failover, LocalityPolicy, OutlierDetection, UpstreamTls,
};
use serde::Serialize;

/// What holds for a cluster, and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClusterRules {
    /// How endpoints are chosen, and whatever else is set: `LEAST_REQUEST`, `ejects after 5 errors, up to 10%`.
    pub policies: Vec<String>,
    /// The service, then the DestinationRule and subset: `reviews.yaml:8`.
    pub origins: Vec<String>,
}

impl ClusterRules {
    /// Those of `cluster`.
    pub fn of(cluster: &Cluster) -> Self {
        let mut origins: Vec<String> = cluster.origins.iter().map(ToString::to_string).collect();
        origins.dedup();
        Self { policies: cluster_policies(cluster), origins }
    }
}

impl fmt::Display for ClusterRules {
    /// `LEAST_REQUEST; ejects after 5 errors, up to 10%  services.yaml:2, reviews.yaml:8`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.policies.join("; "), self.origins.join(", "))
    }
}

/// How endpoints are chosen, and whatever else is set.
pub fn cluster_policies(cluster: &Cluster) -> Vec<String> {
    let ClusterPolicy { pool, outliers, warmup, locality, retry_budget } = cluster.policy();
    let mut lines = vec![balancing(cluster.balancing)];
    lines.extend(cluster.tls.as_deref().map(tls));
    lines.extend(warmup.map(|warmup| format!("warms up in {:?}", warmup.duration)));
    lines.extend(locality.as_ref().map(self::locality));
    lines.extend(limits(pool));
    lines.extend(outliers.as_ref().map(ejection));
    lines.extend(retry_budget.map(|budget| {
        let percent = f64::from(budget.share.millionths()) / 10_000.0;
        let of = budget.interval.map(|interval| format!(" of the requests in {interval:?}")).unwrap_or_default();
        format!("retries up to {percent}%{of}, at least {}", budget.minimum)
    }));
    lines
}

/// `TLS with a certificate of ours, asks for shop.example`
fn tls(tls: &UpstreamTls) -> String {
    let own = if tls.certificate.is_some() { " with a certificate of ours" } else { "" };
    let verified = if tls.server.is_none() { ", verifies nothing" } else { "" };
    let name = tls.server_name.as_deref().unwrap_or("the request's host");
    format!("TLS{own}, asks for {name}{verified}")
}

/// `ROUND_ROBIN`, `RING_HASH 1024`
fn balancing(balancing: Balancing) -> String {
    match balancing {
        Balancing::RoundRobin => "ROUND_ROBIN".to_owned(),
        Balancing::LeastRequest => "LEAST_REQUEST".to_owned(),
        Balancing::Random => "RANDOM".to_owned(),
        Balancing::RingHash { minimum_ring_size } => format!("RING_HASH {minimum_ring_size}"),
        Balancing::Maglev { table_size } => format!("MAGLEV {table_size}"),
    }
}

fn locality(policy: &LocalityPolicy) -> String {
    match policy {
        LocalityPolicy::Distribute { .. } => "shares by locality".to_owned(),
        LocalityPolicy::Failover(failover) => nearest_first(failover),
        LocalityPolicy::ZoneAware(zones) => {
            let evenly = zones.proxies.as_ref().map(|of| format!("evenly over its zones by proxies of {}", of.host));
            let nearest = (zones.failover != Failover::default()).then(|| nearest_first(&zones.failover));
            nearest.into_iter().chain(evenly).collect::<Vec<_>>().join(", ")
        }
    }
}

fn nearest_first(failover: &Failover) -> String {
    let labels = failover.labels.iter().map(|(name, _)| &**name);
    let near = failover.nearness.iter().map(|near| if near.by_region { "region" } else { "locality" });
    format!("nearest first by {}", labels.chain(near).collect::<Vec<_>>().join(", "))
}

/// `at most 100 requests, 10 connections`
fn limits(pool: &ConnectionPool) -> Option<String> {
    let counts = [
        (pool.requests_max, "requests"),
        (pool.connections_max, "connections"),
        (pool.pending_max, "waiting"),
        (pool.retries_max, "retries"),
        (pool.requests_per_connection_max, "requests per connection"),
        (pool.streams_per_connection_max, "streams per connection"),
    ];
    let written = counts.into_iter().filter_map(|(count, what)| count.map(|count| format!("{count} {what}")));
    let written: Vec<String> = written.collect();
    (!written.is_empty()).then(|| format!("at most {}", written.join(", ")))
}

/// `ejects after 5 errors, up to 10%`
fn ejection(outliers: &OutlierDetection) -> String {
    let count = |count: Option<NonZeroU32>, what: &str| count.map(|count| format!("{count} {what}"));
    let counts = [
        count(outliers.consecutive_5xx, "errors"),
        count(outliers.consecutive_gateway_errors, "gateway errors"),
        count(outliers.consecutive_local_origin_failures, "failures to connect"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let after = if counts.is_empty() { "nothing".to_owned() } else { counts.join(" or ") };
    format!("ejects after {after}, up to {}%", outliers.max_ejection_percent)
}

#[cfg(test)]
mod tests {
    use config_model::model::{Locality, Nearness, OwnService, ZoneAware};

    use super::*;

    #[test]
    fn zones_are_told_with_the_proxies_that_they_are_balanced_by() {
        let nearness = Some(Nearness { own: Locality::default(), next_region: None, by_region: true });
        let failover = Failover { labels: vec![("app".into(), "web".into())], nearness, ..Failover::default() };
        let zones = |proxies| {
            let failover = failover.clone();
            locality(&LocalityPolicy::ZoneAware(ZoneAware {
                failover,
                own: Locality::default(),
                proxies,
                healthy_min: 6,
            }))
        };
        let (host, namespace, port_name) = ("gw.example".into(), "default".into(), "http".into());
        let proxies = OwnService { host, namespace, port: 80, port_name };
        assert_eq!(zones(None), "nearest first by app, region");
        assert_eq!(
            zones(Some(proxies)),
            "nearest first by app, region, evenly over its zones by proxies of gw.example"
        );
    }
}
