//! Rows of `listeners`, `routes`, `clusters` and `endpoints`: the model, flattened, for a table or as JSON.

use std::num::NonZeroU32;

use config_model::model::{
    Action, Balancing, Cluster, ClusterName, ClusterPolicy, Discovery, Endpoint, EndpointAddress, Health, Listener,
    ListenerAddress, Model, Route, RouteConfiguration, RouteConfigurationIndex, TcpProxy, TcpRoute, VirtualHost,
};
use config_model::name::{HostPattern, Labels};
use config_model::origin::Origin;
use routing::explain::cluster_policies;
use serde::Serialize;

use super::words;

/// What a row must be about to be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// A host that the row's host or domain names.
    pub(crate) host: Option<String>,
    /// Port of the listener, or of the cluster.
    pub(crate) port: Option<u16>,
}

impl Filter {
    fn takes_port(&self, port: u16) -> bool {
        self.port.is_none_or(|wanted| wanted == port)
    }

    fn takes_domains(&self, domains: &[HostPattern]) -> bool {
        self.host.as_ref().is_none_or(|host| {
            let wanted = HostPattern::parse(host);
            domains.iter().any(|domain| *domain == wanted || domain.matches(&host.to_ascii_lowercase()))
        })
    }

    fn takes_cluster(&self, name: &ClusterName) -> bool {
        let host = |host: &String| {
            HostPattern::parse(host).matches(&name.host) || name.host.split('.').next() == Some(host.as_str())
        };
        self.takes_port(name.port) && self.host.as_ref().is_none_or(host)
    }
}

/// A row of a table.
pub(crate) trait Row<const N: usize>: Serialize {
    /// Titles of the columns.
    const HEADING: [&'static str; N];

    /// The cells, perhaps with several lines.
    fn cells(&self) -> [String; N];
}

/// A listener.
#[derive(Debug, Serialize)]
pub(crate) struct ListenerRow<'m> {
    address: &'m ListenerAddress,
    routes: &'m str,
    domains: Vec<&'m HostPattern>,
    origins: &'m [Origin],
}

/// A route of a virtual host.
#[derive(Debug, Serialize)]
pub(crate) struct RouteRow<'m> {
    port: u16,
    virtual_host: &'m str,
    domains: &'m [HostPattern],
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'m str>,
    id: &'m str,
    #[serde(rename = "match")]
    matcher: String,
    action: Vec<String>,
    destinations: Vec<DestinationRow<'m>>,
    origin: &'m Origin,
}

#[derive(Debug, Serialize)]
struct DestinationRow<'m> {
    cluster: &'m ClusterName,
    exists: bool,
    weight: u32,
    share: f64,
}

/// A cluster.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterRow<'m> {
    name: &'m ClusterName,
    labels: &'m Labels,
    balancing: Balancing,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'m ClusterPolicy>,
    /// All that is set, in words.
    #[serde(skip)]
    words: Vec<String>,
    discovery: Discovery,
    endpoints: usize,
    ready: usize,
    origins: &'m [Origin],
}

/// An endpoint of a cluster.
#[derive(Debug, Serialize)]
pub(crate) struct EndpointRow<'m> {
    cluster: &'m ClusterName,
    address: &'m EndpointAddress,
    health: Health,
    weight: u32,
    locality: String,
    #[serde(skip_serializing_if = "is_first")]
    priority: u8,
    /// Millionths.
    #[serde(skip_serializing_if = "Option::is_none")]
    locality_share: Option<NonZeroU32>,
    workload: &'m str,
    version: &'m str,
}

/// The listeners, each once for each of its route configurations and of its ways for other connections.
pub(crate) fn listeners<'m>(model: &'m Model, filter: &Filter) -> Vec<ListenerRow<'m>> {
    let mut rows = http_listeners(model, filter);
    for listener in model.listeners.iter().filter(|listener| filter.takes_port(listener.address.port())) {
        let proxies = listener.tcp_proxies().filter_map(|index| model.tcp_proxies.get(index.0 as usize));
        rows.extend(proxies.filter(|_| filter.host.is_none()).map(|proxy| ListenerRow {
            address: &listener.address,
            routes: &proxy.name,
            domains: Vec::new(),
            origins: &listener.origins,
        }));
    }
    rows.sort_by_cached_key(|row| row.address.rank());
    rows
}

