use std::sync::Arc;
use std::time::Duration;

use config_model::model::Pattern;
use config_model::origin::{Origin, Position, ResourceId};
use proptest::prelude::*;

use super::*;

fn policy(allow_origins: Vec<TextMatch>) -> CorsPolicy {
    let resource =
        ResourceId { kind: "VirtualService", namespace: "n".into(), name: "v".into(), file: "v.yaml".into() };
    CorsPolicy {
        allow_origins,
        allow_methods: "GET,POST".into(),
        allow_headers: "x-one,x-two".into(),
        expose_headers: "x-shown".into(),
        max_age: Some(Duration::from_secs(86_400)),
        allow_credentials: true,
        forward_unmatched_preflights: true,
        origin: Origin { resource: Arc::new(resource), position: Position::default() },
    }
}

/// That of the conformance suite: one origin of each kind of condition.
fn usual() -> CorsPolicy {
    let regex = Pattern::new(r"https://[a-z]+\.test\.example").expect("an expression");
    policy(vec![
        TextMatch::Exact("https://app.example".into()),
        TextMatch::Prefix("https://dev.".into()),
        TextMatch::Regex(regex),
    ])
}

const APP: (&str, &str) = ("origin", "https://app.example");
const EVIL: (&str, &str) = ("origin", "https://evil.example");
const ASKS_POST: (&str, &str) = ("access-control-request-method", "POST");

fn judged(policy: &CorsPolicy, method: &str, fields: &[(&'static str, &'static str)]) -> Verdict {
    let mut head = Head::default();
    for (name, value) in fields {
        head.append(name.as_bytes(), value.as_bytes());
    }
    Cors::compile(policy).judge(&Request::new(method.as_bytes(), &head))
}

/// `answer` or `forward`, and each field.
fn line(verdict: &Verdict) -> String {
    let (word, fields) = match verdict {
        Verdict::Answer(fields) => ("answer", fields),
        Verdict::Forward(fields) => ("forward", fields),
    };
    let field = |(name, value): &(HeaderName, HeaderValue)| {
        let name = name.as_str().trim_start_matches("access-control-");
        format!(" {name}={}", value.to_str().expect("text"))
    };
    word.to_owned() + &fields.iter().map(field).collect::<String>()
}

const SHARED: &str = " allow-origin=https://app.example allow-credentials=true expose-headers=x-shown";

#[test]
fn a_preflight_of_an_allowed_origin_is_answered_here() {
    let asks_one = ("access-control-request-headers", "x-one");
    let want = format!("answer{SHARED} allow-methods=GET,POST allow-headers=x-one,x-two max-age=86400");
    assert_eq!(line(&judged(&usual(), "OPTIONS", &[APP, ASKS_POST, asks_one])), want);
    assert_eq!(line(&judged(&usual(), "OPTIONS", &[APP, ASKS_POST])), want, "no headers asked for");
}

#[test]
fn only_options_with_origin_and_a_requested_method_is_a_preflight() {
    let table = [
        ("OPTIONS", vec![APP], SHARED),
        ("OPTIONS", vec![ASKS_POST], ""),
        ("OPTIONS", vec![APP, ("access-control-request-method", "")], SHARED),
        ("options", vec![APP, ASKS_POST], SHARED),
        ("GET", vec![APP, ASKS_POST], SHARED),
        ("GET", vec![("origin", ""), ASKS_POST], ""),
    ];
    for (method, fields, want) in table {
        assert_eq!(line(&judged(&usual(), method, &fields)), format!("forward{want}"), "{method} {fields:?}");
    }
}

#[test]
fn an_origin_is_compared_as_a_whole_and_echoed() {
    let table = [
        ("https://app.example", true),
        ("https://dev.example", true),
        ("https://abc.test.example", true),
        ("https://abc.test.example.org", false),
        ("https://APP.example", false),
        ("https://app.example:8443", false),
        ("null", false),
    ];
    for (origin, allowed) in table {
        let credentials = " allow-credentials=true expose-headers=x-shown";
        let want = if allowed { format!("forward allow-origin={origin}{credentials}") } else { "forward".to_owned() };
        assert_eq!(line(&judged(&usual(), "GET", &[("origin", origin)])), want, "{origin}");
    }
}

