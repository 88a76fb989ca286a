//! Times as text. Source: Envoy, "Access logging", `%START_TIME%`: strftime with `%f`, `%1f` to `%9f` for fractions of a second
//! and `%s` for seconds since 1970; always UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::text::{number, padded};

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A second in the Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Civil {
    year: u64,
    /// 1 to 12
    month: u64,
    /// 1 to 31
    day: u64,
    /// 1 to 366
    day_of_year: u64,
    /// 0 is Sunday.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// By years that begin in March, so that the leap day is their last.
    fn new(seconds: u64) -> Self {
        let days = seconds / 86_400;
        let shifted = days + 719_468; // Days since 0000-03-01.
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_march_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_march_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let day_of_year =
            if month <= 2 { day_of_march_year - 306 } else { day_of_march_year + 59 + u64::from(leap) } + 1;
        Self {
            year,
            month,
            day: day_of_march_year - (153 * march_month + 2) / 5 + 1,
            day_of_year,
            weekday: (days + 4) % 7,
            hour: seconds / 3600 % 24,
            minute: seconds / 60 % 60,
            second: seconds % 60,
        }
    }

    fn month_name(self) -> &'static str {
        MONTHS.get(self.month as usize - 1).copied().unwrap_or_default()
    }

    fn day_name(self) -> &'static str {
        DAYS.get(self.weekday as usize).copied().unwrap_or_default()
    }
}

/// Time since 1970; what was before counts as 1970.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-01-02T03:04:05.678Z`, with the part that changes once a second kept.
#[derive(Debug, Default)]
pub(super) struct Timestamps {
    second: Option<u64>,
    text: [u8; 24],
}

impl Timestamps {
    /// Appends `time` to `out`.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let since = since_epoch(time);
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            self.renew(since);
        }
        let millis = since.subsec_millis();
        let digit = |place: u32| b'0' + (millis / place % 10) as u8;
        let [.., hundreds, tens, ones, _] = &mut self.text;
        (*hundreds, *tens, *ones) = (digit(100), digit(10), digit(1));
        out.extend_from_slice(&self.text);
    }

    fn renew(&mut self, since: Duration) {
        let mut text = Vec::with_capacity(self.text.len());
        let civil = Civil::new(since.as_secs());
        civil.write(&mut text, 'F', since);
        text.push(b'T');
        civil.write(&mut text, 'T', since);
        text.extend_from_slice(b".000Z");
        self.text.iter_mut().zip(text).for_each(|(place, byte)| *place = byte);
    }
}

/// A strftime format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeFormat(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Specifier(char),
    /// So many digits of the fraction of a second.
    Fraction(usize),
    /// Seconds with so many digits of their fraction: `%E3S`.
    SecondsAndFraction(usize),
}

impl TimeFormat {
    /// Compiles `source`; what is no specifier stands for itself.
    pub(super) fn new(source: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(start) = rest.find('%') {
            let (literal, specifier) = rest.split_at(start);
            parts.push(Part::Literal(literal.to_owned()));
            let (part, length) = Part::parse(specifier);
            parts.push(part);
            rest = specifier.get(length..).unwrap_or_default();
        }
        parts.push(Part::Literal(rest.to_owned()));
        parts.retain(|part| *part != Part::Literal(String::new()));
        Self(parts)
    }

    /// Appends `time` to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>, time: SystemTime) {
        let since = since_epoch(time);
        let civil = Civil::new(since.as_secs());
        self.0.iter().for_each(|part| part.write(out, since, civil));
    }
}

impl Part {
    /// The part at the beginning of `text`, which is a percent sign, and its length.
    fn parse(text: &str) -> (Self, usize) {
        let digit = |place: usize| text.as_bytes().get(place).filter(|byte| (b'1'..=b'9').contains(byte));
        let fraction = |place: usize| digit(place).map_or(9, |byte| usize::from(byte - b'0'));
        match text.as_bytes() {
            [b'%', b'f', ..] => (Self::Fraction(9), 2),
            [b'%', b'1'..=b'9', b'f', ..] => (Self::Fraction(fraction(1)), 3),
            [b'%', b'E', b'1'..=b'9', b'S', ..] => (Self::SecondsAndFraction(fraction(2)), 4),
            [b'%', specifier, ..] if b"YmdeHMSyjaAbBhITDFRsZzpuwnt%".contains(specifier) => {
                (Self::Specifier(char::from(*specifier)), 2)
            }
            _ => (Self::Literal("%".to_owned()), 1),
        }
    }

    fn write(&self, out: &mut Vec<u8>, since: Duration, civil: Civil) {
        match self {
            Self::Literal(text) => out.extend_from_slice(text.as_bytes()),
            Self::Fraction(digits) => fraction(out, since, *digits),
            Self::SecondsAndFraction(digits) => {
                padded(out, civil.second, 2);
                out.push(b'.');
                fraction(out, since, *digits);
            }
            Self::Specifier(specifier) => civil.write(out, *specifier, since),
        }
    }
}

fn fraction(out: &mut Vec<u8>, since: Duration, digits: usize) {
    let start = out.len();
    padded(out, since.subsec_nanos().into(), 9);
    out.truncate(start + digits);
}

