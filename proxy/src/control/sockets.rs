//! Listening sockets: one for each worker and address, sharing the port, opened and closed as the configuration asks. Of a Unix
//! socket there is one, which all workers share.
//!
//! The process owns them, and keeps a second handle of each, so that it can pass them to a successor (see
//! [`crate::process`]). Start at [`Sockets::open`].

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config_model::model::ListenerAddress;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::unix;
use crate::net::{both_families, is_ipv6_only};

/// How long the process before this one may still listen where we do.
const TAKING_OVER: Duration = Duration::from_secs(10);

/// Connections that wait for a worker in the kernel, for each socket.
pub(super) const BACKLOG: i32 = 4096;

/// Gateway ports and what is bound in their place. Source: `--port-map 80:8080`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PortMap(BTreeMap<u16, u16>);

impl PortMap {
    /// A map of these pairs: the Gateway's port, then the one to bind (0 for any that is free).
    pub fn new(pairs: impl IntoIterator<Item = (u16, u16)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// What is bound for an address as the Gateway says it.
    pub fn apply(&self, address: &ListenerAddress) -> ListenerAddress {
        address.ip_and_port().map_or_else(|| address.clone(), |address| self.apply_to_port(address).into())
    }

    fn apply_to_port(&self, address: SocketAddr) -> SocketAddr {
        let port = self.0.get(&address.port()).copied().unwrap_or(address.port());
        SocketAddr::new(address.ip(), port)
    }
}

/// Why an address could not be bound, with the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// Another program listens there.
    #[error("{bound} is in use by another program: stop it, or bind another port with --port-map {}:PORT", .wanted.port())]
    InUse {
        /// As the Gateway says.
        wanted: SocketAddr,
        /// What was tried.
        bound: SocketAddr,
    },
    /// Two Gateway ports are mapped to one.
    #[error("{bound} already serves Gateway port {}: bind another port with --port-map {}:PORT", .other.port(), .wanted.port())]
    MappedTwice {
        /// As the Gateway says.
        wanted: SocketAddr,
        /// What was tried.
        bound: SocketAddr,
        /// The address, as its Gateway says, that has it.
        other: SocketAddr,
    },
    /// A port below 1024.
    #[error(
        "no permission to bind {bound}: ports below 1024 are for root or CAP_NET_BIND_SERVICE; \
         bind another port with --port-map {}:{}", .wanted.port(), unprivileged(.wanted.port())
    )]
    Permission {
        /// As the Gateway says.
        wanted: SocketAddr,
        /// What was tried.
        bound: SocketAddr,
    },
    /// `bind` names an address of another machine.
    #[error("this machine has no address {}: correct `bind` of the Gateway's server", .bound.ip())]
    NoSuchAddress {
        /// What was tried.
        bound: SocketAddr,
    },
    /// The address is one of IPv6.
    #[error("this machine has no IPv6, so that nothing can listen on {bound}: bind an address of IPv4")]
    NoIpv6 {
        /// What was tried.
        bound: SocketAddr,
    },
    /// Connections that keep their addresses are for the privileged.
    #[error(
        "no permission to take connections for other addresses on {wanted}: run with CAP_NET_ADMIN, \
         or set interceptionMode to REDIRECT"
    )]
    Transparent {
        /// The listener.
        wanted: SocketAddr,
    },
    /// A Unix socket.
    #[error("can't listen on {wanted}: {reason}")]
    Unix {
        /// As the Sidecar says.
        wanted: ListenerAddress,
        /// In words, with the cure.
        reason: String,
    },
    /// Whatever else the system says.
    #[error("can't listen on {bound}: {reason}")]
    Other {
        /// What was tried.
        bound: SocketAddr,
        /// In the system's words.
        reason: String,
    },
}

fn unprivileged(port: u16) -> u16 {
    8000 + port % 1000
}

impl BindError {
    pub(super) fn new(wanted: SocketAddr, bound: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { wanted, bound },
            io::ErrorKind::PermissionDenied => Self::Permission { wanted, bound },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress { bound },
            _ if error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => Self::NoIpv6 { bound },
            _ => Self::Other { bound, reason: error.to_string() },
        }
    }
}

