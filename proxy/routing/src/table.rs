//! The table: a model compiled for look-up. It never changes after [`Table::compile`] returns.

use std::collections::HashMap;
use std::sync::Arc;

use config_model::model::{
    Action, ClusterTarget, Destination, DirectResponse, Forward, HeaderMutation, Model, PathMatch, Redirect, Route,
    RouteConfigurationIndex, TcpProxy, TcpProxyIndex, TcpRoute, VirtualHost,
};
use config_model::origin::Origin;
use foldhash::fast::FixedState;

use crate::conditions::{RequestHead, holds, path_matches};
use crate::cors::Cors;
use crate::headers::{Mutation, Template};
use crate::hosts::HostTable;
use crate::rules::RuleSet;
use crate::split::Split;
use crate::tcp::{TcpDestinationEntry, TcpEntry, TcpRouteEntry};

/// Number of a route, dense over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct RouteIndex(pub u32);

/// Number of a split, dense over the table. Only a route with a choice of destinations has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct SplitIndex(pub u32);

/// Number of a destination, dense over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct DestinationIndex(pub u32);

/// All route configurations of a model.
#[derive(Debug)]
pub struct Table {
    configurations: Box<[Configuration]>,
    virtual_hosts: Box<[VirtualHostEntry]>,
    routes: Box<[RouteEntry]>,
    tcp_proxies: Box<[TcpEntry]>,
    splits: u32,
    destinations: u32,
}

#[derive(Debug)]
struct Configuration {
    port: u16,
    hosts: HostTable,
}

/// A virtual host and its rules.
#[derive(Debug)]
pub struct VirtualHostEntry {
    /// `shop.example:8080`
    pub name: Box<str>,
    /// Plain-text requests are answered with a redirect to https.
    pub https_redirect: bool,
    /// VirtualServices, or the Gateway server of a host that only redirects.
    pub origins: Box<[Origin]>,
    pub(crate) rules: Arc<RuleSet>,
}

/// A route, its changes to heads and its destinations prepared.
#[derive(Debug)]
pub struct RouteEntry {
    /// Its number.
    pub index: RouteIndex,
    /// As the model has it.
    pub route: Arc<Route>,
    /// The rule's operations on the request; a destination has its own.
    pub request_headers: Mutation,
    /// The rule's operations on whatever is answered on this route.
    pub response_headers: Mutation,
    /// The new authority, if the rule rewrites it.
    pub authority: Option<Template>,
    /// The route's CORS policy, its values prepared. What else it has of policies is with [`Self::route`].
    pub cors: Option<Box<Cors>>,
    /// What is done.
    pub action: ActionEntry,
}

impl RouteEntry {
    /// Whether any operation of the route or of a destination has a value with a command.
    pub fn has_header_commands(&self) -> bool {
        let destinations = match &self.action {
            ActionEntry::Forward { destinations, .. } => &destinations[..],
            ActionEntry::Redirect | ActionEntry::Direct => &[],
        };
        let of_destinations = destinations.iter().flat_map(|entry| [&entry.request_headers, &entry.response_headers]);
        let mut mutations = of_destinations.chain([&self.request_headers, &self.response_headers]);
        let mut authorities = destinations.iter().filter_map(|entry| entry.authority.as_ref()).chain(&self.authority);
        mutations.any(Mutation::has_commands) || authorities.any(Template::has_commands)
    }
}

/// What a route does, prepared.
#[derive(Debug)]
pub enum ActionEntry {
    /// Sends the request to one of the destinations.
    Forward {
        /// In the order of the model.
        destinations: Box<[DestinationEntry]>,
        /// Nothing if there is no choice: the first destination takes everything.
        split: Option<(SplitIndex, Split)>,
    },
    /// The redirect of the model's route.
    Redirect,
    /// The direct response of the model's route.
    Direct,
}

/// A destination, its changes to heads prepared.
#[derive(Debug)]
pub struct DestinationEntry {
    /// Its number.
    pub index: DestinationIndex,
    /// The cluster, or the name of one that does not exist.
    pub target: ClusterTarget,
    /// Operations on requests that go here.
    pub request_headers: Mutation,
    /// Operations on answers that come from here.
    pub response_headers: Mutation,
    /// The new authority: the rule's, else the one that this destination sets, as in Istio.
    pub authority: Option<Template>,
    /// Whether a new authority leaves a note of the old one: not if it is that of one of several destinations, as in Envoy.
    pub tells_original_host: bool,
    /// Whether `x-forwarded-host` is such a note, where the mesh has it.
    pub tells_forwarded_host: bool,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub enum Decision<'t> {
    /// Nowhere: 404, flag NR.
    NotFound {
        /// The virtual host of which no rule matched.
        virtual_host: Option<&'t VirtualHostEntry>,
    },
    /// To the https form of its URL, 301, before any rule.
    HttpsRedirect {
        /// The virtual host that demands it.
        virtual_host: &'t VirtualHostEntry,
    },
    /// To a back end.
    Forward {
        /// The rule.
        route: &'t RouteEntry,
        /// Where the draw fell.
        destination: &'t DestinationEntry,
    },
    /// Elsewhere, by a redirect.
    Redirect {
        /// The rule.
        route: &'t RouteEntry,
        /// Its redirect.
        redirect: &'t Redirect,
    },
    /// Back, with an answer as written.
    Direct {
        /// The rule.
        route: &'t RouteEntry,
        /// Its answer.
        response: &'t DirectResponse,
    },
}

