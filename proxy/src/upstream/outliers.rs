//! What outlier detection learns of an attempt, and who is told of an ejection.

use std::time::Instant;

use balance::{AttemptOutcome, EntryIndex, OutlierEvent};

use crate::snapshot::ClusterRuntime;
use crate::worker::Local;

/// Reports how an attempt at the endpoint of `pick` ended. An ejection is in force at once, counted, and told in the log.
pub(crate) fn report(local: &Local, cluster: &ClusterRuntime, pick: EntryIndex, outcome: &AttemptOutcome) {
    if cluster.definition.policy().outliers.is_none() {
        return;
    }
    let now = Instant::now();
    match cluster.endpoints.report(pick, outcome.report(), now) {
        Some(OutlierEvent::Ejected { cause, .. }) => {
            let address = cluster.endpoint(pick).map_or("", |endpoint| &endpoint.address);
            tracing::info!(target: "upstream", cluster = &*cluster.name, address, cause = cause.name(), "an endpoint is ejected");
            local.shard.borrow_mut().ejection(&cluster.metrics, cause);
            cluster.endpoints.refresh(now);
        }
        Some(OutlierEvent::Refused { .. }) => local.shard.borrow_mut().ejection_overflow(&cluster.metrics),
        None => {}
    }
}
