//! What happens to endpoints with time alone: they come back after an ejection, and warm up. Source: `outlierDetection`,
//! `warmup`. Nothing is published by it, since a set exchanges who may be picked by itself. Start at [`tend`].

use std::time::{Duration, Instant};

use balance::EndpointSet;

use crate::snapshot::{ClusterRuntime, Snapshot};
use crate::telemetry::{ClusterHealth, Metrics};

/// How often clusters are looked after. A warmup has steps of half of it, an ejection's end is looked for once in the rule's
/// interval.
pub(super) const PERIOD: Duration = Duration::from_millis(200);

/// Whether there is any cluster to look after.
pub(super) fn is_needed(snapshot: &Snapshot) -> bool {
    !snapshot.tended.is_empty()
}

/// Looks after each cluster that needs it: who may be picked is as it should be at `now` afterwards, and so are the metrics of how
/// many are healthy and ejected.
pub(super) fn tend(snapshot: &Snapshot, metrics: &Metrics, now: Instant) {
    for cluster in snapshot.tended.iter().filter_map(|&index| snapshot.cluster(index)) {
        tend_cluster(cluster, metrics, now);
    }
}

fn tend_cluster(cluster: &ClusterRuntime, metrics: &Metrics, now: Instant) {
    for endpoint in cluster.endpoints.tick(now).into_iter().filter_map(|index| cluster.endpoint(index)) {
        tracing::info!(target: "upstream", "{} of {} is back after its ejection", endpoint.address, cluster.name);
    }
    metrics.set_health(&cluster.metrics, health(&cluster.endpoints));
}

/// How the endpoints of a cluster are.
pub(super) fn health(endpoints: &EndpointSet) -> ClusterHealth {
    ClusterHealth { healthy: endpoints.healthy_count() as u64, ejected: endpoints.cluster().ejected().into() }
}
