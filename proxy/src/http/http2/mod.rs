//! HTTP/2 towards a client, by the h2 crate: its requests are brought into the form of HTTP/1.1, which is what back ends get, and
//! answers into that of HTTP/2. Limits are those of PROMISES.md, section 2.

mod connection;
mod exchange;
mod inform;
mod meter;
mod request;
mod response;
mod socket;
mod stream;
mod tunnel;

pub(crate) use connection::serve;
#[cfg(feature = "http3")]
pub(super) use connection::{Busy, IDLE_LIMIT, State, Verdict};
#[cfg(feature = "http3")]
pub(super) use exchange::{Arrival, exchange};
#[cfg(feature = "http3")]
pub(super) use response::ResponseBody;
