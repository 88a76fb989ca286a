//! Rules for endpoint choice: hashing, slow start; those for locality are in `locality`.

use std::collections::HashSet;

use super::{locality, values};
use crate::decode::{Path, Report, Text};
use crate::resource::{
    ConsistentHashLb, HttpCookie, LoadBalancerSettings, OutlierDetection, SimpleLb, WarmupConfiguration,
};

pub(super) fn check(
    balancer: &LoadBalancerSettings,
    outlier: Option<&OutlierDetection>,
    at: &Path<'_>,
    report: &mut Report,
) {
    if let (Some(simple), Some(_)) = (&balancer.simple, &balancer.consistent_hash) {
        let hint = Some("keep one of the two");
        report.error(simple.position, &at.field("simple"), "must not stand beside consistentHash", hint);
    }
    if let Some(simple) = &balancer.simple
        && simple.value == SimpleLb::Passthrough
    {
        let message = "leaves a gateway without endpoints: only a sidecar knows the address that the client asked for";
        report.warning(simple.position, &at.field("simple"), message, None);
    }
    if let Some(hash) = &balancer.consistent_hash {
        consistent_hash(hash, &at.field("consistentHash"), report);
    }
    let both = "must not stand beside zoneAwareLbSetting";
    if let Some(locality) = &balancer.locality_lb_setting {
        let at = at.field("localityLbSetting");
        if balancer.zone_aware_lb_setting.is_some() {
            report.error(locality.position, &at, both, Some("keep one of the two"));
        }
        locality::check(locality, &at, report);
        locality::needs_ejection(locality, outlier.is_some(), &at, report);
    }
    if let Some(zones) = &balancer.zone_aware_lb_setting {
        let at = at.field("zoneAwareLbSetting");
        locality::zones(zones, &at, report);
        locality::zones_need_ejection(zones, outlier.is_some(), &at, report);
    }
    if let Some(warmup) = &balancer.warmup {
        self::warmup(warmup, &at.field("warmup"), report);
    }
    useless_warmup(balancer, at, report);
}

/// A warm-up where weights don't count, or two of them.
fn useless_warmup(balancer: &LoadBalancerSettings, at: &Path<'_>, report: &mut Report) {
    let new = balancer.warmup.as_ref().map(|warmup| (warmup.position, "warmup"));
    let old = balancer.warmup_duration_secs.as_ref().map(|duration| (duration.position, "warmupDurationSecs"));
    let (Some((position, field)), second) = (new.or(old), new.and(old)) else { return };
    let simple = balancer.simple.as_ref().map(|simple| simple.value);
    let beside = match simple {
        _ if balancer.consistent_hash.is_some() => Some("consistentHash"),
        Some(SimpleLb::Random) => Some("RANDOM"),
        _ => None,
    };
    if let Some(beside) = beside {
        let message = format_args!("has no effect beside {beside}, which knows no weights");
        report.warning(position, &at.field(field), message, Some("use ROUND_ROBIN or LEAST_REQUEST"));
    } else if let Some((position, field)) = second {
        report.warning(position, &at.field(field), "has no effect beside warmup", Some("remove it"));
    }
}

/// The largest Maglev table that Envoy takes.
const TABLE_SIZE_MAX: u64 = 5_000_011;

/// The largest ring that Envoy makes.
const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;

fn consistent_hash(hash: &ConsistentHashLb, at: &Path<'_>, report: &mut Report) {
    let keys = [
        ("httpHeaderName", hash.http_header_name.as_ref().map(|name| name.position)),
        ("httpCookie", hash.http_cookie.as_ref().map(|cookie| cookie.position)),
        ("useSourceIp", hash.use_source_ip.as_ref().map(|flag| flag.position)),
        ("httpQueryParameterName", hash.http_query_parameter_name.as_ref().map(|name| name.position)),
    ];
    let mut given = keys.iter().filter_map(|(name, position)| Some((*name, (*position)?)));
    match (given.next(), given.next()) {
        (None, _) => {
            let hint = Some("write httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName");
            let message = format_args!("has no source for its key: endpoints are drawn at random");
            report.warning(hash.position, at, message, hint);
        }
        (Some((first, _)), Some((second, position))) => {
            let message = format_args!("must not stand beside {first}");
            report.error(position, &at.field(second), message, Some("keep one source of the key"));
        }
        _ => {}
    }
    if let Some(cookie) = &hash.http_cookie {
        self::cookie(cookie, &at.field("httpCookie"), report);
    }
    algorithm(hash, at, report);
}

