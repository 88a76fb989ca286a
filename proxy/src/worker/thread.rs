//! A worker's thread: its runtime, its commands, its ticks.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
#[cfg(feature = "http3")]
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config_model::model::ListenerAddress;
use socket2::Socket;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc::UnboundedReceiver, oneshot};

use super::deadline::TICK;
use super::ticker::Ticker;
use super::{Command, Local, Shared};
use crate::listener::{self, ListeningSocket};

/// How often access-log lines are handed over, at the latest.
const FLUSH: Duration = Duration::from_millis(100);

/// Runs until drained, or told to end.
pub(super) fn run(shared: &Arc<Shared>, commands: UnboundedReceiver<Command>) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let worker = Worker::new(shared);
    let local = Rc::clone(&worker.local);
    // With the runtime go requests under way, which are recorded by that.
    if let Err(error) = runtime.and_then(|runtime| runtime.block_on(worker.work(commands))) {
        tracing::error!(%error, "a worker's runtime can't be made; the worker is missing");
    }
    local.loggers.borrow_mut().flush();
}

struct Worker {
    local: Rc<Local>,
    /// Dropping the sender closes the listener.
    listeners: HashMap<ListenerAddress, oneshot::Sender<()>>,
    /// The same for those of HTTP/3.
    #[cfg(feature = "http3")]
    quic_listeners: HashMap<SocketAddr, oneshot::Sender<()>>,
}

impl Worker {
    fn new(shared: &Arc<Shared>) -> Self {
        Self {
            local: Local::new(Arc::clone(shared)),
            listeners: HashMap::new(),
            #[cfg(feature = "http3")]
            quic_listeners: HashMap::new(),
        }
    }

    async fn work(mut self, mut commands: UnboundedReceiver<Command>) -> io::Result<()> {
        let local = Rc::clone(&self.local);
        tokio::task::spawn_local(tick(Rc::clone(&local), Ticker::every(FLUSH)?));
        tokio::task::spawn_local(give_way(Rc::clone(&local)));
        loop {
            tokio::select! {
                command = commands.recv(), if !commands.is_closed() || !commands.is_empty() => match command {
                    Some(Command::End) => {
                        local.ending.set(true);
                        break;
                    }
                    Some(command) => self.obey(command),
                    // Nobody is left to give commands.
                    None => self.drain(),
                },
                () = local.connections.none(), if local.leaving.get() => break,
                else => self.drain(),
            }
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Listen { address, socket } => self.listen(address, socket),
            Command::Close { address } => drop(self.listeners.remove(&address)),
            Command::Leave => self.leave(),
            Command::Drain => self.drain(),
            // That is for who obeys.
            Command::End => {}
            #[cfg(feature = "http3")]
            Command::ListenQuic { address, socket } => {
                let (open, closed) = oneshot::channel();
                self.local.connections.listening(1);
                tokio::task::spawn_local(listener::accept_quic(Rc::clone(&self.local), address, socket, closed));
                self.quic_listeners.insert(address, open);
            }
            #[cfg(feature = "http3")]
            Command::CloseQuic { address } => drop(self.quic_listeners.remove(&address)),
        }
    }

    fn listen(&mut self, address: ListenerAddress, socket: Socket) {
        match ListeningSocket::new(socket) {
            Ok(socket) => {
                let (open, closed) = oneshot::channel();
                self.local.connections.listening(1);
                tokio::task::spawn_local(listener::accept(Rc::clone(&self.local), address.clone(), socket, closed));
                self.listeners.insert(address, open);
            }
            Err(error) => tracing::error!(%address, %error, "a listening socket can't be used"),
        }
    }

    fn leave(&mut self) {
        self.listeners.clear();
        #[cfg(feature = "http3")]
        self.quic_listeners.clear();
        self.local.leave();
    }

    fn drain(&mut self) {
        self.leave();
        self.local.drain();
    }
}

/// Closes idle connections that other workers' requests want to have the places of.
async fn give_way(local: Rc<Local>) {
    loop {
        local.pool.asked().await;
        local.pool.give_way();
    }
}

/// What has to happen from time to time, on one timer.
async fn tick(local: Rc<Local>, flushes: Ticker) {
    let per_tick = TICK.as_millis() / FLUSH.as_millis();
    let mut count = 0;
    while flushes.tick().await.is_ok() {
        local.loggers.borrow_mut().flush();
        local.date.set(SystemTime::now());
        local.follow_pressure();
        count += 1;
        if count == per_tick {
            count = 0;
            local.let_go();
            local.deadlines.tick();
            local.pool.sweep();
            local.originals.sweep(&local.deadlines);
        }
    }
}

/// Connections of a worker: how many, and who waits for fewer.
#[derive(Default)]
pub(crate) struct Connections {
    open: Cell<usize>,
    /// Listeners that have closed but still take what was queued.
    closing: Cell<usize>,
    /// None is taken for now.
    paused: Cell<bool>,
    fewer: Notify,
}

impl Connections {
    /// One connection more, until the guard is dropped.
    pub(crate) fn enter(local: &Rc<Local>) -> ConnectionGuard {
        local.connections.open.set(local.connections.open.get() + 1);
        ConnectionGuard(Rc::clone(local))
    }

    /// Waits until there are fewer than `limit`, and connections are taken at all.
    pub(crate) async fn below(&self, limit: usize) {
        while self.open.get() >= limit || self.paused.get() {
            self.fewer.notified().await;
        }
    }

    /// Takes no connection any more, or does again.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.set(paused);
        self.fewer.notify_waiters();
    }

    /// A listener begins, or has ended, to take what is queued.
    pub(crate) fn listening(&self, change: isize) {
        self.closing.set(self.closing.get().saturating_add_signed(change));
        self.fewer.notify_waiters();
    }

    async fn none(&self) {
        while self.open.get() > 0 || self.closing.get() > 0 {
            self.fewer.notified().await;
        }
    }
}

/// Counts as one open connection.
pub(crate) struct ConnectionGuard(Rc<Local>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.shared.metrics.panicked();
        }
        let connections = &self.0.connections;
        connections.open.set(connections.open.get() - 1);
        connections.fewer.notify_waiters();
    }
}
