//! Resolution by tables: YAML in, a summary of the model out.

mod access_logs;
mod actions;
mod change;
mod connections;
mod destinations;
mod endpoints;
mod entries;
mod follow;
mod hashing;
mod hosts;
mod localities;
mod matches;
mod mesh;
mod policies;
mod route_policies;
mod scale;
mod sidecar;

use std::fmt::Write;
use std::sync::Arc;

use super::{EndpointIndex, Proxy, Resolution, ResourceSet, Role, resolve};
use crate::file::ParsedFile;
use crate::model::{
    Action, ClusterTarget, Endpoint, Forward, MatchCondition, Model, PathMatch, PathRewrite, Route, TextMatch,
    VirtualHost,
};
use crate::name::Labels;
use crate::resource::Resource;

/// The resources of files, which have to be without fault.
pub(crate) fn parse(files: &[(&str, &str)]) -> Vec<Arc<Resource>> {
    let mut resources = Vec::new();
    for (name, text) in files {
        let file = ParsedFile::parse(name, text, None);
        assert!(!file.is_refused(), "{name}: {:#?}", file.diagnostics);
        resources.extend(file.resources);
    }
    resources
}

pub(crate) fn set(text: &str) -> ResourceSet {
    ResourceSet::new(&parse(&[("main.yaml", text)]))
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect()
}

pub(crate) fn gateway() -> Proxy {
    Proxy { role: Role::Gateway, namespace: "default".into(), labels: labels(&[("istio", "ingressgateway")]) }
}

pub(crate) fn resolved(text: &str) -> Resolution {
    resolve(&set(text), &gateway())
}

pub(crate) fn resolved_as(text: &str, proxy: &Proxy) -> Resolution {
    resolve(&set(text), proxy)
}

/// The model in few words: a line for each route configuration, virtual host and route.
pub(crate) fn summary(model: &Model) -> String {
    let mut text = String::new();
    for listener in &model.listeners {
        for index in listener.route_configurations() {
            let configuration = &model.route_configurations[index.0 as usize];
            writeln!(text, "{} {}", listener.address, configuration.name).unwrap();
            for host in &configuration.virtual_hosts {
                writeln!(text, "  {}", host_line(host)).unwrap();
                for route in host.routes.iter() {
                    writeln!(text, "    {}", route_line(model, route)).unwrap();
                }
            }
        }
    }
    text
}

fn host_line(host: &VirtualHost) -> String {
    let domains: Vec<String> = host.domains.iter().map(ToString::to_string).collect();
    let redirect = if host.https_redirect { " to https" } else { "" };
    format!("{}{redirect}", domains.join(" "))
}

fn route_line(model: &Model, route: &Route) -> String {
    let conditions: String =
        route.matcher.conditions.iter().map(|one| format!(" {}", condition(&one.condition))).collect();
    format!("{}{conditions} => {}", path(&route.matcher.path), action(model, &route.action))
}

fn path(path: &PathMatch) -> String {
    let any_case = |ignore_case: bool| if ignore_case { "~" } else { "" };
    match path {
        PathMatch::Any => "any".to_owned(),
        PathMatch::Exact { text, ignore_case } => format!("={}{text}", any_case(*ignore_case)),
        PathMatch::Prefix { text, ignore_case } => format!("{}{text}*", any_case(*ignore_case)),
        PathMatch::Regex(pattern) => format!("/{pattern}/"),
        PathMatch::Both(outer, inner) => format!("{}&{}", self::path(outer), self::path(inner)),
    }
}

fn condition(condition: &MatchCondition) -> String {
    let value = |value: &TextMatch| match value {
        TextMatch::Exact(text) => format!("={text}"),
        TextMatch::Prefix(text) => format!("={text}*"),
        TextMatch::Regex(pattern) => format!("=/{pattern}/"),
        TextMatch::Present => String::new(),
    };
    match condition {
        MatchCondition::Method(text) => format!("method{}", value(text)),
        MatchCondition::Authority(text) => format!("authority{}", value(text)),
        MatchCondition::Scheme(text) => format!("scheme{}", value(text)),
        MatchCondition::Header { name, value: text } => format!("{name}{}", value(text)),
        MatchCondition::WithoutHeader { name, value: text } => format!("not({name}{})", value(text)),
        MatchCondition::Query { name, value: text } => format!("?{name}{}", value(text)),
    }
}

