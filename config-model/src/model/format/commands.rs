//! The commands of a format: how one is written, and which there are.

use std::sync::Arc;

use super::{Command, GrpcStatusForm, Piece};

/// The command at the beginning of `text`, which is a percent sign, and its length.
pub(super) fn read(text: &str) -> Result<(Piece, usize), String> {
    let open = || "a percent sign begins a command that does not end".to_owned();
    let after = text.get(1..).ok_or_else(open)?;
    let name_length =
        after.bytes().take_while(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_');
    let (name, mut rest) = after.split_at(name_length.count());
    let mut argument = None;
    if let Some(inside) = rest.strip_prefix('(') {
        let (text, after) =
            argument_end(inside).and_then(|end| Some((inside.get(..end)?, inside.get(end + 1..)?))).ok_or_else(open)?;
        (argument, rest) = (Some(text), after);
    }
    let mut length = None;
    if let Some(digits) = rest.strip_prefix(':') {
        let (number, after) = digits.split_at(digits.bytes().take_while(u8::is_ascii_digit).count());
        length = Some(number.parse().map_err(|_| format!("%{name}…: {number:?} is not a length"))?);
        rest = after;
    }
    let rest = rest.strip_prefix('%').filter(|_| !name.is_empty()).ok_or_else(open)?;
    Ok((Piece::Command(named(name, argument)?, length), text.len() - rest.len()))
}

/// Where the argument that begins `text` ends: at the first parenthesis behind which a command can end, as for Envoy, so that
/// an argument may hold parentheses; if there is none, at the first of all.
fn argument_end(text: &str) -> Option<usize> {
    let mut parentheses = text.match_indices(')').map(|(place, _)| place);
    let ends = |place: &usize| {
        let behind = text.get(place + 1..).unwrap_or_default();
        let behind =
            behind.strip_prefix(':').map_or(behind, |digits| digits.trim_start_matches(|c: char| c.is_ascii_digit()));
        behind.starts_with('%')
    };
    parentheses.clone().find(ends).or_else(|| parentheses.next())
}

fn named(name: &str, argument: Option<&str>) -> Result<Command, String> {
    let headers = |make: fn(Arc<str>, Option<Arc<str>>) -> Command| {
        let argument = argument.filter(|argument| !argument.is_empty());
        let argument = argument.ok_or_else(|| format!("%{name}% needs the name of a header: %{name}(x-name)%"))?;
        let (first, second) = match argument.split_once('?') {
            Some((first, second)) => (first, Some(Arc::from(second.to_ascii_lowercase()))),
            None => (argument, None),
        };
        Ok(make(Arc::from(first.to_ascii_lowercase()), second))
    };
    match name {
        "REQ" => return headers(Command::Request),
        "REQ_WITHOUT_QUERY" => return headers(Command::RequestWithoutQuery),
        "RESP" => return headers(Command::Response),
        "TRAILER" => return headers(Command::Trailer),
        "PATH" => return path(argument.unwrap_or_default()),
        "QUERY_PARAM" => {
            let name = argument.filter(|argument| !argument.is_empty());
            let name =
                name.ok_or_else(|| "%QUERY_PARAM% needs the name of a parameter: %QUERY_PARAM(page)%".to_owned())?;
            return Ok(Command::QueryParameter(name.into()));
        }
        "GRPC_STATUS" => return grpc_status(argument.unwrap_or_default()),
        "START_TIME" => return Ok(Command::StartTime(argument.filter(|text| !text.is_empty()).map(Arc::from))),
        _ => {}
    }
    let known = SIMPLE.iter().find(|(known, _)| *known == name).map(|(_, command)| command.clone());
    let Some(command) = known else {
        if UNAVAILABLE.binary_search(&name).is_err() {
            return Err(format!("%{name}% is not a command that is known here"));
        }
        let written = argument.map_or_else(|| name.to_owned(), |argument| format!("{name}({argument})"));
        return Ok(Command::Unavailable(written.into()));
    };
    match argument {
        None => Ok(command),
        Some(_) => Err(format!("%{name}% takes nothing in parentheses")),
    }
}

/// `PATH(WQ:ORIG_OR_PATH)`, in other words: with the query or without (`NQ`), the path as it came, as it is now (`PATH`), or as it came if
/// that is another one.
fn path(argument: &str) -> Result<Command, String> {
    let (query, source) = argument.split_once(':').unwrap_or((argument, ""));
    let make = match query {
        "" | "WQ" => Command::Request,
        "NQ" => Command::RequestWithoutQuery,
        other => return Err(format!("%PATH(…)%: {other:?} is neither WQ nor NQ")),
    };
    match source {
        "" | "ORIG_OR_PATH" => Ok(make("x-envoy-original-path".into(), Some(":path".into()))),
        "ORIG" => Ok(make("x-envoy-original-path".into(), None)),
        "PATH" => Ok(make(":path".into(), None)),
        other => Err(format!("%PATH(…)%: {other:?} is none of ORIG, PATH and ORIG_OR_PATH")),
    }
}

fn grpc_status(form: &str) -> Result<Command, String> {
    match form {
        "" | "CAMEL_STRING" => Ok(Command::GrpcStatus(GrpcStatusForm::Camel)),
        "SNAKE_STRING" => Ok(Command::GrpcStatus(GrpcStatusForm::Snake)),
        "NUMBER" => Ok(Command::GrpcStatus(GrpcStatusForm::Number)),
        other => Err(format!("%GRPC_STATUS(…)%: {other:?} is none of CAMEL_STRING, SNAKE_STRING and NUMBER")),
    }
}

/// The commands without argument.
const SIMPLE: [(&str, Command); 36] = [
    ("PROTOCOL", Command::Protocol),
    ("RESPONSE_CODE", Command::ResponseCode),
    ("RESPONSE_FLAGS", Command::ResponseFlags),
    ("RESPONSE_CODE_DETAILS", Command::ResponseCodeDetails),
    ("CONNECTION_TERMINATION_DETAILS", Command::ConnectionTerminationDetails),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", Command::UpstreamTransportFailureReason),
    ("BYTES_RECEIVED", Command::BytesReceived),
    ("BYTES_SENT", Command::BytesSent),
    ("DURATION", Command::Duration),
    ("REQUEST_DURATION", Command::RequestDuration),
    ("RESPONSE_DURATION", Command::ResponseDuration),
    ("RESPONSE_TX_DURATION", Command::ResponseTxDuration),
    ("UPSTREAM_HOST", Command::UpstreamHost),
    ("UPSTREAM_CLUSTER", Command::UpstreamCluster),
    ("UPSTREAM_CLUSTER_RAW", Command::UpstreamClusterRaw),
    ("UPSTREAM_LOCAL_ADDRESS", Command::UpstreamLocalAddress),
    ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Command::UpstreamLocalAddressWithoutPort),
    ("UPSTREAM_LOCAL_PORT", Command::UpstreamLocalPort),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", Command::UpstreamRequestAttemptCount),
    ("DOWNSTREAM_LOCAL_ADDRESS", Command::DownstreamLocalAddress),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Command::DownstreamLocalAddressWithoutPort),
    ("DOWNSTREAM_LOCAL_PORT", Command::DownstreamLocalPort),
    ("DOWNSTREAM_REMOTE_ADDRESS", Command::DownstreamRemoteAddress),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Command::DownstreamRemoteAddressWithoutPort),
    ("DOWNSTREAM_REMOTE_PORT", Command::DownstreamRemotePort),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Command::DownstreamDirectRemoteAddress),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Command::DownstreamDirectRemoteAddressWithoutPort),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", Command::DownstreamDirectRemotePort),
    ("REQUESTED_SERVER_NAME", Command::RequestedServerName),
    ("ROUTE_NAME", Command::RouteName),
    ("VIRTUAL_HOST_NAME", Command::VirtualHostName),
    ("HOSTNAME", Command::Hostname),
    ("UPSTREAM_REMOTE_ADDRESS", Command::UpstreamHost),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Command::UpstreamRemoteAddressWithoutPort),
    ("UPSTREAM_REMOTE_PORT", Command::UpstreamRemotePort),
    ("GRPC_STATUS_NUMBER", Command::GrpcStatus(GrpcStatusForm::Number)),
];

/// Commands of Envoy's that have no value here, in order.
const UNAVAILABLE: [&str; 107] = [
    "ACCESS_LOG_TYPE",
    "CEL",
    "CLUSTER_METADATA",
    "COALESCE",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DYNAMIC_METADATA",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "ENVIRONMENT",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "LISTENER_METADATA",
    "LOCAL_REPLY_BODY",
    "METADATA",
    "PER_REQUEST_STATE",
    "QUERY_PARAMS",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "ROUNDTRIP_DURATION",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_IDS_ATTEMPTED",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_SUBJECT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_without_a_value_are_in_order_and_none_has_one() {
        assert!(UNAVAILABLE.is_sorted());
        assert!(SIMPLE.iter().all(|(name, _)| !UNAVAILABLE.contains(name)));
    }
}