/// Second handles of the sockets that are open, by address as the Gateway says it. Copies share them.
#[derive(Debug, Clone, Default)]
pub struct Handles(Arc<Mutex<BTreeMap<ListenerAddress, Vec<Socket>>>>);

impl Handles {
    /// A third handle of each socket.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn duplicate(&self) -> io::Result<Vec<Socket>> {
        self.lock().values().flatten().map(Socket::try_clone).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ListenerAddress, Vec<Socket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sockets that are open, and those that should be, by address as the Gateway says it.
#[derive(Debug)]
pub(super) struct Sockets {
    port_map: PortMap,
    /// Sockets for an address: one for each worker.
    count: usize,
    /// The address as bound.
    open: BTreeMap<ListenerAddress, ListenerAddress>,
    handles: Handles,
    failed: BTreeMap<ListenerAddress, BindError>,
    /// From the process before this one, by bound address.
    inherited: BTreeMap<ListenerAddress, Vec<Socket>>,
    /// Whether every address means those of IPv6 as well, as there are none of IPv4 that anybody could come to.
    is_ipv6_only: bool,
    /// Up to when that process may have opened further ones, which we share with it until it closes them.
    taking_over_until: Option<Instant>,
}

/// What [`Sockets::open`] did.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Addresses that were opened, with a socket for each worker.
    pub(super) sockets: Vec<(ListenerAddress, Vec<Socket>)>,
    /// Addresses that can't be bound, for a reason that was not known before.
    pub(super) failures: Vec<(ListenerAddress, BindError)>,
}

impl Sockets {
    /// None yet; `count` for each address to come. `inherited` ones, of the process before this one, are used before any is
    /// made. Their handles are kept in `handles`.
    pub(super) fn new(count: usize, port_map: PortMap, handles: Handles, inherited: Vec<Socket>) -> Self {
        let mut by_address: BTreeMap<ListenerAddress, Vec<Socket>> = BTreeMap::new();
        for socket in inherited {
            if let Some(bound) = bound(&socket) {
                by_address.entry(bound).or_default().push(socket);
            }
        }
        let (open, failed) = (BTreeMap::new(), BTreeMap::new());
        let taking_over_until = (!by_address.is_empty()).then(|| Instant::now() + TAKING_OVER);
        let is_ipv6_only = is_ipv6_only();
        Self { port_map, count, open, handles, failed, inherited: by_address, is_ipv6_only, taking_over_until }
    }

    /// Closes what was inherited and is of no use.
    pub(super) fn forget_inherited(&mut self) {
        self.inherited.clear();
    }

    /// Opens those of `wanted` that are not open. An address that failed is tried again with each call.
    pub(super) fn open(&mut self, wanted: &[ListenerAddress]) -> Opened {
        let mut opened = Opened::default();
        self.failed.retain(|address, _| wanted.contains(address));
        for address in wanted {
            let twin = twin(address).filter(|twin| wanted.contains(twin));
            // A supervisor's socket may be for both families.
            let bound = self.port_map.apply(address);
            let is_covered = twin.as_ref().is_some_and(|twin| self.open.get(twin) == Some(&bound));
            if self.open.contains_key(address) || is_covered {
                continue;
            }
            let has_twin = twin.is_some()
                || address.ip_and_port().and_then(both_families).is_some_and(|both| wanted.contains(&both.into()));
            match self.open_one(address, has_twin) {
                Ok(sockets) => {
                    self.failed.remove(address);
                    opened.sockets.push((address.clone(), sockets));
                }
                // Nothing can come by a family that isn't there.
                Err(BindError::NoIpv6 { .. }) if twin.is_some() => {}
                Err(error) => {
                    if self.failed.insert(address.clone(), error.clone()).as_ref() != Some(&error) {
                        opened.failures.push((address.clone(), error));
                    }
                }
            }
        }
        opened
    }

    /// Lets those at `addresses` take connections for other addresses too, which come by TPROXY. Yields those that can't.
    pub(super) fn make_transparent(&self, addresses: &[ListenerAddress]) -> Vec<(ListenerAddress, BindError)> {
        let handles = self.handles.lock();
        let refused = |address: &ListenerAddress| {
            let wanted = address.ip_and_port()?;
            let mut sockets = handles.get(address).into_iter().flatten();
            let is_refused = sockets.any(|socket| transparent(socket, wanted).is_err());
            is_refused.then(|| (address.clone(), BindError::Transparent { wanted }))
        };
        addresses.iter().filter_map(refused).collect()
    }

