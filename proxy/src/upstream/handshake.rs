//! TLS handshakes with back ends. Their time is the caller's to bound.

use std::rc::Rc;

use balance::AttemptError;

use super::Security;
use crate::net::{Session, Stream, TlsStream};
use crate::tls::Offer;
use crate::worker::Local;

/// Shakes hands over `stream`, for `offer` to be spoken over it.
///
/// # Errors
/// If the back end is not who it has to be, or nothing can be agreed on.
pub(super) async fn secure(
    local: &Rc<Local>,
    security: &Security,
    stream: Stream,
    offer: Offer,
) -> Result<Stream, AttemptError> {
    let failed = |reason: String| AttemptError::HandshakeFailed { reason: reason.into() };
    let Stream::Tcp(socket) = stream else {
        return Err(failed("TLS is spoken over TCP only".to_owned()));
    };
    let address = socket.peer_addr().ok().map(|address| address.ip());
    let session = security.tls.session(offer, security.server_name.as_deref(), address).map_err(failed)?;
    let mut stream = TlsStream::new(socket, Session::Client(session), Rc::clone(&local.tls_scratch), Vec::new());
    loop {
        let stepped = stream.step();
        let is_done = stepped.is_ok() && !stream.is_handshaking();
        // An error of the handshake says more than one of the socket.
        let flushed = std::future::poll_fn(|cx| stream.poll_flush(cx)).await;
        stepped.map_err(|error| failed(error.to_string()))?;
        flushed.map_err(|error| failed(error.to_string()))?;
        if is_done {
            return Ok(Stream::Tls(Box::new(stream)));
        }
        let more = std::future::poll_fn(|cx| stream.poll_more(cx)).await;
        more.map_err(|error| failed(format!("the connection ended in the handshake: {error}")))?;
    }
}
