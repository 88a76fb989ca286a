//! Bodies on their way: chunks pass as they come, counted, and a side that falls silent is noticed.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::record::Record;
use crate::upstream::Lease;
use crate::worker::{Deadline, Deadlines, Local};

/// A body without a byte, either way.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// What is read of a body that nobody wants; a longer one costs the client its connection.
const DISCARD_MAX: u64 = 64 * 1024;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The other side, or hyper, gave up.
    #[error(transparent)]
    Transport(#[from] hyper::Error),
    /// Nothing came for too long.
    #[error("no byte of the body came for {SILENCE_LIMIT:?}")]
    Silent,
}

/// A body from the wire, with the deadline for its next chunk.
struct Watched {
    incoming: Incoming,
    deadlines: Rc<Deadlines>,
    /// Made when a chunk has to be waited for the first time.
    silence: Option<Deadline>,
}

impl Watched {
    fn new(incoming: Incoming, local: &Local) -> Self {
        Self { incoming, deadlines: Rc::clone(&local.deadlines), silence: None }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(silence) = &self.silence {
                    silence.clear();
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
            Poll::Pending => self.wait(cx),
        }
    }

    fn wait<T>(&mut self, cx: &Context<'_>) -> Poll<Option<Result<T, BodyError>>> {
        let silence = self.silence.get_or_insert_with(|| Deadline::new(&self.deadlines));
        if silence.passed() {
            return Poll::Ready(Some(Err(BodyError::Silent)));
        }
        silence.set_once(SILENCE_LIMIT);
        silence.register(cx.waker());
        Poll::Pending
    }
}

/// Reads a body to its end without keeping it. Yields whether that end came within [`DISCARD_MAX`] bytes.
pub(super) async fn discard(incoming: Incoming, local: &Local) -> bool {
    let mut body = Watched::new(incoming, local);
    let mut length = 0;
    loop {
        let over = body.incoming.size_hint().lower() > DISCARD_MAX || length > DISCARD_MAX;
        match std::future::poll_fn(|cx| if over { Poll::Ready(None) } else { body.poll(cx) }).await {
            Some(Ok(frame)) => length += frame.data_ref().map_or(0, |data| data.len() as u64),
            Some(Err(_)) => return false,
            None => return !over,
        }
    }
}

/// How far a request's body has come; the exchange looks at it while the upstream connection sends.
#[derive(Default)]
pub(super) struct Progress {
    /// Bytes of the body that came from the client.
    pub(super) bytes: Cell<u64>,
    /// Whether anything was taken from the client, so that the request can't be sent again.
    pub(super) begun: Cell<bool>,
    /// Whether its end has come.
    pub(super) complete: Cell<bool>,
    /// Whether the client broke it off or fell silent.
    pub(super) failed: Cell<bool>,
}

/// The body of a request on its way to a back end. Trailers end it: HTTP/1.1 back ends don't get them.
pub(crate) struct RequestBody(Option<Box<Upload>>);

struct Upload {
    body: Watched,
    progress: Rc<Progress>,
}

impl RequestBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self(None)
    }

    /// The client's body, and where its progress is seen; nothing if it has none.
    pub(super) fn relay(incoming: Incoming, local: &Local) -> (Self, Option<Rc<Progress>>) {
        if incoming.is_end_stream() {
            return (Self::empty(), None);
        }
        let progress = Rc::<Progress>::default();
        let upload = Upload { body: Watched::new(incoming, local), progress: Rc::clone(&progress) };
        (Self(Some(Box::new(upload))), Some(progress))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(upload) = &mut self.0 else { return Poll::Ready(None) };
        upload.progress.begun.set(true);
        let frame = std::task::ready!(upload.body.poll(cx));
        match frame {
            Some(Ok(frame)) if frame.is_data() => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                upload.progress.bytes.set(upload.progress.bytes.get() + length);
                upload.progress.complete.set(upload.body.incoming.is_end_stream());
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Ok(_)) | None => {
                upload.progress.complete.set(true);
                Poll::Ready(None)
            }
            Some(Err(error)) => {
                upload.progress.failed.set(true);
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|upload| upload.body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |upload| upload.body.incoming.size_hint())
    }
}

/// The body of an answer on its way to the client. When it ends, or is dropped, the exchange is over and recorded.
pub(crate) struct ResponseBody {
    content: Content,
    record: Option<Box<Record>>,
}

enum Content {
    /// Made here.
    Whole(Option<Bytes>),
    /// From a back end.
    Relay(Box<Download>),
}

struct Download {
    body: Watched,
    /// Its end was seen: hyper's `is_end_stream` never tells it of a chunked body.
    ended: bool,
    /// Given back when the body has come to its end.
    lease: Option<Lease>,
    upload: Option<Rc<Progress>>,
    /// Whether the client can take trailers: HTTP/2.
    trailers: bool,
}

impl ResponseBody {
    /// A body made here.
    pub(super) fn whole(bytes: Bytes, record: Box<Record>) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self { content: Content::Whole(bytes), record: Some(record) }
    }

    /// A back end's body.
    pub(super) fn relay(
        incoming: Incoming,
        lease: Lease,
        upload: Option<Rc<Progress>>,
        trailers: bool,
        record: Box<Record>,
    ) -> Self {
        let body = Watched::new(incoming, record.local());
        let download = Download { body, ended: false, lease: Some(lease), upload, trailers };
        Self { content: Content::Relay(Box::new(download)), record: Some(record) }
    }

    /// Ends the exchange, once.
    fn finish(&mut self, error: Option<&BodyError>) {
        let Some(mut record) = self.record.take() else { return };
        if let Content::Relay(download) = &mut self.content {
            download.finish(&mut record, error);
        }
        drop(record);
    }

    fn is_complete(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Relay(download) => download.is_complete(),
        }
    }
}

impl Download {
    fn finish(&mut self, record: &mut Record, error: Option<&BodyError>) {
        if let Some(error) = error {
            record.cut(matches!(error, BodyError::Silent));
            self.lease = None;
        }
        let upload_complete = self.upload.as_ref().is_none_or(|upload| upload.complete.get());
        if let Some(lease) = self.lease.take()
            && upload_complete
            && self.is_complete()
        {
            lease.give_back(record.local());
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match std::task::ready!(self.body.poll(cx)) {
            Some(Ok(frame)) if frame.is_trailers() => {
                self.ended = true;
                Poll::Ready(self.pass_trailers(frame))
            }
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
            other => Poll::Ready(other),
        }
    }

    fn is_complete(&self) -> bool {
        self.ended || self.body.incoming.is_end_stream()
    }

    fn pass_trailers(&self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, BodyError>> {
        let mut trailers = frame.into_trailers().ok().filter(|_| self.trailers)?;
        super::response::clean_trailers(&mut trailers);
        Some(Ok(Frame::trailers(trailers)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(record) = &mut self.record {
            record.taken();
        }
        let frame = match &mut self.content {
            Content::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Content::Relay(download) => std::task::ready!(download.poll(cx)),
        };
        let last = self.is_complete();
        match &frame {
            Some(Ok(frame)) => {
                if let Some(record) = &mut self.record {
                    record.passed(frame, last);
                }
            }
            Some(Err(error)) => self.finish(Some(error)),
            None => self.finish(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_complete()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Relay(download) => download.body.incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    /// hyper drops a body that says it has ended without asking for more; any other body was broken off by the client.
    fn drop(&mut self) {
        let complete = self.is_complete();
        if let Some(record) = &mut self.record
            && !complete
        {
            record.client_left();
        }
        self.finish(None);
    }
}