    /// Lets go of those that are open and not among `wanted`, and returns them: their workers still hold them.
    pub(super) fn close_all_but(&mut self, wanted: &[ListenerAddress]) -> Vec<ListenerAddress> {
        let gone = self.open.keys().filter(|address| !wanted.contains(address)).cloned().collect::<Vec<_>>();
        let mut handles = self.handles.lock();
        for address in &gone {
            self.open.remove(address);
            handles.remove(address);
        }
        gone
    }

    /// What is open: the address as the Gateway says it, then as bound.
    pub(super) fn bound(&self) -> impl Iterator<Item = (ListenerAddress, ListenerAddress)> {
        self.open.iter().map(|(address, bound)| (address.clone(), bound.clone()))
    }

    /// What should be open and isn't.
    pub(super) fn failed(&self) -> impl Iterator<Item = (ListenerAddress, &BindError)> {
        self.failed.iter().map(|(address, error)| (address.clone(), error))
    }

    /// What was inherited for `address`. A socket for every address of both families, which is what systemd makes of a port alone,
    /// does for one of IPv4 too.
    fn take_inherited(&mut self, address: SocketAddr) -> Vec<Socket> {
        let found = self.inherited.remove(&address.into());
        found.or_else(|| self.inherited.remove(&both_families(address)?.into())).unwrap_or_default()
    }

    /// `has_twin`: another socket takes the port's connections by the other family.
    fn open_one(&mut self, wanted: &ListenerAddress, has_twin: bool) -> Result<Vec<Socket>, BindError> {
        let (bound, sockets) = match wanted {
            ListenerAddress::Ip(port) => self.open_port(*port, has_twin)?,
            ListenerAddress::Unix(path) => self.open_unix(wanted, path)?,
            // Nothing is bound for pods.
            ListenerAddress::Pods { .. } => return Ok(Vec::new()),
        };
        self.open.insert(wanted.clone(), bound);
        Ok(sockets)
    }

    fn open_port(&mut self, wanted: SocketAddr, has_twin: bool) -> Result<(ListenerAddress, Vec<Socket>), BindError> {
        let mut address = self.port_map.apply_to_port(wanted);
        if self.is_ipv6_only && !has_twin {
            address = both_families(address).unwrap_or(address);
        }
        let mut mapped = self.open.iter().filter(|(_, bound)| **bound == address);
        if let Some(other) = mapped.find_map(|(other, _)| other.ip_and_port()) {
            return Err(BindError::MappedTwice { wanted, bound: address, other });
        }
        let inherited = self.take_inherited(address);
        let mut ports = self.open.values().filter_map(ListenerAddress::ip_and_port);
        let shares_port = ports.any(|bound| bound.port() == address.port())
            || self.taking_over_until.is_some_and(|until| Instant::now() < until);
        let sockets = listen_all((address, has_twin), self.count, inherited, shares_port);
        let opened = sockets.and_then(|(bound, sockets)| {
            self.keep_handles(&wanted.into(), &sockets)?;
            Ok((bound.into(), sockets))
        });
        opened.map_err(|error| BindError::new(wanted, address, &error))
    }

    fn open_unix(&mut self, wanted: &ListenerAddress, path: &str) -> Result<(ListenerAddress, Vec<Socket>), BindError> {
        let failed = |reason: String| BindError::Unix { wanted: wanted.clone(), reason };
        let inherited = self.inherited.remove(wanted).into_iter().flatten().next();
        let first = inherited.map_or_else(|| unix::listen(path), Ok).map_err(failed)?;
        let sockets: io::Result<Vec<Socket>> = (0..self.count).map(|_| first.try_clone()).collect();
        let sockets = sockets.and_then(|sockets| self.keep_handles(wanted, &[first]).map(|()| sockets));
        Ok((wanted.clone(), sockets.map_err(|error| failed(error.to_string()))?))
    }

