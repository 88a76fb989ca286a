//! Line formats: compiled once, then written for each request.

use std::marker::PhantomData;

use config_model::model::{AccessLogFormat, Format, Piece};

use super::json::JsonLine;
use super::record::{AccessRecord, FieldName};
use super::text::{append, escaped_json, escaped_text};
use super::time::Timestamps;
use super::value::{Head, Operation, Sink};

/// A compiled access-log format.
#[derive(Debug, Clone)]
pub(super) struct LineFormat {
    layout: Layout,
    /// Whether what is absent leaves nothing behind.
    omits_absent: bool,
    response_headers: Vec<FieldName>,
    response_trailers: Vec<FieldName>,
}

#[derive(Debug, Clone)]
enum Layout {
    Text(Template),
    Json(JsonLine),
}

/// Values and the text around them.
#[derive(Debug, Clone, Default)]
pub(super) struct Template(Vec<Step>);

/// A value and the text before it. Most of that is a blank and a quote or two, so eight bytes, which are one store, mostly do.
#[derive(Debug, Clone)]
struct Step {
    lead: [u8; 8],
    lead_length: usize,
    operation: Operation,
}

impl LineFormat {
    /// Compiles `format`. A text without a line feed at its end gets one, as Istio does.
    pub(super) fn new(format: &AccessLogFormat) -> Self {
        let layout = match format {
            AccessLogFormat::Text(format) => {
                let line_feed = if format.as_str().ends_with('\n') { "" } else { "\n" };
                Layout::Text(Template::new(format, line_feed, |out, text| out.extend_from_slice(text)))
            }
            AccessLogFormat::Json(members) => Layout::Json(JsonLine::new(members)),
        };
        let (response_headers, response_trailers) = (names(&layout, Head::Response), names(&layout, Head::Trailers));
        Self { layout, omits_absent: false, response_headers, response_trailers }
    }

    /// The same, but what is absent leaves nothing behind, not even `-`, `null` or its field.
    /// Source: Envoy, `omit_empty_values`.
    pub(super) fn omitting_absent(self) -> Self {
        Self { omits_absent: true, ..self }
    }

    /// Fields of the answer that a line needs.
    pub(super) fn response_headers(&self) -> &[FieldName] {
        &self.response_headers
    }

    /// Fields of the answer's trailers that a line needs.
    pub(super) fn response_trailers(&self) -> &[FieldName] {
        &self.response_trailers
    }

    /// Appends the line for `record`, with its line feed.
    pub(super) fn write(&self, out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) {
        match (&self.layout, self.omits_absent) {
            (Layout::Text(template), false) => template.write::<InText>(out, times, record),
            (Layout::Text(template), true) => template.write::<Omitting<InText>>(out, times, record),
            (Layout::Json(line), omits_absent) => line.write(out, times, record, omits_absent),
        }
    }
}

impl Template {
    /// `end` comes after all of `format`, whose literal parts `escape` writes.
    pub(super) fn new(format: &Format, end: &str, escape: impl Fn(&mut Vec<u8>, &[u8])) -> Self {
        let (mut steps, mut literal) = (Vec::new(), Vec::new());
        for piece in format.pieces() {
            match piece {
                Piece::Literal(text) => escape(&mut literal, text.as_bytes()),
                Piece::Command(command, cut) => {
                    let operation = Operation::new(command);
                    let operation = match *cut {
                        Some(length) => Operation::Cut(Box::new(operation), length),
                        None => operation,
                    };
                    Step::push(&mut steps, &mut literal, operation);
                }
            }
        }
        literal.extend_from_slice(end.as_bytes());
        if !literal.is_empty() {
            Step::push(&mut steps, &mut literal, Operation::Literal(Box::default()));
        }
        Self(steps)
    }

    /// The command that is all of it, if it is one.
    pub(super) fn single(&self) -> Option<&Operation> {
        match &self.0[..] {
            [Step { operation: Operation::Cut(..) | Operation::Literal(_), .. }] => None,
            [Step { lead_length: 0, operation, .. }] => Some(operation),
            _ => None,
        }
    }