impl Table {
    /// Compiles `model`. What several hosts or ports share in it is shared here too.
    pub fn compile(model: &Model) -> Self {
        let mut compiler = Compiler::default();
        let mut configurations = Vec::with_capacity(model.route_configurations.len());
        for configuration in &model.route_configurations {
            let first = compiler.virtual_hosts.len() as u32;
            let hosts = HostTable::build(&configuration.virtual_hosts, first, configuration.compares_ports);
            configuration.virtual_hosts.iter().for_each(|virtual_host| compiler.add(virtual_host));
            configurations.push(Configuration { port: configuration.port, hosts });
        }
        let tcp_proxies = model.tcp_proxies.iter().map(|proxy| compiler.tcp_proxy(proxy)).collect();
        Self {
            tcp_proxies,
            configurations: configurations.into(),
            virtual_hosts: compiler.virtual_hosts.into(),
            routes: compiler.routes.into(),
            splits: compiler.splits,
            destinations: compiler.destinations,
        }
    }

    /// Where the request with `head` goes, that came in on `configuration`. `draw` is asked once, and only where there is a
    /// choice; it gives a fraction of 2^64.
    pub fn decide<'t>(
        &'t self,
        configuration: RouteConfigurationIndex,
        head: &impl RequestHead,
        draw: impl FnOnce(SplitIndex) -> u64,
    ) -> Decision<'t> {
        let Some(virtual_host) = self.virtual_host(configuration, head.authority()) else {
            return Decision::NotFound { virtual_host: None };
        };
        if virtual_host.redirects_to_https(head) {
            return Decision::HttpsRedirect { virtual_host };
        }
        let route = virtual_host.rules.find(&self.routes, head);
        route.and_then(|route| route.decide(draw)).unwrap_or(Decision::NotFound { virtual_host: Some(virtual_host) })
    }

    /// The virtual host for a Host as it was sent.
    pub fn virtual_host(&self, configuration: RouteConfigurationIndex, authority: &[u8]) -> Option<&VirtualHostEntry> {
        let number = self.configurations.get(configuration.0 as usize)?.hosts.find(authority)?;
        self.virtual_hosts.get(number as usize)
    }

    /// The port that redirects of `configuration` name: the Gateway's. Zero for a configuration that is none.
    pub fn port(&self, configuration: RouteConfigurationIndex) -> u16 {
        self.configurations.get(configuration.0 as usize).map_or(0, |configuration| configuration.port)
    }

    /// The routes of connections that come in at `proxy`.
    pub fn tcp(&self, proxy: TcpProxyIndex) -> Option<&TcpEntry> {
        self.tcp_proxies.get(proxy.0 as usize)
    }

    /// All routes of connections.
    pub fn tcp_routes(&self) -> impl Iterator<Item = &TcpRouteEntry> {
        self.tcp_proxies.iter().flat_map(TcpEntry::routes)
    }

    /// All routes, each at its [`RouteIndex`].
    pub fn routes(&self) -> &[RouteEntry] {
        &self.routes
    }

    /// Number of splits.
    pub fn split_count(&self) -> usize {
        self.splits as usize
    }

    /// Number of destinations.
    pub fn destination_count(&self) -> usize {
        self.destinations as usize
    }
}

impl VirtualHostEntry {
    pub(crate) fn redirects_to_https(&self, head: &impl RequestHead) -> bool {
        self.https_redirect && head.scheme() == config_model::model::Scheme::Http
    }
}

impl RouteEntry {
    /// The destinations, none if the route does not forward.
    pub fn destinations(&self) -> &[DestinationEntry] {
        match &self.action {
            ActionEntry::Forward { destinations, .. } => destinations,
            ActionEntry::Redirect | ActionEntry::Direct => &[],
        }
    }

    /// The split, if there is a choice of destinations.
    pub fn split(&self) -> Option<&(SplitIndex, Split)> {
        match &self.action {
            ActionEntry::Forward { split, .. } => split.as_ref(),
            ActionEntry::Redirect | ActionEntry::Direct => None,
        }
    }

