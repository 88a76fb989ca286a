//! A listening socket, of TCP or a Unix socket.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Socket, TcpKeepalive};
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpStream, UnixStream};

use crate::net::{Stream, watched};

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
    is_unix: bool,
}

/// A connection, and who has made it; nobody is known by name behind a Unix socket.
pub(super) type Accepted = (Stream, Option<SocketAddr>);

impl ListeningSocket {
    /// For a socket that is bound, listens and does not block.
    ///
    /// # Errors
    /// If the runtime can't watch it.
    pub(crate) fn new(socket: Socket) -> io::Result<Self> {
        let is_unix = socket.domain()? == Domain::UNIX;
        if !is_unix {
            // Connections inherit both. Without the first small answers wait for an acknowledgement; they come all the same.
            let _ = socket.set_tcp_nodelay(true);
            let probes = TcpKeepalive::new().with_time(PROBED_AFTER).with_interval(PROBED_EVERY).with_retries(PROBES);
            let _ = socket.set_tcp_keepalive(&probes);
        }
        let here = socket.local_addr().ok().and_then(|bound| bound.as_socket());
        let here = here.filter(|bound| !bound.ip().is_unspecified());
        Ok(Self { socket: watched(socket.into())?, here, is_unix })
    }

    /// The next connection, and who has made it.
    ///
    /// # Errors
    /// If the client has gone meanwhile, or the system has no descriptor or memory left.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let mut ready = self.socket.readable().await?;
            let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref(), self.is_unix)) else { continue };
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
    pub(super) fn into_queued(self) -> impl Iterator<Item = Accepted> {
        let (socket, is_unix) = (self.socket.into_inner(), self.is_unix);
        std::iter::from_fn(move || accept(&socket, is_unix).ok())
    }
}

fn accept(socket: &OwnedFd, is_unix: bool) -> io::Result<Accepted> {
    let (stream, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    if is_unix {
        return Ok((Stream::Unix(UnixStream::from_std(stream.into())?), None));
    }
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(ErrorKind::ConnectionAborted)?;
    Ok((Stream::Tcp(TcpStream::from_std(stream.into())?), Some(peer)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use socket2::SockRef;

    use super::*;

    fn listening(address: &str) -> ListeningSocket {
        let socket = TcpListener::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        ListeningSocket::new(socket.into()).unwrap()
    }

    #[tokio::test]
    async fn connections_come_one_after_another_and_inherit_what_their_listener_was_told() {
        let socket = listening("127.0.0.1:0");
        for _ in 0..2 {
            let clients: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(socket.here.unwrap()).unwrap()).collect();
            for client in &clients {
                let (accepted, peer) = socket.accept().await.unwrap();
                assert_eq!(peer, Some(client.local_addr().unwrap()));
                let accepted = SockRef::from(accepted.tcp().unwrap());
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
        assert_eq!(queued, [Some(client.local_addr().unwrap())]);
    }

    #[tokio::test]
    async fn connections_by_a_unix_socket_have_no_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mesh.sock");
        let socket = UnixListener::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = ListeningSocket::new(socket.into()).unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(socket.accept().await.unwrap(), (Stream::Unix(_), None)));
    }

    #[tokio::test]
    async fn a_socket_that_takes_any_address_knows_none() {
        assert_eq!(listening("[::]:0").here, None);
    }
}