    /// What yields its values.
    pub(super) fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.0.iter().map(|step| &step.operation)
    }

    pub(super) fn write<E: Escape>(&self, out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) {
        let mut sink = LineSink::<E> { out, times, escape: PhantomData };
        for step in &self.0 {
            append(sink.out, &step.lead, step.lead_length);
            step.operation.evaluate(record, &mut sink);
        }
    }
}

impl Step {
    /// Appends `operation` with `literal` before it, and empties that.
    fn push(steps: &mut Vec<Self>, literal: &mut Vec<u8>, operation: Operation) {
        let mut lead = [0; 8];
        if let Some(place) = lead.get_mut(..literal.len()) {
            place.copy_from_slice(literal);
        } else {
            let text = Operation::Literal(std::mem::take(literal).into());
            steps.push(Self { lead, lead_length: 0, operation: text });
        }
        steps.push(Self { lead, lead_length: literal.len(), operation });
        literal.clear();
    }
}

/// How bytes are written within a line.
pub(super) trait Escape {
    /// What stands for an absent value.
    const ABSENT: &'static [u8] = b"-";

    fn escape(out: &mut Vec<u8>, bytes: &[u8]);
}

struct InText;
pub(super) struct InJson;

impl Escape for InText {
    fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
        escaped_text(out, bytes);
    }
}

impl Escape for InJson {
    fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
        escaped_json(out, bytes);
    }
}

/// As `E`, but nothing stands for an absent value.
pub(super) struct Omitting<E>(PhantomData<E>);

impl<E: Escape> Escape for Omitting<E> {
    const ABSENT: &'static [u8] = b"";

    fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
        E::escape(out, bytes);
    }
}

/// Writes values between other text.
struct LineSink<'a, E> {
    out: &'a mut Vec<u8>,
    times: &'a mut Timestamps,
    escape: PhantomData<E>,
}

impl<E: Escape> Sink for LineSink<'_, E> {
    fn parts(&mut self) -> (&mut Vec<u8>, &mut Timestamps) {
        (self.out, self.times)
    }

    fn absent(&mut self) {
        self.out.extend_from_slice(E::ABSENT);
    }

    fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
        E::escape(out, bytes);
    }
}

fn names(layout: &Layout, head: Head) -> Vec<FieldName> {
    let mut names = Vec::new();
    let mut look = |operation: &Operation| {
        let Some(lookup) = operation.lookup() else { return };
        for name in lookup.names().filter(|_| lookup.head == head) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    };
    match layout {
        Layout::Text(template) => template.operations().for_each(look),
        Layout::Json(line) => line.for_each_operation(&mut look),
    }
    names
}

#[cfg(test)]
mod tests {
    use ::http::Version;
    use config_model::model::{FormatError, Json, JsonObject};
    use proptest::prelude::*;
    use regex::Regex;
    use serde_json::{Value, json};

    use super::super::record::CapturedHeaders;
    use super::super::tests::{answered, headers, record};
    use super::*;
    use crate::telemetry::{Address, Flags};

    fn text_format(format: &str) -> LineFormat {
        LineFormat::new(&AccessLogFormat::Text(Format::parse(format).unwrap()))
    }

    fn line(format: &LineFormat, record: &AccessRecord<'_>) -> String {
        let mut out = Vec::new();
        format.write(&mut out, &mut Timestamps::default(), record);
        String::from_utf8(out).unwrap()
    }

    fn json_format(members: &[(&str, &str)]) -> LineFormat {
        let member = |(name, format): &(&str, &str)| ((*name).into(), Json::Text(Format::parse(format).unwrap()));
        LineFormat::new(&AccessLogFormat::Json(members.iter().map(member).collect()))
    }

    fn request_fields() -> http1::Head {
        headers(&[
            ("user-agent", "probe/1"),
            ("x-request-id", "11111111-2222-4333-8444-555555555555"),
            ("x-forwarded-for", "10.1.2.3"),
        ])
    }

