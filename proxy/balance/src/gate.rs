//! The right to have a connection open, lent to one request after the other when there are fewer connections than requests.
//! Source: Istio, `connectionPool.tcp.maxConnections` and `http.http1MaxPendingRequests`; Envoy, "Circuit breaking".
//!
//! Unlike Envoy's, the limit is never exceeded, not even by one connection for each worker. As long as nobody waits, a slot
//! is taken and given back with atomics alone. Start at [`ConnectionGate::acquire`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::limits::{Overflow, within};

/// Connections to one cluster, of all workers together. Limits are those that were set last; 0 stands for none.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ConnectionGate {
    open: AtomicU32,
    /// How many wait and have not been granted a slot.
    waiting: AtomicU32,
    open_max: AtomicU32,
    waiting_max: AtomicU32,
    line: Mutex<Line>,
}

/// Those who wait, the first one in front.
#[derive(Debug, Default)]
struct Line {
    tickets: u64,
    waiters: VecDeque<(u64, Waker)>,
    /// Tickets whose slot is counted as open already, and whose task has been woken.
    granted: Vec<u64>,
    /// Whoever could close an idle connection.
    watchers: Vec<Waker>,
}

impl ConnectionGate {
    /// Sets the limits: connections open at once, and requests that wait for one; 0 for no limit. Who waits and fits in now
    /// is let in.
    pub(crate) fn set_limits(&self, open_max: u32, waiting_max: u32) {
        self.waiting_max.store(waiting_max, SeqCst);
        if self.open_max.swap(open_max, SeqCst) != open_max {
            self.admit();
        }
    }

    /// Connections open now, busy or idle.
    pub fn open(&self) -> u32 {
        self.open.load(SeqCst)
    }

    /// Requests that wait for a connection. While there are any, an idle connection should be closed and not kept, or else
    /// used by a request that waits on the same worker.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(SeqCst)
    }

    /// Waits for the right to open one more connection.
    pub fn acquire(self: &Arc<Self>) -> Acquire {
        Acquire { gate: Arc::clone(self), ticket: None }
    }

    /// The right to open one more connection, if it is to be had at once.
    pub fn try_acquire(self: &Arc<Self>) -> Option<ConnectionPermit> {
        (self.waiting() == 0 && self.take()).then(|| self.permit())
    }

    /// Wakes `waker` once, as soon as a request begins to wait. Meant for the keeper of a worker's idle connections, which are
    /// in the way then: register first, then look at [`ConnectionGate::waiting`].
    pub fn watch(&self, waker: &Waker) {
        let mut line = self.lock();
        if !line.watchers.iter().any(|watcher| watcher.will_wake(waker)) {
            line.watchers.push(waker.clone());
        }
    }

    fn permit(self: &Arc<Self>) -> ConnectionPermit {
        ConnectionPermit { gate: Arc::clone(self) }
    }

    fn take(&self) -> bool {
        within(&self.open, self.open_max.load(SeqCst))
    }

    fn give_back(&self) {
        self.open.fetch_sub(1, SeqCst);
        // Whoever comes to wait counts itself first and looks for a free slot then. Here it is the other way round, so that one
        // of both sees the other.
        if self.waiting() > 0 {
            self.admit();
        }
    }

    fn admit(&self) {
        let mut line = self.lock();
        let woken = self.grant(&mut line);
        drop(line);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Grants free slots to those in front. Their tasks are to be woken without the lock.
    fn grant(&self, line: &mut Line) -> Vec<Waker> {
        let mut woken = Vec::new();
        while !line.waiters.is_empty() && self.take() {
            let Some((ticket, waker)) = line.waiters.pop_front() else { break };
            self.waiting.fetch_sub(1, SeqCst);
            line.granted.push(ticket);
            woken.push(waker);
        }
        woken
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing in here is left half done by a panic.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a task at the end of the line and says its ticket, unless the line is full.
    fn join(&self, waker: &Waker) -> Result<u64, Overflow> {
        let mut line = self.lock();
        if !within(&self.waiting, self.waiting_max.load(SeqCst)) {
            return Err(Overflow);
        }
        let ticket = line.tickets;
        line.tickets += 1;
        line.waiters.push_back((ticket, waker.clone()));
        let mut woken = self.grant(&mut line);
        woken.append(&mut line.watchers);
        drop(line);
        woken.into_iter().for_each(Waker::wake);
        Ok(ticket)
    }

    /// Whether the slot of this ticket has been granted; it is the caller's then.
    fn claim(&self, ticket: u64, waker: &Waker) -> bool {
        let mut line = self.lock();
        if line.take_granted(ticket) {
            return true;
        }
        let known = line.place_of(ticket).and_then(|place| line.waiters.get_mut(place));
        // Wakers are dropped without the lock: with the last of them a task may go, and whatever waits in it.
        let replaced = known.map(|(_, known)| std::mem::replace(known, waker.clone()));
        drop(line);
        drop(replaced);
        false
    }

    /// Takes a ticket back, and passes its slot on if it had been granted one.
    fn leave(&self, ticket: u64) {
        let mut line = self.lock();
        if line.take_granted(ticket) {
            drop(line);
            return self.give_back();
        }
        let removed = line.place_of(ticket).and_then(|place| line.waiters.remove(place));
        if removed.is_some() {
            self.waiting.fetch_sub(1, SeqCst);
        }
        drop(line);
        drop(removed);
    }
}

impl Line {
    /// Where this ticket waits. Whoever joins later has a higher one.
    fn place_of(&self, ticket: u64) -> Option<usize> {
        self.waiters.binary_search_by_key(&ticket, |(waiting, _)| *waiting).ok()
    }

    fn take_granted(&mut self, ticket: u64) -> bool {
        let place = self.granted.iter().position(|&granted| granted == ticket);
        place.map(|place| self.granted.swap_remove(place)).is_some()
    }
}

/// A connection's place under the limit; free again when this is dropped, together with the connection.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once frees its slot"]
pub struct ConnectionPermit {
    gate: Arc<ConnectionGate>,
}

impl ConnectionPermit {
    /// Where it is counted.
    pub fn gate(&self) -> &Arc<ConnectionGate> {
        &self.gate
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.gate.give_back();
    }
}

/// A place in the line for a connection. Dropped, it leaves the line; a slot that it had been granted goes to the next one.
#[derive(Debug)]
#[must_use = "nobody waits until this is polled"]
pub struct Acquire {
    gate: Arc<ConnectionGate>,
    ticket: Option<u64>,
}

impl Acquire {
    /// As [`Future::poll`]; an error says that the line is full.
    pub fn poll_acquire(&mut self, context: &mut Context<'_>) -> Poll<Result<ConnectionPermit, Overflow>> {
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None => {
                if let Some(permit) = self.gate.try_acquire() {
                    return Poll::Ready(Ok(permit));
                }
                match self.gate.join(context.waker()) {
                    Ok(ticket) => *self.ticket.insert(ticket),
                    Err(full) => return Poll::Ready(Err(full)),
                }
            }
        };
        if !self.gate.claim(ticket, context.waker()) {
            return Poll::Pending;
        }
        self.ticket = None;
        Poll::Ready(Ok(self.gate.permit()))
    }
}

impl Future for Acquire {
    type Output = Result<ConnectionPermit, Overflow>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_acquire(context)
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.leave(ticket);
        }
    }
}
