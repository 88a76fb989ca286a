//! An answer on its way to an HTTP/1.1 client: its body goes down while the rest of the request, if any, goes up.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http1::Message;

use super::attempt::{Client, Upload};
use super::body::StreamBody;
use super::downstream::{Downstream, Next, next_after_stall};
use super::forward::{Relay, framing_of, framing_to_client};
use super::pump::{Pump, PumpError, Side};
use super::record::Exchange;
use crate::upstream::Upstream;
use crate::worker::{Deadlines, Local};

/// Sends `head` and the body of the answer. `closes` says that the client was told that its connection ends with it.
pub(super) async fn relay(
    client: &mut Downstream,
    answered: Relay,
    exchange: &mut Exchange,
    head: Vec<u8>,
    closes: bool,
) -> Next {
    let Relay { mut upstream, mut response, upload, keeps, .. } = answered;
    let framing = framing_to_client(framing_of(&upstream, &response), exchange.wishes.http10);
    let local = Rc::clone(&client.connection.local);
    if response.head().status() == 101 {
        let pump = Pump::new(head, http1::Framing::UntilClose, Duration::MAX);
        return tunnel(client, (upstream, response), pump, exchange, &local).await;
    }
    let download = Pump::new(head, framing, exchange.record.silence_limit()).closing(closes);
    let mut relaying = Relaying { download, upload };
    let ended =
        std::future::poll_fn(|cx| relaying.poll(cx, client, &mut upstream, &mut response, exchange, &local)).await;
    exchange.record.response_bytes = relaying.download.moved;
    if let Upstream::Http2(stream) = &upstream
        && let Some(trailers) = stream.trailers()
    {
        exchange.record.response_trailers(trailers);
    }
    local.memory.give_back_out(relaying.download.take_prefix());
    let next = match ended {
        // To a client of HTTP/1.0 the end may be all that tells a whole answer from a cut one.
        Err(Next::Close) if exchange.wishes.http10 => Next::Reset,
        Err(next) => next,
        // What still comes of the request is not read.
        Ok(()) if relaying.upload.as_ref().is_some_and(|upload| !upload.is_complete()) => Next::Linger,
        Ok(()) => {
            if keeps && is_reusable(&response) {
                upstream.keep();
            }
            match closes {
                // Nothing is left that a client could still be sending.
                true if exchange.wishes.close && exchange.request.leftover().is_empty() => Next::Close,
                true => Next::Linger,
                false => Next::Keep,
            }
        }
    };
    local.memory.give_back(response);
    next
}

/// Whether a back end's connection is where it was before the request: the answer has ended, and nothing came behind it.
pub(super) fn is_reusable(response: &Message) -> bool {
    response.is_complete() && response.leftover().is_empty()
}

/// Whether the route's time is up, so that the answer is cut off.
pub(super) fn timed_out(cx: &mut Context<'_>, exchange: &mut Exchange, is_sent: bool, deadlines: &Deadlines) -> bool {
    let Some(timer) = exchange.rare.as_mut().and_then(|rare| rare.timeout.as_mut()) else { return false };
    let is_over = timer.poll(cx, is_sent, deadlines);
    if is_over {
        exchange.record.timed_out();
    }
    is_over
}

/// Both directions of an exchange.
struct Relaying {
    download: Pump,
    upload: Option<Box<Upload>>,
}

