//! Decisions, splits, paths and compilation.

use std::hint::black_box;

use config_model::model::{MatchCondition, PathMatch, PathNormalization, RouteConfigurationIndex, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue};
use routing::normalize::normalize;
use routing::split::{Rotation, Split};
use routing::{RequestHead, Table};

use super::Scenario;
use crate::models::{header, model, prefix, route, virtual_host};

const REQUESTS: u32 = 1_000;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { name: "decide/10-prefixes", operations: REQUESTS, prepare: || decide_by_prefix(10) },
    Scenario { name: "decide/10000-prefixes", operations: REQUESTS, prepare: || decide_by_prefix(10_000) },
    Scenario { name: "decide/10000-hosts", operations: REQUESTS, prepare: || decide_by_host(10_000) },
    Scenario { name: "decide/10000-wildcard-hosts", operations: REQUESTS, prepare: || decide_by_wildcard(10_000) },
    Scenario { name: "decide/50-header-rules", operations: REQUESTS, prepare: || decide_by_header(50) },
    Scenario { name: "split/3-destinations", operations: REQUESTS, prepare: split },
    Scenario { name: "path/already-normal", operations: REQUESTS, prepare: || path("/reviews/7/comments") },
    Scenario {
        name: "path/dot-segments",
        operations: REQUESTS,
        prepare: || path("/reviews/../%72eviews/./7\\comments"),
    },
    Scenario { name: "compile/5000-routes", operations: 1, prepare: compile },
];

/// What a request of a browser shows to the rules.
struct Head {
    authority: String,
    path: String,
    headers: HeaderMap,
}

impl Head {
    fn new(authority: &str, path: String) -> Self {
        let fields = [
            ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
            ("accept-language", "en-US,en;q=0.5"),
            ("accept-encoding", "gzip, deflate, br"),
            ("cookie", "session=0123456789abcdef; theme=dark"),
            ("x-group", "group49"),
        ];
        let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        Self { authority: authority.to_owned(), path, headers: fields.into_iter().map(field).collect() }
    }
}

impl RequestHead for Head {
    fn method(&self) -> &[u8] {
        b"GET"
    }

    fn scheme(&self) -> Scheme {
        Scheme::Http
    }

    fn authority(&self) -> &[u8] {
        self.authority.as_bytes()
    }

    fn matching_path(&self) -> &[u8] {
        self.path.as_bytes()
    }

    fn query(&self) -> Option<&[u8]> {
        None
    }

    fn any_header(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
        self.headers.get_all(name).iter().any(|value| test(value.as_bytes()))
    }
}

/// Requests in turn for `heads`, each of which some rule takes.
fn decide(table: Table, heads: Vec<Head>) -> Box<dyn FnMut(u32)> {
    let mut rotation = Rotation::new(0);
    Box::new(move |number| {
        let head = heads.get(number as usize % heads.len());
        let decision = head.map(|head| table.decide(RouteConfigurationIndex(0), head, |_| rotation.draw()));
        black_box(decision);
    })
}

/// One host; the rules that requests meet are spread over all of them, the last one included.
fn decide_by_prefix(count: u32) -> Box<dyn FnMut(u32)> {
    let routes = (0..count).map(|number| route(prefix(number), Vec::new(), &[50, 50]));
    let table = Table::compile(&model(vec![virtual_host("shop.example", routes)]));
    let path = |number: u32| format!("/team{}/service{number}/items/7", number % 100);
    decide(table, numbers(count).map(|number| Head::new("shop.example:8080", path(number))).collect())
}

fn decide_by_host(count: u32) -> Box<dyn FnMut(u32)> {
    let hosts = (0..count).map(|number| virtual_host(&format!("shop{number}.example"), [any(&[50, 50])]));
    let table = Table::compile(&model(hosts.collect()));
    decide(
        table,
        numbers(count).map(|number| Head::new(&format!("shop{number}.example:8080"), "/".to_owned())).collect(),
    )
}

fn decide_by_wildcard(count: u32) -> Box<dyn FnMut(u32)> {
    let hosts = (0..count).map(|number| virtual_host(&format!("*.shop{number}.example"), [any(&[50, 50])]));
    let table = Table::compile(&model(hosts.collect()));
    let host = |number: u32| format!("a.b.shop{number}.example");
    decide(table, numbers(count).map(|number| Head::new(&host(number), "/".to_owned())).collect())
}

/// All rules have one path, and the last one is met: nothing but walking along them will do.
fn decide_by_header(count: u32) -> Box<dyn FnMut(u32)> {
    let by_group = |number: u32| vec![header("x-group", &format!("group{number}")), MatchCondition::Method(get())];
    let routes = (0..count).map(|number| route(PathMatch::Any, by_group(number), &[1]));
    let table = Table::compile(&model(vec![virtual_host("*", routes)]));
    decide(table, vec![Head::new("shop.example", "/items/7".to_owned())])
}

fn split() -> Box<dyn FnMut(u32)> {
    let split = Split::from_weights([90, 9, 1]);
    let mut rotation = Rotation::new(0);
    Box::new(move |_| {
        black_box(split.as_ref().map(|split| split.pick(rotation.draw())));
    })
}

fn path(path: &'static str) -> Box<dyn FnMut(u32)> {
    Box::new(move |_| {
        let _ = black_box(normalize(black_box(path.as_bytes()), PathNormalization::Strict));
    })
}

fn compile() -> Box<dyn FnMut(u32)> {
    let hosts = (0..50).map(|host| {
        let routes = (0..100).map(|number| route(prefix(host * 100 + number), Vec::new(), &[50, 50]));
        virtual_host(&format!("shop{host}.example"), routes)
    });
    let model = model(hosts.collect());
    Box::new(move |_| {
        black_box(Table::compile(&model));
    })
}

fn any(weights: &[u32]) -> config_model::model::Route {
    route(PathMatch::Any, Vec::new(), weights)
}

fn get() -> config_model::model::TextMatch {
    config_model::model::TextMatch::Exact("GET".into())
}

/// Sixteen numbers below `count`, the first and the last among them.
fn numbers(count: u32) -> impl Iterator<Item = u32> {
    (0..16).map(move |step| step * (count - 1) / 15)
}
