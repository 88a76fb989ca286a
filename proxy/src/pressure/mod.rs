//! What is given up as memory runs short: idle connections first, then requests, then new connections. The control thread looks
//! several times a second; workers learn of it in their tick, and a request asks its own worker alone.
//! Source: PROMISES.md, section 4. Start at [`Watch::look`].

mod level;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::Duration;

pub(crate) use level::Pressure;
pub(crate) use usage::Memory;
pub use usage::MemoryLimit;

use crate::telemetry::{MemoryStatus, Metrics};

/// How often the control thread looks.
pub(crate) const PERIOD: Duration = Duration::from_millis(100);

/// How short memory is, for all workers to see.
#[derive(Debug, Clone, Default)]
pub struct SharedPressure(Arc<AtomicU8>);

impl SharedPressure {
    /// As it was when somebody looked last.
    pub(crate) fn get(&self) -> Pressure {
        Pressure::from_number(self.0.load(Relaxed))
    }

    fn set(&self, pressure: Pressure) {
        self.0.store(pressure.number(), Relaxed);
    }
}

/// Looks after memory.
pub(crate) struct Watch {
    memory: Memory,
    pressure: SharedPressure,
    /// Whether it has been told already that nobody knows how much is used.
    is_blind: bool,
}

impl Watch {
    /// Over `memory`, for whoever asks `pressure`.
    pub(crate) fn new(memory: Memory, pressure: SharedPressure) -> Self {
        tracing::info!(target: "process", "memory is watched: {memory}");
        Self { memory, pressure, is_blind: false }
    }

    /// Looks how much is used, and tells workers, metrics and the log what that means. Without an answer of the system things
    /// stay as they are.
    pub(crate) fn look(&mut self, metrics: &Metrics) {
        let limit = self.memory.limit();
        let used = match self.memory.used() {
            Ok(used) => used,
            Err(error) => {
                if !std::mem::replace(&mut self.is_blind, true) {
                    tracing::error!(target: "process", "how much memory is used can't be told: {error}");
                }
                return;
            }
        };
        let before = self.pressure.get();
        let now = before.next(used, limit);
        metrics.set_memory(MemoryStatus { used, limit, pressure: now.number() });
        if now != before {
            self.pressure.set(now);
            let percent = u128::from(used) * 100 / u128::from(limit.max(1));
            tell(before, now, percent);
        }
    }
}

fn tell(before: Pressure, now: Pressure, percent: u128) {
    if now > before {
        tracing::warn!(target: "process", "{percent} percent of the memory is used: {now}");
    } else {
        tracing::info!(target: "process", "{percent} percent of the memory is used any more: {now}");
    }
}
