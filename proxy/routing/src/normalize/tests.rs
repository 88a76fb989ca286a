use proptest::prelude::*;

use super::*;

fn text(path: &[u8]) -> &str {
    std::str::from_utf8(path).unwrap()
}

/// Forwarded and matching form.
fn both(path: &str, mode: PathNormalization) -> Result<(String, String), PathRefusal> {
    let normalized = normalize(path.as_bytes(), mode)?;
    Ok((text(normalized.forwarded()).to_owned(), text(normalized.matching()).to_owned()))
}

#[test]
fn a_path_is_forwarded_normalised_and_matched_with_slashes_merged() {
    for (path, forwarded, matching) in [
        ("/", "/", "/"),
        ("/a/./b/../c", "/a/c", "/a/c"),
        ("/public/../admin/x", "/admin/x", "/admin/x"),
        ("/./admin", "/admin", "/admin"),
        ("/../admin/x", "/admin/x", "/admin/x"),
        ("/..", "/", "/"),
        ("/a/..", "/", "/"),
        ("/a/.", "/a/", "/a/"),
        ("/a/b/..", "/a/", "/a/"),
        ("/a//..", "/a/", "/a/"),
        ("/.../..a/.b", "/.../..a/.b", "/.../..a/.b"),
        ("//admin/x", "//admin/x", "/admin/x"),
        ("///admin//x/", "///admin//x/", "/admin/x/"),
        ("/.//admin/x", "//admin/x", "/admin/x"),
        ("/x\\..\\admin/x", "/admin/x", "/admin/x"),
        ("/x/../\\admin", "//admin", "/admin"),
        ("/%61dmin/%7e%2D", "/admin/~-", "/admin/~-"),
        ("/%2e/admin", "/admin", "/admin"),
        ("/x/.%2E/admin", "/admin", "/admin"),
        ("/a%20b/%252e%252e/admin", "/a%20b/%252e%252e/admin", "/a%20b/%252e%252e/admin"),
        ("/files/a%2Fb/c%5cd", "/files/a%2Fb/c%5cd", "/files/a%2Fb/c%5cd"),
        ("/%2fadmin/x", "/%2fadmin/x", "/admin/x"),
        ("/files%2F/%5c/b%2f%2fc", "/files%2F/%5c/b%2f%2fc", "/files/b%2f%2fc"),
        ("/%zz/%a/%", "/%zz/%a/%", "/%zz/%a/%"),
        ("/%c0%aeadmin/../admin/x", "/admin/x", "/admin/x"),
        ("/%%36%31", "/%%361", "/%%361"),
        ("/a/..;/b/./c", "/b/c", "/b/c"),
        ("/a/..;x=1/b//.;y", "/b//", "/b/"),
        ("/..;", "/", "/"),
        ("/a/...;/b;x/../c", "/a/...;/c", "/a/...;/c"),
        ("/a;b=c,d=e@f:$", "/a;b=c,d=e@f:$", "/a;b=c,d=e@f:$"),
        ("/a{b}|\"", "/a%7Bb%7D%7C%22", "/a%7Bb%7D%7C%22"),
    ] {
        assert_eq!(both(path, PathNormalization::Strict), Ok((forwarded.to_owned(), matching.to_owned())), "{path}");
    }
}

#[test]
fn what_could_walk_around_a_rule_or_is_no_path_is_refused() {
    for (path, refusal) in [
        ("/x/..%2fadmin/x", PathRefusal::HiddenDotSegment),
        ("/x%2f..%2Fadmin", PathRefusal::HiddenDotSegment),
        ("/x%5c..%5Cadmin", PathRefusal::HiddenDotSegment),
        ("/x%2f..", PathRefusal::HiddenDotSegment),
        ("/.%2fadmin", PathRefusal::HiddenDotSegment),
        ("/x/%2e%2e%2fadmin", PathRefusal::HiddenDotSegment),
        ("/x/%2e%2e;/admin", PathRefusal::HiddenDotSegment),
        ("/x\\..;\\admin", PathRefusal::HiddenDotSegment),
        ("/x%2f..;/admin", PathRefusal::HiddenDotSegment),
        ("/admin%00/x", PathRefusal::Nul),
        ("/x%00/../admin", PathRefusal::Nul),
        ("/a b", PathRefusal::Byte(b' ')),
        ("/a#b", PathRefusal::Byte(b'#')),
        ("/a\rb", PathRefusal::Byte(b'\r')),
        ("/caf\u{e9}", PathRefusal::Byte(0xc3)),
        ("", PathRefusal::NotAbsolute),
        ("*", PathRefusal::NotAbsolute),
        ("\\admin", PathRefusal::NotAbsolute),
        ("a", PathRefusal::NotAbsolute),
    ] {
        assert_eq!(both(path, PathNormalization::Strict), Err(refusal), "{path}");
    }
}

