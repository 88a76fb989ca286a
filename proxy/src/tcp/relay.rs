//! Both directions of a connection, and the limits of its idleness and its length.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::direction::{Direction, Fault};
use super::session::{End, Session};
use super::side::BackEnd;
use crate::listener::Connection;
use crate::net::Stream;

/// A connection on which nothing moves, unless a DestinationRule says otherwise. Source: Envoy, `idle_timeout` of `TcpProxy`.
const IDLE_LIMIT: Duration = Duration::from_hours(1);
/// Between two times that bytes are counted of a connection that lives on.
const REPORT_PERIOD: Duration = Duration::from_secs(10);

/// A connection and the back end that it goes to.
pub(super) struct Relay {
    connection: Rc<Connection>,
    client: Stream,
    upstream: BackEnd,
    up: Direction,
    down: Direction,
    idle_limit: Option<Duration>,
    /// The tick in which it has been idle for too long.
    idle_due: u32,
    /// The tick in which it has lasted for too long.
    ends: u32,
    report_due: u32,
}

impl Relay {
    /// Sends `prefix` to the back end before anything that the client sends.
    pub(super) fn new(
        connection: &Rc<Connection>,
        client: Stream,
        upstream: BackEnd,
        prefix: Vec<u8>,
        session: &Session,
    ) -> Self {
        let pool = session.pool();
        let written = pool.and_then(|pool| pool.tcp_idle_timeout);
        let idle_limit = Some(written.unwrap_or(IDLE_LIMIT)).filter(|limit| !limit.is_zero());
        let deadlines = &connection.local.deadlines;
        let duration = pool.and_then(|pool| pool.connection_duration_max).filter(|limit| !limit.is_zero());
        Self {
            client,
            upstream,
            up: Direction::new(prefix),
            down: Direction::new(Vec::new()),
            idle_limit,
            idle_due: idle_limit.map_or(u32::MAX, |limit| deadlines.after(limit)),
            ends: duration.map_or(u32::MAX, |limit| deadlines.after(limit)),
            report_due: u32::MAX,
            connection: Rc::clone(connection),
        }
    }

    /// Moves bytes until both sides have ended, or one of them broke off.
    pub(super) async fn run(mut self, session: &mut Session) {
        let end = std::future::poll_fn(|cx| self.poll(cx, session)).await;
        let memory = &self.connection.local.memory;
        self.up.finish(memory);
        self.down.finish(memory);
        if end != End::Closed {
            // What was cut must not look whole.
            self.client.reset_on_close();
            self.upstream.reset_on_close();
        }
        session.ended(end);
    }

    fn poll(&mut self, cx: &mut Context<'_>, session: &mut Session) -> Poll<End> {
        let moved = (self.up.moved, self.down.moved);
        let local = Rc::clone(&self.connection.local);
        let up = self.up.poll(cx, &mut self.client, &mut self.upstream, &local.memory);
        let down = self.down.poll(cx, &mut self.upstream, &mut self.client, &local.memory);
        session.count(self.up.moved, self.down.moved);
        match (up, down) {
            (Poll::Ready(Err(Fault::Source)), _) | (_, Poll::Ready(Err(Fault::Sink))) => {
                return Poll::Ready(End::ClientBroke);
            }
            (Poll::Ready(Err(Fault::Sink)), _) | (_, Poll::Ready(Err(Fault::Source))) => {
                return Poll::Ready(End::BackEndBroke);
            }
            _ if self.up.is_done() && self.down.is_done() => return Poll::Ready(End::Closed),
            _ => {}
        }
        if moved != (self.up.moved, self.down.moved) {
            self.idle_due = self.idle_limit.map_or(u32::MAX, |limit| local.deadlines.after(limit));
            self.report_due = self.report_due.min(local.deadlines.after(REPORT_PERIOD));
        }
        if local.deadlines.has_come(self.report_due) {
            session.report();
            self.report_due = u32::MAX;
        }
        if local.deadlines.has_come(self.ends) {
            return Poll::Ready(End::TooLong);
        }
        if local.deadlines.has_come(self.idle_due) {
            return Poll::Ready(End::Idle);
        }
        self.connection.deadline.set_at(self.idle_due.min(self.ends).min(self.report_due));
        self.connection.deadline.register(cx.waker());
        Poll::Pending
    }
}
