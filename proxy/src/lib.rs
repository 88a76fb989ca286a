//! The data plane.

pub mod cli;
mod http;
mod listener;
pub mod snapshot;
pub mod source;
pub mod telemetry;
mod upstream;
pub mod worker;
