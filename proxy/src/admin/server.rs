//! Connections of the admin: few, short, and none of them able to keep others out.
//!
//! Source: PROMISES.md, section 4: sixteen at most, five seconds for slow clients. When a seventeenth comes, the oldest that
//! is not being answered goes, so that a crowd of silent clients can't keep `/ready` from anybody.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tower::{BoxError, ServiceBuilder};

use super::answer::{self, Answer};
use super::{Context, answer_to};

/// Open at once.
const CONNECTIONS_MAX: usize = 16;
/// For a request head, for a body, and between two steps of a connection, an idle one included.
const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, context: Arc<Context>) {
    let connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.take(stream, &context),
            Err(error) => {
                tracing::warn!(target: "admin", "can't accept a connection: {error}");
                // No event tells when there are descriptors again.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// The open connections, in the order of their coming.
#[derive(Default)]
struct Connections {
    open: Rc<RefCell<BTreeMap<u64, Connection>>>,
    next: Cell<u64>,
}

struct Connection {
    task: AbortHandle,
    /// Whether a request is being worked on.
    busy: Rc<Cell<bool>>,
}

impl Connections {
    fn take(&self, stream: TcpStream, context: &Arc<Context>) {
        let mut open = self.open.borrow_mut();
        if open.len() >= CONNECTIONS_MAX {
            let idle = open.iter().find(|(_, connection)| !connection.busy.get()).or(open.iter().next());
            if let Some(connection) = idle.map(|(&key, _)| key).and_then(|key| open.remove(&key)) {
                connection.task.abort();
            }
        }
        let key = self.next.replace(self.next.get() + 1);
        let busy = Rc::new(Cell::new(false));
        let (context, flag, all) = (Arc::clone(context), Rc::clone(&busy), Rc::clone(&self.open));
        let task = tokio::task::spawn_local(async move {
            talk(stream, context, flag).await;
            all.borrow_mut().remove(&key);
        });
        open.insert(key, Connection { task: task.abort_handle(), busy });
    }
}

/// Serves one connection until it ends or has stood still for too long.
async fn talk(stream: TcpStream, context: Arc<Context>, busy: Rc<Cell<bool>>) {
    let moved = Rc::new(Cell::new(Instant::now()));
    let io = TokioIo::new(Moving { stream, moved: Rc::clone(&moved) });
    let service = ServiceBuilder::new()
        .map_future(move |answering| {
            let busy = Rc::clone(&busy);
            async move {
                busy.set(true);
                let answer = answering.await;
                busy.set(false);
                answer
            }
        })
        .map_result(|answer: Result<_, BoxError>| Ok::<_, BoxError>(answer.unwrap_or_else(|_elapsed| too_slow())))
        .timeout(LIMIT)
        .service_fn(move |request| {
            let context = Arc::clone(&context);
            async move { Ok::<_, Infallible>(respond(request, &context).await) }
        });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .half_close(true)
        .serve_connection(io, TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    loop {
        let until = moved.get() + LIMIT;
        tokio::select! {
            // What a client sends that isn't HTTP concerns nobody else.
            _ = &mut connection => return,
            () = tokio::time::sleep_until(until) => if moved.get() + LIMIT <= Instant::now() { return },
        }
    }
}

async fn respond(request: Request<Incoming>, context: &Context) -> Answer {
    let (head, body) = request.into_parts();
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => answer_to(&Request::from_parts(head, body.to_bytes()), context),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let text = format!("the body is larger than {} KiB\n", BODY_BYTES_MAX >> 10);
            closing(answer::text(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Err(error) => closing(answer::text(StatusCode::BAD_REQUEST, format!("the body can't be read: {error}\n"))),
    }
}

fn too_slow() -> Answer {
    closing(answer::text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n"))
}

fn closing(mut answer: Response<Full<Bytes>>) -> Answer {
    answer.headers_mut().insert(http::header::CONNECTION, http::HeaderValue::from_static("close"));
    answer
}

/// A stream that notes when bytes moved last.
struct Moving {
    stream: TcpStream,
    moved: Rc<Cell<Instant>>,
}

impl AsyncRead for Moving {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Task<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        self.moved.set(Instant::now());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Moving {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(task, bytes))?;
        self.moved.set(Instant::now());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}
