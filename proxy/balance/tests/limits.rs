//! What a cluster takes at once: never more, and whoever waits has its turn.

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use balance::{Acquire, ClusterState, ConnectionPermit, EndpointSet, Overflow};
use common::{endpoints, rules};
use config_model::model::{Balancing, ClusterPolicy, ConnectionPool, Fraction, RetryBudget};
use proptest::collection::vec;
use proptest::prelude::*;

/// Remembers how often it was woken.
#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// A task that asks for a connection.
struct Task {
    bell: Arc<Bell>,
    acquire: Acquire,
}

impl Task {
    fn new(cluster: &Arc<ClusterState>) -> Self {
        Self { bell: Arc::default(), acquire: cluster.connections().acquire() }
    }

    fn poll(&mut self) -> Poll<Result<ConnectionPermit, Overflow>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        self.acquire.poll_acquire(&mut Context::from_waker(&waker))
    }

    fn permit(&mut self) -> Option<ConnectionPermit> {
        match self.poll() {
            Poll::Ready(permit) => permit.ok(),
            Poll::Pending => None,
        }
    }

    fn woken(&self) -> u32 {
        self.bell.0.load(SeqCst)
    }
}

/// A set under limits of connections, waiting requests, requests and retries; 0 for none.
fn limited(connections: u32, pending: u32, requests: u32, retries: u32, previous: Option<&EndpointSet>) -> EndpointSet {
    let pool = ConnectionPool {
        connections_max: NonZeroU32::new(connections),
        pending_max: NonZeroU32::new(pending),
        requests_max: NonZeroU32::new(requests),
        retries_max: NonZeroU32::new(retries),
        ..ConnectionPool::default()
    };
    let rules = rules(Balancing::RoundRobin, ClusterPolicy { pool, ..ClusterPolicy::default() });
    EndpointSet::new(endpoints(1), rules, previous, Instant::now())
}

#[test]
fn requests_at_once_are_limited_until_a_permit_is_dropped() {
    let set = limited(0, 0, 2, 0, None);
    let first = set.cluster().try_request(Instant::now);
    let _second = set.cluster().try_request(Instant::now).unwrap();
    assert_eq!(set.cluster().try_request(Instant::now).err(), Some(Overflow));
    drop(first);
    assert!(set.cluster().try_request(Instant::now).is_ok());
    assert_eq!(set.cluster().requests(), 1);
}

#[test]
fn without_limits_everything_is_granted() {
    let set = limited(0, 0, 0, 0, None);
    let held: Vec<_> =
        (0..1000).map(|_| (set.cluster().try_request(Instant::now), set.cluster().try_retry(Instant::now))).collect();
    assert!(held.iter().all(|(request, retry)| request.is_ok() && retry.is_ok()));
    let mut tasks: Vec<Task> = (0..1000).map(|_| Task::new(set.cluster())).collect();
    let permits: Vec<_> = tasks.iter_mut().map(|task| task.permit().unwrap()).collect();
    assert_eq!((set.cluster().connections().open(), permits.len()), (1000, 1000));
}

#[test]
fn counts_outlive_a_set_and_a_new_limit_holds_at_once() {
    let first = limited(0, 0, 5, 0, None);
    let _held: Vec<_> = (0..4).map(|_| first.cluster().try_request(Instant::now).unwrap()).collect();
    let second = limited(0, 0, 3, 0, Some(&first));
    assert_eq!(second.cluster().requests(), 4);
    assert!(second.cluster().try_request(Instant::now).is_err());
}

#[test]
fn retries_at_once_are_limited() {
    let set = limited(0, 0, 0, 1, None);
    let retry = set.cluster().try_retry(Instant::now);
    assert!(set.cluster().try_retry(Instant::now).is_err());
    drop(retry);
    assert!(set.cluster().try_retry(Instant::now).is_ok());
}

#[test]
fn a_budget_is_a_share_of_active_requests_and_takes_the_place_of_the_limit() {
    let budget = RetryBudget { share: Fraction::from_percent(20.0), minimum: 3, interval: None };
    let pool = ConnectionPool { retries_max: NonZeroU32::new(1), ..ConnectionPool::default() };
    let policy = ClusterPolicy { retry_budget: Some(budget), pool, ..ClusterPolicy::default() };
    let set = EndpointSet::new(endpoints(1), rules(Balancing::RoundRobin, policy), None, Instant::now());
    for (requests, retries) in [(0, 3), (19, 3), (20, 4), (24, 4), (25, 5)] {
        let _requests: Vec<_> = (0..requests).map(|_| set.cluster().try_request(Instant::now).unwrap()).collect();
        let granted: Vec<_> = std::iter::from_fn(|| set.cluster().try_retry(Instant::now).ok()).collect();
        assert_eq!(granted.len(), retries, "{requests} active requests");
    }
}

