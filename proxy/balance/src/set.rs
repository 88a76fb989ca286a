//! The endpoints of one cluster, made ready for picking. Start at [`EndpointSet::new`].
//!
//! Members of a set never change. When a pod comes or goes a new set is built from the old one: entries that are still there
//! are taken over with their state, so that counters, ejections and the load seen by least request survive; so does the
//! cluster's own [`ClusterState`]. What does change in a set is who of them may be picked, and with what weight: that is in a
//! [`View`], which is built beside the requests and swapped.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Instant;

use arc_swap::ArcSwap;
use config_model::model::{Balancing, ClusterPolicy, Endpoint, EndpointAddress, Health, OutlierDetection};
use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::layout::Layout;
use crate::limits::ClusterState;
use crate::outcome::Report;
use crate::outlier::OutlierEvent;
use crate::state::EndpointState;
use crate::view::View;
use crate::warmup;

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
    /// When it became ready: the beginning of its warmup.
    pub(crate) ready_since: Option<Instant>,
}

/// How the endpoints of a set are chosen.
#[derive(Debug, Clone)]
pub struct SetRules {
    /// Source: `loadBalancer`.
    pub balancing: Balancing,
    /// Source: `trafficPolicy`.
    pub policy: Arc<ClusterPolicy>,
}

/// Endpoints of one cluster. Its size is limited by the configuration alone.
#[derive(Debug)]
pub struct EndpointSet {
    entries: Arc<[Entry]>,
    /// Positions in `entries`, by hash of the address.
    by_address: HashTable<u32>,
    layout: Layout,
    rules: SetRules,
    cluster: Arc<ClusterState>,
    view: ArcSwap<View>,
    /// The view's id, which a worker compares with that of the view it has.
    view_id: AtomicU64,
    refresh: Refresh,
}

/// Who builds a view, and whether another one is wanted.
#[derive(Debug, Default)]
struct Refresh {
    building: Mutex<()>,
    wanted: AtomicBool,
}

impl EndpointSet {
    /// Makes a set of `endpoints`, to take the place of `previous` at once: it takes over the cluster's state, and that of
    /// endpoints with the same address. Of several with one address the first is kept, as in Envoy. Only ready ones with an
    /// address to connect to will be picked: names are looked up before, and a name that is still here has not been found.
    /// Each comes with its priority and the share of its locality; endpoints of one locality have the same share.
    pub fn new(endpoints: Vec<Endpoint>, rules: SetRules, previous: Option<&Self>, now: Instant) -> Self {
        let Indexed { entries, by_address, gone } = index(endpoints, previous, now);
        let layout = Layout::new(&entries);
        let cluster = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.cluster));
        let set = Self {
            view: ArcSwap::from_pointee(View::empty()),
            view_id: AtomicU64::new(0),
            refresh: Refresh::default(),
            entries,
            by_address,
            layout,
            rules,
            cluster,
        };
        set.bring_in_line(&gone);
        set.refresh(now);
        set
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

    /// How many are ready, ejected or not.
    pub fn ready_count(&self) -> usize {
        self.layout.ready_count()
    }

    /// How many are ready and not ejected, as of the last refresh.
    pub fn healthy_count(&self) -> usize {
        self.view.load().healthy()
    }

    /// Whether a request may find an endpoint here: what a split around empty destinations asks.
    pub fn is_pickable(&self) -> bool {
        self.view.load().is_pickable()
    }

    /// The share of its weight that an endpoint of this set has while it is new; nothing where it has all of it.
    pub fn warming_share(&self, entry: &Entry, now: Instant) -> Option<f64> {
        let ready_for = now.saturating_duration_since(entry.ready_since?);
        Some(warmup::share(&self.rules.policy.warmup?, ready_for)).filter(|share| *share < 1.0)
    }

    /// What is counted for the cluster, across its sets.
    pub fn cluster(&self) -> &Arc<ClusterState> {
        &self.cluster
    }

    /// How endpoints are chosen.
    pub fn rules(&self) -> &SetRules {
        &self.rules
    }

    /// Counts the end of an attempt at the endpoint of `index` for outlier detection. Each attempt is reported once, those too
    /// that a retry hides. After [`OutlierEvent::Ejected`] somebody has to call [`EndpointSet::refresh`]: the worker itself, or
    /// a thread that it tells to, if the set is large.
    pub fn report(&self, index: EntryIndex, report: Report, now: Instant) -> Option<OutlierEvent> {
        let outliers = self.outliers()?;
        let event = self.get(index)?.state.standing.report(report, outliers, &self.cluster.ejections, now);
        if matches!(event, Some(OutlierEvent::Ejected { .. })) {
            self.cluster.health_changed();
        }
        event
    }

    /// What has to be done from time to time, several times a second by one thread: brings back whose ejection is over, lets
    /// new endpoints warm up, and picks up what was ejected by way of an older set. Yields who came back.
    pub fn tick(&self, now: Instant) -> Vec<EntryIndex> {
        let returned = match self.outliers() {
            Some(outliers) if self.cluster.is_sweep_due(outliers.interval, now) => self.sweep(outliers, now),
            _ => Vec::new(),
        };
        if self.view.load().is_stale(self.cluster.health_version(), now) {
            self.refresh(now);
        }
        returned
    }

    fn sweep(&self, outliers: &OutlierDetection, now: Instant) -> Vec<EntryIndex> {
        let back = |entry: &Entry| entry.state.standing.sweep(outliers, &self.cluster.ejections, now);
        let entries = (0..).map(EntryIndex).zip(&*self.entries);
        let returned: Vec<EntryIndex> = entries.filter(|(_, entry)| back(entry)).map(|(index, _)| index).collect();
        if !returned.is_empty() {
            self.cluster.health_changed();
        }
        returned
    }

    /// Builds the view anew and swaps it in. Nobody waits for it: requests go on with the view that they have, and who asks for
    /// a refresh during another one leaves it to the one who is at it.
    pub fn refresh(&self, now: Instant) {
        self.refresh.wanted.store(true, SeqCst);
        while self.refresh.wanted.load(SeqCst) {
            let building = match self.refresh.building.try_lock() {
                Ok(building) => building,
                Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
                Err(TryLockError::WouldBlock) => return,
            };
            if self.refresh.wanted.swap(false, SeqCst) {
                let view = View::build(&self.entries, &self.layout, &self.rules, self.cluster.health_version(), now);
                let id = view.id();
                self.view.store(Arc::new(view));
                self.view_id.store(id, SeqCst);
            }
            drop(building);
        }
    }

    /// The id of the view in force: one plain load, by which a worker sees whether the view that it has is still the right one.
    pub(crate) fn view_id(&self) -> u64 {
        self.view_id.load(std::sync::atomic::Ordering::Acquire)
    }

    /// The view in force.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn outliers(&self) -> Option<&OutlierDetection> {
        self.rules.policy.outliers.as_ref()
    }

    /// Brings the cluster's state in line: its limits, and who counts as a member for outlier detection.
    fn bring_in_line(&self, gone: &[Entry]) {
        self.cluster.configure(&self.rules.policy);
        let ejections = &self.cluster.ejections;
        let members = u32::try_from(self.ready_count()).unwrap_or(u32::MAX);
        ejections.members.store(members, SeqCst);
        let unready = self.entries.iter().filter(|entry| !entry.is_ready());
        gone.iter().chain(unready).for_each(|entry| entry.state.standing.leave(ejections));
        for entry in self.entries.iter().filter(|entry| entry.is_ready()) {
            entry.state.standing.join();
            if self.outliers().is_none() {
                entry.state.standing.pardon(ejections);
            }
        }
    }

    /// The position of `address`, most likely `expected`: between two sets order seldom changes.
    fn find(&self, address: &EndpointAddress, hash: u64, expected: u32) -> Option<u32> {
        if has_address(&self.entries, expected, address) { Some(expected) } else { self.lookup(address, hash) }
    }

    fn lookup(&self, address: &EndpointAddress, hash: u64) -> Option<u32> {
        self.by_address.find(hash, |&index| has_address(&self.entries, index, address)).copied()
    }
}

