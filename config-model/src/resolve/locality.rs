//! Where workloads are, and which of them are near.
//! Source: Istio, `locality` of endpoints, labels `topology.*` and `istio-locality`, `LocalityLoadBalancerSetting`. Start at
//! [`level`].

use std::sync::Arc;

use crate::model::{Failover, Locality, Nearness};
use crate::name::Labels;

/// The labels whose value is a locality, dots for slashes: the first that is there counts.
const LOCALITY: [&str; 2] = ["topology.istio.io/locality", "istio-locality"];
const REGION: &str = "topology.kubernetes.io/region";
const ZONE: &str = "topology.kubernetes.io/zone";
const SUBZONE: &str = "topology.istio.io/subzone";
/// Labels of places, which zones and regions are told by.
pub(crate) const PLACES: [&str; 3] = [REGION, ZONE, SUBZONE];
const NETWORK: &str = "topology.istio.io/network";
const CLUSTER: &str = "topology.istio.io/cluster";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Labels that endpoints of the same zone have, and those of the same node. Source: Istio, `trafficDistribution`.
pub(super) const SAME_ZONE: [&str; 3] = [NETWORK, REGION, ZONE];
pub(super) const SAME_NODE: [&str; 5] = [NETWORK, REGION, ZONE, SUBZONE, HOSTNAME];

/// Levels of [`Nearness`], one for each answer of [`distance`].
const DISTANCES: u32 = 5;

/// Reads `region/zone/subzone`, of which the latter may be missing.
pub(super) fn parse(text: &str) -> Locality {
    let mut parts = text.splitn(3, '/').map(Arc::from);
    let mut next = || parts.next().unwrap_or_default();
    Locality { region: next(), zone: next(), subzone: next() }
}

/// The locality that the label for it gives, in which dots stand for slashes.
pub(super) fn of_label(labels: &Labels) -> Option<Locality> {
    let text = LOCALITY.iter().find_map(|label| labels.get(*label)).filter(|text| !text.is_empty())?;
    Some(if text.contains('/') { parse(text) } else { parse(&text.replace('.', "/")) })
}

/// The locality of a pod or a proxy: by its own label, else by those that Kubernetes copies from its node.
pub(super) fn of_pod(labels: &Labels) -> Locality {
    let value = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let topology = || Locality { region: value(REGION), zone: value(ZONE), subzone: value(SUBZONE) };
    of_label(labels).unwrap_or_else(topology)
}

/// The node of a proxy, if its labels tell it.
pub(crate) fn own_node(labels: &Labels) -> Option<&Arc<str>> {
    labels.get(HOSTNAME).filter(|node| !node.is_empty())
}

/// Whether `locality` is one of those that `pattern` names: in `region/zone/subzone`, a missing or empty part or a `*` is any.
pub(super) fn matches(pattern: &Locality, locality: &Locality) -> bool {
    let part = |pattern: &str, part: &str| matches!(pattern, "" | "*") || pattern == part;
    part(&pattern.region, &locality.region)
        && part(&pattern.zone, &locality.zone)
        && part(&pattern.subzone, &locality.subzone)
}

/// A workload as `failoverPriority` sees it: Istio adds labels for what it knows besides.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) labels: &'a Labels,
    pub(super) locality: &'a Locality,
    /// Empty if unknown.
    pub(super) node: &'a str,
    /// Empty if unknown.
    pub(super) network: &'a str,
}

impl<'a> Site<'a> {
    /// The value of a label; empty if there is none, which equals another that is missing.
    pub(super) fn label(self, name: &str) -> &'a str {
        let known: &str = match name {
            REGION => &self.locality.region,
            ZONE => &self.locality.zone,
            SUBZONE => &self.locality.subzone,
            HOSTNAME => self.node,
            NETWORK => self.network,
            _ => "",
        };
        let written = self.labels.get(name).map_or("", |value| value);
        match (known, written) {
            ("", "") if name == CLUSTER => "Kubernetes",
            ("", written) => written,
            (known, _) => known,
        }
    }
}

