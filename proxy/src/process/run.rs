//! The program `tidegate gateway`: a gateway, its log on standard error, and what signals mean to it.

use std::io;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;
use tracing::level_filters::LevelFilter;

use super::gateway::{Gateway, GatewayOptions, Order, StartError};
use super::log::Log;
use super::{limits, summary};

/// Runs a gateway until it is told to end. SIGTERM and SIGINT drain, a second one of either ends now, SIGHUP reads the folder
/// again. SIGPIPE is ignored by Rust's runtime.
///
/// # Errors
/// If the gateway can't start: the caller prints why, and ends with status 1.
pub fn run(options: GatewayOptions, level: LevelFilter) -> Result<(), StartError> {
    limits::raise_descriptors();
    let log = Log::start(level)?;
    let result = Builder::new_current_thread().enable_io().build().map_err(StartError::from).and_then(|runtime| {
        runtime.block_on(async {
            // Before anything else: a signal that comes while we start must not end us without a drain.
            let signals = Signals::new()?;
            let gateway = Gateway::start(options, Some(log.levels().clone()))?;
            summary::log(&gateway);
            let orders = gateway.orders();
            tokio::select! {
                () = gateway.ended() => {}
                () = signals.obey(&orders) => {}
            }
            Ok(())
        })
    });
    log.flush();
    result
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into orders, for ever.
    async fn obey(mut self, orders: &UnboundedSender<Order>) {
        let mut end = Order::DrainAndEnd;
        loop {
            let order = tokio::select! {
                _ = self.terminate.recv() => std::mem::replace(&mut end, Order::End),
                _ = self.interrupt.recv() => std::mem::replace(&mut end, Order::End),
                _ = self.hang_up.recv() => Order::Reread,
            };
            // Fails when the gateway has ended, of which its own end tells.
            let _ = orders.send(order);
        }
    }
}
