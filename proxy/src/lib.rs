//! The data plane.

mod admin;
pub mod cli;
pub mod control;
mod demo;
mod explain;
mod http;
mod listener;
mod net;
pub mod pressure;
pub mod process;
pub mod snapshot;
pub mod source;
mod tcp;
pub mod telemetry;
mod tls;
mod upstream;
pub mod worker;
