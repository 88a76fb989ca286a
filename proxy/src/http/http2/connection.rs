//! One HTTP/2 connection, and the deadlines that hold for it.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection as Http2};
use http1::Message;
use tokio::io::AsyncWrite;

use super::socket::Metered;
use super::stream;
use crate::http::HEAD_LIMIT;
use crate::listener::Connection;
use crate::net::{Gathered, Stream};
use crate::pressure::Pressure;
use crate::worker::Deadline;

/// Without a request.
pub(in crate::http) const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// For a client to answer our goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
/// The same for a client that has an answer to take first, and between two signs of life while it takes the rest.
const LAST_ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// A client that takes nothing of its answer.
const WRITE_LIMIT: Duration = Duration::from_secs(30);
/// What a client has to take of its answers, in bytes a second.
const SLOWEST: u64 = 1000;
/// What of an answer is handed to the library at once: a client that takes [`SLOWEST`] has room for the next in good time.
pub(super) const PIECE_MAX: usize = 16 * 1024;
/// Decoded fields of a head.
const HEAD_BYTES_MAX: u32 = http1::HEAD_BYTES_MAX as u32;
/// What may wait in memory for one stream, each way.
const BUFFER_MAX: usize = 64 * 1024;
/// Streams that a client may have open at once.
const STREAMS_MAX: u32 = 100;
/// What may wait in memory for one connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that the library may reset or refuse before it ends the connection, which mostly ends by [`Metered`] before that.
/// Source: CVE-2023-44487 and those that followed it.
const BROKEN_STREAMS_MAX: usize = 1024;

/// What goes on on a connection.
pub(in crate::http) struct State {
    pub(super) connection: Rc<Connection>,
    requests: Cell<u32>,
    /// The tick up to which the client may still have to take the answer that ended last.
    answering: Cell<u32>,
    /// For a client whose socket takes nothing.
    stall: Deadline,
    /// For a client of HTTP/3 that takes nothing of what it asked for; streams of HTTP/2 see to that by [`Patience`].
    windows: Option<Deadline>,
    /// Parts of answers that wait for it.
    parts_owed: Cell<u32>,
    /// Bytes of answers that a client of HTTP/2 has been sent.
    taken: Cell<u64>,
}

impl State {
    pub(in crate::http) fn new(connection: Rc<Connection>) -> Self {
        let stall = Deadline::new(&connection.local.deadlines);
        let (requests, answering, parts_owed, taken) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
        Self { requests, answering, stall, windows: None, parts_owed, taken, connection }
    }

    /// The same for HTTP/3.
    #[cfg(feature = "http3")]
    pub(in crate::http) fn of_http3(connection: Rc<Connection>) -> Self {
        Self { windows: Some(Deadline::new(&connection.local.deadlines)), ..Self::new(connection) }
    }

    /// So many more, or fewer, parts of answers wait for the client to take them.
    pub(in crate::http) fn owed(&self, change: i32) {
        let Some(windows) = &self.windows else { return };
        self.parts_owed.set(self.parts_owed.get().saturating_add_signed(change));
        if self.parts_owed.get() == 0 { windows.clear() } else { windows.set(WRITE_LIMIT) }
    }

    /// Has what was written sent, and notes whether the client takes it. Ready when the connection is broken.
    fn poll_send(&self, socket: &Gathered, cx: &mut Context<'_>) -> Poll<()> {
        let sent = socket.poll_send(cx);
        if socket.is_blocked() {
            self.stall.set_once(WRITE_LIMIT);
        } else {
            self.stall.clear();
        }
        if let Poll::Ready(Err(_)) = sent { Poll::Ready(()) } else { Poll::Pending }
    }

    fn request_begins(&self) {
        self.requests.set(self.requests.get() + 1);
        self.connection.deadline.clear();
    }

    fn request_ends(&self) {
        self.requests.set(self.requests.get() - 1);
        if self.requests.get() == 0 {
            let local = &self.connection.local;
            self.answering.set(local.deadlines.after(LAST_ANSWER_LIMIT));
            self.connection.deadline.set(if local.ends_connections() { LAST_ANSWER_LIMIT } else { IDLE_LIMIT });
        }
    }

    /// How long the client may take to answer our goodbye.
    fn goodbye_limit(&self) -> Duration {
        let has_taken_all = self.connection.local.deadlines.has_come(self.answering.get());
        if has_taken_all { GOODBYE_LIMIT } else { LAST_ANSWER_LIMIT }
    }

    /// Whether the client has to be told to go: we leave, or memory is so short that no connection is worth it, or none that
    /// is idle.
    fn shall_leave(&self) -> bool {
        let local = &self.connection.local;
        local.leaving.get()
            || local.hurrying.get() && (self.requests.get() == 0 || local.pressure.get() >= Pressure::Severe)
    }

