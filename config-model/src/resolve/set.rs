//! The resources in force, found by kind and name.

use std::borrow::Cow;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::HashMap;
use foldhash::fast::FixedState;

use crate::decode::suggest;
use crate::diagnostic::Diagnostic;
use crate::name::Labels;
use crate::origin::{Origin, Position};
use crate::resource::{
    DestinationRule, EndpointSlice, Endpoints, Gateway, MeshConfig, Pod, Resource, Secret, Service, ServiceEntry,
    Sidecar, Spec, VirtualService, WorkloadEntry,
};

use super::findings;
use super::names;

/// All resources of a folder that are in force. Copies share what they hold.
#[derive(Debug, Clone, Default)]
pub struct ResourceSet {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By file, then by place in it.
    resources: Vec<Arc<Resource>>,
    /// Resources of each kind, in the same order.
    by_kind: HashMap<&'static str, Vec<u32>>,
    names: NameIndex,
    /// ServiceEntries by each of their hosts, in lower case.
    entry_hosts: HashMap<Arc<str>, Vec<u32>>,
    /// The first MeshConfig.
    mesh_config: Option<u32>,
    diagnostics: Vec<Diagnostic>,
}

/// A resource and what it says, by its type.
#[derive(Debug)]
pub(crate) struct Item<'a, T> {
    pub(crate) resource: &'a Arc<Resource>,
    pub(crate) spec: &'a T,
    /// Its place among all resources.
    pub(crate) index: u32,
}

impl<T> Clone for Item<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Item<'_, T> {}

impl<'a, T> Item<'a, T> {
    pub(crate) fn name(self) -> &'a str {
        &self.resource.id.name
    }

    pub(crate) fn namespace(self) -> &'a str {
        &self.resource.id.namespace
    }

    /// A place in this resource.
    pub(crate) fn origin(self, position: Position) -> Origin {
        self.resource.origin(position)
    }

    /// The resource itself, by the place of its name.
    pub(crate) fn own_origin(self) -> Origin {
        self.origin(self.resource.metadata.name.position)
    }
}

impl<'a> Item<'a, WorkloadEntry> {
    /// Labels of the workload: those of the resource go before those that its endpoint has.
    pub(crate) fn labels(self) -> Cow<'a, Labels> {
        let own = &self.resource.metadata.labels;
        if own.is_empty() {
            return Cow::Borrowed(&self.spec.labels);
        }
        let mut labels = self.spec.labels.clone();
        labels.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
        Cow::Owned(labels)
    }
}

/// What a resource of one kind says.
pub(crate) trait Kind: Sized {
    /// As in [`crate::origin::ResourceId::kind`].
    const NAME: &'static str;

    /// What `spec` says, if it is of this kind.
    fn of(spec: &Spec) -> Option<&Self>;
}

macro_rules! kinds {
    ($($kind:ident),*) => {$(
        impl Kind for $kind {
            const NAME: &'static str = stringify!($kind);

            fn of(spec: &Spec) -> Option<&Self> {
                if let Spec::$kind(spec) = spec { Some(spec) } else { None }
            }
        }
    )*};
}

kinds!(
    Gateway,
    VirtualService,
    DestinationRule,
    ServiceEntry,
    WorkloadEntry,
    Service,
    EndpointSlice,
    Endpoints,
    Pod,
    Secret,
    Sidecar
);

impl ResourceSet {
    /// The set of `resources`. Of two with the same kind, namespace and name the first by file and place stands.
    pub fn new<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> Self {
        let mut all: Vec<Arc<Resource>> = resources.into_iter().cloned().collect();
        let key = |resource: &Resource| (Arc::clone(&resource.id.file), resource.ordinal);
        if !all.is_sorted_by(|left, right| place(left) <= place(right)) {
            all.sort_by_cached_key(|resource| key(resource));
        }
        let mut inner = Inner { resources: Vec::with_capacity(all.len()), ..Inner::default() };
        inner.names.first.reserve(all.len());
        for resource in all {
            inner.add(resource);
        }
        Self { inner: Arc::new(inner) }
    }

