//! Durations as Go's `time.ParseDuration` reads them, which is what Istio does, and timestamps by RFC 3339.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A length of time as written: it may be negative, which validation refuses where it makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    /// Nanoseconds.
    pub nanoseconds: i64,
}

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(milliseconds: i64) -> Self {
        Self { nanoseconds: milliseconds.saturating_mul(1_000_000) }
    }

    /// As the standard library's type; zero for a negative length, which no validated resource holds.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.nanoseconds).unwrap_or(0))
    }
}

impl FromStr for Duration {
    type Err = ();

    /// `1m30s`, `0.5s`, `-1s`, `0`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (sign, mut rest) = match text.as_bytes() {
            [b'-', ..] => (-1, text.get(1..).ok_or(())?),
            [b'+', ..] => (1, text.get(1..).ok_or(())?),
            _ => (1, text),
        };
        if rest == "0" {
            return Ok(Self::default());
        }
        let mut nanoseconds: i64 = 0;
        while {
            let (part, after) = part(rest).ok_or(())?;
            nanoseconds = nanoseconds.checked_add(part).ok_or(())?;
            rest = after;
            !rest.is_empty()
        } {}
        Ok(Self { nanoseconds: sign * nanoseconds })
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn part(text: &str) -> Option<(i64, &str)> {
    let number_length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at_checked(number_length)?;
    let unit_length = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, rest) = rest.split_at_checked(unit_length)?;
    let scale: i64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
    whole.checked_mul(scale)?.checked_add(fraction_of(fraction, scale)?).map(|nanoseconds| (nanoseconds, rest))
}

/// `fraction` are the digits after the point. Digits below a nanosecond are cut off.
fn fraction_of(fraction: &str, scale: i64) -> Option<i64> {
    let mut total: i128 = 0;
    let mut place = i128::from(scale) * 1_000_000_000_000;
    for digit in fraction.chars() {
        place /= 10;
        total += place * i128::from(digit.to_digit(10)?);
    }
    i64::try_from(total / 1_000_000_000_000).ok()
}

impl fmt::Display for Duration {
    /// `1.5s`, as protobuf's JSON form has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanoseconds < 0 { "-" } else { "" };
        let all = self.nanoseconds.unsigned_abs();
        let fraction = format!("{:09}", all % 1_000_000_000);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{}{point}{fraction}s", all / 1_000_000_000)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A moment, as `metadata.creationTimestamp` has it. Later moments compare as greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds in that second.
    pub nanoseconds: u32,
}

impl FromStr for Timestamp {
    type Err = ();

    /// `2026-01-31T12:00:00.5+01:00`
    fn from_str(text: &str) -> Result<Self, ()> {
        moment(text).ok_or(())
    }
}

fn moment(text: &str) -> Option<Timestamp> {
    let fixed = |range: std::ops::Range<usize>, least: i64, most: i64| number(text.get(range)?, least, most);
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(index, byte)| text.as_bytes().get(index) != Some(&byte)) {
        return None;
    }
    if !matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')) {
        return None;
    }
    let (year, month, day) = (fixed(0..4, 0, 9999)?, fixed(5..7, 1, 12)?, fixed(8..10, 1, 31)?);
    let (hour, minute, second) = (fixed(11..13, 0, 23)?, fixed(14..16, 0, 59)?, fixed(17..19, 0, 60)?);
    let rest = text.get(19..)?;
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count() + 1);
    let (fraction, zone) = rest.split_at_checked(digits)?;
    if digits == 1 {
        return None;
    }
    let nanoseconds = fraction_of(fraction.trim_start_matches('.'), 1_000_000_000)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset(zone)?;
    Some(Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).ok()? })
}

/// Seconds that the zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', ..] => (1, zone.get(1..)?),
        [b'-', ..] => (-1, zone.get(1..)?),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    Some(sign * (number(hours, 0, 23)? * 3_600 + number(minutes, 0, 59)? * 60))
}

fn number(text: &str, least: i64, most: i64) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value: i64 = text.parse().ok().filter(|_| digits)?;
    (least..=most).contains(&value).then_some(value)
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March so that the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

impl fmt::Display for Timestamp {
    /// In UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.seconds.div_euclid(86_400) + 719_468, self.seconds.rem_euclid(86_400));
        let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let (day, month) = (of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)?;
        let fraction = format!("{:09}", self.nanoseconds);
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() { f.write_str("Z") } else { write!(f, ".{fraction}Z") }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("1s", Some("1s")),
            ("0.3s", Some("0.3s")),
            (".5s", Some("0.5s")),
            ("1.s", Some("1s")),
            ("1m30s", Some("90s")),
            ("1h1.5m", Some("3690s")),
            ("250ms", Some("0.25s")),
            ("1us", Some("0.000001s")),
            ("-1s", Some("-1s")),
            ("+2s", Some("2s")),
            ("0", Some("0s")),
            ("0.0000000001s", Some("0s")),
            ("2562047h", Some("9223369200s")),
            ("2562048h", None),
            ("soon", None),
            ("", None),
            ("1", None),
            ("s", None),
            (".s", None),
            ("1..5s", None),
            ("1s ", None),
            ("1d", None),
            ("--1s", None),
        ] {
            assert_eq!(text.parse::<Duration>().ok().map(|duration| duration.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn timestamps_are_moments_whatever_their_zone() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some("1970-01-01T00:00:00Z")),
            ("2024-02-29T23:59:59Z", Some("2024-02-29T23:59:59Z")),
            ("2026-01-31T12:00:00.25+01:00", Some("2026-01-31T11:00:00.25Z")),
            ("2025-12-31t23:30:00-01:00", Some("2026-01-01T00:30:00Z")),
            ("1969-12-31T23:59:59Z", Some("1969-12-31T23:59:59Z")),
            ("2026-01-31", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-31T12:00:00", None),
            ("2026-01-31T12:00:00.Z", None),
            ("2026-01-31T12:00:00+1", None),
            ("soon", None),
        ] {
            assert_eq!(text.parse::<Timestamp>().ok().map(|moment| moment.to_string()).as_deref(), want, "{text}");
        }
        let parse = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(parse("2026-01-01T00:00:00Z") < parse("2026-01-01T00:00:00.5Z"));
        assert_eq!(parse("2001-09-09T01:46:40Z").seconds, 1_000_000_000);
    }
}
