//! Idle connections, kept under the state of their endpoint, which outlives changes of the configuration.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{ConnectionGate, EndpointState};
use foldhash::fast::RandomState;

use super::r#yield::Yield;
use super::{Http2Pool, Security, UpstreamConnection};
use crate::net::Liveness;
use crate::worker::TICK;

/// A kept connection is closed after this long, before servers close it, which usually do after 75 s.
const IDLE_LIMIT: Duration = Duration::from_mins(1);
/// The same in sweeps.
pub(super) const IDLE_SWEEPS: u32 = sweeps(IDLE_LIMIT);

/// Sweeps in so long a time.
pub(super) const fn sweeps(limit: Duration) -> u32 {
    (limit.as_millis() / TICK.as_millis()) as u32
}

/// Connections of one worker: idle ones of HTTP/1.1, and all of HTTP/2.
#[derive(Default)]
pub(crate) struct Pool {
    /// Those of HTTP/2.
    pub(crate) http2: Http2Pool,
    /// By the address of the endpoint's state, which the slot keeps alive.
    slots: RefCell<HashMap<usize, Slot, RandomState>>,
    r#yield: Yield,
}

struct Slot {
    endpoint: Arc<EndpointState>,
    /// The one used last is at the end, and is used first.
    idle: Vec<Idle>,
}

struct Idle {
    connection: Box<UpstreamConnection>,
    /// Sweeps that have found it idle.
    sweeps: u32,
}

impl Idle {
    /// For how long it has been idle at least: the first sweep may have come at once.
    fn age_at_least(&self) -> Duration {
        TICK * self.sweeps.saturating_sub(1)
    }

    /// For how long it has been idle at most.
    fn age_at_most(&self) -> Duration {
        TICK * (self.sweeps + 1)
    }

    /// Whether the back end, as far as it is known, would not have closed it yet.
    fn is_young_enough(&self, now: Instant) -> bool {
        let limit = self.connection.endpoint.keep_alive().reusable_for(now);
        limit.is_none_or(|limit| self.age_at_most() <= limit)
    }

    /// Whether it can be used: nothing has happened. A back end that has closed it has shown how long it waits.
    fn is_alive(&mut self, now: Instant) -> bool {
        // Bytes that nobody asked for are as good as a close.
        let is_quiet = self.connection.stream.liveness() == Liveness::Quiet;
        if !is_quiet {
            self.connection.endpoint.keep_alive().closed_by_peer(self.age_at_least(), now);
        }
        is_quiet
    }
}

/// Under which connections to `endpoint` are kept.
pub(super) fn key(endpoint: &Arc<EndpointState>) -> usize {
    Arc::as_ptr(endpoint) as usize
}

impl Pool {
    /// A kept connection to `endpoint` that seems to be alive and was made with that TLS, or none.
    pub(crate) fn reuse(
        &self,
        endpoint: &Arc<EndpointState>,
        security: Option<&Security>,
    ) -> Option<Box<UpstreamConnection>> {
        loop {
            let mut connection = self.take(endpoint, security)?;
            // Bytes that nobody asked for are as good as a close.
            if !connection.has_ended() && connection.stream.liveness() == Liveness::Quiet {
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    fn take(&self, endpoint: &Arc<EndpointState>, security: Option<&Security>) -> Option<Box<UpstreamConnection>> {
        let mut slots = self.slots.borrow_mut();
        let idle = &mut slots.get_mut(&key(endpoint))?.idle;
        // Nearly always the last.
        let at = idle.iter().rposition(|idle| idle.connection.is_secured_by(security))?;
        Some(idle.remove(at).connection)
    }

    pub(super) fn put(&self, connection: Box<UpstreamConnection>) {
        let mut slots = self.slots.borrow_mut();
        let slot = match slots.entry(key(&connection.endpoint)) {
            std::collections::hash_map::Entry::Occupied(slot) => slot.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Slot { endpoint: Arc::clone(&connection.endpoint), idle: Vec::new() })
            }
        };
        let gate = connection.gate().cloned();
        slot.idle.push(Idle { connection, sweeps: 0 });
        drop(slots);
        if let Some(gate) = gate {
            self.watch(&gate);
            self.close_for(&gate);
        }
    }

    /// Gives up idle connections whose place is counted by `gate` as soon as somebody waits for one, on whichever worker.
    pub(super) fn watch(&self, gate: &Arc<ConnectionGate>) {
        self.r#yield.watch(gate);
    }

    /// Waits until a place is wanted that an idle connection may have.
    pub(crate) async fn asked(&self) {
        self.r#yield.asked().await;
    }

    /// Closes idle connections whose places are wanted.
    pub(crate) fn give_way(&self) {
        for gate in self.r#yield.take() {
            self.close_for(&gate);
            // Of the others somebody may want one later. Nobody has to be told of a gate that has none here.
            if self.has_idle_of(&gate) {
                self.watch(&gate);
                self.close_for(&gate);
            }
        }
    }

    fn close_for(&self, gate: &Arc<ConnectionGate>) {
        while gate.waiting() > 0 && self.close_one_of(gate) {}
    }

    fn has_idle_of(&self, gate: &Arc<ConnectionGate>) -> bool {
        let is_of = |slot: &Slot| slot.idle.iter().any(|idle| idle.connection.is_of(gate));
        self.slots.borrow().values().any(is_of) || self.http2.has_any_of(gate)
    }

    /// Closes an idle connection whose place is counted by `gate`; false if there is none.
    pub(super) fn close_one_of(&self, gate: &Arc<ConnectionGate>) -> bool {
        let mut slots = self.slots.borrow_mut();
        for slot in slots.values_mut() {
            if let Some(at) = slot.idle.iter().position(|idle| idle.connection.is_of(gate)) {
                slot.idle.swap_remove(at);
                return true;
            }
        }
        self.http2.close_one_of(gate)
    }

    /// Closes every idle connection.
    pub(crate) fn close_idle(&self) {
        self.slots.borrow_mut().clear();
        self.http2.close_idle();
    }

    /// Closes connections that were idle for too long, that the back end has closed or is about to, and those to endpoints
    /// that have left the configuration. Called once a [`TICK`].
    pub(crate) fn sweep(&self) {
        self.http2.sweep();
        let now = Instant::now();
        self.slots.borrow_mut().retain(|_, slot| {
            // Every connection of the slot holds the endpoint too.
            let in_use = Arc::strong_count(&slot.endpoint) > 1 + slot.idle.len();
            slot.idle.retain_mut(|idle| {
                idle.sweeps += 1;
                let limit = idle.connection.idle_limit.map_or(IDLE_SWEEPS, sweeps);
                let is_over = idle.connection.has_ended() || idle.connection.is_in_the_way();
                let is_wanted = in_use && idle.sweeps <= limit && !is_over;
                is_wanted && idle.is_young_enough(now) && idle.is_alive(now)
            });
            !slot.idle.is_empty()
        });
    }
}
