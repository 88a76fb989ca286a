//! Which DestinationRule holds for a service.
//! Source: Istio: the proxy's namespace first, then the service's, then the root namespace; in each the most specific host.
//! Several rules for one host in one namespace are put together: the first policy stands, subsets are collected.

use std::sync::Arc;

use foldhash::HashMap;

use crate::name::{self, HostPattern};
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
        for rule in resources.by_age::<DestinationRule>() {
            let selector = rule.spec.workload_selector.as_ref();
            if selector.is_some_and(|selector| !name::selects(&selector.match_labels, &proxy.labels)) {
                continue;
            }
            by_namespace.entry(rule.namespace()).or_default().add(rule);
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
        let exported = |owner: &str| {
            self.lookup(owner, host, |rule| {
                let visibility = self.visibility(rule);
                !visibility.only(owner) && visibility.includes(proxy_namespace)
            })
        };
        own.or_else(|| exported(service_namespace)).or_else(|| exported(self.root_namespace)).unwrap_or_default()
    }

    fn visibility(&self, rule: &Item<'a, DestinationRule>) -> Visibility<'a> {
        if rule.spec.workload_selector.is_some() {
            return Visibility::new(["."], rule.namespace());
        }
        let written = if rule.spec.export_to.is_empty() { self.default_export } else { &rule.spec.export_to };
        Visibility::new(written.iter().map(|text| &*text.value), rule.namespace())
    }

    fn lookup(
        &self,
        namespace: &str,
        host: &str,
        applies: impl Fn(&Item<'a, DestinationRule>) -> bool,
    ) -> Option<Merged<'a>> {
        let namespace = self.by_namespace.get(namespace)?;
        let fitting = |rules: &Vec<Item<'a, DestinationRule>>| {
            let rules: Vec<_> = rules.iter().filter(|rule| applies(rule)).copied().collect();
            (!rules.is_empty()).then_some(rules)
        };
        let exact = namespace.exact.get(host).and_then(fitting);
        let mut wildcards = namespace.wildcards.iter().filter(|(pattern, _)| pattern.matches(host));
        let rules = exact.or_else(|| wildcards.find_map(|(_, rules)| fitting(rules)))?;
        Some(Merged { rules: self.together(rules) })
    }

    /// Those that can be put together: with a selector before those without, and visible in the same places as the first.
    fn together(&self, mut rules: Vec<Item<'a, DestinationRule>>) -> Vec<Item<'a, DestinationRule>> {
        if rules.len() < 2 {
            return rules;
        }
        let selects = |rule: &Item<'a, DestinationRule>| rule.spec.workload_selector.is_some();
        let any_selects = rules.iter().any(selects);
        rules.retain(|rule| selects(rule) == any_selects);
        if let Some(first) = rules.first().map(|rule| self.visibility(rule)) {
            rules.retain(|rule| self.visibility(rule) == first);
        }
        rules
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
