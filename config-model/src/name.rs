//! Host names and labels as Istio compares them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Labels of a workload, a subset or a selector.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Whether every label of `selector` is among `labels`; an empty selector selects everything.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

/// A host as rules name it: exact, or with a leading wildcard. Always in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub enum HostPattern {
    /// `reviews.default.svc.cluster.local`
    Exact(Arc<str>),
    /// `*.shop.example`, kept as `.shop.example`: takes every depth below, not `shop.example` itself.
    Suffix(Arc<str>),
    /// `*`
    Any,
}

impl HostPattern {
    /// Reads `host` as written in a resource; never fails, validation has looked at the characters before.
    pub fn parse(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some("") => Self::Any,
            Some(suffix) => Self::Suffix(suffix.into()),
            None => Self::Exact(host.into()),
        }
    }

    /// As [`HostPattern::parse`], for a host that is in lower case already.
    pub(crate) fn from_lower(host: Arc<str>) -> Self {
        match host.strip_prefix('*') {
            Some("") => Self::Any,
            Some(suffix) => Self::Suffix(suffix.into()),
            None => Self::Exact(host),
        }
    }

    /// Whether `host`, in lower case and without a port, is one of those that this pattern names.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// The hosts that both patterns name, if there are any: the narrower of the two.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_within(other) {
            Some(self.clone())
        } else if other.is_within(self) {
            Some(other.clone())
        } else {
            None
        }
    }

    /// Whether every host of this pattern is also one of `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, _) => false,
            (Self::Exact(host), _) => other.matches(host),
            (Self::Suffix(inner), Self::Suffix(outer)) => inner.ends_with(&**outer),
            (Self::Suffix(_), Self::Exact(_)) => false,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_takes_every_depth_below_but_not_the_name_itself() {
        let pattern = HostPattern::parse("*.Shop.example");
        for (host, matches) in
            [("a.shop.example", true), ("x.y.shop.example", true), ("shop.example", false), (".shop.example", false)]
        {
            assert_eq!(pattern.matches(host), matches, "{host}");
        }
    }

    #[test]
    fn the_narrower_pattern_is_kept_whichever_side_it_is_on() {
        let table = [
            ("*.shop.example", "a.shop.example", Some("a.shop.example")),
            ("a.shop.example", "*.shop.example", Some("a.shop.example")),
            ("*.a.example", "*.example", Some("*.a.example")),
            ("*", "*.example", Some("*.example")),
            ("a.example", "b.example", None),
            ("*.a.example", "*.b.example", None),
        ];
        for (left, right, want) in table {
            let got = HostPattern::parse(left).intersection(&HostPattern::parse(right));
            assert_eq!(got.map(|pattern| pattern.to_string()).as_deref(), want, "{left} and {right}");
        }
    }
}
