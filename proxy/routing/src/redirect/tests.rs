use config_model::model::PathRewrite;
use config_model::model::RedirectPort::{FromRequest, Keep, Number};
use config_model::model::Scheme::{Http, Https};
use proptest::prelude::*;

use super::*;

const LISTENER_PORT: u16 = 8080;

fn redirect(uri: &str, authority: &str, scheme: Option<Scheme>, port: RedirectPort) -> Redirect {
    let path = if uri.is_empty() { PathRewrite::Keep } else { PathRewrite::Whole(uri.into()) };
    let authority = (!authority.is_empty()).then(|| authority.into());
    Redirect { path, authority, scheme, port, status: 301 }
}

/// Where `redirect` sends a request for this URL.
fn to(redirect: &Redirect, scheme: Scheme, authority: &str, target: &str) -> HeaderValue {
    asked(scheme, authority, target, |url| location(redirect, url, LISTENER_PORT))
}

fn asked(scheme: Scheme, authority: &str, target: &str, ask: impl Fn(&Url<'_>) -> HeaderValue) -> HeaderValue {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.as_bytes())));
    ask(&Url { scheme, authority: authority.as_bytes(), path: &Normalized::unchanged(path.as_bytes()), query })
}

#[test]
fn uri_replaces_the_path_and_the_query_stays_unless_the_uri_has_one() {
    for (uri, target, want) in [
        ("/new", "/uri/x?q=1", "/new?q=1"),
        ("/new", "/uri/x", "/new"),
        ("/new", "/x?", "/new?"),
        ("/new?r=2", "/uri/x?q=1", "/new?r=2"),
        ("", "/authority/x?q=1", "/authority/x?q=1"),
        ("/a b", "/x", "/a%20b"),
        ("new", "/x?q=1", "/new?q=1"),
    ] {
        let location = to(&redirect(uri, "", None, Keep), Http, "old.example", target);
        assert_eq!(location, format!("http://old.example{want}"), "{uri} {target}");
    }
}

#[test]
fn the_host_is_the_redirects_or_the_requests_with_its_port() {
    for (authority, host, want) in [
        ("new.example", "old.example:8080", "new.example"),
        ("new.example:9", "old.example:8080", "new.example:9"),
        ("", "old.example:8080", "old.example:8080"),
        ("", "Old.Example", "Old.Example"),
        ("", "[::1]:8080", "[::1]:8080"),
        ("", "[::1]", "[::1]"),
    ] {
        let location = to(&redirect("", authority, None, Keep), Http, host, "/");
        assert_eq!(location, format!("http://{want}/"), "{authority} {host}");
    }
}

#[test]
fn a_default_port_of_the_old_scheme_goes_when_the_scheme_changes() {
    for (from, scheme, host, want) in [
        (Http, Some(Https), "old.example", "https://old.example/"),
        (Http, Some(Https), "old.example:80", "https://old.example/"),
        (Http, Some(Https), "[::1]:80", "https://[::1]/"),
        (Http, Some(Https), "old.example:8080", "https://old.example:8080/"),
        (Http, Some(Https), "old.example:443", "https://old.example:443/"),
        (Https, Some(Http), "old.example:443", "http://old.example/"),
        (Http, Some(Http), "old.example:80", "http://old.example:80/"),
        (Http, None, "old.example:80", "http://old.example:80/"),
    ] {
        let location = to(&redirect("", "", scheme, Keep), from, host, "/");
        assert_eq!(location, want, "{from:?} {scheme:?} {host}");
    }
}

#[test]
fn a_port_that_was_asked_for_is_written_and_the_schemes_default_changes_nothing() {
    for (scheme, authority, port, host, want) in [
        (None, "", Number(90), "old.example:8080", "http://old.example:90/"),
        (None, "", Number(80), "old.example:8080", "http://old.example:8080/"),
        (None, "new.example", Number(80), "old.example:8080", "http://new.example/"),
        (None, "new.example:7", Number(90), "old.example", "http://new.example:90/"),
        (Some(Https), "new.example", Number(443), "old.example", "https://new.example/"),
        (Some(Https), "", Number(80), "[::1]:80", "https://[::1]:80/"),
        (Some(Https), "", FromRequest, "old.example", "https://old.example:8080/"),
        (None, "", FromRequest, "old.example:31380", "http://old.example:8080/"),
        (None, "new.example:7", Number(80), "old.example:8080", "http://new.example:7/"),
        (Some(Https), "", Number(443), "old.example:8080", "https://old.example:8080/"),
    ] {
        let redirect = redirect("", authority, scheme, port);
        let location = to(&redirect, Http, host, "/");
        assert_eq!(location, want, "{redirect:?} {host}");
    }
}

#[test]
fn a_host_that_wants_https_gets_the_same_url_in_https() {
    for (host, target, want) in [
        ("shop.example", "/a/b?c=d", "https://shop.example/a/b?c=d"),
        ("shop.example:80", "/a", "https://shop.example/a"),
        ("shop.example:8080", "/", "https://shop.example:8080/"),
        ("[::1]:80", "/?", "https://[::1]/?"),
    ] {
        assert_eq!(asked(Http, host, target, https_location), want, "{host} {target}");
    }
}

#[test]
fn a_prefix_is_replaced_and_the_rest_of_the_path_stays() {
    for (text, length, target, want) in [
        ("/new", 4, "/old/x?q=1", "/new/x?q=1"),
        ("/new", 4, "/older", "/newer"),
        ("/", 4, "/old/x", "//x"),
        ("/", 5, "/old/x", "/x"),
        ("new", 4, "/old", "/new"),
    ] {
        let redirect =
            Redirect { path: PathRewrite::Prefix { length, text: text.into() }, ..redirect("", "", None, Keep) };
        assert_eq!(to(&redirect, Http, "a.example", target), format!("http://a.example{want}"), "{text} {target}");
    }
}

proptest! {
    #[test]
    fn nothing_but_a_url_comes_out(uri: String, host: Vec<u8>, path: Vec<u8>, query: Option<Vec<u8>>, https: bool) {
        let url = Url { scheme: Http, authority: &host, path: &Normalized::unchanged(&path), query: query.as_deref() };
        let scheme = https.then_some(Https);
        for location in [location(&redirect(&uri, "", scheme, Keep), &url, LISTENER_PORT), https_location(&url)] {
            prop_assert!(location.as_bytes().iter().all(u8::is_ascii_graphic));
        }
    }
}
