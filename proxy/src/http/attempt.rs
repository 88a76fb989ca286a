//! One try of a request over one connection: the request goes up while the head of the answer is awaited.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use balance::AttemptError;
use http::StatusCode;
use http1::{BodyFault, Framing, Head, Message};

use super::body::{Kept, Replayed};
use super::head::Refusal;
use super::heads;
use super::pump::{Pump, PumpError, Side, Source, SourceFault};
use super::record::Exchange;
use crate::upstream::{Http2Stream, Upstream};
use crate::worker::{Deadline, Deadlines, Local, Memory, TICK};

/// A back end that has the whole request and says nothing. Source: Envoy, `stream_idle_timeout`.
const HEAD_SILENCE: Duration = Duration::from_mins(5);

/// Informational heads of one try: more of them are no answer.
const INFORMED_MAX: u32 = 100;
/// Their bytes in all, which may have to wait for the client.
const INFORMED_BYTES_MAX: usize = 64 * 1024;

/// The client's side of an exchange, as the way to the back end needs it.
pub(super) trait Client {
    /// The request's body.
    type Body<'a>: Source
    where
        Self: 'a;

    /// The request's body; `request` holds it on HTTP/1.
    fn body<'a>(&'a mut self, request: &'a mut Message) -> Self::Body<'a>;

    /// Whether the request's body comes into the same memory as its head, and stays there.
    fn reads_in_place(&self, _request: &Message) -> bool {
        false
    }

    /// Ready when the client has broken off.
    fn poll_left(&mut self, cx: &mut Context<'_>, request: &mut Message) -> Poll<()>;

    /// Has the client told of an informational response, if its protocol can; at the latest with the answer.
    fn inform(&mut self, cx: &mut Context<'_>, head: &mut Head);

    /// The deadline of whoever polls this exchange.
    fn deadline(&self) -> &Deadline;
}

/// A request on its way up.
pub(super) struct Upload {
    pump: Pump,
    kept: Kept,
    resent: usize,
    /// The back end takes nothing more, or the client has nothing more to give: what was sent is all.
    broken: bool,
}

impl Upload {
    /// Sends `head`, and then a body framed like this, which may be without a byte for so long.
    pub(super) fn new(head: Vec<u8>, framing: Framing, silence: Duration, kept: Kept) -> Self {
        // A tunnel's bytes are no body: they go when the other side has agreed.
        Self { pump: Pump::new(head, framing, silence), kept, resent: 0, broken: false }
    }

    /// Has sent all with the head.
    pub(super) fn sent(head: Vec<u8>, kept: Kept) -> Self {
        let mut upload = Self::new(head, Framing::None, Duration::MAX, kept);
        upload.pump.finish();
        upload
    }

    /// Whether nothing is left to be done.
    pub(super) fn has_ended(&self) -> bool {
        self.pump.is_done() || self.broken
    }

    /// Whether all of the request has gone.
    pub(super) fn is_complete(&self) -> bool {
        self.pump.is_done()
    }

    /// Whether anything has gone.
    fn has_begun(&self) -> bool {
        self.pump.has_begun()
    }

    /// Gives up.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
    }

    /// What has not gone of the request, if any; else what was kept of it. And memory for another head.
    pub(super) fn take_unfinished(&mut self, memory: &Memory) -> (Option<Box<Self>>, Kept, Vec<u8>) {
        if !self.pump.is_done() {
            let unfinished = std::mem::replace(self, Self::sent(Vec::new(), Kept::default()));
            return (Some(Box::new(unfinished)), Kept::default(), memory.out());
        }
        let mut out = self.pump.take_prefix();
        out.clear();
        (None, std::mem::take(&mut self.kept), out)
    }

    /// What was kept, for another try.
    pub(super) fn into_kept(mut self, memory: &Memory) -> Kept {
        memory.give_back_out(self.pump.take_prefix());
        self.kept
    }

    /// For whom it waits, and the tick in which that has taken too long.
    pub(super) fn waits(&self) -> Option<(Side, u32)> {
        if self.broken { None } else { self.pump.waits() }
    }

    /// Sends what can be sent, and notes it.
    pub(super) fn poll<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut C,
        upstream: &mut Upstream,
        local: &Local,
    ) -> Poll<Result<(), PumpError>> {
        if self.has_ended() {
            return Poll::Ready(Ok(()));
        }
        let live = client.body(&mut exchange.request);
        let messages = exchange.record.messages.as_deref_mut().map(|messages| &mut messages.request);
        let mut body = Replayed { live, kept: &mut self.kept, resent: &mut self.resent, messages };
        let memory = (&local.memory, &*local.deadlines);
        let sent = match upstream {
            Upstream::Http1(connection) => {
                if body.kept.has_body() && !self.pump.has_begun() {
                    body.gather(cx, &local.memory);
                }
                self.pump.poll(cx, &mut body, &mut connection.stream, memory)
            }
            Upstream::Http2(stream) => self.pump.poll_http2(cx, &mut body, stream, memory),
        };
        exchange.record.request_bytes = self.pump.moved;
        exchange.record.tell_messages();
        if self.pump.is_done() {
            exchange.record.request_ended();
        }
        sent
    }
}

