//! What the demo shows: for each version the configured share beside the observed one, counted since the last change.

use std::time::Instant;

use super::reviews::Version;
use super::traffic::Outcome;
use crate::cli::terminal::{DIM, ERROR, GOOD, HEADING, paint};
use crate::cli::words::percent;

/// Characters of a bar.
const BAR: usize = 32;

/// Counts and shares.
#[derive(Debug)]
pub(crate) struct Board {
    started: Instant,
    changed: Instant,
    /// By version; `None` while requests are not forwarded to `reviews` at all.
    configured: Option<[f64; 3]>,
    answered: [u64; 3],
    answered_before: u64,
    failed: u64,
    last_failure: Option<String>,
}

impl Board {
    /// A board that begins to count at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            started: now,
            changed: now,
            configured: None,
            answered: [0; 3],
            answered_before: 0,
            failed: 0,
            last_failure: None,
        }
    }

    /// Takes the shares that are configured now; returns whether they are other ones, from which counting begins again.
    pub(crate) fn configure(&mut self, shares: Option<[f64; 3]>, now: Instant) -> bool {
        if self.configured == shares {
            return false;
        }
        self.configured = shares;
        self.changed = now;
        self.answered_before += self.answered.iter().sum::<u64>();
        self.answered = [0; 3];
        true
    }

    /// Counts a request that began at `asked`. One that began before the last change may have been routed by other shares.
    pub(crate) fn count(&mut self, asked: Instant, outcome: Outcome) {
        match outcome {
            Outcome::Answered(_) if asked < self.changed => self.answered_before += 1,
            Outcome::Answered(version) => {
                for (known, count) in Version::ALL.into_iter().zip(&mut self.answered) {
                    *count += u64::from(known == version);
                }
            }
            Outcome::Failed(reason) => {
                self.failed += 1;
                self.last_failure = Some(reason);
            }
        }
    }

    /// Requests that failed.
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    fn rows(&self) -> impl Iterator<Item = Line> {
        let sum: u64 = self.answered.iter().sum();
        let share = move |count: u64| if sum == 0 { 0.0 } else { count as f64 / sum as f64 };
        let configured = self.configured.map_or([None; 3], |shares| shares.map(Some));
        let rows = Version::ALL.into_iter().zip(configured).zip(self.answered);
        rows.map(move |((version, configured), count)| Line { version, configured, observed: share(count), count })
    }

    /// The picture for a terminal.
    pub(crate) fn picture(&self, now: Instant) -> Vec<String> {
        let title = format!("  {:<17}{:>11}{:>10}  {:<BAR$}{:>9}", "reviews", "configured", "observed", "", "answers");
        let mut lines = vec![paint(HEADING, title)];
        lines.extend(self.rows().map(|row| row.draw()));
        let since = now.saturating_duration_since(self.changed).as_secs();
        let failed = paint(if self.failed == 0 { GOOD } else { ERROR }, format!("{} failed", self.failed));
        let all = self.answered_before + self.answered.iter().sum::<u64>();
        lines.push(format!("  counted for {since} s, since the last change; {all} answers in all, {failed}"));
        lines.extend(self.last_failure.iter().map(|reason| paint(DIM, format!("  last failure: {reason}"))));
        lines
    }

    /// The same on one line.
    pub(crate) fn summary(&self, now: Instant) -> String {
        let parts: Vec<String> = self.rows().map(|row| row.brief()).collect();
        let age = now.saturating_duration_since(self.started).as_secs();
        let all = self.answered_before + self.answered.iter().sum::<u64>();
        let failure = self.last_failure.as_ref().map(|reason| format!(" (last: {reason})")).unwrap_or_default();
        format!("{age:>4} s  {}  answers {all}, failed {}{failure}", parts.join("  "), self.failed)
    }
}

struct Line {
    version: Version,
    configured: Option<f64>,
    observed: f64,
    count: u64,
}

impl Line {
    fn draw(&self) -> String {
        let stars = self.version.star_color().map_or("no stars".to_owned(), |color| format!("{color} stars"));
        let configured = self.configured.map_or("-".to_owned(), percent);
        let name = format!("{} {stars}", self.version);
        let (observed, bar) = (percent(self.observed), bar(self.observed, self.configured));
        format!("  {name:<17}{configured:>11}{observed:>10}  {bar}{:>9}", self.count)
    }

    fn brief(&self) -> String {
        let configured = self.configured.map_or("-".to_owned(), percent);
        format!("{} configured {configured} observed {} ({})", self.version, percent(self.observed), self.count)
    }
}

/// The observed share as a bar; the configured one as a stroke across it.
fn bar(observed: f64, configured: Option<f64>) -> String {
    let place = |share: f64| (share * BAR as f64).round() as usize;
    let stroke = configured.filter(|share| *share > 0.0).map(|share| place(share).max(1) - 1);
    let cell = |at: usize| match (stroke == Some(at), at < place(observed)) {
        (true, _) => '┃',
        (false, true) => '█',
        (false, false) => '·',
    };
    (0..BAR).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn board() -> (Board, Instant) {
        let now = Instant::now();
        let mut board = Board::new(now);
        board.configure(Some([0.5, 0.5, 0.0]), now);
        (board, now)
    }

    #[test]
    fn counting_begins_again_when_the_shares_change_and_only_then() {
        let (mut board, now) = board();
        board.count(now, Outcome::Answered(Version::V1));
        assert!(!board.configure(Some([0.5, 0.5, 0.0]), now));
        assert!(board.summary(now).contains("v1 configured 50% observed 100% (1)"));
        let later = now + Duration::from_secs(1);
        assert!(board.configure(Some([0.1, 0.9, 0.0]), later));
        board.count(now, Outcome::Answered(Version::V1));
        board.count(later, Outcome::Answered(Version::V2));
        assert!(
            board.summary(later).contains("v1 configured 10% observed 0% (0)  v2 configured 90% observed 100% (1)")
        );
        assert!(board.summary(later).contains("answers 3, failed 0"));
    }

    #[test]
    fn a_failure_is_counted_and_its_reason_shown() {
        let (mut board, now) = board();
        board.count(now, Outcome::Failed("503 no healthy upstream".to_owned()));
        assert_eq!(board.failed(), 1);
        assert!(board.summary(now).ends_with("failed 1 (last: 503 no healthy upstream)"));
        assert!(board.picture(now + Duration::from_secs(3)).iter().any(|line| line.contains("counted for 3 s")));
    }

    #[test]
    fn the_stroke_in_a_bar_stands_at_the_configured_share() {
        assert_eq!(bar(0.5, Some(0.5)), "███████████████┃················");
        assert_eq!(bar(0.0, Some(0.0)), "································");
        assert_eq!(bar(1.0, None), "████████████████████████████████");
        assert_eq!(bar(0.25, Some(1.0)), "████████·······················┃");
    }
}
