//! Which DestinationRule holds for a service.
//! Source: Istio: the proxy's namespace first, then the service's, then the root namespace; in each the most specific host.
//! Several rules for one host in one namespace are put together if they are visible in the same places: the first policy stands,
//! subsets are collected. Of several such groups the one with a selector holds, else the last. Start at [`DestinationRules::find`].

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashMap;

use crate::name::{self, HostPattern, Labels};
use crate::origin::Origin;
use crate::resource::{DestinationRule, Subset, Text, TrafficPolicy};

use super::Proxy;
use super::names;
use super::set::{Item, ResourceSet};
use super::visibility::Visibility;

/// DestinationRules by namespace and host.
#[derive(Debug)]
pub(crate) struct DestinationRules<'a> {
    by_namespace: HashMap<&'a str, Namespace<'a>>,
    default_export: &'a [Text],
    root_namespace: &'a str,
}

#[derive(Debug, Default)]
struct Namespace<'a> {
    exact: HashMap<Arc<str>, Vec<Item<'a, DestinationRule>>>,
    /// The longest first.
    wildcards: Vec<(HostPattern, Vec<Item<'a, DestinationRule>>)>,
}

/// Rules for one host in one namespace that are put together, and where the first of them is visible, as written.
struct Group<'a> {
    rules: Vec<Item<'a, DestinationRule>>,
    export: BTreeSet<&'a str>,
}

/// The rules that hold together for a host; none if nothing does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Merged<'a> {
    /// Oldest first.
    pub(crate) rules: Vec<Item<'a, DestinationRule>>,
}

impl<'a> Merged<'a> {
    /// The policy of the first rule that has one, and that rule.
    pub(crate) fn policy(&self) -> Option<&'a TrafficPolicy> {
        self.rules.iter().find_map(|rule| rule.spec.traffic_policy.as_deref())
    }

    pub(crate) fn subsets(&self) -> impl Iterator<Item = (Item<'a, DestinationRule>, &'a Subset)> {
        self.rules.iter().flat_map(|rule| rule.spec.subsets.iter().map(move |subset| (*rule, subset)))
    }

    pub(crate) fn subset(&self, name: &str) -> Option<(Item<'a, DestinationRule>, &'a Subset)> {
        self.subsets().find(|(_, subset)| *subset.name.value == *name)
    }

    /// The rules that say something for the whole service, or the one that defines `subset` first.
    pub(crate) fn origins(&self, subset: Option<(Item<'a, DestinationRule>, &'a Subset)>) -> Vec<Origin> {
        let mut origins: Vec<Origin> = self.rules.iter().map(|rule| rule.own_origin()).collect();
        origins.extend(subset.map(|(rule, subset)| rule.origin(subset.position)));
        origins
    }
}

impl<'a> DestinationRules<'a> {
    /// Those of `resources` that are for `proxy`.
    pub(crate) fn new(resources: &'a ResourceSet, proxy: &Proxy, root_namespace: &'a str) -> Self {
        let mut by_namespace: HashMap<&'a str, Namespace<'a>> = HashMap::default();
        let (selecting, others): (Vec<_>, Vec<_>) =
            resources.by_age::<DestinationRule>().into_iter().partition(|rule| selector(rule).is_some());
        for rule in selecting.into_iter().chain(others) {
            if selector(&rule).is_none_or(|labels| name::selects(labels, &proxy.labels)) {
                by_namespace.entry(rule.namespace()).or_default().add(rule);
            }
        }
        for namespace in by_namespace.values_mut() {
            namespace.wildcards.sort_by_key(|(pattern, _)| std::cmp::Reverse(length(pattern)));
        }
        let default_export =
            resources.mesh_config().map_or(&[][..], |(_, mesh)| &mesh.default_destination_rule_export_to);
        Self { by_namespace, default_export, root_namespace }
    }

