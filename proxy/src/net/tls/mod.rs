//! A TCP connection with TLS in it. An idle one holds no buffers: records are read into memory that the worker's connections
//! share, and only what could not be passed on stays with the connection. Start at [`TlsStream`].

mod records;
mod stream;

pub(crate) use records::Session;
pub(crate) use stream::{TlsScratch, TlsStream};
