//! One stream of a client, from its request to the end of its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, header};
use http_body::Body;

use super::connection::{Busy, PIECE_MAX, Patience};
use super::exchange::{Arrival, Extras, exchange};
use super::inform::Informer;
use super::request::RequestBody;
use super::response::ResponseBody;
use super::tunnel::Upgrade;
use crate::http::pump::SILENCE_LIMIT;
use crate::net::poll_room;
use crate::worker::Deadline;

/// Serves a stream to its end. An exchange that the client breaks off is dropped.
///
/// An `async fn` would hold what it is given twice, and a client may have a hundred of these.
pub(super) fn serve(
    busy: Busy,
    mut request: Request<RecvStream>,
    response: SendResponse<Bytes>,
) -> impl Future<Output = ()> {
    let informer = Informer::new(response);
    async move {
        // No back end hears of a request that was taken back before anything was done for it. What is done for one that is taken
        // back later ends before a stream begins that has got its place: its task was woken before that of the other was there.
        if poll_fn(|cx| Poll::Ready(informer.poll_reset(cx).is_ready())).await {
            return;
        }
        let is_empty = request.headers().get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        // Boxed, as it is rare.
        if is_empty && !Box::pin(comes_to_nothing(request.body_mut(), &busy)).await {
            informer.response().borrow_mut().send_reset(Reason::PROTOCOL_ERROR);
            return;
        }
        let (arrival, received) = arrive(request, &informer, &busy);
        let Some(response) = unless_reset(&informer, pin!(exchange(busy, arrival))).await else { return };
        let (head, mut body) = response.into_parts();
        let ends = body.is_end_stream();
        let begun = informer.response().borrow_mut().send_response(Response::from_parts(head, ()), ends);
        let Ok(sender) = begun else {
            informer.response().borrow_mut().send_reset(Reason::INTERNAL_ERROR);
            return;
        };
        match (body.take_agreement(), received) {
            (Some(agreement), Some(received)) => Box::pin(agreement.pass(sender, received)).await,
            _ if ends => {}
            _ => send(body, sender).await,
        }
    }
}

/// Takes a request up, and what follows it if that is no body.
fn arrive(
    request: Request<RecvStream>,
    informer: &Informer,
    busy: &Busy,
) -> (Arrival<RequestBody>, Option<RecvStream>) {
    let upgrade = Upgrade::of(&request, &busy.state().connection.local);
    let (parts, received) = request.into_parts();
    // What follows a CONNECT is no body.
    let (body, received) =
        if parts.method == Method::CONNECT { (None, Some(received)) } else { (Some(received), None) };
    let request = Request::from_parts(parts, RequestBody(body));
    let extras = Extras { upgrade, informer: informer.clone() };
    (Arrival::new(busy.state(), request, Some(extras)), received)
}

/// What comes of `answering`; nothing if the client resets the stream before.
async fn unless_reset<T>(informer: &Informer, mut answering: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| match answering.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => informer.poll_reset(cx).map(|()| None),
    })
    .await
}

/// Whether nothing is in a body of which the head says so, as far as that is known in time. A back end of HTTP/1.1 would take the head
/// for the whole request.
async fn comes_to_nothing(received: &mut RecvStream, busy: &Busy) -> bool {
    if received.is_end_stream() {
        return true;
    }
    let deadline = Deadline::new(&busy.state().connection.local.deadlines);
    deadline.set(SILENCE_LIMIT);
    poll_fn(|cx| {
        loop {
            match received.poll_data(cx) {
                Poll::Ready(None) => return Poll::Ready(true),
                Poll::Ready(Some(Ok(part))) if part.is_empty() => {}
                Poll::Ready(Some(_)) => return Poll::Ready(false),
                Poll::Pending if deadline.has_passed(cx) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await
}

/// Sends the body of an answer as fast as the client takes it. A client that takes nothing of it for too long gets no more.
async fn send(mut body: ResponseBody<RequestBody>, mut sender: SendStream<Bytes>) {
    let mut patience = Patience::new();
    // What is here of the body.
    let mut part = Bytes::new();
    poll_fn(|cx| {
        loop {
            match poll_client(&mut sender, cx) {
                Poll::Ready(true) => patience.rests(),
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending if patience.is_over(body.state(), cx) => {
                    sender.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
            if part.is_empty() {
                match ready!(Pin::new(&mut body).poll_frame(cx)) {
                    None => {
                        // As with trailers, what can't be sent is for a client that has gone.
                        let _ = sender.send_data(Bytes::new(), true);
                        return Poll::Ready(());
                    }
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => part = data,
                        Err(frame) => {
                            let _ = sender.send_trailers(frame.into_trailers().unwrap_or_default());
                            return Poll::Ready(());
                        }
                    },
                    Some(Err(error)) => {
                        sender.send_reset(error.reason());
                        return Poll::Ready(());
                    }
                }
            }
            let mut length = part.len().min(PIECE_MAX);
            if length == part.len() && body.is_end_stream() {
                // The exchange ends with its last piece, and the connection may end behind it: no part of that piece may have to wait
                // for the client's window.
                match ready!(poll_room(&mut sender, cx, length)) {
                    Some(Ok(room)) => length = room,
                    _ => return Poll::Ready(()),
                }
            }
            let piece = part.split_to(length);
            let is_last = part.is_empty() && body.is_end_stream();
            if sender.send_data(piece, is_last).is_err() || is_last {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// Waits until the client has room for more; not so when it has gone.
fn poll_client(sender: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<bool> {
    let has_room = matches!(ready!(poll_room(sender, cx, 1)), Some(Ok(_)));
    // Asked each time, so that a reset wakes who waits for the back end.
    Poll::Ready(has_room && sender.poll_reset(cx).is_pending())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what a function with these arguments yields, without calling it.
    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_stream_under_way_is_small() {
        // Each is made anew.
        let size = size_of_future(serve);
        assert!(size <= 2048, "{size} bytes");
    }
}
