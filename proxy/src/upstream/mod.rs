//! Connections to back ends: one pool per worker, connections kept by endpoint. Start at [`Pool::reuse`] and [`connect`] for
//! HTTP/1.1, at [`http2`] for HTTP/2, and at [`Tunnel::open`] for what another proxy passes on.

mod connect;
mod connection;
mod handshake;
mod http2;
mod outliers;
mod pool;
mod tunnel;
mod r#yield;

use crate::net::WrittenAddress;

pub(crate) use connect::{connect, connect_or_refuse};
pub(crate) use connection::{Security, UpstreamConnection};
pub(crate) use http2::{Http2Pool, Http2Stream, Lease, StreamFault, acquire, acquire_tunnel};
pub(crate) use outliers::report;
pub(crate) use pool::Pool;
pub(crate) use tunnel::Tunnel;

/// What a request has of a connection to a back end.
pub(crate) enum Upstream {
    /// All of one that speaks HTTP/1.1.
    Http1(Box<UpstreamConnection>),
    /// A stream of one that speaks HTTP/2.
    Http2(Box<Http2Stream>),
}

impl Upstream {
    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<&WrittenAddress> {
        match self {
            Self::Http1(connection) => connection.local_address.as_ref(),
            Self::Http2(stream) => stream.local_address(),
        }
    }

    /// Keeps a connection for another request, after an answer that came to its end with nothing behind it.
    pub(crate) fn keep(self) {
        if let Self::Http1(connection) = self {
            connection.keep();
        }
    }

    /// Whether the connection has served another request before.
    pub(crate) fn is_reused(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.reused,
            Self::Http2(stream) => stream.is_reused(),
        }
    }
}
