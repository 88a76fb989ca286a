//! Rules of the routing table by name; that it holds for all rules and requests is in `table_and_interpreter`.

mod naive;

use std::sync::Arc;

use config_model::model::{
    Action, Format, Model, PathMatch, RouteConfiguration, RouteConfigurationIndex, Scheme, VirtualHost,
};
use naive::generate::{exact, model, prefix, route, virtual_host};
use naive::{Request, Verdict, verdict};
use routing::{Decision, SplitIndex, Table};

const PORT_80: RouteConfigurationIndex = RouteConfigurationIndex(0);

fn of(virtual_hosts: Vec<VirtualHost>) -> Model {
    model(vec![RouteConfiguration { name: "http.80".into(), port: 80, virtual_hosts, compares_ports: false }])
}

/// One host whose rules are named by their positions.
fn rules(paths: Vec<PathMatch>) -> Model {
    let routes: Vec<_> =
        (0..).zip(paths).map(|(number, path)| Arc::new(route(&format!("{number}"), path, &[1]))).collect();
    of(vec![virtual_host(&["*"], routes)])
}

/// The position of the rule that takes `path`.
fn taken(table: &Table, path: &str) -> Option<usize> {
    match verdict(&table.decide(PORT_80, &Request::get("shop.example", path), |_| 0)) {
        Verdict::Forward(route, _) => route.parse().ok(),
        _ => None,
    }
}

fn ignoring_case(text: &str) -> PathMatch {
    PathMatch::Prefix { text: text.into(), ignore_case: true }
}

#[test]
fn the_first_rule_written_wins_whatever_the_index_yields_first() {
    // Once below and once above the number of rules from which there is an index.
    for more in [0, 20] {
        let mut paths = vec![
            prefix("/a/b"),
            prefix("/a"),
            exact("/a/b/c"),
            ignoring_case("/a"),
            prefix("/a"),
            exact("/d"),
            prefix("/d"),
        ];
        paths.extend((0..more).map(|number| exact(&format!("/other/{number}"))));
        paths.push(PathMatch::Any);
        let last = paths.len() - 1;
        let table = Table::compile(&rules(paths));
        for (path, want) in [("/a/b/c", 0), ("/a/c", 1), ("/A/b/c", 3), ("/d", 5), ("/d/", 6), ("/", last), ("", last)]
        {
            assert_eq!(taken(&table, path), Some(want), "{path:?} with {more} more");
        }
    }
}

#[test]
fn without_case_a_rule_takes_any_spelling() {
    let mut paths: Vec<PathMatch> = (0..20).map(|number| exact(&format!("/{number}"))).collect();
    paths.push(ignoring_case("/reviews"));
    let table = Table::compile(&rules(paths));
    for path in ["/reviews", "/Reviews/7", "/REVIEWS"] {
        assert_eq!(taken(&table, path), Some(20), "{path}");
    }
    assert_eq!(taken(&table, "/review"), None);
}

#[test]
fn an_empty_prefix_takes_everything_and_an_empty_exact_path_only_that() {
    let filler = || (0..10).map(|number| exact(&format!("/{number}")));
    let table = Table::compile(&rules(filler().chain([exact(""), prefix("")]).collect()));
    assert_eq!((taken(&table, ""), taken(&table, "/"), taken(&table, "/3")), (Some(10), Some(11), Some(3)));
}

#[test]
fn more_nested_prefixes_than_are_merged_in_place_keep_their_order() {
    let long = "/".repeat(100);
    // The longest first, so that the first rule that can match changes with the length of the path.
    let table = Table::compile(&rules((1..=100).rev().map(|length| prefix(&long[..length])).collect()));
    for length in 1..=100 {
        assert_eq!(taken(&table, &long[..length]), Some(100 - length));
    }
}

#[test]
fn ten_thousand_rules_each_take_their_own() {
    let table = Table::compile(&rules((0..10_000).map(|number| prefix(&format!("/service-{number}/"))).collect()));
    for number in 0..10_000 {
        assert_eq!(taken(&table, &format!("/service-{number}/x")), Some(number));
    }
    assert_eq!(taken(&table, "/service-10000/x"), None);
}