#[test]
fn a_request_that_waits_for_a_connection_counts_once_for_the_budget() {
    let budget = RetryBudget { share: Fraction::from_percent(50.0), minimum: 0, interval: None };
    let pool = ConnectionPool { connections_max: NonZeroU32::new(1), ..ConnectionPool::default() };
    let policy = ClusterPolicy { retry_budget: Some(budget), pool, ..ClusterPolicy::default() };
    let set = EndpointSet::new(endpoints(1), rules(Balancing::RoundRobin, policy), None, Instant::now());
    let _requests = [(); 4].map(|()| set.cluster().try_request(Instant::now).unwrap());
    let mut tasks = [(); 4].map(|()| Task::new(set.cluster()));
    let _permits = tasks.each_mut().map(Task::permit);
    assert_eq!(set.cluster().connections().waiting(), 3);
    let granted: Vec<_> = std::iter::from_fn(|| set.cluster().try_retry(Instant::now).ok()).collect();
    assert_eq!(granted.len(), 2);
}

#[test]
fn a_budget_with_an_interval_is_a_share_of_the_tries_in_it() {
    let interval = Duration::from_secs(10);
    let budget = RetryBudget { share: Fraction::from_percent(20.0), minimum: 1, interval: Some(interval) };
    let policy = ClusterPolicy { retry_budget: Some(budget), ..ClusterPolicy::default() };
    let set = EndpointSet::new(endpoints(1), rules(Balancing::RoundRobin, policy), None, Instant::now());
    let start = Instant::now();
    let retries = |after: Duration| {
        let granted: Vec<_> = std::iter::from_fn(|| set.cluster().try_retry(|| start + after).ok()).collect();
        granted.len()
    };
    // None of these is active any more.
    (0..20).for_each(|_| drop(set.cluster().try_request(|| start).unwrap()));
    assert_eq!(retries(Duration::ZERO), 4);
    // Retries are tries: of 25 of them five may be retries, and of the thirty that there are then a sixth one.
    drop(set.cluster().try_request(|| start).unwrap());
    assert_eq!(retries(interval), 6);
    assert_eq!(retries(interval + interval), 1, "what is left is the minimum");
}

#[test]
fn connections_are_had_at_once_below_the_limit_and_waited_for_in_line_at_it() {
    let set = limited(1, 0, 0, 0, None);
    let gate = set.cluster().connections();
    let mut tasks: Vec<Task> = (0..4).map(|_| Task::new(set.cluster())).collect();
    let mut permit = tasks[0].permit();
    assert!(permit.is_some());
    for task in &mut tasks[1..] {
        assert!(task.permit().is_none());
    }
    assert_eq!((gate.open(), gate.waiting()), (1, 3));
    for next in 1..4 {
        drop(permit);
        let woken: Vec<u32> = tasks.iter().map(Task::woken).collect();
        let expected: Vec<u32> = (0..4).map(|task| u32::from((1..=next).contains(&task))).collect();
        assert_eq!(woken, expected, "exactly one, and the first in line");
        permit = tasks[next as usize].permit();
        assert!(permit.is_some());
    }
    assert_eq!((gate.open(), gate.waiting()), (1, 0));
}

#[test]
fn the_line_has_an_end() {
    let set = limited(1, 1, 0, 0, None);
    let mut tasks: Vec<Task> = (0..3).map(|_| Task::new(set.cluster())).collect();
    let _permit = tasks[0].permit().unwrap();
    assert!(matches!(tasks[1].poll(), Poll::Pending));
    assert!(matches!(tasks[2].poll(), Poll::Ready(Err(Overflow))));
    tasks.remove(1);
    assert!(matches!(Task::new(set.cluster()).poll(), Poll::Pending), "its place is free again");
}

#[test]
fn who_stops_waiting_passes_its_slot_on() {
    let set = limited(1, 0, 0, 0, None);
    let mut tasks: Vec<Task> = (0..4).map(|_| Task::new(set.cluster())).collect();
    let permit = tasks[0].permit().unwrap();
    tasks[1..].iter_mut().for_each(|task| assert!(task.poll().is_pending()));
    drop(tasks.remove(2));
    drop(permit);
    // Granted, but it doesn't come for it.
    assert_eq!(tasks[1].woken(), 1);
    drop(tasks.remove(1));
    assert_eq!(tasks[1].woken(), 1);
    assert!(tasks[1].permit().is_some());
    assert_eq!((set.cluster().connections().open(), set.cluster().connections().waiting()), (0, 0));
}

#[test]
fn nobody_overtakes_those_who_wait() {
    let set = limited(1, 0, 0, 0, None);
    let mut first = Task::new(set.cluster());
    let permit = first.permit();
    let mut second = Task::new(set.cluster());
    assert!(second.poll().is_pending());
    drop(permit);
    assert!(set.cluster().connections().try_acquire().is_none(), "the slot is the second one's already");
    assert!(second.permit().is_some());
}

#[test]
fn the_latest_waker_is_woken() {
    let set = limited(1, 0, 0, 0, None);
    let permit = set.cluster().connections().try_acquire();
    let mut task = Task::new(set.cluster());
    assert!(task.poll().is_pending());
    let earlier = std::mem::take(&mut task.bell);
    assert!(task.poll().is_pending());
    drop(permit);
    assert_eq!((earlier.0.load(SeqCst), task.woken()), (0, 1));
}

