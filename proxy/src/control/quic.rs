//! Sockets for HTTP/3: one for each listener that serves HTTPS, on the UDP port of the number that is bound for TCP.
//!
//! One that can't be bound is no reason not to serve: clients use TCP until it can. That is so while the process before this
//! one still has it. Start at [`QuicSockets::follow`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};

use super::sockets::{BindError, Sockets};
use crate::snapshot::Snapshot;
use crate::tls::Chains;

/// Those that are open, and those that should be, by address as the Gateway says it.
#[derive(Debug)]
pub(super) struct QuicSockets {
    is_asked_for: bool,
    open: BTreeSet<SocketAddr>,
    failed: BTreeMap<SocketAddr, BindError>,
}

/// What is to be done to follow.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Newly bound.
    pub(super) opened: Vec<(SocketAddr, UdpSocket)>,
    /// No longer wanted.
    pub(super) gone: Vec<SocketAddr>,
    /// Can't be bound, for a reason that was not known before.
    pub(super) failures: Vec<BindError>,
}

impl QuicSockets {
    /// None yet, and none ever unless it `is_asked_for`.
    pub(super) fn new(is_asked_for: bool) -> Self {
        Self { is_asked_for, open: BTreeSet::new(), failed: BTreeMap::new() }
    }

    /// Opens what `snapshot` serves and isn't open, where `tcp` is bound, and tells what it serves no more.
    pub(super) fn follow(&mut self, snapshot: &Snapshot, tcp: &Sockets) -> Followed {
        let mut followed = Followed::default();
        if !self.is_asked_for {
            return followed;
        }
        let offers = |chains: &Chains| chains.iter().any(|chain| chain.offers_http3());
        let served = |address: SocketAddr| {
            let found = snapshot.listeners.iter().find(|listener| listener.address == address);
            found.and_then(|listener| listener.chains()).is_some_and(offers)
        };
        let wanted: BTreeMap<SocketAddr, SocketAddr> = tcp
            .bound()
            .filter_map(|(address, bound)| Some((address.ip_and_port()?, bound.ip_and_port()?)))
            .filter(|(address, _)| served(*address))
            .collect();
        followed.gone.extend(self.open.extract_if(.., |address| !wanted.contains_key(address)));
        self.failed.retain(|address, _| wanted.contains_key(address));
        for (address, bound) in wanted {
            if self.open.contains(&address) {
                continue;
            }
            match UdpSocket::bind(bound) {
                Ok(socket) => {
                    self.failed.remove(&address);
                    self.open.insert(address);
                    followed.opened.push((address, socket));
                }
                Err(error) => {
                    let error = BindError::new(address, bound, &error);
                    if self.failed.insert(address, error.clone()).as_ref() != Some(&error) {
                        followed.failures.push(error);
                    }
                }
            }
        }
        followed
    }

    /// How many should be open and aren't.
    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }
}
