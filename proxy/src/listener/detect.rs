//! Connections that may be anything: their first bytes tell what becomes of them, whoever speaks first.
//! Source: Envoy, the listener filters `tls_inspector` and `http_inspector`, and how a filter chain is chosen.

use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use config_model::model::TcpProxyIndex;
use http1::Message;

use super::connection::{Connection, Protocol, serve_http};
use super::hello::HELLO_MAX;
use super::sniff::{Opened, sniff};
use crate::net::Stream;
use crate::snapshot::Accepts;
use crate::tcp::{self, Opening, Prepared};
use crate::worker::Local;

/// For a client that says nothing, where its server has said nothing either.
const SILENCE_LIMIT: Duration = Duration::from_hours(1);
/// What a client of a port that was declared to be HTTP is given before its server is asked to speak first.
const HEAD_START: Duration = Duration::from_millis(50);

/// Serves a connection to its end.
pub(super) async fn serve(connection: Rc<Connection>, stream: Stream) {
    match wants(&connection) {
        Some(Wants::Nothing(proxy)) => tcp::prepare(&connection, proxy).await.serve(stream, Opening::default()).await,
        Some(Wants::Any { other, is_http_expected }) => detect(connection, stream, other, is_http_expected).await,
        None => {}
    }
}

/// Which first bytes a listener wants to see.
enum Wants {
    /// None.
    Nothing(TcpProxyIndex),
    /// Whatever they are; if the server speaks first, it is one of these.
    Any { other: TcpProxyIndex, is_http_expected: bool },
}

fn wants(connection: &Connection) -> Option<Wants> {
    let pinned = connection.local.pin();
    match &connection.listener(&pinned)?.accepts {
        Accepts::PlainText(filter) => filter.tcp().map(Wants::Nothing),
        Accepts::Tls(_) => None,
        Accepts::Detected(detected) => {
            let (other, is_http_expected) = (detected.other, detected.is_http_expected);
            Some(Wants::Any { other, is_http_expected })
        }
    }
}

/// What has been read of a connection.
#[derive(Default)]
struct First(Option<Box<Message>>);

impl First {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |message| message.received())
    }

    /// Reads some bytes; none at the end of what comes. Bytes that are too many to tell anything are not read.
    fn poll_more(&mut self, cx: &mut Context<'_>, stream: &mut Stream, local: &Local) -> Poll<usize> {
        if self.0.is_none() && ready!(stream.poll_read_ready(cx)).is_err() {
            return Poll::Ready(0);
        }
        let message = self.0.get_or_insert_with(|| local.memory.message());
        if message.space().is_empty() && message.received().len() <= HELLO_MAX {
            local.memory.enlarge(message);
        }
        let count = ready!(stream.poll_read(cx, message.space())).unwrap_or(0);
        message.filled(count);
        Poll::Ready(count)
    }

    /// The bytes; their memory goes back to where it was lent.
    fn take(self, local: &Local) -> Vec<u8> {
        let bytes = self.bytes().to_vec();
        self.give_back(local);
        bytes
    }

    fn give_back(self, local: &Local) {
        if let Some(message) = self.0 {
            local.memory.give_back(message);
        }
    }
}

/// What a connection turned out to be.
enum Found {
    Opened(Opened),
    /// The server spoke first.
    ServerFirst,
    /// Nobody said anything, or the client has gone.
    Nothing,
}

/// Waits until the client's bytes tell what they are, or the server's are there. The server is connected to meanwhile, as long
/// as the client is silent, so that one that speaks first needn't wait; a connection that was made in vain is kept for the
/// requests that come instead.
async fn detect(connection: Rc<Connection>, mut stream: Stream, other: TcpProxyIndex, is_http_expected: bool) {
    let mut first = First::default();
    connection.deadline.set(SILENCE_LIMIT);
    let preparing = async {
        if is_http_expected {
            tokio::time::sleep(HEAD_START).await;
        }
        tcp::prepare(&connection, other).await
    };
    let mut preparing = Some(Box::pin(preparing));
    let mut prepared: Option<Prepared> = None;
    let found = std::future::poll_fn(|cx| {
        loop {
            match first.poll_more(cx, &mut stream, &connection.local) {
                Poll::Ready(0) if first.bytes().is_empty() => return Poll::Ready(Found::Nothing),
                Poll::Ready(0) => return Poll::Ready(Found::Opened(Opened::Other)),
                Poll::Ready(_) => match sniff(first.bytes()) {
                    Some(opened) => return Poll::Ready(Found::Opened(opened)),
                    None if first.bytes().len() > HELLO_MAX => return Poll::Ready(Found::Opened(Opened::Other)),
                    None => {}
                },
                Poll::Pending => break,
            }
        }
        if let Some(future) = &mut preparing
            && let Poll::Ready(ready) = future.as_mut().poll(cx)
        {
            prepared = Some(ready);
            preparing = None;
        }
        if prepared.as_mut().is_some_and(|prepared| prepared.poll_speaks(cx).is_ready()) {
            return Poll::Ready(Found::ServerFirst);
        }
        if connection.deadline.has_passed(cx) { Poll::Ready(Found::Nothing) } else { Poll::Pending }
    })
    .await;
    drop(preparing);
    carry_on(connection, stream, found, (first, prepared), other).await;
}

async fn carry_on(
    connection: Rc<Connection>,
    stream: Stream,
    found: Found,
    (first, prepared): (First, Option<Prepared>),
    other: TcpProxyIndex,
) {
    let (proxy, server_name) = match found {
        Found::Nothing => {
            prepared.into_iter().for_each(Prepared::forget);
            return first.give_back(&connection.local);
        }
        Found::Opened(opened @ (Opened::Http1 | Opened::Http2)) if has_routes(&connection) => {
            prepared.into_iter().for_each(Prepared::forget);
            let protocol = if matches!(opened, Opened::Http2) { Protocol::Http2 } else { Protocol::Http1 };
            if let Some(first) = first.0 {
                serve_http(connection, stream, protocol, first).await;
            }
            return;
        }
        Found::Opened(Opened::Tls(name)) => (named(&connection, name.as_deref()).unwrap_or(other), name),
        Found::Opened(_) | Found::ServerFirst => (other, None),
    };
    let prepared = match prepared {
        Some(prepared) if proxy == other => prepared,
        in_vain => {
            in_vain.into_iter().for_each(Prepared::forget);
            tcp::prepare(&connection, proxy).await
        }
    };
    let bytes = first.take(&connection.local);
    prepared.serve(stream, Opening { bytes, server_name }).await;
}

/// Whether HTTP to the address that the client wanted is read.
fn has_routes(connection: &Connection) -> bool {
    let pinned = connection.local.pin();
    let Some(listener) = connection.listener(&pinned) else { return false };
    let Accepts::Detected(detected) = &listener.accepts else { return false };
    let wanted = connection.wanted_ip();
    detected.http.is_some() && !detected.unread.iter().any(|subnet| subnet.contains(&wanted))
}

/// Where TLS for `server_name` goes, if its chain says so.
fn named(connection: &Connection, server_name: Option<&str>) -> Option<TcpProxyIndex> {
    let pinned = connection.local.pin();
    let Accepts::Detected(detected) = &connection.listener(&pinned)?.accepts else { return None };
    detected.tls.find_at(connection.wanted_ip(), server_name)?.tcp()
}
