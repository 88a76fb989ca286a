//! When the demo ends: Ctrl-C, SIGTERM, or when its time is over.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep_until};

/// What ends the demo.
#[derive(Debug)]
pub(crate) struct End {
    interrupt: Signal,
    terminate: Signal,
    at: Option<Instant>,
}

impl End {
    /// Listens to signals from now on, and ends after `duration` if there is one.
    pub(crate) fn new(duration: Option<Duration>) -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            at: duration.map(|duration| Instant::now() + duration),
        })
    }

    /// Waits for the first of them.
    pub(crate) async fn reached(&mut self) {
        let time_over = async {
            match self.at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = time_over => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_duration_ends_the_demo_and_nothing_else_does_by_itself() {
        let before = Instant::now();
        End::new(Some(Duration::from_secs(90))).unwrap().reached().await;
        assert_eq!(before.elapsed().as_secs(), 90);
        let forever =
            tokio::time::timeout(Duration::from_secs(3600), async { End::new(None).unwrap().reached().await });
        assert!(forever.await.is_err());
    }
}
