//! Why a request goes where it goes: the virtual hosts that could have taken it, every rule up to the one that matched with
//! the first condition that failed, the split, and what happens to the request on the way. Start at [`explain`], which asks
//! [`Table::decide`] itself and only then looks for reasons.

mod cluster;
mod policies;
mod text;
mod trace;

use config_model::model::{
    Action, ClusterTarget, Destination, HeaderMutation, HeaderOperations, Model, RouteConfigurationIndex, VirtualHost,
};
use config_model::name::HostPattern;
use config_model::origin::Origin;
use serde::Serialize;

use crate::authority::split_port;
use crate::conditions::RequestHead;
use crate::normalize::Normalized;
use crate::redirect::{Url, https_location, location};
use crate::rewrite;
use crate::table::{Decision, DestinationEntry, RouteEntry, Table};

pub use cluster::{ClusterRules, cluster_policies};
pub use policies::{FaultInjection, FaultShare, MirrorShare, Origins, Policies, Retries};
pub use trace::{Failure, Rule};

/// What is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Inquiry<'a, H> {
    /// Where the request came in.
    pub configuration: RouteConfigurationIndex,
    /// The request.
    pub head: &'a H,
    /// Its path; `head` shows the matching form of it.
    pub path: &'a Normalized<'a>,
    /// For the split, a fraction of 2^64.
    pub draw: u64,
}

/// The answer, as JSON or by [`Explanation::to_text`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// `GET http://shop.example/reviews/7?x=1`
    pub request: String,
    /// As it is looked up: in lower case, without a port.
    #[serde(skip)]
    host: String,
    /// `http.80`
    pub route_configuration: String,
    /// Every domain that has the host, the one that counts first: the rest is not tried.
    pub virtual_hosts: Vec<HostCandidate>,
    /// Without a virtual host: the domains that there are, the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub known_domains: Vec<String>,
    /// The same: resources that have the host, and what they are for; filled in by who knows resources.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bearers: Vec<String>,
    /// The rules in order, up to the one that matched.
    pub rules: Vec<Rule>,
    /// What is done.
    pub outcome: Outcome,
    /// What else the rule that matched asks for.
    #[serde(skip_serializing_if = "Policies::is_empty")]
    pub policies: Policies,
    /// Changes to heads, in the order in which they are made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderChange>,
}

impl Explanation {
    /// Without a virtual host, takes up which resources have the host: `bearers` tells.
    pub fn tell_bearers(&mut self, bearers: impl FnOnce(&str) -> Vec<String>) {
        if self.virtual_hosts.is_empty() {
            self.bearers = bearers(&self.host);
        }
    }
}

/// A domain that has the request's host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostCandidate {
    /// `*.shop.example`
    pub domain: HostPattern,
    /// `exact`, `wildcard` or `any`
    pub kind: &'static str,
    /// The virtual host's name.
    pub virtual_host: String,
    /// `reviews.yaml:3`, the resources behind it.
    pub origins: Vec<String>,
}

/// What is done with the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Outcome {
    /// 404
    NotFound {
        /// The rule that came closest, an index into the rules.
        nearest: Option<usize>,
    },
    /// 301, for the whole host.
    HttpsRedirect {
        /// The header.
        location: String,
    },
    /// To one of these.
    Forward {
        /// The route's stable identity.
        route: String,
        /// All destinations.
        destinations: Vec<Share>,
        /// The path that the back end gets.
        path: String,
        /// Whether that is not the path that was sent.
        rewritten: bool,
        /// The authority that the back end gets, as written in the rule; absent if it stays.
        #[serde(skip_serializing_if = "Option::is_none")]
        authority: Option<String>,
        /// Retries after the first try.
        retries: u32,
    },
    /// A redirect.
    Redirect {
        /// The route's stable identity.
        route: String,
        /// Status code.
        status: u16,
        /// The header.
        location: String,
    },
    /// An answer made here.
    Direct {
        /// The route's stable identity.
        route: String,
        /// Status code.
        status: u16,
        /// The body.
        body: String,
    },
}

/// A destination and its share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Share {
    /// `outbound|9080|v1|reviews.default.svc.cluster.local`
    pub cluster: String,
    /// The cluster, for whoever knows its endpoints.
    pub target: ClusterTarget,
    /// False if no such service, port or subset exists: 503, flag NC.
    pub exists: bool,
    /// As written.
    pub weight: u32,
    /// Of all requests on this route.
    pub percent: f64,
    /// Whether the draw fell here.
    pub picked: bool,
    /// `reviews.yaml:20`
    pub origin: String,
}

