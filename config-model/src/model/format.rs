//! Text with commands such as `%REQ(x-source)%`, as in header values and access-log lines.
//! Source: Envoy, "Access logging", command operators; `%%` is one percent sign.

use std::sync::Arc;

use serde::{Serialize, Serializer};

mod commands;

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    source: Arc<str>,
    pieces: Arc<[Piece]>,
}

/// A part of a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stands as it is.
    Literal(Arc<str>),
    /// A command, and the length that its value is cut to, if one was given: `%REQ(x):12%`.
    Command(Command, Option<usize>),
}

/// What a command yields. Header names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `START_TIME`, perhaps with a strftime format as `%START_TIME(%s)%`.
    StartTime(Option<Arc<str>>),
    /// `REQ(name?alternative)`
    Request(Arc<str>, Option<Arc<str>>),
    /// `REQ_WITHOUT_QUERY(name?alternative)`
    RequestWithoutQuery(Arc<str>, Option<Arc<str>>),
    /// `RESP(name?alternative)`
    Response(Arc<str>, Option<Arc<str>>),
    /// `QUERY_PARAM(name)`
    QueryParameter(Arc<str>),
    /// `TRAILER(name?alternative)`
    Trailer(Arc<str>, Option<Arc<str>>),
    /// `GRPC_STATUS(form)`, `GRPC_STATUS_NUMBER`
    GrpcStatus(GrpcStatusForm),
    /// `PROTOCOL`: `HTTP/1.1`, `HTTP/2`
    Protocol,
    /// `RESPONSE_CODE`
    ResponseCode,
    /// `RESPONSE_FLAGS`
    ResponseFlags,
    /// `RESPONSE_CODE_DETAILS`
    ResponseCodeDetails,
    /// `CONNECTION_TERMINATION_DETAILS`
    ConnectionTerminationDetails,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`
    UpstreamTransportFailureReason,
    /// `BYTES_RECEIVED`
    BytesReceived,
    /// `BYTES_SENT`
    BytesSent,
    /// `DURATION`: milliseconds, as the next three.
    Duration,
    /// `REQUEST_DURATION`
    RequestDuration,
    /// `RESPONSE_DURATION`
    ResponseDuration,
    /// `RESPONSE_TX_DURATION`
    ResponseTxDuration,
    /// `UPSTREAM_HOST`
    UpstreamHost,
    /// `UPSTREAM_CLUSTER`: the name in Envoy's metrics, which Istio ends with a semicolon.
    UpstreamCluster,
    /// `UPSTREAM_CLUSTER_RAW`
    UpstreamClusterRaw,
    /// `UPSTREAM_LOCAL_ADDRESS`
    UpstreamLocalAddress,
    /// `UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT`
    UpstreamLocalAddressWithoutPort,
    /// `UPSTREAM_LOCAL_PORT`
    UpstreamLocalPort,
    /// `UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`
    UpstreamRemoteAddressWithoutPort,
    /// `UPSTREAM_REMOTE_PORT`
    UpstreamRemotePort,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`
    UpstreamRequestAttemptCount,
    /// `DOWNSTREAM_LOCAL_ADDRESS`
    DownstreamLocalAddress,
    /// `DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT`
    DownstreamLocalAddressWithoutPort,
    /// `DOWNSTREAM_LOCAL_PORT`
    DownstreamLocalPort,
    /// `DOWNSTREAM_REMOTE_ADDRESS`
    DownstreamRemoteAddress,
    /// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`
    DownstreamRemoteAddressWithoutPort,
    /// `DOWNSTREAM_REMOTE_PORT`
    DownstreamRemotePort,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS`
    DownstreamDirectRemoteAddress,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT`
    DownstreamDirectRemoteAddressWithoutPort,
    /// `DOWNSTREAM_DIRECT_REMOTE_PORT`
    DownstreamDirectRemotePort,
    /// `REQUESTED_SERVER_NAME`
    RequestedServerName,
    /// `ROUTE_NAME`
    RouteName,
    /// `VIRTUAL_HOST_NAME`
    VirtualHostName,
    /// `HOSTNAME`
    Hostname,
    /// A command of Envoy's whose value is not known here: it never has one. Name and argument, without percent signs.
    Unavailable(Arc<str>),
}

/// How the status of a call is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GrpcStatusForm {
    /// `InvalidArgument`
    Camel,
    /// `INVALID_ARGUMENT`
    Snake,
    /// `3`
    Number,
}

/// Why a text is not a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FormatError {
    /// Byte offset of the command in the text.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
}

/// Istio's own access-log line.
const ISTIO_DEFAULT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

