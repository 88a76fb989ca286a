//! Which share of the demo's own requests each version is to get, by the configuration in force.

use std::net::SocketAddr;

use config_model::model::{Action, ClusterTarget};
use routing::Decision;

use super::reviews::Version;
use crate::cli::request::Request;
use crate::cli::words;
use crate::snapshot::{ListenerRuntime, Snapshot};

/// Shares of all versions, or nothing if `request` is not forwarded. A cluster's share falls evenly on its endpoints.
pub(crate) fn configured(
    snapshot: &Snapshot,
    listener: &ListenerRuntime,
    request: &Request,
    endpoints: &[(Version, SocketAddr)],
) -> Option<[f64; 3]> {
    let routes = listener.plain_routes()?;
    let Decision::Forward { route, .. } = snapshot.table.decide(routes, request, |_| 0) else { return None };
    let Action::Forward(forward) = &route.route.action else { return None };
    let mut shares = [0.0; 3];
    for (destination, share) in forward.destinations.iter().zip(words::shares(&forward.destinations)) {
        let ClusterTarget::Known(index) = destination.cluster else { continue };
        let cluster = snapshot.cluster(index)?;
        let labels = || cluster.labels.iter().flat_map(|block| block.iter());
        for (sum, version) in shares.iter_mut().zip(Version::ALL) {
            let is_of =
                |address: &str| endpoints.iter().any(|(of, known)| *of == version && known.to_string() == address);
            let count = labels().filter(|endpoint| is_of(&endpoint.address)).count();
            *sum += share * count as f64 / labels().count().max(1) as f64;
        }
    }
    Some(shares)
}
