//! The explanation as text for a terminal.

use std::fmt::{self, Write};

use super::{Explanation, FaultInjection, HeaderChange, MirrorShare, Origins, Outcome, Policies, Retries, Rule, Share};

const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const BOLD: &str = "1";

impl Explanation {
    /// Lines of text; with `color` they hold ANSI sequences.
    pub fn to_text(&self, color: bool) -> String {
        let mut text = Text { out: String::new(), color };
        // Writing to a string cannot fail.
        let _ = text.explanation(self);
        text.out
    }
}

struct Text {
    out: String,
    color: bool,
}

impl Text {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn explanation(&mut self, explanation: &Explanation) -> fmt::Result {
        let request = self.paint(BOLD, &explanation.request);
        writeln!(self.out, "{request}\n")?;
        self.virtual_hosts(explanation)?;
        if !explanation.rules.is_empty() {
            writeln!(self.out, "rules, the first that matches counts")?;
        }
        explanation.rules.iter().try_for_each(|rule| self.rule(rule))?;
        self.outcome(&explanation.outcome, &explanation.rules)?;
        self.policies(&explanation.policies)?;
        self.headers(&explanation.headers)
    }

    fn virtual_hosts(&mut self, explanation: &Explanation) -> fmt::Result {
        let Some((chosen, others)) = explanation.virtual_hosts.split_first() else {
            let known = match &explanation.known_domains[..] {
                [] => "there is none".to_owned(),
                known => format!("known: {}", known.join(", ")),
            };
            writeln!(self.out, "no virtual host in {} has this host; {known}", explanation.route_configuration)?;
            return explanation.bearers.iter().try_for_each(|bearer| writeln!(self.out, "  {bearer}"));
        };
        let name = self.paint(BOLD, &chosen.virtual_host);
        let origins = self.paint(DIM, &chosen.origins.join(", "));
        writeln!(self.out, "virtual host {name} by {} domain {}  {origins}", chosen.kind, chosen.domain)?;
        for other in others {
            let line = format!("  not tried: {} ({}) of {}", other.domain, other.kind, other.virtual_host);
            let line = self.paint(DIM, &line);
            writeln!(self.out, "{line}")?;
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule) -> fmt::Result {
        let name = rule.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
        let Some(failure) = &rule.failure else {
            let mark = self.paint(GREEN, "match");
            let origin = self.paint(DIM, &rule.origin);
            return writeln!(self.out, "  {mark}   {}{name}  {origin}", rule.route);
        };
        let mark = self.paint(RED, "passed");
        let origin = self.paint(DIM, &failure.origin);
        let why = format!("{} is {}, wants {}", failure.field, failure.actual, failure.expected);
        writeln!(self.out, "  {mark}  {}{name}: {why}  {origin}", rule.route)
    }

    fn outcome(&mut self, outcome: &Outcome, rules: &[Rule]) -> fmt::Result {
        match outcome {
            Outcome::NotFound { nearest } => {
                let answer = self.paint(RED, "404");
                let nearest = nearest.and_then(|position| rules.get(position));
                let nearest = nearest
                    .map_or_else(String::new, |rule| format!(", the nearest is {} at {}", rule.route, rule.origin));
                writeln!(self.out, "answer {answer}: nothing matches{nearest}")
            }
            Outcome::HttpsRedirect { location } => {
                writeln!(self.out, "answer 301 to {location}: the server has httpsRedirect, rules are not tried")
            }
            Outcome::Redirect { status, location, .. } => writeln!(self.out, "answer {status} to {location}"),
            Outcome::Direct { status, body, .. } => {
                writeln!(self.out, "answer {status} with {} bytes made here", body.len())
            }
            Outcome::Forward { destinations, path, rewritten, authority, retries, .. } => {
                writeln!(self.out, "forward, with up to {retries} retries, to")?;
                destinations.iter().try_for_each(|share| self.share(share))?;
                if *rewritten {
                    writeln!(self.out, "path becomes {path}")?;
                }
                authority.iter().try_for_each(|authority| writeln!(self.out, "host becomes {authority}"))
            }
        }
    }

    fn share(&mut self, share: &Share) -> fmt::Result {
        let mark = if share.picked { self.paint(GREEN, "drawn") } else { "     ".to_owned() };
        let missing = if share.exists { String::new() } else { self.paint(RED, " does not exist: 503") };
        let origin = self.paint(DIM, &share.origin);
        let Share { cluster, weight, percent, .. } = share;
        writeln!(self.out, "  {mark}  {percent:5.1}%  weight {weight}  {cluster}{missing}  {origin}")
    }

    fn policies(&mut self, policies: &Policies) -> fmt::Result {
        if let Some(timeout) = &policies.timeout {
            writeln!(self.out, "timeout {timeout}")?;
        }
        policies.retries.iter().filter(|retries| retries.attempts > 0).try_for_each(|retries| self.retries(retries))?;
        policies.fault.iter().try_for_each(|fault| self.fault(fault))?;
        policies.mirrors.iter().try_for_each(|mirror| self.mirror(mirror))?;
        policies.cors.iter().try_for_each(|cors| self.cors(cors))?;
        if !policies.hash.is_empty() {
            writeln!(self.out, "hash by {}", policies.hash.join(", "))?;
        }
        if policies.sticky {
            writeln!(self.out, "split sticky: requests of one hash go to one destination, those without are drawn")?;
        }
        if policies.spill {
            writeln!(self.out, "split spills: destinations without a ready endpoint leave their share to the others")?;
        }
        Ok(())
    }

    fn retries(&mut self, retries: &Retries) -> fmt::Result {
        write!(
            self.out,
            "retry on {}",
            if retries.on.is_empty() { "nothing".to_owned() } else { retries.on.join(", ") }
        )?;
        if let Some(limit) = &retries.per_try_timeout {
            write!(self.out, "; each try up to {limit}")?;
        }
        write!(self.out, "; back-off from {}", retries.back_off)?;
        if retries.remote_localities {
            write!(self.out, "; other localities first")?;
        }
        writeln!(self.out, "{}", if retries.ignore_previous_hosts { "" } else { "; the same endpoint too" })
    }

    fn fault(&mut self, fault: &FaultInjection) -> fmt::Result {
        let shares = [("delay", &fault.delay), ("abort", &fault.abort)].into_iter();
        let shares = shares.filter_map(|(kind, share)| share.as_ref().map(|share| (kind, share)));
        let shares: Vec<String> =
            shares.map(|(kind, share)| format!("{kind} {} for {}%", share.what, share.percent)).collect();
        let scope = if fault.per_attempt { " of attempts" } else { "" };
        let origin = self.paint(DIM, &fault.origin);
        writeln!(self.out, "fault {}{scope}  {origin}", shares.join(", then "))
    }

    fn mirror(&mut self, mirror: &MirrorShare) -> fmt::Result {
        let missing = if mirror.exists { String::new() } else { self.paint(RED, " does not exist: gets nothing") };
        let origin = self.paint(DIM, &mirror.origin);
        writeln!(self.out, "mirror {}% to {}{missing}  {origin}", mirror.percent, mirror.cluster)
    }

    fn cors(&mut self, cors: &Origins) -> fmt::Result {
        let allowed = if cors.allowed.is_empty() { "nobody".to_owned() } else { cors.allowed.join(", ") };
        let others = if cors.forward_unmatched_preflights { "forwarded" } else { "answered with nothing" };
        let origin = self.paint(DIM, &cors.origin);
        writeln!(self.out, "cors for {allowed}; preflights of others are {others}  {origin}")
    }

    fn headers(&mut self, changes: &[HeaderChange]) -> fmt::Result {
        for HeaderChange { head, operation, name, value, by } in changes {
            let value = value.as_ref().map_or_else(String::new, |value| format!(": {value}"));
            let by = self.paint(DIM, by);
            writeln!(self.out, "{head} {operation} {name}{value}  {by}")?;
        }
        Ok(())
    }
}