    #[test]
    fn an_answered_request_is_one_line_of_istios_default() {
        let (request, response) = (request_fields(), headers(&[("x-envoy-upstream-service-time", "6")]));
        let format = LineFormat::new(&AccessLogFormat::Text(Format::istio_default()));
        let line = line(&format, &answered(&request, &response));
        let expected = r#"[2026-01-02T03:04:05.678Z] "POST /logged?x=1 HTTP/1.1" 200 - via_upstream - "-" 5 812 7 6 "10.1.2.3" "probe/1" "11111111-2222-4333-8444-555555555555" "log.example" "127.0.0.31:9080" outbound|9080||one.default.svc.cluster.local 127.0.0.1:40000 127.0.0.1:8080 10.1.2.3:0 - default"#;
        assert_eq!(line, format!("{expected}\n"));
        let contract = r#"^\[\d{4}-\d\d-\d\dT[^\]]+\] "POST /logged\?x=1 HTTP/1\.1" 200 - \S+ \S+ "-" 5 \d+ \d+ \d+ "[^"]*" "probe/1" "[^"]+" "log\.example" "127\.0\.0\.31:\d+""#;
        assert!(Regex::new(contract).unwrap().is_match(&line));
    }

    #[test]
    fn what_is_absent_is_a_dash() {
        let format = LineFormat::new(&AccessLogFormat::Text(Format::istio_default()));
        let refused = AccessRecord {
            status: 503,
            flags: Flags::UPSTREAM_CONNECTION_FAILURE | Flags::CONNECT_ATTEMPTS_EXCEEDED,
            details: Some("upstream_reset_before_response_started{remote connection failure}"),
            upstream_transport_failure_reason: Some("delayed connect error: 111"),
            ..record()
        };
        let expected = r#"[2026-01-02T03:04:05.678Z] "GET / HTTP/1.1" 503 UF,URX upstream_reset_before_response_started{remote_connection_failure} - "delayed_connect_error:_111" 0 0 - - "-" "-" "-" "reviews" "-" - - - - - -"#;
        assert_eq!(line(&format, &refused), format!("{expected}\n"));
    }

