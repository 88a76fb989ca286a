//! Sockets as the data path uses them: read into memory that is only borrowed when bytes are there, written by slices.

mod socket;
mod splice;
mod stream;

pub(crate) use splice::Pipe;
pub(crate) use stream::{Liveness, Stream};
