//! Label sets and the ids that stand for them on the request path.
//!
//! Whoever holds an id keeps its label set alive: snapshots, pools and requests in flight. A label set without a holder is
//! exposed for [`RETENTION`] more, so that the last counts get scraped; when it comes back within that time it goes on
//! counting, after that it starts from zero, as after a restart. The number of label sets
//! is bounded (the constants in `metrics`); those beyond share one set, whose values are all `overflow`.

use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::HashMap;

/// How long counters without a holder are still exposed. Source: Istio, `graceful_deletion_interval` of its metrics.
pub(super) const RETENTION: Duration = Duration::from_mins(5);

/// Stands for a label set of kind `K`. Cheap to clone; the request path borrows it from the snapshot.
pub struct Id<K> {
    pub(super) slot: Slot,
    lease: Arc<()>,
    kind: PhantomData<fn(K)>,
}

/// A place in a table and which of its successive tenants is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) index: u32,
    pub(super) tenant: u32,
}

/// Stands for the labels of a destination in Istio's metrics.
pub type SeriesId = Id<super::metrics::DestinationLabels>;
/// Stands for a cluster.
pub type ClusterId = Id<super::metrics::ClusterLabel>;
/// Stands for a destination of a route.
pub type SplitDestinationId = Id<super::metrics::SplitLabels>;
/// Stands for a listener.
pub type ListenerId = Id<super::metrics::ListenerLabel>;

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self { slot: self.slot, lease: Arc::clone(&self.lease), kind: PhantomData }
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({}.{})", self.slot.index, self.slot.tenant)
    }
}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.slot == other.slot
    }
}

impl<K> Eq for Id<K> {}

struct Entry {
    slot: Slot,
    lease: Arc<()>,
    /// When it was first seen without a holder.
    unused_since: Option<Instant>,
}

impl Entry {
    fn lend<K>(&mut self) -> Id<K> {
        self.unused_since = None;
        Id { slot: self.slot, lease: Arc::clone(&self.lease), kind: PhantomData }
    }
}

/// The label sets of one kind.
pub(super) struct Names<K> {
    entries: HashMap<K, Entry>,
    overflow: K,
    /// Slots given back, with the tenant that comes next.
    free: Vec<Slot>,
    next_index: u32,
    limit: usize,
}

impl<K: Clone + Eq + Hash> Names<K> {
    /// At most `limit` label sets and `overflow`.
    pub(super) fn new(limit: usize, overflow: K) -> Self {
        Self { entries: HashMap::default(), overflow, free: Vec::new(), next_index: 0, limit }
    }

    /// The id of `labels`; that of the overflow set when there are too many.
    pub(super) fn id(&mut self, labels: &K) -> Id<K> {
        if let Some(entry) = self.entries.get_mut(labels) {
            return entry.lend();
        }
        let labels = if self.entries.len() < self.limit { labels } else { &self.overflow };
        let (free, next_index) = (&mut self.free, &mut self.next_index);
        let entry = self.entries.entry(labels.clone()).or_insert_with(|| {
            let slot = free.pop().unwrap_or_else(|| {
                let slot = Slot { index: *next_index, tenant: 0 };
                *next_index += 1;
                slot
            });
            Entry { slot, lease: Arc::new(()), unused_since: None }
        });
        entry.lend()
    }

