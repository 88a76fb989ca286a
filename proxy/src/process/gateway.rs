//! A gateway from its start to its end, whoever asks for either.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Instant, SystemTime};

use config_model::diagnostic::Diagnostic;
use socket2::Socket;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::{GatewayOptions, Levels, limits};
use crate::admin::{self, Admin, Identity};
use crate::control::{BindError, Control, Handles, Means, Status};
use crate::net::{both_families, is_ipv6_only};
use crate::telemetry::Metrics;

/// What a gateway can be told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Look at the folder now.
    Reread,
    /// Open the access log's file again, as after it was renamed.
    ReopenLog,
    /// Accept nothing more, finish what is under way, answer once more whoever is connected, and stay.
    Drain,
    /// The same, but close idle connections, then end; at the latest after [`GatewayOptions::drain`].
    DrainAndEnd,
    /// The same for who has a successor: idle connections have half of that time to ask once more.
    HandOver,
    /// End now.
    End,
}

/// Why a gateway can't start: one clear sentence each, with the cure.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no folder, or it can't be read.
    #[error("the configuration folder {} can't be read: {}; name an existing one with --config", .path.display(), reason(.error))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Some files have errors.
    #[error("the configuration is not usable; correct the errors and start again\n{}", lines(.0))]
    Configuration(Vec<Diagnostic>),
    /// Some addresses can't be bound.
    #[error("{}", lines(.0))]
    Bind(Vec<BindError>),
    /// The admin's address can't be bound.
    #[error("the admin can't listen on {address}: {}; choose another address with --admin", reason(.error))]
    Admin {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The access log can't be opened.
    #[error("the access log can't be opened: {}; choose another file with --access-log", reason(.0))]
    AccessLog(io::Error),
    /// The system refuses a thread, or the like.
    #[error("the system refuses what we need: {0}")]
    System(#[from] io::Error),
}

fn lines(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::NotADirectory => "it is not a folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrInUse => "the address is in use by another program".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => error.to_string(),
    }
}

/// A gateway that runs.
pub struct Gateway {
    admin: Admin,
    status: Arc<Status>,
    orders: UnboundedSender<Order>,
    /// Of all listening sockets but the admin's.
    handles: Handles,
    ended: oneshot::Receiver<()>,
}

impl Gateway {
    /// Starts everything. When this returns, the first configuration is in force and all its listeners are bound.
    ///
    /// # Errors
    /// If any part can't start; then nothing of it goes on.
    pub fn start(options: GatewayOptions, levels: Option<Levels>) -> Result<Self, StartError> {
        Self::start_with(options, levels, Vec::new())
    }

    /// The same, with listening sockets of the process before this one, the admin's perhaps among them.
    pub(super) fn start_with(
        options: GatewayOptions,
        levels: Option<Levels>,
        mut inherited: Vec<Socket>,
    ) -> Result<Self, StartError> {
        let status = Arc::new(Status::new(Instant::now(), SystemTime::now()));
        let metrics = Metrics::new(own_workload(&options), &options.version);
        let (orders, inbox) = unbounded_channel();
        let context = admin::Context {
            status: Arc::clone(&status),
            metrics: metrics.clone(),
            orders: orders.clone(),
            levels,
            identity: identity(&options),
        };
        let address = Some(options.admin).filter(|_| is_ipv6_only()).and_then(both_families).unwrap_or(options.admin);
        let start_admin = |listener: Option<TcpListener>| {
            let started = listener.map_or_else(|| TcpListener::bind(address), Ok);
            started
                .and_then(|listener| Admin::start(listener, context))
                .map_err(|error| StartError::Admin { address, error })
        };
        let handles = Handles::default();
        let is_admins = |socket: &Socket| socket.local_addr().is_ok_and(|bound| bound.as_socket() == Some(address));
        let position = inherited.iter().position(is_admins);
        let (admin, ended) = match position.map(|position| inherited.remove(position)) {
            // While our predecessor serves, it is its admin that should answer.
            Some(listener) => {
                let ended = start_control(options, &status, metrics, inbox, means(&handles, inherited))?;
                (start_admin(Some(listener.into()))?, ended)
            }
            // First, so that whoever waits for us is told that we are coming.
            None => {
                let admin = start_admin(None)?;
                (admin, start_control(options, &status, metrics, inbox, means(&handles, inherited))?)
            }
        };
        Ok(Self { admin, status, orders, handles, ended })
    }

    /// A handle of every listening socket, the admin's first.
    pub(super) fn sockets(&self) -> io::Result<Vec<Socket>> {
        let mut sockets = vec![self.admin.socket()?.into()];
        sockets.extend(self.handles.duplicate()?);
        Ok(sockets)
    }

    /// Leaves the admin's address to another process.
    pub(super) fn close_admin(&mut self) {
        self.admin.close();
    }