    fn keep_handles(&self, wanted: &ListenerAddress, sockets: &[Socket]) -> io::Result<()> {
        let handles = sockets.iter().map(Socket::try_clone).collect::<io::Result<_>>()?;
        self.handles.lock().insert(wanted.clone(), handles);
        Ok(())
    }
}

/// `count` sockets at `address`, `inherited` ones first, and what they are bound to. `shares_port`: this process listens on
/// the port with another address already, or the one before it may do so.
fn listen_all(
    (address, only_v6): (SocketAddr, bool),
    count: usize,
    inherited: Vec<Socket>,
    shares_port: bool,
) -> io::Result<(SocketAddr, Vec<Socket>)> {
    let mut sockets = inherited;
    let mut bound = sockets.first().map_or(Ok(address), port)?;
    if sockets.is_empty() {
        if !shares_port {
            probe(address, only_v6)?;
        }
        let first = listen(address, only_v6)?;
        // Port 0 has become one that the others share.
        bound = port(&first)?;
        sockets.push(first);
    }
    // A socket too many would take connections that no worker accepts.
    sockets.truncate(count);
    while sockets.len() < count {
        sockets.push(another((bound, only_v6), sockets.first())?);
    }
    Ok((bound, sockets))
}

/// One more socket at `address`, where `first` listens. A supervisor's socket need not share its port: then workers share its queue.
fn another((address, only_v6): (SocketAddr, bool), first: Option<&Socket>) -> io::Result<Socket> {
    match first {
        Some(first) if !first.reuse_port()? => first.try_clone(),
        _ => listen(address, only_v6),
    }
}

/// For every address of IPv6 on a port, the same of IPv4.
fn twin(address: &ListenerAddress) -> Option<ListenerAddress> {
    let address = address.ip_and_port().filter(|address| address.ip() == Ipv6Addr::UNSPECIFIED)?;
    Some(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())).into())
}

