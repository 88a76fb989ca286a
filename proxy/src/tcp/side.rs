//! The two sides of a connection: the client's socket, and the back end's, which may be the end of a tunnel.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use tokio::net::TcpStream;

use crate::net::{Stream, WrittenAddress};
use crate::upstream::{Tunnel, UpstreamConnection};

/// What bytes come from and go to.
pub(super) trait Side {
    /// Waits until there is something to be read, without holding memory for it.
    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads; zero at the end of what comes.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes what there is room for. Who is told to wait comes again with the same bytes, perhaps with more behind them.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Says that nothing more will be written.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket, if the kernel can move bytes from or to it.
    fn tcp(&self) -> Option<&TcpStream>;
}

impl Side for Stream {
    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_read_ready(self, cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read(cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_shutdown(cx)
    }

    fn tcp(&self) -> Option<&TcpStream> {
        self.tcp()
    }
}

/// The back end's side.
pub(super) enum BackEnd {
    /// A connection to it.
    Direct(Box<UpstreamConnection>),
    /// A tunnel through it.
    Tunnel(Box<Tunnel>),
}

impl BackEnd {
    /// Our end of the connection.
    pub(super) fn local_address(&self) -> Option<&WrittenAddress> {
        match self {
            Self::Direct(connection) => connection.local_address.as_ref(),
            Self::Tunnel(tunnel) => tunnel.local_address(),
        }
    }

    /// Lets go of it before a byte has gone. A connection may serve requests; a tunnel leads to another place.
    pub(super) fn keep(self) {
        if let Self::Direct(connection) = self {
            connection.keep();
        }
    }

    /// Makes the close that follows a reset.
    pub(super) fn reset_on_close(&self) {
        match self {
            Self::Direct(connection) => connection.stream.reset_on_close(),
            Self::Tunnel(tunnel) => tunnel.reset_on_close(),
        }
    }
}

impl Side for BackEnd {
    fn poll_read_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Direct(connection) => connection.stream.poll_read_ready(cx),
            Self::Tunnel(tunnel) => tunnel.poll_read_ready(cx),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Direct(connection) => connection.stream.poll_read(cx, buffer),
            Self::Tunnel(tunnel) => tunnel.poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Direct(connection) => Side::poll_write(&mut connection.stream, cx, bytes),
            Self::Tunnel(tunnel) => tunnel.poll_write(cx, bytes),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Direct(connection) => connection.stream.poll_shutdown(cx),
            Self::Tunnel(tunnel) => tunnel.poll_shutdown(cx),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Direct(connection) => connection.stream.tcp(),
            Self::Tunnel(tunnel) => tunnel.tcp(),
        }
    }
}
