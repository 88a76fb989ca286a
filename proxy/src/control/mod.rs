//! From files to a snapshot in force: refuse or accept, resolve, compile, publish, and open or close listeners. All of it on one
//! thread, away from traffic.
//!
//! The order of a change: sockets of new listeners are bound, the snapshot is published by one store, workers get the new
//! sockets, removed listeners close. So a connection never meets a listener that the snapshot does not know. A listener that
//! stays is not touched. Start at [`Control::start`], then [`Control::run`].

mod build;
mod credentials;
mod dns;
mod drain;
mod files;
mod pipeline;
#[cfg(feature = "http3")]
mod quic;
mod sockets;
mod status;
mod tend;
#[cfg(test)]
pub(crate) mod tests;
mod unix;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use config_model::diagnostic::{Diagnostic, Level};
use config_model::model::{self, AccessLogFormat, Binding, Format, ListenerAddress, Model};
use config_model::resolve::{Proxy, Role};
use socket2::Socket;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, channel};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::pressure::{self, Memory, SharedPressure, Watch};
use crate::process::{GatewayOptions, Order, StartError};
use crate::snapshot::{Snapshot, SnapshotStore};
use crate::source::{self, Change, FileWatch, Folder, Rereader, Scan};
use crate::telemetry::{AccessLogs, Metrics, Target, WantedLog};
use crate::worker::{self, Workers};
use build::Surroundings;
use drain::{Drain, Step};
use files::Outcome;
use pipeline::{Built, Extent, Pipeline};
#[cfg(feature = "http3")]
use quic::QuicSockets;
use sockets::{Opened, Sockets};

pub(crate) use credentials::Credentials;

pub use sockets::{BindError, Handles, PortMap};
pub use status::{Applied, CertificateStatus, ListenerStatus, State, Status};

/// How often a listener that could not be bound is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(1);

/// How often snapshots that are out of force are looked at: who still holds one lets go of it with its next request.
const RELEASE: Duration = Duration::from_millis(250);

/// Findings of one look at the resources that are logged: who has more reads them elsewhere.
const LOGGED_MAX: usize = 100;

/// What the control thread is given by the process, besides what the command line says.
pub(crate) struct Means {
    /// Sockets of the process before this one.
    pub(crate) inherited: Vec<Socket>,
    /// Where handles of all sockets are kept.
    pub(crate) handles: Handles,
    /// Connections that may be open at once.
    pub(crate) connections_max: usize,
    /// The first descriptor that is not for connections to back ends.
    pub(crate) reserved_from: u64,
}

/// The control thread's state.
pub(crate) struct Control {
    options: GatewayOptions,
    pipeline: Pipeline,
    sockets: Sockets,
    #[cfg(feature = "http3")]
    quic_sockets: QuicSockets,
    status: Arc<Status>,
    metrics: Metrics,
    access_logs: AccessLogs,
    store: Arc<SnapshotStore>,
    /// Out of force, and not freed yet. Held here so that it is this thread that frees them, and not one that serves.
    retired: Vec<Arc<Snapshot>>,
    workers: Option<Workers>,
    since: SystemTime,
    /// Ends the watch of the folder when dropped.
    rereader: Rereader,
    scans: Receiver<Scan>,
    answers: (Sender<dns::Answers>, Receiver<dns::Answers>),
    /// Of files with certificates.
    file_watch: FileWatch,
    files_changed: Receiver<()>,
    /// Nothing where nobody limits it.
    memory: Option<Watch>,
}