/// Why a try has brought no answer.
pub(super) enum AttemptEnd {
    /// The back end's fault.
    Failed(AttemptError),
    /// The client has gone.
    ClientLeft,
    /// The client's body doesn't come.
    ClientSilent,
    /// The client's body is malformed, too large, or was broken off.
    ClientBroke(Refusal),
}

/// The answer to a client whose body has this fault.
fn refusal(fault: &SourceFault) -> Refusal {
    match fault {
        SourceFault::Body(fault) => (*fault).into(),
        // A client is no back end, but its body may be of any kind.
        SourceFault::Broken(_) | SourceFault::Stream(_) | SourceFault::BackEnd(_) => BodyFault::BrokenOff.into(),
    }
}

/// A try under way.
pub(super) struct Attempt {
    pub(super) upstream: Upstream,
    pub(super) upload: Upload,
    response: Option<Box<Message>>,
    informed: Informed,
    /// The tick in which the back end has been silent for too long.
    silent: Option<u32>,
    /// The tick from which on it is looked at whether the client is still there.
    attentive: Option<u32>,
}

impl Attempt {
    /// A try over `upstream`.
    pub(super) fn new(upstream: Upstream, upload: Upload) -> Self {
        Self { upstream, upload, response: None, informed: Informed::default(), silent: None, attentive: None }
    }

