//! One HTTP/2 connection to a back end, shared by the requests of a worker.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU32;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use balance::{AttemptError, ConnectionGate, ConnectionPermit};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};

use super::pings::Pings;
use super::pool::Slot;
use super::{STREAM_WINDOW, STREAMS_BEFORE_SETTINGS, STREAMS_MAX};
use crate::net::{Gathered, Stream, WrittenAddress};
use crate::snapshot::ClusterRuntime;
use crate::telemetry::ClusterId;
use crate::upstream::Security;
use crate::upstream::connection::end_of_life;
use crate::worker::Local;

/// A connection, counted as open until its last stream has ended and the pool has let go of it.
pub(crate) struct Http2Connection {
    requests: RefCell<SendRequest<Bytes>>,
    /// Our end.
    pub(super) local_address: Option<WrittenAddress>,
    /// The TLS that it was made with.
    pub(super) security: Option<Box<Security>>,
    /// Streams under way.
    streams: Cell<u32>,
    streams_max: u32,
    /// Requests that it may still serve, if they are limited.
    requests_left: Cell<Option<u32>>,
    has_served: Cell<bool>,
    /// Nothing new is begun on it.
    is_over: Cell<bool>,
    /// Sweeps that have found it idle.
    pub(super) idle_sweeps: Cell<u32>,
    /// How long it is kept idle.
    pub(super) idle_limit: Option<Duration>,
    /// When it takes no further request, if its life is limited.
    ends: Option<Instant>,
    /// Its place, if places are limited.
    permit: Option<ConnectionPermit>,
    local: Rc<Local>,
    cluster: ClusterId,
}

/// A place for one stream on a connection, until it is dropped.
pub(crate) struct Lease {
    connection: Rc<Http2Connection>,
    slot: Rc<Slot>,
    /// Whether the connection had served requests and nothing was under way on it.
    pub(super) was_idle: bool,
    /// Whether the connection had served requests before.
    pub(super) reused: bool,
}