impl Relaying {
    #[expect(clippy::too_many_arguments, reason = "two connections and what lies between them")]
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Downstream,
        upstream: &mut Upstream,
        response: &mut Message,
        exchange: &mut Exchange,
        local: &Local,
    ) -> Poll<Result<(), Next>> {
        if let Some(upload) = &mut self.upload {
            let sent = upload.poll(cx, exchange, client, upstream, local);
            if let Poll::Ready(Err(_)) = sent {
                // The answer goes on; what the back end makes of half a request is its own affair.
                upload.break_off();
            }
        }
        let memory = (&local.memory, &*local.deadlines);
        let moved = match upstream {
            Upstream::Http1(connection) => {
                let mut body = StreamBody::of_response(response, &mut connection.stream);
                self.download.poll(cx, &mut body, &mut client.stream, memory)
            }
            Upstream::Http2(stream) => self.download.poll(cx, stream.as_mut(), &mut client.stream, memory),
        };
        match moved {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                match &error {
                    PumpError::Source(_) => exchange.record.cut(false),
                    PumpError::Sink(_) => exchange.record.client_left(),
                }
                // A cut answer is not a whole one to the client: its length or its last chunk is missing.
                return Poll::Ready(Err(Next::Close));
            }
            Poll::Pending => exchange.record.has_waited = true,
        }
        if timed_out(cx, exchange, self.upload.is_none(), &local.deadlines) {
            return Poll::Ready(Err(Next::Close));
        }
        if client.poll_left(cx, &mut exchange.request).is_ready() {
            exchange.record.client_left();
            return Poll::Ready(Err(Next::Close));
        }
        self.watch(cx, client, exchange, local)
    }

    /// Sets the deadline for what is waited for, and looks whether it has passed.
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        client: &Downstream,
        exchange: &mut Exchange,
        local: &Local,
    ) -> Poll<Result<(), Next>> {
        let Some((side, due)) = self.download.waits() else { return Poll::Pending };
        if local.deadlines.has_come(due) {
            match side {
                Side::Source => exchange.record.cut(true),
                Side::Sink => exchange.record.client_left(),
            }
            return Poll::Ready(Err(next_after_stall(side)));
        }
        let mut earliest = due;
        if let Some(upload) = &mut self.upload
            && let Some((_, due)) = upload.waits()
        {
            if local.deadlines.has_come(due) {
                upload.break_off();
            }
            earliest = earliest.min(due);
        }
        let deadline = client.deadline();
        deadline.set_at(exchange.rare.as_ref().map_or(earliest, |rare| rare.wakes_in(earliest)));
        deadline.register(cx.waker());
        Poll::Pending
    }
}

/// Passes bytes both ways until both sides have ended, in whatever protocol they have agreed on.
async fn tunnel(
    client: &mut Downstream,
    (mut upstream, mut response): (Upstream, Box<Message>),
    mut down: Pump,
    exchange: &mut Exchange,
    local: &Rc<Local>,
) -> Next {
    exchange.record.has_waited = true;
    response.become_tunnel();
    exchange.request.become_tunnel();
    client.deadline().clear();
    let mut up = Pump::new(Vec::new(), http1::Framing::UntilClose, Duration::MAX);
    let (mut up_ended, mut down_ended) = (false, false);
    let ended: Result<(), PumpError> = std::future::poll_fn(|cx| {
        let memory = (&local.memory, &*local.deadlines);
        if !up_ended {
            let mut body = StreamBody::of_request(&mut exchange.request, &mut client.stream);
            let (sent, is_shut) = match &mut upstream {
                Upstream::Http1(connection) => {
                    let sent = up.poll(cx, &mut body, &mut connection.stream, memory);
                    (sent, up.is_done() && connection.stream.poll_shutdown(cx).is_ready())
                }
                Upstream::Http2(stream) => (up.poll_http2(cx, &mut body, stream, memory), true),
            };
            match sent {
                Poll::Ready(Ok(())) if is_shut => up_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                _ => {}
            }
        }
        if !down_ended {
            let moved = match &mut upstream {
                Upstream::Http1(connection) => {
                    let mut body = StreamBody::of_response(&mut response, &mut connection.stream);
                    down.poll(cx, &mut body, &mut client.stream, memory)
                }
                Upstream::Http2(stream) => down.poll(cx, stream.as_mut(), &mut client.stream, memory),
            };
            match moved {
                Poll::Ready(Ok(())) if client.stream.poll_shutdown(cx).is_ready() => down_ended = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                _ => {}
            }
        }
        // A back end that has ended is not going to read what still comes.
        if down_ended { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await;
    exchange.record.request_bytes = up.moved;
    exchange.record.response_bytes = down.moved;
    local.memory.give_back(response);
    match ended {
        Ok(()) => Next::Linger,
        // What was cut must not look whole, on either side.
        Err(_broken) => {
            if let Upstream::Http1(connection) = &upstream {
                connection.stream.reset_on_close();
            }
            Next::Reset
        }
    }
}
