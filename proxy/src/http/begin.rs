//! The beginning of a try over HTTP/2: a stream on a connection that stands or is opened, and the head sent on it.

use balance::Entry;
use config_model::model::BackEndProtocol;

use super::attempt::{AttemptEnd, Client, Upload};
use super::forward::{Tries, timed_out};
use super::pump::Source;
use super::record::Exchange;
use super::{heads, policy};
use crate::upstream::{Http2Stream, Upstream, acquire};

impl Tries<'_> {
    /// Whether the cluster's back ends are spoken to in HTTP/2.
    pub(super) fn speaks_http2(&self, exchange: &Exchange) -> bool {
        match self.cluster.definition.protocol {
            BackEndProtocol::Http1 => false,
            BackEndProtocol::Http2 => true,
            BackEndProtocol::Clients => exchange.record.speaks_http2(),
        }
    }

    /// Begins a try.
    pub(super) async fn begin_http2<C: Client>(
        &mut self,
        entry: &Entry,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Result<(Upstream, Upload), AttemptEnd> {
        let security = self.security.as_deref();
        let lease = match self.local.pool.http2.lease(&entry.state, security) {
            Some(lease) => lease,
            // Boxed, as it is rare.
            None => {
                let acquiring = acquire(&self.local, self.cluster, entry, security);
                match Box::pin(policy::in_time(exchange, acquiring)).await {
                    Some(acquired) => acquired.map_err(AttemptEnd::Failed)?,
                    None => return Err(AttemptEnd::Failed(timed_out(exchange))),
                }
            }
        };
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
