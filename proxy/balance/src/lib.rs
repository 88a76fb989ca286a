//! Which endpoint of a cluster takes a request, whether the cluster takes it at all, and whether a failed attempt is followed
//! by another one.
//!
//! [`EndpointSet`] is what a cluster's endpoints compile to, [`Picker`] chooses one of them by the cluster's algorithm, and
//! [`RetryState`] judges the [`AttemptOutcome`] afterwards. [`ClusterState`] counts against the cluster's limits, and
//! [`EndpointSet::report`] ejects endpoints that fail. Times, random draws and outcomes are arguments: there is no clock, no
//! socket and no source of chance in this crate.

mod blocks;
mod gate;
mod gather;
mod hash;
mod keepalive;
mod layout;
mod limits;
mod maglev;
mod outcome;
mod outlier;
mod pick;
mod priority;
mod retry;
mod ring;
mod schedule;
mod set;
mod split;
mod state;
mod view;
mod warmup;
mod window;
mod zones;

pub use blocks::EntryIndex;
pub use gate::{Acquire, ConnectionGate, ConnectionPermit};
pub use hash::{
    RequestHash, cookie_value, hash_bytes, header_hash, made_cookie_value, query_parameter_hash, set_cookie,
    source_ip_hash,
};
pub use keepalive::KeepAliveLimit;
pub use limits::{ClusterState, Overflow, RequestPermit, RetryPermit};
pub use outcome::{AttemptError, AttemptOutcome, GRPC_CANCELLED, GRPC_UNAVAILABLE, Report, ResponseFlag};
pub use outlier::{EjectionCause, OutlierEvent};
pub use pick::{Picker, Wish};
pub use retry::{Replay, RetryState, Verdict};
pub use set::{EndpointSet, Entry, SetRules};
pub use split::{drawn_index, place, spill, sticky_index};
pub use state::{ActiveRequest, EndpointState};
