//! Ticks of a worker, by a timer of the kernel's that repeats by itself. A timer of the runtime's would be armed before each
//! wait for sockets and disarmed after it, for every request on a quiet machine.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use tokio::io::unix::AsyncFd;

use crate::net::watched;

/// Ticks at a fixed period; ticks that nobody awaited are one.
pub(super) struct Ticker {
    timer: AsyncFd<OwnedFd>,
}

impl Ticker {
    /// Ticks every `period` from now on. To be made on a runtime.
    ///
    /// # Errors
    /// If the system has no descriptor left.
    pub(super) fn every(period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let period = Timespec { tv_sec: period.as_secs().cast_signed(), tv_nsec: period.subsec_nanos().into() };
        let setting = Itimerspec { it_interval: period, it_value: period };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
        Ok(Self { timer: watched(timer)? })
    }

    /// Waits for the next tick.
    ///
    /// # Errors
    /// If the runtime ends.
    pub(super) async fn tick(&self) -> io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            if let Ok(read) = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut expirations)?)) {
                return read.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticks_come_again_and_again() {
        let ticker = Ticker::every(Duration::from_millis(1)).unwrap();
        for _ in 0..3 {
            ticker.tick().await.unwrap();
        }
    }
}
