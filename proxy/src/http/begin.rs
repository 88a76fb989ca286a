//! The beginning of a try over HTTP/2: a stream on a connection that stands or is opened, and the head sent on it.

use balance::Entry;
use config_model::model::BackEndProtocol;

use super::attempt::{AttemptEnd, Client, Upload};
use super::forward::{Tries, timed_out};
use super::pump::Source;
use super::record::Exchange;
use super::{heads, policy};
use crate::upstream::{Http2Stream, Lease, Upstream, acquire};

impl Tries<'_> {
    /// Whether the cluster's back ends are spoken to in HTTP/2.
    pub(super) fn speaks_http2(&self, exchange: &Exchange) -> bool {
        match self.cluster.definition.protocol {
            // An upgrade is HTTP/1.1's.
            _ if exchange.wishes.upgrade => false,
            BackEndProtocol::Http1 => false,
            BackEndProtocol::Http2 => true,
            BackEndProtocol::Clients => exchange.record.speaks_http2(),
        }
    }

    /// A place for a stream on a connection, which is opened if need be.
    pub(super) async fn lease(&self, entry: &Entry, exchange: &mut Exchange) -> Result<Lease, AttemptEnd> {
        let acquiring = acquire(&self.local, self.cluster, entry, self.security.as_deref());
        let acquired = policy::in_time(exchange, acquiring).await;
        acquired.unwrap_or_else(|| Err(timed_out(exchange))).map_err(AttemptEnd::Failed)
    }

    /// Begins a try.
    pub(super) fn begin_http2<C: Client>(
        &mut self,
        lease: Lease,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Result<(Upstream, Upload), AttemptEnd> {
        let scheme = exchange.record.scheme();
        let head = heads::request(exchange, self.target, self.state.attempt(), scheme).map_err(AttemptEnd::Failed)?;
        let framing = exchange.request.framing();
        let body = client.body(&mut exchange.request);
        let ends = self.kept.is_empty() && body.has_ended() && body.data().is_empty() && body.trailers().is_none();
        let stream = Http2Stream::begin(lease, head, ends).map_err(AttemptEnd::Failed)?;
        let kept = std::mem::take(&mut self.kept);
        let out = self.local.memory.out();
        let upload = if ends { Upload::sent(out, kept) } else { Upload::new(out, framing, kept) };
        Ok((Upstream::Http2(stream), upload))
    }
}