impl Format {
    /// Reads a format. The error's offset is that of the percent sign with which the trouble begins.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut offset = 0;
        while let Some(rest) = text.get(offset..).filter(|rest| !rest.is_empty()) {
            let plain = rest.find('%').unwrap_or(rest.len());
            let (before, rest) = rest.split_at(plain);
            literal.push_str(before);
            offset += plain;
            if rest.starts_with("%%") {
                literal.push('%');
                offset += 2;
            } else if !rest.is_empty() {
                let (piece, length) = commands::read(rest).map_err(|message| FormatError { offset, message })?;
                flush(&mut literal, &mut pieces);
                pieces.push(piece);
                offset += length;
            }
        }
        flush(&mut literal, &mut pieces);
        Ok(Self { source: text.into(), pieces: pieces.into() })
    }

    /// Istio's own access-log line, with its line feed.
    pub fn istio_default() -> Self {
        // The text is ours and a test reads it.
        Self::parse(ISTIO_DEFAULT).unwrap_or(Self { source: "".into(), pieces: Arc::default() })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// The parts, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// Commands of Envoy's that have no value here, as they were written, without percent signs.
    pub fn unavailable(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Command(Command::Unavailable(name), _) => Some(&**name),
            _ => None,
        })
    }

    /// The text, if there is no command in it (a doubled percent sign has become one).
    pub fn literal(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

fn flush(literal: &mut String, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Literal(Arc::from(std::mem::take(literal))));
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_format_is_literals_and_commands() {
        let format = Format::parse("a %REQ(X-User?:PATH):12% 100%% %START_TIME(%s)%%PROTOCOL%").unwrap();
        let want = [
            Piece::Literal("a ".into()),
            Piece::Command(Command::Request("x-user".into(), Some(":path".into())), Some(12)),
            Piece::Literal(" 100% ".into()),
            Piece::Command(Command::StartTime(Some("%s".into())), None),
            Piece::Command(Command::Protocol, None),
        ];
        assert_eq!(format.pieces(), want);
        assert_eq!(format.literal(), None);
    }

    #[test]
    fn text_without_commands_is_literal() {
        for (text, want) in [("", ""), ("plain", "plain"), ("100%%", "100%"), ("%%%%", "%%"), ("é%%", "é%")] {
            assert_eq!(Format::parse(text).unwrap().literal(), Some(want), "{text}");
        }
    }

    #[test]
    fn an_error_names_the_place_and_the_command() {
        for (text, offset, message) in [
            ("50%", 2, "a percent sign begins a command that does not end"),
            ("a %b", 2, "a percent sign begins a command that does not end"),
            ("%REQ(x%", 0, "a percent sign begins a command that does not end"),
            ("%REQ%", 0, "%REQ% needs the name of a header: %REQ(x-name)%"),
            ("ok %BOGUS%", 3, "%BOGUS% is not a command that is known here"),
            ("%PATH(FOO)%", 0, "%PATH(…)%: \"FOO\" is neither WQ nor NQ"),
            ("%PATH(NQ:FOO)%", 0, "%PATH(…)%: \"FOO\" is none of ORIG, PATH and ORIG_OR_PATH"),
            ("%QUERY_PARAM%", 0, "%QUERY_PARAM% needs the name of a parameter: %QUERY_PARAM(page)%"),
            ("%GRPC_STATUS(x)%", 0, "%GRPC_STATUS(…)%: \"x\" is none of CAMEL_STRING, SNAKE_STRING and NUMBER"),
            ("%DURATION(x)%", 0, "%DURATION% takes nothing in parentheses"),
            ("%DURATION:x%", 0, "%DURATION…: \"\" is not a length"),
            ("%REQ(x):%", 0, "%REQ…: \"\" is not a length"),
            ("%REQ(x)", 0, "a percent sign begins a command that does not end"),
        ] {
            let error = Format::parse(text).unwrap_err();
            assert_eq!((error.offset, error.to_string().as_str()), (offset, message), "{text}");
        }
    }

    #[test]
    fn a_command_of_envoy_s_that_is_not_known_here_is_told_apart_from_no_command() {
        let format =
            Format::parse("%DYNAMIC_METADATA(a:b:c):9% %CEL(size(request.path))% %TRACE_ID% %PROTOCOL%").unwrap();
        let unavailable: Vec<_> = format.unavailable().collect();
        assert_eq!(unavailable, ["DYNAMIC_METADATA(a:b:c)", "CEL(size(request.path))", "TRACE_ID"]);
        let cut = Piece::Command(Command::Unavailable("DYNAMIC_METADATA(a:b:c)".into()), Some(9));
        assert_eq!(format.pieces().first(), Some(&cut));
        assert!(Format::parse("%DYNAMIC_METADATER(a:b)%").is_err());
    }

    #[test]
    fn istio_s_line_is_read_whole() {
        let format = Format::istio_default();
        assert!(format.as_str().starts_with("[%START_TIME%] \"%REQ(:METHOD)%"));
        assert!(format.as_str().ends_with(" %ROUTE_NAME%\n"));
        let commands = format.pieces().iter().filter(|piece| matches!(piece, Piece::Command(..))).count();
        assert_eq!(commands, 24);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(%|%%|REQ|\\(|\\)|:|[0-9]|DURATION|é|.){0,20}") {
            let _ = Format::parse(&text);
        }
    }
}