fn action(model: &Model, action: &Action) -> String {
    match action {
        Action::Forward(forward) => self::forward(model, forward),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status),
        Action::DirectResponse(response) => String::from_utf8_lossy(&response.body).into_owned(),
    }
}

fn forward(model: &Model, forward: &Forward) -> String {
    let target = |target: &ClusterTarget| match target {
        ClusterTarget::Known(index) => model.clusters[index.0 as usize].name.to_string(),
        ClusterTarget::Missing(name) => format!("missing {name}"),
    };
    let short = |name: String| name.replace("outbound|", "").replace(".default.svc.cluster.local", "");
    let destinations = forward.destinations.iter().map(|to| (short(target(&to.cluster)), to.weight));
    let mut texts: Vec<String> = destinations.map(|(name, weight)| format!("{weight} {name}")).collect();
    match &forward.rewrite.path {
        PathRewrite::Keep => {}
        PathRewrite::Prefix { length, text } => texts.push(format!("{length}->{text}")),
        PathRewrite::Whole(text) => texts.push(format!("all->{text}")),
        PathRewrite::Regex { pattern, substitution } => texts.push(format!("{}->{substitution}", pattern.0)),
    }
    texts.join(", ")
}

/// Endpoints of the cluster with that name: address, weight if not 1, `!` if it takes no traffic.
pub(crate) fn endpoints(text: &str, cluster: &str) -> String {
    let set = set(text);
    let model = resolve(&set, &gateway()).model;
    let cluster = model.clusters.iter().find(|one| one.name.to_string() == cluster).expect("the cluster");
    let found = EndpointIndex::new(&set).endpoints(cluster);
    let texts: Vec<String> = found.iter().map(endpoint).collect();
    texts.join(" ")
}

fn endpoint(endpoint: &Endpoint) -> String {
    let weight = if endpoint.weight == 1 { String::new() } else { format!("*{}", endpoint.weight) };
    let health = if endpoint.health == crate::model::Health::Ready { "" } else { "!" };
    format!("{}{weight}{health}", endpoint.address)
}

/// A Gateway `web` for every host on port 80.
pub(crate) const WEB: &str = r#"
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
"#;

/// The service `reviews` with a subset for each of three endpoints.
pub(crate) const REVIEWS: &str = r"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.11, ports: {http: 9001}, labels: {app: reviews, version: v1}}
  - {address: 127.0.0.12, ports: {http: 9002}, labels: {app: reviews, version: v2}}
  - {address: 127.0.0.13, ports: {http: 9003}, labels: {app: reviews, version: v3}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
---
";

/// A VirtualService of namespace `default`; `metadata` and `spec` are written in braces.
pub(crate) fn virtual_service(metadata: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {metadata}\nspec: {spec}\n---\n")
}

/// The first route of a VirtualService with one rule.
pub(crate) fn route_of(rule: &str) -> Arc<Route> {
    let spec = format!("{{hosts: ['*'], gateways: [web], http: [{{{rule}}}]}}");
    first_route(&format!("{WEB}{REVIEWS}{}", virtual_service("{name: v}", &spec)))
}

/// The first route of all.
pub(crate) fn first_route(text: &str) -> Arc<Route> {
    Arc::clone(&resolved(text).model.route_configurations[0].virtual_hosts[0].routes[0])
}

/// What a route forwards to.
pub(crate) fn forward_in(route: &Route) -> Forward {
    match &route.action {
        Action::Forward(forward) => forward.clone(),
        other => panic!("not a forward: {other:?}"),
    }
}

/// The lines of routes alone, without the indentation.
pub(crate) fn route_lines(text: &str) -> Vec<String> {
    let lines = summary(&resolved(text).model);
    lines.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// Without common indentation and the blank lines around.
pub(crate) fn dedent(text: &str) -> String {
    let lines: Vec<&str> = text.trim_matches('\n').lines().collect();
    let indent =
        lines.iter().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len()).min();
    let lines: Vec<&str> = lines.iter().map(|line| line.get(indent.unwrap_or(0)..).unwrap_or("").trim_end()).collect();
    let text = lines.join("\n").trim_end().to_owned();
    if text.is_empty() { text } else { text + "\n" }
}
