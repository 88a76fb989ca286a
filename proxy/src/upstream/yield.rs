//! Idle connections whose number is limited, and requests of other workers that wait for their places: these are given up at once.
//! Source: Istio, `connectionPool.tcp.maxConnections`.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Wake, Waker};

use balance::ConnectionGate;
use tokio::sync::Notify;

/// Rings when somebody waits; from any thread.
#[derive(Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// The gates that count places of this worker's connections.
pub(super) struct Yield {
    bell: Arc<Bell>,
    waker: Waker,
    gates: RefCell<Vec<Arc<ConnectionGate>>>,
}

impl Default for Yield {
    fn default() -> Self {
        let bell = Arc::<Bell>::default();
        Self { waker: Waker::from(Arc::clone(&bell)), bell, gates: RefCell::default() }
    }
}

impl Yield {
    /// Has the bell rung as soon as somebody waits at `gate`. Whoever waits already has to be looked for afterwards.
    pub(super) fn watch(&self, gate: &Arc<ConnectionGate>) {
        let mut gates = self.gates.borrow_mut();
        if !gates.iter().any(|known| Arc::ptr_eq(known, gate)) {
            gates.push(Arc::clone(gate));
            gate.watch(&self.waker);
        }
    }

    /// Waits until somebody waits.
    pub(super) async fn asked(&self) {
        self.bell.0.notified().await;
    }

    /// The gates that are watched, which are forgotten.
    pub(super) fn take(&self) -> Vec<Arc<ConnectionGate>> {
        self.gates.take()
    }
}