impl Control {
    /// Puts the first configuration in force. Whatever is wrong with it ends the start.
    pub(crate) async fn start(
        options: GatewayOptions,
        status: Arc<Status>,
        metrics: Metrics,
        means: Means,
    ) -> Result<Self, StartError> {
        let First { folder, pipeline, outcome, mut built } = First::read(&options, &metrics).await?;
        let map = options.port_map.clone();
        let mut sockets = Sockets::new(options.workers, map, means.handles, means.inherited);
        let opened = open(&mut sockets, &built.snapshot.model);
        sockets.forget_inherited();
        refuse_failures(&opened)?;
        let mut access_logs = AccessLogs::new(&metrics);
        let wanted = wanted_logs(&options, &built.snapshot.model);
        built.snapshot.access_logs = access_logs.follow(&wanted).map_err(StartError::AccessLog)?;
        let store = Arc::new(SnapshotStore::new(Arc::new(built.snapshot)));
        let pressure = SharedPressure::default();
        let watch = |memory| Watch::new(memory, pressure.clone());
        let memory = Memory::find(options.memory_limit).map(watch);
        let shared = worker::Shared {
            pressure: pressure.clone(),
            snapshots: Arc::clone(&store),
            metrics: Arc::new(metrics.clone()),
            #[cfg(feature = "http3")]
            http3: options.http3,
            is_edge: options.role == Role::Gateway,
            http10: options.http10,
            trusted_clients: options.trusted_clients.as_slice().into(),
            reserved_from: means.reserved_from,
            connections_per_worker: means.connections_max.div_ceil(options.workers.max(1)).max(1),
        };
        let workers = Some(Workers::start(options.workers, &Arc::new(shared))?);
        let (tell, scans) = channel(1);
        let rereader = source::watch(folder, move |scan| tell.blocking_send(scan).is_ok())?;
        let (since, answers) = (SystemTime::now(), channel(1));
        let (tell, files_changed) = channel(1);
        let file_watch = FileWatch::start(move || tell.blocking_send(()).is_ok())?;
        report(&outcome, &built.findings);
        let mut control = Self {
            #[cfg(feature = "http3")]
            quic_sockets: QuicSockets::new(options.http3),
            options,
            pipeline,
            sockets,
            status,
            metrics,
            access_logs,
            store,
            retired: Vec::new(),
            workers,
            since,
            rereader,
            scans,
            answers,
            file_watch,
            files_changed,
            memory,
        };
        control.serve(opened);
        control.watch_files();
        Ok(control)
    }

    /// The first configuration is in force: from here on we are live.
    fn serve(&mut self, opened: Opened) {
        self.listen(opened);
        self.metrics.config_applied(self.pipeline.version(), self.since);
        self.tell();
        self.status.set_snapshots(Arc::clone(&self.store));
        self.status.reach(State::Live);
        self.analyze();
        self.tell();
    }