    /// Forgets what had no holder for [`RETENTION`] and returns the slots that are free now.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<Slot> {
        let mut freed = Vec::new();
        self.entries.retain(|_, entry| {
            if Arc::strong_count(&entry.lease) > 1 {
                entry.unused_since = None;
                return true;
            }
            let since = *entry.unused_since.get_or_insert(now);
            let keep = now.saturating_duration_since(since) < RETENTION;
            if !keep {
                freed.push(entry.slot);
            }
            keep
        });
        self.free.extend(freed.iter().map(|slot| Slot { index: slot.index, tenant: slot.tenant.wrapping_add(1) }));
        freed
    }

    /// All label sets with their slots and whether somebody holds them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, Slot, bool)> {
        self.entries.iter().map(|(labels, entry)| (labels, entry.slot, Arc::strong_count(&entry.lease) > 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(limit: usize) -> Names<&'static str> {
        Names::new(limit, "overflow")
    }

    fn labels(names: &Names<&'static str>) -> Vec<&'static str> {
        let mut labels: Vec<_> = names.iter().map(|(labels, ..)| *labels).collect();
        labels.sort_unstable();
        labels
    }

    #[test]
    fn the_same_labels_have_the_same_id() {
        let mut names = names(10);
        let first = names.id(&"a");
        assert_eq!(first, names.id(&"a"));
        assert_ne!(first, names.id(&"b"));
    }

    #[test]
    fn labels_beyond_the_limit_share_the_overflow() {
        let mut names = names(2);
        let kept = [names.id(&"a"), names.id(&"b")];
        let over = names.id(&"c");
        assert_eq!(over, names.id(&"d"));
        assert!(!kept.contains(&over));
        assert_eq!(kept[0], names.id(&"a"));
        assert_eq!(labels(&names), ["a", "b", "overflow"]);
    }

    #[test]
    fn labels_are_kept_while_held_and_for_the_retention_after_that() {
        let (mut names, start) = (names(10), Instant::now());
        let held = names.id(&"a");
        assert!(names.sweep(start + 10 * RETENTION).is_empty());
        drop(held);
        let dropped = start + 20 * RETENTION;
        assert!(names.sweep(dropped).is_empty());
        assert!(names.sweep(dropped + RETENTION - Duration::from_millis(1)).is_empty());
        assert_eq!(names.sweep(dropped + RETENTION).len(), 1);
        assert!(labels(&names).is_empty());
    }

    #[test]
    fn labels_that_come_back_in_time_keep_their_id() {
        let (mut names, start) = (names(10), Instant::now());
        let slot = names.id(&"a").slot;
        names.sweep(start);
        let back = names.id(&"a");
        assert_eq!(back.slot, slot);
        assert!(names.sweep(start + RETENTION).is_empty());
    }

    #[test]
    fn a_slot_is_used_again_by_another_tenant() {
        let (mut names, start) = (names(10), Instant::now());
        let old = names.id(&"a").slot;
        names.sweep(start);
        names.sweep(start + RETENTION);
        let new = names.id(&"b").slot;
        assert_eq!(new.index, old.index);
        assert_ne!(new.tenant, old.tenant);
    }

    /// One of four label sets is asked for, let go, or time passes.
    #[derive(Debug, Clone)]
    enum Event {
        Hold(usize),
        Release(usize),
        Sweep(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0usize..4).prop_map(Event::Hold),
            (0usize..4).prop_map(Event::Release),
            (0u64..400).prop_map(Event::Sweep),
        ]
    }

    proptest! {
        #[test]
        fn what_is_held_stays_and_no_two_label_sets_share_a_slot(events in prop::collection::vec(event(), 0..80)) {
            let all = ["a", "b", "c", "d"];
            let (mut names, start) = (names(10), Instant::now());
            let mut held: [Option<Id<&'static str>>; 4] = Default::default();
            let mut seconds = 0;
            for event in events {
                match event {
                    Event::Hold(which) => held[which] = Some(names.id(&all[which])),
                    Event::Release(which) => held[which] = None,
                    Event::Sweep(passed) => {
                        seconds += passed;
                        let freed = names.sweep(start + Duration::from_secs(seconds));
                        prop_assert!(held.iter().flatten().all(|id| !freed.contains(&id.slot)));
                    }
                }
                let known = labels(&names);
                let slots: std::collections::BTreeSet<_> = names.iter().map(|(_, slot, _)| slot.index).collect();
                prop_assert_eq!(slots.len(), known.len());
                for (label, id) in all.iter().zip(&held) {
                    let held_slot = id.as_ref().map(|id| (id.slot, true));
                    let slot = names.iter().find(|(known, ..)| *known == label).map(|(_, slot, held)| (slot, held));
                    prop_assert_eq!(slot.filter(|(_, held)| *held), held_slot);
                }
            }
        }
    }
}
