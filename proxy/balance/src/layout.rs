//! Where the endpoints of a set stand: in which priority, and in which locality of it. Source: Istio, `localityLbSetting`;
//! Envoy, `LocalityLbEndpoints`. It doesn't change as long as the set is there; who is healthy is in [`crate::view`].

use config_model::model::{ClusterPolicy, Endpoint, Locality, LocalityPolicy};

use crate::set::Entry;

/// What an endpoint's locality makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointTraits {
    /// 0 is used first. Gaps between numbers mean nothing.
    pub priority: u32,
    /// Its locality's share of the requests of that priority, if they are distributed. Where some endpoints have one, those
    /// without get nothing.
    pub share: Option<LocalityShare>,
}

/// Requests that endpoints get together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalityShare {
    /// Endpoints of one number share the weight.
    pub group: u32,
    /// Compared with that of the other groups.
    pub weight: u32,
}

impl EndpointTraits {
    /// One priority for all, and the shares of `distribute`: endpoints in whatever a pattern matches share its weight.
    pub fn by_policy(policy: &ClusterPolicy, endpoint: &Endpoint) -> Self {
        let share = match &policy.locality {
            Some(LocalityPolicy::Distribute { shares }) => share_of(shares, &endpoint.locality),
            _ => None,
        };
        Self { priority: 0, share }
    }
}

/// The share of the first pattern that matches, or else nothing.
fn share_of(shares: &[(Locality, u32)], locality: &Locality) -> Option<LocalityShare> {
    let matched = (0..).zip(shares).find(|(_, (pattern, _))| matches(pattern, locality));
    Some(
        matched.map_or(LocalityShare { group: u32::MAX, weight: 0 }, |(group, &(_, weight))| LocalityShare {
            group,
            weight,
        }),
    )
}

fn matches(pattern: &Locality, locality: &Locality) -> bool {
    let part = |pattern: &str, part: &str| pattern.is_empty() || pattern == part;
    part(&pattern.region, &locality.region)
        && part(&pattern.zone, &locality.zone)
        && part(&pattern.subzone, &locality.subzone)
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
    /// Compared with that of the other groups.
    pub(crate) weight: u32,
    /// Positions of entries.
    pub(crate) members: Vec<u32>,
}

impl Layout {
    pub(crate) fn new(entries: &[Entry], traits: impl Fn(&Endpoint) -> EndpointTraits) -> Self {
        let mut placed: Vec<(u32, Option<LocalityShare>, u32)> = (0u32..)
            .zip(entries)
            .filter(|(_, entry)| entry.is_ready())
            .map(|(position, entry)| (traits(&entry.endpoint), position))
            .map(|(traits, position)| (traits.priority, traits.share, position))
            .collect();
        // Endpoints of one group are next to each other then, in the order in which they were listed.
        placed.sort_unstable();
        let mut priority_of = vec![0; entries.len()];
        let mut priorities = Vec::new();
        for (number, listed) in (0u32..).zip(placed.chunk_by(|one, other| one.0 == other.0)) {
            for &(_, _, position) in listed {
                if let Some(priority) = priority_of.get_mut(position as usize) {
                    *priority = number;
                }
            }
            priorities.push(PriorityLayout::new(listed));
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
    fn new(listed: &[(u32, Option<LocalityShare>, u32)]) -> Self {
        // Without any shares there is nothing to distribute: all are of one group.
        let shared = listed.iter().any(|(_, share, _)| share.is_some());
        let group = |group: &[(u32, Option<LocalityShare>, u32)]| GroupLayout {
            weight: group.first().and_then(|(_, share, _)| *share).map_or(u32::from(!shared), |share| share.weight),
            members: group.iter().map(|&(_, _, position)| position).collect(),
        };
        Self { groups: listed.chunk_by(|one, other| one.1 == other.1).map(group).collect() }
    }

    pub(crate) fn member_count(&self) -> usize {
        self.groups.iter().map(|group| group.members.len()).sum()
    }
}
