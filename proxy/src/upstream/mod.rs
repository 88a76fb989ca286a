//! Connections to back ends: one pool per worker, connections kept by endpoint. HTTP/1.1 over plain TCP, by hyper.
//! Start at [`Pool::reuse`] and [`connect`].

mod connect;
mod pool;

pub(crate) use connect::connect;
pub(crate) use pool::{Lease, Pool, SendError};
