//! The data plane.

pub mod source;
