//! The rules of a virtual host and the search for the first that matches. Many rules get an index by path, which only says
//! which of them can match at all; these are then looked at in the order in which they were written.

use config_model::model::PathMatch;
use smallvec::SmallVec;

use crate::conditions::RequestHead;
use crate::table::{RouteEntry, RouteIndex};
use crate::trie::{Key, Trie};

/// Up to so many rules are tried one by one, which needs no memory and is as fast.
const SCANNED_MAX: usize = 8;
/// Up to so many nested prefixes are merged in place; more are sorted in a buffer.
const MERGED_MAX: usize = 16;

/// Rules in order, shared by all virtual hosts that have the same ones.
#[derive(Debug, Clone)]
pub(crate) struct RuleSet {
    rules: Box<[RouteIndex]>,
    index: Option<Box<PathIndex>>,
}

/// Positions of rules by their path.
#[derive(Debug, Clone)]
struct PathIndex {
    with_case: Trie,
    without_case: Trie,
    /// Regular expressions and rules without a path.
    others: Box<[u32]>,
}

impl RuleSet {
    /// Prepares `rules`, whose entries are in `routes`.
    pub(crate) fn build(rules: Box<[RouteIndex]>, routes: &[RouteEntry]) -> Self {
        let index = (rules.len() > SCANNED_MAX).then(|| Box::new(PathIndex::build(&rules, routes)));
        Self { rules, index }
    }

    /// The rules, in order.
    pub(crate) fn rules(&self) -> &[RouteIndex] {
        &self.rules
    }

    /// The first rule that matches.
    pub(crate) fn find<'t>(&self, routes: &'t [RouteEntry], head: &impl RequestHead) -> Option<&'t RouteEntry> {
        let entry = |rule: &RouteIndex| routes.get(rule.0 as usize);
        let path = head.matching_path();
        match &self.index {
            None => self
                .rules
                .iter()
                .filter_map(entry)
                .find(|entry| entry.path_matches(path) && entry.conditions_hold(head)),
            Some(index) => index.find(path, |position| {
                let entry = self.rules.get(position as usize).and_then(entry)?;
                ((entry.is_proven_by_index() || entry.path_matches(path)) && entry.conditions_hold(head))
                    .then_some(entry)
            }),
        }
    }
}

impl PathIndex {
    fn build(rules: &[RouteIndex], routes: &[RouteEntry]) -> Self {
        let (mut with_case, mut without_case, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (value, rule) in (0u32..).zip(rules) {
            let path = routes.get(rule.0 as usize).map(|entry| &entry.route.matcher.path);
            match path.and_then(|path| key(path, value)) {
                Some((key, false)) => with_case.push(key),
                Some((key, true)) => without_case.push(key),
                None => others.push(value),
            }
        }
        Self { with_case: Trie::build(with_case), without_case: Trie::build(without_case), others: others.into() }
    }

    /// The first result of `attempt` over all positions whose path can match, in ascending order.
    fn find<T>(&self, path: &[u8], mut attempt: impl FnMut(u32) -> Option<T>) -> Option<T> {
        let mut lists: SmallVec<[&[u32]; MERGED_MAX]> = SmallVec::new();
        lists.push(&self.others);
        self.with_case.visit(path, false, |values, _| lists.push(values));
        self.without_case.visit(path, true, |values, _| lists.push(values));
        if lists.len() > MERGED_MAX {
            let mut positions = lists.concat();
            positions.sort_unstable();
            return positions.into_iter().find_map(attempt);
        }
        loop {
            let smallest = lists.iter_mut().filter(|list| !list.is_empty()).min_by_key(|list| list.first().copied())?;
            let (&position, rest) = smallest.split_first()?;
            *smallest = rest;
            if let Some(result) = attempt(position) {
                return Some(result);
            }
        }
    }
}

/// The key under which a path is indexed, and whether without case.
fn key(path: &PathMatch, value: u32) -> Option<(Key<'_>, bool)> {
    match path {
        PathMatch::Exact { text, ignore_case } => {
            Some((Key { text: text.as_bytes(), exact: true, value }, *ignore_case))
        }
        PathMatch::Prefix { text, ignore_case } => {
            Some((Key { text: text.as_bytes(), exact: false, value }, *ignore_case))
        }
        PathMatch::Both(one, other) => key(one, value).or_else(|| key(other, value)),
        PathMatch::Any | PathMatch::Regex(_) => None,
    }
}