#[test]
fn an_exact_star_allows_everybody_and_echoes_the_origin() {
    let star = policy(vec![TextMatch::Exact("*".into())]);
    let line = line(&judged(&star, "GET", &[EVIL]));
    assert!(line.starts_with("forward allow-origin=https://evil.example "), "{line}");
}

#[test]
fn several_origins_are_none() {
    let star = policy(vec![TextMatch::Exact("*".into())]);
    assert_eq!(line(&judged(&star, "GET", &[APP, EVIL])), "forward");
}

#[test]
fn a_preflight_of_another_origin_is_forwarded_or_answered_with_nothing() {
    for (forward_unmatched_preflights, want) in [(true, "forward"), (false, "answer")] {
        let policy = CorsPolicy { forward_unmatched_preflights, ..usual() };
        assert_eq!(line(&judged(&policy, "OPTIONS", &[EVIL, ASKS_POST])), want);
        assert_eq!(line(&judged(&policy, "GET", &[EVIL])), "forward", "no preflight");
    }
}

#[test]
fn a_star_in_a_list_echoes_what_was_asked_for() {
    let policy = CorsPolicy { allow_methods: "*".into(), allow_headers: "*".into(), ..usual() };
    let asks = ("access-control-request-headers", "x-any, x-other");
    let got = line(&judged(&policy, "OPTIONS", &[APP, ASKS_POST, asks]));
    assert_eq!(got, format!("answer{SHARED} allow-methods=POST allow-headers=x-any, x-other max-age=86400"));
    let got = line(&judged(&policy, "OPTIONS", &[APP, ASKS_POST]));
    assert_eq!(got, format!("answer{SHARED} allow-methods=POST allow-headers= max-age=86400"));
}

#[test]
fn what_the_policy_leaves_out_is_not_written() {
    let policy = CorsPolicy {
        allow_methods: "".into(),
        allow_headers: "".into(),
        expose_headers: "".into(),
        max_age: None,
        allow_credentials: false,
        ..usual()
    };
    let got = line(&judged(&policy, "OPTIONS", &[APP, ASKS_POST]));
    assert_eq!(got, "answer allow-origin=https://app.example");
}

#[test]
fn fields_are_written_in_place_of_the_back_ends() {
    let mut head = Head::default();
    for value in ["*", "https://other.example"] {
        head.append(b"access-control-allow-origin", value.as_bytes());
    }
    head.append(b"access-control-allow-methods", b"PUT");
    let Verdict::Forward(fields) = judged(&usual(), "GET", &[APP]) else { panic!("not answered here") };
    write(fields, &mut head);
    let values = |name: &str| head.values(name.as_bytes()).map(String::from_utf8_lossy).collect::<Vec<_>>();
    assert_eq!(values("access-control-allow-origin"), ["https://app.example"]);
    assert_eq!(values("access-control-allow-methods"), ["PUT"], "not the policy's to say");
    assert_eq!(values("access-control-expose-headers"), ["x-shown"]);
}

proptest! {
    #[test]
    fn an_origin_that_no_condition_takes_never_gets_a_field(
        origin in "[ -~]{0,24}", method in "OPTIONS|GET", asks: bool, forward_unmatched_preflights: bool,
    ) {
        let policy = CorsPolicy { forward_unmatched_preflights, ..usual() };
        prop_assume!(!policy.allow_origins.iter().any(|allowed| allowed.matches(origin.as_bytes())));
        let requested_method = asks.then_some(&b"POST"[..]);
        let origin = Some(origin.as_bytes());
        let request = Request { method: method.as_bytes(), origin, requested_method, requested_headers: None };
        let (Verdict::Answer(fields) | Verdict::Forward(fields)) = Cors::compile(&policy).judge(&request);
        prop_assert!(fields.is_empty());
    }
}
