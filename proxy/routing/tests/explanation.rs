//! An explanation tells what the table does, and its text is what people read.

mod naive;

use std::sync::Arc;
use std::time::Duration;

use config_model::model::{
    AbortStatus, Action, ClusterIndex, ClusterName, ClusterTarget, Condition, CorsPolicy, Direction, Fault, FaultAbort,
    FaultDelay, Format, Fraction, HashSource, HeaderAddition, HeaderMutation, HeaderOperations, MatchCondition, Mirror,
    Model, PathNormalization, RetryConditions, RetryPolicy, Route, RouteConfiguration, RouteConfigurationIndex,
    RouteMatch, RoutePolicy, SplitPolicy, TextMatch,
};
use naive::Request;
use naive::generate::{Choices, any_model, any_request, exact, model, origin, prefix, route, virtual_host};
use proptest::collection::vec;
use proptest::prelude::*;
use routing::explain::{Explanation, Inquiry, Outcome, explain};
use routing::normalize::normalize;
use routing::{Decision, Table};

const PORT_80: RouteConfigurationIndex = RouteConfigurationIndex(0);

fn explained(model: &Model, request: &Request, configuration: RouteConfigurationIndex, draw: u64) -> Explanation {
    // A request may have a path that is none; then its explanation shows another one.
    let [path, root] = [request.path.as_bytes(), b"/"].map(|path| normalize(path, PathNormalization::None));
    let path = path.or(root).expect("a slash is a path");
    explain(model, &Table::compile(model), &Inquiry { configuration, head: request, path: &path, draw })
}

/// One host with three rules, and the host `*` without any.
fn shop() -> Model {
    let mut jason = route("default/shop/http[1]/match[0]", prefix("/reviews"), &[1]);
    let value = TextMatch::Exact("jason".into());
    let condition =
        Condition { condition: MatchCondition::Header { name: "end-user".into(), value }, origin: origin(17) };
    jason.matcher = RouteMatch { conditions: vec![condition], ..jason.matcher };
    let routes = [
        route("default/shop/http[0]/match[0]", exact("/login"), &[1]),
        jason,
        route("default/shop/http[2]/match[0]", prefix("/reviews"), &[50, 50]),
    ];
    let routes: Arc<[_]> = routes.into_iter().map(Arc::new).collect();
    let any = virtual_host(&["*"], []);
    let virtual_hosts = vec![virtual_host(&["shop.example"], routes), any];
    model(vec![RouteConfiguration { name: "http.80".into(), port: 80, virtual_hosts, compares_ports: false }])
}

#[test]
fn the_text_names_each_rule_passed_over_and_why_then_the_split() {
    let request = Request::get("shop.example", "/reviews/7?x=1").with("end-user", "anna");
    let text = explained(&shop(), &request, PORT_80, 1 << 63).to_text(false);
    let want = r#"GET http://shop.example/reviews/7?x=1

virtual host shop.example:80 by exact domain shop.example  v.yaml:1
  not tried: * (any) of *:80
rules, the first that matches counts
  passed  default/shop/http[0]/match[0]: uri is "/reviews/7", wants exact "/login"  v.yaml:1
  passed  default/shop/http[1]/match[0]: headers.end-user is "anna", wants exact "jason"  v.yaml:17
  match   default/shop/http[2]/match[0]  v.yaml:1
forward, with up to 2 retries, to
          50.0%  weight 50  0  v.yaml:100
  drawn   50.0%  weight 50  1  v.yaml:101
"#;
    assert_eq!(text, want);
}