#[test]
fn a_mode_of_the_mesh_configuration_gets_exactly_that() {
    use PathNormalization::{Base, DecodeAndMergeSlashes, MergeSlashes, None};
    for (mode, path, want) in [
        (None, "/a//../%61\\b%2f", "/a//../%61\\b%2f"),
        (Base, "/a//b/../%61\\b%2f..%2fc", "/a//a/b%2f..%2fc"),
        (MergeSlashes, "/a//b/../%61\\\\b%2f..%2f//c", "/a/a/b%2f..%2f/c"),
        (DecodeAndMergeSlashes, "/a//b%2f..%5C%2fc/%2F/%64", "/a/c/d"),
        (DecodeAndMergeSlashes, "/a%2fb", "/a/b"),
        (DecodeAndMergeSlashes, "/a%252fb", "/a%252fb"),
        (None, "/a/..;/b", "/a/..;/b"),
        (Base, "/a/b/.;x/c;y/..;z/d", "/a/b/d"),
        (Base, "/a//..;;/b", "/a/b"),
        (Base, "/a/%2e%2e;/b", "/a/..;/b"),
        (Base, "/a\\..;\\b", "/a/..;/b"),
        (Base, "/a/..%3b/b", "/a/..%3b/b"),
        (Base, "/a/..;%2fb", "/"),
        (DecodeAndMergeSlashes, "/a/..;%2fb", "/b"),
        (DecodeAndMergeSlashes, "/a%2f..;x/b", "/b"),
    ] {
        assert_eq!(both(path, mode), Ok((want.to_owned(), want.to_owned())), "{mode:?} {path}");
    }
}

#[test]
fn nothing_is_allocated_where_nothing_changes() {
    for path in ["/", "/reviews/7", "/a%20b/%C3%BC", "/files/a%2Fb", "/a//b", "/.well-known/x", "/a..b/..."] {
        let normalized = normalize(path.as_bytes(), PathNormalization::Strict).unwrap();
        assert!(!normalized.is_changed(), "{path}");
        assert_eq!(normalized.matching.is_some(), path.contains("//"), "{path}");
    }
}

#[test]
fn a_prefix_of_the_matching_form_has_its_place_in_the_forwarded_one() {
    for (path, length, want) in [
        ("/old/x", 4, 4),
        ("//old/x", 4, 5),
        ("//old//x", 4, 5),
        ("//old//x", 5, 6),
        ("/%2fold/x", 4, 7),
        ("/%2f2x", 2, 5),
        ("///", 1, 1),
        ("//a%2fb//c", 7, 8),
        ("//a", 9, 3),
    ] {
        let normalized = normalize(path.as_bytes(), PathNormalization::Strict).unwrap();
        assert_eq!(normalized.forwarded_length(length), want, "{path} {length}");
    }
}

const MODES: [PathNormalization; 4] = [
    PathNormalization::Strict,
    PathNormalization::Base,
    PathNormalization::MergeSlashes,
    PathNormalization::DecodeAndMergeSlashes,
];

/// Paths dense in what matters.
fn paths() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("\\"),
        Just("%2f"),
        Just("%2F"),
        Just("%5c"),
        Just("%2e"),
        Just("%"),
        Just("2"),
        Just("f"),
        Just("6"),
        Just("1"),
        Just("%36"),
        Just("%61"),
        Just("%25"),
        Just("a"),
        Just("admin"),
        Just("%zz"),
        Just("|"),
        Just("%32"),
        Just("%66")
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
}

/// What a careless back end may make of a path.
fn decoded_once(path: &str) -> String {
    ["%2f", "%2F", "%5c", "%5C", "\\"].iter().fold(path.to_owned(), |path, escape| path.replace(escape, "/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_plain_path_is_one_that_no_mode_changes(path in "(/?(\\.{0,2}|[A-Za-z0-9_.-]{1,9}|[ -~é]{0,2})/?){0,6}") {
        if is_plain(path.as_bytes()) {
            let survey = survey(path.as_bytes()).unwrap();
            prop_assert!(!survey.rewrite && !survey.doubled_slashes && !survey.encoded_slashes, "{}", path);
        }
    }

    #[test]
    fn a_path_of_words_is_plain(path in "(/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,9}){4,9}/?") {
        prop_assert!(is_plain(path.as_bytes()));
    }

    #[test]
    fn normalisation_is_idempotent(path in paths(), mode in 0usize..4) {
        let mode = MODES[mode];
        if let Ok((forwarded, matching)) = both(&path, mode) {
            prop_assert_eq!(both(&forwarded, mode).unwrap(), (forwarded, matching.clone()));
            prop_assert_eq!(both(&matching, mode).unwrap().1, matching);
        }
    }

    #[test]
    fn no_dot_segment_is_left_not_even_an_encoded_one(path in paths()) {
        if let Ok((forwarded, matching)) = both(&path, PathNormalization::Strict) {
            for path in [forwarded, matching.clone()] {
                prop_assert!(decoded_once(&path).split('/').all(|segment| segment != "." && segment != ".."), "{}", path);
            }
            prop_assert!(!matching.contains("//"));
        }
    }

    #[test]
    fn slashes_before_a_path_never_change_what_it_matches(path in paths(), slashes in "(/|\\\\|%2f|%5C){0,4}") {
        let plain = both(&path, PathNormalization::Strict).map(|(_, matching)| matching);
        let slashed = both(&format!("/{slashes}{path}"), PathNormalization::Strict).map(|(_, matching)| matching);
        if let (Ok(plain), Ok(slashed)) = (plain, slashed) && !path.contains("..") {
            prop_assert_eq!(plain, slashed);
        }
    }

    #[test]
    fn any_bytes_are_normalised_or_refused(path: Vec<u8>, mode in 0usize..4) {
        let path = [b"/", &path[..]].concat();
        if let Ok(normalized) = normalize(&path, MODES[mode]) {
            prop_assert!(normalized.forwarded().iter().all(u8::is_ascii_graphic));
            prop_assert_eq!(normalized.forwarded_length(usize::MAX), normalized.forwarded().len());
        }
    }
}