/// Entries, each address once.
struct Indexed {
    entries: Arc<[Entry]>,
    by_address: HashTable<u32>,
    /// Those of the set before that are not among them.
    gone: Vec<Entry>,
}

fn index(endpoints: Vec<Endpoint>, previous: Option<&EndpointSet>, now: Instant) -> Indexed {
    let mut entries: Vec<Entry> = Vec::with_capacity(endpoints.len());
    let mut by_address = HashTable::with_capacity(endpoints.len());
    let mut kept = vec![false; previous.map_or(0, |previous| previous.entries.len())];
    let mut expected = 0;
    for endpoint in endpoints {
        let hash = hash_of(&endpoint.address);
        let hasher = |&index: &u32| entries.get(index as usize).map_or(0, |entry| hash_of(&entry.endpoint.address));
        let same = |&index: &u32| has_address(&entries, index, &endpoint.address);
        let hashbrown::hash_table::Entry::Vacant(slot) = by_address.entry(hash, same, hasher) else { continue };
        slot.insert(position(entries.len()));
        let found = previous.and_then(|set| set.find(&endpoint.address, hash, expected));
        expected = found.map_or(expected, |index| index + 1);
        if let Some(kept) = found.and_then(|index| kept.get_mut(index as usize)) {
            *kept = true;
        }
        let known = found.zip(previous).and_then(|(index, set)| set.entries.get(index as usize));
        entries.push(Entry::taking_over(endpoint, known, now));
    }
    let known = previous.map(EndpointSet::entries).unwrap_or_default();
    let gone = known.iter().zip(kept).filter(|(_, kept)| !kept).map(|(entry, _)| entry.clone()).collect();
    Indexed { entries: entries.into(), by_address, gone }
}

impl Entry {
    fn taking_over(endpoint: Endpoint, known: Option<&Self>, now: Instant) -> Self {
        match known {
            Some(known) if *known.endpoint == endpoint => known.clone(),
            _ => {
                let endpoint = Arc::new(endpoint);
                let state = known.map_or_else(Arc::default, |known| Arc::clone(&known.state));
                let ready_since = known.and_then(|known| known.ready_since);
                let mut entry = Self { endpoint, state, ready_since: None };
                entry.ready_since = entry.is_ready().then(|| ready_since.unwrap_or(now));
                entry
            }
        }
    }

    /// Whether this endpoint takes traffic, as long as it is not ejected.
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