/// The shop, whose last rule has every policy.
fn shop_with_policies() -> Model {
    let mut model = shop();
    let host = &mut model.route_configurations[0].virtual_hosts[0];
    let mut routes: Vec<Route> = host.routes.iter().map(|route| (**route).clone()).collect();
    let last = routes.last_mut().expect("a route");
    let retry = RetryPolicy {
        attempts: 1,
        per_try_timeout: Some(Duration::from_millis(300)),
        conditions: RetryConditions::RESET.with(RetryConditions::STATUS_CODES),
        status_codes: vec![503],
        ..RetryPolicy::istio_default()
    };
    if let Action::Forward(forward) = &mut last.action {
        forward.timeout = Some(Duration::from_millis(500));
        forward.retry = Arc::new(retry);
    }
    let gone = ClusterName { host: "gone".into(), port: 80, subset: "".into(), direction: Direction::Outbound };
    let mirror =
        |cluster, percent, line| Mirror { cluster, share: Fraction::from_percent(percent), origin: origin(line) };
    last.policy = Some(Box::new(RoutePolicy {
        fault: Some(Fault {
            delay: Some(FaultDelay { duration: Duration::from_secs(5), share: Fraction::ALL }),
            abort: Some(FaultAbort { status: AbortStatus::Grpc(14), share: Fraction::from_percent(12.5) }),
            per_attempt: false,
            origin: origin(30),
        }),
        cors: Some(CorsPolicy {
            allow_origins: vec![TextMatch::Exact("https://a".into()), TextMatch::Prefix("https://b".into())],
            allow_methods: "GET".into(),
            allow_headers: "".into(),
            expose_headers: "".into(),
            max_age: None,
            allow_credentials: false,
            forward_unmatched_preflights: true,
            origin: origin(40),
        }),
        mirrors: vec![
            mirror(ClusterTarget::Known(ClusterIndex(7)), 25.0, 50),
            mirror(ClusterTarget::Missing(gone), 100.0, 51),
        ],
        hash: vec![HashSource::Header("x-user".into())],
        split: SplitPolicy { sticky: true, spill: true },
    }));
    host.routes = routes.into_iter().map(Arc::new).collect();
    model
}

#[test]
fn policies_of_the_rule_stand_below_what_is_done() {
    let explanation = explained(&shop_with_policies(), &Request::get("shop.example", "/reviews"), PORT_80, 0);
    let want = r#"timeout 500ms
retry on reset, retriable-status-codes, 503; each try up to 300ms; back-off from 25ms
fault delay 5s for 100%, then abort UNAVAILABLE for 12.5%  v.yaml:30
mirror 25% to 7  v.yaml:50
mirror 100% to outbound|80||gone does not exist: gets nothing  v.yaml:51
cors for exact "https://a", prefix "https://b"; preflights of others are forwarded  v.yaml:40
hash by header x-user
split sticky: requests of one hash go to one destination, those without are drawn
split spills: destinations without a ready endpoint leave their share to the others
"#;
    let text = explanation.to_text(false);
    assert!(text.contains("forward, with up to 1 retries, to\n") && text.ends_with(want), "{text}");
    assert_eq!(
        serde_json::to_value(&explanation.policies).expect("JSON"),
        serde_json::json!({
            "timeout": "500ms",
            "retries": {
                "attempts": 1, "on": ["reset", "retriable-status-codes", "503"], "per_try_timeout": "300ms",
                "back_off": "25ms", "remote_localities": false, "ignore_previous_hosts": true,
            },
            "fault": {
                "delay": {"what": "5s", "percent": 100.0}, "abort": {"what": "UNAVAILABLE", "percent": 12.5},
                "per_attempt": false, "origin": "v.yaml:30",
            },
            "mirrors": [
                {"cluster": "7", "exists": true, "percent": 25.0, "origin": "v.yaml:50"},
                {"cluster": "outbound|80||gone", "exists": false, "percent": 100.0, "origin": "v.yaml:51"},
            ],
            "cors": {
                "allowed": ["exact \"https://a\"", "prefix \"https://b\""], "forward_unmatched_preflights": true,
                "origin": "v.yaml:40",
            },
            "hash": ["header x-user"], "sticky": true, "spill": true,
        })
    );
}

#[test]
fn policies_of_other_rules_and_istios_defaults_are_not_told() {
    let explanation = explained(&shop_with_policies(), &Request::get("shop.example", "/login"), PORT_80, 0);
    assert!(explanation.policies.is_empty());
    let json = serde_json::to_value(&explanation).expect("JSON");
    assert_eq!(json.get("policies"), None);
}

/// Removes a field of that name, and sets another one.
fn operations(name: &str) -> HeaderOperations {
    let set =
        HeaderAddition { name: format!("{name}-set").as_str().into(), value: Format::parse("v").expect("a value") };
    let request = HeaderMutation { remove: vec![name.into()], set: vec![set], add: Vec::new() };
    HeaderOperations { request, response: HeaderMutation::default() }
}

