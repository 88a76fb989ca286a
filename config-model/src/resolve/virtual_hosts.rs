//! The virtual hosts of one route configuration, put together from VirtualServices.
//! Source: Istio, gateway routes: VirtualServices of one host are merged, catch-all routes go to the end, hosts with the
//! very same routes share one virtual host.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use crate::model::{Condition, PathMatch, Route, VirtualHost};
use crate::name::HostPattern;
use crate::origin::Origin;

/// The routes that one VirtualService yields for a port, in order.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// The routes.
    pub(super) routes: Arc<[Arc<Route>]>,
    /// The VirtualService.
    pub(super) origin: Origin,
}

/// Index of a [`Block`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BlockIndex(pub(super) usize);

/// The VirtualServices of a host, in order. Most hosts have one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
enum Blocks {
    #[default]
    None,
    One(BlockIndex),
    Many(Vec<BlockIndex>),
}

impl Blocks {
    fn push(&mut self, block: BlockIndex) {
        match self {
            Self::None => *self = Self::One(block),
            Self::One(first) => *self = Self::Many(vec![*first, block]),
            Self::Many(blocks) => blocks.push(block),
        }
    }

    /// A VirtualService may come to a host by several servers; the first time counts.
    fn once_each(&mut self) {
        let Self::Many(blocks) = self else { return };
        let mut seen = HashSet::new();
        blocks.retain(|block| seen.insert(*block));
        if let [only] = blocks[..] {
            *self = Self::One(only);
        }
    }

    fn as_slice(&self) -> &[BlockIndex] {
        match self {
            Self::None => &[],
            Self::One(block) => std::slice::from_ref(block),
            Self::Many(blocks) => blocks,
        }
    }
}

/// What is known of one host while servers and VirtualServices are gone through.
#[derive(Debug, Default)]
struct Host {
    blocks: Blocks,
    https_redirect: bool,
    redirect_origins: Vec<Origin>,
}

/// The hosts of one port, and what each of them serves.
#[derive(Debug)]
pub(super) struct VirtualHosts {
    hosts: HashMap<HostPattern, Host>,
}

impl VirtualHosts {
    /// Room for about so many hosts.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self { hosts: HashMap::with_capacity(count) }
    }

    /// Adds the routes of one more VirtualService to `host`, after those that it has.
    pub(super) fn add(&mut self, host: HostPattern, block: BlockIndex) {
        self.hosts.entry(host).or_default().blocks.push(block);
    }

    /// Makes `host` answer with a redirect to https, whether it has routes or not.
    pub(super) fn redirect(&mut self, host: HostPattern, server: Origin) {
        let host = self.hosts.entry(host).or_default();
        host.https_redirect = true;
        if host.redirect_origins.last() != Some(&server) {
            host.redirect_origins.push(server);
        }
    }

    /// The virtual hosts, ordered by their first host.
    pub(super) fn finish(self, port: u16, blocks: &[Block]) -> Vec<VirtualHost> {
        let mut hosts: Vec<_> = self.hosts.into_iter().collect();
        hosts.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        let mut merged = Merged { blocks, by_blocks: HashMap::new() };
        let mut alike: HashMap<(Blocks, bool), usize> = HashMap::with_capacity(hosts.len());
        let mut virtual_hosts: Vec<VirtualHost> = Vec::with_capacity(hosts.len());
        let port_text = port.to_string();
        for (domain, mut host) in hosts {
            host.blocks.once_each();
            let key = (host.blocks, host.https_redirect);
            if let Some(same) = alike.get(&key).and_then(|&index| virtual_hosts.get_mut(index)) {
                same.domains.push(domain);
                continue;
            }
            let indexes = key.0.as_slice();
            let origins = if indexes.is_empty() { host.redirect_origins } else { merged.origins(indexes) };
            virtual_hosts.push(VirtualHost {
                name: [&domain.to_string(), ":", &port_text].concat(),
                domains: vec![domain],
                routes: merged.routes(indexes),
                https_redirect: host.https_redirect,
                origins,
            });
            alike.insert(key, virtual_hosts.len() - 1);
        }
        virtual_hosts
    }
}

/// Route lists made of several blocks; hosts that combine the same ones share the list.
struct Merged<'a> {
    blocks: &'a [Block],
    by_blocks: HashMap<Vec<BlockIndex>, Arc<[Arc<Route>]>>,
}

impl Merged<'_> {
    fn routes(&mut self, indexes: &[BlockIndex]) -> Arc<[Arc<Route>]> {
        if let [only] = indexes {
            return self.blocks.get(only.0).map(|block| block.routes.clone()).unwrap_or_default();
        }
        if let Some(routes) = self.by_blocks.get(indexes) {
            return routes.clone();
        }
        let (mut all, mut catch_alls) = (Vec::new(), Vec::new());
        for block in indexes.iter().filter_map(|index| self.blocks.get(index.0)) {
            for route in block.routes.iter() {
                let list = if is_catch_all(route) { &mut catch_alls } else { &mut all };
                list.push(route.clone());
            }
        }
        all.append(&mut catch_alls);
        let routes: Arc<[Arc<Route>]> = all.into();
        self.by_blocks.insert(indexes.to_vec(), routes.clone());
        routes
    }

    fn origins(&self, indexes: &[BlockIndex]) -> Vec<Origin> {
        indexes.iter().filter_map(|index| self.blocks.get(index.0)).map(|block| block.origin.clone()).collect()
    }
}

/// Whether `route` takes every request, so that nothing behind it is ever reached.
pub(super) fn is_catch_all(route: &Route) -> bool {
    takes_all(&route.matcher.path, &route.matcher.conditions)
}

fn takes_all(path: &PathMatch, conditions: &[Condition]) -> bool {
    let any_path = match path {
        PathMatch::Any => true,
        PathMatch::Prefix { text, .. } => **text == *"/",
        PathMatch::Regex(pattern) => pattern.as_str() == ".*",
        PathMatch::Exact { .. } | PathMatch::Both(..) => false,
    };
    any_path && conditions.is_empty()
}
