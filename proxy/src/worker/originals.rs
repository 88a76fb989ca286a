//! Clusters whose only endpoint is the address that a client wanted: `PassthroughCluster` and services without endpoints of
//! their own. Envoy: clusters of type `ORIGINAL_DST`. Each is kept for a while, so that its connections can be used again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::EndpointSet;
use config_model::model::{Endpoint, EndpointAddress, Health, Locality, Workload};
use foldhash::fast::RandomState;

use super::Deadlines;
use crate::snapshot::{ClusterRuntime, EndpointLabels};
use crate::telemetry::DestinationLabels;

/// How long one is kept that nobody uses.
const KEPT: Duration = Duration::from_mins(2);
/// Addresses that are kept; a client that scans the network finds no more.
const KEPT_MAX: usize = 4096;

/// Those of one worker.
#[derive(Default)]
pub(crate) struct Originals {
    /// By the address of the cluster, which the value keeps alive, and the address that was wanted.
    known: RefCell<HashMap<(usize, SocketAddr), Original, RandomState>>,
}

struct Original {
    of: Arc<ClusterRuntime>,
    cluster: Arc<ClusterRuntime>,
    /// The tick after which it is let go.
    due: u32,
}

impl Originals {
    /// `cluster` with `wanted` as its only endpoint.
    pub(crate) fn cluster(
        &self,
        cluster: &Arc<ClusterRuntime>,
        wanted: SocketAddr,
        deadlines: &Deadlines,
    ) -> Arc<ClusterRuntime> {
        let mut known = self.known.borrow_mut();
        if known.len() >= KEPT_MAX {
            known.clear();
        }
        let original = known.entry((Arc::as_ptr(cluster).addr(), wanted)).or_insert_with(|| Original {
            of: Arc::clone(cluster),
            cluster: Arc::new(with_endpoint(cluster, wanted)),
            due: 0,
        });
        original.due = deadlines.after(KEPT);
        Arc::clone(&original.cluster)
    }

    /// Lets go of those that nobody has used for a while.
    pub(crate) fn sweep(&self, deadlines: &Deadlines) {
        self.known.borrow_mut().retain(|_, original| {
            debug_assert!(original.cluster.name == original.of.name);
            !deadlines.has_come(original.due)
        });
    }
}

fn with_endpoint(cluster: &ClusterRuntime, wanted: SocketAddr) -> ClusterRuntime {
    let workload: Arc<Workload> = DestinationLabels::unknown().workload;
    let endpoint = Endpoint {
        address: EndpointAddress::Ip(wanted),
        weight: 1,
        health: Health::Ready,
        priority: 0,
        locality_share: None,
        proxies: None,
        locality: Locality::default(),
        workload,
    };
    let label = EndpointLabels { address: wanted.to_string().into(), series: cluster.unreached_series.clone() };
    let rules = cluster.endpoints.rules().clone();
    ClusterRuntime {
        definition: cluster.definition.clone(),
        name: Arc::clone(&cluster.name),
        endpoints: EndpointSet::new(vec![endpoint], rules, Some(&cluster.endpoints), Instant::now()),
        tls: cluster.tls.clone(),
        has_limits: cluster.has_limits,
        metrics: cluster.metrics.clone(),
        labels: [Arc::from([label])].into(),
        unreached_series: cluster.unreached_series.clone(),
    }
}
