//! The way to the end: nothing new is accepted, what is under way is finished, within a bound. All may go on for a while
//! before that.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::{sleep_until, timeout};

use crate::worker::{Ending, Workers};

/// How long the last lines of the access log may take to be written.
pub(super) const LAST_LINES: Duration = Duration::from_secs(1);

/// How long it may take to record what is given up.
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// How far we are.
#[derive(Default)]
pub(super) struct Drain {
    begun: Option<Instant>,
    finished: Option<oneshot::Receiver<()>>,
    is_finished: bool,
    ending: Option<Ending>,
    /// Up to when all goes on as before, though the program is to end.
    serving_until: Option<Instant>,
    /// When idle connections close.
    patient_until: Option<Instant>,
    deadline: Option<Instant>,
}

/// What is due on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing new is to be accepted from now on.
    Leave,
    /// The program may end.
    End,
}

impl Drain {
    /// Whether nothing new is accepted any more.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Tells `workers` to accept nothing more, and waits for their end on a thread of its own. Who is connected may ask once more.
    pub(super) fn begin(&mut self, workers: Workers) {
        self.begun = Some(Instant::now());
        self.serving_until = None;
        tracing::info!(target: "process", "draining: accepting nothing more, finishing what is under way");
        self.ending = Some(workers.ending());
        self.ending.iter().for_each(Ending::leave);
        let (tell, finished) = oneshot::channel();
        let waits = std::thread::Builder::new().name("drain".to_owned()).spawn(move || {
            workers.join();
            let _ = tell.send(());
        });
        // Without a thread to wait on, the deadline decides.
        self.finished = waits.ok().map(|_| finished);
    }

    /// Has idle connections closed now.
    pub(super) fn close_idle(&mut self) {
        self.patient_until = None;
        if let Some(ending) = &self.ending {
            ending.drain();
        }
    }

    /// Whether the program is to end.
    pub(super) fn is_to_end(&self) -> bool {
        self.deadline.is_some()
    }

    /// Has all go on as before until then.
    pub(super) fn serve_until(&mut self, then: Instant) {
        self.serving_until = Some(then);
    }

    /// Has idle connections closed then.
    pub(super) fn be_patient_until(&mut self, then: Instant) {
        self.patient_until = Some(then);
    }

    /// Sets when the program ends at the latest. The first call counts.
    pub(super) fn end_by(&mut self, deadline: Instant) {
        self.deadline.get_or_insert(deadline);
    }

    /// Waits for the next step of a program that is to end; for ever, if it isn't. Loses patience meanwhile, if that is due.
    pub(super) async fn next(&mut self) -> Step {
        let Some(deadline) = self.deadline else { return pending().await };
        loop {
            let (serving_until, patient_until) =
                (self.serving_until.unwrap_or(deadline), self.patient_until.unwrap_or(deadline));
            tokio::select! {
                () = ended(&mut self.finished) => {
                    self.is_finished = true;
                    return Step::End;
                }
                () = sleep_until(deadline.into()) => return Step::End,
                () = sleep_until(serving_until.into()), if self.serving_until.is_some() => {
                    self.serving_until = None;
                    return Step::Leave;
                }
                () = sleep_until(patient_until.into()), if self.patient_until.is_some() => self.close_idle(),
            }
        }
    }

    /// Has workers end that have not yet, so that what they give up is recorded.
    pub(super) async fn cut(&mut self) {
        if let Some(ending) = self.ending.as_ref().filter(|_| !self.is_finished) {
            ending.end();
            // One that is stuck keeps nobody.
            let _ = timeout(LAST_REQUESTS, ended(&mut self.finished)).await;
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

/// Waits for the end of all workers; for ever, if nobody can tell.
async fn ended(finished: &mut Option<oneshot::Receiver<()>>) {
    match finished {
        Some(finished) => drop(finished.await),
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What a future yields at its first poll.
    fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn finished(drain: &mut Drain) -> oneshot::Sender<()> {
        let (tell, finished) = oneshot::channel();
        (drain.begun, drain.finished) = (Some(Instant::now()), Some(finished));
        tell
    }

    #[test]
    fn a_drain_that_is_not_to_end_never_does() {
        let mut drain = Drain::default();
        assert!(!drain.has_begun());
        assert_eq!(now_or_never(drain.next()), None);
        finished(&mut drain).send(()).unwrap();
        assert!(drain.has_begun());
        assert_eq!(now_or_never(drain.next()), None, "the listeners are drained, and the program stays");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_when_the_last_worker_has() {
        let mut drain = Drain::default();
        let tell = finished(&mut drain);
        drain.end_by(Instant::now() + Duration::from_secs(3600));
        tell.send(()).unwrap();
        assert_eq!(drain.next().await, Step::End);
        assert!(drain.is_finished);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_at_its_first_deadline_whatever_is_under_way() {
        let mut drain = Drain::default();
        let _tell = finished(&mut drain);
        let begun = tokio::time::Instant::now();
        drain.end_by(begun.into_std() + Duration::from_secs(10));
        drain.end_by(begun.into_std() + Duration::from_secs(3600));
        assert_eq!(drain.next().await, Step::End);
        assert!(!drain.is_finished);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn who_serves_on_leaves_once_when_that_is_over() {
        let mut drain = Drain::default();
        let begun = tokio::time::Instant::now();
        drain.serve_until(begun.into_std() + Duration::from_secs(5));
        drain.end_by(begun.into_std() + Duration::from_secs(10));
        assert_eq!((drain.next().await, begun.elapsed().as_secs()), (Step::Leave, 5));
        assert_eq!((drain.next().await, begun.elapsed().as_secs()), (Step::End, 10));
    }
}
