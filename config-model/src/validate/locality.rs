//! Rules for preference by locality, of a DestinationRule or of the mesh.

use super::values;
use crate::decode::{Path, Report, Text};
use crate::origin::Position;
use crate::resolve::locality as topology;
use crate::resource::{Distribute, Failover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};

/// The rules that hold wherever the setting stands.
pub(super) fn check(setting: &LocalityLoadBalancerSetting, at: &Path<'_>, report: &mut Report) {
    if let (Some(_), Some(failover)) = (setting.distribute.first(), setting.failover.first()) {
        let message = "must not stand beside distribute";
        report.error(failover.position, &at.field("failover"), message, Some("keep one of the two"));
    }
    if !setting.failover.is_empty() {
        let field = at.field("failoverPriority");
        for (index, label) in setting.failover_priority.iter().enumerate() {
            if topology::PLACES.contains(&&*label.value) {
                let message = format_args!("must not be {:?} beside failover, which orders places too", label.value);
                report.error(label.position, &field.index(index), message, Some("keep one of the two"));
            }
        }
    }
    let field = at.field("distribute");
    let mut sources: Vec<&str> = Vec::new();
    for (index, entry) in setting.distribute.iter().enumerate() {
        let at = field.index(index);
        let from = (values::place(&entry.from, entry.position), at.field("from"));
        locality(&entry.from, &mut sources, &from, report);
        shares(entry, &at.field("to"), report);
    }
    regions(&setting.failover, &at.field("failover"), report);
}

/// The rules that hold for the setting that is aware of zones, wherever it stands.
pub(super) fn zones(setting: &ZoneAwareLoadBalancerSetting, at: &Path<'_>, report: &mut Report) {
    let field = at.field("failoverPriority");
    for (index, label) in setting.failover_priority.iter().enumerate() {
        if topology::PLACES.contains(&&*label.value) {
            let message = format_args!("must not be {:?}, as regions and zones count anyway", label.value);
            report.error(label.position, &field.index(index), message, Some("write failover to order regions"));
        }
    }
    regions(&setting.failover, &at.field("failover"), report);
}

/// That the order of regions and labels can have an effect beside the ejection that there is.
pub(super) fn zones_need_ejection(
    setting: &ZoneAwareLoadBalancerSetting,
    ejects: bool,
    at: &Path<'_>,
    report: &mut Report,
) {
    let fields = [
        ("failover", setting.failover.first().map(|entry| entry.position)),
        ("failoverPriority", setting.failover_priority.first().map(|label| label.position)),
    ];
    for (name, position) in fields {
        if let Some(position) = position.filter(|_| !ejects) {
            let hint = Some("write outlierDetection");
            report.warning(position, &at.field(name), "has no effect without outlierDetection", hint);
        }
    }
}

fn regions(failover: &[Failover], field: &Path<'_>, report: &mut Report) {
    for (index, entry) in failover.iter().enumerate() {
        let regions = [&entry.from.value, &entry.to.value];
        if regions.iter().any(|region| region.contains(['/', '*'])) || regions[0] == regions[1] {
            let message = "must name two different regions, without zone or wildcard";
            report.error(entry.position, &field.index(index), message, None);
        }
    }
}

/// That the setting can have an effect beside the ejection that there is.
pub(super) fn needs_ejection(setting: &LocalityLoadBalancerSetting, ejects: bool, at: &Path<'_>, report: &mut Report) {
    let is_off = setting.enabled.as_ref().is_some_and(|enabled| !enabled.value);
    if !ejects && !is_off && setting.distribute.is_empty() {
        report.warning(setting.position, at, "has no effect without outlierDetection", Some("write outlierDetection"));
    }
}

fn shares(entry: &Distribute, at: &Path<'_>, report: &mut Report) {
    let mut seen: Vec<&str> = Vec::new();
    for (place, weight) in entry.to.iter() {
        let at = at.key(&place.value);
        if !(1..=100).contains(&weight.value) {
            let message = format_args!("must be from 1 to 100 percent, found {}", weight.value);
            report.error(weight.position, &at, message, None);
        }
        locality(place, &mut seen, &(place.position, at), report);
    }
    let sum: u64 = entry.to.iter().map(|(_, weight)| u64::from(weight.value)).sum();
    if sum != 100 {
        report.error(entry.position, at, format_args!("must sum to 100 percent, found {sum}"), None);
    }
}

/// One `region/zone/subzone`, and that it is none of those `seen` before it.
fn locality<'a>(text: &'a Text, seen: &mut Vec<&'a str>, place: &(Position, Path<'_>), report: &mut Report) {
    let (position, at) = place;
    let parts: Vec<&str> = text.splitn(3, '/').collect();
    let wildcard = text.find('*');
    if parts.contains(&"") {
        report.error(*position, at, "must not have an empty part", Some("write region/zone/subzone or region/*"));
    } else if wildcard.is_some_and(|place| place + 1 < text.len()) {
        report.error(*position, at, "must have its wildcard at the end", Some("write region/zone/subzone or region/*"));
    } else if let Some(earlier) = seen.iter().find(|earlier| overlap(earlier, &parts)) {
        // What is left for `*` at the end is welcome.
        if *text.value != *"*" {
            report.error(
                *position,
                at,
                format_args!("overlaps with {earlier:?} before it"),
                Some("name each place once"),
            );
        }
    }
    seen.push(text);
}

fn overlap(earlier: &str, parts: &[&str]) -> bool {
    let earlier = earlier.splitn(3, '/');
    earlier.zip(parts).all(|(earlier, part)| earlier == "*" || *part == "*" || earlier == *part)
}
