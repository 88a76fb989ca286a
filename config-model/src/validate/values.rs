//! Rules for values that many resources share: durations, ports, percentages, labels, `exportTo`, destinations.

use std::collections::HashSet;
use std::sync::Arc;

use super::names::{self, Check};
use crate::decode::{Duration, Located, Path, Report, Text, suggest};
use crate::name::Labels;
use crate::origin::{Position, ResourceId};
use crate::resource::{Destination, Percent, PortSelector, WorkloadSelector};

/// Reports why a text is not of its form.
pub(super) fn text(text: &Text, check: impl Fn(&str) -> Check, at: &Path<'_>, report: &mut Report, hint: &str) {
    if let Err(problem) = check(&text.value) {
        let hint = (!hint.is_empty()).then_some(hint);
        report.error(text.position, at, problem, hint);
    }
}

/// A text that has to be there; `position` is that of the object that should have it.
pub(super) fn required(value: &Text, position: Position, at: &Path<'_>, report: &mut Report, hint: &str) -> bool {
    if value.value.is_empty() {
        report.error(place(value, position), at, "is required", Some(hint));
        return false;
    }
    true
}

/// Where a value stands, or else the object that might have had it.
pub(super) fn place<T>(value: &Located<T>, object: Position) -> Position {
    if value.is_written() { value.position } else { object }
}

pub(super) const MILLISECOND: i64 = 1_000_000;

/// Istio counts in milliseconds, from one.
pub(super) fn duration(duration: Option<&Located<Duration>>, at: &Path<'_>, report: &mut Report) {
    let Some(duration) = duration else { return };
    let problem = if duration.nanoseconds < MILLISECOND {
        format!("must be at least 1ms, found {}", duration.value)
    } else if duration.nanoseconds % MILLISECOND != 0 {
        format!("must be whole milliseconds, found {}", duration.value)
    } else {
        return;
    };
    report.error(duration.position, at, problem, Some("write a duration such as 0.5s"));
}

/// A port that has to be one.
pub(super) fn port(port: &Located<u16>, position: Position, at: &Path<'_>, report: &mut Report) {
    if port.value == 0 {
        let message = if port.is_written() { "must be from 1 to 65535, found 0" } else { "is required" };
        report.error(place(port, position), at, message, Some("write a port from 1 to 65535"));
    }
}

/// A port that some object selects.
pub(super) fn selector(selector: Option<&PortSelector>, at: &Path<'_>, report: &mut Report) {
    if let Some(selector) = selector {
        port(&selector.number, selector.position, &at.field("number"), report);
    }
}

/// The name of a protocol.
pub(super) fn protocol(name: &Text, at: &Path<'_>, report: &mut Report) -> Option<names::Protocol> {
    let known = names::protocol(&name.value);
    if known.is_none() {
        let near = suggest(&name.value, &names::PROTOCOLS).map(|near| format!("did you mean {near}?"));
        let hint = near.unwrap_or_else(|| format!("use one of {}", names::PROTOCOLS.join(", ")));
        report.error(name.position, at, format_args!("unknown protocol {:?}", name.value), Some(&hint));
    }
    known
}

/// A number that must not be below zero.
pub(super) fn not_negative(number: &Located<i32>, at: &Path<'_>, report: &mut Report) {
    if number.value < 0 {
        let message = format_args!("must not be negative, found {}", number.value);
        report.error(number.position, at, message, Some("write 0 or more"));
    }
}

/// A share from 0 to 100.
pub(super) fn percent(number: &Located<i32>, at: &Path<'_>, report: &mut Report) {
    if !(0..=100).contains(&number.value) {
        let message = format_args!("must be from 0 to 100 percent, found {}", number.value);
        report.error(number.position, at, message, Some("write a percentage"));
    }
}

/// A share from 0 to 100 with a fraction; what is too small to happen is refused if `fine`.
pub(super) fn percentage(percent: Option<&Percent>, fine: bool, at: &Path<'_>, report: &mut Report) {
    let Some(percent) = percent else { return };
    let value = percent.value.value;
    let tiny = fine && value > 0.0 && value < 0.0001;
    if !(0.0..=100.0).contains(&value) || tiny {
        let message = format_args!("must be 0 or from 0.0001 to 100 percent, found {value}");
        report.error(percent.value.position, &at.field("value"), message, Some("write a percentage"));
    }
}

