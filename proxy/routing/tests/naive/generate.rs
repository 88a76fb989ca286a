//! Models and requests from arbitrary bytes: small alphabets, so that rules overlap and requests meet them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use config_model::model::{
    Action, ClusterIndex, ClusterTarget, Condition, Destination, DirectResponse, Forward, HeaderOperations,
    MatchCondition, Model, PathMatch, PathRewrite, Pattern, Redirect, RedirectPort, RetryPolicy, Rewrite, Route,
    RouteConfiguration, RouteMatch, Scheme, TextMatch, VirtualHost,
};
use config_model::name::HostPattern;
use config_model::origin::{Origin, Position, ResourceId};

use super::Request;

const HOSTS: [&str; 12] = [
    "a.example",
    "b.a.example",
    "*.a.example",
    "*.example",
    "*",
    "example",
    "c.b.a.example",
    "*.b.a.example",
    "[::1]",
    "*a.example",
    "10.0.0.1",
    "aa.example",
];
const AUTHORITIES: [&str; 14] = [
    "a.example",
    "A.Example:80",
    "b.a.example",
    "c.b.a.example",
    "x.c.b.a.example:8080",
    "example",
    ".example",
    "[::1]:80",
    "[::1]",
    "10.0.0.1:80",
    "aa.example",
    "",
    "other",
    "a.example.",
];
const PATHS: [&str; 16] =
    ["", "/", "/a", "/a/", "/a/b", "/ab", "/abc", "/abcd", "/A", "/b", "/b/c/d", "/a/b/c", "//", "/%61", "/Ab/C", "a"];
const PATTERNS: [&str; 6] = ["/a.*", "/(a|b)/.*", ".*", "", "/[a-c]+", "/b"];
const NAMES: [&str; 3] = ["x-a", "x-b", "x-c"];
/// Names of conditions: those that requests have, and parts of the request line.
const MATCHED_NAMES: [&str; 9] = ["x-a", "x-b", "x-c", "x-a", "x-b", ":method", ":path", "host", ":scheme"];
const VALUES: [&str; 5] = ["", "1", "12", "one", "One"];
const METHODS: [&str; 3] = ["GET", "POST", "get"];

/// Choices, taken from bytes until there are none; zero from then on.
pub struct Choices<'b>(pub &'b [u8]);

impl Choices<'_> {
    pub fn below(&mut self, count: usize) -> usize {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(byte) % count
    }

    fn of<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }
}

/// A place in a file that does not exist.
pub fn origin(line: u32) -> Origin {
    let resource =
        ResourceId { kind: "VirtualService", namespace: "default".into(), name: "v".into(), file: "v.yaml".into() };
    Origin { resource: Arc::new(resource), position: Position { line, column: 1 } }
}

/// A model of these route configurations and nothing else.
pub fn model(route_configurations: Vec<RouteConfiguration>) -> Model {
    Model { route_configurations, ..Model::default() }
}

/// A virtual host, named after its first domain.
pub fn virtual_host(domains: &[&str], routes: impl Into<Arc<[Arc<Route>]>>) -> VirtualHost {
    VirtualHost {
        name: format!("{}:80", domains[0]),
        domains: domains.iter().map(|domain| HostPattern::parse(domain)).collect(),
        routes: routes.into(),
        https_redirect: false,
        origins: vec![origin(1)],
    }
}

/// A route to destinations of these weights; clusters are numbered from 0.
pub fn route(id: &str, path: PathMatch, weights: &[u32]) -> Route {
    let destinations = (0..).zip(weights).map(|(number, &weight)| Destination {
        cluster: ClusterTarget::Known(ClusterIndex(number)),
        weight,
        is_split: weights.len() > 1,
        tells_host: false,
        headers: HeaderOperations::default(),
        authority: None,
        origin: origin(number + 100),
    });
    Route {
        id: id.into(),
        name: None,
        origin: origin(1),
        matcher: RouteMatch { path, conditions: Vec::new() },
        action: Action::Forward(Forward {
            destinations: destinations.collect(),
            rewrite: Rewrite::default(),
            timeout: None,
            retry: Arc::new(RetryPolicy::istio_default()),
        }),
        headers: HeaderOperations::default(),
        policy: None,
    }
}

pub fn prefix(text: &str) -> PathMatch {
    PathMatch::Prefix { text: text.into(), ignore_case: false }
}

pub fn exact(text: &str) -> PathMatch {
    PathMatch::Exact { text: text.into(), ignore_case: false }
}

/// Two route configurations.
pub fn any_model(choices: &mut Choices<'_>) -> Model {
    model((0..2).map(|number| any_configuration(choices, 80 + number)).collect())
}

