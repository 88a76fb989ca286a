//! The endpoints of one cluster, made ready for picking. Start at [`EndpointSet::new`].
//!
//! A set never changes. When a pod comes or goes a new set is built from the old one: entries that are still there are taken
//! over with their state, so that counters and the load seen by least request survive.

use std::hash::BuildHasher;
use std::sync::Arc;

use config_model::model::{Endpoint, EndpointAddress, Health};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::schedule::Schedule;
use crate::state::EndpointState;

/// Index into [`EndpointSet::entries`] of the set that it came from, and of no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryIndex(pub u32);

/// An endpoint and what is counted for it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As the model has it.
    pub endpoint: Arc<Endpoint>,
    /// Survives by address.
    pub state: Arc<EndpointState>,
}

/// Immutable endpoints of one cluster. Its size is limited by the configuration alone.
#[derive(Debug)]
pub struct EndpointSet {
    entries: Vec<Entry>,
    /// Positions in `entries`, by hash of the address.
    by_address: HashTable<u32>,
    /// Those that may be picked, in order.
    ready: Vec<EntryIndex>,
    schedule: Schedule,
}

impl EndpointSet {
    /// Makes a set of `endpoints`, with the state that `previous` has for their addresses. Of several with one address the
    /// first is kept, as in Envoy. Only ready ones with an address to connect to will be picked: names are looked up before,
    /// and a name that is still here has not been found.
    pub fn new(endpoints: Vec<Endpoint>, previous: Option<&Self>) -> Self {
        let mut entries: Vec<Entry> = Vec::with_capacity(endpoints.len());
        let mut by_address = HashTable::with_capacity(endpoints.len());
        let mut expected = 0;
        for endpoint in endpoints {
            let hash = hash_of(&endpoint.address);
            let hasher = |&index: &u32| entries.get(index as usize).map_or(0, |entry| hash_of(&entry.endpoint.address));
            let same = |&index: &u32| has_address(&entries, index, &endpoint.address);
            let hashbrown::hash_table::Entry::Vacant(slot) = by_address.entry(hash, same, hasher) else { continue };
            slot.insert(position(entries.len()));
            let found = previous.and_then(|set| set.find(&endpoint.address, hash, expected));
            expected = found.map_or(expected, |index| index + 1);
            let known = found.zip(previous).and_then(|(index, set)| set.entries.get(index as usize));
            entries.push(Entry::taking_over(endpoint, known));
        }
        let ready: Vec<EntryIndex> =
            (0..).map(EntryIndex).zip(&entries).filter(|(_, entry)| entry.is_ready()).map(|(index, _)| index).collect();
        let weight = |index: &EntryIndex| entries.get(index.0 as usize).map_or(1, |entry| entry.endpoint.weight);
        let schedule = Schedule::new(ready.iter().map(weight));
        Self { entries, by_address, ready, schedule }
    }

    /// Every endpoint, ready or not.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of `index`; `None` for an index of another set that was larger.
    pub fn get(&self, index: EntryIndex) -> Option<&Entry> {
        self.entries.get(index.0 as usize)
    }

    /// The entry with this address.
    pub fn by_address(&self, address: &EndpointAddress) -> Option<&Entry> {
        self.entries.get(self.lookup(address, hash_of(address))? as usize)
    }

    /// How many may be picked.
    pub fn ready_count(&self) -> usize {
        self.ready.len()
    }

    /// The entry at `position` among those that may be picked.
    pub(crate) fn ready(&self, position: usize) -> Option<EntryIndex> {
        self.ready.get(position).copied()
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Attempts under way at the entry at `position` among those that may be picked.
    pub(crate) fn active(&self, position: usize) -> u32 {
        self.ready(position).and_then(|index| self.get(index)).map_or(0, |entry| entry.state.active())
    }

    /// The position of `address`, most likely `expected`: between two sets order seldom changes.
    fn find(&self, address: &EndpointAddress, hash: u64, expected: u32) -> Option<u32> {
        if has_address(&self.entries, expected, address) { Some(expected) } else { self.lookup(address, hash) }
    }

    fn lookup(&self, address: &EndpointAddress, hash: u64) -> Option<u32> {
        self.by_address.find(hash, |&index| has_address(&self.entries, index, address)).copied()
    }
}

impl Entry {
    fn taking_over(endpoint: Endpoint, known: Option<&Self>) -> Self {
        match known {
            Some(known) if *known.endpoint == endpoint => known.clone(),
            Some(known) => Self { endpoint: Arc::new(endpoint), state: Arc::clone(&known.state) },
            None => Self { endpoint: Arc::new(endpoint), state: Arc::default() },
        }
    }

    /// Whether this endpoint may be picked.
    pub fn is_ready(&self) -> bool {
        self.endpoint.health == Health::Ready && !matches!(self.endpoint.address, EndpointAddress::Dns { .. })
    }
}

fn has_address(entries: &[Entry], index: u32, address: &EndpointAddress) -> bool {
    entries.get(index as usize).is_some_and(|entry| entry.endpoint.address == *address)
}

/// Addresses come from the configuration, which is trusted: a hash without a secret will do.
fn hash_of(address: &EndpointAddress) -> u64 {
    FixedState::default().hash_one(address)
}

/// A cluster of four thousand million endpoints does not fit into memory.
fn position(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
