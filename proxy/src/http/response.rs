//! A response's head on its way to the client.

use std::time::Duration;

use config_model::model::ServerHeader;
use http::StatusCode;
use http1::{Framing, Head, Name, Names};
use routing::headers::{self, Mutation};

use super::head::drop_connection_options;
use super::record::Exchange;

/// Appends `number` in decimal digits.
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(number).as_bytes());
}

/// Makes of a back end's head what the client shall see: what concerned the upstream connection goes, and the rules write.
pub(super) fn receive(head: &mut Head, framing: Framing, took: Duration, exchange: &mut Exchange, rules: &[&Mutation]) {
    drop_connection_options(head);
    head.remove_all(Names::HOP_BY_HOP);
    if head.names().has(Name::Envoy) {
        // How a back end would have the span called: no matter of the client's.
        head.remove(b"x-envoy-decorator-operation");
    }
    if exchange.record.pinned().headers.debug {
        if head.names().has(Name::Envoy) {
            head.remove(b"x-envoy-upstream-service-time");
        }
        let mut digits = itoa::Buffer::new();
        let took = digits.format(took.as_millis() as u64).as_bytes();
        head.append_own(Name::Envoy, b"x-envoy-upstream-service-time: ", took);
    }
    exchange.record.answered(head.status(), crate::telemetry::Flags::NONE, "via_upstream".into());
    apply(head, framing, exchange, rules);
    // As in Envoy, an answer of our own names no cookie: the client's next try may go elsewhere.
    if let Some(cookie) = exchange.rare.as_mut().and_then(|rare| rare.cookie.take()) {
        head.append(b"set-cookie", cookie.as_bytes());
    }
    complete(head, exchange);
}

/// Lets the rules write.
pub(super) fn apply(head: &mut Head, framing: Framing, exchange: &mut Exchange, rules: &[&Mutation]) {
    if rules.iter().any(|rule| !rule.is_empty()) {
        headers::apply(rules, head, &exchange.commands_of_answer());
        reframe(head, framing);
    }
}

/// Writes what no rule can change.
pub(super) fn complete(head: &mut Head, exchange: &mut Exchange) {
    if let Some(rare) = &mut exchange.rare {
        routing::cors::write(std::mem::take(&mut rare.cors), head);
    }
    let is_edge = exchange.record.local().shared.is_edge;
    say_server(head, &exchange.record.pinned().headers.server, is_edge);
    if !head.has(Name::Date) {
        head.append_own(Name::Date, b"date: ", &exchange.record.local().date.get());
    }
    #[cfg(feature = "http3")]
    if let Some(port) = exchange.record.http3_port() {
        head.append(b"alt-svc", format!("h3=\":{port}\"; ma=86400").as_bytes());
    }
    exchange.record.response_head(head);
}

/// Says what Istio's gateway and its sidecars say, whatever the back end has said, or what is wanted instead.
fn say_server(head: &mut Head, wanted: &ServerHeader, is_edge: bool) {
    const NAME: usize = b"server".len();
    if let ServerHeader::OfBackEnd = wanted {
        return;
    }
    head.remove_all(Name::Server.alone());
    match wanted {
        ServerHeader::Named(name) => head.append(b"server", name.as_bytes()),
        _ if is_edge => head.append_line(Name::Server, NAME, b"server: istio-envoy\r\n"),
        _ => head.append_line(Name::Server, NAME, b"server: envoy\r\n"),
    }
}

/// Takes back what rules have said of the length of a body; [`write_head`] says what is to be said of chunks. The length of a body
/// that isn't sent frames nothing, and stays as they have written it, but where there can be none. Source: RFC 9110, 8.6.
fn reframe(head: &mut Head, framing: Framing) {
    head.remove_all(Name::TransferEncoding.alone());
    if framing != Framing::None || matches!(head.status(), 100..=199 | 204) {
        head.remove_all(Name::ContentLength.alone());
    }
    if let Framing::Length(length) = framing {
        head.append_with(b"content-length", |out| push_number(out, length));
    }
}

/// Appends a whole head as it goes to an HTTP/1 client, of 1.0 if so. `closes` says that the connection ends after it.
pub(super) fn write_head(head: &mut Head, framing: Framing, closes: bool, http10: bool, out: &mut Vec<u8>) {
    if matches!(framing, Framing::Chunked | Framing::UntilClose) && head.status() != 101 && !http10 {
        head.append_own(Name::TransferEncoding, b"transfer-encoding: ", b"chunked");
    }
    if closes || http10 {
        head.append_own(Name::Connection, b"connection: ", if closes { &b"close"[..] } else { b"keep-alive" });
    }
    let start = out.len();
    write_status_line(head, out);
    if http10 && let Some(minor) = out.get_mut(start + b"HTTP/1.".len()) {
        *minor = b'0';
    }
    head.write_fields(out);
    out.extend_from_slice(b"\r\n");
}

fn write_status_line(head: &Head, out: &mut Vec<u8>) {
    if head.status() == 200 && head.reason() == b"OK" {
        // As most are.
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    let digit = |unit: u16| b'0' + (head.status() / unit % 10) as u8;
    out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    let reason = match head.reason() {
        [] => StatusCode::from_u16(head.status()).ok().and_then(|status| status.canonical_reason()).map(str::as_bytes),
        reason => Some(reason),
    };
    out.extend_from_slice(reason.unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Appends an informational response.
pub(super) fn write_informational(head: &mut Head, out: &mut Vec<u8>) {
    drop_connection_options(head);
    head.remove_all(Names::HOP_BY_HOP);
    write_status_line(head, out);
    head.write_fields(out);
    out.extend_from_slice(b"\r\n");
}

/// Whether a trailer may be passed on: none that frames, routes or authenticates. Source: RFC 9110, 6.5.1.
pub(super) fn is_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 12] = [
        b"authorization",
        b"cache-control",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"host",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"www-authenticate",
    ];
    !FORBIDDEN.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_that_frame_or_authenticate_are_dropped_and_others_kept() {
        for (name, kept) in [("content-length", false), ("authorization", false), ("grpc-status", true)] {
            assert_eq!(is_trailer(name.as_bytes()), kept, "{name}");
        }
    }

    #[test]
    fn a_head_says_how_its_body_is_framed_whatever_rules_have_written() {
        let mut head = Head::default();
        head.set_status(200);
        head.append(b"content-length", b"7");
        head.append(b"transfer-encoding", b"gzip");
        reframe(&mut head, Framing::Length(5));
        let mut out = Vec::new();
        write_head(&mut head, Framing::Length(5), true, false, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n");
    }

    #[test]
    fn a_body_without_a_length_goes_out_in_chunks() {
        let mut head = Head::default();
        head.set_status(599);
        let mut out = Vec::new();
        write_head(&mut head, Framing::UntilClose, false, false, &mut out);
        assert_eq!(out, b"HTTP/1.1 599 \r\ntransfer-encoding: chunked\r\n\r\n");
    }
}