    /// Where the admin listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin.address()
    }

    /// What is in force, and what is bound for it.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Tells it to do something.
    pub fn order(&self, order: Order) {
        // One that has ended has nothing to do any more.
        let _ = self.orders.send(order);
    }

    /// Whom to tell; for a thread that outlives no gateway.
    pub fn orders(&self) -> UnboundedSender<Order> {
        self.orders.clone()
    }

    /// Waits until it has ended, which it does when told.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }

    /// Drains it and waits for its end. Not for asynchronous code, which it would block.
    pub fn stop(self) {
        self.order(Order::DrainAndEnd);
        let _ = self.ended.blocking_recv();
    }
}

fn means(handles: &Handles, inherited: Vec<Socket>) -> Means {
    Means {
        inherited,
        handles: handles.clone(),
        connections_max: limits::connections_max(),
        reserved_from: limits::reserved_from(),
    }
}

/// Starts the control thread, and waits until the first configuration is in force. What is returned tells of its end.
fn start_control(
    options: GatewayOptions,
    status: &Arc<Status>,
    metrics: Metrics,
    orders: UnboundedReceiver<Order>,
    means: Means,
) -> Result<oneshot::Receiver<()>, StartError> {
    let (end, ended) = oneshot::channel();
    let (ready, started) = sync_channel(1);
    let status = Arc::clone(status);
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.into()))),
        };
        runtime.block_on(async {
            match Control::start(options, status, metrics, means).await {
                Ok(control) => {
                    let _ = ready.send(Ok(()));
                    control.run(orders).await;
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        });
        // A look-up of a name may hang; nobody waits for its answer any more.
        runtime.shutdown_background();
        let _ = end.send(());
    })?;
    started.recv().map_err(|_| io::Error::other("the control thread has ended"))??;
    Ok(ended)
}

fn identity(options: &GatewayOptions) -> Identity {
    Identity {
        version: options.version.clone(),
        namespace: options.namespace.clone(),
        labels: options.labels.clone(),
        config: options.config.display().to_string(),
        workers: options.workers,
    }
}

/// Our own workload, as metrics name it: a gateway knows of itself what its labels say.
fn own_workload(options: &GatewayOptions) -> config_model::model::Workload {
    let label = |names: &[&str], default: &str| -> Arc<str> {
        names.iter().find_map(|name| options.labels.get(*name)).map_or_else(|| default.into(), Arc::clone)
    };
    let name = label(&["app", "istio"], "unknown");
    config_model::model::Workload {
        namespace: options.namespace.as_str().into(),
        app: label(&["app"], "unknown"),
        version: label(&["version"], "unknown"),
        canonical_service: label(&["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"], &name),
        canonical_revision: label(
            &["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"],
            "latest",
        ),
        principal: "unknown".into(),
        cluster: label(&["topology.istio.io/cluster"], "Kubernetes"),
        name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_not_to_start_is_told_in_words_and_with_its_cure() {
        let error = |kind: io::ErrorKind| io::Error::from(kind);
        let address = SocketAddr::from(([127, 0, 0, 1], 15000));
        let folder = |kind| StartError::Folder { path: "/etc/c".into(), error: error(kind) }.to_string();
        let admin = |kind| StartError::Admin { address, error: error(kind) }.to_string();
        for (text, parts) in [
            (folder(io::ErrorKind::NotFound), ["/etc/c can't be read: it does not exist", "--config"]),
            (folder(io::ErrorKind::NotADirectory), ["it is not a folder", "--config"]),
            (folder(io::ErrorKind::PermissionDenied), ["permission denied", "--config"]),
            (admin(io::ErrorKind::AddrInUse), ["127.0.0.1:15000: the address is in use", "--admin"]),
            (admin(io::ErrorKind::AddrNotAvailable), ["no such address", "--admin"]),
            (StartError::AccessLog(error(io::ErrorKind::NotFound)).to_string(), ["access log", "--access-log"]),
        ] {
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }

    #[test]
    fn our_own_workload_is_what_our_labels_say() {
        let mut options = GatewayOptions::new("/etc/c");
        "edge".clone_into(&mut options.namespace);
        let workload = own_workload(&options);
        assert_eq!((&*workload.name, &*workload.namespace, &*workload.app), ("ingressgateway", "edge", "unknown"));
        assert_eq!((&*workload.canonical_service, &*workload.canonical_revision), ("ingressgateway", "latest"));
        options.labels.extend([("app".into(), "web".into()), ("version".into(), "v2".into())]);
        let workload = own_workload(&options);
        assert_eq!((&*workload.name, &*workload.app, &*workload.version), ("web", "web", "v2"));
        assert_eq!((&*workload.canonical_service, &*workload.canonical_revision), ("web", "v2"));
    }
}
