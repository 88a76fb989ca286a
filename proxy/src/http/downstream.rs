//! HTTP/1.1 towards a client: requests of one connection, one after another. Limits are those of PROMISES.md, section 2.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http1::{Framing, Head, Message};

use super::HEAD_LIMIT;
use super::answer::Made;
use super::attempt::Client;
use super::body::StreamBody;
use super::exchange::{Operations, Plan, plan, refuse};
use super::forward::{Forwarding, Outcome, Relay, forward, framing_of, framing_to_client};
use super::head::Refusal;
use super::pump::{Nothing, Pump, Side, Source, SourceFault};
use super::record::Exchange;
use super::relay::relay;
use super::response::{write_head, write_informational};
use super::websocket;
use crate::listener::Connection;
use crate::net::Stream;
use crate::upstream::Upstream;
use crate::worker::{Deadline, Local, Memory};

/// Between two requests.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// To the first byte of a connection that came shortly before a drain: its request may be on its way.
const FIRST_BYTES_LIMIT: Duration = Duration::from_secs(1);
/// For a client to take an answer that came before its request had ended.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
/// What is read of a body that nobody wants; a longer one costs the client its connection.
const DISCARD_MAX: u64 = 64 * 1024;

/// A client's connection.
pub(super) struct Downstream {
    pub(super) connection: Rc<Connection>,
    pub(super) stream: Stream,
    /// The client sends nothing more. It may still read.
    half_closed: bool,
    /// Whether what the client does while it waits is looked at.
    watching: bool,
    /// Whether the client waits for a word before it sends its body.
    owes_leave: bool,
    /// Whether the client's version has informational responses.
    is_informed: bool,
    /// Informational responses that have not gone yet.
    informs: Vec<u8>,
    served: bool,
    /// Whether the last request had a body for which an upload's memory has room, and no other.
    uploads: bool,
    /// Whether it knows that we are in a hurry.
    hurried: bool,
}

/// What is done with the connection after an exchange.
pub(super) enum Next {
    /// Another request may come.
    Keep,
    /// It is closed.
    Close,
    /// It is closed once the client has had time to take what it was sent.
    Linger,
    /// It is closed in a way that the client can't take for an end.
    Reset,
}

/// Serves a connection to its end. `first` holds the bytes that have been read of it, since which the connection's deadline is that of
/// a head.
pub(crate) async fn serve(connection: Rc<Connection>, stream: Stream, first: Box<Message>) {
    let mut client = Downstream {
        connection,
        stream,
        half_closed: false,
        watching: false,
        owes_leave: false,
        is_informed: true,
        informs: Vec::new(),
        served: false,
        uploads: false,
        hurried: false,
    };
    let mut ahead = Some(first);
    let last = loop {
        let Some((request, read)) = client.request(ahead.take()).await else { break Next::Close };
        match client.serve(request, read).await {
            (Next::Keep, leftover) => ahead = leftover,
            (last, _) => break last,
        }
    };
    match last {
        Next::Keep | Next::Close => client.stream.say_goodbye(),
        Next::Linger => client.linger().await,
        Next::Reset => client.stream.reset_on_close(),
    }
}

impl Downstream {
    fn local(&self) -> &Rc<Local> {
        &self.connection.local
    }

    /// Waits for the head of a request, or for one that is to be refused. Nothing if there will be none.
    async fn request(&mut self, ahead: Option<Box<Message>>) -> Option<(Box<Message>, Result<(), Refusal>)> {
        let mut message = ahead;
        // That of the first has been set with its first byte.
        if message.is_none() || self.served {
            self.connection.deadline.set(if message.is_some() { HEAD_LIMIT } else { IDLE_LIMIT });
        }
        let mut has_waited = false;
        let read = std::future::poll_fn(|cx| {
            // Who has waited was mostly woken by what came.
            let is_ready = has_waited && self.stream.is_read_ready();
            has_waited = true;
            self.poll_request(cx, &mut message, is_ready)
        });
        let read = read.await;
        match (read, message) {
            (Some(read), Some(message)) => Some((message, read)),
            (_, Some(message)) => {
                self.local().memory.give_back(message);
                None
            }
            _ => None,
        }
    }

    fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Box<Message>>,
        mut is_ready: bool,
    ) -> Poll<Option<Result<(), Refusal>>> {
        loop {
            if let Some(message) = message {
                match message.parse_request() {
                    Ok(true) => return Poll::Ready(Some(Ok(()))),
                    Ok(false) => {}
                    Err(refusal) => return Poll::Ready(Some(Err(refusal.into()))),
                }
            }
            if self.half_closed {
                return Poll::Ready(None);
            }
            match self.poll_read(cx, message, std::mem::take(&mut is_ready)) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return self.wait_for_request(cx, message),
            }
        }
    }

    /// Reads a part of a head. False if there will be none.
    fn poll_read(&mut self, cx: &mut Context<'_>, message: &mut Option<Box<Message>>, is_ready: bool) -> Poll<bool> {
        // Memory is borrowed when there is something to be read. An error is met again there.
        if !is_ready {
            let _ = ready!(self.stream.poll_read_ready(cx));
        }
        let memory = &self.connection.local.memory;
        let message = message.get_or_insert_with(|| if self.uploads { memory.upload() } else { memory.message() });
        let is_first = message.is_empty();
        if message.space().is_empty() {
            memory.enlarge(message);
        }
        let count = ready!(self.stream.poll_read_told(cx, message.space())).unwrap_or(0);
        message.filled(count);
        if is_first && count > 0 {
            self.connection.deadline.set(HEAD_LIMIT);
            if self.uploads {
                memory.fit(message);
            }
        }
        Poll::Ready(count > 0)
    }

    fn wait_for_request(
        &mut self,
        cx: &mut Context<'_>,
        message: &mut Option<Box<Message>>,
    ) -> Poll<Option<Result<(), Refusal>>> {
        if let Some(empty) = message.take_if(|message| message.is_empty()) {
            self.local().memory.give_back_unused(empty);
        }
        let has_begun = message.is_some();
        if self.local().hurrying.get() && !has_begun {
            if self.served {
                return Poll::Ready(None);
            }
            if !std::mem::replace(&mut self.hurried, true) {
                self.connection.deadline.set(FIRST_BYTES_LIMIT);
            }
        }
        if !self.connection.deadline.has_passed(cx) {
            return Poll::Pending;
        }
        Poll::Ready(has_begun.then_some(Err(Refusal::TOO_SLOW)))
    }

    /// Serves one request. Yields what comes then, and what has been read behind the request.
    async fn serve(&mut self, request: Box<Message>, read: Result<(), Refusal>) -> (Next, Option<Box<Message>>) {
        self.served = true;
        let connection = Rc::clone(&self.connection);
        let pinned = connection.local.pin();
        let mut exchange = Exchange::begin(&connection, &pinned, request);
        if let Err(refusal) = read {
            let made = refuse(&mut exchange, refusal).make(&mut exchange, &[]);
            return (self.answer(made, &mut exchange).await, None);
        }
        let mut plan = plan(&connection, &pinned, &mut exchange);
        if let Some(route) = plan.policed_route() {
            // Boxed, as it is rare.
            plan = Box::pin(plan.after_policies(&mut exchange, route)).await;
        }
        self.watching = true;
        self.owes_leave = exchange.wishes.leave;
        self.is_informed = !exchange.wishes.http10;
        let next = match plan {
            Plan::Answer(answer, operations) => {
                let made = answer.make(&mut exchange, &Operations::on_answer(operations.as_ref()));
                self.answer(made, &mut exchange).await
            }
            Plan::Forward(route, destination) => {
                let forwarding = Forwarding { pinned: &pinned, route, destination };
                self.forward(forwarding, &mut exchange).await
            }
        };
        let leftover = if let Next::Keep = next { leftover(&exchange.request, &connection.local.memory) } else { None };
        self.uploads = self.stream.tcp().is_some() && Memory::is_upload(&exchange.request);
        (next, leftover)
    }

    async fn forward(&mut self, forwarding: Forwarding<'_>, exchange: &mut Exchange) -> Next {
        let rules = [&forwarding.route.response_headers, &forwarding.destination.response_headers];
        match forward(&forwarding, exchange, self, &rules).await {
            Outcome::Relay(answered) => self.relay(answered, exchange).await,
            Outcome::Answer(answer) => {
                let made = answer.make(exchange, &rules);
                self.answer(made, exchange).await
            }
            Outcome::ClientLeft => Next::Close,
        }
    }

    /// Whether the connection ends after this exchange whatever else happens.
    fn is_last(&self, exchange: &Exchange) -> bool {
        exchange.wishes.close || self.local().ends_connections()
    }

    async fn relay(&mut self, mut answered: Relay, exchange: &mut Exchange) -> Next {
        let framing = framing_of(&answered.upstream, &answered.response);
        say_length(&mut answered, framing, exchange);
        // What is left of a request after its answer is not read. Whether something will be left is known too late.
        let breaks_off = answered.upload.is_some();
        let http10 = exchange.wishes.http10;
        let is_unframed = http10 && framing_to_client(framing, http10) == Framing::UntilClose;
        exchange.wishes.close |= is_unframed;
        let closes = self.is_last(exchange) || breaks_off;
        let mut out = std::mem::take(&mut answered.out);
        out.append(&mut self.informs);
        let is_tunnel = answered.response.head().status() == 101;
        if is_tunnel {
            answered.response.head_mut().append(b"connection", b"upgrade");
            answered.response.head_mut().append(b"upgrade", b"websocket");
            answer_key(&mut answered, exchange);
        }
        write_head(answered.response.head_mut(), framing, closes && !is_tunnel, http10, &mut out);
        relay(self, answered, exchange, out, closes).await
    }

    /// Sends an answer that was made here.
    async fn answer(&mut self, made: Made, exchange: &mut Exchange) -> Next {
        let Made { mut response, body, closes } = made;
        // Of chunks it isn't known how many follow, and a client that has been promised another request must get it answered.
        let reads_rest = !self.owes_leave && (1..=DISCARD_MAX).contains(&exchange.request.remaining());
        let is_complete = exchange.request.has_ended();
        let closes = closes || self.is_last(exchange) || !is_complete && !reads_rest;
        let mut out = self.local().memory.out();
        out.append(&mut self.informs);
        write_head(response.head_mut(), Framing::None, closes, exchange.wishes.http10, &mut out);
        out.extend_from_slice(&body);
        self.local().memory.give_back(response);
        if let Err(next) = self.send(out, closes, exchange).await {
            return next;
        }
        exchange.record.response_bytes = body.len() as u64;
        if is_complete && !closes {
            return Next::Keep;
        }
        if !closes && self.discard(&mut exchange.request).await {
            return Next::Keep;
        }
        Next::Linger
    }

    /// Writes all of `out`, after which the connection closes, or doesn't.
    async fn send(&mut self, out: Vec<u8>, closes: bool, exchange: &mut Exchange) -> Result<(), Next> {
        let mut pump = Pump::new(out, Framing::None, Duration::MAX).closing(closes);
        let local = Rc::clone(self.local());
        let sent = std::future::poll_fn(|cx| {
            match pump.poll(cx, &mut Nothing, &mut self.stream, (&local.memory, &local.deadlines)) {
                Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
                Poll::Ready(Err(_gone)) => Poll::Ready(Err(Next::Close)),
                Poll::Pending => {
                    let due = pump.waits().map_or(u32::MAX, |(_, due)| due);
                    self.connection.deadline.set_at(due);
                    if self.connection.deadline.has_passed(cx) { Poll::Ready(Err(Next::Reset)) } else { Poll::Pending }
                }
            }
        })
        .await;
        local.memory.give_back_out(pump.take_prefix());
        if sent.is_err() {
            exchange.record.client_left();
        }
        sent
    }

    /// Reads the rest of a body that nobody wants. Yields whether the connection can go on then.
    pub(super) async fn discard(&mut self, request: &mut Message) -> bool {
        let local = Rc::clone(self.local());
        self.connection.deadline.set(HEAD_LIMIT);
        let mut length = 0;
        std::future::poll_fn(|cx| {
            loop {
                let data = request.data().len();
                request.consume(data);
                length += data as u64;
                if request.has_ended() {
                    return Poll::Ready(true);
                }
                if length > DISCARD_MAX {
                    return Poll::Ready(false);
                }
                match StreamBody::of_request(request, &mut self.stream).poll_fill(cx, &local.memory) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(false),
                    Poll::Pending if self.connection.deadline.has_passed(cx) => return Poll::Ready(false),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Reads what still comes, for a moment: closing at once would make the kernel drop the answer unsent.
    async fn linger(&mut self) {
        let mut rest = self.local().memory.block();
        self.connection.deadline.set(LINGER_LIMIT);
        std::future::poll_fn(|cx| {
            if self.stream.poll_shutdown(cx).is_pending() {
                return Poll::Pending;
            }
            while let Poll::Ready(read) = self.stream.poll_read(cx, &mut rest) {
                if !matches!(read, Ok(1..)) {
                    return Poll::Ready(());
                }
            }
            if self.connection.deadline.has_passed(cx) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.local().memory.give_back_block(rest);
    }

    /// Writes informational responses that have not gone yet.
    fn poll_informs(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        while !self.informs.is_empty() {
            let sent = ready!(self.stream.poll_write(cx, &[std::io::IoSlice::new(&self.informs)]))?;
            self.informs.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

/// Answers the key of an HTTP/1.1 client's handshake, which HTTP/2 has not.
fn answer_key(answered: &mut Relay, exchange: &Exchange) {
    let head = answered.response.head_mut();
    if matches!(answered.upstream, Upstream::Http2(_))
        && head.value(b"sec-websocket-accept").is_none()
        && let Some(key) = exchange.request.head().value(b"sec-websocket-key")
    {
        head.append(b"sec-websocket-accept", websocket::accept(key).as_bytes());
    }
}

/// Says to an HTTP/1.1 client that an answer has no body, which HTTP/2 says without a word.
fn say_length(answered: &mut Relay, framing: Framing, exchange: &Exchange) {
    if framing != Framing::None || !matches!(answered.upstream, Upstream::Http2(_)) {
        return;
    }
    let head = answered.response.head();
    let goes_without = exchange.is_head() || matches!(head.status(), 204 | 304);
    if !goes_without && !head.has(http1::Name::ContentLength) {
        answered.response.head_mut().append(b"content-length", b"0");
    }
}

/// What has come behind a request, as the beginning of another.
fn leftover(request: &Message, memory: &Memory) -> Option<Box<Message>> {
    let rest = request.leftover();
    (!rest.is_empty()).then(|| memory.beginning(rest))
}

/// The body of a request whose client may wait for leave to send it.
pub(super) struct ClientBody<'a> {
    client: &'a mut Downstream,
    request: &'a mut Message,
}

impl Source for ClientBody<'_> {
    fn data(&self) -> &[u8] {
        self.request.data()
    }

    fn consume(&mut self, count: usize) {
        self.request.consume(count);
    }

    fn has_ended(&self) -> bool {
        self.request.has_ended()
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, memory: &Memory) -> Poll<Result<(), SourceFault>> {
        self.request.decode()?;
        if self.request.data().is_empty() && std::mem::take(&mut self.client.owes_leave) {
            self.client.informs.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        ready!(self.client.poll_informs(cx))?;
        StreamBody::of_request(self.request, &mut self.client.stream).poll_fill(cx, memory)
    }

    fn has_filled_memory(&self) -> bool {
        !self.client.owes_leave && self.request.is_full()
    }

    fn plain(&mut self, memory: &Memory) -> Option<(&mut Stream, u64)> {
        if self.client.owes_leave || !self.client.informs.is_empty() {
            return None;
        }
        StreamBody::of_request(self.request, &mut self.client.stream).into_plain(memory)
    }

    fn unseen(&self) -> Option<(&tokio::net::TcpStream, u64)> {
        let length = self.request.remaining();
        if length == 0 || !self.request.leftover().is_empty() || self.client.owes_leave {
            return None;
        }
        Some((self.client.stream.tcp()?, length))
    }

    fn pass_by(&mut self, count: u64) {
        self.request.pass_by(count);
    }
}

impl Client for Downstream {
    type Body<'a> = ClientBody<'a>;

    fn body<'a>(&'a mut self, request: &'a mut Message) -> ClientBody<'a> {
        ClientBody { client: self, request }
    }

    fn reads_in_place(&self, request: &Message) -> bool {
        request.fits_in_place()
    }

    /// A client that has only stopped sending may still read, and is served.
    fn poll_left(&mut self, cx: &mut Context<'_>, request: &mut Message) -> Poll<()> {
        while self.watching && request.has_ended() {
            let space = request.space();
            if space.is_empty() {
                self.watching = false;
                break;
            }
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match ready!(self.stream.poll_read_told(cx, space)) {
                Ok(0) => (self.half_closed, self.watching) = (true, false),
                Ok(count) => request.filled(count),
                Err(_broken) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    fn inform(&mut self, cx: &mut Context<'_>, head: &mut Head) {
        if self.is_informed {
            write_informational(head, &mut self.informs);
            // A client that takes nothing is found out by its answer.
            let _ = self.poll_informs(cx);
        }
    }

    fn deadline(&self) -> &Deadline {
        &self.connection.deadline
    }
}

/// What a client that is waited for has come to.
pub(super) fn next_after_stall(side: Side) -> Next {
    match side {
        Side::Source => Next::Close,
        Side::Sink => Next::Reset,
    }
}
