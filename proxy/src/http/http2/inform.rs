//! Informational answers: what a client of HTTP/2 is told before its answer.
//! Source: RFC 9113, 8.1.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{Response, StatusCode};
use http1::{Head, Names};

use super::response::into_parts;
use crate::http::head::drop_connection_options;

/// The way of a stream's answer, shared by who waits for the answer and who makes it.
#[derive(Clone)]
pub(super) struct Informer(Rc<RefCell<SendResponse<Bytes>>>);

impl Informer {
    pub(super) fn new(response: SendResponse<Bytes>) -> Self {
        Self(Rc::new(RefCell::new(response)))
    }

    /// The way itself.
    pub(super) fn response(&self) -> &RefCell<SendResponse<Bytes>> {
        &self.0
    }

    /// Ready when the client has reset its stream.
    pub(super) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.borrow_mut().poll_reset(cx).map(drop)
    }

    /// Tells the client what a back end has told.
    pub(super) fn inform(&self, head: &mut Head) {
        drop_connection_options(head);
        head.remove_all(Names::HOP_BY_HOP);
        self.send(into_parts(head));
    }

    /// Tells it that its body is wanted.
    pub(super) fn leave(&self) {
        let mut head = Response::new(());
        *head.status_mut() = StatusCode::CONTINUE;
        self.send(head);
    }

    fn send(&self, head: Response<()>) {
        // A client that has gone is found out by its answer.
        let _ = self.0.borrow_mut().send_informational(head);
    }
}