    /// Whether it is time for an end of a connection of HTTP/2, of which streams see themselves by [`Patience`] that they wait for
    /// too long.
    fn verdict(&self, socket: &Metered, cx: &Context<'_>) -> Option<Verdict> {
        // Who takes bytes, however slowly, is not cut.
        if self.stall.passed() && socket.gathered().push() {
            self.stall.clear();
        }
        self.verdict_by(Some(&self.stall), cx)
    }

    /// The same for HTTP/3.
    #[cfg(feature = "http3")]
    pub(in crate::http) fn verdict_by_parts(&self, cx: &Context<'_>) -> Option<Verdict> {
        self.verdict_by(self.windows.as_ref(), cx)
    }

    fn verdict_by(&self, stall: Option<&Deadline>, cx: &Context<'_>) -> Option<Verdict> {
        let stalled = stall.is_some_and(|stall| stall.has_passed(cx));
        let idle = self.connection.deadline.has_passed(cx);
        if stalled { Some(Verdict::Reset) } else { idle.then_some(Verdict::Idle) }
    }
}

/// How long a stream waits for room for its answer. Costs nothing until it has to wait.
pub(super) struct Patience {
    deadline: Option<Deadline>,
    /// What the connection had taken when it began to wait.
    began: u64,
    /// And when it was last looked at.
    seen: u64,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { deadline: None, began: 0, seen: 0 }
    }

    /// There is room.
    pub(super) fn rests(&self) {
        self.deadline.iter().for_each(Deadline::clear);
    }

    /// There is none. Whether that has been so for too long; if not, whoever polls is woken when it has.
    ///
    /// Nobody is ended who takes [`SLOWEST`]. A stream alone has room for a piece before its time is up then. One of many may have to
    /// wait for longer, as it shares the connection's window with the others, and the library gives that to each in turn: as long as
    /// the connection is that fast, the stream is given the time for each of them to have had its turn, twice.
    pub(super) fn is_over(&mut self, state: &State, cx: &Context<'_>) -> bool {
        let deadline = self.deadline.get_or_insert_with(|| Deadline::new(&state.connection.local.deadlines));
        let taken = state.taken.get();
        if deadline.set_once(WRITE_LIMIT) {
            (self.began, self.seen) = (taken, taken);
        }
        if !deadline.has_passed(cx) {
            return false;
        }
        let round = 2 * u64::from(state.requests.get()) * PIECE_MAX as u64;
        if is_stalled(taken - self.began, taken - self.seen, round) {
            return true;
        }
        self.seen = taken;
        deadline.set(WRITE_LIMIT);
        false
    }
}

/// Whether a stream is stalled that has waited while the connection took so much in all, and `lately` in the last [`WRITE_LIMIT`];
/// in `round` everybody has had a turn.
fn is_stalled(taken: u64, lately: u64, round: u64) -> bool {
    lately < SLOWEST * WRITE_LIMIT.as_secs() || taken >= round
}

/// A request under way, until it is dropped.
pub(in crate::http) struct Busy(Rc<State>);

impl Busy {
    pub(in crate::http) fn new(state: &Rc<State>) -> Self {
        state.request_begins();
        Self(Rc::clone(state))
    }

