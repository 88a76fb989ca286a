//! HTTP/2 connections of one worker, kept under the state of their endpoint, which outlives changes of the configuration.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use balance::{AttemptError, ConnectionGate, EndpointState};
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use super::connection::{Http2Connection, Lease};
use crate::upstream::Security;
use crate::upstream::pool::{IDLE_SWEEPS, key, sweeps};

/// HTTP/2 connections of one worker.
#[derive(Default)]
pub(crate) struct Http2Pool {
    /// By the address of the endpoint's state, which the slot keeps alive.
    slots: RefCell<HashMap<usize, Rc<Slot>, RandomState>>,
}

/// The connections to one endpoint.
pub(super) struct Slot {
    endpoint: Arc<EndpointState>,
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    /// Whoever opens another one, for all who wait for it.
    pub(super) opening: RefCell<Option<Rc<Opening>>>,
    /// There is another connection, a free stream, or nobody who opens a connection any more.
    pub(super) changed: Notify,
}

/// A connection that is being opened.
#[derive(Default)]
pub(super) struct Opening {
    /// Why it could not be.
    pub(super) failure: Cell<Option<AttemptError>>,
}

impl Http2Pool {
    /// A place for a stream on a connection to `endpoint` that was made with that TLS, or none.
    pub(crate) fn lease(&self, endpoint: &Arc<EndpointState>, security: Option<&Security>) -> Option<Lease> {
        let slots = self.slots.borrow();
        slots.get(&key(endpoint))?.lease(security)
    }

    pub(super) fn slot(&self, endpoint: &Arc<EndpointState>) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(key(endpoint)).or_insert_with(|| {
            Rc::new(Slot {
                endpoint: Arc::clone(endpoint),
                connections: RefCell::default(),
                opening: RefCell::default(),
                changed: Notify::new(),
            })
        });
        Rc::clone(slot)
    }

    /// Whether there is a connection whose place is counted by `gate`.
    pub(crate) fn has_any_of(&self, gate: &Arc<ConnectionGate>) -> bool {
        let is_of = |slot: &Rc<Slot>| slot.connections.borrow().iter().any(|one| one.is_of(gate));
        self.slots.borrow().values().any(is_of)
    }

    /// Lets go of an idle connection whose place is counted by `gate`; false if there is none.
    pub(crate) fn close_one_of(&self, gate: &Arc<ConnectionGate>) -> bool {
        for slot in self.slots.borrow().values() {
            let mut connections = slot.connections.borrow_mut();
            if let Some(at) = connections.iter().position(|one| one.is_idle() && one.is_of(gate)) {
                connections.swap_remove(at);
                return true;
            }
        }
        false
    }

    /// Lets go of every idle connection.
    pub(crate) fn close_idle(&self) {
        for slot in self.slots.borrow().values() {
            let mut connections = slot.connections.borrow_mut();
            let idle: Vec<_> = connections.extract_if(.., |connection| connection.is_idle()).collect();
            // What is dropped may look at the pool.
            drop(connections);
            drop(idle);
        }
    }

    /// Lets go of connections that were idle for too long, that take no more streams, and of those to endpoints that have left
    /// the configuration. Streams that are under way keep theirs. Called once a [`crate::worker::TICK`].
    pub(crate) fn sweep(&self) {
        self.slots.borrow_mut().retain(|_, slot| {
            let in_use = Arc::strong_count(&slot.endpoint) > 1;
            slot.connections.borrow_mut().retain(|connection| {
                if !connection.is_idle() {
                    return in_use && !connection.is_over();
                }
                connection.idle_sweeps.set(connection.idle_sweeps.get() + 1);
                let limit = connection.idle_limit.map_or(IDLE_SWEEPS, sweeps);
                let is_fresh = connection.idle_sweeps.get() <= limit;
                in_use && is_fresh && !connection.is_over() && !connection.is_in_the_way()
            });
            Rc::strong_count(slot) > 1 || !slot.connections.borrow().is_empty()
        });
    }
}

impl Slot {
    /// A place for a stream, on the oldest connection that has one.
    pub(super) fn lease(self: &Rc<Self>, security: Option<&Security>) -> Option<Lease> {
        let connections = self.connections.borrow();
        let mut fitting =
            connections.iter().filter(|connection| Security::are_same(connection.security.as_deref(), security));
        fitting.find_map(|connection| connection.lease(self))
    }

    pub(super) fn keep(&self, connection: Rc<Http2Connection>) {
        self.connections.borrow_mut().push(connection);
    }

    /// Lets go of a connection; its streams, if there are any, keep it.
    pub(super) fn forget(&self, connection: &Http2Connection) {
        let mut connections = self.connections.borrow_mut();
        let at = connections.iter().position(|known| std::ptr::eq(&raw const **known, connection));
        let gone = at.map(|at| connections.remove(at));
        // What is dropped may look at the pool.
        drop(connections);
        drop(gone);
    }
}
