//! Files as a whole: documents, lists, and what is used again when a file changes.

use std::sync::Arc;

use config_model::file::ParsedFile;
use config_model::resource::{Spec, StringMatch};
use proptest::prelude::*;

fn service(name: &str, weight: u32) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: {name}\nspec:\n  hosts: [{name}.example]\n  \
         http:\n  - route:\n    - destination: {{host: a, subset: v1}}\n      weight: {weight}\n"
    )
}

fn names(file: &ParsedFile) -> Vec<&str> {
    file.resources.iter().map(|resource| &*resource.id.name).collect()
}

#[test]
fn resources_keep_the_order_of_their_file() {
    let text = format!(
        "# only a comment\n---\n{}---\n---\n{}...\n{}---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Namespace\n  \
         metadata: {{name: d}}\n- apiVersion: v1\n  kind: Pod\n  metadata: {{name: e, namespace: ns}}\n",
        service("a", 1),
        service("b", 2),
        service("c", 3),
    );
    let file = ParsedFile::parse("main.yaml", &text, None);
    assert_eq!(file.diagnostics, []);
    assert_eq!(names(&file), ["a", "b", "c", "d", "e"]);
    let ordinals: Vec<u32> = file.resources.iter().map(|resource| resource.ordinal).collect();
    assert_eq!(ordinals, [0, 1, 2, 3, 4]);
    let ids: Vec<String> = file.resources.iter().map(|resource| resource.id.to_string()).collect();
    assert_eq!(ids[3..], ["Namespace d", "Pod ns/e"]);
}

#[test]
fn a_document_that_stands_where_it_stood_is_not_read_again() {
    let before = [service("a", 1), service("b", 2), service("c", 3)].join("---\n");
    let after = [service("a", 1), service("b", 9), service("c", 3)].join("---\n");
    let first = ParsedFile::parse("main.yaml", &before, None);
    let second = ParsedFile::parse("main.yaml", &after, Some(&first));
    let same: Vec<bool> =
        first.resources.iter().zip(&second.resources).map(|(before, after)| Arc::ptr_eq(before, after)).collect();
    assert_eq!(same, [true, false, true]);
    let moved = ParsedFile::parse("main.yaml", &format!("\n{after}"), Some(&second));
    assert!(!Arc::ptr_eq(&moved.resources[0], &second.resources[0]));
    let renamed = ParsedFile::parse("other.yaml", &after, Some(&second));
    assert_eq!(&*renamed.resources[0].id.file, "other.yaml");
}

#[test]
fn one_bad_document_refuses_the_file_and_the_others_are_still_read() {
    let text = format!("{}---\na: [\n---\n{}", service("a", 1), service("b", 2));
    let file = ParsedFile::parse("main.yaml", &text, None);
    assert!(file.is_refused());
    assert_eq!(names(&file), ["a", "b"]);
}

#[test]
fn values_know_their_place_and_are_written_as_istio_has_them() {
    let text = "apiVersion: networking.istio.io/v1alpha3\nkind: VirtualService\nmetadata: {name: v, creationTimestamp: \
        '2026-01-31T12:00:00Z'}\nspec:\n  hosts: [x.example]\n  http:\n  - match:\n    - uri: {prefix: /a}\n      headers: {x: {}}\n    \
        retries: {attempts: 3}\n    route: [{destination: {host: a}}]\n";
    let file = ParsedFile::parse("main.yaml", text, None);
    let [resource] = &file.resources[..] else { panic!("one resource") };
    let Spec::VirtualService(service) = &resource.spec else { panic!("a VirtualService") };
    let entry = &service.http[0].r#match[0];
    let Some(StringMatch::Prefix(prefix)) = &entry.uri else { panic!("a prefix") };
    assert_eq!((&*prefix.value, resource.origin(prefix.position).to_string()), ("/a", "main.yaml:8".to_owned()));
    assert_eq!(resource.metadata.creation_timestamp.unwrap().seconds, 1_769_860_800);
    assert_eq!(
        serde_json::to_string(&resource.spec).unwrap(),
        r#"{"hosts":["x.example"],"http":[{"match":[{"uri":{"prefix":"/a"},"headers":{"x":{}}}],"route":[{"destination":{"host":"a"}}],"retries":{"attempts":3}}]}"#
    );
}

#[test]
fn secrets_are_never_written() {
    let text = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\ndata: {tls.key: c2VjcmV0}\n\
        stringData: {tls.crt: secret}\n";
    let file = ParsedFile::parse("main.yaml", text, None);
    let Spec::Secret(secret) = &file.resources[0].spec else { panic!("a Secret") };
    assert_eq!(&*secret.data.get("tls.key").unwrap().value.0, b"secret");
    let (json, debug) = (serde_json::to_string(&file.resources[0].spec).unwrap(), format!("{secret:?}"));
    assert!(!json.contains("secret\"") && json.contains("[redacted]"), "{json}");
    assert!(!debug.contains("\"secret\"") && !debug.contains("c2VjcmV0"), "{debug}");
}

/// Pieces that files are made of, good and bad.
fn piece() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "apiVersion: networking.istio.io/v1\n",
        "kind: VirtualService\n",
        "kind: Gateway\n",
        "kind: List\n",
        "metadata: {name: a}\n",
        "spec:\n",
        "  hosts: ['*']\n",
        "  http:\n",
        "  - route: [{destination: {host: a}}]\n",
        "    timeout: -1s\n",
        "---\n",
        "items:\n",
        "- ",
        "  servers: [{port: {number: 0}}]\n",
        "[",
        "{",
        "'",
        "&a ",
        "*a\n",
        "<<: *a\n",
        "|\n",
        "data: {mesh: 'a: b'}\n",
    ]);
    prop_oneof![6 => words.prop_map(str::to_owned), 2 => Just(service("s", 1)), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn no_text_makes_reading_panic(text in any::<String>(), pieces in prop::collection::vec(piece(), 0..12)) {
        let _ = ParsedFile::parse("a.yaml", &text, None);
        let _ = ParsedFile::parse("a.yaml", &pieces.concat(), None);
    }

    #[test]
    fn bytes_that_are_not_text_are_no_trouble(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = ParsedFile::parse("a.yaml", &String::from_utf8_lossy(&bytes), None);
    }

    #[test]
    fn a_file_read_again_is_as_if_read_afresh(
        before in prop::collection::vec(piece(), 0..10),
        after in prop::collection::vec((piece(), any::<bool>()), 0..10),
    ) {
        let first = ParsedFile::parse("a.yaml", &before.join("---\n"), None);
        let kept = |index: usize| before.get(index).cloned().unwrap_or_default();
        let pieces = after.into_iter().enumerate().map(|(index, (piece, keep))| if keep { kept(index) } else { piece });
        let text = pieces.collect::<Vec<_>>().join("---\n");
        let again = ParsedFile::parse("a.yaml", &text, Some(&first));
        let fresh = ParsedFile::parse("a.yaml", &text, None);
        prop_assert!(fresh.diagnostics.iter().all(|diagnostic| diagnostic.position.line > 0));
        prop_assert_eq!(again.resources, fresh.resources);
        prop_assert_eq!(again.diagnostics, fresh.diagnostics);
    }
}
