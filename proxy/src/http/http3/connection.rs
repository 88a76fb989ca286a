//! One connection of HTTP/3, and the deadlines that hold for it.

use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use h3::server::RequestResolver;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::request::{self, End};
use super::streams::number;
use super::transport::{Shared, Transport};
use crate::http::http2::{IDLE_LIMIT, State, Verdict};
use crate::listener::Connection;
use crate::pressure::Pressure;
use crate::worker::Local;

/// For a client to take our goodbye, and the settings before it.
const CONTROL_LIMIT: Duration = Duration::from_secs(1);
/// Decoded fields of a head as the library counts them. More than what we take, so that it is us who refuse, and log it.
const FIELDS_MAX: u64 = 4 * http1::HEAD_BYTES_MAX as u64;
/// Streams that may end early, besides a tenth of all. Source: PROMISES.md, section 2.
const EARLY_MAX: u64 = 100;

type Http = h3::server::Connection<Transport, Bytes>;

/// What happens on a connection.
enum Event {
    /// A stream begins.
    Stream(Box<RequestResolver<Transport, Bytes>>),
    /// One has ended.
    Ended(Result<End, JoinError>),
    /// We want to end, or the client is idle.
    Leave,
    /// It is over: nothing is under way any more, or the client has gone, or takes nothing.
    Over,
}

/// A connection as it is served.
struct Served {
    local: Rc<Local>,
    state: Rc<State>,
    quic: quinn::Connection,
    shared: Rc<Shared>,
    requests: JoinSet<End>,
    streams: u64,
    early: u64,
    is_leaving: bool,
    /// Frames of answers that had gone when a client last seemed to take nothing.
    sent: u64,
}

/// Serves a connection to its end. The sender of `leaving` is gone once it is to come to that.
pub(crate) async fn serve(connection: Rc<Connection>, quic: quinn::Connection, mut leaving: watch::Receiver<()>) {
    connection.deadline.set(IDLE_LIMIT);
    let shared = Rc::new(Shared::default());
    let mut builder = h3::server::builder();
    builder.max_field_section_size(FIELDS_MAX).send_grease(false);
    let beginning = builder.build(Transport::new(quic.clone(), Rc::clone(&shared)));
    let Ok(Ok(mut http)) = timeout(CONTROL_LIMIT, beginning).await else { return };
    let local = Rc::clone(&connection.local);
    let state = Rc::new(State::of_http3(connection));
    let mut served = Served {
        local,
        state,
        quic: quic.clone(),
        shared,
        requests: JoinSet::new(),
        streams: 0,
        early: 0,
        is_leaving: false,
        sent: 0,
    };
    let code = served.run(&mut http, &mut leaving).await;
    if served.is_leaving && quic.close_reason().is_none() {
        // For requests that were on their way when we said goodbye: they are refused by name, not cut.
        let refusing = async { while let Ok(Some(_)) = http.accept().await {} };
        let _ = timeout(CONTROL_LIMIT.min(quic.rtt() * 3), refusing).await;
    }
    quic.close(number(code.value()), b"");
    served.requests.shutdown().await;
}

impl Served {
    /// Runs until nothing more is to be done; yields the reason to close with.
    async fn run(&mut self, http: &mut Http, leaving: &mut watch::Receiver<()>) -> Code {
        loop {
            match self.next(http, leaving).await {
                Event::Stream(resolver) => self.begin(*resolver),
                Event::Ended(end) => {
                    self.end(end);
                    if self.early > EARLY_MAX + self.streams / 10 {
                        return Code::H3_EXCESSIVE_LOAD;
                    }
                }
                Event::Leave => {
                    self.is_leaving = true;
                    self.shared.refuses.set(true);
                    // Says which requests were not looked at, so that clients can send them elsewhere.
                    let _ = timeout(CONTROL_LIMIT, http.shutdown(1)).await;
                }
                Event::Over => return Code::H3_NO_ERROR,
            }
        }
    }

    async fn next(&mut self, http: &mut Http, leaving: &mut watch::Receiver<()>) -> Event {
        let mut accepting = pin!(http.accept());
        let mut left = pin!(leaving.changed());
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Some(end)) = self.requests.poll_join_next(cx) {
                return Poll::Ready(Event::Ended(end));
            }
            if self.is_leaving && self.requests.is_empty() {
                return Poll::Ready(Event::Over);
            }
            if let Poll::Ready(event) = self.poll_time(cx) {
                return Poll::Ready(event);
            }
            if !self.is_leaving && (self.is_in_the_way() || left.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Event::Leave);
            }
            accepting.as_mut().poll(cx).map(|accepted| match accepted {
                Ok(Some(resolver)) => Event::Stream(Box::new(resolver)),
                Ok(None) | Err(_) => Event::Over,
            })
        })
        .await
    }

    /// Whether memory is so short that no connection is worth it, or none that is idle. Who asks is woken by the deadlines.
    fn is_in_the_way(&self) -> bool {
        self.local.hurrying.get() && (self.requests.is_empty() || self.local.pressure.get() >= Pressure::Severe)
    }

    fn poll_time(&mut self, cx: &Context<'_>) -> Poll<Event> {
        match self.state.verdict_by_parts(cx) {
            Some(Verdict::Reset) => {
                // A part of an answer may be as large as the connection's window, and a slow client take long for it.
                let sent = self.quic.stats().frame_tx.stream;
                if std::mem::replace(&mut self.sent, sent) == sent {
                    return Poll::Ready(Event::Over);
                }
                self.state.owed(0);
                Poll::Pending
            }
            Some(Verdict::Idle) if !self.is_leaving => Poll::Ready(Event::Leave),
            _ => Poll::Pending,
        }
    }

    fn begin(&mut self, resolver: RequestResolver<Transport, Bytes>) {
        self.streams += 1;
        // The stream has just been accepted.
        if let Some(aside) = self.shared.aside.take() {
            self.requests.spawn_local(request::serve(Rc::clone(&self.state), resolver, aside));
        }
    }

    fn end(&mut self, end: Result<End, JoinError>) {
        match end {
            Ok(End::Answered) => {}
            Ok(End::Early) => self.early += 1,
            Err(error) => {
                if let Ok(panic) = error.try_into_panic() {
                    // It costs the connection, and is counted there.
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
}
