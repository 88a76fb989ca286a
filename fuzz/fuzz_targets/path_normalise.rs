//! Whatever path is sent: a normal form stays as it is when it is normalised again, has no dot segment under any reading of
//! escaped slashes, and no run of slashes leads to another rule than one slash does.

#![no_main]

use config_model::model::PathNormalization::{self, Base, DecodeAndMergeSlashes, MergeSlashes, None, Strict};
use libfuzzer_sys::fuzz_target;
use routing::normalize::normalize;

fuzz_target!(|path: &[u8]| {
    for mode in [None, Base, MergeSlashes, DecodeAndMergeSlashes, Strict] {
        check(path, mode);
    }
    check_doubled_slash(path);
});

fn check(path: &[u8], mode: PathNormalization) {
    let Ok(normal) = normalize(path, mode) else { return };
    let (forwarded, matching) = (normal.forwarded(), normal.matching());
    assert!(forwarded.starts_with(b"/") && matching.starts_with(b"/"));
    assert!(forwarded.iter().all(|byte| byte.is_ascii_graphic()), "nothing that ends a request line");
    let lengths: Vec<usize> = (0..=matching.len()).map(|length| normal.forwarded_length(length)).collect();
    assert!(lengths.is_sorted() && lengths.iter().all(|&length| length <= forwarded.len()));
    // As in Envoy, `/%2e%2e;x/` becomes `/..;x/` where MeshConfig asks for no more than that; a second pass would resolve it.
    if mode == Strict || !has_dot_segment_with_parameters(forwarded) {
        let again = normalize(forwarded, mode).expect("a normal form is accepted");
        assert_eq!((again.forwarded(), again.matching()), (forwarded, matching), "a normal form stays, under {mode:?}");
    }
    if mode == None {
        assert_eq!((forwarded, matching), (path, path));
        return;
    }
    assert!(!has_dot_segment(forwarded) && !forwarded.contains(&b'\\'));
    if matches!(mode, MergeSlashes | DecodeAndMergeSlashes | Strict) {
        assert!(!matching.windows(2).any(|pair| pair == b"//"));
    }
    if mode == DecodeAndMergeSlashes {
        assert_eq!(with_slashes_decoded(forwarded), forwarded);
    }
    if mode == Strict {
        for form in [forwarded, matching].map(with_slashes_decoded) {
            assert!(!has_dot_segment(&form) && !has_dot_segment_with_parameters(&form));
        }
    }
}

/// `//admin` meets the rules of `/admin`.
fn check_doubled_slash(path: &[u8]) {
    let doubled = [b"/", path].concat();
    match (normalize(path, Strict), normalize(&doubled, Strict)) {
        (Ok(one), Ok(two)) => assert_eq!(one.matching(), two.matching()),
        // A slash more may hide a dot segment, or be what `..` removes; but it never makes a refused path acceptable.
        (Err(_), Ok(two)) => assert!(!path.starts_with(b"/") && two.forwarded().starts_with(b"/")),
        (_, Err(_)) => {}
    }
}

fn with_slashes_decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        let (byte, after) = match rest {
            [b'%', b'2', b'f' | b'F', after @ ..] | [b'%', b'5', b'c' | b'C', after @ ..] => (b'/', after),
            _ => (*byte, after),
        };
        decoded.push(byte);
        rest = after;
    }
    decoded
}

fn has_dot_segment(path: &[u8]) -> bool {
    let dots: [&[u8]; 8] = [b".", b"..", b"%2e", b"%2E", b".%2e", b"%2e.", b"%2e%2e", b"%2E%2E"];
    path.split(|&byte| byte == b'/').any(|segment| dots.contains(&segment))
}

/// Whether some server would drop parameters and be left with a dot segment.
fn has_dot_segment_with_parameters(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| segment.starts_with(b".;") || segment.starts_with(b"..;"))
}
