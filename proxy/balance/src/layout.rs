//! Where the endpoints of a set stand: in which priority, and in which locality of it. Source: Istio, `localityLbSetting`;
//! Envoy, `LocalityLbEndpoints`. It doesn't change as long as the set is there; who is healthy is in [`crate::view`].

use std::num::NonZeroU32;

use config_model::model::Locality;

use crate::set::Entry;

/// A ready endpoint's place. In order, the endpoints of a priority are next to each other, within it those of a locality, and
/// within that they are as they were listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    priority: u8,
    /// Nothing where localities make no difference.
    locality: Option<&'a Locality>,
    position: u32,
}

impl<'a> Place<'a> {
    fn of((position, entry): (u32, &'a Entry)) -> Self {
        let endpoint = &entry.endpoint;
        let is_apart = endpoint.locality_share.is_some() || endpoint.proxies.is_some();
        Self { priority: endpoint.priority, locality: is_apart.then_some(&endpoint.locality), position }
    }
}

/// Positions of endpoints that are ready, by priority.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) priorities: Vec<PriorityLayout>,
    /// Index into `priorities` by position of the entry.
    priority_of: Vec<u32>,
}

/// A priority's endpoints by locality.
#[derive(Debug, Default)]
pub(crate) struct PriorityLayout {
    pub(crate) groups: Vec<GroupLayout>,
}

/// Endpoints that share the requests of a locality.
#[derive(Debug)]
pub(crate) struct GroupLayout {
    /// Compared with that of the other groups; 0 where the share is not fixed.
    pub(crate) weight: u32,
    /// An endpoint of it, which tells where they all are.
    pub(crate) first: u32,
    /// Positions of entries.
    pub(crate) members: Vec<u32>,
}

impl Layout {
    pub(crate) fn new(entries: &[Entry]) -> Self {
        let ready = (0u32..).zip(entries).filter(|(_, entry)| entry.is_ready());
        let mut placed: Vec<Place<'_>> = ready.map(Place::of).collect();
        placed.sort_unstable();
        let mut priority_of = vec![0; entries.len()];
        let mut priorities = Vec::new();
        // A number that no ready endpoint has is no priority, so one of names without an address is passed over.
        for (number, listed) in (0u32..).zip(placed.chunk_by(|one, other| one.priority == other.priority)) {
            for place in listed {
                if let Some(priority) = priority_of.get_mut(place.position as usize) {
                    *priority = number;
                }
            }
            priorities.push(PriorityLayout::new(listed, entries));
        }
        Self { priorities, priority_of }
    }

    /// The priority of the entry at this position.
    pub(crate) fn priority_of(&self, position: u32) -> usize {
        self.priority_of.get(position as usize).map_or(0, |&priority| priority as usize)
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.priorities.iter().map(PriorityLayout::member_count).sum()
    }
}

impl PriorityLayout {
    fn new(listed: &[Place<'_>], entries: &[Entry]) -> Self {
        // Without any shares there is nothing to distribute: all are of one group.
        let apart = listed.iter().any(|place| place.locality.is_some());
        let group = |group: &[Place<'_>]| {
            let first = group.first().map_or(0, |place| place.position);
            let share = entries.get(first as usize).and_then(|entry| entry.endpoint.locality_share);
            let members = group.iter().map(|place| place.position).collect();
            GroupLayout { weight: share.map_or(u32::from(!apart), NonZeroU32::get), first, members }
        };
        Self { groups: listed.chunk_by(|one, other| one.locality == other.locality).map(group).collect() }
    }

    pub(crate) fn member_count(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}
