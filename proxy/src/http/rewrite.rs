//! A request as the back end shall see it: authority, path and fields as the route and the destination say.

use config_model::model::{Action, PathRewrite};
use http1::{Framing, Head, Name, Names};
use routing::headers;
use routing::rewrite;
use routing::{DestinationEntry, RouteEntry};

use super::record::{Commands, Exchange};
use super::response::push_number;

/// Changes the head of `exchange` for the way to `destination`. Yields the new target, if it isn't the one that was sent.
pub(super) fn rewrite_head(
    exchange: &mut Exchange,
    route: &RouteEntry,
    destination: &DestinationEntry,
) -> Option<Vec<u8>> {
    let Exchange { request, target, record, .. } = exchange;
    let framing = request.framing();
    let head = request.head_mut();
    let commands = Commands { record, target, request: None };
    let authority = destination.authority.as_ref().map(|template| template.value(head, &commands));
    let rules = [&route.request_headers, &destination.request_headers];
    // As in Envoy, the rules find the number of the first try there.
    let has_rules = rules.iter().any(|rule| !rule.is_empty());
    let is_told = has_rules && record.pinned().headers.attempt_count;
    let first_is_counted = is_told && rules.iter().any(|rule| rule.names(ATTEMPT_COUNT));
    if first_is_counted {
        head.append(ATTEMPT_COUNT.as_bytes(), b"1");
    }
    if has_rules {
        headers::apply(&rules, head, &commands);
        reframe(head, framing);
    }
    match authority {
        Some(authority) => {
            // What other proxies and back ends find the host of the client by.
            if record.pinned().headers.forwarded_host && destination.tells_forwarded_host {
                tell_forwarded_host(head, target.authority());
            }
            head.set(b"host", authority.as_bytes());
            if record.pinned().headers.debug && destination.tells_original_host {
                head.append(b"x-envoy-original-host", target.authority());
            }
            record.host_rewritten();
        }
        None if target.is_absolute() => head.set(b"host", target.authority()),
        None => {}
    }
    if first_is_counted {
        exchange.rare().first_is_counted = true;
    }
    let new = rewritten_target(exchange, route)?;
    let original = exchange.target.text(exchange.request.head()).into_owned();
    if exchange.record.pinned().headers.debug {
        exchange.request.head_mut().append(b"x-envoy-original-path", &original);
    }
    exchange.record.path_rewritten(&new);
    Some(new)
}

/// Takes back what rules have said of the length of the body: the back end would wait for one, or take what follows for one.
fn reframe(head: &mut Head, framing: Framing) {
    head.remove_all(Names::of(&[Name::ContentLength, Name::TransferEncoding]));
    match framing {
        Framing::Length(length) => head.append_with(b"content-length", |out| push_number(out, length)),
        Framing::Chunked => head.append(b"transfer-encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
}

/// Adds the host that was asked for to those that proxies before this one have told. Source: Envoy, `append_x_forwarded_host`.
fn tell_forwarded_host(head: &mut Head, host: &[u8]) {
    const NAME: &[u8] = b"x-forwarded-host";
    let earlier = head.value(NAME).filter(|earlier| !earlier.is_empty());
    let told = earlier.map_or_else(|| host.to_vec(), |earlier| [earlier, host].join(&b','));
    head.set(NAME, &told);
}

/// The number of the try, from 1.
const ATTEMPT_COUNT: &str = "x-envoy-attempt-count";

/// A try that isn't the first is told its number whatever the rules have made of that of the first.
pub(super) fn recount(exchange: &mut Exchange) {
    if exchange.is_counted() {
        exchange.request.head_mut().remove(ATTEMPT_COUNT.as_bytes());
        exchange.rare().first_is_counted = false;
    }
}

fn rewritten_target(exchange: &Exchange, route: &RouteEntry) -> Option<Vec<u8>> {
    let Action::Forward(forward) = &route.route.action else { return None };
    if forward.rewrite.path == PathRewrite::Keep {
        return None;
    }
    let head = exchange.request.head();
    let path = exchange.target.path(head);
    let rewritten = rewrite::rewrite(&forward.rewrite.path, &path);
    Some(rewrite::target(&rewritten, exchange.target.query(head)))
}

/// Appends the whole head of a try. `target` is what [`rewrite_head`] has yielded; `attempt` counts from 1.
pub(super) fn write_request(exchange: &Exchange, target: Option<&[u8]>, attempt: u32, out: &mut Vec<u8>) {
    let head = exchange.request.head();
    out.extend_from_slice(head.method());
    out.push(b' ');
    match target {
        Some(target) => out.extend_from_slice(target),
        None => exchange.target.write(head, out),
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    head.write_fields(out);
    if lacks_length(head, exchange.request.framing()) {
        out.extend_from_slice(b"content-length: 0\r\n");
    }
    let says = &exchange.record.pinned().headers;
    if let Some(expected) = exchange.rare.as_ref().and_then(|rare| rare.expected).filter(|_| says.debug) {
        out.extend_from_slice(b"x-envoy-expected-rq-timeout-ms: ");
        push_number(out, expected.get());
        out.extend_from_slice(b"\r\n");
    }
    if !says.attempt_count || exchange.is_counted() {
        out.extend_from_slice(b"\r\n");
    } else if attempt == 1 {
        out.extend_from_slice(b"x-envoy-attempt-count: 1\r\n\r\n");
    } else {
        out.extend_from_slice(b"x-envoy-attempt-count: ");
        push_number(out, attempt.into());
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// Whether nothing says that there is no body, though the method lets one expect it. Source: RFC 9110, 8.6.
fn lacks_length(head: &Head, framing: Framing) -> bool {
    framing == Framing::None
        && !matches!(head.method(), b"GET" | b"HEAD" | b"DELETE" | b"TRACE" | b"CONNECT")
        && !head.has(Name::ContentLength)
}
