//! A listening socket.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

use crate::net::watched;

/// When the system begins to ask a silent client whether it is still there: streams of gRPC and events, WebSockets and TCP may be
/// silent for hours, and one who has vanished without a word must not hold them for ever.
const PROBED_AFTER: Duration = Duration::from_mins(5);
/// Between two such questions.
const PROBED_EVERY: Duration = Duration::from_secs(30);
/// Questions without an answer that end a connection.
const PROBES: u32 = 4;

/// A socket that takes connections.
pub(crate) struct ListeningSocket {
    socket: AsyncFd<OwnedFd>,
    /// The address that clients dial, if there is but one: none if the socket takes any.
    pub(super) here: Option<SocketAddr>,
}

impl ListeningSocket {
    /// For a socket that is bound, listens and does not block.
    ///
    /// # Errors
    /// If the runtime can't watch it.
    pub(crate) fn new(socket: TcpListener) -> io::Result<Self> {
        // Connections inherit both. Without the first small answers wait for an acknowledgement; they come all the same.
        let _ = SockRef::from(&socket).set_tcp_nodelay(true);
        let probes = TcpKeepalive::new().with_time(PROBED_AFTER).with_interval(PROBED_EVERY).with_retries(PROBES);
        let _ = SockRef::from(&socket).set_tcp_keepalive(&probes);
        let here = socket.local_addr().ok().filter(|bound| !bound.ip().is_unspecified());
        Ok(Self { socket: watched(socket.into())?, here })
    }

    /// The next connection, and who has made it.
    ///
    /// # Errors
    /// If the client has gone meanwhile, or the system has no descriptor or memory left.
    pub(super) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            let mut ready = self.socket.readable().await?;
            let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref())) else { continue };
            // Accepting in vain makes a socket and throws it away: asking is six times cheaper.
            if !self.has_more() {
                ready.clear_ready();
            }
            return accepted;
        }
    }

    /// Whether a connection waits.
    fn has_more(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&now)) != Ok(0)
    }

    /// The connections that wait in the queue; after them it is closed. The system is asked, not the runtime, which may not
    /// have heard of them yet.
    pub(super) fn into_queued(self) -> impl Iterator<Item = (TcpStream, SocketAddr)> {
        let socket = self.socket.into_inner();
        std::iter::from_fn(move || accept(&socket).ok())
    }
}

fn accept(socket: &OwnedFd) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(ErrorKind::ConnectionAborted)?;
    Ok((TcpStream::from_std(stream.into())?, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening(address: &str) -> ListeningSocket {
        let socket = TcpListener::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        ListeningSocket::new(socket).unwrap()
    }

    #[tokio::test]
    async fn connections_come_one_after_another_and_inherit_what_their_listener_was_told() {
        let socket = listening("127.0.0.1:0");
        for _ in 0..2 {
            let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(socket.here.unwrap()).unwrap()).collect();
            for client in &clients {
                let (accepted, peer) = socket.accept().await.unwrap();
                assert_eq!(peer, client.local_addr().unwrap());
                let accepted = SockRef::from(&accepted);
                assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
                assert_eq!(accepted.tcp_keepalive_time().unwrap(), PROBED_AFTER);
                assert_eq!(accepted.tcp_keepalive_retries().unwrap(), PROBES);
            }
        }
    }

    #[tokio::test]
    async fn what_is_queued_is_taken_before_the_end() {
        let socket = listening("127.0.0.1:0");
        let client = std::net::TcpStream::connect(socket.here.unwrap()).unwrap();
        let queued: Vec<_> = socket.into_queued().map(|(_, peer)| peer).collect();
        assert_eq!(queued, [client.local_addr().unwrap()]);
    }

    #[tokio::test]
    async fn a_socket_that_takes_any_address_knows_none() {
        assert_eq!(listening("[::]:0").here, None);
    }
}
