//! HTTP/1.1 for a proxy, without sockets, clocks or tasks: bytes in, heads and bodies out. Source: RFC 9112, read as strictly
//! as PROMISES.md section 3 says: where two readers could disagree about a message, it is refused.
//!
//! A [`Message`] is filled with bytes as they come. It first yields its [`Head`], parsed in place, which can be edited and
//! written out again by slices; then the bytes of its body, decoded in place. [`ChunkFrame`] frames a body on its way out.
//! Start at [`Message`].

mod chunked;
mod frame;
mod framing;
mod head;
mod message;
mod name;
mod refusal;
mod request;
mod response;
mod scan;

pub use chunked::{ChunkedDecoder, Decoded};
pub use frame::ChunkFrame;
pub use framing::{Framing, connection_options};
pub use head::{Field, Head, Version};
pub use message::Message;
pub use name::{Name, Names};
pub use refusal::{BodyFault, Refusal};
pub use response::ResponseFault;

/// Start line and fields of a head, in bytes. Source: PROMISES.md, section 2.
pub const HEAD_BYTES_MAX: usize = 60 * 1024;
/// Fields of a head, its trailers counted in. Source: PROMISES.md, section 2.
pub const FIELDS_MAX: usize = 100;
