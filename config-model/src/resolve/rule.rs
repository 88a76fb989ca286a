//! The rules of a VirtualService as they stand once those of its delegates are put in their place.
//! Source: Istio, `VirtualService.http`, `Delegate`: what the delegate's rule says stands, what it leaves open is the
//! root's; a rule of a delegate whose matches contradict the root's is left out.

use crate::origin::{Origin, Position};
use crate::resource::{Headers, HttpMatchRequest, HttpRetry, HttpRewrite, HttpRoute, StringMatch, VirtualService};

use super::names;
use super::set::Item;

/// A rule and the VirtualService that holds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) virtual_service: Item<'a, VirtualService>,
    pub(super) rule: &'a HttpRoute,
    /// Place among the VirtualService's rules.
    pub(super) index: usize,
}

/// A rule with an action of its own, and the rule that delegated to it, if one did.
#[derive(Debug, Clone)]
pub(super) struct Rule<'a> {
    pub(super) own: Source<'a>,
    pub(super) root: Option<Source<'a>>,
    /// Entries of `own` and `root` together; `None` where those of `own` alone count.
    joined: Option<Vec<Match<'a>>>,
}

/// A match entry, its index and its VirtualService's namespace, which completes gateway names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) request: &'a HttpMatchRequest,
    pub(super) index: usize,
    pub(super) namespace: &'a str,
}

/// A match entry of the rule, one of the rule that delegated to it, or both; never neither.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match<'a> {
    pub(super) own: Option<Entry<'a>>,
    pub(super) root: Option<Entry<'a>>,
}

impl<'a> Source<'a> {
    fn entries(self) -> impl Iterator<Item = Entry<'a>> + Clone {
        let namespace = self.virtual_service.namespace();
        let entry = move |(index, request)| Entry { request, index, namespace };
        self.rule.r#match.iter().enumerate().map(entry)
    }

    /// A place in this VirtualService.
    pub(super) fn origin(self, position: Position) -> Origin {
        self.virtual_service.origin(position)
    }
}

impl<'a> Rule<'a> {
    /// A rule that stands for itself.
    pub(super) fn plain(own: Source<'a>) -> Self {
        Self { own, root: None, joined: None }
    }

    /// The entries, any of which has to match; none for a rule that takes every request.
    pub(super) fn matches(&self) -> impl Iterator<Item = Match<'a>> {
        let own = self.own.entries().filter(|_| self.joined.is_none());
        own.map(|entry| Match { own: Some(entry), root: None }).chain(self.joined.iter().flatten().copied())
    }

    /// The rule `own` of a delegate in the place of `root`; `None` if their matches contradict each other.
    pub(super) fn delegated(root: Source<'a>, own: Source<'a>) -> Option<Self> {
        let mut matches = Vec::new();
        if own.rule.r#match.is_empty() {
            matches.extend(root.entries().map(|entry| Match { own: None, root: Some(entry) }));
        } else if root.rule.r#match.is_empty() {
            return Some(Self { own, root: Some(root), joined: None });
        }
        for inner in own.entries() {
            let fitting = root.entries().filter(|outer| !contradicts(outer, &inner));
            let before = matches.len();
            matches.extend(fitting.map(|outer| Match { own: Some(inner), root: Some(outer) }));
            if matches.len() == before {
                return None;
            }
        }
        Some(Self { own, root: Some(root), joined: Some(matches) })
    }

    /// What the rule says, or else the one that delegated to it.
    pub(super) fn inherited<T>(&self, field: impl Fn(&'a HttpRoute) -> Option<&'a T>) -> Option<&'a T> {
        self.inherited_from(field).map(|(_, value)| value)
    }

    /// The same, and who says it.
    pub(super) fn inherited_from<T>(
        &self,
        field: impl Fn(&'a HttpRoute) -> Option<&'a T>,
    ) -> Option<(Source<'a>, &'a T)> {
        let mut sources = std::iter::once(self.own).chain(self.root);
        sources.find_map(|source| field(source.rule).map(|value| (source, value)))
    }

    pub(super) fn rewrite(&self) -> Option<&'a HttpRewrite> {
        self.inherited(|rule| rule.rewrite.as_deref())
    }

    pub(super) fn retries(&self) -> Option<&'a HttpRetry> {
        self.inherited(|rule| rule.retries.as_deref())
    }

    pub(super) fn headers(&self) -> Option<&'a Headers> {
        self.inherited(|rule| rule.headers.as_deref())
    }

    /// `root-own`, as Istio names the rules of delegates.
    pub(super) fn name(&self) -> String {
        joined(self.root.map(|root| &*root.rule.name.value), &self.own.rule.name)
    }
}

fn joined(root: Option<&str>, own: &str) -> String {
    match root {
        Some(root) if !root.is_empty() && !own.is_empty() => format!("{root}-{own}"),
        Some(root) if own.is_empty() => root.to_owned(),
        _ => own.to_owned(),
    }
}

impl<'a> Match<'a> {
    /// The delegate's entry before the root's.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'a>> {
        self.own.into_iter().chain(self.root)
    }

    pub(super) fn name(&self) -> String {
        let name = |entry: Entry<'a>| &*entry.request.name.value;
        joined(self.root.map(name), self.own.map_or("", name))
    }
}

/// Whether no request that `outer` takes could be meant by `inner` too, as far as Istio looks.
fn contradicts(outer: &Entry<'_>, inner: &Entry<'_>) -> bool {
    let (root, own) = (outer.request, inner.request);
    let texts = [
        (&root.uri, &own.uri),
        (&root.scheme, &own.scheme),
        (&root.method, &own.method),
        (&root.authority, &own.authority),
    ];
    let maps = [
        (&root.headers, &own.headers),
        (&root.without_headers, &own.without_headers),
        (&root.query_params, &own.query_params),
    ];
    let port = (*root.port, *own.port);
    texts.iter().any(|(root, own)| outside(root.as_ref(), own.as_ref()))
        || maps.iter().any(|(root, own)| own.iter().any(|(key, own)| outside(root.get(key), Some(own))))
        || *root.ignore_uri_case != *own.ignore_uri_case
        || (port.0 > 0 && port.1 > 0 && port.0 != port.1)
        || (!root.source_namespace.is_empty() && root.source_namespace.value != own.source_namespace.value)
        || own.source_labels.iter().any(|(key, value)| root.source_labels.get(key).is_some_and(|other| other != value))
        || gateways_differ(outer, inner)
}

fn gateways_differ(outer: &Entry<'_>, inner: &Entry<'_>) -> bool {
    let (root, own) = (&outer.request.gateways, &inner.request.gateways);
    let known = |name: &str| {
        let wanted = names::gateway(name, inner.namespace);
        root.iter().any(|other| names::gateway(other, outer.namespace) == wanted)
    };
    !root.is_empty() && !own.is_empty() && (root.len() < own.len() || !own.iter().all(|name| known(name)))
}

/// Whether what `own` takes is not plainly a part of what `root` takes. Two expressions are never compared.
fn outside(root: Option<&StringMatch>, own: Option<&StringMatch>) -> bool {
    match (root, own) {
        (None, _) | (_, None) => false,
        (Some(StringMatch::Exact(root)), Some(StringMatch::Exact(own))) => root.value != own.value,
        (Some(StringMatch::Prefix(root)), Some(StringMatch::Exact(own) | StringMatch::Prefix(own))) => {
            !own.value.starts_with(&*root.value)
        }
        _ => true,
    }
}
