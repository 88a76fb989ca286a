//! Policies of a cluster: how endpoints are chosen, which are left alone, and how much it takes at once. Source:
//! DestinationRule, `trafficPolicy`; Envoy: `Cluster`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Fraction, Locality};

/// Endpoint choice. Source: `loadBalancer`; LEAST_REQUEST if absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Balancing {
    /// In order, by endpoint weight.
    RoundRobin,
    /// Of two random endpoints the one with fewer active requests; unequal weights: weight / (active + 1).
    LeastRequest,
    /// Any, whatever the weights.
    Random,
    /// `consistentHash` with a ring, the default of its kinds.
    RingHash {
        /// Points on the ring at least; each endpoint has at least one. 1024 if absent.
        minimum_ring_size: u64,
    },
    /// `consistentHash.maglev`.
    Maglev {
        /// A prime below 5,000,011.
        table_size: u64,
    },
}

/// How a new endpoint comes to its full share. Source: `loadBalancer.warmup` and `warmupDurationSecs`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Warmup {
    /// Until the full share.
    pub duration: Duration,
    /// Share of its weight at the start, in percent: 10 if absent.
    pub minimum_percent: f64,
    /// Exponent: weight * max(minimum, (time / duration) ^ (1 / aggression)); 1 if absent.
    pub aggression: f64,
}

/// Which localities take the traffic. Source: `localityLbSetting`, of the rule or else of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum LocalityPolicy {
    /// Nearer endpoints first, each by its [`super::Endpoint::priority`]. In force only together with outlier detection.
    Failover(Failover),
    /// Shares by locality: `distribute`, the entry that holds for the proxy. Each endpoint has its locality's share in
    /// [`super::Endpoint::locality_share`]; those of localities that are not named are left out.
    Distribute {
        /// `region/zone/*` with parts of a wildcard empty, and the share in percent; shares sum to 100.
        shares: Vec<(Locality, u32)>,
    },
    /// Endpoints of the proxy's region first, and of these as many in its own zone as leave no endpoint with more to do than
    /// the others: `zoneAwareLbSetting`.
    ZoneAware(ZoneAware),
}

impl LocalityPolicy {
    /// What endpoints are ranked by.
    pub fn failover(&self) -> Option<&Failover> {
        match self {
            Self::Failover(failover) | Self::ZoneAware(ZoneAware { failover, .. }) => Some(failover),
            Self::Distribute { .. } => None,
        }
    }

    /// The service whose endpoints are the proxies that share the traffic.
    pub fn proxies(&self) -> Option<&OwnService> {
        if let Self::ZoneAware(zones) = self { zones.proxies.as_ref() } else { None }
    }
}

/// What zones are balanced by. Source: `zoneAwareLbSetting`; Envoy: `ZoneAwareLbConfig`, which needn't be set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ZoneAware {
    /// The order of other regions, perhaps after labels.
    pub failover: Failover,
    /// Where the proxy is.
    pub own: Locality,
    /// The service whose endpoints are the proxies that share the traffic; none if the proxy doesn't know, and then zones of
    /// its region make no difference. Envoy: `local_cluster_name`.
    pub proxies: Option<OwnService>,
    /// `minClusterSize`: fewer healthy endpoints than these are not divided by zone. 6 if absent.
    pub healthy_min: u64,
}

/// A service that the proxy's workload is a part of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnService {
    /// Its host, in lower case.
    pub host: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its first port.
    pub port: u16,
    /// The name of that port.
    pub port_name: Arc<str>,
}

/// What makes an endpoint near: labels first, then localities. Without either all are as near.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Failover {
    /// `failoverPriority`: names of labels and the values that count as near, which are the proxy's own unless the setting
    /// names one. Endpoints go by the number of leading labels that are equal. Empty unless set.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Nothing where only labels count: `failoverPriority` without `failover`.
    pub nearness: Option<Nearness>,
    /// Whether localities of one priority divide its requests by the weights of their endpoints, as far as these are healthy:
    /// where something is said of the order.
    pub weighs_localities: bool,
}

/// How near a locality is: same subzone, same zone, same region, the region that was named, elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Nearness {
    /// Where the proxy is.
    pub own: Locality,
    /// `failover`: goes before other regions when the proxy's own fails.
    pub next_region: Option<Arc<str>>,
    /// Whether regions alone count, and all of one are as near.
    pub by_region: bool,
}

