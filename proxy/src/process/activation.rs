//! Listening sockets that a supervisor such as systemd has made before it started us. Source: `sd_listen_fds(3)`: the variables
//! `LISTEN_FDS` and `LISTEN_PID`.

use std::net::TcpListener;

use listenfd::ListenFd;

/// The sockets that were passed to this very process, the TCP ones among them. Those that no Gateway names are closed later,
/// as is what a predecessor leaves.
pub(super) fn sockets() -> Vec<TcpListener> {
    let mut passed = ListenFd::from_env();
    let sockets = (0..passed.len()).filter_map(|place| passed.take_tcp_listener(place).ok().flatten());
    // A socket that may block would hold up the worker that accepts from it.
    sockets.filter(|socket| socket.set_nonblocking(true).is_ok()).collect()
}