/// How far an endpoint is by `failover`: a lower number is nearer. Numbers have gaps, and only their order counts.
pub(super) fn level(failover: &Failover, endpoint: Site<'_>) -> u32 {
    // A slice of Kubernetes tells the zone of an endpoint, and not its region.
    let is_bare_zone = || {
        let is_own = |(name, value): &(Arc<str>, Arc<str>)| **name == *ZONE && *endpoint.label(ZONE) == **value;
        let is_known = endpoint.label(REGION).is_empty() && !endpoint.label(ZONE).is_empty();
        is_known && failover.labels.iter().any(is_own)
    };
    let differs = |(name, value): &(Arc<str>, Arc<str>)| {
        *endpoint.label(name) != **value && !(**name == *REGION && is_bare_zone())
    };
    let count = failover.labels.len();
    // Another network comes after all of the own one; the labels behind it count all the same.
    let other_network = failover.labels.first().filter(|label| *label.0 == *NETWORK && differs(label));
    let (skipped, adjust) = if other_network.is_some() { (1, count) } else { (0, 0) };
    let equal = failover.labels.iter().skip(skipped).position(differs).map_or(count, |place| place + skipped);
    let behind = u32::try_from(count - equal + adjust).unwrap_or(u32::MAX);
    let distance = failover.nearness.as_ref().map_or(0, |nearness| distance(nearness, endpoint.locality));
    behind.saturating_mul(DISTANCES).saturating_add(distance)
}