impl Civil {
    fn write(self, out: &mut Vec<u8>, specifier: char, since: Duration) {
        let mut all = |specifiers: &[char], between: u8| {
            for (place, specifier) in specifiers.iter().enumerate() {
                if place > 0 {
                    out.push(between);
                }
                self.write(out, *specifier, since);
            }
        };
        match specifier {
            'F' => all(&['Y', 'm', 'd'], b'-'),
            'D' => all(&['m', 'd', 'y'], b'/'),
            'T' => all(&['H', 'M', 'S'], b':'),
            'R' => all(&['H', 'M'], b':'),
            'a' => out.extend_from_slice(self.day_name().as_bytes().get(..3).unwrap_or_default()),
            'A' => out.extend_from_slice(self.day_name().as_bytes()),
            'b' | 'h' => out.extend_from_slice(self.month_name().as_bytes().get(..3).unwrap_or_default()),
            'B' => out.extend_from_slice(self.month_name().as_bytes()),
            'p' => out.extend_from_slice(if self.hour < 12 { b"AM" } else { b"PM" }),
            'Z' => out.extend_from_slice(b"UTC"),
            'z' => out.extend_from_slice(b"+0000"),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '%' => out.push(b'%'),
            _ => self.write_number(out, specifier, since),
        }
    }

    fn write_number(self, out: &mut Vec<u8>, specifier: char, since: Duration) {
        match specifier {
            'Y' => padded(out, self.year, 4),
            'y' => padded(out, self.year % 100, 2),
            'm' => padded(out, self.month, 2),
            'd' => padded(out, self.day, 2),
            'e' => {
                if self.day < 10 {
                    out.push(b' ');
                }
                number(out, self.day);
            }
            'H' => padded(out, self.hour, 2),
            'I' => padded(out, (self.hour + 11) % 12 + 1, 2),
            'M' => padded(out, self.minute, 2),
            'S' => padded(out, self.second, 2),
            'j' => padded(out, self.day_of_year, 3),
            'u' => number(out, (self.weekday + 6) % 7 + 1),
            'w' => number(out, self.weekday),
            _ => number(out, since.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    fn formatted(format: &str, time: SystemTime) -> String {
        let mut out = Vec::new();
        TimeFormat::new(format).write(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_default_is_iso_8601_with_milliseconds() {
        let mut timestamps = Timestamps::default();
        for (time, text) in [
            (at(1_767_323_045, 678_900_000), "2026-01-02T03:04:05.678Z"),
            (at(1_767_323_045, 1_000_000), "2026-01-02T03:04:05.001Z"),
            (at(1_767_323_046, 0), "2026-01-02T03:04:06.000Z"),
            (at(0, 0), "1970-01-01T00:00:00.000Z"),
            (at(951_782_400, 999_999_999), "2000-02-29T00:00:00.999Z"),
            (at(4_107_542_399, 0), "2100-02-28T23:59:59.000Z"),
            (at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            timestamps.write(&mut out, time);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn every_specifier_is_written() {
        let time = at(1_767_323_045, 678_901_234); // Friday, 2026-01-02 03:04:05
        for (format, text) in [
            ("%Y/%m/%dT%H:%M:%S%z %s", "2026/01/02T03:04:05+0000 1767323045"),
            ("%s.%3f", "1767323045.678"),
            ("%f|%1f|%6f", "678901234|6|678901"),
            ("%FT%E3SZ", "2026-01-02T05.678Z"),
            ("%a %A %b %h %B %e %j %u %w", "Fri Friday Jan Jan January  2 002 5 5"),
            ("%D %T %R %I%p %y %Z%n%t%%", "01/02/26 03:04:05 03:04 03AM 26 UTC\n\t%"),
            ("100%", "100%"),
            ("%Q%", "%Q%"),
            ("%é", "%é"),
        ] {
            assert_eq!(formatted(format, time), text, "{format}");
        }
        assert_eq!(formatted("%I%p %j", at(1_798_761_600 - 1, 0)), "11PM 365");
    }

    proptest! {
        #[test]
        fn any_text_is_a_format_and_what_is_no_specifier_stays(text in "[%a-zA-Z0-9é ]{0,20}", seconds in any::<u32>()) {
            let written = formatted(&text, at(seconds.into(), 0));
            prop_assert!(text.contains('%') || written == text);
            prop_assert_eq!(formatted(&text.replace('%', "%%"), at(seconds.into(), 0)), text);
        }

        #[test]
        fn days_follow_one_another(day in 0u64..200_000) {
            let (today, tomorrow) = (Civil::new(day * 86_400), Civil::new((day + 1) * 86_400));
            let next_month = tomorrow.day == 1 && today.day >= 28 && tomorrow.month == today.month % 12 + 1;
            prop_assert!(tomorrow.day == today.day + 1 && tomorrow.month == today.month || next_month);
            prop_assert_eq!(tomorrow.year, today.year + u64::from(tomorrow.day_of_year == 1));
            prop_assert!(tomorrow.day_of_year == 1 || tomorrow.day_of_year == today.day_of_year + 1);
            prop_assert_eq!(tomorrow.day_of_year == 1, tomorrow.day == 1 && tomorrow.month == 1);
            prop_assert_eq!(tomorrow.weekday, (today.weekday + 1) % 7);
        }
    }
}