    /// Follows the folder and obeys orders, until one of them is to end and has been carried out.
    pub(crate) async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        let (mut bind_again, mut look_up, mut release) = (every(BIND_AGAIN), every(dns::REFRESH), every(RELEASE));
        let (mut tend, mut look) = (every(tend::PERIOD), every(pressure::PERIOD));
        let mut drain = Drain::default();
        loop {
            let draining = drain.has_begun();
            tokio::select! {
                Some(scan) = self.scans.recv(), if !draining => self.folder_changed(scan).await,
                Some(answers) = self.answers.1.recv() => self.names_found(answers),
                Some(()) = self.files_changed.recv() => self.look_up_credentials(),
                _ = look_up.tick(), if self.pipeline.has_names() => self.look_up(),
                _ = bind_again.tick(), if !draining && self.unbound() > 0 => self.bind_again(),
                _ = release.tick(), if !self.retired.is_empty() => self.retired.retain(|old| Arc::strong_count(old) > 1),
                _ = tend.tick(), if tend::is_needed(&self.store.load()) => {
                    tend::tend(&self.store.load(), &self.metrics, Instant::now());
                }
                _ = look.tick(), if self.memory.is_some() => {
                    self.memory.iter_mut().for_each(|memory| memory.look(&self.metrics));
                }
                order = orders.recv() => match order {
                    Some(Order::Reread) => {
                        self.rereader.reread();
                        self.look_up_credentials();
                    }
                    Some(Order::ReopenLog) => self.reopen_log(),
                    Some(Order::Drain) => self.drain(&mut drain),
                    Some(Order::DrainAndEnd) => self.begin_to_end(&mut drain),
                    Some(Order::HandOver) => {
                        self.drain(&mut drain);
                        drain.be_patient_until(Instant::now() + self.options.drain / 2);
                        drain.end_by(Instant::now() + self.options.drain);
                    }
                    Some(Order::End) | None => break,
                },
                step = drain.next() => match step {
                    Step::Leave => self.leave(&mut drain),
                    Step::End => break,
                },
            }
        }
        drain.report();
        if let Some(workers) = self.workers.take() {
            drain.begin(workers);
        }
        drain.cut().await;
        self.access_logs.close(drain::LAST_LINES);
    }

    fn reopen_log(&self) {
        match self.access_logs.reopen() {
            Ok(()) => tracing::info!(target: "telemetry", "the access logs are open again"),
            Err(error) => {
                tracing::error!(target: "telemetry", "an access log can't be opened again, and goes where it went: {error}");
            }
        }
    }

    async fn folder_changed(&mut self, scan: Scan) {
        let changes = match scan {
            Scan::Changes(changes) => changes,
            Scan::Emptied => {
                let folder = self.options.config.display();
                return tracing::warn!(target: "config", "{folder} has no configuration file left: the last configuration stays in force");
            }
        };
        let begun = Instant::now();
        let outcome = self.pipeline.take(changes);
        let (mut findings, mut extent) = (Vec::new(), Extent::Nothing);
        if outcome.changed {
            let previous = self.store.load();
            let surroundings = Surroundings { metrics: &self.metrics, port_map: &self.options.port_map };
            let built = self.pipeline.build(&surroundings, Some(&previous)).await;
            extent = built.extent;
            findings = self.put_in_force(built, begun);
        }
        report(&outcome, &findings);
        if extent == Extent::Routing {
            self.analyze();
        }
        if !outcome.errors.is_empty() {
            self.metrics.config_refused();
        }
        self.tell();
    }

    /// Publishes what was built; sockets of new listeners first, so that nothing is lost between. Returns new findings.
    fn put_in_force(&mut self, mut built: Built, begun: Instant) -> Vec<Diagnostic> {
        let wanted = addresses(&built.snapshot.model);
        match self.access_logs.follow(&wanted_logs(&self.options, &built.snapshot.model)) {
            Ok(logs) => built.snapshot.access_logs = logs,
            Err(error) => {
                tracing::error!(target: "config", "an access log can't be opened, and all stay as they were: {error}");
            }
        }
        let opened = open(&mut self.sockets, &built.snapshot.model);
        self.publish(built.snapshot);
        self.since = SystemTime::now();
        let gone = self.sockets.close_all_but(&wanted);
        gone.iter().for_each(sockets::remove_file);
        if let Some(workers) = &self.workers {
            gone.iter().for_each(|address| workers.close(address));
        }
        self.listen(opened);
        self.watch_files();
        self.metrics.config_applied(self.pipeline.version(), self.since);
        tracing::info!(
            target: "config", "{} in force, {} after {:.1} ms",
            self.pipeline.version(), built.extent, begun.elapsed().as_secs_f64() * 1e3,
        );
        built.findings
    }

    /// Looks at what the resources in force say about each other. That changes nothing, and so comes behind the change.
    fn analyze(&mut self) {
        let found = self.pipeline.analyze();
        found.iter().take(LOGGED_MAX).for_each(log);
        if found.len() > LOGGED_MAX {
            tracing::warn!(target: "config", "{} further findings: see /config/errors", found.len() - LOGGED_MAX);
        }
    }

    /// Files with certificates may have changed. What is in force stays, but for them.
    fn look_up_credentials(&mut self) {
        let problems = self.pipeline.look_up_credentials(&self.store.load());
        problems.iter().for_each(log);
        self.watch_files();
        self.tell();
    }

    fn watch_files(&mut self) {
        self.file_watch.set(self.pipeline.credentials().paths());
    }

    fn publish(&mut self, snapshot: Snapshot) {
        self.retired.push(self.store.load());
        self.store.publish(Arc::new(snapshot));
    }

    /// Gives workers their new sockets, and says which could not be had.
    fn listen(&mut self, opened: Opened) {
        for (address, sockets) in opened.sockets {
            if let Some(workers) = &self.workers {
                workers.listen(&address, sockets);
            }
        }
        for (_, error) in opened.failures {
            tracing::error!(target: "listener", "{error}; everything else goes on, and this is tried again each second");
        }
        #[cfg(feature = "http3")]
        self.listen_quic();
    }

    /// The same for HTTP/3.
    #[cfg(feature = "http3")]
    fn listen_quic(&mut self) {
        let Some(workers) = &self.workers else { return };
        let followed = self.quic_sockets.follow(&self.store.load(), &self.sockets);
        followed.gone.into_iter().for_each(|address| workers.close_quic(address));
        followed.opened.into_iter().for_each(|(address, socket)| workers.listen_quic(address, socket));
        for error in followed.failures {
            tracing::error!(target: "listener", "HTTP/3: {error}; clients use TCP, and this is tried again each second");
        }
    }

    /// Listeners that could not be bound.
    fn unbound(&self) -> usize {
        let unbound = self.sockets.failed().count();
        #[cfg(feature = "http3")]
        let unbound = unbound + self.quic_sockets.failed();
        unbound
    }

    fn bind_again(&mut self) {
        let unbound = self.unbound();
        let opened = open(&mut self.sockets, &self.store.load().model);
        for (address, _) in &opened.sockets {
            tracing::info!(target: "listener", "{} is bound now", self.options.port_map.apply(address));
        }
        let is_news = !opened.sockets.is_empty() || !opened.failures.is_empty();
        self.listen(opened);
        if is_news || self.unbound() != unbound {
            self.tell();
        }
    }

    /// Tells the admin and the metrics how things stand.
    fn tell(&self) {
        let errors: Vec<Diagnostic> = self.pipeline.errors().cloned().collect();
        let mut listeners: Vec<ListenerStatus> = self
            .sockets
            .bound()
            .map(|(address, bound)| ListenerStatus { address, bound: Some(bound), error: None })
            .collect();
        listeners.extend(self.sockets.failed().map(|(address, error)| ListenerStatus {
            address,
            bound: None,
            error: Some(error.to_string()),
        }));
        listeners.sort_by(|a, b| a.address.cmp(&b.address));
        self.metrics.set_config_errors(errors.len() + self.unbound());
        let warnings: Vec<Diagnostic> = self.pipeline.warnings().cloned().collect();
        self.metrics.set_config_findings(&warnings);
        let credentials = self.pipeline.credentials();
        let certificates: Arc<[CertificateStatus]> = credentials.status().into();
        let own =
            certificates.iter().filter_map(|status| Some((status.name.clone(), status.facts().first()?.valid_until)));
        self.metrics.set_certificates(own.collect(), credentials.problems());
        self.status.set_applied(Applied {
            version: self.pipeline.version().into(),
            since: self.since,
            resources: self.pipeline.resources().clone(),
            errors,
            warnings,
            listeners,
            certificates,
        });
    }

    fn look_up(&self) {
        let (answers, tell) = (self.pipeline.look_up(), self.answers.0.clone());
        tokio::task::spawn_local(async move {
            // Full: the answers of an earlier round are still waiting, and the next round will come.
            let _ = tell.try_send(answers.await);
        });
    }

    fn names_found(&mut self, answers: dns::Answers) {
        if let Some(snapshot) = self.pipeline.learn(answers, &self.metrics, &self.store.load()) {
            self.publish(snapshot);
        }
    }

    /// Load balancers hear of the end some time after us, and the workload beside a sidecar has yet to ask others when it is told to end
    /// with us: for them all goes on for a while. Source: Istio, `terminationDrainDuration`.
    fn begin_to_end(&mut self, drain: &mut Drain) {
        // Who is told once more doesn't wait any longer.
        let delay = if drain.has_begun() || drain.is_to_end() { Duration::ZERO } else { self.options.drain_delay };
        let then = Instant::now() + delay;
        drain.end_by(then + self.options.drain);
        if delay.is_zero() {
            return self.leave(drain);
        }
        tracing::info!(target: "process", "told to end: draining in {delay:?}");
        self.status.reach(State::Draining);
        drain.serve_until(then);
    }

    fn leave(&mut self, drain: &mut Drain) {
        self.drain(drain);
        drain.close_idle();
    }

    fn drain(&mut self, drain: &mut Drain) {
        self.status.reach(State::Draining);
        // Our handles first: a socket that only we still hold would take connections that nobody accepts.
        self.sockets.close_all_but(&[]);
        if let Some(workers) = self.workers.take() {
            drain.begin(workers);
            self.tell();
        }
    }
}