    /// Resources that were left out, since another one has their name.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.inner.diagnostics
    }

    /// All resources, by file and place.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.inner.resources
    }

    /// The resource of that kind, namespace and name.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Arc<Resource>> {
        self.inner.find(kind, namespace, name).and_then(|index| self.inner.resources.get(index as usize))
    }

    pub(crate) fn find<T: Kind>(&self, namespace: &str, name: &str) -> Option<Item<'_, T>> {
        self.inner.find(T::NAME, namespace, name).and_then(|index| self.item(index))
    }

    pub(crate) fn item<T: Kind>(&self, index: u32) -> Option<Item<'_, T>> {
        let resource = self.inner.resources.get(index as usize)?;
        T::of(&resource.spec).map(|spec| Item { resource, spec, index })
    }

    /// Resources of one kind, by file and place.
    pub(crate) fn all<'a, T: Kind + 'a>(&'a self) -> impl Iterator<Item = Item<'a, T>> {
        self.inner.by_kind.get(T::NAME).into_iter().flatten().filter_map(|&index| self.item(index))
    }

    /// Resources of one kind, the oldest first.
    pub(crate) fn by_age<T: Kind>(&self) -> Vec<Item<'_, T>> {
        let mut items: Vec<_> = self.all().collect();
        items.sort_by(|left, right| by_age(left, right));
        items
    }

    /// ServiceEntries that have `host`, which is in lower case.
    pub(crate) fn entries(&self, host: &str) -> impl Iterator<Item = Item<'_, ServiceEntry>> {
        self.inner.entry_hosts.get(host).into_iter().flatten().filter_map(|&index| self.item(index))
    }

    /// The settings of the mesh, if there are any.
    pub(crate) fn mesh_config(&self) -> Option<(&Arc<Resource>, &MeshConfig)> {
        let resource = self.inner.resources.get(self.inner.mesh_config? as usize)?;
        if let Spec::MeshConfig(config) = &resource.spec { Some((resource, config)) } else { None }
    }

    /// The name among those of a kind that `name` could have been meant to be.
    pub(crate) fn near<T: Kind>(&self, namespace: &str, name: &str) -> Option<String> {
        let names: Vec<&str> =
            self.all::<T>().filter(|item| item.namespace() == namespace).map(|item| item.name()).collect();
        suggest(name, &names).map(str::to_owned)
    }
}

fn place(resource: &Resource) -> (&str, u32) {
    (&resource.id.file, resource.ordinal)
}

/// Istio's order of resources that compete: by creation time, then name, then namespace. One without a time is younger than
/// all that have one; among those file and place decide.
fn by_age<T>(left: &Item<'_, T>, right: &Item<'_, T>) -> std::cmp::Ordering {
    let time = |item: &Item<'_, T>| item.resource.metadata.creation_timestamp.map(|time| time.value);
    match (time(left), time(right)) {
        (Some(one), Some(other)) => {
            one.cmp(&other).then_with(|| (left.name(), left.namespace()).cmp(&(right.name(), right.namespace())))
        }
        (None, None) => left.index.cmp(&right.index),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

impl Inner {
    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<u32> {
        self.find_by_hash(hash(kind, namespace, name), (kind, namespace, name))
    }

    fn find_by_hash(&self, hash: u64, (kind, namespace, name): (&str, &str, &str)) -> Option<u32> {
        self.names.candidates(hash).find(|&index| {
            let id = self.resources.get(index as usize).map(|resource| &resource.id);
            id.is_some_and(|id| id.kind == kind && *id.namespace == *namespace && *id.name == *name)
        })
    }

    fn add(&mut self, resource: Arc<Resource>) {
        let id = &resource.id;
        let Ok(index) = u32::try_from(self.resources.len()) else { return };
        let hash = hash(id.kind, &id.namespace, &id.name);
        if let Some(first) = self.find_by_hash(hash, (id.kind, &id.namespace, &id.name)) {
            if let Some(first) = self.resources.get(first as usize) {
                self.diagnostics.push(findings::duplicate(first, &resource));
            }
            return;
        }
        self.names.insert(hash, index);
        self.by_kind.entry(id.kind).or_default().push(index);
        match &resource.spec {
            Spec::ServiceEntry(entry) => {
                for host in &entry.hosts {
                    let indexes = self.entry_hosts.entry(names::lower(host)).or_default();
                    if indexes.last() != Some(&index) {
                        indexes.push(index);
                    }
                }
            }
            Spec::MeshConfig(_) => self.mesh_config = self.mesh_config.or(Some(index)),
            _ => {}
        }
        self.resources.push(resource);
    }
}

fn hash(kind: &str, namespace: &str, name: &str) -> u64 {
    FixedState::default().hash_one((kind, namespace, name))
}

/// From the hash of a name to places in a list; the list's owner compares the names themselves.
#[derive(Debug, Default)]
struct NameIndex {
    first: HashMap<u64, u32>,
    /// Further places with a hash that is taken.
    others: Vec<(u64, u32)>,
}

impl NameIndex {
    fn insert(&mut self, hash: u64, index: u32) {
        if *self.first.entry(hash).or_insert(index) != index {
            self.others.push((hash, index));
        }
    }

    fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> {
        let others = self.others.iter().filter(move |(other, _)| *other == hash).map(|&(_, index)| index);
        self.first.get(&hash).copied().into_iter().chain(others)
    }
}
