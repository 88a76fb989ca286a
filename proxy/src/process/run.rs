//! The program `tidegate gateway`: a gateway, its log on standard error, and what signals mean to it.

use std::io;
use std::pin::Pin;

use socket2::Socket;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::level_filters::LevelFilter;

use super::gateway::{Gateway, Order, StartError};
use super::log::Log;
use super::options::GatewayOptions;
use super::replace::{Inheritance, Program, replace};
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
    Running { gateway, program, end: Order::DrainAndEnd, replacement: None }.obey(signals).await;
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
    replacement: Option<JoinHandle<io::Result<()>>>,
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

    fn end(&mut self) {
        self.gateway.order(std::mem::replace(&mut self.end, Order::End));
    }

    fn replace(&mut self) {
        if self.replacement.is_some() || self.end == Order::End {
            return tracing::warn!(target: "process", "not replaced: we are being replaced, or ending, already");
        }
        match self.gateway.sockets() {
            Ok(sockets) => {
                tracing::info!(target: "process", "starting a successor, which takes over {} sockets", sockets.len());
                let program = self.program.clone();
                self.replacement = Some(tokio::task::spawn_blocking(move || replace(&program, &sockets)));
            }
            Err(error) => tracing::error!(target: "process", "not replaced: {error}"),
        }
    }

    fn replaced(&mut self, result: io::Result<()>) {
        self.replacement = None;
        match result {
            Ok(()) => {
                tracing::info!(target: "process", "the successor serves");
                self.gateway.close_admin();
                self.gateway.order(Order::HandOver);
                self.end = Order::End;
            }
            Err(error) => tracing::error!(target: "process", "not replaced, and serving on: {error}"),
        }
    }
}

/// Waits for the end of a replacement; for ever, if none is under way.
async fn finished(replacement: &mut Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match replacement {
        Some(replacement) => Pin::new(replacement).await.unwrap_or_else(|error| Err(io::Error::other(error))),
        None => std::future::pending().await,
    }
}