/// What a cluster takes at once, all workers together. Nothing means no limit. Source: `connectionPool`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ConnectionPool {
    /// `tcp.maxConnections`: requests over it wait in line.
    pub connections_max: Option<NonZeroU32>,
    /// `http.http1MaxPendingRequests`: the line's length.
    pub pending_max: Option<NonZeroU32>,
    /// `http.http2MaxRequests`: requests at once, HTTP/1.1 too.
    pub requests_max: Option<NonZeroU32>,
    /// `http.maxRetries`: retries at once.
    pub retries_max: Option<NonZeroU32>,
    /// `http.maxRequestsPerConnection`
    pub requests_per_connection_max: Option<NonZeroU32>,
    /// `http.maxConcurrentStreams`, for connections that speak HTTP/2.
    pub streams_per_connection_max: Option<NonZeroU32>,
    /// `http.idleTimeout`, or `tcp.idleTimeout` for HTTP; none means our own default.
    pub idle_timeout: Option<Duration>,
    /// `tcp.idleTimeout`, for connections that are not read as HTTP; zero: they may be idle for ever.
    pub tcp_idle_timeout: Option<Duration>,
    /// `tcp.maxConnectionDuration`
    pub connection_duration_max: Option<Duration>,
    /// `tcp.tcpKeepalive`, each value of it else that of the mesh.
    pub keepalive: Option<Keepalive>,
    /// `http.http2KeepAlive`, for connections that speak HTTP/2.
    pub pings: Option<Pings>,
}

/// Probes of the kernel on idle connections. Nothing means the system's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Keepalive {
    /// Unanswered probes until the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Between probes.
    pub interval: Option<Duration>,
}

/// Pings on HTTP/2 connections. Source: `http.http2KeepAlive`; Envoy: `KeepaliveSettings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pings {
    /// Between two of them.
    pub interval: Option<Duration>,
    /// A ping without an answer for so long ends the connection.
    pub timeout: Option<Duration>,
}

/// When an endpoint is left alone for a while. Source: `outlierDetection`; Envoy's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlierDetection {
    /// `consecutive5xxErrors`, 5 if absent; none if 0.
    pub consecutive_5xx: Option<NonZeroU32>,
    /// `consecutiveGatewayErrors`; none if 0 or absent.
    pub consecutive_gateway_errors: Option<NonZeroU32>,
    /// `consecutiveLocalOriginFailures`, only if `splitExternalLocalOriginErrors`; then 5 if 0 or absent.
    pub consecutive_local_origin_failures: Option<NonZeroU32>,
    /// Failures to connect and time-outs are counted apart from answers.
    pub split_external_local_origin_errors: bool,
    /// Between sweeps, 10 s if absent.
    pub interval: Duration,
    /// First ejection; the n-th lasts n times as long. 30 s if absent.
    pub base_ejection_time: Duration,
    /// At least one endpoint stays unless this is 100: 10 if absent.
    pub max_ejection_percent: u8,
    /// Below this share of healthy endpoints all are used; 0: never.
    pub min_health_percent: u8,
    /// `outlierDetectionHttpErrorCodes`: the statuses that count as server errors, and no other. Empty: every 5xx.
    pub error_codes: Vec<u16>,
}

/// A limit of retries as a share of requests. Source: `retryBudget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RetryBudget {
    /// `percent` of active requests: 20 if absent.
    pub share: Fraction,
    /// `minRetryConcurrency`: 3 if 0 or absent.
    pub minimum: u32,
    /// `budgetInterval`: the share is of the tries of so much time, instead of the requests that are active. Never zero.
    pub interval: Option<Duration>,
}

/// The policies of a cluster, defaults filled in.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ClusterPolicy {
    /// Limits.
    pub pool: ConnectionPool,
    /// Ejection.
    pub outliers: Option<OutlierDetection>,
    /// Slow start; only with `RoundRobin` and `LeastRequest`.
    pub warmup: Option<Warmup>,
    /// Preference for near endpoints, or shares.
    pub locality: Option<LocalityPolicy>,
    /// Limit of retries, instead of the pool's.
    pub retry_budget: Option<RetryBudget>,
}

/// The policy of a cluster for which nothing was set.
pub(super) static UNSET: ClusterPolicy = ClusterPolicy {
    pool: ConnectionPool {
        connections_max: None,
        pending_max: None,
        requests_max: None,
        retries_max: None,
        requests_per_connection_max: None,
        streams_per_connection_max: None,
        idle_timeout: None,
        tcp_idle_timeout: None,
        connection_duration_max: None,
        keepalive: None,
        pings: None,
    },
    outliers: None,
    warmup: None,
    locality: None,
    retry_budget: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_is_the_default() {
        assert_eq!(UNSET, ClusterPolicy::default());
    }
}
