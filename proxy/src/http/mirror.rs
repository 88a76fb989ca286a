//! Copies of requests to those who mirror them. Nobody waits for their answers, which are read and thrown away.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use config_model::model::{ClusterIndex, Mirror};
use http::Request;
use http1::{ChunkFrame, Framing, Name};

use super::body::StreamBody;
use super::heads;
use super::pump::{Nothing, Pump, Source};
use super::record::Exchange;
use super::rewrite::write_request;
use crate::upstream::{Http2Stream, Lease, Security, UpstreamConnection, acquire, connect};
use crate::worker::{Local, Pinned};

/// From the beginning to the end of a copy's answer.
const LIMIT: Duration = Duration::from_secs(15);

/// A copy in the protocol of its destination.
enum Form {
    /// HTTP/1.1, as [`copy`] has made it.
    Http1(Vec<u8>),
    /// HTTP/2: head and body.
    Http2(Box<Request<()>>, Bytes),
}

/// A request as its destination gets it: head, and the body as it goes over the wire.
fn copy(mut head: Vec<u8>, framing: Framing, body: &[u8]) -> Vec<u8> {
    if framing != Framing::Chunked {
        head.extend_from_slice(body);
        return head;
    }
    for part in [body, &[]].iter().skip(usize::from(body.is_empty())) {
        let frame = ChunkFrame::new(part.len());
        head.extend_from_slice(frame.head());
        head.extend_from_slice(part);
        head.extend_from_slice(frame.tail());
    }
    head
}

/// A request on its way to a mirror.
struct Copy {
    form: Form,
    /// Whether its answer has no body.
    to_head: bool,
    /// Its host, by which TLS may go.
    host: Box<[u8]>,
}

/// Sends copies of the request, of which `body` is all, to those of `mirrors` that are drawn.
pub(super) fn send_copies(mirrors: &[Mirror], exchange: &Exchange, target: Option<&[u8]>, body: &[u8]) {
    let (local, pinned, head) = (exchange.record.local(), exchange.record.pinned(), exchange.request.head());
    for (cluster, _) in routing::mirror::chosen(mirrors, || local.draw()) {
        let Some(form) = form(pinned, cluster, exchange, (target, body)) else { continue };
        let to_head = head.method() == b"HEAD";
        let host = head.values_of(Name::Host).next().unwrap_or_default().into();
        send(local, pinned, cluster, Copy { form, to_head, host });
    }
}

/// The request in the protocol of those who mirror it.
fn form(
    pinned: &Pinned,
    cluster: ClusterIndex,
    exchange: &Exchange,
    (target, body): (Option<&[u8]>, &[u8]),
) -> Option<Form> {
    let protocol = pinned.snapshot.cluster(cluster)?.definition.protocol;
    if protocol.is_http2(exchange.record.speaks_http2()) {
        let head = heads::request(exchange, target, 1, exchange.record.scheme()).ok()?;
        return Some(Form::Http2(Box::new(head), Bytes::copy_from_slice(body)));
    }
    let mut out = Vec::new();
    write_request(exchange, target, 1, &mut out);
    Some(Form::Http1(copy(out, exchange.request.framing(), body)))
}

/// Sends `request` to a cluster, in a task of its own.
fn send(local: &Rc<Local>, pinned: &Rc<Pinned>, cluster: ClusterIndex, request: Copy) {
    let (local, pinned) = (Rc::clone(local), Rc::clone(pinned));
    tokio::task::spawn_local(async move {
        // Whatever becomes of it.
        let _ = tokio::time::timeout(LIMIT, deliver(&local, &pinned, cluster, request)).await;
    });
}

async fn deliver(local: &Rc<Local>, pinned: &Pinned, index: ClusterIndex, request: Copy) -> Option<()> {
    let Copy { form, to_head, host } = request;
    let cluster = pinned.snapshot.cluster(index)?;
    // Copies to a mirror that is slow would pile up, since nobody waits for them.
    let permit = cluster.has_limits.then(|| cluster.endpoints.cluster().try_request(Instant::now)).transpose();
    let Ok(_permit) = permit else {
        local.shard.borrow_mut().pending_overflow(&cluster.metrics);
        return None;
    };
    let pick = local.pick(pinned, index, cluster, balance::Wish::first(None))?;
    let entry = cluster.endpoints.get(pick)?;
    let _active = entry.state.begin();
    local.shard.borrow_mut().upstream_request(&cluster.metrics);
    let security = Security::of(cluster, &host);
    let bytes = match form {
        Form::Http1(bytes) => bytes,
        Form::Http2(head, body) => {
            let lease = acquire(local, cluster, entry, security.as_ref()).await.ok()?;
            return deliver_http2(lease, *head, body).await;
        }
    };
    let mut upstream = match local.pool.reuse(&entry.state, security.as_ref()) {
        Some(upstream) => upstream,
        None => connect(local, cluster, entry, security.as_ref(), None).await.ok()?,
    };
    let mut pump = Pump::new(bytes, Framing::None, Duration::MAX);
    std::future::poll_fn(|cx| pump.poll(cx, &mut Nothing, &mut upstream.stream, (&local.memory, &local.deadlines)))
        .await
        .ok()?;
    if discard_answer(local, &mut upstream, to_head).await? {
        upstream.keep();
    }
    Some(())
}

async fn deliver_http2(lease: Lease, head: Request<()>, mut body: Bytes) -> Option<()> {
    let mut stream = Http2Stream::begin(lease, head, body.is_empty()).ok()?;
    while !body.is_empty() {
        let room = std::future::poll_fn(|cx| stream.poll_room(cx, body.len())).await.ok()?;
        let part = body.split_to(room);
        stream.send(part, body.is_empty()).ok()?;
    }
    std::future::poll_fn(|cx| stream.poll_head(cx)).await.ok()?;
    while !stream.has_ended() {
        std::future::poll_fn(|cx| stream.poll_fill(cx)).await.ok()?;
        drop(stream.take());
    }
    Some(())
}

/// Reads an answer to its end. Yields whether the connection can be used again.
async fn discard_answer(local: &Local, upstream: &mut UpstreamConnection, to_head: bool) -> Option<bool> {
    let mut response = local.memory.large_message();
    while !response.parse_response(to_head).ok()? {
        let read = std::future::poll_fn(|cx| upstream.stream.poll_read(cx, response.space())).await.ok()?;
        if read == 0 {
            return None;
        }
        response.filled(read);
    }
    let keeps = super::forward::keeps_connection(&response) && response.head().status() >= 200;
    loop {
        let length = response.data().len();
        response.consume(length);
        if response.has_ended() {
            break;
        }
        let mut body = StreamBody::of_response(&mut response, &mut upstream.stream);
        std::future::poll_fn(|cx| body.poll_fill(cx, &local.memory)).await.ok()?;
    }
    let keeps = keeps && response.leftover().is_empty();
    local.memory.give_back(response);
    Some(keeps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_its_body_in_the_framing_of_its_head() {
        let head = || b"H\r\n\r\n".to_vec();
        assert_eq!(copy(head(), Framing::Length(2), b"ab"), b"H\r\n\r\nab");
        assert_eq!(copy(head(), Framing::Chunked, b"ab"), b"H\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        assert_eq!(copy(head(), Framing::Chunked, b""), b"H\r\n\r\n0\r\n\r\n");
        assert_eq!(copy(head(), Framing::None, b""), b"H\r\n\r\n");
    }
}
