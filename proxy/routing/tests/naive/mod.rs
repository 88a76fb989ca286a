//! What the routing table is held to: the rules of Istio's API, interpreted straight from the model without any index, and
//! models and requests made of arbitrary bytes. Shares no code with the table. The fuzz targets include this file too.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod generate;

use config_model::model::{
    Action, Condition, MatchCondition, Model, PathMatch, Route, RouteConfigurationIndex, Scheme, TextMatch, VirtualHost,
};
use config_model::name::HostPattern;
use routing::{Decision, RequestHead};

/// A request as a list of facts.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub scheme: Scheme,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Request {
    pub fn get(authority: &str, path: &str) -> Self {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
        let (method, scheme, headers) = ("GET".to_owned(), Scheme::Http, Vec::new());
        Self { method, scheme, authority: authority.to_owned(), path: path.to_owned(), query, headers }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl RequestHead for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn scheme(&self) -> Scheme {
        self.scheme
    }
    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }
    fn matching_path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.query.as_deref().map(str::as_bytes)
    }
    fn any_header(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.headers.iter().any(|(field, value)| field == name && test(value.as_bytes()))
    }
}

/// A decision in words that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    NotFound(Option<String>),
    HttpsRedirect(String),
    /// Route and cluster.
    Forward(String, String),
    Redirect(String),
    Direct(String),
}

pub fn verdict(decision: &Decision<'_>) -> Verdict {
    match decision {
        Decision::NotFound { virtual_host } => Verdict::NotFound(virtual_host.map(|host| host.name.to_string())),
        Decision::HttpsRedirect { virtual_host } => Verdict::HttpsRedirect(virtual_host.name.to_string()),
        Decision::Forward { route, destination } => {
            Verdict::Forward(route.route.id.to_string(), format!("{:?}", destination.target))
        }
        Decision::Redirect { route, .. } => Verdict::Redirect(route.route.id.to_string()),
        Decision::Direct { route, .. } => Verdict::Direct(route.route.id.to_string()),
    }
}

/// The whole of routing in one function.
pub fn decide(model: &Model, configuration: RouteConfigurationIndex, request: &Request, draw: u64) -> Verdict {
    let hosts = &model.route_configurations[configuration.0 as usize].virtual_hosts;
    let Some(host) = virtual_host(hosts, &request.authority) else { return Verdict::NotFound(None) };
    if host.https_redirect && request.scheme == Scheme::Http {
        return Verdict::HttpsRedirect(host.name.clone());
    }
    let Some(route) = host.routes.iter().find(|route| matches(route, request)) else {
        return Verdict::NotFound(Some(host.name.clone()));
    };
    let id = route.id.to_string();
    match &route.action {
        Action::Forward(forward) => {
            let weights: Vec<u64> = forward.destinations.iter().map(|to| u64::from(to.weight)).collect();
            let cluster = &forward.destinations[pick(&weights, draw)].cluster;
            Verdict::Forward(id, format!("{cluster:?}"))
        }
        Action::Redirect(_) => Verdict::Redirect(id),
        Action::DirectResponse(_) => Verdict::Direct(id),
    }
}

/// The destination that has the draw's place when everyone gets as many places as its weight says.
fn pick(weights: &[u64], draw: u64) -> usize {
    let total: u64 = weights.iter().sum();
    let mut place = (u128::from(draw) * u128::from(total)) / (1 << 64);
    for (index, &weight) in weights.iter().enumerate() {
        if place < u128::from(weight) {
            return index;
        }
        place -= u128::from(weight);
    }
    0
}

fn virtual_host<'m>(hosts: &'m [VirtualHost], authority: &str) -> Option<&'m VirtualHost> {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => authority,
    };
    let name = name.to_ascii_lowercase();
    let rank = |pattern: &HostPattern| match pattern {
        HostPattern::Exact(_) => usize::MAX,
        HostPattern::Suffix(suffix) => suffix.len(),
        HostPattern::Any => 0,
    };
    let candidates = hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (host, domain)));
    let fitting = candidates.filter(|(_, domain)| domain.matches(&name));
    fitting.max_by_key(|(_, domain)| rank(domain)).map(|(host, _)| host)
}

fn matches(route: &Route, request: &Request) -> bool {
    path(&route.matcher.path, &request.path)
        && route.matcher.conditions.iter().all(|condition| holds(condition, request))
}

fn path(matcher: &PathMatch, path: &str) -> bool {
    let fold = |ignore_case: bool| if ignore_case { path.to_ascii_lowercase() } else { path.to_owned() };
    match matcher {
        PathMatch::Any => true,
        PathMatch::Exact { text, ignore_case } => fold(*ignore_case) == **text,
        PathMatch::Prefix { text, ignore_case } => fold(*ignore_case).starts_with(&**text),
        PathMatch::Regex(pattern) => pattern.matches(path.as_bytes()),
        PathMatch::Both(one, other) => self::path(one, path) && self::path(other, path),
    }
}

fn text(matcher: &TextMatch, value: &str) -> bool {
    match matcher {
        TextMatch::Exact(exact) => **exact == *value,
        TextMatch::Prefix(prefix) => value.starts_with(&**prefix),
        TextMatch::Regex(pattern) => pattern.matches(value.as_bytes()),
        TextMatch::Present => true,
    }
}

fn holds(condition: &Condition, request: &Request) -> bool {
    let fields = |name: &str| -> Vec<String> {
        let query = request.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        match name {
            ":method" => vec![request.method.clone()],
            ":scheme" => vec![format!("{:?}", request.scheme).to_ascii_lowercase()],
            ":authority" | "host" => vec![request.authority.clone()],
            ":path" => vec![format!("{}{query}", request.path)],
            _ => request.headers.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect(),
        }
    };
    match &condition.condition {
        MatchCondition::Method(value) => text(value, &request.method),
        MatchCondition::Authority(value) => text(value, &request.authority),
        MatchCondition::Scheme(value) => text(value, if request.scheme == Scheme::Https { "https" } else { "http" }),
        MatchCondition::Header { name, value } => fields(name).iter().any(|field| text(value, field)),
        MatchCondition::WithoutHeader { name, value: TextMatch::Present } => fields(name).is_empty(),
        MatchCondition::WithoutHeader { name, value } => match &fields(name)[..] {
            // Istio compares a missing field as if it were empty.
            [] => !text(value, ""),
            fields => !fields.iter().any(|field| text(value, field)),
        },
        MatchCondition::Query { name, value } => {
            let parameters = request.query.iter().flat_map(|query| query.split('&'));
            let mut pairs = parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
            pairs.find(|(parameter, _)| *parameter == &**name).is_some_and(|(_, found)| text(value, found))
        }
    }
}