#[test]
fn a_larger_limit_lets_in_who_waits() {
    let first = limited(1, 0, 0, 0, None);
    let _permit = first.cluster().connections().try_acquire().unwrap();
    let mut tasks: Vec<Task> = (0..3).map(|_| Task::new(first.cluster())).collect();
    tasks.iter_mut().for_each(|task| assert!(task.poll().is_pending()));
    let _second = limited(3, 0, 0, 0, Some(&first));
    assert_eq!(tasks.iter().map(Task::woken).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn keepers_of_idle_connections_are_told_when_somebody_waits() {
    let set = limited(1, 0, 0, 0, None);
    let gate = set.cluster().connections();
    let _idle = gate.try_acquire().unwrap();
    let bell = Arc::new(Bell::default());
    gate.watch(&Waker::from(Arc::clone(&bell)));
    let mut task = Task::new(set.cluster());
    assert!(task.poll().is_pending());
    assert_eq!(bell.0.load(SeqCst), 1);
}

#[test]
fn workers_together_never_exceed_a_limit() {
    let set = limited(3, 0, 5, 2, None);
    let cluster = set.cluster();
    let most = [AtomicU32::new(0), AtomicU32::new(0)];
    let held = [AtomicU32::new(0), AtomicU32::new(0)];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let permits = (cluster.try_request(Instant::now).ok(), cluster.try_retry(Instant::now).ok());
                    for (kind, granted) in [permits.0.is_some(), permits.1.is_some()].into_iter().enumerate() {
                        if granted {
                            most[kind].fetch_max(held[kind].fetch_add(1, SeqCst) + 1, SeqCst);
                            held[kind].fetch_sub(1, SeqCst);
                        }
                    }
                }
            });
        }
    });
    assert!(most[0].load(SeqCst) <= 5 && most[1].load(SeqCst) <= 2);
    assert_eq!((cluster.requests(), cluster.retries()), (0, 0));
}

/// Lets a thread sleep until it is woken.
struct Unpark(std::thread::Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.1.store(true, SeqCst);
        self.0.unpark();
    }
}

#[test]
fn on_several_threads_everybody_gets_a_connection_and_never_too_many_at_once() {
    let set = limited(2, 0, 0, 0, None);
    let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (cluster, held, most) = (set.cluster(), &held, &most);
            scope.spawn(move || {
                for turn in 0..2_000 {
                    let unpark = Arc::new(Unpark(std::thread::current(), AtomicBool::new(false)));
                    let waker = Waker::from(Arc::clone(&unpark));
                    let mut acquire = cluster.connections().acquire();
                    let permit = loop {
                        match acquire.poll_acquire(&mut Context::from_waker(&waker)) {
                            Poll::Ready(permit) => break permit.unwrap(),
                            // Now and then somebody loses patience.
                            Poll::Pending if (turn + worker) % 7 == 0 => acquire = cluster.connections().acquire(),
                            Poll::Pending => {
                                while !unpark.1.swap(false, SeqCst) {
                                    std::thread::park_timeout(Duration::from_secs(5));
                                }
                            }
                        }
                    };
                    most.fetch_max(held.fetch_add(1, SeqCst) + 1, SeqCst);
                    if turn % 64 == 0 {
                        std::thread::yield_now();
                    }
                    held.fetch_sub(1, SeqCst);
                    drop(permit);
                }
            });
        }
    });
    assert!(most.load(SeqCst) <= 2);
    assert_eq!((set.cluster().connections().open(), set.cluster().connections().waiting()), (0, 0));
}

proptest! {
    #[test]
    fn a_slot_is_free_only_while_nobody_waits(limit in 1u32..4, steps in vec((0u8..3, 0usize..8), 1..80)) {
        let set = limited(limit, 0, 0, 0, None);
        let gate = set.cluster().connections();
        let mut tasks: Vec<Task> = Vec::new();
        let mut permits = Vec::new();
        for (kind, which) in steps {
            match kind {
                0 => {
                    let mut task = Task::new(set.cluster());
                    match task.permit() {
                        Some(permit) => permits.push(permit),
                        None => tasks.push(task),
                    }
                }
                1 if !permits.is_empty() => drop(permits.remove(which % permits.len())),
                2 if !tasks.is_empty() => drop(tasks.remove(which % tasks.len())),
                _ => {}
            }
            // Whoever has been woken comes for its slot, and finds it.
            while let Some(place) = tasks.iter().position(|task| task.woken() > 0) {
                let mut task = tasks.remove(place);
                let permit = task.permit();
                prop_assert!(permit.is_some());
                permits.extend(permit);
            }
            prop_assert_eq!(gate.open() as usize, permits.len());
            prop_assert_eq!(gate.waiting() as usize, tasks.len());
            prop_assert!(gate.open() <= limit);
            prop_assert!(tasks.is_empty() || gate.open() == limit);
        }
    }
}