fn http_listeners<'m>(model: &'m Model, filter: &Filter) -> Vec<ListenerRow<'m>> {
    let row = |(listener, index): (&'m Listener, RouteConfigurationIndex)| {
        let routes = model.route_configurations.get(index.0 as usize)?;
        let domains: Vec<_> = routes.virtual_hosts.iter().flat_map(|host| &host.domains).collect();
        let kept = filter.takes_port(listener.address.port())
            && routes.virtual_hosts.iter().any(|host| filter.takes_domains(&host.domains))
            || filter.host.is_none() && filter.takes_port(listener.address.port());
        kept.then_some(ListenerRow {
            address: &listener.address,
            routes: &routes.name,
            domains,
            origins: &listener.origins,
        })
    };
    let pairs = |listener: &'m Listener| listener.route_configurations().map(move |index| (listener, index));
    model.listeners.iter().flat_map(pairs).filter_map(row).collect()
}

/// The routes in the order in which they are tried.
pub(crate) fn routes<'m>(model: &'m Model, filter: &Filter) -> Vec<RouteRow<'m>> {
    let configurations =
        model.route_configurations.iter().filter(|configuration| filter.takes_port(configuration.port));
    let hosts = configurations
        .flat_map(|configuration| configuration.virtual_hosts.iter().map(move |host| (configuration, host)));
    let kept = hosts.filter(|(_, host)| filter.takes_domains(&host.domains));
    let of_http = kept.flat_map(|(configuration, host)| {
        host.routes.iter().map(move |route| RouteRow::new(model, configuration, host, route))
    });
    let proxies = model.tcp_proxies.iter().filter(|proxy| filter.host.is_none() && filter.takes_port(proxy.port));
    let of_tcp = proxies.flat_map(|proxy| proxy.routes.iter().map(move |route| RouteRow::of_tcp(model, proxy, route)));
    of_http.chain(of_tcp).collect()
}

/// The clusters, each with the number of its endpoints.
pub(crate) fn clusters<'m>(model: &'m Model, endpoints: &[Vec<Endpoint>], filter: &Filter) -> Vec<ClusterRow<'m>> {
    let pairs = model.clusters.iter().zip(endpoints).filter(|(cluster, _)| filter.takes_cluster(&cluster.name));
    pairs.map(|(cluster, endpoints)| ClusterRow::new(cluster, endpoints)).collect()
}

/// The endpoints of all clusters.
pub(crate) fn endpoints<'m>(model: &'m Model, endpoints: &'m [Vec<Endpoint>], filter: &Filter) -> Vec<EndpointRow<'m>> {
    let pairs = model.clusters.iter().zip(endpoints).filter(|(cluster, _)| filter.takes_cluster(&cluster.name));
    pairs
        .flat_map(|(cluster, endpoints)| endpoints.iter().map(|endpoint| EndpointRow::new(&cluster.name, endpoint)))
        .collect()
}

impl<'m> RouteRow<'m> {
    fn new(model: &'m Model, configuration: &RouteConfiguration, host: &'m VirtualHost, route: &'m Route) -> Self {
        let destinations = match &route.action {
            Action::Forward(forward) => &forward.destinations[..],
            _ => &[],
        };
        let destinations = destinations.iter().zip(words::shares(destinations)).filter_map(|(destination, share)| {
            let (cluster, exists) = words::cluster_name(&destination.cluster, model)?;
            Some(DestinationRow { cluster, exists, weight: destination.weight, share })
        });
        Self {
            port: configuration.port,
            virtual_host: &host.name,
            domains: &host.domains,
            name: route.name.as_deref(),
            id: &route.id,
            matcher: words::matcher(&route.matcher),
            action: words::action(&route.action, model),
            destinations: destinations.collect(),
            origin: &route.origin,
        }
    }
}

impl<'m> RouteRow<'m> {
    fn of_tcp(model: &'m Model, proxy: &'m TcpProxy, route: &'m TcpRoute) -> Self {
        let subnets: Vec<String> = route.destination_subnets.iter().map(ToString::to_string).collect();
        let total: u64 = route.destinations.iter().map(|to| u64::from(to.weight)).sum();
        let destinations = route.destinations.iter().filter_map(|to| {
            let (cluster, exists) = words::cluster_name(&to.cluster, model)?;
            Some(DestinationRow {
                cluster,
                exists,
                weight: to.weight,
                share: f64::from(to.weight) / total.max(1) as f64,
            })
        });
        let destinations: Vec<DestinationRow<'m>> = destinations.collect();
        let line = |row: &DestinationRow<'m>| format!("{} % {}", (row.share * 1e4).round() / 1e2, row.cluster);
        Self {
            port: proxy.port,
            virtual_host: &proxy.name,
            domains: &[],
            name: None,
            id: &route.id,
            matcher: if subnets.is_empty() {
                "any connection".to_owned()
            } else {
                format!("to {}", subnets.join(", "))
            },
            action: destinations.iter().map(line).collect(),
            destinations,
            origin: &route.origin,
        }
    }
}

