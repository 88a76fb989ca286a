//! The way to the end: nothing new is accepted, what is under way is finished, within a bound.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep_until;

use crate::worker::Workers;

/// How long the last lines of the access log may take to be written.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// How far we are.
#[derive(Default)]
pub(super) struct Drain {
    begun: Option<Instant>,
    finished: Option<oneshot::Receiver<()>>,
    is_finished: bool,
    deadline: Option<Instant>,
}

impl Drain {
    /// Whether nothing new is accepted any more.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Tells `workers` to finish, and waits for them on a thread of its own.
    pub(super) fn begin(&mut self, workers: Workers) {
        self.begun = Some(Instant::now());
        tracing::info!(target: "process", "draining: accepting nothing more, finishing what is under way");
        workers.drain();
        let (tell, finished) = oneshot::channel();
        let waits = std::thread::Builder::new().name("drain".to_owned()).spawn(move || {
            workers.join();
            let _ = tell.send(());
        });
        // Without a thread to wait on, the deadline decides.
        self.finished = waits.ok().map(|_| finished);
    }

    /// Sets when the program ends at the latest. The first call counts.
    pub(super) fn end_by(&mut self, deadline: Instant) {
        self.deadline.get_or_insert(deadline);
    }

    /// Waits until the program may end: never, unless it is to.
    pub(super) async fn over(&mut self) {
        let Some(deadline) = self.deadline else { return pending().await };
        let finished = async {
            match &mut self.finished {
                Some(finished) => drop(finished.await),
                None => pending().await,
            }
        };
        tokio::select! {
            () = finished => self.is_finished = true,
            () = sleep_until(deadline.into()) => {}
        }
    }

    /// Says how it went.
    pub(super) fn report(&self) {
        let Some(begun) = self.begun else { return };
        let took = begun.elapsed().as_secs_f64();
        if self.is_finished {
            tracing::info!(target: "process", "drained in {took:.1} s");
        } else {
            tracing::warn!(target: "process", "ending after {took:.1} s, with requests under way");
        }
    }
}
