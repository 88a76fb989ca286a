//! Pings that tell a dead connection from a quiet one. Source: `connectionPool.http.http2KeepAlive`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use config_model::model::Pings as Settings;
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// For an answer, where only the interval is set. Source: Istio's documentation of `http2KeepAlive.timeout`.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The pings of one connection.
pub(super) struct Pings {
    pings: PingPong,
    interval: Duration,
    timeout: Duration,
    /// To the next ping, or to the end of the wait for an answer.
    timer: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl Pings {
    /// Nothing if no interval is set.
    pub(super) fn new(pings: Option<PingPong>, settings: Option<Settings>) -> Option<Self> {
        let settings = settings?;
        let interval = settings.interval.filter(|interval| !interval.is_zero())?;
        let timeout = settings.timeout.unwrap_or(TIMEOUT);
        Some(Self { pings: pings?, interval, timeout, timer: Box::pin(sleep(interval)), is_waiting: false })
    }

    /// Ready when an answer didn't come in time.
    pub(super) fn poll_dead(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.is_waiting && self.pings.poll_pong(cx).is_ready() {
                self.is_waiting = false;
                self.timer.as_mut().reset(Instant::now() + self.interval);
            }
            ready!(self.timer.as_mut().poll(cx));
            if self.is_waiting || self.pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Ready(());
            }
            self.is_waiting = true;
            self.timer.as_mut().reset(Instant::now() + self.timeout);
        }
    }
}