impl<'m> ClusterRow<'m> {
    fn new(cluster: &'m Cluster, endpoints: &[Endpoint]) -> Self {
        Self {
            name: &cluster.name,
            labels: &cluster.subset_labels,
            balancing: cluster.balancing,
            policy: cluster.policy.as_deref(),
            words: cluster_policies(cluster),
            discovery: cluster.discovery,
            endpoints: endpoints.len(),
            ready: endpoints.iter().filter(|endpoint| endpoint.health == Health::Ready).count(),
            origins: &cluster.origins,
        }
    }
}

fn is_first(priority: &u8) -> bool {
    *priority == 0
}

impl<'m> EndpointRow<'m> {
    /// `r1/z1 (priority 1)`, `r1/z1 (70%)`
    fn place(&self) -> String {
        let rank = match (self.locality_share, self.priority) {
            (Some(share), 0) => format!("({}%)", f64::from(share.get()) / 10_000.0),
            (Some(share), priority) => format!("(priority {priority}, {}%)", f64::from(share.get()) / 10_000.0),
            (None, 0) => return self.locality.clone(),
            (None, priority) => format!("(priority {priority})"),
        };
        if self.locality.is_empty() { rank } else { format!("{} {rank}", self.locality) }
    }

    fn new(cluster: &'m ClusterName, endpoint: &'m Endpoint) -> Self {
        let locality = &endpoint.locality;
        let parts = [&locality.region, &locality.zone, &locality.subzone];
        let parts: Vec<&str> = parts.iter().map(|part| &***part).take_while(|part| !part.is_empty()).collect();
        Self {
            cluster,
            address: &endpoint.address,
            health: endpoint.health,
            weight: endpoint.weight,
            locality: parts.join("/"),
            priority: endpoint.priority,
            locality_share: endpoint.locality_share,
            workload: &endpoint.workload.name,
            version: &endpoint.workload.version,
        }
    }
}

impl Row<4> for ListenerRow<'_> {
    const HEADING: [&'static str; 4] = ["ADDRESS", "ROUTES", "HOSTS", "FROM"];

    fn cells(&self) -> [String; 4] {
        [self.address.to_string(), self.routes.to_owned(), lines(&self.domains), origins(self.origins)]
    }
}

impl Row<5> for RouteRow<'_> {
    const HEADING: [&'static str; 5] = ["PORT", "HOST", "MATCH", "TO", "FROM"];

    fn cells(&self) -> [String; 5] {
        let matcher = self.name.map_or_else(|| self.matcher.clone(), |name| format!("{} ({name})", self.matcher));
        let from = origins(std::slice::from_ref(self.origin));
        [self.port.to_string(), lines(self.domains), matcher, self.action.join("\n"), from]
    }
}

impl Row<6> for ClusterRow<'_> {
    const HEADING: [&'static str; 6] = ["CLUSTER", "LABELS", "BALANCING", "DISCOVERY", "READY", "FROM"];

    fn cells(&self) -> [String; 6] {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ready = format!("{}/{}", self.ready, self.endpoints);
        [
            self.name.to_string(),
            labels.join(","),
            self.words.join("\n"),
            enum_word(self.discovery),
            ready,
            origins(self.origins),
        ]
    }
}

impl Row<6> for EndpointRow<'_> {
    const HEADING: [&'static str; 6] = ["CLUSTER", "ADDRESS", "HEALTH", "WEIGHT", "LOCALITY", "WORKLOAD"];

    fn cells(&self) -> [String; 6] {
        [
            self.cluster.to_string(),
            self.address.to_string(),
            enum_word(self.health),
            self.weight.to_string(),
            self.place(),
            format!("{} {}", self.workload, self.version),
        ]
    }
}

