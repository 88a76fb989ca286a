//! Rules for changes to headers.

use super::names;
use crate::decode::{Located, Map, Path, Report, Text};
use crate::model::Format;
use crate::resource::{HeaderOperations, Headers};

/// Checks the changes of a rule or a destination.
pub(super) fn check(headers: Option<&Headers>, at: &Path<'_>, report: &mut Report) {
    let Some(headers) = headers else { return };
    let at = at.field("headers");
    if let Some(request) = &headers.request {
        operations(request, true, &at.field("request"), report);
    }
    if let Some(response) = &headers.response {
        operations(response, false, &at.field("response"), report);
    }
}

/// The authority may be set or added on requests, never removed.
fn operations(operations: &HeaderOperations, authority: bool, at: &Path<'_>, report: &mut Report) {
    values(&operations.set, authority, &at.field("set"), report);
    values(&operations.add, authority, &at.field("add"), report);
    let at = at.field("remove");
    for (index, header) in operations.remove.iter().enumerate() {
        name(header, false, &at.index(index), report);
    }
}

fn values(map: &Map<Located<Format>>, authority: bool, at: &Path<'_>, report: &mut Report) {
    for (header, value) in map.iter() {
        let at = at.key(&header.value);
        name(header, authority, &at, report);
        if value.as_str().chars().any(|c| c.is_ascii_control() && c != '\t') {
            report.error(value.position, &at, "must not have control characters", Some("write the value on one line"));
        }
    }
}

fn name(header: &Text, authority: bool, at: &Path<'_>, report: &mut Report) {
    if let Err(problem) = names::changed_header(&header.value, authority) {
        report.error(header.position, at, problem, None);
    }
}