fn any_configuration(choices: &mut Choices<'_>, port: u16) -> RouteConfiguration {
    let mut free = HOSTS.to_vec();
    let mut virtual_hosts: Vec<VirtualHost> = Vec::new();
    for number in 0..1 + choices.below(5) {
        let domains: Vec<&str> =
            (0..1 + choices.below(2)).map(|_| free.swap_remove(choices.below(free.len()))).collect();
        let shared = virtual_hosts.last().map(|host| host.routes.clone()).filter(|_| choices.below(4) == 0);
        let routes = shared.unwrap_or_else(|| any_routes(choices, number));
        let https_redirect = choices.below(8) == 7;
        virtual_hosts.push(VirtualHost { https_redirect, ..virtual_host(&domains, routes) });
    }
    RouteConfiguration { name: format!("http.{port}"), port, virtual_hosts, compares_ports: false }
}

fn any_routes(choices: &mut Choices<'_>, host: usize) -> Arc<[Arc<Route>]> {
    let count = choices.of(&[0, 1, 3, 12, 40]);
    (0..count).map(|number| Arc::new(any_route(choices, &format!("host-{host}/http[{number}]")))).collect()
}

fn any_route(choices: &mut Choices<'_>, id: &str) -> Route {
    let count = choices.of(&[0, 0, 1, 3]);
    let conditions =
        (0..count).map(|line| Condition { condition: any_condition(choices), origin: origin(line) }).collect();
    let weights: Vec<u32> = (0..1 + choices.below(3)).map(|_| choices.of(&[1, 50, 0, 7, u32::MAX])).collect();
    let route = route(id, any_path_match(choices), &weights);
    let action = match choices.below(6) {
        0 => Action::DirectResponse(DirectResponse { status: 200, body: Bytes::new() }),
        1 => Action::Redirect(Redirect {
            path: PathRewrite::Keep,
            authority: None,
            scheme: None,
            port: RedirectPort::Keep,
            status: 301,
        }),
        _ => route.action,
    };
    Route { action, matcher: RouteMatch { conditions, ..route.matcher }, ..route }
}

fn any_path_match(choices: &mut Choices<'_>) -> PathMatch {
    let ignore_case = choices.below(4) == 0;
    let text = choices.of(&PATHS);
    let text = if ignore_case { text.to_ascii_lowercase().into() } else { text.into() };
    match choices.below(8) {
        0..3 => PathMatch::Prefix { text, ignore_case },
        3..6 => PathMatch::Exact { text, ignore_case },
        6 => PathMatch::Regex(pattern(choices.of(&PATTERNS))),
        _ if choices.below(2) == 0 => PathMatch::Any,
        _ => PathMatch::Both(Box::new(PathMatch::Prefix { text, ignore_case }), Box::new(any_path_match(choices))),
    }
}

/// Compiling an expression takes longer than everything else here together.
fn pattern(source: &'static str) -> Pattern {
    static COMPILED: Mutex<BTreeMap<&str, Pattern>> = Mutex::new(BTreeMap::new());
    COMPILED.lock().unwrap().entry(source).or_insert_with(|| Pattern::new(source).unwrap()).clone()
}

fn any_condition(choices: &mut Choices<'_>) -> MatchCondition {
    let name = choices.of(&MATCHED_NAMES).into();
    match choices.below(6) {
        0 => MatchCondition::Method(any_text(choices, &METHODS)),
        1 => MatchCondition::Authority(any_text(choices, &AUTHORITIES)),
        2 => MatchCondition::Scheme(any_text(choices, &["http", "https"])),
        3 => MatchCondition::Header { name, value: any_text(choices, &VALUES) },
        4 => MatchCondition::WithoutHeader { name, value: any_text(choices, &VALUES) },
        _ => MatchCondition::Query { name, value: any_text(choices, &VALUES) },
    }
}

fn any_text(choices: &mut Choices<'_>, values: &[&str]) -> TextMatch {
    let text = choices.of(values);
    match choices.below(4) {
        0 => TextMatch::Exact(text.into()),
        1 => TextMatch::Prefix(text.into()),
        2 => TextMatch::Regex(pattern(choices.of(&["1.*", ".*", "", "[A-Z]+"]))),
        _ => TextMatch::Present,
    }
}

pub fn any_request(choices: &mut Choices<'_>) -> Request {
    let tail = choices.of(&["", "", "/", "b", "/c"]);
    let mut request = Request::get(choices.of(&AUTHORITIES), &format!("{}{tail}", choices.of(&PATHS)));
    request.method = choices.of(&METHODS).to_owned();
    request.scheme = choices.of(&[Scheme::Http, Scheme::Http, Scheme::Https]);
    for _ in 0..choices.below(4) {
        request = request.with(choices.of(&NAMES), choices.of(&VALUES));
    }
    let mut parameter = || format!("{}{}{}", choices.of(&NAMES), choices.of(&["=", "", "=="]), choices.of(&VALUES));
    let parameters = [parameter(), parameter(), parameter()];
    request.query = [None, Some(1), Some(2), Some(3)][choices.below(4)].map(|count| parameters[..count].join("&"));
    request
}