/// A change to a head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeaderChange {
    /// `request` or `response`
    pub head: &'static str,
    /// `remove`, `set` or `add`
    pub operation: &'static str,
    /// The field.
    pub name: String,
    /// Not for `remove`; commands are not expanded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `route` or `destination`
    pub by: &'static str,
}

/// Domains that are listed for a host that nobody has.
const KNOWN_DOMAINS_MAX: usize = 5;

/// Explains where a request goes. `table` is compiled from `model`.
pub fn explain<H: RequestHead>(model: &Model, table: &Table, inquiry: &Inquiry<'_, H>) -> Explanation {
    let decision = table.decide(inquiry.configuration, inquiry.head, |_| inquiry.draw);
    let configuration = model.route_configurations.get(inquiry.configuration.0 as usize);
    let hosts = configuration.map_or(&[][..], |configuration| &configuration.virtual_hosts);
    let host = lossy(split_port(inquiry.head.authority()).host).to_ascii_lowercase();
    let candidates = host_candidates(hosts, &host);
    let domains = hosts.iter().flat_map(|host| &host.domains).map(ToString::to_string);
    let rules = match decision {
        Decision::HttpsRedirect { .. } | Decision::NotFound { virtual_host: None } => Vec::new(),
        _ => trace::rules(table, inquiry.configuration, inquiry.head),
    };
    Explanation {
        request: request_line(inquiry),
        host,
        route_configuration: configuration.map_or_else(String::new, |configuration| configuration.name.clone()),
        known_domains: if candidates.is_empty() { domains.take(KNOWN_DOMAINS_MAX).collect() } else { Vec::new() },
        virtual_hosts: candidates,
        bearers: Vec::new(),
        outcome: outcome(model, table, inquiry, &decision, &rules),
        policies: route(&decision).map(|route| policies::policies(model, route)).unwrap_or_default(),
        headers: header_changes(&decision),
        rules,
    }
}

fn host_candidates(hosts: &[VirtualHost], host: &str) -> Vec<HostCandidate> {
    let rank = |domain: &HostPattern| match domain {
        HostPattern::Exact(_) => (2, 0),
        HostPattern::Suffix(suffix) => (1, suffix.len()),
        HostPattern::Any => (0, 0),
    };
    let all = hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (host, domain)));
    let mut fitting: Vec<(&VirtualHost, &HostPattern)> = all.filter(|(_, domain)| domain.matches(host)).collect();
    fitting.sort_by_key(|(_, domain)| std::cmp::Reverse(rank(domain)));
    let candidate = |(host, domain): (&VirtualHost, &HostPattern)| HostCandidate {
        domain: domain.clone(),
        kind: ["any", "wildcard", "exact"].get(rank(domain).0).copied().unwrap_or_default(),
        virtual_host: host.name.clone(),
        origins: host.origins.iter().map(Origin::to_string).collect(),
    };
    fitting.into_iter().map(candidate).collect()
}

fn request_line<H: RequestHead>(inquiry: &Inquiry<'_, H>) -> String {
    let head = inquiry.head;
    let target = rewrite::target(inquiry.path.forwarded(), head.query());
    format!("{} {}://{}{}", lossy(head.method()), head.scheme().as_str(), lossy(head.authority()), lossy(&target))
}

/// The rule that matched.
fn route<'t>(decision: &Decision<'t>) -> Option<&'t RouteEntry> {
    match decision {
        Decision::NotFound { .. } | Decision::HttpsRedirect { .. } => None,
        Decision::Forward { route, .. } | Decision::Redirect { route, .. } | Decision::Direct { route, .. } => {
            Some(route)
        }
    }
}

fn outcome<H: RequestHead>(
    model: &Model,
    table: &Table,
    inquiry: &Inquiry<'_, H>,
    decision: &Decision<'_>,
    rules: &[Rule],
) -> Outcome {
    let head = inquiry.head;
    let url = Url { scheme: head.scheme(), authority: head.authority(), path: inquiry.path, query: head.query() };
    match decision {
        Decision::NotFound { .. } => Outcome::NotFound { nearest: trace::nearest(rules) },
        Decision::HttpsRedirect { .. } => Outcome::HttpsRedirect { location: lossy(https_location(&url).as_bytes()) },
        Decision::Forward { route, destination } => forward(model, inquiry.path, route, destination),
        Decision::Redirect { route, redirect } => Outcome::Redirect {
            route: route.route.id.to_string(),
            status: redirect.status,
            location: lossy(location(redirect, &url, table.port(inquiry.configuration)).as_bytes()),
        },
        Decision::Direct { route, response } => {
            Outcome::Direct { route: route.route.id.to_string(), status: response.status, body: lossy(&response.body) }
        }
    }
}

