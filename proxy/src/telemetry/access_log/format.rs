//! Line formats: compiled once, then written for each request.

use ::http::{HeaderMap, HeaderName};
use config_model::model::{AccessLogFormat, Format, Piece};

use super::record::{AccessRecord, CapturedHeaders};
use super::text::{escaped_json, escaped_text};
use super::time::Timestamps;
use super::value::{Head, Operation, Value};

/// A compiled access-log format.
#[derive(Debug, Clone)]
pub struct LineFormat {
    layout: Layout,
    request_headers: Vec<HeaderName>,
    response_headers: Vec<HeaderName>,
    reads_trailers: bool,
}

#[derive(Debug, Clone)]
enum Layout {
    Text(Vec<Step>),
    Json(Vec<JsonField>),
}

/// A part of a line.
#[derive(Debug, Clone)]
enum Step {
    Literal(Vec<u8>),
    Value(Operation, Option<usize>),
}

#[derive(Debug, Clone)]
struct JsonField {
    /// `{"start_time":` or `,"method":`
    lead: Vec<u8>,
    /// A single command keeps its type; anything else is a string.
    steps: Vec<Step>,
}

impl LineFormat {
    /// Compiles `format`. A text without a line feed at its end gets one, as Istio does.
    pub fn new(format: &AccessLogFormat) -> Self {
        let layout = match format {
            AccessLogFormat::Text(format) => {
                let mut steps = steps(format);
                if !format.as_str().ends_with('\n') {
                    steps.push(Step::Literal(b"\n".to_vec()));
                }
                Layout::Text(steps)
            }
            AccessLogFormat::Json(fields) => Layout::Json(fields.iter().enumerate().map(json_field).collect()),
        };
        let (request, response) = (names(&layout, Head::Request), names(&layout, Head::Response));
        let reads_trailers = lookups(&layout).any(|lookup| lookup.head == Head::Trailers);
        Self { layout, request_headers: request, response_headers: response, reads_trailers }
    }

    /// Fields of the request that a line needs, for a caller whose head goes elsewhere before the line is written.
    pub fn capture_request(&self, headers: &HeaderMap) -> CapturedHeaders {
        CapturedHeaders::of(&self.request_headers, headers)
    }

    /// Fields of the answer that a line needs.
    pub fn capture_response(&self, headers: &HeaderMap) -> CapturedHeaders {
        CapturedHeaders::of(&self.response_headers, headers)
    }

    /// Whether a line needs the answer's trailers.
    pub fn reads_trailers(&self) -> bool {
        self.reads_trailers
    }

    /// Appends the line for `record`, with its line feed.
    pub(super) fn write(&self, out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) {
        match &self.layout {
            Layout::Text(steps) => write_steps(out, times, steps, record, escaped_text),
            Layout::Json(fields) => {
                for field in fields {
                    out.extend_from_slice(&field.lead);
                    write_json(out, times, &field.steps, record);
                }
                out.extend_from_slice(if fields.is_empty() { b"{}\n" } else { b"}\n" });
            }
        }
    }
}

fn steps(format: &Format) -> Vec<Step> {
    let step = |piece: &Piece| match piece {
        Piece::Literal(text) => Step::Literal(text.as_bytes().to_vec()),
        Piece::Command(command, length) => Step::Value(Operation::new(command), *length),
    };
    format.pieces().iter().map(step).collect()
}

fn json_field((place, (name, format)): (usize, &(String, Format))) -> JsonField {
    let mut lead = vec![if place == 0 { b'{' } else { b',' }, b'"'];
    escaped_json(&mut lead, name.as_bytes());
    lead.extend_from_slice(b"\":");
    let mut steps = steps(format);
    for step in &mut steps {
        if let Step::Literal(text) = step {
            let plain = std::mem::take(text);
            escaped_json(text, &plain);
        }
    }
    JsonField { lead, steps }
}

fn lookups(layout: &Layout) -> impl Iterator<Item = &super::value::Lookup> {
    let (text, json) = match layout {
        Layout::Text(steps) => (steps.as_slice(), &[][..]),
        Layout::Json(fields) => (&[][..], fields.as_slice()),
    };
    text.iter().chain(json.iter().flat_map(|field| &field.steps)).filter_map(|step| match step {
        Step::Value(Operation::Lookup(lookup), _) => Some(lookup),
        _ => None,
    })
}

fn names(layout: &Layout, head: Head) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for name in lookups(layout).filter(|lookup| lookup.head == head).flat_map(|lookup| lookup.names()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn write_steps(
    out: &mut Vec<u8>,
    times: &mut Timestamps,
    steps: &[Step],
    record: &AccessRecord<'_>,
    escape: fn(&mut Vec<u8>, &[u8]),
) {
    for step in steps {
        match step {
            Step::Literal(text) => out.extend_from_slice(text),
            Step::Value(operation, cut) => match (operation.value(record), cut) {
                (Value::Absent, _) => out.push(b'-'),
                (value, None) => value.write(out, times, escape),
                (value, Some(length)) => value.write_cut(out, times, escape, *length),
            },
        }
    }
}

fn write_json(out: &mut Vec<u8>, times: &mut Timestamps, steps: &[Step], record: &AccessRecord<'_>) {
    if let [Step::Value(operation, _)] = steps {
        match operation.value(record) {
            Value::Absent => return out.extend_from_slice(b"null"),
            value @ Value::Number(_) => return value.write(out, times, escaped_json),
            _ => {}
        }
    }
    out.push(b'"');
    write_steps(out, times, steps, record, escaped_json);
    out.push(b'"');
}
