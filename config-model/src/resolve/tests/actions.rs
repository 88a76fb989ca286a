//! What routes do: rewrites, redirects, answers, headers.

use super::*;
use crate::model::{HeaderMutation, Redirect, RedirectPort, Scheme};

fn forward_of(rule: &str) -> Forward {
    forward_in(&route_of(rule))
}

const TO: &str = "route: [{destination: {host: reviews}}]";

#[test]
fn a_rewrite_replaces_what_the_match_has_seen() {
    let table = [
        ("match: [{uri: {prefix: /old}}], rewrite: {uri: /new}", "3 bytes"),
        ("match: [{uri: {prefix: /Old}, ignoreUriCase: true}], rewrite: {uri: /new}", "3 bytes"),
        ("match: [{uri: {prefix: /}}], rewrite: {uri: /base/}", "1 byte"),
        ("match: [{uri: {exact: /old}}], rewrite: {uri: /new}", "all"),
        ("match: [{uri: {regex: '/o.*'}}], rewrite: {uri: /new}", "all"),
        ("match: [{headers: {a: {}}}], rewrite: {uri: /base/}", "1 byte"),
        ("rewrite: {uri: /base/}", "1 byte"),
        ("rewrite: {authority: new.example}", "nothing"),
    ];
    for (rule, want) in table {
        let got = match forward_of(&format!("{rule}, {TO}")).rewrite.path {
            PathRewrite::Keep => "nothing".to_owned(),
            PathRewrite::Prefix { length: 1, .. } => "1 byte".to_owned(),
            // The slash is a part of the prefix.
            PathRewrite::Prefix { length, .. } => format!("{} bytes", length - 1),
            PathRewrite::Whole(_) => "all".to_owned(),
            PathRewrite::Regex { .. } => "matches".to_owned(),
        };
        assert_eq!(got, want, "{rule}");
    }
}

#[test]
fn a_rewrite_by_regex_names_groups_as_the_regex_crate_does() {
    let rule = r#"rewrite: {uriRegexRewrite: {match: "^/service/([^/]+)(/.*)$", rewrite: "\\2/instance/\\1"}}"#;
    let PathRewrite::Regex { pattern, substitution } = forward_of(&format!("{rule}, {TO}")).rewrite.path else {
        panic!("a rewrite by regex")
    };
    let got = pattern.0.replace_all(b"/service/foo/v1/api", substitution.as_bytes());
    assert_eq!(&*got, b"/v1/api/instance/foo");
}

#[test]
fn the_authority_comes_from_the_rewrite_or_from_the_headers_and_the_routes_goes_first() {
    let with = |name: &str| format!("headers: {{request: {{set: {{{name}: h.example}}}}}}");
    let table = [
        ("rewrite: {authority: a.example}".to_owned(), TO.to_owned(), Some("a.example"), None),
        (with("Host"), TO.to_owned(), Some("h.example"), None),
        (with("':authority'"), TO.to_owned(), Some("h.example"), None),
        ("name: rule".to_owned(), TO.replace("}}]", &format!("}}, {}}}]", with("host"))), None, Some("h.example")),
        (
            "rewrite: {authority: a.example}".to_owned(),
            TO.replace("}}]", &format!("}}, {}}}]", with("host"))),
            Some("a.example"),
            None,
        ),
        ("rewrite: {authority: '%x'}".to_owned(), TO.to_owned(), Some("%%x"), None),
        (with("Host").replace("h.example", "'%REQ(x)%'"), TO.to_owned(), Some("%%REQ(x)%%"), None),
    ];
    for (rule, to, route, destination) in table {
        let forward = forward_of(&format!("{rule}, {to}"));
        assert_eq!(forward.rewrite.authority.as_ref().map(crate::model::Format::as_str), route, "{rule}");
        let got = forward.destinations[0].authority.as_ref().map(crate::model::Format::as_str);
        assert_eq!(got, destination, "{rule} {to}");
    }
}

fn words(mutation: &HeaderMutation) -> String {
    let remove = mutation.remove.iter().map(|name| format!("-{name}"));
    let set = mutation.set.iter().map(|header| format!("={}:{}", header.name, header.value.as_str()));
    let add = mutation.add.iter().map(|header| format!("+{}:{}", header.name, header.value.as_str()));
    remove.chain(set).chain(add).collect::<Vec<_>>().join(" ")
}

#[test]
fn header_names_are_in_lower_case_and_the_authority_is_none_of_them() {
    let request = "request: {set: {X-B: '1', Host: h.example, X-A: '2'}, add: {x-C: '%PROTOCOL%'}, remove: [X-D]}";
    let response = "response: {set: {content-type: application/json}}";
    let route = route_of(&format!("headers: {{{request}, {response}}}, {TO}"));
    assert_eq!(words(&route.headers.request), "-x-d =x-a:2 =x-b:1 +x-c:%PROTOCOL%");
    assert_eq!(words(&route.headers.response), "=content-type:application/json");
    let to = TO.replace("}}]", "}, headers: {request: {add: {X-To: a}}}}]");
    let Action::Forward(forward) = &route_of(&to).action else { panic!("a forward") };
    assert_eq!(words(&forward.destinations[0].headers.request), "+x-to:a");
}

#[test]
fn a_redirect_keeps_what_it_does_not_name() {
    let none =
        Redirect { path: PathRewrite::Keep, authority: None, scheme: None, port: RedirectPort::Keep, status: 301 };
    let whole = |uri: &str| PathRewrite::Whole(uri.into());
    let table = [
        ("{uri: /new}", Redirect { path: whole("/new"), ..none.clone() }),
        (
            "{authority: a.example, redirectCode: 302}",
            Redirect { authority: Some("a.example".into()), status: 302, ..none.clone() },
        ),
        ("{scheme: https}", Redirect { scheme: Some(Scheme::Https), ..none.clone() }),
        (
            "{scheme: http, port: 8080}",
            Redirect { scheme: Some(Scheme::Http), port: RedirectPort::Number(8080), ..none.clone() },
        ),
        (
            "{uri: /, derivePort: FROM_REQUEST_PORT}",
            Redirect { path: whole("/"), port: RedirectPort::FromRequest, ..none.clone() },
        ),
        ("{uri: /, derivePort: FROM_PROTOCOL_DEFAULT}", Redirect { path: whole("/"), ..none.clone() }),
        ("{uri: /, port: 0}", Redirect { path: whole("/"), ..none.clone() }),
        ("{prefixRewrite: /new}", Redirect { path: PathRewrite::Prefix { length: 1, text: "/new".into() }, ..none }),
    ];
    for (redirect, want) in table {
        assert_eq!(route_of(&format!("redirect: {redirect}")).action, Action::Redirect(want), "{redirect}");
    }
}

#[test]
fn a_direct_response_has_a_body_of_text_or_bytes_or_none() {
    let table: [(&str, u16, &[u8]); 3] = [
        ("{status: 503, body: {string: down}}", 503, b"down"),
        ("{status: 200, body: {bytes: aGVsbG8=}}", 200, b"hello"),
        ("{status: 204}", 204, b""),
    ];
    for (response, status, body) in table {
        let Action::DirectResponse(got) = route_of(&format!("directResponse: {response}")).action.clone() else {
            panic!("an answer")
        };
        assert_eq!((got.status, &*got.body), (status, body), "{response}");
    }
}