    fn decide(&self, draw: impl FnOnce(SplitIndex) -> u64) -> Option<Decision<'_>> {
        let route = self;
        Some(match (&self.action, &self.route.action) {
            (ActionEntry::Forward { destinations, split }, _) => {
                let picked = split.as_ref().map_or(0, |(index, split)| split.pick(draw(*index)));
                Decision::Forward { route, destination: destinations.get(picked)? }
            }
            (_, Action::Redirect(redirect)) => Decision::Redirect { route, redirect },
            (_, Action::DirectResponse(response)) => Decision::Direct { route, response },
            (_, Action::Forward(_)) => return None,
        })
    }

    /// Whether a path under which the index has this route is sure to match: not if a second condition goes with it.
    pub(crate) fn is_proven_by_index(&self) -> bool {
        matches!(self.route.matcher.path, PathMatch::Any | PathMatch::Exact { .. } | PathMatch::Prefix { .. })
    }

    pub(crate) fn path_matches(&self, path: &[u8]) -> bool {
        path_matches(&self.route.matcher.path, path)
    }

    pub(crate) fn conditions_hold(&self, head: &impl RequestHead) -> bool {
        self.route.matcher.conditions.iter().all(|condition| holds(&condition.condition, head))
    }
}

/// The state of one compilation.
#[derive(Default)]
struct Compiler {
    virtual_hosts: Vec<VirtualHostEntry>,
    routes: Vec<RouteEntry>,
    /// By address of the model's routes, which outlives the compilation.
    route_indices: HashMap<*const Route, RouteIndex, FixedState>,
    rule_sets: HashMap<*const Arc<Route>, Arc<RuleSet>, FixedState>,
    splits: u32,
    destinations: u32,
}

impl Compiler {
    fn add(&mut self, virtual_host: &VirtualHost) {
        let rules = self.rule_set(&virtual_host.routes);
        self.virtual_hosts.push(VirtualHostEntry {
            name: virtual_host.name.as_str().into(),
            https_redirect: virtual_host.https_redirect,
            origins: virtual_host.origins.as_slice().into(),
            rules,
        });
    }

    fn rule_set(&mut self, routes: &[Arc<Route>]) -> Arc<RuleSet> {
        if let Some(rules) = self.rule_sets.get(&routes.as_ptr()) {
            return rules.clone();
        }
        let rules = routes.iter().map(|route| self.route(route)).collect();
        let rules = Arc::new(RuleSet::build(rules, &self.routes));
        self.rule_sets.insert(routes.as_ptr(), rules.clone());
        rules
    }

    fn route(&mut self, route: &Arc<Route>) -> RouteIndex {
        if let Some(index) = self.route_indices.get(&Arc::as_ptr(route)) {
            return *index;
        }
        let index = RouteIndex(self.routes.len() as u32);
        let (action, authority) = match &route.action {
            Action::Forward(forward) => {
                let authority = forward.rewrite.authority.as_ref().map(Template::compile);
                (self.forward(forward, authority.as_ref()), authority)
            }
            Action::Redirect(_) => (ActionEntry::Redirect, None),
            Action::DirectResponse(_) => (ActionEntry::Direct, None),
        };
        self.routes.push(RouteEntry {
            index,
            route: route.clone(),
            request_headers: Mutation::compile(&route.headers.request),
            response_headers: Mutation::compile(&route.headers.response).for_answers(),
            authority,
            cors: route.cors().map(|policy| Box::new(Cors::compile(policy))),
            action,
        });
        self.route_indices.insert(Arc::as_ptr(route), index);
        index
    }

    fn forward(&mut self, forward: &Forward, authority: Option<&Template>) -> ActionEntry {
        let destinations = forward.destinations.iter().map(|to| self.destination(to, authority)).collect();
        let split = self.split(forward.destinations.iter().map(|to| to.weight));
        ActionEntry::Forward { destinations, split }
    }

    /// A split, if there is a choice.
    fn split(&mut self, weights: impl ExactSizeIterator<Item = u32>) -> Option<(SplitIndex, Split)> {
        if weights.len() < 2 {
            return None;
        }
        let split = Split::from_weights(weights)?;
        let index = SplitIndex(self.splits);
        self.splits += 1;
        Some((index, split))
    }

    fn tcp_proxy(&mut self, proxy: &TcpProxy) -> TcpEntry {
        TcpEntry::new(proxy.routes.iter().map(|route| self.tcp_route(route)).collect())
    }

    fn tcp_route(&mut self, route: &TcpRoute) -> TcpRouteEntry {
        let mut destination = |target: &ClusterTarget| {
            let index = DestinationIndex(self.destinations);
            self.destinations += 1;
            TcpDestinationEntry { index, target: target.clone() }
        };
        let destinations = route.destinations.iter().map(|to| destination(&to.cluster)).collect();
        let split = self.split(route.destinations.iter().map(|to| to.weight));
        TcpRouteEntry { route: route.clone(), destinations, split }
    }

    fn destination(&mut self, destination: &Destination, authority: Option<&Template>) -> DestinationEntry {
        let index = DestinationIndex(self.destinations);
        self.destinations += 1;
        let headers = |mutation: &HeaderMutation| Mutation::of_destination(mutation, destination.is_split);
        DestinationEntry {
            index,
            target: destination.cluster.clone(),
            request_headers: headers(&destination.headers.request),
            response_headers: headers(&destination.headers.response).for_answers(),
            authority: authority.cloned().or_else(|| destination.authority.as_ref().map(Template::compile)),
            tells_original_host: authority.is_some() || !destination.is_split,
            tells_forwarded_host: destination.tells_host,
        }
    }
}
