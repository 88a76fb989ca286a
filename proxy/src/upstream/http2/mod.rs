//! HTTP/2 to back ends, by the h2 crate: one connection per worker and endpoint, and more of them only when its streams run
//! out. Start at [`Http2Pool::lease`] and [`Http2Stream::begin`].

mod connection;
mod fault;
mod open;
mod pings;
mod pool;
mod stream;

use std::time::Duration;

pub(crate) use connection::Lease;
pub(crate) use fault::StreamFault;
pub(crate) use open::{acquire, acquire_tunnel};
pub(crate) use pool::Http2Pool;
pub(crate) use stream::Http2Stream;

/// What may wait in memory for one stream, each way. Source: PROMISES.md, section 2.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Streams at once on one connection, unless its cluster or the back end says less.
const STREAMS_MAX: u32 = 100;
/// Streams that may begin on a connection before the back end's SETTINGS have come; never told by them, as good as, so that it shows
/// that they have: h2 has no other word for it.
const STREAMS_BEFORE_SETTINGS: usize = STREAMS_MAX as usize + 1;
/// For a back end's SETTINGS, which are the first that it sends.
const SETTINGS_LIMIT: Duration = Duration::from_secs(1);
