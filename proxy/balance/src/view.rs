//! Who may be picked at this moment, and how often: what [`crate::EndpointSet::refresh`] builds beside the requests, and what
//! a pick looks up. A view never changes.
//!
//! Source: Envoy, "Priority levels", "Panic threshold", "Locality weighted load balancing", "Slow start mode". Start at
//! [`View::build`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use config_model::model::{Balancing, EndpointAddress, LocalityPolicy, Warmup, ZoneAware};

use crate::blocks::{Blocks, EntryIndex};
use crate::layout::{GroupLayout, Layout, PriorityLayout};
use crate::limits::ClusterState;
use crate::maglev::Maglev;
use crate::priority::{Loads, Population};
use crate::ring::{Host, Ring};
use crate::schedule::Schedule;
use crate::set::{Entry, SetRules};
use crate::warmup;
use crate::zones::{self, Zone};

/// A warmup is followed in so many steps, if they are not too short or too long for that.
const WARMUP_STEPS: u32 = 100;
const WARMUP_STEP_MIN: Duration = Duration::from_millis(100);
const WARMUP_STEP_MAX: Duration = Duration::from_secs(1);

/// Ids of views are never used twice in a process, so that one comparison tells whether a view is of this set and current.
static IDS: AtomicU64 = AtomicU64::new(1);

/// Endpoints that may be picked.
#[derive(Debug)]
pub(crate) struct View {
    id: u64,
    /// Those of the set, all of them: as one reference, so that a worker that lets go of a view has nothing to tidy up.
    blocks: Blocks,
    pub(crate) loads: Loads,
    levels: Box<[Level]>,
    group_count: usize,
    healthy: usize,
    health_version: u64,
    /// When weights will be others, as long as somebody warms up.
    refresh_at: Option<Instant>,
}

/// Those of one priority.
#[derive(Debug)]
pub(crate) struct Level {
    /// Which group's turn it is, if there are several.
    pub(crate) shares: Schedule,
    pub(crate) groups: Box<[Group]>,
    pub(crate) hashed: Option<Hashed>,
}

/// Those of one locality, or of all if requests are not distributed. Not empty.
#[derive(Debug)]
pub(crate) struct Group {
    /// Unique in the view.
    pub(crate) number: usize,
    pub(crate) schedule: Schedule,
    /// The layout's own, if all of them may be picked.
    pub(crate) members: Arc<[EntryIndex]>,
}

/// Those of one priority, by consistent hashing.
#[derive(Debug)]
pub(crate) struct Hashed {
    table: HashTable,
    members: Box<[EntryIndex]>,
}

#[derive(Debug)]
enum HashTable {
    Ring(Ring),
    Maglev(Maglev),
}

impl Hashed {
    /// The endpoint of this key; with a `number` above 0 another one, as far as the table has it there.
    pub(crate) fn pick(&self, key: u64, number: usize) -> Option<EntryIndex> {
        let position = match &self.table {
            HashTable::Ring(ring) => ring.pick(key, number),
            HashTable::Maglev(maglev) => maglev.pick(key, number as u64),
        };
        self.members.get(position? as usize).copied()
    }
}

impl View {
    /// Nobody.
    pub(crate) fn empty() -> Self {
        Self {
            id: 0,
            blocks: Blocks::default(),
            loads: Loads::new(&[], 0),
            levels: Box::default(),
            group_count: 0,
            healthy: 0,
            health_version: 0,
            refresh_at: None,
        }
    }