/// Labels that select or mark. `position` is that of the object that has them.
pub(super) fn labels(labels: &Labels, position: Position, at: &Path<'_>, report: &mut Report) {
    for (key, value) in labels {
        if let Err(problem) = names::label_key(key).and_then(|()| names::label_value(value)) {
            report.error(position, &at.key(key), problem, Some("use letters, digits, - _ and ."));
        }
    }
}

/// Workloads of the namespace, by their labels.
pub(super) fn workloads(selector: Option<&WorkloadSelector>, at: &Path<'_>, report: &mut Report) {
    if let Some(selector) = selector {
        selecting(&selector.labels, selector.position, &at.field("workloadSelector").field("labels"), report);
    }
}

/// Labels that select workloads of the namespace.
pub(super) fn selecting(labels: &Labels, position: Position, at: &Path<'_>, report: &mut Report) {
    if labels.is_empty() {
        report.warning(position, at, "is empty and so selects the whole namespace", None);
    }
    for (key, value) in labels {
        if key.is_empty() || key.contains('*') || value.contains('*') {
            let message = "must not have an empty key or a wildcard";
            report.error(position, &at.key(key), message, Some("name the labels in full"));
        }
    }
}

/// `exportTo`; a ServiceEntry may be exported to nobody, `~`.
pub(super) fn export_to(list: &[Text], id: &ResourceId, nobody: bool, spec: &Path<'_>, report: &mut Report) {
    let field = spec.field("exportTo");
    let mut seen: HashSet<Arc<str>> = HashSet::new();
    for (index, entry) in list.iter().enumerate() {
        let at = field.index(index);
        let own = *entry.value == *".";
        let meaning = if own { Arc::clone(&id.namespace) } else { Arc::clone(&entry.value) };
        let special = *meaning == *"*" || (nobody && *meaning == *"~");
        if !special && !names::is_dns_label(&meaning) {
            let message = format_args!("must be ., * or a namespace, found {:?}", entry.value);
            report.error(entry.position, &at, message, None);
        }
        if special && list.len() > 1 {
            let message = format_args!("{:?} must stand alone", entry.value);
            report.error(entry.position, &at, message, Some("remove the other entries"));
        }
        if !seen.insert(meaning) {
            let message = format_args!("names {:?} a second time", entry.value);
            report.error(entry.position, &at, message, Some("remove one of them"));
        }
    }
}

/// A service, its subset and its port.
pub(super) fn destination(destination: &Destination, at: &Path<'_>, report: &mut Report) {
    let host = at.field("host");
    if required(&destination.host, destination.position, &host, report, "name a service") {
        if *destination.host.value == *"*" {
            report.error(destination.host.position, &host, "must not be *", Some("name a service"));
        } else {
            text(&destination.host, names::wildcard_host, &host, report, "name a service, as reviews or a.example");
        }
    }
    if !destination.subset.value.is_empty() {
        text(&destination.subset, names::dns_label, &at.field("subset"), report, "");
    }
    selector(destination.port.as_ref(), &at.field("port"), report);
}

/// A destination that a message has to have.
pub(super) fn destination_of(
    destination: Option<&Destination>,
    position: Position,
    at: &Path<'_>,
    report: &mut Report,
) {
    let at = at.field("destination");
    match destination {
        Some(destination) => self::destination(destination, &at, report),
        None => report.error(position, &at, "is required", Some("name a host")),
    }
}

/// Weights of destinations, each with the place of its destination: none below zero, not all of several zero.
pub(super) fn weights<'a>(
    weights: impl Iterator<Item = (&'a Located<i32>, Position)> + Clone,
    at: &Path<'_>,
    report: &mut Report,
) {
    for (index, (weight, _)) in weights.clone().enumerate() {
        not_negative(weight, &at.index(index).field("weight"), report);
    }
    let sum: i64 = weights.clone().map(|(weight, _)| i64::from(weight.value)).sum();
    let is_split = weights.clone().count() > 1;
    let is_zero = sum == 0 && is_split && !report.has_error_within(at);
    let Some((first, position)) = weights.into_iter().next().filter(|_| is_zero) else { return };
    let message = "the weights of several destinations sum to 0";
    report.error(place(first, position), at, message, Some("give one of them a weight"));
}
