//! The checked-in counts, and the comparison with new ones.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A rise by more than so many percent fails.
const RISE_MAX_PERCENT: f64 = 3.0;

const HEAD: &str = "# Instructions in user space of each operation, under callgrind. Written by `benches/run --update`.\n\
                    # A count that rises by more than 3 % fails `benches/run`: see README.md.\n\n[instructions]\n";

/// Counts by name of benchmark.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Baseline(BTreeMap<String, u64>);

/// New counts beside those of the baseline.
#[derive(Debug)]
pub(crate) struct Report(Vec<Line>);

#[derive(Debug)]
struct Line {
    name: String,
    before: Option<u64>,
    now: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Change {
    /// In percent.
    Rise(f64),
    /// In percent; small rises and all falls.
    Fine(f64),
    NotInBaseline,
    NotMeasured,
}

impl FromStr for Baseline {
    type Err = String;

    /// Reads lines `"name" = 123` under one heading, which is all of TOML that is needed here.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', '[']));
        let entry = |(number, line): (u32, &str)| {
            let entry = line.split_once('=').and_then(|(name, count)| {
                Some((name.trim().trim_matches('"').to_owned(), count.trim().replace('_', "").parse().ok()?))
            });
            entry.ok_or_else(|| format!("line {number}: not of the form \"name\" = 123"))
        };
        lines.map(entry).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        self.0.iter().try_for_each(|(name, count)| writeln!(f, "\"{name}\" = {count}"))
    }
}

impl Baseline {
    /// Compares `counts` with the benchmarks whose name contains `part`.
    pub(crate) fn compare(&self, counts: &BTreeMap<String, u64>, part: &str) -> Report {
        let gone = self.0.keys().filter(|name| name.contains(part) && !counts.contains_key(*name));
        let names = counts.keys().chain(gone);
        let line = |name: &String| Line {
            name: name.clone(),
            before: self.0.get(name).copied(),
            now: counts.get(name).copied(),
        };
        Report(names.map(line).collect())
    }

    /// Puts `counts` in place of the benchmarks whose name contains `part`.
    pub(crate) fn replace(&mut self, counts: BTreeMap<String, u64>, part: &str) {
        self.0.retain(|name, _| !name.contains(part));
        self.0.extend(counts);
    }
}

impl Report {
    /// Whether nothing has risen, and every benchmark has a baseline and the other way round.
    pub(crate) fn is_good(&self) -> bool {
        self.0.iter().all(|line| matches!(line.change(), Change::Fine(_)))
    }
}

impl Line {
    fn change(&self) -> Change {
        match (self.before, self.now) {
            (None, _) => Change::NotInBaseline,
            (_, None) => Change::NotMeasured,
            (Some(before), Some(now)) => {
                let percent = (now as f64 - before as f64) / before.max(1) as f64 * 100.0;
                if percent > RISE_MAX_PERCENT { Change::Rise(percent) } else { Change::Fine(percent) }
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} {:>12} {:>12}", "instructions per operation", "baseline", "now")?;
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        let bad = self.0.iter().filter(|line| !matches!(line.change(), Change::Fine(_))).count();
        write!(f, "{} passed, {bad} failed, 0 skipped", self.0.len() - bad)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
        write!(f, "{:<34} {:>12} {:>12}", self.name, count(self.before), count(self.now))?;
        match self.change() {
            Change::Rise(percent) => write!(f, " {percent:>+7.1} %  ROSE: make it cheaper, or say why with --update"),
            Change::Fine(percent) => write!(f, " {percent:>+7.1} %"),
            Change::NotInBaseline => write!(f, "  NEW: add it with --update"),
            Change::NotMeasured => write!(f, "  GONE: remove it with --update"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: &[(&str, u64)]) -> BTreeMap<String, u64> {
        entries.iter().map(|&(name, count)| (name.to_owned(), count)).collect()
    }

    #[test]
    fn a_count_may_rise_by_three_percent_and_fall_by_any() {
        let baseline = Baseline(counts(&[("pick", 1000)]));
        for (now, good) in [(1000, true), (1030, true), (1031, false), (2000, false), (1, true)] {
            assert_eq!(baseline.compare(&counts(&[("pick", now)]), "").is_good(), good, "{now}");
        }
    }

    #[test]
    fn benchmarks_and_baseline_must_name_the_same() {
        let baseline = Baseline(counts(&[("pick", 1000)]));
        let new = baseline.compare(&counts(&[("pick", 1000), ("split", 5)]), "");
        assert!(!new.is_good() && new.to_string().contains("NEW"));
        let gone = baseline.compare(&counts(&[]), "");
        assert!(!gone.is_good() && gone.to_string().contains("GONE"));
        assert!(baseline.compare(&counts(&[("split", 5)]), "split").to_string().starts_with("instructions"));
    }

    #[test]
    fn what_was_not_asked_for_is_neither_compared_nor_replaced() {
        let mut baseline = Baseline(counts(&[("pick/10", 1), ("split", 2)]));
        assert!(baseline.compare(&counts(&[("pick/10", 1)]), "pick").is_good());
        baseline.replace(counts(&[("pick/20", 3)]), "pick");
        assert_eq!(baseline, Baseline(counts(&[("pick/20", 3), ("split", 2)])));
    }

    #[test]
    fn a_baseline_reads_what_it_writes() {
        let baseline = Baseline(counts(&[("decide/10-prefixes", 1234), ("split", 2)]));
        assert_eq!(baseline.to_string().parse(), Ok(baseline));
    }

    #[test]
    fn a_line_that_is_no_count_is_refused_with_its_number() {
        assert_eq!("[instructions]\n\"a\" = 1_000".parse(), Ok(Baseline(counts(&[("a", 1000)]))));
        for text in ["\n\"a\" = b", "\na"] {
            assert_eq!(text.parse::<Baseline>(), Err("line 2: not of the form \"name\" = 123".to_owned()), "{text}");
        }
    }

    #[test]
    fn the_report_ends_with_its_counts() {
        let baseline = Baseline(counts(&[("a", 100), ("b", 100)]));
        let report = baseline.compare(&counts(&[("a", 100), ("b", 110)]), "").to_string();
        assert!(report.contains("ROSE") && report.ends_with("1 passed, 1 failed, 0 skipped"), "{report}");
    }
}
