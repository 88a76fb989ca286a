//! The endpoints of one cluster, made ready for picking. Start at [`EndpointSet::new`].
//!
//! Members of a set never change. When a pod comes or goes a new set is built from the old one: entries that are still there
//! are taken over with their state, so that counters, ejections and the load seen by least request survive; so does the
//! cluster's own [`ClusterState`]. Lists of endpoints that are the same in memory are not gone through again
//! ([`crate::gather`]). What does change in a set is who of them may be picked, and with what weight: that is in a [`View`],
//! which is built beside the requests and swapped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Instant;

use arc_swap::ArcSwap;
use config_model::model::{
    Balancing, ClusterPolicy, Endpoint, EndpointAddress, EndpointList, Health, OutlierDetection,
};

use crate::blocks::EntryIndex;
use crate::gather::Gathered;
use crate::layout::Layout;
use crate::limits::ClusterState;
use crate::outcome::Report;
use crate::outlier::OutlierEvent;
use crate::state::EndpointState;
use crate::view::View;
use crate::warmup;

/// An endpoint and what is counted for it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// As the model has it.
    pub endpoint: Arc<Endpoint>,
    /// Survives by address.
    pub state: Arc<EndpointState>,
    /// When it became ready: the beginning of its warmup.
    pub(crate) ready_since: Option<Instant>,
    /// Of the endpoint, as what follows: who looks at all entries finds it without a step to each endpoint.
    pub(crate) weight: u32,
    pub(crate) priority: u8,
    /// Whether its locality makes a difference.
    pub(crate) is_apart: bool,
    is_ready: bool,
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
    gathered: Gathered,
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
    /// Makes a set of `endpoints`, to take the place of `previous` at once: see [`EndpointSet::of_lists`].
    pub fn new(endpoints: Vec<Endpoint>, rules: SetRules, previous: Option<&Self>, now: Instant) -> Self {
        let list = endpoints.into_iter().map(Arc::new).collect();
        Self::of_lists(vec![list], rules, previous, now)
    }

    /// Makes a set of the endpoints of all `lists`, to take the place of `previous` at once: it takes over the cluster's state, and
    /// that of endpoints with the same address. Of several with one address the first is kept, as in Envoy. Only ready ones with
    /// an address to connect to will be picked: names are looked up before, and a name that is still here has not been found.
    /// Each comes with its priority and the share of its locality; endpoints of one locality have the same share.
    ///
    /// A list that is the same in memory as one of those that `previous` was made of costs next to nothing.
    pub fn of_lists(lists: Vec<EndpointList>, rules: SetRules, previous: Option<&Self>, now: Instant) -> Self {
        let gathered = Gathered::new(lists, previous, now);
        let layout = Layout::new(&gathered.blocks);
        let cluster = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.cluster));
        let had_outliers = previous.is_none_or(|previous| previous.outliers().is_some());
        let mut set = Self {
            view: ArcSwap::from_pointee(View::empty()),
            view_id: AtomicU64::new(0),
            refresh: Refresh::default(),
            gathered,
            layout,
            rules,
            cluster,
        };
        set.bring_in_line(had_outliers);
        set.gathered.gone = Vec::new();
        set.refresh(now);
        set
    }

    /// Every endpoint, ready or not.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.gathered.blocks.list().iter().flat_map(|block| block.iter())
    }

    /// The same in blocks, by [`EntryIndex::block`]. A block that a change did not touch is the very same in the next set.
    pub fn blocks(&self) -> &[Arc<[Entry]>] {
        self.gathered.blocks.list()
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.blocks().iter().map(|block| block.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of `index`; `None` for an index of another set that was larger.
    #[inline]
    pub fn get(&self, index: EntryIndex) -> Option<&Entry> {
        self.gathered.blocks.get(index)
    }

    /// The entry with this address.
    pub fn by_address(&self, address: &EndpointAddress) -> Option<&Entry> {
        self.get(self.gathered.find(address)?)
    }

    /// Whether a set of `lists` would have the same endpoints.
    pub fn is_of(&self, lists: &[EndpointList]) -> bool {
        let are_same = |known: &EndpointList, list: &EndpointList| Arc::ptr_eq(known, list) || known == list;
        self.gathered.lists.len() == lists.len()
            && self.gathered.lists.iter().zip(lists).all(|(known, list)| are_same(known, list))
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
        let entries = self.gathered.blocks.iter();
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
                let view = View::build(&self.gathered.blocks, &self.layout, &self.rules, &self.cluster, now);
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

    pub(crate) fn gathered(&self) -> &Gathered {
        &self.gathered
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn outliers(&self) -> Option<&OutlierDetection> {
        self.rules.policy.outliers.as_ref()
    }

    /// Brings the cluster's state in line: its limits, and who counts as a member for outlier detection. Entries of a block that
    /// was taken over are members already.
    fn bring_in_line(&self, had_outliers: bool) {
        self.cluster.configure(&self.rules.policy);
        let ejections = &self.cluster.ejections;
        let members = u32::try_from(self.ready_count()).unwrap_or(u32::MAX);
        ejections.members.store(members, SeqCst);
        let fresh = self.gathered.fresh.iter().filter_map(|&block| self.blocks().get(block));
        let fresh = || fresh.clone().flat_map(|block| block.iter());
        let unready = fresh().filter(|entry| !entry.is_ready());
        self.gathered.gone.iter().chain(unready).for_each(|entry| entry.state.standing.leave(ejections));
        fresh().filter(|entry| entry.is_ready()).for_each(|entry| entry.state.standing.join());
        // Also whom a request has ejected that goes by the rules of an earlier set.
        if self.outliers().is_none() && (had_outliers || self.cluster.ejected() > 0) {
            self.entries().for_each(|entry| entry.state.standing.pardon(ejections));
        }
    }
}

impl Entry {
    pub(crate) fn taking_over(endpoint: &Arc<Endpoint>, known: Option<&Self>, now: Instant) -> Self {
        let is_ready = endpoint.health == Health::Ready && !matches!(endpoint.address, EndpointAddress::Dns { .. });
        let ready_since = known.and_then(|known| known.ready_since).unwrap_or(now);
        Self {
            endpoint: Arc::clone(endpoint),
            state: known.map_or_else(Arc::default, |known| Arc::clone(&known.state)),
            ready_since: is_ready.then_some(ready_since),
            weight: endpoint.weight,
            priority: endpoint.priority,
            is_apart: endpoint.locality_share.is_some() || endpoint.proxies.is_some(),
            is_ready,
        }
    }

    /// Whether this endpoint takes traffic, as long as it is not ejected.
    pub fn is_ready(&self) -> bool {
        self.is_ready
    }
}
