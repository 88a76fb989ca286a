//! Errors in the words of gRPC. Source: gRPC over HTTP/2, "Trailers-Only"; Envoy, local replies.

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

/// Whether a request with this `content-type` speaks gRPC, so that errors must be told in its words.
pub fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ];
        for (kind, grpc) in table {
            assert_eq!(is_grpc(kind.as_bytes()), grpc, "{kind}");
        }
    }
}
