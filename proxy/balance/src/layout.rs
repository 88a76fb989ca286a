//! Where the endpoints of a set stand: in which priority, and in which locality of it. Source: Istio, `localityLbSetting`;
//! Envoy, `LocalityLbEndpoints`. It doesn't change as long as the set is there; who is healthy is in [`crate::view`].

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use config_model::model::Locality;

use crate::blocks::{Blocks, EntryIndex};
use crate::set::Entry;

/// Endpoints that are ready, by priority.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) priorities: Vec<PriorityLayout>,
}

/// A priority's endpoints by locality.
#[derive(Debug)]
pub(crate) struct PriorityLayout {
    /// As the endpoints have it.
    priority: u8,
    pub(crate) groups: Vec<GroupLayout>,
}

/// Endpoints that share the requests of a locality, in order.
#[derive(Debug)]
pub(crate) struct GroupLayout {
    /// Compared with that of the other groups; 0 where the share is not fixed.
    pub(crate) weight: u32,
    pub(crate) members: Arc<[EntryIndex]>,
    /// Of each of them.
    pub(crate) weights: Box<[u32]>,
}

/// Those of a priority that are ready.
#[derive(Debug, Default)]
struct Listed {
    members: Vec<EntryIndex>,
    weights: Vec<u32>,
    is_apart: bool,
}

impl Layout {
    pub(crate) fn new(blocks: &Blocks) -> Self {
        let mut listed: BTreeMap<u8, Listed> = BTreeMap::new();
        for (number, block) in blocks.list().iter().enumerate() {
            let mut place = 0;
            // Those of a block are of one priority, nearly always.
            for alike in
                block.chunk_by(|one, other| (one.priority, one.is_ready()) == (other.priority, other.is_ready()))
            {
                if let Some(first) = alike.first().filter(|first| first.is_ready()) {
                    let listed = listed.entry(first.priority).or_default();
                    listed.members.extend((place..).zip(alike).map(|(place, _)| EntryIndex::new(number, place)));
                    listed.weights.extend(alike.iter().map(|entry| entry.weight));
                    listed.is_apart |= alike.iter().any(|entry| entry.is_apart);
                }
                place += alike.len();
            }
        }
        // A number that no ready endpoint has is no priority, so one of names without an address is passed over.
        let priorities = listed.into_iter().map(|(priority, listed)| PriorityLayout::new(priority, listed, blocks));
        Self { priorities: priorities.collect() }
    }

    /// The place among the priorities of those that this entry is in.
    pub(crate) fn priority_of(&self, entry: &Entry) -> usize {
        self.priorities.iter().position(|priority| priority.priority == entry.priority).unwrap_or(0)
    }

    pub(crate) fn ready_count(&self) -> usize {
        self.priorities.iter().map(PriorityLayout::member_count).sum()
    }
}

impl PriorityLayout {
    fn new(priority: u8, listed: Listed, blocks: &Blocks) -> Self {
        if !listed.is_apart {
            // Localities make no difference: all are of one group.
            let Listed { members, weights, .. } = listed;
            return Self {
                priority,
                groups: vec![GroupLayout { weight: 1, members: members.into(), weights: weights.into() }],
            };
        }
        let locality = |index: EntryIndex| {
            let entry = blocks.get(index).filter(|entry| entry.is_apart)?;
            Some(&entry.endpoint.locality)
        };
        let members = listed.members.into_iter().zip(listed.weights);
        let mut placed: Vec<Placed<'_>> = members.map(|(index, weight)| (locality(index), index, weight)).collect();
        placed.sort_unstable();
        let group = |group: &[Placed<'_>]| {
            let first = group.first().and_then(|(_, index, _)| blocks.get(*index));
            GroupLayout {
                weight: first.and_then(|entry| entry.endpoint.locality_share).map_or(0, NonZeroU32::get),
                members: group.iter().map(|(_, index, _)| *index).collect(),
                weights: group.iter().map(|(.., weight)| *weight).collect(),
            }
        };
        Self { priority, groups: placed.chunk_by(|(one, ..), (other, ..)| one == other).map(group).collect() }
    }

    pub(crate) fn member_count(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}

/// The locality of an endpoint, where it makes a difference, the endpoint and its weight.
type Placed<'b> = (Option<&'b Locality>, EntryIndex, u32);
