//! Lines that are objects of JSON: what stands in them as it is, and values in between.

use config_model::model::{Format, Json, JsonObject};

use super::format::{Escape, InJson, Omitting, Template};
use super::record::AccessRecord;
use super::text::escaped_json;
use super::time::Timestamps;
use super::value::{Operation, Sink};

/// A line, which is an object.
#[derive(Debug, Clone)]
pub(super) struct JsonLine(Vec<Member>);

/// A member of an object.
#[derive(Debug, Clone)]
struct Member {
    /// `,"start_time":`
    lead: Vec<u8>,
    value: Node,
}

/// A value.
#[derive(Debug, Clone)]
enum Node {
    /// A single command, which keeps its type.
    Single(Operation),
    /// A text with commands.
    Text(Template),
    List(Vec<Self>),
    Object(Vec<Member>),
    /// What is there already.
    Constant(Vec<u8>),
    Null,
}

impl JsonLine {
    /// Compiles the object `members`.
    pub(super) fn new(members: &JsonObject<Format>) -> Self {
        Self(compiled(members))
    }

    /// Appends the line for `record`, with its line feed; what is absent is `null`, or leaves nothing behind.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        times: &mut Timestamps,
        record: &AccessRecord<'_>,
        omits_absent: bool,
    ) {
        if !omits_absent {
            write_object(&self.0, out, times, record);
        } else if !write_present_members(&self.0, out, times, record) {
            out.extend_from_slice(b"{}");
        }
        out.push(b'\n');
    }

    /// Every step in it.
    pub(super) fn for_each_operation<'l>(&'l self, look: &mut impl FnMut(&'l Operation)) {
        self.0.iter().for_each(|member| member.value.for_each_operation(look));
    }
}

fn compiled(members: &JsonObject<Format>) -> Vec<Member> {
    let member = |(name, value)| {
        let mut lead = vec![b',', b'"'];
        escaped_json(&mut lead, str::as_bytes(name));
        lead.extend_from_slice(b"\":");
        Member { lead, value: Node::new(value) }
    };
    members.iter().map(|(name, value)| member((&**name, value))).collect()
}

impl Node {
    fn new(value: &Json<Format>) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(truth) => Self::Constant(truth.to_string().into_bytes()),
            Json::Number(number) => Self::Constant(number.to_string().into_bytes()),
            Json::Text(format) => {
                let template = Template::new(format, "", escaped_json);
                template.single().cloned().map_or_else(|| Self::Text(template), Self::Single)
            }
            Json::List(values) => Self::List(values.iter().map(Self::new).collect()),
            Json::Object(members) => Self::Object(compiled(members)),
        }
    }

    fn write(&self, out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) {
        match self {
            Self::Single(operation) => {
                operation.evaluate(record, &mut JsonSink { out, times, is_absent: false });
            }
            Self::Text(template) => write_text::<InJson>(template, out, times, record),
            Self::List(values) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    value.write(out, times, record);
                }
                out.push(b']');
            }
            Self::Object(members) => write_object(members, out, times, record),
            Self::Constant(text) => out.extend_from_slice(text),
            Self::Null => out.extend_from_slice(b"null"),
        }
    }

    /// The same, but nothing at all of what is absent: of null, and of an object without a member that is there. Yields whether it is
    /// there. Source: Envoy, `omit_empty_values`, which keeps lists.
    fn write_present(&self, out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) -> bool {
        let start = out.len();
        let is_present = match self {
            Self::Single(operation) => {
                let mut sink = JsonSink { out, times, is_absent: false };
                operation.evaluate(record, &mut sink);
                !sink.is_absent
            }
            Self::Text(template) => {
                write_text::<Omitting<InJson>>(template, out, times, record);
                true
            }
            Self::List(values) => {
                out.push(b'[');
                for value in values {
                    if out.len() > start + 1 {
                        out.push(b',');
                    }
                    let before = out.len();
                    if !value.write_present(out, times, record) {
                        out.truncate(before.saturating_sub(usize::from(before > start + 1)));
                    }
                }
                out.push(b']');
                true
            }
            Self::Object(members) => write_present_members(members, out, times, record),
            Self::Constant(text) => {
                out.extend_from_slice(text);
                true
            }
            Self::Null => false,
        };
        if !is_present {
            out.truncate(start);
        }
        is_present
    }

    fn for_each_operation<'n>(&'n self, look: &mut impl FnMut(&'n Operation)) {
        match self {
            Self::Single(operation) => look(operation),
            Self::Text(template) => template.operations().for_each(look),
            Self::List(values) => values.iter().for_each(|value| value.for_each_operation(look)),
            Self::Object(members) => members.iter().for_each(|member| member.value.for_each_operation(look)),
            Self::Constant(_) | Self::Null => {}
        }
    }
}

fn write_object(members: &[Member], out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) {
    let start = out.len();
    for member in members {
        out.extend_from_slice(&member.lead);
        member.value.write(out, times, record);
    }
    begin_object(out, start);
    out.push(b'}');
}

/// Yields whether any member is there.
fn write_present_members(
    members: &[Member],
    out: &mut Vec<u8>,
    times: &mut Timestamps,
    record: &AccessRecord<'_>,
) -> bool {
    let start = out.len();
    for member in members {
        let before = out.len();
        out.extend_from_slice(&member.lead);
        if !member.value.write_present(out, times, record) {
            out.truncate(before);
        }
    }
    let is_present = out.len() > start;
    if is_present {
        begin_object(out, start);
        out.push(b'}');
    }
    is_present
}

/// In place of the comma of its first member.
fn begin_object(out: &mut Vec<u8>, start: usize) {
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
}

fn write_text<E: Escape>(template: &Template, out: &mut Vec<u8>, times: &mut Timestamps, record: &AccessRecord<'_>) {
    out.push(b'"');
    template.write::<E>(out, times, record);
    out.push(b'"');
}

/// Writes a value of a JSON object.
struct JsonSink<'a> {
    out: &'a mut Vec<u8>,
    times: &'a mut Timestamps,
    /// Whether there was no value.
    is_absent: bool,
}

impl Sink for JsonSink<'_> {
    fn parts(&mut self) -> (&mut Vec<u8>, &mut Timestamps) {
        (self.out, self.times)
    }

    fn absent(&mut self) {
        self.is_absent = true;
        self.out.extend_from_slice(b"null");
    }

    fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
        escaped_json(out, bytes);
    }

    fn quote(&mut self) {
        self.out.push(b'"');
    }
}
