//! What traffic leaves behind: metrics and the access log.
//!
//! Names, labels, buckets and formats are Istio's and Envoy's, as their dashboards and scripts expect them. Labels are
//! resolved when a snapshot is built; a worker then adds to cells of a [`Shard`] of its own, and the exposition sums the
//! shards. Log lines are formatted into a worker's buffer and written by a thread of their own. Start at
//! [`Shard::record`] and [`ChosenLoggers::log`].

mod access_log;
mod cells;
mod expose;
mod flags;
mod metrics;
mod names;
mod shard;
#[cfg(test)]
mod tests;

pub use access_log::{
    AccessLogs, AccessRecord, Address, CapturedHeaders, ChosenLoggers, Headers, Loggers, NO_HEADERS, RequestLogs,
    Target, WantedLog,
};
pub use flags::Flags;
pub use metrics::{ClusterHealth, DestinationLabels, MemoryStatus, Metrics};
pub use names::{ClusterId, ListenerId, SeriesId, SplitDestinationId};
pub use shard::{RequestProtocol, RequestRecord, Shard, TcpEvent};