/// What a socket of TCP is bound to.
fn port(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// What a socket is bound to, if it is one that listeners have.
fn bound(socket: &Socket) -> Option<ListenerAddress> {
    let unix = || Some(ListenerAddress::Unix(unix::path(&socket.local_addr().ok()?)?.into()));
    port(socket).ok().map(ListenerAddress::Ip).or_else(unix)
}

/// Takes away the file of a Unix socket where we listen no more.
pub(super) fn remove_file(address: &ListenerAddress) {
    if let ListenerAddress::Unix(path) = address {
        unix::remove(path);
    }
}

fn transparent(socket: &Socket, wanted: SocketAddr) -> io::Result<()> {
    if wanted.is_ipv6() { socket.set_ip_transparent_v6(true) } else { socket.set_ip_transparent_v4(true) }
}

/// `only_v6` counts for every address of IPv6 on a port: whether IPv4 is left out.
fn socket(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if matches!(address.ip(), IpAddr::V6(ip) if ip.is_unspecified()) {
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

/// Finds out whether another program listens there. Our sockets share their port, and so would a stranger's of the same
/// user: each would get a part of the connections, and nobody would be told.
fn probe(address: SocketAddr, only_v6: bool) -> io::Result<()> {
    let socket = socket(address, only_v6)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

fn listen(address: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = socket(address, only_v6)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn local(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn address(port: u16) -> ListenerAddress {
        local(port).into()
    }

    fn new<const N: usize>(count: usize, ports: [(u16, u16); N]) -> Sockets {
        Sockets::new(count, PortMap::new(ports), Handles::default(), Vec::new())
    }

    /// Sockets that bind any free port for Gateway ports 80 and 81.
    fn sockets() -> Sockets {
        new(2, [(80, 0), (81, 0)])
    }

    fn bound(sockets: &Sockets, port: u16) -> SocketAddr {
        let bound = sockets.bound().find(|(wanted, _)| *wanted == address(port)).map(|(_, bound)| bound);
        bound.unwrap().ip_and_port().unwrap()
    }

    #[test]
    fn each_worker_gets_a_socket_and_all_share_the_port() {
        let mut sockets = sockets();
        let opened = sockets.open(&[address(80)]);
        let [(key, listeners)] = &opened.sockets[..] else { panic!("{opened:?}") };
        assert_eq!(*key, address(80));
        let ports: Vec<_> = listeners.iter().map(|listener| port(listener).unwrap()).collect();
        assert_eq!(ports, [bound(&sockets, 80); 2]);
        assert!(TcpStream::connect(ports[0]).is_ok());
    }

    #[test]
    fn only_the_difference_is_opened_and_closed() {
        let mut sockets = sockets();
        sockets.open(&[address(80)]);
        let before = bound(&sockets, 80);
        let opened = sockets.open(&[address(80), address(81)]);
        assert_eq!(opened.sockets.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(), [address(81)]);
        assert_eq!(bound(&sockets, 80), before);
        assert_eq!(sockets.close_all_but(&[address(81)]), [address(80)]);
        assert!(sockets.close_all_but(&[address(81)]).is_empty());
        assert!(TcpStream::connect(before).is_err(), "nobody holds the socket any more");
    }

    #[test]
    fn a_port_of_another_program_is_refused_even_if_it_would_share_it() {
        for share in [false, true] {
            let stranger = socket(local(0), false).unwrap();
            stranger.set_reuse_port(share).unwrap();
            stranger.bind(&local(0).into()).unwrap();
            stranger.listen(1).unwrap();
            let taken = stranger.local_addr().unwrap().as_socket().unwrap();
            let mut sockets = new(1, [(80, taken.port())]);
            let opened = sockets.open(&[address(80)]);
            let error = BindError::InUse { wanted: local(80), bound: taken };
            assert_eq!(opened.failures, [(address(80), error)]);
            assert!(sockets.open(&[address(80)]).failures.is_empty(), "the same reason is told once");
            drop(stranger);
            assert_eq!(sockets.open(&[address(80)]).sockets.len(), 1, "and tried again");
            assert_eq!(sockets.failed().count(), 0);
        }
    }

    #[test]
    fn two_gateway_ports_do_not_share_a_bound_one() {
        let mut sockets = sockets();
        sockets.open(&[address(80)]);
        let taken = bound(&sockets, 80);
        let opened = sockets.open(&[address(80), taken.into()]);
        assert_eq!(
            opened.failures,
            [(taken.into(), BindError::MappedTwice { wanted: taken, bound: taken, other: local(80) })]
        );
    }

    #[test]
    fn one_port_may_be_bound_on_several_addresses() {
        let mut sockets = sockets();
        sockets.open(&[address(80)]);
        let port = bound(&sockets, 80).port();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        assert!(sockets.open(&[address(80), everywhere.into()]).failures.is_empty());
    }

    #[test]
    fn each_family_has_its_own_socket_where_both_are_wanted() {
        let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap().port();
        let mut sockets = new(1, [(80, free)]);
        let wanted: [SocketAddr; 2] = [(Ipv4Addr::UNSPECIFIED, 80).into(), (Ipv6Addr::UNSPECIFIED, 80).into()];
        let wanted = wanted.map(ListenerAddress::from);
        let opened = sockets.open(&wanted);
        assert!(opened.failures.is_empty(), "{opened:?}");
        for (_, sockets) in &opened.sockets {
            let socket = sockets.first().unwrap();
            assert!(port(socket).unwrap().is_ipv4() || socket.only_v6().unwrap());
        }
        drop((sockets, opened));
        // As a supervisor makes it of a port alone.
        let both = listen((Ipv6Addr::UNSPECIFIED, free).into(), false).unwrap();
        let mut sockets = Sockets::new(1, PortMap::new([(80, free)]), Handles::default(), vec![both]);
        let opened = sockets.open(&wanted);
        assert_eq!((opened.sockets.len(), opened.failures.len()), (1, 0), "it takes both families already");
    }

    #[test]
    fn where_there_is_ipv6_alone_every_address_is_one_of_both_families() {
        let mut sockets = new(1, [(80, 0)]);
        sockets.is_ipv6_only = true;
        let wanted = ListenerAddress::from(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)));
        let opened = sockets.open(std::slice::from_ref(&wanted));
        assert!(opened.failures.is_empty(), "{opened:?}");
        let bound = sockets.bound().next().unwrap().1.ip_and_port().unwrap();
        assert_eq!(bound.ip(), Ipv6Addr::UNSPECIFIED);
        for here in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
            assert!(TcpStream::connect((here, bound.port())).is_ok(), "{here}");
        }
    }

    #[test]
    fn inherited_sockets_are_used_before_new_ones_are_made() {
        let mut before = sockets();
        let held = before.open(&[address(80)]);
        let bound_before = bound(&before, 80);
        let inherited = before.handles.duplicate().unwrap();
        drop((before, held));
        let map = PortMap::new([(80, bound_before.port())]);
        let mut after = Sockets::new(2, map, Handles::default(), inherited);
        let _waiting = TcpStream::connect(bound_before).unwrap();
        let opened = after.open(&[address(80)]);
        assert_eq!(opened.sockets[0].1.len(), 2);
    }

    #[test]
    fn a_port_that_the_process_before_opens_after_it_has_handed_over_is_shared_with_it() {
        let mut before = sockets();
        let _held = before.open(&[address(80)]);
        let inherited = before.handles.duplicate().unwrap();
        let _late = before.open(&[address(80), address(81)]);
        let map = PortMap::new([80, 81].map(|port| (port, bound(&before, port).port())));
        let mut stranger = Sockets::new(2, map.clone(), Handles::default(), Vec::new());
        assert_eq!(stranger.open(&[address(81)]).failures.len(), 1);
        let mut after = Sockets::new(2, map, Handles::default(), inherited);
        let opened = after.open(&[address(80), address(81)]);
        assert_eq!((opened.sockets.len(), opened.failures), (2, Vec::new()));
    }

    #[test]
    fn workers_share_a_socket_of_a_supervisor_that_does_not_share_its_port() {
        let passed = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let port = passed.local_addr().unwrap().port();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80));
        let mut sockets = Sockets::new(3, PortMap::new([(80, port)]), Handles::default(), vec![passed.into()]);
        let opened = sockets.open(&[everywhere.into()]);
        let [(_, listeners)] = &opened.sockets[..] else { panic!("{opened:?}") };
        assert_eq!(listeners.len(), 3);
        let bound = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        assert_eq!(sockets.bound().next(), Some((everywhere.into(), bound.into())));
        let _waiting = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(listeners[2].accept().is_ok());
    }

    #[test]
    fn workers_share_a_unix_socket_which_a_successor_takes_over_with_what_waits_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.sock");
        let wanted = ListenerAddress::Unix(path.to_str().unwrap().into());
        let mut before = new(2, []);
        let opened = before.open(std::slice::from_ref(&wanted));
        assert_eq!(opened.sockets[0].1.len(), 2);
        assert_eq!(before.bound().next(), Some((wanted.clone(), wanted.clone())));
        let other = new(1, []).open(std::slice::from_ref(&wanted));
        assert!(matches!(&other.failures[..], [(_, BindError::Unix { .. })]), "{other:?}");
        let inherited = before.handles.duplicate().unwrap();
        drop((before, opened));
        let _waiting = UnixStream::connect(&path).unwrap();
        let mut after = Sockets::new(3, PortMap::default(), Handles::default(), inherited);
        let opened = after.open(std::slice::from_ref(&wanted));
        let [(_, sockets)] = &opened.sockets[..] else { panic!("{opened:?}") };
        assert_eq!(sockets.len(), 3);
        assert!(sockets[2].accept().is_ok());
        let gone = after.close_all_but(&[]);
        assert_eq!(gone, [wanted]);
        gone.iter().for_each(remove_file);
        assert!(!path.exists());
    }

    #[test]
    fn every_reason_names_its_cure() {
        let error = |kind: io::ErrorKind, port| BindError::new(local(port), local(port), &kind.into()).to_string();
        for (text, part) in [
            (error(io::ErrorKind::AddrInUse, 9080), "--port-map 9080:PORT"),
            (error(io::ErrorKind::PermissionDenied, 80), "--port-map 80:8080"),
            (error(io::ErrorKind::PermissionDenied, 443), "--port-map 443:8443"),
            (error(io::ErrorKind::AddrNotAvailable, 80), "correct `bind`"),
            (error(io::ErrorKind::OutOfMemory, 80), "127.0.0.1:80"),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
}