/// The first configuration, read and understood.
struct First {
    folder: Folder,
    pipeline: Pipeline,
    outcome: Outcome,
    built: Built,
}

impl First {
    async fn read(options: &GatewayOptions, metrics: &Metrics) -> Result<Self, StartError> {
        let mut folder = Folder::new(&options.config);
        let changes = first_look(&mut folder)?;
        let (namespace, labels) = (options.namespace.as_str().into(), options.labels.clone());
        let mut pipeline =
            Pipeline::new(Proxy { role: options.role, namespace, labels }, options.mesh_certificates.clone());
        let outcome = pipeline.take(changes);
        refuse_errors(&outcome)?;
        let built = pipeline.build(&Surroundings { metrics, port_map: &options.port_map }, None).await;
        Ok(Self { folder, pipeline, outcome, built })
    }
}

fn first_look(folder: &mut Folder) -> Result<Vec<Change>, StartError> {
    match folder.scan(SystemTime::now()) {
        Ok(Scan::Changes(changes)) => {
            if changes.is_empty() {
                tracing::warn!(target: "config", "{} has no file that ends in .yaml or .yml yet", folder.path().display());
            }
            Ok(changes)
        }
        Ok(Scan::Emptied) => Ok(Vec::new()),
        Err(error) => Err(StartError::Folder { path: folder.path().to_owned(), error }),
    }
}