    /// Who may be picked at `now`.
    pub(crate) fn build(
        blocks: &Blocks,
        layout: &Layout,
        rules: &SetRules,
        cluster: &ClusterState,
        now: Instant,
    ) -> Self {
        // Read first: whoever is ejected from here on has the view built anew.
        let health_version = cluster.health_version();
        let zones = match &rules.policy.locality {
            Some(LocalityPolicy::ZoneAware(zones)) => Some(zones),
            _ => None,
        };
        let (is_any_ejected, warmup) = (cluster.ejected() > 0, warmup_of(rules));
        let builder = Builder { blocks, is_any_ejected, balancing: rules.balancing, warmup, zones, now };
        let populations: Vec<Population> =
            layout.priorities.iter().map(|priority| builder.population(priority)).collect();
        let min_health = rules.policy.outliers.as_ref().map_or(0, |outliers| outliers.min_health_percent);
        let loads = Loads::new(&populations, min_health);
        let level = |(number, priority)| builder.level(priority, loads.is_in_panic(number));
        let mut levels: Box<[Level]> = layout.priorities.iter().enumerate().map(level).collect();
        let groups = levels.iter_mut().flat_map(|level| &mut level.groups);
        let group_count = groups.enumerate().map(|(number, group)| group.number = number).count();
        Self {
            id: IDS.fetch_add(1, Relaxed),
            blocks: blocks.clone(),
            levels,
            loads,
            group_count,
            healthy: populations.iter().map(|population| population.healthy as usize).sum(),
            health_version,
            refresh_at: builder.refresh_at(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Attempts under way at an endpoint.
    pub(crate) fn active(&self, index: EntryIndex) -> u32 {
        self.blocks.get(index).map_or(0, |entry| entry.state.active())
    }

    /// How many groups there are.
    pub(crate) fn group_count(&self) -> usize {
        self.group_count
    }

    pub(crate) fn level(&self, priority: usize) -> Option<&Level> {
        self.levels.get(priority)
    }

    pub(crate) fn healthy(&self) -> usize {
        self.healthy
    }

    pub(crate) fn is_pickable(&self) -> bool {
        self.levels.iter().any(Level::is_pickable)
    }

    /// Whether it should be built anew, since health has changed or somebody is warmer now.
    pub(crate) fn is_stale(&self, health_version: u64, now: Instant) -> bool {
        self.health_version != health_version || self.refresh_at.is_some_and(|refresh_at| refresh_at <= now)
    }
}

impl Level {
    fn is_pickable(&self) -> bool {
        !self.groups.is_empty() || self.hashed.as_ref().is_some_and(|hashed| !hashed.members.is_empty())
    }
}

/// Random choice and hashing don't know of a warmup, as in Envoy.
fn warmup_of(rules: &SetRules) -> Option<Warmup> {
    rules.policy.warmup.filter(|_| matches!(rules.balancing, Balancing::RoundRobin | Balancing::LeastRequest))
}

struct Builder<'a> {
    blocks: &'a Blocks,
    /// Otherwise nobody's state has to be looked at.
    is_any_ejected: bool,
    balancing: Balancing,
    warmup: Option<Warmup>,
    zones: Option<&'a ZoneAware>,
    now: Instant,
}

impl Builder<'_> {
    fn is_healthy(&self, index: EntryIndex) -> bool {
        !self.is_any_ejected || self.blocks.get(index).is_some_and(|entry| !entry.state.is_ejected())
    }

    fn healthy_count(&self, group: &GroupLayout) -> usize {
        if !self.is_any_ejected {
            return group.members.len();
        }
        group.members.iter().filter(|&&index| self.is_healthy(index)).count()
    }

    fn population(&self, priority: &PriorityLayout) -> Population {
        let healthy: usize = priority.groups.iter().map(|group| self.healthy_count(group)).sum();
        Population { members: priority.member_count() as u64, healthy: healthy as u64 }
    }

    fn level(&self, priority: &PriorityLayout, panic: bool) -> Level {
        if matches!(self.balancing, Balancing::RingHash { .. } | Balancing::Maglev { .. }) {
            let hashed = Some(self.hashed(priority, panic));
            return Level { shares: Schedule::new(&[]), groups: Box::default(), hashed };
        }
        let (shares, groups) = self.groups(priority, panic);
        Level { shares: Schedule::new(&shares), groups: groups.into(), hashed: None }
    }

    /// Groups of those that may be picked, with their shares. In panic, and if no locality has a share, all are one group.
    fn groups(&self, priority: &PriorityLayout, panic: bool) -> (Vec<u32>, Vec<Group>) {
        let mut found = (Vec::new(), Vec::new());
        let by_zone = self.shares_by_zone(priority).unwrap_or_default();
        for (number, group) in priority.groups.iter().enumerate() {
            let share = by_zone.get(number).copied().unwrap_or_else(|| self.effective_share(group));
            if share > 0 && !panic {
                found.0.push(share);
                found.1.push(self.healthy_group(group));
            }
        }
        if found.0.is_empty() {
            let all = priority.groups.iter().flat_map(|group| group.members.iter().copied());
            let flat = self.group(all.filter(|&index| panic || self.is_healthy(index)).collect());
            if !flat.members.is_empty() {
                found = (vec![1], vec![flat]);
            }
        }
        found
    }

    /// Shares of the groups, if they are zones whose endpoints are to be used evenly, and can be.
    fn shares_by_zone(&self, priority: &PriorityLayout) -> Option<Vec<u32>> {
        let rules = self.zones?;
        let zone = |group: &GroupLayout| {
            let endpoint = &self.blocks.get(*group.members.first()?)?.endpoint;
            let is_own = endpoint.locality == rules.own;
            Some(Zone { is_own, healthy: self.healthy_count(group) as u64, proxies: endpoint.proxies? })
        };
        let zones: Option<Vec<Zone>> = priority.groups.iter().map(zone).collect();
        zones::shares(&zones?, rules.healthy_min)
    }

    /// A locality keeps its share down to 1 / 1.4 of its endpoints, and loses in proportion below that.
    fn effective_share(&self, group: &GroupLayout) -> u32 {
        let population = Population { members: group.members.len() as u64, healthy: self.healthy_count(group) as u64 };
        u32::try_from(u64::from(group.weight) * population.health()).unwrap_or(u32::MAX)
    }

    fn healthy_group(&self, group: &GroupLayout) -> Group {
        if self.is_any_ejected {
            return self.group(group.members.iter().copied().filter(|&index| self.is_healthy(index)).collect());
        }
        if self.warmup.is_some() {
            return self.group(Arc::clone(&group.members));
        }
        Group { number: 0, schedule: Schedule::new(&group.weights), members: Arc::clone(&group.members) }
    }

    fn group(&self, members: Arc<[EntryIndex]>) -> Group {
        let entries = members.iter().filter_map(|&index| self.blocks.get(index));
        let weights: Vec<u32> = match self.warmup {
            Some(_) => {
                let (mut warmth, mut weights) = (self.warmth(), Vec::with_capacity(members.len()));
                weights.extend(entries.map(|entry| (entry.weight, warmth(entry))));
                warmup::scaled(&weights)
            }
            None => entries.map(|entry| entry.weight).collect(),
        };
        Group { number: 0, schedule: Schedule::new(&weights), members }
    }

    /// What tells the share of its weight that an endpoint has already: for those that became ready together, as most do, once.
    fn warmth(&self) -> impl FnMut(&Entry) -> f64 {
        let mut known = (None, 1.0);
        move |entry| {
            if known.0 != entry.ready_since {
                let share = match (self.warmup, entry.ready_since) {
                    (Some(warmup), Some(since)) => warmup::share(&warmup, self.now.saturating_duration_since(since)),
                    _ => 1.0,
                };
                known = (entry.ready_since, share);
            }
            known.1
        }
    }

    fn refresh_at(&self) -> Option<Instant> {
        let warmup = self.warmup?;
        let mut warmth = self.warmth();
        let step = (warmup.duration / WARMUP_STEPS).clamp(WARMUP_STEP_MIN, WARMUP_STEP_MAX);
        self.blocks.iter().any(|(_, entry)| warmth(entry) < 1.0).then(|| self.now + step)
    }

    fn hashed(&self, priority: &PriorityLayout, panic: bool) -> Hashed {
        let all: f64 = priority.groups.iter().map(|group| f64::from(group.weight)).sum();
        let mut members = Vec::new();
        let mut hosts = Vec::new();
        for group in priority.groups.iter().filter(|group| group.weight > 0) {
            let pickable = || group.members.iter().copied().filter(|&index| panic || self.is_healthy(index));
            let entries = || pickable().filter_map(|index| Some((index, self.blocks.get(index)?)));
            let sum: f64 = entries().map(|(_, entry)| f64::from(entry.weight)).sum();
            let share = f64::from(group.weight) / all;
            for (index, entry) in entries() {
                members.push(index);
                let weight = f64::from(entry.weight) * share / sum;
                hosts.push(Host { key: key_of(&entry.endpoint.address), weight });
            }
        }
        let table = match self.balancing {
            Balancing::Maglev { table_size } => HashTable::Maglev(Maglev::new(&hosts, table_size)),
            Balancing::RingHash { minimum_ring_size } => HashTable::Ring(Ring::new(&hosts, minimum_ring_size)),
            _ => HashTable::Ring(Ring::new(&[], 0)),
        };
        Hashed { table, members: members.into() }
    }
}

/// An address as Envoy writes it.
fn key_of(address: &EndpointAddress) -> String {
    match address {
        EndpointAddress::Unix(path) => path.to_string(),
        other => other.to_string(),
    }
}
