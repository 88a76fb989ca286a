//! The resources in force, found by kind and name.

use std::borrow::Cow;
use std::cmp::Ordering;
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
    Sidecar, Spec, Telemetry, VirtualService, WorkloadEntry,
};

use super::findings;
use super::names;

/// All resources of a folder that are in force. Copies share what they hold.
#[derive(Debug, Clone, Default)]
pub struct ResourceSet {
    inner: Arc<Inner>,
}

/// Resources in so many are shared as one: a set in which one of thousands is another is made in no time.
const PAGE: usize = 64;

/// Resources that are next to each other; only the last page has fewer than [`PAGE`].
type Page = Arc<[Arc<Resource>]>;

#[derive(Debug, Default)]
struct Inner {
    /// By file, then by place in it.
    pages: Vec<Page>,
    index: Arc<Index>,
}

/// Where resources are among all. It says nothing of what those of [`stands_by_name`] hold.
#[derive(Debug, Default)]
struct Index {
    /// Resources of each kind, in the same order.
    by_kind: HashMap<&'static str, Vec<u32>>,
    names: NameIndex,
    /// ServiceEntries by each of their hosts, in lower case; of one host the oldest first.
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
    Sidecar,
    Telemetry
);

impl ResourceSet {
    /// The set of `resources`. Of two with the same kind, namespace and name the first by file and place stands.
    pub fn new<'a>(resources: impl IntoIterator<Item = &'a Arc<Resource>>) -> Self {
        let mut all: Vec<Arc<Resource>> = resources.into_iter().cloned().collect();
        let key = |resource: &Resource| (Arc::clone(&resource.id.file), resource.ordinal);
        if !all.is_sorted_by(|left, right| place(left) <= place(right)) {
            all.sort_by_cached_key(|resource| key(resource));
        }
        let mut index = Index::default();
        index.names.first.reserve(all.len());
        let mut resources = Vec::with_capacity(all.len());
        for resource in all {
            index.add(resource, &mut resources);
        }
        index.order_entries(&resources);
        let pages = resources.chunks(PAGE).map(Page::from).collect();
        Self { inner: Arc::new(Inner { pages, index: Arc::new(index) }) }
    }

    /// This set with other resources in the place of some that have their names and stand where they stood in their files, as
    /// (before, after). `None` if that is not what they do, or not all that has to be done; then a new set is needed.
    pub fn with(&self, replaced: &[(Arc<Resource>, Arc<Resource>)]) -> Option<Self> {
        let mut pages = self.inner.pages.clone();
        for (before, after) in replaced {
            let is_alike = before.id == after.id && before.ordinal == after.ordinal;
            if !is_alike || !stands_by_name(&before.spec) || !stands_by_name(&after.spec) {
                return None;
            }
            let index = self.inner.find(before.id.kind, &before.id.namespace, &before.id.name)? as usize;
            let place = Arc::make_mut(pages.get_mut(index / PAGE)?).get_mut(index % PAGE)?;
            // Another one may stand under its name.
            if !Arc::ptr_eq(place, before) {
                return None;
            }
            *place = Arc::clone(after);
        }
        Some(Self { inner: Arc::new(Inner { pages, index: Arc::clone(&self.inner.index) }) })
    }

    /// Whether every resource has its place in `other`, too.
    pub(super) fn has_places_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner.index, &other.inner.index)
    }

    /// Resources that were left out, since another one has their name.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.inner.index.diagnostics
    }

    /// All resources, by file and place.
    pub fn resources(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.inner.pages.iter().flat_map(|page| page.iter())
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.inner.pages.last().map_or(0, |last| (self.inner.pages.len() - 1) * PAGE + last.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Resources that are not the very same as what `other` has in their places.
    pub(super) fn others_than<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Arc<Resource>> {
        let is_same =
            |number: usize, page: &Page| other.inner.pages.get(number).is_some_and(|known| Arc::ptr_eq(known, page));
        let pages = self.inner.pages.iter().enumerate().filter(move |(number, page)| !is_same(*number, page));
        let resources = pages.flat_map(|(number, page)| (number * PAGE..).zip(page.iter()));
        let others = resources
            .filter(|(index, resource)| !other.inner.get(*index).is_some_and(|known| Arc::ptr_eq(known, resource)));
        others.map(|(_, resource)| resource)
    }

    /// The resource of that kind, namespace and name.
    pub fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<&Arc<Resource>> {
        self.inner.find(kind, namespace, name).and_then(|index| self.inner.get(index as usize))
    }

    /// The Namespace of this name, which is in none itself.
    pub(crate) fn namespace(&self, name: &str) -> Option<&Resource> {
        self.get("Namespace", "", name).map(AsRef::as_ref)
    }

    pub(crate) fn find<T: Kind>(&self, namespace: &str, name: &str) -> Option<Item<'_, T>> {
        self.inner.find(T::NAME, namespace, name).and_then(|index| self.item(index))
    }

    pub(crate) fn item<T: Kind>(&self, index: u32) -> Option<Item<'_, T>> {
        let resource = self.inner.get(index as usize)?;
        T::of(&resource.spec).map(|spec| Item { resource, spec, index })
    }

    /// Resources of one kind, by file and place.
    pub(crate) fn all<'a, T: Kind + 'a>(&'a self) -> impl Iterator<Item = Item<'a, T>> {
        self.inner.index.by_kind.get(T::NAME).into_iter().flatten().filter_map(|&index| self.item(index))
    }

    /// Resources of one kind, the oldest first.
    pub(crate) fn by_age<T: Kind>(&self) -> Vec<Item<'_, T>> {
        let mut items: Vec<_> = self.all().collect();
        items.sort_by(|left, right| by_age(left, right));
        items
    }

    /// ServiceEntries that have `host`, which is in lower case, the oldest first.
    pub(crate) fn entries(&self, host: &str) -> impl Iterator<Item = Item<'_, ServiceEntry>> {
        self.inner.index.entry_hosts.get(host).into_iter().flatten().filter_map(|&index| self.item(index))
    }

    /// The settings of the mesh, if there are any.
    pub(crate) fn mesh_config(&self) -> Option<(&Arc<Resource>, &MeshConfig)> {
        let resource = self.inner.get(self.inner.index.mesh_config? as usize)?;
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
fn by_age<T>(left: &Item<'_, T>, right: &Item<'_, T>) -> Ordering {
    age((left.resource, left.index), (right.resource, right.index))
        .then_with(|| (left.name(), left.namespace()).cmp(&(right.name(), right.namespace())))
}

/// The same for services of one host, of which the namespace goes before the name.
fn age_of_services(left: (&Resource, u32), right: (&Resource, u32)) -> Ordering {
    let (one, other) = (&left.0.id, &right.0.id);
    age(left, right).then_with(|| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)))
}

