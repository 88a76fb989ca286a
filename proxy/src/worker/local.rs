//! What one worker keeps to itself: the snapshot as it pinned it, its pools, its position in every sequence of draws.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::Cache;
use balance::{EntryIndex, Picker, Wish};
use config_model::model::{ClusterIndex, ListenerAddress, ProxyHeaders};
use foldhash::fast::RandomState;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use routing::split::Rotation;
use routing::{RouteEntry, SplitIndex};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::date::Date;
use super::{Connections, Deadlines, Memory, Originals, Shared};
use crate::net::TlsScratch;
use crate::pressure::Pressure;
use crate::snapshot::{ClusterRuntime, ListenerRuntime, Snapshot};
use crate::telemetry::{AccessRecord, ChosenLoggers, Loggers, Shard};
use crate::upstream::Pool;

/// A worker's own state. Lives on one thread; tasks hold it by `Rc`.
pub(crate) struct Local {
    /// What it shares with the others.
    pub(crate) shared: Arc<Shared>,
    /// Coarse deadlines.
    pub(crate) deadlines: Rc<Deadlines>,
    /// Metric cells.
    pub(crate) shard: RefCell<Shard>,
    /// Access-log lines on their way to the log thread.
    pub(crate) loggers: RefCell<Loggers>,
    /// Upstream connections.
    pub(crate) pool: Pool,
    /// Clusters whose endpoint is where a client wanted to go.
    pub(crate) originals: Originals,
    /// What bytes are read into.
    pub(crate) memory: Memory,
    /// The time of day, to the second.
    pub(crate) date: Date,
    /// What TLS records are read and written through.
    pub(crate) tls_scratch: Rc<TlsScratch>,
    /// Turns of handshakes: so many may compute before requests have theirs.
    turns: Semaphore,
    /// Downstream connections.
    pub(crate) connections: Connections,
    /// Whether nothing new is accepted, and each answer is the last of its connection. Set once, for good.
    pub(crate) leaving: Cell<bool>,
    /// Whether idle connections close, too, for that reason. Set once, for good.
    draining: Cell<bool>,
    /// Whether connections close as soon as nothing is under way on them: we drain, or memory is short.
    pub(crate) hurrying: Cell<bool>,
    /// Whether requests under way are given up. Set once, for good.
    pub(crate) ending: Cell<bool>,
    /// How short memory is, as of the last tick.
    pub(crate) pressure: Cell<Pressure>,
    random: RefCell<SmallRng>,
    cache: RefCell<SnapshotCache>,
    pinned: RefCell<Rc<Pinned>>,
    /// Whether another has come since [`Local::let_go`] looked.
    is_newly_pinned: Cell<bool>,
}

/// Handshakes that compute in one turn of the worker, each for a fraction of a millisecond.
const HANDSHAKES_AT_ONCE: usize = 2;

type SnapshotCache = Cache<StoreAccess, Arc<Snapshot>>;

/// Lets the cache look through `Arc<Shared>` without a second owner of the store.
struct StoreAccess(Arc<Shared>);

impl std::ops::Deref for StoreAccess {
    type Target = arc_swap::ArcSwap<Snapshot>;

    fn deref(&self) -> &Self::Target {
        self.0.snapshots.inner()
    }
}

