//! Where the endpoints of a set stand: in which priority, and in which locality of it. Source: Istio, `localityLbSetting`;
//! Envoy, `LocalityLbEndpoints`. It doesn't change as long as the set is there; who is healthy is in [`crate::view`].

use std::num::NonZeroU32;

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
    /// Compared with that of the other groups.
    pub(crate) weight: u32,
    pub(crate) members: Vec<EntryIndex>,
}

impl Layout {
    pub(crate) fn new(blocks: &Blocks) -> Self {
        let mut listed = [const { Vec::new() }; 1 + u8::MAX as usize];
        for (index, entry) in blocks.iter().filter(|(_, entry)| entry.is_ready()) {
            if let Some(listed) = listed.get_mut(usize::from(entry.priority)) {
                listed.push(index);
            }
        }
        // A number that no ready endpoint has is no priority, so one of names without an address is passed over.
        let priorities = (0..=u8::MAX).zip(listed).filter(|(_, listed)| !listed.is_empty());
        Self { priorities: priorities.map(|(priority, listed)| PriorityLayout::new(priority, listed, blocks)).collect() }
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
    fn new(priority: u8, listed: Vec<EntryIndex>, blocks: &Blocks) -> Self {
        let has_share = |index: &EntryIndex| blocks.get(*index).is_some_and(|entry| entry.has_share);
        if !listed.iter().any(has_share) {
            // Nothing to distribute: all are of one group.
            return Self { priority, groups: vec![GroupLayout { weight: 1, members: listed }] };
        }
        let share = |index: EntryIndex| {
            let endpoint = &blocks.get(index)?.endpoint;
            endpoint.locality_share.map(|share| (&endpoint.locality, share))
        };
        let mut placed: Vec<_> = listed.into_iter().map(|index| (share(index), index)).collect();
        placed.sort_unstable();
        let group = |group: &[(Option<(&Locality, NonZeroU32)>, EntryIndex)]| GroupLayout {
            weight: group.first().and_then(|(share, _)| *share).map_or(0, |(_, share)| share.get()),
            members: group.iter().map(|(_, index)| *index).collect(),
        };
        Self { priority, groups: placed.chunk_by(|(one, _), (other, _)| one == other).map(group).collect() }
    }

    pub(crate) fn member_count(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}