    /// The rules that hold for `host` of `service_namespace` at a proxy of `proxy_namespace`.
    pub(crate) fn find(&self, host: &str, service_namespace: &str, proxy_namespace: &str) -> Merged<'a> {
        let is_root = proxy_namespace == self.root_namespace;
        let own = self.lookup(proxy_namespace, host, |rule| {
            let visibility = self.visibility(rule);
            // A proxy of the root namespace is no more than a gateway there: what all may see must not go first.
            if is_root { visibility.only(proxy_namespace) } else { visibility.includes(proxy_namespace) }
        });
        // Who sees none of the rules for the most specific host sees none of those for wider ones either.
        let exported = |owner: &str| {
            let mut groups = self.lookup(owner, host, |rule| !self.visibility(rule).only(owner))?;
            groups.retain(|group| self.visibility(&group.rules[0]).includes(proxy_namespace));
            (!groups.is_empty()).then_some(groups)
        };
        let groups = own.or_else(|| exported(service_namespace)).or_else(|| exported(self.root_namespace));
        groups.and_then(holding).unwrap_or_default()
    }

    fn visibility(&self, rule: &Item<'a, DestinationRule>) -> Visibility<'a> {
        if rule.spec.workload_selector.is_some() {
            return Visibility::new(["."], rule.namespace());
        }
        let written = if rule.spec.export_to.is_empty() { self.default_export } else { &rule.spec.export_to };
        Visibility::new(written.iter().map(|text| &*text.value), rule.namespace())
    }

    /// The groups for the most specific host in `namespace` that any rule fits which `applies`.
    fn lookup(
        &self,
        namespace: &str,
        host: &str,
        applies: impl Fn(&Item<'a, DestinationRule>) -> bool,
    ) -> Option<Vec<Group<'a>>> {
        let namespace = self.by_namespace.get(namespace)?;
        let fitting = |rules: &Vec<Item<'a, DestinationRule>>| {
            let groups = groups(rules.iter().filter(|rule| applies(rule)).copied());
            (!groups.is_empty()).then_some(groups)
        };
        let exact = namespace.exact.get(host).and_then(fitting);
        let mut wildcards = namespace.wildcards.iter().filter(|(pattern, _)| pattern.matches(host));
        exact.or_else(|| wildcards.find_map(|(_, rules)| fitting(rules)))
    }
}

/// Puts together what can be. A rule joins each group before it that is visible in the same places or in some of them; it begins a
/// group of its own unless it joined the last one as an equal. Source: Istio, `mergeDestinationRule`.
fn groups<'a>(rules: impl Iterator<Item = Item<'a, DestinationRule>>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for rule in rules {
        let export = export(&rule);
        let mut is_alone = true;
        for group in &mut groups {
            is_alone = export != group.export;
            let is_wider = !group.export.is_empty() && export.is_superset(&group.export);
            if is_alone && !is_wider {
                continue;
            }
            match (selector(&rule), selector(&group.rules[0])) {
                (Some(one), Some(other)) if one != other => {
                    is_alone = true;
                    continue;
                }
                (Some(_), Some(_)) | (None, None) => is_alone = false,
                _ => {}
            }
            group.rules.push(rule);
        }
        if is_alone {
            groups.push(Group { rules: vec![rule], export });
        }
    }
    groups
}

/// The group that holds: the first with a selector, else the last. Source: Istio, `SidecarScope.DestinationRule`.
fn holding(mut groups: Vec<Group<'_>>) -> Option<Merged<'_>> {
    let selecting = groups.iter().position(|group| selector(&group.rules[0]).is_some());
    let group = match selecting {
        Some(index) => groups.swap_remove(index),
        None => groups.pop()?,
    };
    Some(Merged { rules: group.rules })
}

fn selector<'a>(rule: &Item<'a, DestinationRule>) -> Option<&'a Labels> {
    rule.spec.workload_selector.as_ref().map(|selector| &selector.match_labels)
}

/// Where a rule is visible, as written: one that selects workloads in its own namespace.
fn export<'a>(rule: &Item<'a, DestinationRule>) -> BTreeSet<&'a str> {
    match selector(rule) {
        Some(_) => BTreeSet::from(["."]),
        None => rule.spec.export_to.iter().map(|text| &*text.value).collect(),
    }
}

impl<'a> Namespace<'a> {
    fn add(&mut self, rule: Item<'a, DestinationRule>) {
        match HostPattern::parse(&names::full_host(&rule.spec.host, rule.namespace())) {
            HostPattern::Exact(host) => self.exact.entry(host).or_default().push(rule),
            pattern => match self.wildcards.iter_mut().find(|(other, _)| *other == pattern) {
                Some((_, rules)) => rules.push(rule),
                None => self.wildcards.push((pattern, vec![rule])),
            },
        }
    }
}

fn length(pattern: &HostPattern) -> usize {
    match pattern {
        HostPattern::Exact(text) | HostPattern::Suffix(text) => text.len(),
        HostPattern::Any => 0,
    }
}
