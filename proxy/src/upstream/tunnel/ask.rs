//! The request for a tunnel, and what counts as an answer that agrees.
//! Source: RFC 9110, 9.3.6; Envoy, `TunnelingConfig`, whose requests these are.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use balance::AttemptError;
use config_model::model::{self, TunnelMethod};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, StatusCode, Uri};
use http1::Message;

use crate::upstream::connect::tell;
use crate::upstream::{Http2Stream, UpstreamConnection};
use crate::worker::Memory;

/// What comes of `answered`, unless that takes longer than `limit`.
pub(super) async fn in_time<T>(
    limit: Duration,
    answered: impl Future<Output = Result<T, AttemptError>>,
) -> Result<T, AttemptError> {
    let answered = tokio::time::timeout(limit, answered).await;
    answered.unwrap_or(Err(AttemptError::ConnectTimeout { limit }))
}

/// Sends the request over HTTP/1.1 and waits for an answer that agrees, which is yielded if there is something to read in it.
pub(super) async fn ask(
    connection: &mut UpstreamConnection,
    wanted: &model::Tunnel,
    memory: &Memory,
) -> Result<Option<Box<Message>>, AttemptError> {
    let failed = |error: io::Error| AttemptError::ConnectFailed { reason: error.kind() };
    tell(&mut connection.stream, &head(wanted)).await.map_err(failed)?;
    std::future::poll_fn(|cx| connection.stream.poll_flush(cx)).await.map_err(failed)?;
    let is_connect = wanted.method == TunnelMethod::Connect;
    let mut answer = memory.message();
    let agreed = agreed(connection, &mut answer, is_connect, memory).await;
    if agreed.is_err() || is_connect && answer.leftover().is_empty() {
        memory.give_back(answer);
        return agreed.map(|()| None);
    }
    if is_connect {
        answer.become_tunnel();
    }
    Ok(Some(answer))
}

/// Waits for the head of an answer with status 2xx. What an answer to CONNECT says of its length means nothing: it is read as
/// one to HEAD. Source: RFC 9110, 9.3.6.
async fn agreed(
    connection: &mut UpstreamConnection,
    answer: &mut Message,
    is_connect: bool,
    memory: &Memory,
) -> Result<(), AttemptError> {
    loop {
        let read = answer.parse_response(is_connect);
        match read.map_err(|fault| AttemptError::Malformed { reason: fault.to_string().into() })? {
            true if matches!(answer.head().status(), 100 | 102..=199) => {
                answer.skip_informational();
                continue;
            }
            true if (200..300).contains(&answer.head().status()) => return Ok(()),
            true => return Err(AttemptError::TunnelRefused { status: answer.head().status() }),
            false => {}
        }
        if answer.space().is_empty() {
            memory.enlarge(answer);
        }
        match std::future::poll_fn(|cx| connection.stream.poll_read(cx, answer.space())).await {
            Ok(count @ 1..) => answer.filled(count),
            _ => return Err(AttemptError::ClosedBeforeHead),
        }
    }
}

/// The request in HTTP/1.1.
fn head(wanted: &model::Tunnel) -> Vec<u8> {
    let (method, target) = (wanted.method.as_str(), &wanted.target);
    let head = match wanted.method {
        TunnelMethod::Connect => format!("{method} {target} HTTP/1.1\r\nhost: {target}\r\n\r\n"),
        TunnelMethod::Post => {
            format!("{method} / HTTP/1.1\r\nhost: {target}\r\ntransfer-encoding: chunked\r\n\r\n")
        }
    };
    head.into_bytes()
}

/// The request in HTTP/2.
pub(super) fn request(wanted: &model::Tunnel, is_secure: bool) -> Result<Request<()>, AttemptError> {
    let malformed = |_| AttemptError::Malformed { reason: "HTTP/2 has no form for the tunnel's target".into() };
    let authority = Authority::try_from(&*wanted.target).map_err(|_| ()).map_err(malformed)?;
    let mut parts = http::uri::Parts::default();
    parts.authority = Some(authority);
    let mut request = Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    if wanted.method == TunnelMethod::Post {
        parts.scheme = Some(if is_secure { Scheme::HTTPS } else { Scheme::HTTP });
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        *request.method_mut() = Method::POST;
    } else {
        *request.method_mut() = Method::CONNECT;
    }
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ()).map_err(malformed)?;
    Ok(request)
}

/// Waits for an answer with status 200: as Envoy has it, nothing else agrees in HTTP/2.
pub(super) fn poll_agreed(cx: &mut Context<'_>, stream: &mut Http2Stream) -> Poll<Result<(), AttemptError>> {
    while stream.poll_informational(cx).is_ready() {}
    match ready!(stream.poll_head(cx))?.status() {
        StatusCode::OK => Poll::Ready(Ok(())),
        status => Poll::Ready(Err(AttemptError::TunnelRefused { status: status.as_u16() })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_envoy() {
        for (method, target, http1, http2) in [
            (
                TunnelMethod::Connect,
                "shop.example:443",
                "CONNECT shop.example:443 HTTP/1.1\r\nhost: shop.example:443\r\n\r\n",
                "CONNECT shop.example:443",
            ),
            (
                TunnelMethod::Post,
                "[2001:db8::7]:443",
                "POST / HTTP/1.1\r\nhost: [2001:db8::7]:443\r\ntransfer-encoding: chunked\r\n\r\n",
                "POST https://[2001:db8::7]:443/",
            ),
        ] {
            let wanted = model::Tunnel { method, target: target.into() };
            assert_eq!(String::from_utf8(head(&wanted)).unwrap(), http1);
            let request = request(&wanted, true).unwrap();
            assert_eq!(format!("{} {}", request.method(), request.uri()), http2);
        }
    }
}
