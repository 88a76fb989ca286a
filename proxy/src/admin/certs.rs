//! `/certs`: certificates in use, in Envoy's format.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::Context;
use super::answer::{self, Answer};
use crate::control::CertificateStatus;
use crate::tls::Facts;

/// `/certs`
pub(super) fn certs(_: &Request<Bytes>, context: &Context) -> Answer {
    let applied = context.status.applied();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    let entries: Vec<Value> = applied.certificates.iter().map(|status| entry(status, now)).collect();
    answer::json(StatusCode::OK, &json!({ "certificates": entries }))
}

fn entry(status: &CertificateStatus, now: i64) -> Value {
    let details: Vec<Value> = status.facts().iter().map(|facts| details(&status.name, facts, now)).collect();
    if status.is_authority {
        json!({ "ca_cert": details, "cert_chain": [] })
    } else {
        json!({ "ca_cert": [], "cert_chain": details })
    }
}

fn details(name: &str, facts: &Facts, now: i64) -> Value {
    const DAY: i64 = 24 * 60 * 60;
    let names: Vec<Value> = facts.names.alternative().map(|(kind, name)| json!({ kind: name })).collect();
    json!({
        "path": name,
        "serial_number": facts.serial,
        "subject": facts.names.subject,
        "subject_alt_names": names,
        "days_until_expiration": (facts.valid_until.saturating_sub(now) / DAY).max(0).to_string(),
        "valid_from": time(facts.valid_from),
        "expiration_time": time(facts.valid_until),
    })
}

/// As RFC 3339 has it, in UTC.
fn time(seconds: i64) -> String {
    let time = x509_parser::time::ASN1Time::from_timestamp(seconds).map(|time| time.to_datetime());
    time.map_or_else(
        |_| seconds.to_string(),
        |time| {
            let (date, clock) = (time.date(), time.time());
            let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
            format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", clock.hour(), clock.minute(), clock.second())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_795_694_461), "2026-11-26T12:01:01Z");
    }
}