fn algorithm(hash: &ConsistentHashLb, at: &Path<'_>, report: &mut Report) {
    let least = &hash.minimum_ring_size;
    if least.value != 0 {
        let at = at.field("minimumRingSize");
        report.warning(least.position, &at, "is deprecated", Some("use ringHash.minimumRingSize"));
        if hash.ring_hash.is_some() || hash.maglev.is_some() {
            report.error(least.position, &at, "must not stand beside ringHash or maglev", Some("keep one of the two"));
        }
    }
    let size = hash.ring_hash.as_ref().map_or(least, |ring| &ring.minimum_ring_size);
    if size.value > RING_SIZE_MAX {
        let field = if hash.ring_hash.is_some() { at.field("ringHash") } else { at.field("minimumRingSize") };
        let message = format_args!("is more than the {RING_SIZE_MAX} that a ring can have, which is taken instead");
        report.warning(size.position, &field, message, None);
    }
    let Some(maglev) = &hash.maglev else { return };
    let at = at.field("maglev");
    if hash.ring_hash.is_some() {
        report.error(maglev.position, &at, "must not stand beside ringHash", Some("keep one of the two"));
    }
    let size = &maglev.table_size;
    if !is_prime(size.value) || size.value >= TABLE_SIZE_MAX {
        let message = format_args!("must be a prime below {TABLE_SIZE_MAX}, found {}", size.value);
        let position = values::place(size, maglev.position);
        report.error(position, &at.field("tableSize"), message, Some("write a prime such as 65537"));
    }
}

fn is_prime(number: u64) -> bool {
    let is_small = number < TABLE_SIZE_MAX;
    is_small
        && number >= 2
        && (2..).take_while(|factor| factor * factor <= number).all(|factor| !number.is_multiple_of(factor))
}

fn cookie(cookie: &HttpCookie, at: &Path<'_>, report: &mut Report) {
    values::required(&cookie.name, cookie.position, &at.field("name"), report, "name the cookie");
    of_cookie(&cookie.name, &at.field("name"), report);
    of_cookie(&cookie.path, &at.field("path"), report);
    let field = at.field("attributes");
    let mut names = HashSet::new();
    for (index, attribute) in cookie.attributes.iter().enumerate() {
        let entry = field.index(index);
        of_cookie(&attribute.name, &entry.field("name"), report);
        of_cookie(&attribute.value, &entry.field("value"), report);
        let at = entry.field("name");
        let named = values::required(&attribute.name, attribute.position, &at, report, "name the attribute");
        if named && !names.insert(&attribute.name.value) {
            let message = format_args!("{:?} is the name of an earlier attribute", attribute.name.value);
            report.error(attribute.name.position, &at, message, Some("remove one of them"));
        }
    }
}

/// A part of a cookie that is made: nothing that would end it.
fn of_cookie(text: &Text, at: &Path<'_>, report: &mut Report) {
    if text.value.chars().any(|character| character == ';' || character.is_control()) {
        let message = format_args!("must not hold a semicolon or control characters, found {:?}", text.value);
        report.error(text.position, at, message, Some("write each attribute of the cookie as an entry of its own"));
    }
}

fn warmup(warmup: &WarmupConfiguration, at: &Path<'_>, report: &mut Report) {
    if warmup.duration.is_none() {
        report.error(warmup.position, &at.field("duration"), "is required", Some("write a duration such as 30s"));
    }
    values::duration(warmup.duration.as_ref(), &at.field("duration"), report);
    if let Some(percent) = warmup.minimum_percent.as_ref().filter(|percent| !(0.0..=100.0).contains(&percent.value)) {
        let message = format_args!("must be from 0 to 100 percent, found {}", percent.value);
        report.error(percent.position, &at.field("minimumPercent"), message, None);
    }
    if let Some(aggression) = warmup.aggression.as_ref().filter(|aggression| aggression.value <= 0.0) {
        let message = format_args!("must be greater than 0, found {}", aggression.value);
        report.error(aggression.position, &at.field("aggression"), message, None);
    }
}
