//! One request on a stream of its own, from its head to the arrival of its answer.

use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h3::error::Code;
use h3::server::{RequestResolver, RequestStream};
use http::Response;
use http::header::{self, HeaderMap, HeaderName};
use http_body::Body;

use super::body::RequestBody;
use super::streams::Sender;
use super::transport::{Aside, Transport};
use crate::http::HEAD_LIMIT;
use crate::http::http2::{Arrival, Busy, ResponseBody, State, exchange};

/// How a stream has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By its answer.
    Answered,
    /// Before that.
    Early,
}

/// Serves the request of a stream.
pub(super) async fn serve(state: Rc<State>, resolver: RequestResolver<Transport, Bytes>, aside: Aside) -> End {
    let Aside { mut stopped, empty } = aside;
    let Some(Ok(resolved)) = unless(&mut stopped, tokio::time::timeout(HEAD_LIMIT, resolver.resolve_request())).await
    else {
        return End::Early;
    };
    let Ok((request, stream)) = resolved else { return End::Early };
    let (mut sender, mut receiver) = stream.split();
    let Some(length) = length(request.headers()).filter(|_| !has_fields_of_connections(request.headers())) else {
        sender.stop_stream(Code::H3_MESSAGE_ERROR);
        receiver.stop_sending(Code::H3_MESSAGE_ERROR);
        return End::Early;
    };
    let mut body = RequestBody::new(receiver, empty, length);
    if std::future::poll_fn(|cx| Poll::Ready(body.look(cx))).await.is_err() {
        sender.stop_stream(Code::H3_MESSAGE_ERROR);
        return End::Early;
    }
    let arrival = Arrival::new(&state, request.map(|()| body), None);
    let answering = exchange(Busy::new(&state), arrival);
    let Some(response) = unless(&mut stopped, Box::pin(answering)).await else { return End::Early };
    let Some(Some(())) = unless(&mut stopped, answer(&mut sender, response)).await else { return End::Early };
    // So that the connection doesn't end before all of it has arrived; a client that takes nothing is given up on.
    state.owed(1);
    let arrived = stopped.await;
    state.owed(-1);
    if arrived.is_ok_and(|stop| stop.is_none()) { End::Answered } else { End::Early }
}

/// What comes of `future`, unless the client wants nothing more before.
async fn unless<T>(stopped: impl Future, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stopped => None,
        output = future => Some(output),
    }
}

/// Sends an answer; nothing if it was broken off.
async fn answer(
    sender: &mut RequestStream<Sender<Bytes>, Bytes>,
    response: Response<ResponseBody<RequestBody>>,
) -> Option<()> {
    let (head, mut body) = response.into_parts();
    sender.send_response(Response::from_parts(head, ())).await.ok()?;
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        match frame.ok()?.into_data() {
            Ok(data) => sender.send_data(data).await.ok()?,
            Err(frame) => sender.send_trailers(frame.into_trailers().ok()?).await.ok()?,
        }
    }
    sender.finish().await.ok()
}

/// Fields that only HTTP/1.1 has. Source: RFC 9114, 4.2.
const OF_CONNECTIONS: [HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Whether a request is malformed for having them.
fn has_fields_of_connections(fields: &HeaderMap) -> bool {
    OF_CONNECTIONS.iter().any(|name| fields.contains_key(name))
        || fields.get_all(header::TE).iter().any(|coding| coding != "trailers")
}

/// What `content-length` says, if it is there; nothing if it is malformed. Source: PROMISES.md, section 3.
fn length(fields: &HeaderMap) -> Option<Option<u64>> {
    let mut lengths = fields.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Some(None) };
    let digits = length.to_str().ok().filter(|text| text.len() <= 18 && text.bytes().all(|byte| byte.is_ascii_digit()));
    if lengths.next().is_some() { None } else { digits?.parse().ok().map(Some) }
}
