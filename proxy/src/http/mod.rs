//! HTTP exchanges: a request comes in, goes to a back end or is answered here, and is recorded once.
//!
//! An exchange is written once, against heads and bodies of [`http1`]. [`downstream`] drives it for HTTP/1.1 clients; [`http2`]
//! brings HTTP/2's requests into the same form, and only there is it known that the h2 crate reads and writes them. Start at
//! [`exchange::plan`] and [`forward`].

mod answer;
mod attempt;
mod begin;
mod body;
mod downstream;
mod exchange;
mod forward;
mod forwarded;
mod head;
mod heads;
mod http2;
#[cfg(feature = "http3")]
mod http3;
mod messages;
mod mirror;
mod placement;
mod policy;
mod pump;
mod record;
mod relay;
mod response;
mod rewrite;
mod steer;
mod target;
mod websocket;

use std::time::Duration;

pub(crate) use downstream::serve as serve_http1;
pub(crate) use http2::serve as serve_http2;
#[cfg(feature = "http3")]
pub(crate) use http3::serve as serve_http3;

/// From the first byte of a request to the end of its head. Source: PROMISES.md, section 2.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(10);