#[test]
fn operations_of_one_of_several_destinations_come_before_the_routes_and_those_of_a_single_one_among_them() {
    for (weights, want) in [
        (&[50, 50][..], ["remove own", "set own-set", "remove all", "set all-set"]),
        (&[1], ["remove all", "remove own", "set all-set", "set own-set"]),
    ] {
        let mut route = route("default/shop/http[0]", prefix("/"), weights);
        route.headers = operations("all");
        if let Action::Forward(forward) = &mut route.action {
            forward.destinations[0].headers = operations("own");
        }
        let virtual_hosts = vec![virtual_host(&["*"], [Arc::new(route)])];
        let model =
            model(vec![RouteConfiguration { name: String::new(), port: 80, virtual_hosts, compares_ports: false }]);
        let explanation = explained(&model, &Request::get("shop.example", "/"), PORT_80, 0);
        let told = explanation.headers.iter().map(|change| format!("{} {}", change.operation, change.name));
        assert_eq!(told.collect::<Vec<_>>(), want);
    }
}

#[test]
fn a_404_names_the_rule_that_came_nearest() {
    let explanation = explained(&shop(), &Request::get("shop.example", "/rev"), PORT_80, 0);
    assert_eq!(explanation.outcome, Outcome::NotFound { nearest: Some(1) });
    let text = explanation.to_text(false);
    assert!(
        text.ends_with("answer 404: nothing matches, the nearest is default/shop/http[1]/match[0] at v.yaml:1\n"),
        "{text}"
    );
}

#[test]
fn a_host_that_nobody_has_is_told_which_there_are() {
    let mut model = shop();
    model.route_configurations[0].virtual_hosts.pop();
    let mut explanation = explained(&model, &Request::get("Other.example:80", "/"), PORT_80, 0);
    assert_eq!(explanation.known_domains, ["shop.example"]);
    assert!(explanation.to_text(false).contains("no virtual host in http.80 has this host; known: shop.example"));
    explanation.tell_bearers(|host| vec![format!("{host} is another's")]);
    assert!(explanation.to_text(false).contains("known: shop.example\n  other.example is another's\n"));
}

#[test]
fn color_is_only_there_when_asked_for() {
    let explanation = explained(&shop(), &Request::get("shop.example", "/reviews"), PORT_80, 0);
    assert!(explanation.to_text(true).contains("\x1b[32mmatch\x1b[0m"));
    assert!(!explanation.to_text(false).contains('\x1b'));
}

proptest! {
    #[test]
    fn the_explanation_agrees_with_the_decision(
        rules in vec(any::<u8>(), 0..1500), bytes in vec(any::<u8>(), 16), draw: u64,
    ) {
        let model = any_model(&mut Choices(&rules));
        let request = any_request(&mut Choices(&bytes));
        let configuration = RouteConfigurationIndex((draw % 2) as u32);
        let explanation = explained(&model, &request, configuration, draw);
        let table = Table::compile(&model);
        let decision = table.decide(configuration, &request, |_| draw);

        let chosen = explanation.virtual_hosts.first().map(|host| host.virtual_host.as_str());
        let decided = table.virtual_host(configuration, request.authority.as_bytes()).map(|host| &*host.name);
        prop_assert_eq!(chosen, decided);
        let passed = explanation.rules.iter().take_while(|rule| rule.failure.is_some()).count();
        let matched = explanation.rules.get(passed).map(|rule| rule.route.as_str());
        match (decision, &explanation.outcome) {
            (Decision::NotFound { .. }, Outcome::NotFound { .. }) => prop_assert_eq!(matched, None),
            (Decision::HttpsRedirect { .. }, Outcome::HttpsRedirect { .. }) => prop_assert_eq!(matched, None),
            (Decision::Forward { route, destination }, Outcome::Forward { route: told, destinations, .. }) => {
                prop_assert_eq!(matched, Some(&*route.route.id));
                prop_assert_eq!(told, &*route.route.id);
                let picked: Vec<_> = destinations.iter().filter(|share| share.picked).collect();
                prop_assert_eq!(picked.len(), 1);
                prop_assert_eq!(&picked[0].target, &destination.target);
                let percent: f64 = destinations.iter().map(|share| share.percent).sum();
                prop_assert!((percent - 100.0).abs() < 1e-6);
            }
            (Decision::Redirect { route, .. }, Outcome::Redirect { route: told, .. })
            | (Decision::Direct { route, .. }, Outcome::Direct { route: told, .. }) => {
                prop_assert_eq!(matched, Some(&*route.route.id));
                prop_assert_eq!(told, &*route.route.id);
                let acts = !matches!(route.route.action, Action::Forward(_));
                prop_assert!(acts);
            }
            (decision, outcome) => prop_assert!(false, "{decision:?} but {outcome:?}"),
        }
    }
}