    /// Waits for the head of a final response, or of one that agrees to an upgrade.
    pub(super) fn poll_head<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut C,
        local: &Local,
    ) -> Poll<Result<Box<Message>, AttemptEnd>> {
        if let Err(end) = self.send(cx, exchange, client, local) {
            return Poll::Ready(Err(end));
        }
        match self.read(cx, exchange, client, local) {
            Poll::Ready(Ok(())) => {
                let Some(response) = self.response.take() else { return Poll::Pending };
                return Poll::Ready(Ok(response));
            }
            Poll::Ready(Err(error)) => {
                self.give_back(local);
                return Poll::Ready(Err(AttemptEnd::Failed(error)));
            }
            Poll::Pending => {}
        }
        // A client that leaves is noticed when the wait has become a long one: most answers come before.
        let attentive = *self.attentive.get_or_insert_with(|| local.deadlines.after(TICK));
        if local.deadlines.has_come(attentive) && client.poll_left(cx, &mut exchange.request).is_ready() {
            self.give_back(local);
            return Poll::Ready(Err(AttemptEnd::ClientLeft));
        }
        if let Some(error) = self.timed_out(cx, exchange, &local.deadlines) {
            self.give_back(local);
            return Poll::Ready(Err(AttemptEnd::Failed(error)));
        }
        self.watch(cx, exchange, client, local)
    }

    /// Whether the time of the route or of this try is up.
    fn timed_out(&self, cx: &mut Context<'_>, exchange: &mut Exchange, deadlines: &Deadlines) -> Option<AttemptError> {
        let rare = exchange.rare.as_mut()?;
        let is_sent = self.upload.has_ended();
        if let Some(timer) = &mut rare.timeout
            && timer.poll(cx, is_sent, deadlines)
        {
            return Some(AttemptError::RequestTimeout { limit: timer.limit() });
        }
        let timer = rare.per_try.as_mut()?;
        timer.poll(cx, is_sent, deadlines).then_some(AttemptError::PerTryTimeout { limit: timer.limit() })
    }

    fn give_back(&mut self, local: &Local) {
        if let Some(response) = self.response.take() {
            local.memory.give_back(response);
        }
    }

    fn send<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &mut Exchange,
        client: &mut C,
        local: &Local,
    ) -> Result<(), AttemptEnd> {
        if self.upload.has_ended() {
            return Ok(());
        }
        match self.upload.poll(cx, exchange, client, &mut self.upstream, local) {
            Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            Poll::Ready(Err(PumpError::Source(fault))) => Err(AttemptEnd::ClientBroke(refusal(&fault))),
            // It may have answered before it closed.
            Poll::Ready(Err(PumpError::Sink(_error))) => {
                self.upload.break_off();
                Ok(())
            }
        }
    }

    fn read<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        client: &mut C,
        local: &Local,
    ) -> Poll<Result<(), AttemptError>> {
        let to_head = exchange.is_head();
        let informed = &mut self.informed;
        let connection = match &mut self.upstream {
            Upstream::Http1(connection) => connection,
            Upstream::Http2(stream) => {
                let head = next_http2_head(cx, stream, (client, informed), exchange, &local.memory);
                self.response = Some(ready!(head)?);
                return Poll::Ready(Ok(()));
            }
        };
        // Who has waited was mostly woken by what came.
        let mut is_ready = self.attentive.is_some() && connection.stream.is_read_ready();
        loop {
            if let Some(response) = &mut self.response
                && next_head(cx, response, (client, informed), to_head, exchange.wishes.upgrade)?
            {
                return Poll::Ready(Ok(()));
            }
            // Memory is borrowed when there is something to be read. An error is met again there.
            if !std::mem::take(&mut is_ready) {
                let _ = ready!(connection.stream.poll_read_ready(cx));
            }
            let response = self.response.get_or_insert_with(|| local.memory.large_message());
            match connection.stream.poll_read_told(cx, response.space()) {
                Poll::Ready(Ok(count @ 1..)) => response.filled(count),
                Poll::Ready(_) => return Poll::Ready(Err(self.closed())),
                Poll::Pending => {
                    if let Some(unused) = self.response.take_if(|response| response.is_empty()) {
                        local.memory.give_back_unused(unused);
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// The connection has ended before a head was there.
    fn closed(&self) -> AttemptError {
        let nothing_came =
            self.informed.heads == 0 && self.response.as_ref().is_none_or(|response| response.is_empty());
        if !self.upload.has_begun() {
            AttemptError::ClosedUnsent
        } else if self.upstream.is_reused() && nothing_came {
            AttemptError::ClosedReused
        } else {
            AttemptError::ClosedBeforeHead
        }
    }

    /// Sets the deadline for what is waited for, and looks whether it has passed.
    fn watch<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        exchange: &Exchange,
        client: &C,
        local: &Local,
    ) -> Poll<Result<Box<Message>, AttemptEnd>> {
        // Servers of gRPC may send the head with their first message, whenever that is.
        let limit = if exchange.record.is_grpc() { Duration::MAX } else { HEAD_SILENCE };
        let (side, due) = match self.upload.waits() {
            Some(waits) => waits,
            None => (Side::Sink, *self.silent.get_or_insert_with(|| local.deadlines.after(limit))),
        };
        if local.deadlines.has_come(due) {
            let end = match side {
                Side::Source => AttemptEnd::ClientSilent,
                Side::Sink => AttemptEnd::Failed(AttemptError::Stalled { limit: HEAD_SILENCE }),
            };
            self.give_back(local);
            return Poll::Ready(Err(end));
        }
        let attentive = self.attentive.filter(|tick| !local.deadlines.has_come(*tick));
        let earliest = attentive.unwrap_or(due).min(due);
        let deadline = client.deadline();
        deadline.set_at(exchange.rare.as_ref().map_or(earliest, |rare| rare.wakes_in(earliest)));
        deadline.register(cx.waker());
        Poll::Pending
    }
}

/// What has come of informational heads.
#[derive(Default)]
struct Informed {
    heads: u32,
    bytes: usize,
}

impl Informed {
    /// Counts one more, unless it is one too many.
    fn count(&mut self, head: &Head) -> Result<(), AttemptError> {
        self.heads += 1;
        self.bytes += head.fields().map(|field| field.name.len() + field.value.len() + 4).sum::<usize>();
        if self.heads > INFORMED_MAX || self.bytes > INFORMED_BYTES_MAX {
            return Err(AttemptError::Malformed { reason: "informational responses without end".into() });
        }
        Ok(())
    }
}

/// The head of a final response on a stream; the client is told of those before it.
fn next_http2_head<C: Client>(
    cx: &mut Context<'_>,
    stream: &mut Http2Stream,
    (client, informed): (&mut C, &mut Informed),
    exchange: &Exchange,
    memory: &Memory,
) -> Poll<Result<Box<Message>, AttemptError>> {
    while let Poll::Ready(response) = stream.poll_informational(cx) {
        let mut head = heads::informational(&response);
        informed.count(&head)?;
        // The client has had its leave from us, and HTTP/2 has no 101.
        if !matches!(response.status(), StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS) {
            client.inform(cx, &mut head);
        }
    }
    let mut response = ready!(stream.poll_head(cx))?;
    if exchange.wishes.upgrade {
        heads::agreement(&mut response);
    }
    Poll::Ready(heads::response(&response, exchange.is_head(), memory))
}

/// Whether a head is there that the exchange goes on with; the client is told of those before it.
fn next_head<C: Client>(
    cx: &mut Context<'_>,
    response: &mut Message,
    (client, informed): (&mut C, &mut Informed),
    to_head: bool,
    may_upgrade: bool,
) -> Result<bool, AttemptError> {
    let malformed = |fault: &dyn std::fmt::Display| AttemptError::Malformed { reason: fault.to_string().into() };
    loop {
        if !response.is_head_known() && !response.parse_response(to_head).map_err(|fault| malformed(&fault))? {
            return Ok(false);
        }
        match response.head().status() {
            101 if may_upgrade => return Ok(true),
            101 => return Err(malformed(&"an upgrade that nobody has asked for")),
            status @ 100..=199 => {
                informed.count(response.head())?;
                // The client has had its leave from us.
                if status != 100 {
                    client.inform(cx, response.head_mut());
                }
                response.skip_informational();
            }
            _ => return Ok(true),
        }
    }
}
