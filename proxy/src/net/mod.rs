//! Sockets as the data path uses them: read into memory that is only borrowed when bytes are there, written by slices.

mod address;
mod families;
mod gathered;
mod http2;
mod io;
pub(crate) mod proxy_header;
mod socket;
mod splice;
mod stream;
mod tls;
mod watched;

pub(crate) use address::{IpText, WrittenAddress, ip_text, ipv4_text};
pub(crate) use families::{both_families, is_ipv6_only};
pub(crate) use gathered::Gathered;
pub(crate) use http2::{Http2Body, Http2Tunnel, poll_room};
pub(crate) use proxy_header::Ends;
pub(crate) use splice::Pipe;
pub(crate) use stream::{Liveness, Stream};
pub(crate) use tls::{Session, TlsScratch, TlsStream};
pub(crate) use watched::watched;
