use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn build(keys: &[(&str, bool)]) -> Trie {
    Trie::build((0..).zip(keys).map(|(value, &(text, exact))| Key { text: text.as_bytes(), exact, value }).collect())
}

fn found(trie: &Trie, text: &str, fold: bool) -> Vec<u32> {
    let mut values = Vec::new();
    trie.visit(text.as_bytes(), fold, |list, _| {
        assert!(list.is_sorted() && !list.is_empty());
        values.extend_from_slice(list);
    });
    values.sort_unstable();
    values
}

#[test]
fn every_prefix_and_the_exact_text_are_found() {
    let keys = [
        ("", false),
        ("/", false),
        ("/a", false),
        ("/a", true),
        ("/a", false),
        ("/ab", false),
        ("/abc", true),
        ("", true),
    ];
    let trie = build(&keys);
    for (text, want) in [
        ("", vec![0, 7]),
        ("/", vec![0, 1]),
        ("/a", vec![0, 1, 2, 3, 4]),
        ("/ab", vec![0, 1, 2, 4, 5]),
        ("/abc", vec![0, 1, 2, 4, 5, 6]),
        ("/abd", vec![0, 1, 2, 4, 5]),
        ("/b", vec![0, 1]),
        ("b", vec![0]),
    ] {
        assert_eq!(found(&trie, text, false), want, "{text:?}");
    }
}

#[test]
fn lengths_grow_from_the_shortest_prefix_to_the_longest() {
    let trie = build(&[("/abc", false), ("/", false), ("/ab", false)]);
    let mut lengths = Vec::new();
    trie.visit(b"/abcd", false, |_, length| lengths.push(length));
    assert_eq!(lengths, [1, 3, 4]);
}

#[test]
fn without_case_the_text_is_folded_and_the_keys_are_lower_case() {
    let trie = build(&[("/ab", false), ("/abc", true)]);
    assert_eq!(found(&trie, "/ABC", true), [0, 1]);
    assert_eq!(found(&trie, "/ABC", false), [0u32; 0]);
}

#[test]
fn an_empty_trie_finds_nothing() {
    assert_eq!(found(&Trie::default(), "/", false), [0u32; 0]);
    assert_eq!(found(&build(&[]), "", true), [0u32; 0]);
}

#[test]
fn ten_thousand_keys_are_all_found() {
    let texts: Vec<String> = (0..10_000).map(|number| format!("/service-{number}/")).collect();
    let trie = build(&texts.iter().map(|text| (text.as_str(), false)).collect::<Vec<_>>());
    for (number, text) in (0..).zip(&texts) {
        assert_eq!(found(&trie, &format!("{text}x"), false), [number]);
    }
    assert_eq!(found(&trie, "/service-10000/", false), [0u32; 0]);
}

proptest! {
    #[test]
    fn a_lookup_is_a_filter_over_the_keys(keys in vec(("[ab/]{0,6}", any::<bool>()), 0..40), text in "[ab/]{0,8}") {
        let keys: Vec<(&str, bool)> = keys.iter().map(|(text, exact)| (text.as_str(), *exact)).collect();
        let want: Vec<u32> = (0..).zip(&keys)
            .filter(|(_, (key, exact))| if *exact { text == *key } else { text.starts_with(key) })
            .map(|(value, _)| value)
            .collect();
        prop_assert_eq!(found(&build(&keys), &text, false), want);
    }
}
