//! The beginning of a try: a connection of its own, or a stream on one that stands or is opened, and the head that goes first.

use balance::{AttemptError, Entry};

use super::attempt::{Attempt, AttemptEnd, Client, Upload};
use super::forward::{Tries, timed_out};
use super::pump::Source;
use super::record::Exchange;
use super::rewrite::write_request;
use super::{heads, policy};
use crate::upstream::{Http2Stream, Lease, Upstream, UpstreamConnection, acquire, acquire_tunnel, connect};

/// Waits for `opening`, but no longer than the route allows.
async fn in_time<T>(
    exchange: &mut Exchange,
    opening: impl Future<Output = Result<T, AttemptError>>,
) -> Result<T, AttemptEnd> {
    let opened = policy::in_time(exchange, opening).await;
    opened.unwrap_or_else(|| Err(timed_out(exchange))).map_err(AttemptEnd::Failed)
}

impl Tries<'_> {
    /// Whether the cluster's back ends are spoken to in HTTP/2.
    pub(super) fn speaks_http2(&self, exchange: &Exchange) -> bool {
        self.cluster.definition.protocol.is_http2(exchange.record.speaks_http2())
    }

    /// A place for a stream on a connection, which is opened if need be.
    pub(super) async fn lease(&self, entry: &Entry, exchange: &mut Exchange) -> Result<Lease, AttemptEnd> {
        let acquiring = acquire(&self.local, self.cluster, entry, self.security.as_deref());
        in_time(exchange, acquiring).await
    }

    /// The same for a tunnel. Nothing if the back end has none in HTTP/2: it is asked for an upgrade of HTTP/1.1 then.
    pub(super) async fn lease_tunnel(
        &self,
        entry: &Entry,
        exchange: &mut Exchange,
    ) -> Result<Option<Lease>, AttemptEnd> {
        let acquiring = acquire_tunnel(&self.local, self.cluster, entry, self.security.as_deref());
        in_time(exchange, acquiring).await
    }

    /// A new connection for one request at a time.
    pub(super) async fn connect(
        &self,
        entry: &Entry,
        exchange: &mut Exchange,
    ) -> Result<Box<UpstreamConnection>, AttemptEnd> {
        let ends = exchange.record.connection().ends;
        let connecting = connect(&self.local, self.cluster, entry, self.security.as_deref(), ends);
        in_time(exchange, connecting).await
    }

    /// Begins a try over a connection of its own.
    pub(super) fn begin_http1(&mut self, connection: Box<UpstreamConnection>, exchange: &mut Exchange) -> Attempt {
        self.kept.read_again(&mut exchange.request);
        let mut out = self.local.memory.out();
        write_request(exchange, self.target, self.state.attempt(), &mut out);
        let silence = exchange.record.silence_limit();
        let upload = Upload::new(out, exchange.request.framing(), silence, std::mem::take(&mut self.kept));
        Attempt::new(Upstream::Http1(connection), upload)
    }

    /// Begins a try on a stream.
    pub(super) fn begin_http2<C: Client>(
        &mut self,
        lease: Lease,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Result<Attempt, AttemptEnd> {
        let scheme = exchange.record.scheme();
        let opens_tunnel = exchange.wishes.upgrade;
        let head = heads::request(exchange, self.target, self.state.attempt(), scheme).map_err(AttemptEnd::Failed)?;
        let (framing, silence) = (exchange.request.framing(), exchange.record.silence_limit());
        self.kept.read_again(&mut exchange.request);
        let body = client.body(&mut exchange.request);
        let ends = self.kept.is_empty() && body.has_ended() && body.data().is_empty() && body.trailers().is_none();
        let stream = Http2Stream::begin(lease, head, ends && !opens_tunnel).map_err(AttemptEnd::Failed)?;
        let kept = std::mem::take(&mut self.kept);
        let out = self.local.memory.out();
        let upload = if ends { Upload::sent(out, kept) } else { Upload::new(out, framing, silence, kept) };
        Ok(Attempt::new(Upstream::Http2(stream), upload))
    }
}