/// A value as Istio writes it: `ROUND_ROBIN`.
fn enum_word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn lines(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn origins(origins: &[Origin]) -> String {
    let mut lines: Vec<String> = origins.iter().map(|origin| format!("{} {origin}", origin.resource)).collect();
    lines.dedup();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::configuration::{Files, RoleArgument, Understood};

    const SHOP: [(&str, &str); 3] = [
        ("gateway.yaml", include_str!("../../tests/fixtures/shop/gateway.yaml")),
        ("routes.yaml", include_str!("../../tests/fixtures/shop/routes.yaml")),
        ("services.yaml", include_str!("../../tests/fixtures/shop/services.yaml")),
    ];

    fn shop() -> Understood {
        Files::parse(SHOP.map(|(name, text)| (name.into(), text.into()))).understand(
            RoleArgument::Gateway,
            "default",
            None,
        )
    }

    fn filter(host: Option<&str>, port: Option<u16>) -> Filter {
        Filter { host: host.map(str::to_owned), port }
    }

    #[test]
    fn a_host_is_found_by_its_domain_and_by_any_name_that_the_domain_takes() {
        let shop = shop();
        let table = [
            (None, None, 5),
            (Some("shop.example"), None, 5),
            (Some("SHOP.example"), Some(80), 5),
            (Some("other.example"), None, 0),
            (None, Some(443), 0),
        ];
        for (host, port, count) in table {
            let filter = filter(host, port);
            assert_eq!(routes(&shop.model, &filter).len(), count, "{filter:?}");
            assert_eq!(listeners(&shop.model, &filter).len(), count.min(1), "{filter:?}");
        }
    }

    #[test]
    fn a_cluster_is_found_by_host_short_name_wildcard_and_port() {
        let shop = shop();
        let table = [
            (None, None, 3),
            (Some("reviews"), None, 3),
            (Some("reviews.default.svc.cluster.local"), Some(9080), 3),
            (Some("*.svc.cluster.local"), None, 3),
            (Some("review"), None, 0),
            (Some("reviews"), Some(80), 0),
        ];
        for (host, port, count) in table {
            let filter = filter(host, port);
            assert_eq!(endpoints(&shop.model, &shop.endpoints, &filter).len(), count, "{filter:?}");
            assert_eq!(clusters(&shop.model, &shop.endpoints, &filter).len(), count.min(2), "{filter:?}");
        }
    }

    #[test]
    fn a_route_names_its_destinations_with_their_shares_and_those_that_do_not_exist() {
        let shop = shop();
        let routes = routes(&shop.model, &Filter::default());
        let destinations = |place: usize| -> Vec<(String, bool, f64)> {
            let rows = routes[place].destinations.iter();
            rows.map(|row| (row.cluster.subset.to_string(), row.exists, row.share)).collect()
        };
        assert_eq!(destinations(1), [("v1".to_owned(), true, 0.9), ("v2".to_owned(), true, 0.1)]);
        assert_eq!(destinations(2), []);
        assert_eq!(destinations(4), [(String::new(), false, 1.0)]);
    }

    #[test]
    fn a_clusters_policy_and_its_endpoints_ranks_are_told_where_there_are_any() {
        const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: near, namespace: \
                            shop}\nspec:\n  host: reviews.default.svc.cluster.local\n  trafficPolicy:\n    loadBalancer: \
                            {warmupDurationSecs: 30s, consistentHash: {useSourceIp: true}}\n    connectionPool: {tcp: \
                            {maxConnections: 9}, http: {http2MaxRequests: 8}}\n    outlierDetection: \
                            {consecutiveGatewayErrors: 2}\n    retryBudget: {percent: 12.5, budgetInterval: 10s}\n  subsets:\n  - {name: v1, labels: \
                            {version: v1}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmupDurationSecs: \
                            30s, localityLbSetting: {failoverPriority: [app]}}}}\n  - {name: v2, labels: {version: v2}, \
                            trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: '*', to: {'*': 100}}]}}}}";
        let files = SHOP.into_iter().chain([("near.yaml", RULE)]).map(|(name, text)| (name.into(), text.into()));
        let shop = Files::parse(files).understand(RoleArgument::Gateway, "shop", None);
        let rows = clusters(&shop.model, &shop.endpoints, &Filter::default());
        let words: Vec<String> = rows.iter().map(|row| row.words.join("; ")).collect();
        let rest = "at most 8 requests, 9 connections; ejects after 5 errors or 2 gateway errors, up to 10%; retries up to \
                    12.5% of the requests in 10s, at least 3";
        let first = format!("ROUND_ROBIN; warms up in 30s; nearest first by app; {rest}");
        assert_eq!(words, [first, format!("LEAST_REQUEST; shares by locality; {rest}")]);
        let places: Vec<String> =
            endpoints(&shop.model, &shop.endpoints, &Filter::default()).iter().map(EndpointRow::place).collect();
        assert_eq!(places, ["", "", "(100%)"]);
    }
}
