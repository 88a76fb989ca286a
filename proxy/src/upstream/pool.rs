//! Idle connections, kept under the state of their endpoint, which outlives changes of the configuration.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use balance::{AttemptError, EndpointState};
use foldhash::fast::RandomState;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use tokio::time::timeout;

use crate::http::RequestBody;
use crate::worker::Local;

/// A kept connection is closed after this long, before servers close it, which usually do after 75 s.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// For a kept connection to be done with its last request.
const READY_LIMIT: Duration = Duration::from_secs(1);

/// Idle connections of one worker.
#[derive(Default)]
pub(crate) struct Pool {
    /// By the address of the endpoint's state, which the slot keeps alive.
    slots: RefCell<HashMap<usize, Slot, RandomState>>,
}

struct Slot {
    endpoint: Arc<EndpointState>,
    /// The one used last is at the end, and is used first.
    idle: Vec<Idle>,
}

struct Idle {
    sender: SendRequest<RequestBody>,
    local_address: Option<SocketAddr>,
    since: Instant,
}

fn key(endpoint: &Arc<EndpointState>) -> usize {
    Arc::as_ptr(endpoint) as usize
}

impl Pool {
    /// A kept connection to `endpoint` that seems to be alive.
    pub(crate) async fn reuse(&self, endpoint: &Arc<EndpointState>) -> Option<Lease> {
        loop {
            let Idle { mut sender, local_address, .. } = self.take(endpoint)?;
            // The task that drives it may not have run since its last answer ended. A back end that doesn't take what it was
            // sent must not hold up another request.
            let ready = sender.is_ready() || matches!(timeout(READY_LIMIT, sender.ready()).await, Ok(Ok(())));
            if ready {
                return Some(Lease { sender, endpoint: Arc::clone(endpoint), local_address, reused: true });
            }
        }
    }

    fn take(&self, endpoint: &Arc<EndpointState>) -> Option<Idle> {
        self.slots.borrow_mut().get_mut(&key(endpoint))?.idle.pop()
    }

    fn put(&self, endpoint: Arc<EndpointState>, idle: Idle) {
        let mut slots = self.slots.borrow_mut();
        slots.entry(key(&endpoint)).or_insert_with(|| Slot { endpoint, idle: Vec::new() }).idle.push(idle);
    }

    /// Closes connections that were idle for too long, and those to endpoints that have left the configuration.
    pub(crate) fn sweep(&self) {
        let mut slots = self.slots.borrow_mut();
        slots.retain(|_, slot| {
            let in_use = Arc::strong_count(&slot.endpoint) > 1;
            slot.idle.retain(|idle| in_use && !idle.sender.is_closed() && idle.since.elapsed() < IDLE_LIMIT);
            !slot.idle.is_empty()
        });
    }
}

/// A connection on loan for one request.
pub(crate) struct Lease {
    sender: SendRequest<RequestBody>,
    endpoint: Arc<EndpointState>,
    local_address: Option<SocketAddr>,
    reused: bool,
}

/// Why a request got no answer.
pub(crate) struct SendError {
    /// What went wrong.
    pub(crate) error: AttemptError,
    /// The request, if not a byte of it was sent.
    pub(crate) unsent: Option<Request<RequestBody>>,
}

impl Lease {
    /// A connection that has just been made.
    pub(super) fn fresh(
        sender: SendRequest<RequestBody>,
        endpoint: Arc<EndpointState>,
        local_address: Option<SocketAddr>,
    ) -> Self {
        Self { sender, endpoint, local_address, reused: false }
    }

    /// Our end of the connection.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.local_address
    }

    /// Whether it has served another request before.
    pub(crate) fn reused(&self) -> bool {
        self.reused
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// If no head came.
    pub(crate) async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        self.sender.try_send_request(request).await.map_err(|mut failed| {
            let unsent = failed.take_message();
            SendError { error: self.classify(failed.error(), unsent.is_some()), unsent }
        })
    }

    fn classify(&self, error: &hyper::Error, unsent: bool) -> AttemptError {
        if unsent {
            AttemptError::ClosedUnsent
        } else if error.is_parse() || error.is_parse_too_large() {
            AttemptError::Malformed { reason: error.to_string().into() }
        } else if self.reused {
            AttemptError::ClosedReused
        } else {
            AttemptError::ClosedBeforeHead
        }
    }

    /// Gives it back after an answer that came to its end.
    pub(crate) fn give_back(self, local: &Rc<Local>) {
        if !self.sender.is_closed() && !local.draining.get() {
            let Self { sender, endpoint, local_address, .. } = self;
            local.pool.put(endpoint, Idle { sender, local_address, since: Instant::now() });
        }
    }
}
