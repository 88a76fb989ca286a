//! Connections to back ends: one pool per worker, connections kept by endpoint. Start at [`Pool::reuse`] and [`connect`].

mod connect;
mod connection;
mod handshake;
mod pool;

pub(crate) use connect::{connect, connect_or_refuse};
pub(crate) use connection::{Security, UpstreamConnection};
pub(crate) use pool::Pool;