impl Local {
    /// State of a worker that has done nothing yet.
    pub(crate) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let mut random = SmallRng::from_rng(&mut rand::rng());
        let mut cache = Cache::new(StoreAccess(Arc::clone(&shared)));
        let mut loggers = Loggers::default();
        let pinned = Rc::new(Pinned::new(Arc::clone(cache.load()), None, &mut random, &mut loggers));
        Rc::new(Self {
            deadlines: Rc::default(),
            shard: RefCell::new(shared.metrics.shard()),
            loggers: RefCell::new(loggers),
            pool: Pool::default(),
            originals: Originals::default(),
            memory: Memory::default(),
            tls_scratch: Rc::default(),
            turns: Semaphore::new(HANDSHAKES_AT_ONCE),
            date: Date::new(SystemTime::now()),
            connections: Connections::default(),
            leaving: Cell::new(false),
            draining: Cell::new(false),
            hurrying: Cell::new(false),
            ending: Cell::new(false),
            pressure: Cell::default(),
            random: RefCell::new(random),
            cache: RefCell::new(cache),
            pinned: RefCell::new(pinned),
            is_newly_pinned: Cell::new(false),
            shared,
        })
    }

    /// Begins to leave: who is connected may ask once more.
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.deadlines.wake_all();
    }

    /// Begins to drain: the same, but idle connections close.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.hurrying.set(true);
        self.leave();
    }

    /// Whether the answer that is sent now is the last of its connection.
    pub(crate) fn ends_connections(&self) -> bool {
        self.leaving.get() || self.hurrying.get()
    }

    /// Looks how short memory is, and gives up what is to be given up.
    pub(crate) fn follow_pressure(&self) {
        let pressure = self.shared.pressure.get();
        if self.pressure.replace(pressure) == pressure {
            return;
        }
        let is_high = pressure >= Pressure::High;
        self.hurrying.set(is_high || self.draining.get());
        self.deadlines.halve(is_high);
        self.connections.pause(pressure >= Pressure::Critical);
        if is_high {
            self.pool.close_idle();
            self.deadlines.wake_all();
        }
    }

    /// Waits for a turn to compute in a handshake; first come, first served.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.turns.acquire().await.ok()
    }

    /// The snapshot in force, with this worker's place in its sequences. A request takes it once.
    pub(crate) fn pin(&self) -> Rc<Pinned> {
        let mut cache = self.cache.borrow_mut();
        let current = cache.load();
        let pinned = self.pinned.borrow();
        if Arc::ptr_eq(current, &pinned.snapshot) {
            return Rc::clone(&pinned);
        }
        let (mut random, mut loggers) = (self.random.borrow_mut(), self.loggers.borrow_mut());
        let next = Rc::new(Pinned::new(Arc::clone(current), Some(&pinned), &mut random, &mut loggers));
        drop(pinned);
        self.pinned.replace(Rc::clone(&next));
        self.is_newly_pinned.set(true);
        next
    }

    /// Lets go of a snapshot that is no longer in force, and of endpoints that are gone, though no request has come since.
    pub(crate) fn let_go(&self) {
        let pinned = self.pin();
        if !self.is_newly_pinned.take() {
            return;
        }
        for (index, picker) in pinned.pickers.borrow_mut().iter_mut() {
            if let Some(cluster) = pinned.snapshot.cluster(ClusterIndex(*index)) {
                picker.follow(&cluster.endpoints);
            }
        }
    }

    /// 64 random bits.
    pub(crate) fn draw(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// Random bits for a request's id.
    pub(crate) fn draw_id(&self) -> u128 {
        let mut random = self.random.borrow_mut();
        u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
    }

    /// An endpoint of `cluster`, as the request wishes.
    pub(crate) fn pick(
        &self,
        pinned: &Pinned,
        index: ClusterIndex,
        cluster: &ClusterRuntime,
        wish: Wish<'_>,
    ) -> Option<EntryIndex> {
        let mut random = self.random.borrow_mut();
        let mut pickers = pinned.pickers.borrow_mut();
        let picker = pickers.entry(index.0).or_insert_with(|| Picker::new(random.next_u64()));
        picker.pick(&cluster.endpoints, &mut || random.next_u64(), wish)
    }
}

/// A snapshot, and this worker's state that goes with it.
pub(crate) struct Pinned {
    /// The snapshot.
    pub(crate) snapshot: Arc<Snapshot>,
    /// Place of a listener in the snapshot's list.
    listeners: HashMap<ListenerAddress, usize, RandomState>,
    /// One sequence for each split, so that no two routes are correlated.
    rotations: Rc<[RefCell<Rotation>]>,
    /// Whether some header operation contains a command, so that requests must be remembered in words.
    pub(crate) has_header_commands: bool,
    /// What we say of ourselves.
    pub(crate) headers: ProxyHeaders,
    /// One choice of endpoints for each cluster in use.
    pickers: Rc<RefCell<HashMap<u32, Picker, RandomState>>>,
    /// Where the lines of its access logs go.
    loggers: ChosenLoggers,
}

impl Pinned {
    /// Sequences go on where they were if the table is the same: only endpoints have changed then.
    fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>, random: &mut SmallRng, loggers: &mut Loggers) -> Self {
        let loggers = loggers.of(&snapshot.access_logs);
        let listeners =
            snapshot.listeners.iter().enumerate().map(|(place, listener)| (listener.address.clone(), place));
        let listeners = listeners.collect();
        let same = previous.filter(|previous| Arc::ptr_eq(&previous.snapshot.table, &snapshot.table));
        let (rotations, pickers) = match same {
            Some(previous) => (Rc::clone(&previous.rotations), Rc::clone(&previous.pickers)),
            None => {
                let start = |_: usize| RefCell::new(Rotation::new(random.next_u64()));
                ((0..snapshot.table.split_count()).map(start).collect(), Rc::default())
            }
        };
        let has_header_commands = match same {
            Some(previous) => previous.has_header_commands,
            None => snapshot.table.routes().iter().any(RouteEntry::has_header_commands),
        };
        let headers = snapshot.model.mesh.headers.clone();
        Self { snapshot, listeners, rotations, has_header_commands, headers, pickers, loggers }
    }

    /// The listener at `address`; none if it has just been removed.
    pub(crate) fn listener(&self, address: &ListenerAddress) -> Option<&ListenerRuntime> {
        self.snapshot.listeners.get(self.listener_place(address)?)
    }

    /// Where it is in the snapshot's list.
    pub(crate) fn listener_place(&self, address: &ListenerAddress) -> Option<usize> {
        self.listeners.get(address).copied()
    }

    /// Whether there is any access log.
    pub(crate) fn is_logged(&self) -> bool {
        self.loggers.is_any()
    }

    /// Adds a line to each access log.
    pub(crate) fn log(&self, record: &AccessRecord<'_>) {
        self.loggers.log(&self.snapshot.access_logs, record);
    }

    /// The next draw of a split's sequence.
    pub(crate) fn next_draw(&self, split: SplitIndex) -> u64 {
        self.rotations.get(split.0 as usize).map_or(0, |rotation| rotation.borrow_mut().draw())
    }
}
