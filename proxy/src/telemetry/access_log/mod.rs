//! Access logs: one line for each request in each of them, in Istio's text format, in one's own, or as JSON.
//!
//! A format is compiled once, when its configuration is. A worker formats a line straight into a buffer of its own and hands
//! the buffer over when it is full or old; a thread of its own writes. Whatever becomes of the reader, no worker waits: what
//! does not fit in the queue is dropped, and counted. Start at [`ChosenLoggers::log`].

mod filter;
mod format;
mod json;
mod loggers;
mod logs;
mod query;
mod record;
mod sink;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod value;

pub use loggers::{ChosenLoggers, Loggers};
pub use logs::{AccessLogs, RequestLogs, WantedLog};
pub use record::{AccessRecord, Address, CapturedHeaders, Headers, NO_HEADERS};
pub use sink::Target;
