//! Which endpoint of a cluster takes a request, and whether a failed attempt is followed by another one.
//!
//! [`EndpointSet`] is what a cluster's endpoints compile to, [`Picker`] chooses one of them by the cluster's algorithm, and
//! [`RetryState`] judges the [`AttemptOutcome`] afterwards. Random draws and outcomes are arguments: there is no clock, no
//! socket and no source of chance in this crate.

mod outcome;
mod pick;
mod retry;
mod schedule;
mod set;
mod state;

pub use outcome::{AttemptError, AttemptOutcome, GRPC_CANCELLED, GRPC_UNAVAILABLE, Phase};
pub use pick::Picker;
pub use retry::{Replay, RetryState, Verdict};
pub use set::{EndpointSet, Entry, EntryIndex};
pub use state::{ActiveRequest, EndpointState};
