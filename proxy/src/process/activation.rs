//! Listening sockets that a supervisor such as systemd has made before it started us. Source: `sd_listen_fds(3)`: the variables
//! `LISTEN_FDS` and `LISTEN_PID`.

use listenfd::ListenFd;
use socket2::Socket;

/// The sockets that were passed to this very process: those of TCP and Unix sockets. Those that no Gateway names are closed later,
/// as is what a predecessor leaves.
pub(super) fn sockets() -> Vec<Socket> {
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).filter_map(|place| {
        let tcp = passed.take_tcp_listener(place).ok().flatten().map(Socket::from);
        tcp.or_else(|| passed.take_unix_listener(place).ok().flatten().map(Socket::from))
    });
    // A socket that may block would hold up the worker that accepts from it.
    sockets.filter(|socket| socket.set_nonblocking(true).is_ok()).collect()
}