/// 0 in the same subzone, 1 in the same zone, 2 in the same region, 3 in the region named for it or in any if none is named,
/// 4 in others.
fn distance(nearness: &Nearness, locality: &Locality) -> u32 {
    let own = &nearness.own;
    let is_same_zone = own.zone == locality.zone;
    // A slice of Kubernetes tells the zone of an endpoint, and not its region.
    let is_bare_zone = locality.region.is_empty() && !locality.zone.is_empty() && (is_same_zone || nearness.by_region);
    if own.region != locality.region && !is_bare_zone {
        return match &nearness.next_region {
            Some(next) if *next != locality.region => 4,
            _ => 3,
        };
    }
    match (is_same_zone, own.subzone == locality.subzone) {
        _ if nearness.by_region => 0,
        (true, true) => 0,
        (true, false) => 1,
        (false, _) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
    }

    fn text(locality: &Locality) -> String {
        format!("{}|{}|{}", locality.region, locality.zone, locality.subzone)
    }

    #[test]
    fn a_locality_has_up_to_three_parts() {
        for (from, want) in [("", "||"), ("r", "r||"), ("r/z", "r|z|"), ("r/z/s", "r|z|s"), ("r/z/s/t", "r|z|s/t")] {
            assert_eq!(text(&parse(from)), want);
        }
    }

    #[test]
    fn the_label_for_it_goes_before_those_of_the_node() {
        let node = [(REGION, "r"), (ZONE, "z"), (SUBZONE, "s")];
        assert_eq!(of_label(&labels(&node)), None, "only Istio's own label counts where there is no node");
        assert_eq!(text(&of_pod(&labels(&node))), "r|z|s");
        assert_eq!(text(&of_pod(&labels(&[(LOCALITY[1], "a.b.c"), (REGION, "r")]))), "a|b|c");
        assert_eq!(text(&of_pod(&labels(&[(LOCALITY[1], "a.x/b")]))), "a.x|b|");
        assert_eq!(text(&of_pod(&labels(&[(LOCALITY[1], "")]))), "||");
    }

    #[test]
    fn parts_that_are_missing_or_wildcards_match_all() {
        let table = [
            ("r1/z1/s1", "r1/z1/s1", true),
            ("r1/z1/*", "r1/z1/s2", true),
            ("r1/z1", "r1/z1/s2", true),
            ("r1/*", "r1/z9/s9", true),
            ("r1", "r1/z9", true),
            ("*", "r9/z9", true),
            ("r1/z1/s1", "r1/z1/s2", false),
            ("r1/z1/*", "r1/z2/s1", false),
            ("r1/*", "r2/z1", false),
        ];
        for (pattern, locality, want) in table {
            assert_eq!(matches(&parse(pattern), &parse(locality)), want, "{pattern} {locality}");
        }
    }

    fn levels(failover: &Failover, endpoints: &[(&str, Labels)]) -> Vec<u32> {
        let one = |(locality, labels): &(&str, Labels)| {
            level(failover, Site { labels, locality: &parse(locality), node: "n1", network: "" })
        };
        endpoints.iter().map(one).collect()
    }

    fn near(own: &str, next: Option<&str>) -> Option<Nearness> {
        Some(Nearness { own: parse(own), next_region: next.map(Arc::from), by_region: false })
    }

    #[test]
    fn nearer_is_subzone_then_zone_then_region_then_the_named_region_then_elsewhere() {
        let at = |locality| (locality, Labels::new());
        let endpoints = ["r1/z1/s1", "r1/z1/s2", "r1/z2/s1", "r2/z1/s1", "r3/z1/s1", "", "/z1"].map(at);
        let table = [
            (near("r1/z1/s1", None), [0, 1, 2, 3, 3, 3, 1]),
            (near("r1/z1/s1", Some("r3")), [0, 1, 2, 4, 3, 4, 1]),
            (near("", None), [3, 3, 3, 3, 3, 0, 2]),
            (None, [0; 7]),
        ];
        for (nearness, want) in table {
            let failover = Failover { labels: Vec::new(), nearness, ..Failover::default() };
            assert_eq!(levels(&failover, &endpoints), want, "{failover:?}");
        }
    }

    #[test]
    fn a_zone_without_a_region_is_of_the_proxys_own_region_if_it_is_the_proxys_own_zone() {
        let pair = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        let by_labels = vec![pair(NETWORK, ""), pair(REGION, "r1"), pair(ZONE, "z1")];
        let failover = Failover { labels: by_labels, nearness: None, ..Failover::default() };
        let at = |locality| (locality, Labels::new());
        let got = levels(&failover, &["r1/z1", "/z1", "r1/z2", "/z2", "r2/z1", ""].map(at));
        assert_eq!(got, [0, 0, DISTANCES, 2 * DISTANCES, 2 * DISTANCES, 2 * DISTANCES]);
    }

    #[test]
    fn leading_labels_that_are_equal_count_and_go_before_localities() {
        let pair = |name: &str, value: &str| (Arc::from(name), Arc::from(value));
        let by_labels = vec![pair("version", "v1"), pair(ZONE, "z1"), pair("unset", "")];
        let endpoints = [
            ("r1/z1", labels(&[("version", "v1")])),
            ("r2/z1", labels(&[("version", "v1")])),
            ("r1/z1", labels(&[("version", "v1"), ("unset", "no")])),
            ("r1/z2", labels(&[("version", "v1"), (ZONE, "z1")])),
            ("r1/z1", labels(&[("version", "v2")])),
            ("r1/z1", Labels::new()),
        ];
        let failover = Failover { labels: by_labels.clone(), ..Failover::default() };
        assert_eq!(levels(&failover, &endpoints), [0, 0, 5, 10, 15, 15]);
        let failover = Failover { labels: by_labels, nearness: near("r1/z1", None), ..Failover::default() };
        assert_eq!(levels(&failover, &endpoints), [0, 3, 5, 12, 15, 15]);
    }

    #[test]
    fn another_network_comes_after_all_of_the_own_one_if_the_network_is_the_first_label() {
        let pair = |name: &str| (Arc::from(name), Arc::from("a"));
        let endpoints = [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]
            .map(|(network, version)| ("", labels(&[(NETWORK, network), ("version", version)])));
        for (first, second, want) in [(NETWORK, "version", [0, 5, 10, 15]), ("version", NETWORK, [0, 10, 5, 10])] {
            let failover = Failover { labels: vec![pair(first), pair(second)], ..Failover::default() };
            assert_eq!(levels(&failover, &endpoints), want, "{first}");
        }
    }

    #[test]
    fn what_is_known_besides_counts_as_a_label() {
        let written = labels(&[(CLUSTER, "west"), (HOSTNAME, "other"), (NETWORK, "net")]);
        let none = Labels::new();
        let locality = parse("r/z/s");
        let known = Site { labels: &written, locality: &locality, node: "n1", network: "" };
        let bare = Site { labels: &none, ..known };
        let all = |site: Site<'_>| {
            [REGION, ZONE, SUBZONE, HOSTNAME, NETWORK, CLUSTER].map(|name| site.label(name).to_owned())
        };
        assert_eq!(all(known), ["r", "z", "s", "n1", "net", "west"]);
        assert_eq!(all(bare), ["r", "z", "s", "n1", "", "Kubernetes"]);
    }
}
