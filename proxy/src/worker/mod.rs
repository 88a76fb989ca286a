//! Workers: one thread per core, each with a runtime of its own, its own listening socket per address, its own upstream
//! connections and its own metric cells. Nothing migrates between them. Start at [`Workers::start`].

mod date;
mod deadline;
mod local;
mod memory;
mod originals;
mod thread;
mod ticker;

use std::io;
#[cfg(feature = "http3")]
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use config_model::model::ListenerAddress;
use ipnet::IpNet;
use socket2::Socket;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::pressure::SharedPressure;
use crate::snapshot::SnapshotStore;
use crate::telemetry::Metrics;

pub(crate) use deadline::{Deadline, Deadlines, TICK};
pub(crate) use local::{Local, Pinned};
pub(crate) use memory::Memory;
pub(crate) use originals::Originals;
pub(crate) use thread::{ConnectionGuard, Connections};

/// What a worker is told by the control thread.
pub enum Command {
    /// Accept on this socket, which is non-blocking and the worker's own.
    Listen {
        /// The key under which [`Command::Close`] and snapshots name it: as the Gateway says.
        address: ListenerAddress,
        /// Bound and listening; its port may be a mapped one.
        socket: Socket,
    },
    /// Take HTTP/3 on this socket, until [`Command::CloseQuic`] or a drain.
    #[cfg(feature = "http3")]
    ListenQuic {
        /// The key, as above.
        address: SocketAddr,
        /// Bound, and nobody else's.
        socket: std::net::UdpSocket,
    },
    /// Have connections of HTTP/3 come to their end, and take no more.
    #[cfg(feature = "http3")]
    CloseQuic {
        /// The key.
        address: SocketAddr,
    },
    /// Take what is queued already, then accept no more. Connections live on.
    Close {
        /// The key.
        address: ListenerAddress,
    },
    /// Close every listener, tell clients to go with their next answer (`Connection: close`) or at once (GOAWAY), finish the rest.
    Leave,
    /// The same, and close idle connections.
    Drain,
    /// End now, whatever is under way.
    End,
}

/// What all workers share.
pub struct Shared {
    /// The configuration in force.
    pub snapshots: Arc<SnapshotStore>,
    /// Cells and their exposition.
    pub metrics: Arc<Metrics>,
    /// Whether HTTP/3 is served, and told of where it is.
    #[cfg(feature = "http3")]
    pub http3: bool,
    /// Whether requests come from strangers at the edge of the mesh, and not from the workload beside us.
    pub is_edge: bool,
    /// Whether HTTP/1.0 is served.
    pub http10: bool,
    /// Clients whose requests may say how they are tried, and for how long.
    pub trusted_clients: Box<[IpNet]>,
    /// How short memory is.
    pub pressure: SharedPressure,
    /// The first descriptor that is not for connections to back ends.
    pub reserved_from: u64,
    /// Connections that one worker holds open at once; further ones wait in the kernel's queue.
    pub connections_per_worker: usize,
}

/// Handles of the running workers.
pub struct Workers {
    threads: Vec<Worker>,
}

struct Worker {
    commands: UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

impl Workers {
    /// Starts `count` threads, named `worker-0` and so on.
    ///
    /// # Errors
    /// If the system refuses a thread or a runtime.
    pub fn start(count: usize, shared: &Arc<Shared>) -> io::Result<Self> {
        let threads = (0..count).map(|index| Worker::start(index, Arc::clone(shared))).collect::<io::Result<_>>()?;
        Ok(Self { threads })
    }

    /// How many there are: each wants a socket of its own for an address.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// Gives each worker its socket for `address`: as many sockets as there are workers.
    pub fn listen(&self, address: &ListenerAddress, sockets: Vec<Socket>) {
        for (worker, socket) in self.threads.iter().zip(sockets) {
            worker.send(Command::Listen { address: address.clone(), socket });
        }
    }

    /// Stops accepting on `address`.
    pub fn close(&self, address: &ListenerAddress) {
        self.threads.iter().for_each(|worker| worker.send(Command::Close { address: address.clone() }));
    }

    /// Gives one worker the socket for HTTP/3 at `address`: always the same one for the same address, and others for others.
    #[cfg(feature = "http3")]
    pub fn listen_quic(&self, address: SocketAddr, socket: std::net::UdpSocket) {
        if let Some(worker) = self.threads.get(usize::from(address.port()) % self.threads.len().max(1)) {
            worker.send(Command::ListenQuic { address, socket });
        }
    }

    /// Has connections of HTTP/3 at `address` come to their end.
    #[cfg(feature = "http3")]
    pub fn close_quic(&self, address: SocketAddr) {
        self.threads.iter().for_each(|worker| worker.send(Command::CloseQuic { address }));
    }

    /// For telling them to drain; [`Workers::join`] tells when the last request has ended.
    pub fn ending(&self) -> Ending {
        Ending(self.threads.iter().map(|worker| worker.commands.clone()).collect())
    }

    /// Waits, blocking, until every worker has ended, which they do once drained.
    pub fn join(self) {
        for worker in self.threads {
            let Worker { commands, thread } = worker;
            // Ends by itself once drained; a panic of a worker has been reported by the thread already.
            let _ = thread.join();
            drop(commands);
        }
    }
}

/// The way to the end of all workers.
pub struct Ending(Vec<UnboundedSender<Command>>);

impl Ending {
    /// Has them take nothing new; who is connected may ask once more.
    pub fn leave(&self) {
        // A worker that is gone has nothing to do any more.
        self.0.iter().for_each(|worker| drop(worker.send(Command::Leave)));
    }

    /// The same, but idle connections close.
    pub fn drain(&self) {
        self.0.iter().for_each(|worker| drop(worker.send(Command::Drain)));
    }

    /// Has them end now. What is under way is recorded.
    pub fn end(&self) {
        self.0.iter().for_each(|worker| drop(worker.send(Command::End)));
    }
}

impl Worker {
    fn start(index: usize, shared: Arc<Shared>) -> io::Result<Self> {
        let (commands, receiver) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || thread::run(&shared, receiver))?;
        Ok(Self { commands, thread })
    }

    fn send(&self, command: Command) {
        // A worker that is gone has nothing to do any more.
        let _ = self.commands.send(command);
    }
}
