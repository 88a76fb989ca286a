//! A descriptor that the runtime watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Has the runtime, on which this is called, tell when `descriptor`, which doesn't block, is ready.
///
/// # Errors
/// If the system refuses to watch it.
pub(crate) fn watched(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "unsound only for types that don't own their descriptor; what takes its place is unsafe"
    )]
    AsyncFd::new(descriptor)
}
