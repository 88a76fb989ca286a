//! The program `tidegate gateway`: a gateway, its log on standard error, and what signals mean to it.

use std::io;
use std::pin::Pin;

use rustix::process::{Pid, Signal as Kill, kill_process};
use socket2::Socket;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;

use super::gateway::{Gateway, Order, StartError};
use super::log::Log;
use super::options::GatewayOptions;
use super::replace::{Inheritance, Program};
use super::{activation, limits, summary};

/// Runs a gateway until it is told to end. SIGTERM and SIGINT drain, a second one of either ends now, SIGHUP reads the folder
/// again, SIGUSR1 opens the access log's file again, SIGUSR2 replaces the program in place. SIGPIPE is ignored by Rust's runtime.
///
/// # Errors
/// If the gateway can't start: the caller prints why, and ends with status 1.
pub fn run(options: GatewayOptions, level: LevelFilter) -> Result<(), StartError> {
    limits::raise_descriptors();
    // While there is no other thread, as it clears what the environment says of them.
    let activated = activation::sockets();
    let log = Log::start(level)?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let result = runtime.block_on(gateway(options, &log, activated));
    // A replacement that has not come to its end is not waited for.
    runtime.shutdown_background();
    log.flush();
    result
}

async fn gateway(options: GatewayOptions, log: &Log, activated: Vec<Socket>) -> Result<(), StartError> {
    // Before anything else: a signal that comes while we start must not end us without a drain.
    let signals = Signals::new()?;
    let program = Program::this()?;
    let mut inheritance = Inheritance::take()?;
    let inherited = inheritance.as_mut().map(Inheritance::sockets).unwrap_or(activated);
    let gateway = Gateway::start_with(options, Some(log.levels().clone()), inherited)?;
    if let Some(inheritance) = inheritance {
        inheritance.ready();
    }
    summary::log(&gateway);
    Running { gateway, program, end: Order::DrainAndEnd, replacement: None, is_replaced: false }.obey(signals).await;
    Ok(())
}

/// The signals that mean something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    reopen: Signal,
    replace: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            replace: signal(SignalKind::user_defined2())?,
        })
    }
}

struct Running {
    gateway: Gateway,
    program: Program,
    /// What the next signal to end means.
    end: Order,
    /// A replacement under way.
    replacement: Option<Replacement>,
    /// Whether a successor serves.
    is_replaced: bool,
}

/// A successor that isn't ready yet.
struct Replacement {
    successor: Pid,
    taking_over: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Does what signals say, until the gateway has ended.
    async fn obey(mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                () = self.gateway.ended() => return,
                _ = signals.terminate.recv() => self.end(),
                _ = signals.interrupt.recv() => self.end(),
                _ = signals.hang_up.recv() => self.gateway.order(Order::Reread),
                _ = signals.reopen.recv() => self.gateway.order(Order::ReopenLog),
                _ = signals.replace.recv() => self.replace(),
                result = finished(&mut self.replacement) => self.replaced(result),
            }
        }
    }

    /// Ends, and so does a successor that doesn't serve yet: who says so means the service. It may have accepted connections already.
    fn end(&mut self) {
        if let Some(Replacement { successor, .. }) = self.replacement {
            tracing::info!(target: "process", "the successor is told to end too");
            // It may have ended by itself, which is as well.
            let _ = kill_process(successor, Kill::TERM);
        }
        self.gateway.order(std::mem::replace(&mut self.end, Order::End));
    }

    fn replace(&mut self) {
        if self.replacement.is_some() || self.is_replaced || self.end == Order::End {
            return tracing::warn!(target: "process", "not replaced: we are being replaced, or ending, already");
        }
        match self.start_successor() {
            Ok(replacement) => self.replacement = Some(replacement),
            Err(error) => tracing::error!(target: "process", "not replaced: {error}"),
        }
    }

    fn start_successor(&self) -> io::Result<Replacement> {
        let sockets = self.gateway.sockets()?;
        tracing::info!(target: "process", "starting a successor, which takes over {} sockets", sockets.len());
        let successor = self.program.start()?;
        Ok(Replacement {
            successor: successor.pid(),
            taking_over: tokio::task::spawn_blocking(move || successor.take_over(&sockets)),
        })
    }

    fn replaced(&mut self, result: io::Result<()>) {
        self.replacement = None;
        match result {
            Ok(()) => {
                tracing::info!(target: "process", "the successor serves");
                self.gateway.close_admin();
                self.gateway.order(Order::HandOver);
                self.is_replaced = true;
            }
            Err(error) => tracing::error!(target: "process", "not replaced, and serving on: {error}"),
        }
    }
}

/// Waits for the end of a replacement; for ever, if none is under way.
async fn finished(replacement: &mut Option<Replacement>) -> io::Result<()> {
    match replacement {
        Some(Replacement { taking_over, .. }) => {
            Pin::new(taking_over).await.unwrap_or_else(|error| Err(io::Error::other(error)))
        }
        None => std::future::pending().await,
    }
}