impl Http2Connection {
    /// Begins HTTP/2 on `stream`, and has the connection driven by a task of its own.
    ///
    /// # Errors
    /// If not even the beginning can be sent.
    pub(super) async fn begin(
        stream: Stream,
        local: &Rc<Local>,
        cluster: &ClusterRuntime,
        permit: Option<ConnectionPermit>,
        security: Option<&Security>,
        slot: &Rc<Slot>,
    ) -> Result<Rc<Self>, AttemptError> {
        let pool = &cluster.definition.policy().pool;
        let streams_max = pool.streams_per_connection_max.map_or(STREAMS_MAX, NonZeroU32::get);
        let local_address = stream.local_address().map(WrittenAddress::new);
        let socket = Gathered::to_back_end(stream);
        let begun = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(STREAMS_BEFORE_SETTINGS)
            .initial_window_size(STREAM_WINDOW)
            // Room for what all its streams may hold: one that stalls must not stall the others.
            .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams_max).min((1 << 31) - 1))
            .max_send_buffer_size(STREAM_WINDOW as usize)
            .max_header_list_size(http1::HEAD_BYTES_MAX as u32)
            .handshake(socket.clone())
            .await;
        let (requests, mut connection) = begun.map_err(|_error| AttemptError::ClosedUnsent)?;
        local.shard.borrow_mut().upstream_connection_opened(&cluster.metrics);
        let own = Rc::new(Self {
            requests: RefCell::new(requests),
            local_address,
            security: security.cloned().map(Box::new),
            streams: Cell::new(0),
            streams_max,
            requests_left: Cell::new(pool.requests_per_connection_max.map(NonZeroU32::get)),
            has_served: Cell::new(false),
            is_over: Cell::new(false),
            idle_sweeps: Cell::new(0),
            idle_limit: pool.idle_timeout,
            ends: end_of_life(pool),
            permit,
            local: Rc::clone(local),
            cluster: cluster.metrics.clone(),
        });
        let pings = Pings::new(connection.ping_pong(), pool.pings);
        tokio::task::spawn_local(drive((connection, socket), pings, Rc::downgrade(&own), Rc::downgrade(slot)));
        Ok(own)
    }

    /// Whether another stream can begin on it now.
    fn has_room(&self) -> bool {
        if self.is_over() {
            return false;
        }
        let mut requests = self.requests.borrow_mut();
        // After a GOAWAY, or at the end of its numbers, it takes no more.
        if let Poll::Ready(Err(_)) = requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            self.is_over.set(true);
            return false;
        }
        let streams = self.streams.get();
        streams < self.streams_max && (streams as usize) < requests.current_max_send_streams()
    }

    /// Whether the back end takes a CONNECT with a protocol; nothing as long as it has not said. Source: RFC 8441, 3.
    pub(super) fn takes_tunnels(&self) -> Option<bool> {
        let requests = self.requests.borrow();
        let offers = requests.is_extended_connect_protocol_enabled();
        let has_said = offers || self.is_over.get() || requests.current_max_send_streams() != STREAMS_BEFORE_SETTINGS;
        has_said.then_some(offers)
    }

    /// A place on it, if there is one.
    pub(super) fn lease(self: &Rc<Self>, slot: &Rc<Slot>) -> Option<Lease> {
        if !self.has_room() {
            return None;
        }
        if let Some(left) = self.requests_left.get() {
            self.requests_left.set(Some(left.saturating_sub(1)));
            if left <= 1 {
                self.is_over.set(true);
            }
        }
        let reused = self.has_served.replace(true);
        let was_idle = reused && self.streams.get() == 0;
        self.streams.set(self.streams.get() + 1);
        Some(Lease { connection: Rc::clone(self), slot: Rc::clone(slot), was_idle, reused })
    }

    /// Whether it is of no more use to the pool: streams that are under way keep it by themselves.
    pub(super) fn is_over(&self) -> bool {
        if self.ends.is_some_and(|ends| ends <= Instant::now()) {
            self.is_over.set(true);
        }
        self.is_over.get()
    }

    /// Whether nothing is under way on it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Where its place is counted, if places are limited.
    pub(super) fn gate(&self) -> Option<&Arc<ConnectionGate>> {
        self.permit.as_ref().map(ConnectionPermit::gate)
    }

    /// Whether its place is counted by `gate`.
    pub(super) fn is_of(&self, gate: &Arc<ConnectionGate>) -> bool {
        self.gate().is_some_and(|own| Arc::ptr_eq(own, gate))
    }

    /// Whether somebody waits for its place.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.gate().is_some_and(|gate| gate.waiting() > 0)
    }
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        self.local.shard.borrow_mut().upstream_connection_closed(&self.cluster);
    }
}

impl Lease {
    /// The connection that it is on.
    pub(super) fn connection(&self) -> &Http2Connection {
        &self.connection
    }

    /// What requests are sent through.
    pub(super) fn requests(&self) -> &RefCell<SendRequest<Bytes>> {
        &self.connection.requests
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_sweeps.set(0);
        // Who opens another one on this worker is served by this one as well.
        let is_wanted_elsewhere = || self.slot.opening.borrow().is_none() && connection.is_in_the_way();
        let is_over = connection.is_over() || connection.local.hurrying.get();
        if connection.is_idle() && (is_over || is_wanted_elsewhere()) {
            self.slot.forget(connection);
        }
        self.slot.changed.notify_waiters();
    }
}

/// Moves what goes over a connection until it has ended.
async fn drive(
    (mut connection, socket): (Connection<Gathered, Bytes>, Gathered),
    mut pings: Option<Pings>,
    owner: Weak<Http2Connection>,
    slot: Weak<Slot>,
) {
    let mut is_settled = false;
    std::future::poll_fn(|cx| {
        if pings.as_mut().is_some_and(|pings| pings.poll_dead(cx).is_ready()) {
            return Poll::Ready(());
        }
        // Its streams are told what has ended it.
        let ended = Pin::new(&mut connection).poll(cx).map(|_| ());
        if !is_settled && owner.upgrade().is_some_and(|owner| owner.takes_tunnels().is_some()) {
            is_settled = true;
            slot.upgrade().inspect(|slot| slot.changed.notify_waiters());
        }
        match socket.poll_send(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => ended,
        }
    })
    .await;
    if let Some(owner) = owner.upgrade() {
        owner.is_over.set(true);
        if let Some(slot) = slot.upgrade() {
            slot.forget(&owner);
            slot.changed.notify_waiters();
        }
    }
}
