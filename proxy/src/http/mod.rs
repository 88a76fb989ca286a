//! HTTP exchanges: a request comes in, goes to a back end or is answered here, and is recorded once.
//!
//! The exchange is written against heads and body streams; only this module and [`crate::upstream`] know that hyper reads
//! and writes them. Start at [`exchange`].

mod answer;
mod body;
mod exchange;
mod forward;
mod head;
mod record;
mod response;
mod rewrite;
mod survey;

pub(crate) use body::RequestBody;
pub(crate) use exchange::exchange;
pub(crate) use head::peer_value;