fn refuse_errors(outcome: &Outcome) -> Result<(), StartError> {
    if outcome.errors.is_empty() {
        return Ok(());
    }
    Err(StartError::Configuration(outcome.errors.iter().chain(&outcome.warnings).cloned().collect()))
}

fn refuse_failures(opened: &Opened) -> Result<(), StartError> {
    if opened.failures.is_empty() {
        return Ok(());
    }
    Err(StartError::Bind(opened.failures.iter().map(|(_, error)| error.clone()).collect()))
}

/// One line each. A file's last good version stays in force; at the start there is none, and errors end the program.
fn report(outcome: &Outcome, findings: &[Diagnostic]) {
    for error in &outcome.errors {
        tracing::error!(target: "config", "refused, what was in force stays: {error}");
    }
    for file in &outcome.recovered {
        tracing::info!(target: "config", "{file} has no errors any more");
    }
    outcome.warnings.iter().chain(findings).for_each(log);
}

/// One line.
fn log(finding: &Diagnostic) {
    match finding.level {
        Level::Error => tracing::error!(target: "config", "{finding}"),
        Level::Warning => tracing::warn!(target: "config", "{finding}"),
        Level::Info => tracing::info!(target: "config", "{finding}"),
    }
}

fn addresses(model: &Model) -> Vec<ListenerAddress> {
    model.listeners.iter().filter(|listener| listener.is_bound()).map(|listener| listener.address.clone()).collect()
}

fn open(sockets: &mut Sockets, model: &Model) -> Opened {
    let mut opened = sockets.open(&addresses(model));
    let transparent = model.listeners.iter().filter(|listener| listener.binding == Binding::Transparent);
    let addresses: Vec<_> = transparent.map(|listener| listener.address.clone()).collect();
    opened.failures.extend(sockets.make_transparent(&addresses));
    opened
}

/// The access logs that MeshConfig and Telemetries want, or else the command line.
fn wanted_logs(options: &GatewayOptions, model: &Model) -> Vec<WantedLog> {
    let own = || WantedLog {
        target: options.access_log.clone(),
        format: AccessLogFormat::Text(Format::istio_default()),
        omits_absent: false,
        filter: None,
    };
    let written = |log: &model::AccessLog| WantedLog {
        target: Target::parse(&log.path),
        format: log.format.clone(),
        omits_absent: log.omits_absent,
        filter: log.filter.clone(),
    };
    let logs = match &model.access_logs {
        Some(logs) => logs.iter().map(written).collect(),
        None => vec![own()],
    };
    logs.into_iter().filter(|log| log.target != Target::Off).collect()
}

fn every(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