    #[test]
    fn every_command_has_a_value() {
        let (request, response) = (request_fields(), headers(&[("x-version", "v2")]));
        let trailers = headers(&[("grpc-status", "14")]);
        let full = AccessRecord {
            response_trailers: &trailers,
            grpc_status: Some(15),
            original_path: Some(b"/before?secret=1"),
            server_name: Some("shop.example"),
            ..answered(&request, &response)
        };
        for (format, value) in [
            ("%START_TIME(%s.%3f)%", "1767323045.678"),
            ("%REQ(:METHOD)% %REQ(:path)% %REQ(:authority)% %REQ(:scheme)%", "POST /logged?x=1 log.example http"),
            ("%REQ(HOST)%", "log.example"),
            ("%REQ(user-agent)%|%REQ(missing)%|%REQ(missing?user-agent)%", "probe/1|-|probe/1"),
            ("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/before?secret=1"),
            ("%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH)%", "/before"),
            ("%PATH%|%PATH(NQ)%|%PATH(WQ:PATH)%|%PATH(NQ:ORIG)%", "/before?secret=1|/before|/logged?x=1|/before"),
            ("%QUERY_PARAM(x)%|%QUERY_PARAM(y)%", "1|-"),
            ("%REQ_WITHOUT_QUERY(:PATH)%|%REQ_WITHOUT_QUERY(user-agent)%", "/logged|probe/1"),
            ("%RESP(x-version)%|%RESP(:STATUS)%|%RESP(:path)%", "v2|200|-"),
            ("%TRAILER(grpc-status)%|%TRAILER(x-version)%", "14|-"),
            ("%GRPC_STATUS%|%GRPC_STATUS(CAMEL_STRING)%|%GRPC_STATUS(SNAKE_STRING)%", "DataLoss|DataLoss|DATA_LOSS"),
            ("%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%", "15|15"),
            ("%PROTOCOL%|%RESPONSE_CODE%|%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%", "HTTP/1.1|200|-|via_upstream"),
            ("%BYTES_RECEIVED%|%BYTES_SENT%", "5|812"),
            ("%DURATION%|%REQUEST_DURATION%|%RESPONSE_DURATION%|%RESPONSE_TX_DURATION%", "7|1|6|2"),
            ("%UPSTREAM_HOST%|%UPSTREAM_LOCAL_ADDRESS%", "127.0.0.31:9080|127.0.0.1:40000"),
            ("%UPSTREAM_CLUSTER_RAW%", "outbound|9080||one.default.svc.cluster.local"),
            ("%UPSTREAM_CLUSTER%", "outbound|9080||one.default.svc.cluster.local;"),
            ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "1"),
            ("%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%|%UPSTREAM_LOCAL_PORT%", "127.0.0.1|40000"),
            ("%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%UPSTREAM_REMOTE_PORT%", "127.0.0.31|9080"),
            ("%DOWNSTREAM_LOCAL_ADDRESS%|%DOWNSTREAM_LOCAL_PORT%", "127.0.0.1:8080|8080"),
            ("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_REMOTE_PORT%", "127.0.0.1|0"),
            ("%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.1.2.3:0|10.1.2.3"),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "127.0.0.1:50000"),
            ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1"),
            ("%DOWNSTREAM_DIRECT_REMOTE_PORT%", "50000"),
            ("%REQUESTED_SERVER_NAME%|%ROUTE_NAME%|%VIRTUAL_HOST_NAME%", "shop.example|default|log.example:80"),
            ("%CONNECTION_TERMINATION_DETAILS%|%UPSTREAM_TRANSPORT_FAILURE_REASON%", "-|-"),
            ("%DYNAMIC_METADATA(a:b)%|%UNIQUE_ID:3%", "-|-"),
            ("100%% %REQ(user-agent):3% %DURATION:1% %RESPONSE_CODE:2%", "100% pro 7 20"),
        ] {
            assert_eq!(line(&text_format(format), &full), format!("{value}\n"), "{format}");
        }
        assert_ne!(line(&text_format("%HOSTNAME%"), &full), "-\n");
    }

    #[test]
    fn a_status_without_a_name_is_its_number_and_only_calls_have_one() {
        let format = text_format("%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS_NUMBER%");
        for (status, want) in [(Some(17), "17|17|17"), (Some(0), "OK|OK|0"), (None, "-|-|-")] {
            assert_eq!(line(&format, &AccessRecord { grpc_status: status, ..record() }), format!("{want}\n"));
        }
    }

    #[test]
    fn versions_and_addresses_of_either_kind_are_written() {
        let six = |text: &str| Some(Address::Ip(text.parse().unwrap()));
        let request = AccessRecord {
            downstream_remote_address: six("[2001:db8::7]:50000"),
            downstream_local_address: six("[::1]:8080"),
            ..record()
        };
        for (protocol, text) in [
            (Version::HTTP_10, "HTTP/1.0"),
            (Version::HTTP_11, "HTTP/1.1"),
            (Version::HTTP_2, "HTTP/2"),
            (Version::HTTP_3, "HTTP/3"),
            (Version::HTTP_09, "-"),
        ] {
            assert_eq!(line(&text_format("%PROTOCOL%"), &AccessRecord { protocol, ..request }), format!("{text}\n"));
        }
        let addresses = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_PORT%";
        assert_eq!(line(&text_format(addresses), &request), "[2001:db8::7]:50000 2001:db8::7 8080\n");
        let json = json_format(&[("client", "%DOWNSTREAM_REMOTE_ADDRESS%"), ("port", "%DOWNSTREAM_LOCAL_PORT%")]);
        assert_eq!(line(&json, &request), "{\"client\":\"[2001:db8::7]:50000\",\"port\":8080}\n");
        let written = Some(Address::Written("[2001:db8::7]:50000".parse().unwrap(), "[2001:db8::7]:50000"));
        let request = AccessRecord { downstream_remote_address: written, ..request };
        assert_eq!(line(&text_format(addresses), &request), "[2001:db8::7]:50000 2001:db8::7 8080\n");
        assert_eq!(line(&json, &request), "{\"client\":\"[2001:db8::7]:50000\",\"port\":8080}\n");
        let unix = Some(Address::Unix("/run/mesh.sock"));
        let request = AccessRecord { downstream_remote_address: unix, downstream_local_address: unix, ..record() };
        assert_eq!(line(&text_format(addresses), &request), "/run/mesh.sock /run/mesh.sock \n", "as Envoy has it");
    }

    #[test]
    fn a_value_is_cut_before_it_is_escaped() {
        let (request, response) = (headers(&[("user-agent", "a\"\"bcd")]), http1::Head::default());
        let record = answered(&request, &response);
        assert_eq!(line(&text_format("<%REQ(user-agent):2%>"), &record), "<a\\\">\n");
        assert_eq!(line(&text_format("<%REQ(absent):2%>"), &record), "<->\n");
        assert_eq!(line(&json_format(&[("a", "%REQ(user-agent):2%")]), &record), "{\"a\":\"a\\\"\"}\n");
    }

    #[test]
    fn a_client_cannot_set_the_original_path() {
        let request = headers(&[("x-envoy-original-path", "/forged")]);
        let response = http1::Head::default();
        let line = line(&text_format("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"), &answered(&request, &response));
        assert_eq!(line, "/logged?x=1\n");
    }

    #[test]
    fn a_text_gets_a_line_feed_if_it_has_none() {
        assert_eq!(line(&text_format("a\n"), &record()), "a\n");
        assert_eq!(line(&text_format("a"), &record()), "a\n");
        assert_eq!(line(&text_format(""), &record()), "\n");
    }

    /// Envoy 1.40 writes these two lines.
    #[test]
    fn json_within_json_is_written_as_envoy_does_it() {
        let members: JsonObject<String> = serde_json::from_str(
            r#"{"z": "%PROTOCOL%", "a": {"b": "%RESPONSE_CODE%", "gone": "%REQ(x-missing)%", "deep": {"only": "%REQ(x-missing)%"},
            "mixed": "<%REQ(x-missing)%>"}, "n": 5, "f": 1.5, "t": true, "nul": null, "list": ["%REQ(x-missing)%",
            "%RESPONSE_CODE%", 7, null, {"x": "%REQ(x-missing)%"}, ["%REQ(x-missing)%"]], "pct": "100%%", "obj": {}, "neg": -3}"#,
        )
        .unwrap();
        let format = |text: &String| Format::parse(text);
        let members: Result<_, _> =
            members.iter().map(|(name, value)| Ok((name.clone(), value.try_map(&format)?))).collect();
        let format = LineFormat::new(&AccessLogFormat::Json(members.map_err(|error: FormatError| error).unwrap()));
        let record = AccessRecord { status: 200, ..record() };
        let whole = concat!(
            r#"{"a":{"b":200,"deep":{"only":null},"gone":null,"mixed":"<->"},"f":1.5,"list":[null,200,7,null,{"x":null},"#,
            r#"[null]],"n":5,"neg":-3,"nul":null,"obj":{},"pct":"100%","t":true,"z":"HTTP/1.1"}"#,
        );
        assert_eq!(line(&format, &record), format!("{whole}\n"));
        let present = concat!(
            r#"{"a":{"b":200,"mixed":"<>"},"f":1.5,"list":[200,7,[]],"n":5,"neg":-3,"pct":"100%","t":true,"#,
            r#""z":"HTTP/1.1"}"#,
        );
        assert_eq!(line(&format.omitting_absent(), &record), format!("{present}\n"));
    }

    #[test]
    fn json_is_in_order_keeps_types_and_writes_null_for_what_is_absent() {
        let (request, response) = (request_fields(), http1::Head::default());
        let format = json_format(&[
            ("start_time", "%START_TIME%"),
            ("response_code", "%RESPONSE_CODE%"),
            ("flags", "%RESPONSE_FLAGS%"),
            ("duration", "%DURATION%"),
            ("sni", "%REQUESTED_SERVER_NAME%"),
            ("mixed \"text\"", "took %DURATION% ms, sni %REQUESTED_SERVER_NAME% \"\\"),
            ("agent", "%REQ(user-agent)%"),
            ("literal", "1"),
            ("empty", ""),
        ]);
        let text = line(&format, &answered(&request, &response));
        let expected = concat!(
            r#"{"agent":"probe/1","duration":7,"empty":"","flags":"-","literal":"1","mixed \"text\"":"took 7 ms, sni - \"\\","#,
            r#""response_code":200,"sni":null,"start_time":"2026-01-02T03:04:05.678Z"}"#,
            "\n"
        );
        assert_eq!(text, expected);
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["mixed \"text\""], json!("took 7 ms, sni - \"\\"));
        assert_eq!(line(&json_format(&[]), &record()), "{}\n");
    }

    #[test]
    fn what_is_absent_leaves_nothing_behind_if_that_is_asked_for() {
        // As Envoy 1.40 writes them, but for the order.
        let fields = [
            ("a", "%REQ(missing)%"),
            ("b", "%RESPONSE_CODE%"),
            ("c", "x%REQ(missing)%y"),
            ("d", "%REQ(missing)%%REQ(gone)%"),
            ("f", "%RESPONSE_FLAGS%"),
            ("m", "%UPSTREAM_HOST%"),
            ("n", ""),
        ];
        let record = AccessRecord { status: 200, ..record() };
        let json = line(&json_format(&fields).omitting_absent(), &record);
        assert_eq!(json, "{\"b\":200,\"c\":\"xy\",\"d\":\"\",\"f\":\"-\",\"n\":\"\"}\n");
        assert_eq!(line(&json_format(&fields[..1]).omitting_absent(), &record), "{}\n");
        let text = text_format("[%REQ(missing)%] [%RESPONSE_FLAGS%] [%UPSTREAM_HOST%] [%REQ(missing):3%]");
        assert_eq!(line(&text.omitting_absent(), &record), "[] [-] [] []\n");
    }

    #[test]
    fn the_fields_that_a_line_needs_can_be_kept_from_a_head_that_leaves() {
        let (request, response) =
            (request_fields(), headers(&[("x-envoy-upstream-service-time", "6"), ("date", "now")]));
        for format in [Format::istio_default(), Format::parse("%RESP(x-absent)% %RESP(date):2%").unwrap()] {
            let format = LineFormat::new(&AccessLogFormat::Text(format));
            let whole = answered(&request, &response);
            let captured = CapturedHeaders::of(&format.response_headers().into(), &response);
            let kept = AccessRecord { response_headers: &captured, ..whole };
            assert_eq!(line(&format, &kept), line(&format, &whole));
        }
    }

    #[test]
    fn a_line_allocates_nothing_once_its_buffer_has_grown() {
        let (request, response) = (request_fields(), headers(&[("x-envoy-upstream-service-time", "6")]));
        let record = answered(&request, &response);
        let format = LineFormat::new(&AccessLogFormat::Text(Format::istio_default()));
        let (mut out, mut times) = (Vec::new(), Timestamps::default());
        format.write(&mut out, &mut times, &record);
        let allocations = allocation_counter::measure(|| {
            for _ in 0..100 {
                out.clear();
                format.write(&mut out, &mut times, &record);
            }
        });
        assert_eq!(allocations.count_total, 0);
    }

    proptest! {
        #[test]
        fn no_value_breaks_a_line_or_its_json(agent in prop::collection::vec(0x20u8..=0xff, 0..40), path in "/[ -~]{0,20}") {
            let mut request = http1::Head::default();
            request.append(b"user-agent", &agent);
            let record = AccessRecord { path: path.as_bytes(), request_headers: &request, ..record() };
            let text = line(&LineFormat::new(&AccessLogFormat::Text(Format::istio_default())), &record);
            prop_assert_eq!(text.matches('\n').count(), 1);
            let quotes = text.replace("\\\\", "").replace("\\\"", "").matches('"').count();
            prop_assert_eq!(quotes, 14);
            let json = line(&json_format(&[("agent", "%REQ(user-agent)%"), ("path", "<%REQ(:path)%>")]), &record);
            let read: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(&read["path"], &json!(format!("<{path}>")));
        }
    }

    #[test]
    fn a_header_value_is_not_escaped_and_nothing_where_there_is_nothing() {
        let (request, response) = (headers(&[("x-user", "\"jane\"")]), http1::Head::default());
        let record = answered(&request, &response);
        for (format, value) in [
            ("%REQ(x-user)%", "\"jane\""),
            ("%REQ(absent)%", ""),
            ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "10.1.2.3"),
            ("%START_TIME%", "2026-01-02T03:04:05.678Z"),
        ] {
            let mut out = Vec::new();
            for piece in Format::parse(format).unwrap().pieces() {
                if let Piece::Command(command, _) = piece {
                    record.write_command(command, &mut out);
                }
            }
            assert_eq!(String::from_utf8(out).unwrap(), value, "{format}");
        }
    }
}