fn forward(model: &Model, path: &Normalized<'_>, route: &RouteEntry, picked: &DestinationEntry) -> Outcome {
    let Action::Forward(forward) = &route.route.action else { return Outcome::NotFound { nearest: None } };
    let share = |(position, (entry, destination)): (usize, (&DestinationEntry, &Destination))| Share {
        cluster: cluster_name(model, &entry.target),
        target: entry.target.clone(),
        exists: matches!(entry.target, ClusterTarget::Known(_)),
        weight: destination.weight,
        percent: match route.split() {
            Some((_, split)) => split.share(position) * 100.0,
            None if position == 0 => 100.0,
            None => 0.0,
        },
        picked: entry.index == picked.index,
        origin: destination.origin.to_string(),
    };
    let authority = forward.rewrite.authority.as_ref().or_else(|| written(route, picked)?.authority.as_ref());
    let new_path = rewrite::rewrite(&forward.rewrite.path, path);
    Outcome::Forward {
        route: route.route.id.to_string(),
        destinations: route.destinations().iter().zip(&forward.destinations).enumerate().map(share).collect(),
        rewritten: *new_path != *path.forwarded(),
        path: lossy(&new_path),
        authority: authority.map(|format| format.as_str().to_owned()),
        retries: forward.retry.attempts,
    }
}

fn cluster_name(model: &Model, target: &ClusterTarget) -> String {
    match target {
        ClusterTarget::Known(index) => model
            .clusters
            .get(index.0 as usize)
            .map_or_else(|| format!("{}", index.0), |cluster| cluster.name.to_string()),
        ClusterTarget::Missing(name) => name.to_string(),
    }
}

/// Operations, and whether they are the route's or the destination's.
type Layer<'m> = (&'static str, &'m HeaderOperations);

/// The operations that apply, in the order of [`crate::headers::apply`].
fn header_changes(decision: &Decision<'_>) -> Vec<HeaderChange> {
    let Some(route) = route(decision) else { return Vec::new() };
    let picked = if let Decision::Forward { destination, .. } = decision { Some(*destination) } else { None };
    let of_route: Layer<'_> = ("route", &route.route.headers);
    let own = picked.and_then(|picked| written(route, picked)).map(|own| (own.is_split, ("destination", &own.headers)));
    let groups = match own {
        Some((true, of_destination)) => vec![vec![of_destination], vec![of_route]],
        Some((false, of_destination)) => vec![vec![of_route, of_destination]],
        None => vec![vec![of_route]],
    };
    let mut changes = Vec::new();
    if picked.is_some() {
        groups.iter().for_each(|layers| push_changes(&mut changes, "request", layers, |all| &all.request));
    }
    groups.iter().for_each(|layers| push_changes(&mut changes, "response", layers, |all| &all.response));
    changes
}

/// The destination that was picked, as the model has it.
fn written<'t>(route: &'t RouteEntry, picked: &DestinationEntry) -> Option<&'t Destination> {
    let Action::Forward(forward) = &route.route.action else { return None };
    let place = route.destinations().iter().position(|entry| entry.index == picked.index)?;
    forward.destinations.get(place)
}

/// Adds the changes that `layers` make together to the head of which `of_head` takes the operations.
fn push_changes(
    changes: &mut Vec<HeaderChange>,
    head: &'static str,
    layers: &[Layer<'_>],
    of_head: impl Fn(&HeaderOperations) -> &HeaderMutation,
) {
    let layers = || layers.iter().map(|(by, operations)| (*by, of_head(operations)));
    for (by, mutation) in layers() {
        let removed = mutation.remove.iter();
        changes.extend(removed.map(|name| HeaderChange {
            head,
            operation: "remove",
            name: name.to_string(),
            value: None,
            by,
        }));
    }
    for operation in ["set", "add"] {
        for (by, mutation) in layers() {
            let additions = if operation == "set" { &mutation.set } else { &mutation.add };
            changes.extend(additions.iter().map(|addition| {
                let value = Some(addition.value.as_str().to_owned());
                HeaderChange { head, operation, name: addition.name.to_string(), value, by }
            }));
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