#[test]
fn there_is_no_fall_through_to_a_wider_host() {
    let everything = || vec![Arc::new(route("wide", PathMatch::Any, &[1]))];
    let narrow = vec![Arc::new(route("narrow", prefix("/a"), &[1]))];
    let table = Table::compile(&of(vec![virtual_host(&["*"], everything()), virtual_host(&["shop.example"], narrow)]));
    let decision = table.decide(PORT_80, &Request::get("shop.example:80", "/b"), |_| 0);
    assert_eq!(verdict(&decision), Verdict::NotFound(Some("shop.example:80".into())));
}

#[test]
fn a_host_that_redirects_to_https_does_so_before_any_rule_and_only_from_http() {
    let routes = vec![Arc::new(route("0", PathMatch::Any, &[1]))];
    let host = VirtualHost { https_redirect: true, ..virtual_host(&["shop.example"], routes) };
    let table = Table::compile(&of(vec![host]));
    let mut request = Request::get("shop.example", "/");
    assert!(matches!(table.decide(PORT_80, &request, |_| 0), Decision::HttpsRedirect { .. }));
    request.scheme = Scheme::Https;
    assert!(matches!(table.decide(PORT_80, &request, |_| 0), Decision::Forward { .. }));
}

#[test]
fn the_draw_is_asked_for_only_where_there_is_a_choice() {
    let routes = [("/one", &[7][..]), ("/two", &[1, 1]), ("/zero", &[0, 0])];
    let routes: Vec<_> = routes.iter().map(|(path, weights)| Arc::new(route(path, prefix(path), weights))).collect();
    let table = Table::compile(&of(vec![virtual_host(&["*"], routes)]));
    assert_eq!(table.split_count(), 1);
    for (path, asked, picked) in [("/one", None, 0), ("/two", Some(SplitIndex(0)), 2), ("/zero", None, 3)] {
        let mut drawn = None;
        let decision = table.decide(PORT_80, &Request::get("shop.example", path), |split| {
            drawn = Some(split);
            u64::MAX
        });
        let Decision::Forward { destination, .. } = decision else { panic!("{path} is not forwarded") };
        assert_eq!((drawn, destination.index.0), (asked, picked), "{path}");
    }
}

#[test]
fn what_hosts_and_ports_share_is_compiled_once() {
    let routes: Arc<[_]> = vec![Arc::new(route("0", PathMatch::Any, &[1, 1]))].into();
    let hosts = |name: &str| vec![virtual_host(&[name], routes.clone())];
    let configuration = |port, name| RouteConfiguration {
        name: String::new(),
        port,
        virtual_hosts: hosts(name),
        compares_ports: false,
    };
    let table = Table::compile(&model(vec![configuration(80, "a.example"), configuration(8080, "b.example")]));
    assert_eq!((table.routes().len(), table.split_count(), table.destination_count()), (1, 1, 2));
    assert_eq!(table.port(RouteConfigurationIndex(1)), 8080);
}

#[test]
fn the_rules_authority_stands_over_a_destinations() {
    let text = |template: Option<&routing::headers::Template>| match template {
        Some(routing::headers::Template::Literal(value)) => value.to_str().unwrap().to_owned(),
        other => panic!("{other:?}"),
    };
    for (rule, want) in [(Some("rule.example"), "rule.example"), (None, "destination.example")] {
        let mut route = route("0", PathMatch::Any, &[1]);
        if let Action::Forward(forward) = &mut route.action {
            forward.rewrite.authority = rule.map(|authority| Format::parse(authority).unwrap());
            forward.destinations[0].authority = Some(Format::parse("destination.example").unwrap());
        }
        let table = Table::compile(&of(vec![virtual_host(&["*"], vec![Arc::new(route)])]));
        assert_eq!(text(table.routes()[0].destinations()[0].authority.as_ref()), want);
    }
}

#[test]
fn a_configuration_that_is_none_finds_nothing() {
    let table = Table::compile(&of(Vec::new()));
    let decision = table.decide(RouteConfigurationIndex(7), &Request::get("shop.example", "/"), |_| 0);
    assert!(matches!(decision, Decision::NotFound { virtual_host: None }));
    assert_eq!(table.port(RouteConfigurationIndex(7)), 0);
}
