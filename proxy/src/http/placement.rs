//! Splits that choose otherwise than Istio documents, because their VirtualService says so: sticky ones, and those that go
//! around destinations without a ready endpoint. The rules are those of [`balance::place`].

use std::rc::Rc;

use config_model::model::{Action, ClusterTarget, SplitPolicy};
use routing::{DestinationEntry, RouteEntry};
use smallvec::SmallVec;

use super::policy;
use super::record::Exchange;
use crate::worker::Pinned;

/// The destination of a request for which `drawn` was drawn.
pub(super) fn place<'t>(
    exchange: &mut Exchange,
    route: &'t RouteEntry,
    drawn: &'t DestinationEntry,
) -> &'t DestinationEntry {
    let SplitPolicy { sticky, spill } = route.route.split();
    let (Some((sequence, _)), Action::Forward(forward), true) = (route.split(), &route.route.action, sticky || spill)
    else {
        return drawn;
    };
    let destinations = route.destinations();
    let key = if sticky { policy::hash(exchange, route.route.hash()) } else { None };
    let weights: SmallVec<[u32; 8]> = forward.destinations.iter().map(|destination| destination.weight).collect();
    let pinned = Rc::clone(exchange.record.pinned());
    let ready = |at: usize| destinations.get(at).is_some_and(|destination| is_ready(&pinned, &destination.target));
    let position = destinations.iter().position(|destination| destination.index == drawn.index).unwrap_or(0);
    let placed = balance::place(&weights, (key, spill), position, ready, || pinned.next_draw(*sequence));
    destinations.get(placed).unwrap_or(drawn)
}

/// Whether an endpoint could be picked.
fn is_ready(pinned: &Pinned, target: &ClusterTarget) -> bool {
    let ClusterTarget::Known(index) = target else { return false };
    pinned.snapshot.cluster(*index).is_some_and(|cluster| cluster.endpoints.is_pickable())
}
