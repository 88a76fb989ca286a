//! Routes and clusters as they are built, whoever asks for them: a gateway's servers or a sidecar's listeners.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::diagnostic::Diagnostic;
use crate::model::{Cluster, Route, TcpProxy, TcpProxyIndex, TcpRoute};
use crate::origin::Origin;
use crate::resource::VirtualService;

use super::clusters::Clusters;
use super::retries::Retries;
use super::routes::{self, Shared};
use super::set::{Item, ResourceSet};
use super::virtual_hosts::{Block, BlockIndex};
use super::{Place, Proxy};

/// The routes of a VirtualService, and the port and the Gateway that they are for where these make a difference.
struct Known<'a> {
    port: Option<u16>,
    gateway: Option<(&'a str, &'a str)>,
    /// `None` if there are none.
    block: Option<BlockIndex>,
}

impl Known<'_> {
    fn fits(&self, place: &Place<'_>) -> bool {
        self.port.is_none_or(|port| port == place.port) && self.gateway.is_none_or(|gateway| gateway == place.gateway)
    }
}

/// Routes as they are built, each VirtualService's once for all places where they are the same.
pub(super) struct Build<'a> {
    pub(super) resources: &'a ResourceSet,
    pub(super) proxy: &'a Proxy,
    pub(super) clusters: Clusters<'a>,
    pub(super) retries: Retries,
    routes: Vec<Vec<Arc<Route>>>,
    origins: Vec<Origin>,
    by_virtual_service: HashMap<u32, Vec<Known<'a>>>,
    /// Routes of connections.
    tcp_proxies: Vec<TcpProxy>,
    /// What could not be used: delegates, and routes that others stand before.
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl<'a> Build<'a> {
    /// Nothing yet; room for so many VirtualServices.
    pub(super) fn new(resources: &'a ResourceSet, proxy: &'a Proxy, clusters: Clusters<'a>, count: usize) -> Self {
        Self {
            resources,
            proxy,
            clusters,
            retries: Retries::new(resources),
            routes: Vec::with_capacity(count),
            origins: Vec::with_capacity(count),
            by_virtual_service: HashMap::with_capacity(count),
            tcp_proxies: Vec::new(),
            diagnostics: Vec::new(),
        }
    }

    /// The routes of `item` at `place`; `None` if it has none there.
    pub(super) fn block(&mut self, item: Item<'a, VirtualService>, place: &Place<'a>) -> Option<BlockIndex> {
        let known = self.by_virtual_service.entry(item.index).or_insert_with(|| Vec::with_capacity(1));
        if let Some(known) = known.iter().find(|known| known.fits(place)) {
            return known.block;
        }
        if known.is_empty() {
            self.diagnostics.append(&mut routes::delegate_findings(self.resources, item));
        }
        let shared = Shared { clusters: &mut self.clusters, retries: &mut self.retries };
        let translated = routes::translate(self.resources, item, place, self.proxy, shared);
        let block = (!translated.routes.is_empty()).then_some(BlockIndex(self.routes.len()));
        let port = translated.depends_on_port.then_some(place.port);
        let gateway = translated.depends_on_gateway.then_some(place.gateway);
        known.push(Known { port, gateway, block });
        if block.is_some() {
            self.routes.push(translated.routes);
            self.origins.push(item.own_origin());
        }
        block
    }

    /// Routes that no VirtualService has written.
    pub(super) fn own_block(&mut self, routes: Vec<Arc<Route>>, origin: Origin) -> BlockIndex {
        self.routes.push(routes);
        self.origins.push(origin);
        BlockIndex(self.routes.len() - 1)
    }

    /// Adds routes of connections.
    pub(super) fn tcp_proxy(&mut self, name: String, port: u16, routes: Vec<TcpRoute>) -> TcpProxyIndex {
        let index = TcpProxyIndex(u32::try_from(self.tcp_proxies.len()).unwrap_or(u32::MAX));
        self.tcp_proxies.push(TcpProxy { name, port, routes });
        index
    }

    /// What was built; places of clusters are settled.
    pub(super) fn finish(mut self) -> Built {
        let clusters = self.clusters.finish(&mut self.routes, &mut self.tcp_proxies);
        let routes = self.routes.into_iter().zip(self.origins);
        let blocks = routes.map(|(routes, origin)| Block { routes: routes.into(), origin }).collect();
        Built { blocks, tcp_proxies: self.tcp_proxies, clusters }
    }
}

/// Everything that routes name.
pub(super) struct Built {
    pub(super) blocks: Vec<Block>,
    pub(super) tcp_proxies: Vec<TcpProxy>,
    pub(super) clusters: Vec<Cluster>,
}
