//! HTTP/3 towards a client, by h3 over quinn: its requests go the way of HTTP/2's from the moment they have a head and a body.
//! Limits are those of PROMISES.md, section 2. Start at [`serve`].

mod body;
mod connection;
mod frames;
mod request;
mod streams;
mod transport;

pub(crate) use connection::serve;