/// Equal for resources that were created at once.
fn age((left, place): (&Resource, u32), (right, other_place): (&Resource, u32)) -> Ordering {
    let time = |resource: &Resource| resource.metadata.creation_timestamp.map(|time| time.value);
    match (time(left), time(right)) {
        (Some(one), Some(other)) => one.cmp(&other),
        (None, None) => place.cmp(&other_place),
        (one, other) => other.is_some().cmp(&one.is_some()),
    }
}

impl Inner {
    fn get(&self, index: usize) -> Option<&Arc<Resource>> {
        self.pages.get(index / PAGE)?.get(index % PAGE)
    }

    fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<u32> {
        self.index.names.find(hash(kind, namespace, name), |index| {
            self.get(index as usize).is_some_and(|resource| is_called(resource, (kind, namespace, name)))
        })
    }
}

/// Whether a set finds a resource by its name alone, whatever it says.
fn stands_by_name(spec: &Spec) -> bool {
    matches!(
        spec,
        Spec::EndpointSlice(_) | Spec::Endpoints(_) | Spec::Pod(_) | Spec::WorkloadEntry(_) | Spec::Secret(_)
    )
}

fn is_called(resource: &Resource, (kind, namespace, name): (&str, &str, &str)) -> bool {
    let id = &resource.id;
    id.kind == kind && *id.namespace == *namespace && *id.name == *name
}

impl Index {
    /// Adds `resource` to `resources`, unless another one has its name.
    fn add(&mut self, resource: Arc<Resource>, resources: &mut Vec<Arc<Resource>>) {
        let id = &resource.id;
        let Ok(index) = u32::try_from(resources.len()) else { return };
        let name = (id.kind, &*id.namespace, &*id.name);
        let hash = hash(name.0, name.1, name.2);
        let known = |index: u32| resources.get(index as usize).filter(|known| is_called(known, name));
        if let Some(first) = self.names.find(hash, |index| known(index).is_some()).and_then(known) {
            self.diagnostics.push(findings::duplicate(first, &resource));
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
        resources.push(resource);
    }

    fn order_entries(&mut self, resources: &[Arc<Resource>]) {
        let resource = |index: u32| resources.get(index as usize);
        for indexes in self.entry_hosts.values_mut().filter(|indexes| indexes.len() > 1) {
            indexes.sort_by(|&left, &right| match (resource(left), resource(right)) {
                (Some(one), Some(other)) => age_of_services((one, left), (other, right)),
                _ => left.cmp(&right),
            });
        }
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

    /// The place with this hash that `is_it`.
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let others = self.others.iter().filter(|(other, _)| *other == hash).map(|&(_, index)| index);
        self.first.get(&hash).copied().into_iter().chain(others).find(|&index| is_it(index))
    }
}
