//! The data plane.

pub mod cli;
pub mod source;
pub mod telemetry;
