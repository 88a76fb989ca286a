//! Models of a size that somebody has complained about somewhere, built without YAML.

use std::net::SocketAddr;
use std::sync::Arc;

use config_model::model::{
    Action, ClusterIndex, ClusterTarget, Condition, Destination, Endpoint, EndpointAddress, Forward, HeaderOperations,
    Health, Locality, MatchCondition, Model, PathMatch, RetryPolicy, Rewrite, Route, RouteConfiguration, RouteMatch,
    TextMatch, VirtualHost, Workload,
};
use config_model::name::HostPattern;
use config_model::origin::{Origin, Position, ResourceId};

/// A model of one route configuration with these virtual hosts.
pub(crate) fn model(virtual_hosts: Vec<VirtualHost>) -> Model {
    let configuration =
        RouteConfiguration { name: "http.8080".to_owned(), port: 8080, virtual_hosts, compares_ports: false };
    Model { route_configurations: vec![configuration], ..Model::default() }
}

/// A virtual host of one domain.
pub(crate) fn virtual_host(domain: &str, routes: impl IntoIterator<Item = Route>) -> VirtualHost {
    VirtualHost {
        name: format!("{domain}:8080"),
        domains: vec![HostPattern::parse(domain)],
        routes: routes.into_iter().map(Arc::new).collect(),
        https_redirect: false,
        origins: vec![origin()],
    }
}

/// A route to one cluster.
pub(crate) fn route(path: PathMatch, conditions: Vec<MatchCondition>, weights: &[u32]) -> Route {
    let conditions = conditions.into_iter().map(|condition| Condition { condition, origin: origin() }).collect();
    Route {
        id: "default/shop/http[0]".into(),
        name: None,
        origin: origin(),
        matcher: RouteMatch { path, conditions },
        action: Action::Forward(Forward {
            destinations: (0..).zip(weights).map(|(number, &weight)| destination(number, weight)).collect(),
            rewrite: Rewrite::default(),
            timeout: None,
            retry: Arc::new(RetryPolicy::istio_default()),
        }),
        headers: HeaderOperations::default(),
        policy: None,
    }
}

/// The prefix of this number.
pub(crate) fn prefix(number: u32) -> PathMatch {
    PathMatch::Prefix { text: format!("/team{}/service{number}/", number % 100).into(), ignore_case: false }
}

/// A header that must have this value.
pub(crate) fn header(name: &str, value: &str) -> MatchCondition {
    MatchCondition::Header { name: name.into(), value: TextMatch::Exact(value.into()) }
}

/// `count` endpoints that are ready, with a weight by number.
pub(crate) fn endpoints(count: u16, weight: fn(u16) -> u32) -> Vec<Endpoint> {
    let workload = Arc::new(Workload::all(&"unknown".into()));
    let endpoint = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Endpoint {
            address: EndpointAddress::Ip(SocketAddr::from(([10, 0, high, low], 8080))),
            weight: weight(number),
            health: Health::Ready,
            priority: 0,
            locality_share: None,
            proxies: None,
            locality: Locality::default(),
            workload: Arc::clone(&workload),
        }
    };
    (0..count).map(endpoint).collect()
}

fn destination(number: u32, weight: u32) -> Destination {
    Destination {
        cluster: ClusterTarget::Known(ClusterIndex(number)),
        weight,
        is_split: false,
        tells_host: false,
        headers: HeaderOperations::default(),
        authority: None,
        origin: origin(),
    }
}

fn origin() -> Origin {
    let resource = ResourceId {
        kind: "VirtualService",
        namespace: "default".into(),
        name: "shop".into(),
        file: "shop.yaml".into(),
    };
    Origin { resource: Arc::new(resource), position: Position { line: 1, column: 1 } }
}