    /// The connection that it is on.
    pub(super) fn state(&self) -> &State {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// Why a connection ends before HTTP ends it.
pub(in crate::http) enum Verdict {
    /// It was idle for too long.
    Idle,
    /// The client takes nothing.
    Reset,
}

/// Serves a connection to its end. `first` holds the bytes that have been read of it.
pub(crate) async fn serve(connection: Rc<Connection>, stream: Stream, first: Box<Message>) {
    let ahead = Bytes::copy_from_slice(first.received());
    connection.local.memory.give_back(first);
    connection.deadline.set(IDLE_LIMIT);
    let state = Rc::new(State::new(connection));
    let socket = Metered::new(Gathered::new(stream, ahead), &state.connection.local.deadlines);
    if let Some(http) = begin(&state, &socket).await {
        match drive(http, &state, &socket).await {
            End::Over => linger(&state, socket, state.goodbye_limit(), WRITE_LIMIT).await,
            End::Dismissed => linger(&state, socket, GOODBYE_LIMIT, GOODBYE_LIMIT).await,
            End::Broken => {}
        }
    }
}

/// Exchanges the first words with a client; nothing if that doesn't come to an end.
async fn begin(state: &State, socket: &Metered) -> Option<Http2<Metered, Bytes>> {
    let mut beginning = Builder::new()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_window_size(u32::from(u16::MAX))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(BUFFER_MAX)
        .max_local_error_reset_streams(Some(BROKEN_STREAMS_MAX))
        .enable_connect_protocol()
        .max_header_list_size(HEAD_BYTES_MAX)
        .handshake(socket.clone());
    poll_fn(|cx| {
        if state.verdict(socket, cx).is_some() {
            return Poll::Ready(None);
        }
        let begun = Pin::new(&mut beginning).poll(cx);
        if state.poll_send(socket.gathered(), cx).is_ready() { Poll::Ready(None) } else { begun.map(Result::ok) }
    })
    .await
}

/// How a connection has ended.
enum End {
    /// As HTTP ends it, or because it is of no use any more.
    Over,
    /// The client has been told that it has gone too far.
    Dismissed,
    /// Nothing can be sent any more.
    Broken,
}

/// Serves what comes on a connection until it has ended.
async fn drive(mut http: Http2<Metered, Bytes>, state: &Rc<State>, socket: &Metered) -> End {
    let mut leaving = false;
    let mut head = None;
    poll_fn(|cx| {
        let verdict = state.verdict(socket, cx);
        let idle = matches!(verdict, Some(Verdict::Idle));
        if !leaving && (state.shall_leave() || idle) {
            leaving = true;
            http.graceful_shutdown();
            if state.requests.get() == 0 {
                // The goodbye ends with the client's answer to a PING, which may never come.
                state.connection.deadline.set(state.goodbye_limit());
            }
        }
        match verdict {
            Some(Verdict::Reset) => return Poll::Ready(End::Broken),
            // A client that still takes what it was sent has no time to answer; whether it does is seen by the other deadline.
            Some(Verdict::Idle) if state.connection.deadline.passed() && !socket.gathered().is_blocked() => {
                // Says which requests have not been looked at.
                http.abrupt_shutdown(Reason::NO_ERROR);
                let _ = poll_streams(&mut http, state, cx);
                return Poll::Ready(End::Over);
            }
            _ if poll_streams(&mut http, state, cx).is_ready() => return Poll::Ready(End::Over),
            _ => {}
        }
        state.taken.set(socket.data_sent());
        if socket.has_exceeded() || head_is_late(&mut head, state, socket, cx) {
            http.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            // Whatever comes of it: a client that takes nothing isn't told.
            let _ = poll_streams(&mut http, state, cx);
            return Poll::Ready(End::Dismissed);
        }
        state.poll_send(socket.gathered(), cx).map(|()| End::Broken)
    })
    .await
}

/// Whether a head has begun too long ago and has not ended. If one has begun that may yet end in time, whoever polls is woken
/// when it has not; its deadline is `late` from then on.
fn head_is_late(late: &mut Option<Deadline>, state: &State, socket: &Metered, cx: &Context<'_>) -> bool {
    let Some(since) = socket.head_since() else {
        late.iter().for_each(Deadline::clear);
        return false;
    };
    let deadlines = &state.connection.local.deadlines;
    let late = late.get_or_insert_with(|| Deadline::new(deadlines));
    late.set_at(deadlines.after(HEAD_LIMIT) - (deadlines.now() - since));
    // The library doesn't read while it can't write.
    late.has_passed(cx) && !socket.gathered().is_blocked()
}

/// Lets a client take our goodbye, and what it was sent before, until it closes the connection: with something unread, or with
/// something that comes after we have closed it, it would be reset, and what is still on its way would be lost. Ends when the client
/// is silent for `silence`, and after `limit` at the latest.
async fn linger(state: &State, mut socket: Metered, silence: Duration, limit: Duration) {
    let local = &state.connection.local;
    let (deadline, latest) = (Deadline::new(&local.deadlines), local.deadlines.after(limit));
    deadline.set(silence);
    let mut rest = local.memory.block();
    poll_fn(|cx| {
        loop {
            if deadline.has_passed(cx) || ready!(Pin::new(&mut socket).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            if ready!(socket.poll_discard(cx, &mut rest)) == 0 {
                return Poll::Ready(());
            }
            deadline.set_at(local.deadlines.after(silence).min(latest));
        }
    })
    .await;
    local.memory.give_back_block(rest);
}

/// Moves frames, and begins the streams that the client opens. Ready when the connection has ended.
fn poll_streams(http: &mut Http2<Metered, Bytes>, state: &Rc<State>, cx: &mut Context<'_>) -> Poll<()> {
    while let Some(Ok((request, response))) = ready!(http.poll_accept(cx)) {
        // Boxed, as the runtime moves a task's future several times.
        tokio::task::spawn_local(Box::pin(stream::serve(Busy::new(state), request, response)));
    }
    Poll::Ready(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_stalled_if_the_connection_is_or_if_it_lets_its_turn_pass() {
        let round = 2 * 50 * PIECE_MAX as u64;
        for (taken, lately, stalled) in [
            (0, 0, true),
            (29_999, 29_999, true),
            (30_000, 30_000, false),
            (round - 1, 30_000, false),
            (round, 30_000, true),
            (round, round, true),
            (round - 1, 29_999, true),
        ] {
            assert_eq!(is_stalled(taken, lately, round), stalled, "{taken} {lately}");
        }
        assert!(PIECE_MAX as u64 / SLOWEST < WRITE_LIMIT.as_secs());
    }
}
