//! What the control thread lets others know: how far the program has come, and what is in force since when.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime};

use config_model::diagnostic::Diagnostic;
use config_model::model::ListenerAddress;
use config_model::resolve::ResourceSet;
use serde::Serialize;
use tokio::sync::watch;

use crate::snapshot::{Snapshot, SnapshotStore};
use crate::tls::{Authorities, Certificate, Facts};

/// How far the program has come. Source: Envoy, `ServerInfo.State`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// No configuration is in force yet.
    Initializing,
    /// Serves.
    Live,
    /// Accepts nothing new.
    Draining,
}

impl State {
    /// As `/ready` says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Live => "LIVE",
            Self::Draining => "DRAINING",
        }
    }
}

/// A listener, as asked for and as it came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListenerStatus {
    /// As the Gateway says.
    pub address: ListenerAddress,
    /// As bound; nothing if it could not be.
    pub bound: Option<ListenerAddress>,
    /// Why it could not be, with the cure.
    pub error: Option<String>,
}

/// What came of the files of the folder.
#[derive(Debug, Clone)]
pub struct Applied {
    /// Hash of the content in force; empty before the first.
    pub version: Arc<str>,
    /// Since when.
    pub since: SystemTime,
    /// Every resource in force.
    pub resources: ResourceSet,
    /// Errors of files that are refused.
    pub errors: Vec<Diagnostic>,
    /// Warnings of what is in force.
    pub warnings: Vec<Diagnostic>,
    /// What was asked to be bound.
    pub listeners: Vec<ListenerStatus>,
    /// Certificates in use.
    pub certificates: Arc<[CertificateStatus]>,
}

/// A certificate with those that lead to its authority, or the certificates of authorities.
#[derive(Debug, Clone)]
pub struct CertificateStatus {
    /// Where it comes from: a Secret, or the path of a file.
    pub name: String,
    /// Whether others are verified with it.
    pub is_authority: bool,
    pub(super) read: CertificateRead,
}

/// What was read.
#[derive(Debug, Clone)]
pub(super) enum CertificateRead {
    /// Our own, or one that we show.
    Own(Arc<Certificate>),
    /// Those of authorities.
    Authorities(Arc<Authorities>),
}

impl CertificateStatus {
    /// What each certificate says.
    pub(crate) fn facts(&self) -> &[Facts] {
        match &self.read {
            CertificateRead::Own(certificate) => &certificate.facts,
            CertificateRead::Authorities(authorities) => &authorities.facts,
        }
    }
}

/// Shared by the control thread, which writes it, and the admin, which reads it.
pub struct Status {
    state: AtomicU8,
    started: Instant,
    applied: watch::Sender<Arc<Applied>>,
    snapshots: OnceLock<Arc<SnapshotStore>>,
}

impl Status {
    /// Nothing is in force.
    pub fn new(now: Instant, time: SystemTime) -> Self {
        let applied = Applied {
            version: "".into(),
            since: time,
            resources: ResourceSet::default(),
            errors: Vec::new(),
            warnings: Vec::new(),
            listeners: Vec::new(),
            certificates: Arc::default(),
        };
        Self {
            state: AtomicU8::new(0),
            started: now,
            applied: watch::Sender::new(Arc::new(applied)),
            snapshots: OnceLock::new(),
        }
    }

    /// How far the program has come.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Initializing,
            1 => State::Live,
            _ => State::Draining,
        }
    }

    /// The program has come to `state`, from which it never goes back.
    pub fn reach(&self, state: State) {
        let level = match state {
            State::Initializing => 0,
            State::Live => 1,
            State::Draining => 2,
        };
        self.state.fetch_max(level, Ordering::AcqRel);
    }

    /// When the program started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// What came of the files.
    pub fn applied(&self) -> Arc<Applied> {
        Arc::clone(&self.applied.borrow())
    }

    /// Lets the caller wait for the next news of it.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Applied>> {
        self.applied.subscribe()
    }

    /// Replaces it.
    pub fn set_applied(&self, applied: Applied) {
        self.applied.send_replace(Arc::new(applied));
    }

    /// The snapshot in force, once there is one.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.snapshots.get().map(|store| store.load())
    }

    /// Where snapshots are found from now on. Only the first call counts.
    pub fn set_snapshots(&self, store: Arc<SnapshotStore>) {
        let _ = self.snapshots.set(store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_never_left_for_an_earlier_one() {
        let status = Status::new(Instant::now(), SystemTime::now());
        assert_eq!(status.state().as_str(), "INITIALIZING");
        status.reach(State::Live);
        assert_eq!(status.state().as_str(), "LIVE");
        status.reach(State::Draining);
        status.reach(State::Live);
        assert_eq!(status.state().as_str(), "DRAINING");
    }
}
