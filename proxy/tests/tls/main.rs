//! TLS on both sides of a running gateway: certificates that are renewed, that are broken, that are asked for.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panics, too")]

mod agreements;
mod certificates;
mod peers;
mod rotation;
mod trust;
