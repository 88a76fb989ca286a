use config_model::model::{PathNormalization, RewritePattern};
use proptest::prelude::*;

use super::*;
use crate::normalize::normalize;

fn prefix(matched: &str, text: &str) -> PathRewrite {
    PathRewrite::Prefix { length: matched.len(), text: text.into() }
}

fn regex(pattern: &str, substitution: &str) -> PathRewrite {
    PathRewrite::Regex {
        pattern: RewritePattern(regex::bytes::Regex::new(pattern).unwrap()),
        substitution: substitution.into(),
    }
}

fn rewritten(rewrite: &PathRewrite, path: &str) -> String {
    let path = normalize(path.as_bytes(), PathNormalization::Strict).unwrap();
    String::from_utf8(super::rewrite(rewrite, &path).into_owned()).unwrap()
}

#[test]
fn the_matched_prefix_is_replaced_and_nothing_is_done_about_slashes() {
    for (matched, text, path, want) in [
        ("/old", "/new", "/old", "/new"),
        ("/old", "/new", "/old/x", "/new/x"),
        ("/old", "/new", "/oldest", "/newest"),
        ("/slash/", "/", "/slash/x", "/x"),
        ("/slash/", "/", "/slash/", "/"),
        ("/bare", "/", "/bare", "/"),
        ("/bare", "/", "/bare/x", "//x"),
        ("/", "/base/", "/some/thing", "/base/some/thing"),
        ("/old", "/new", "//old//x", "/new//x"),
        ("/old", "/new", "/%2fold/x", "/new/x"),
        ("/old", "new", "/old/x", "/new/x"),
    ] {
        assert_eq!(rewritten(&prefix(matched, text), path), want, "{matched} {text} {path}");
    }
}

#[test]
fn an_exact_or_regex_match_has_the_whole_path_replaced() {
    assert_eq!(rewritten(&PathRewrite::Whole("/whole".into()), "/re/x/y"), "/whole");
}

#[test]
fn every_match_of_the_expression_within_the_path_is_replaced() {
    let swap = regex("^/service/([^/]+)(/.*)$", "${2}/instance/${1}");
    assert_eq!(rewritten(&swap, "/service/foo/v1/api"), "/v1/api/instance/foo");
    assert_eq!(rewritten(&swap, "/service/foo"), "/service/foo");
    assert_eq!(rewritten(&regex("one", "two"), "/xx/one/a/one"), "/xx/two/a/two");
    assert_eq!(rewritten(&regex(".*", ""), "/xx"), "/");
}

#[test]
fn a_path_that_stays_is_not_copied() {
    let path = normalize(b"/reviews/7", PathNormalization::Strict).unwrap();
    assert!(matches!(rewrite(&PathRewrite::Keep, &path), Cow::Borrowed(b"/reviews/7")));
}

#[test]
fn the_query_stays_also_an_empty_one() {
    assert_eq!(target(b"/a", Some(b"b=c")), b"/a?b=c");
    assert_eq!(target(b"/a", Some(b"")), b"/a?");
    assert_eq!(target(b"/a", None), b"/a");
}

proptest! {
    #[test]
    fn a_rewritten_path_can_stand_in_a_request_line(text: String, length in 0usize..20, path in "/[a-z/%]{0,20}") {
        for rewrite in [PathRewrite::Prefix { length, text: text.as_str().into() }, PathRewrite::Whole(text.into())] {
            let Ok(path) = normalize(path.as_bytes(), PathNormalization::Strict) else { continue };
            let path = super::rewrite(&rewrite, &path);
            prop_assert!(path.starts_with(b"/") && path.iter().all(u8::is_ascii_graphic));
        }
    }
}
