//! Errors in the words of gRPC. Source: gRPC over HTTP/2, "Trailers-Only"; Envoy, local replies.

use std::time::Duration;

/// The time is up.
pub const DEADLINE_EXCEEDED: u8 = 4;
/// Try again later.
pub const UNAVAILABLE: u8 = 14;

/// The status that stands for an HTTP status. Source: gRPC, `http-grpc-status-mapping.md`.
pub fn status_of_http(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => UNAVAILABLE,
        _ => 2,
    }
}

/// Whether a request with this `content-type` speaks gRPC, so that errors must be told in its words. Parameters are not part of
/// gRPC's types. Source: Envoy, `Grpc::Common::hasGrpcContentType`.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')))
}

/// The time that a client gives its call, as `grpc-timeout` says it; nothing if it says nothing, or none that can be read.
/// Source: gRPC over HTTP/2, `Timeout`; to Envoy 0 is no limit.
pub fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let timeout = match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    };
    Some(timeout).filter(|timeout| !timeout.is_zero())
}

/// How a time is said in `grpc-timeout`, in units that leave room for it.
pub fn timeout_text(timeout: Duration) -> String {
    const COUNT_MAX: u128 = 99_999_999;
    match timeout.as_millis() {
        millis @ ..=COUNT_MAX => format!("{millis}m"),
        millis => format!("{}S", (millis / 1000).min(COUNT_MAX)),
    }
}

/// The time that a call has: what the client gives it, but no more than its route does.
pub fn limit(of_client: Option<Duration>, of_route: Option<Duration>) -> Option<Duration> {
    match (of_client, of_route) {
        (Some(of_client), Some(of_route)) => Some(of_client.min(of_route)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calls_time_is_read_in_every_unit_and_nothing_else_is_read() {
        for (text, time) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("0m", None),
            ("100000000n", None),
            ("m", None),
            ("", None),
            ("1", None),
            ("-1m", None),
            ("1x", None),
        ] {
            assert_eq!(timeout(text.as_bytes()), time, "{text}");
        }
    }

    #[test]
    fn the_shorter_of_two_limits_holds_and_is_said_in_milliseconds_if_it_fits() {
        let [short, long] = [Duration::from_millis(5), Duration::from_secs(200_000)];
        assert_eq!(limit(Some(long), Some(short)), Some(short));
        assert_eq!(
            (limit(Some(short), None), limit(None, Some(long)), limit(None, None)),
            (Some(short), Some(long), None)
        );
        assert_eq!((&*timeout_text(short), &*timeout_text(long)), ("5m", "200000S"));
    }

    #[test]
    fn http_statuses_are_told_as_grpcs_own_table_says() {
        for (http, grpc) in
            [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (418, 2), (500, 2)]
        {
            assert_eq!(status_of_http(http), grpc, "{http}");
        }
    }

    #[test]
    fn grpc_is_told_by_its_content_type_and_web_grpc_is_not_grpc() {
        let table = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", false),
            ("application/grpc-web", false),
            ("application/json", false),
        ];
        for (kind, grpc) in table {
            assert_eq!(is_grpc(kind.as_bytes()), grpc, "{kind}");
        }
    }
}
