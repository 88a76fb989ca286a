//! YAML as trees, and the two readers held to each other.

use proptest::prelude::*;

use super::*;

/// A tree in one line: `{a@1:1: int 1@1:4}`.
fn show(node: &Node<'_>) -> String {
    let Position { line, column } = node.position;
    let value = match &node.value {
        Value::Sequence(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Mapping(fields) => {
            let field = |(key, value): &(Key<'_>, Node<'_>)| {
                format!("{}@{}:{}: {}", key.name, key.position.line, key.position.column, show(value))
            };
            format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::String(text) => format!("{text:?}"),
        Value::Null => "null".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{value}@{line}:{column}")
}

fn read(text: &str) -> String {
    match parse(text, 1) {
        Ok(documents) => documents.iter().map(show).collect::<Vec<_>>().join(" --- "),
        Err(error) => format!("error {}:{} {error}", error.position.line, error.position.column),
    }
}

#[test]
fn every_value_knows_its_place() {
    for (text, want) in [
        ("", ""),
        ("# nothing\n", ""),
        ("a: 1\n", r#"{a@1:1: Int(1)@1:4}@1:1"#),
        ("a:\n  b: x # c\n", r#"{a@1:1: {b@2:3: "x"@2:6}@2:3}@1:1"#),
        ("a:\n- b: x\n  c: 'y''z'\n", r#"{a@1:1: [{b@2:3: "x"@2:6, c@3:3: "y'z"@3:6}@2:3]@2:3}@1:1"#),
        ("a: {b: [x, 2], \"c\":z}\n", r#"{a@1:1: {b@1:5: ["x"@1:9, Int(2)@1:12]@1:8, c@1:16: "z"@1:20}@1:4}@1:1"#),
        ("a: |\n  one\n\n  two\nb: 1\n", r#"{a@1:1: "one\n\ntwo\n"@2:3, b@5:1: Int(1)@5:4}@1:1"#),
        ("---\na: é, ü # c\nb: {é: ü}", r#"{a@2:1: "é, ü"@2:4, b@3:1: {é@3:5: "ü"@3:8}@3:4}@2:1"#),
    ] {
        assert_eq!(read(text), want, "{text:?}");
    }
}

#[test]
fn yaml_1_1_is_what_kubernetes_speaks() {
    for (text, want) in [
        ("on: off\n", r#"{true@1:1: Bool(false)@1:5}@1:1"#),
        ("{n: y}\n", r#"{false@1:2: Bool(true)@1:5}@1:1"#),
        ("1: 0o17\n", r#"{1@1:1: Int(15)@1:4}@1:1"#),
        ("'on': 'off'\n", r#"{on@1:1: "off"@1:7}@1:1"#),
        ("a: !!str 5\n", r#"{a@1:1: "5"@1:4}@1:1"#),
        ("a: 2026-01-31\n", r#"{a@1:1: "2026-01-31"@1:4}@1:1"#),
        (
            "a: &x {b: 1}\nc: {<<: *x, d: 2}\n",
            r#"{a@1:1: {b@1:8: Int(1)@1:11}@1:4, c@2:1: {d@2:13: Int(2)@2:16, b@1:8: Int(1)@1:11}@2:4}@1:1"#,
        ),
        ("a: x\n  y\n", r#"{a@1:1: "x y"@1:4}@1:1"#),
    ] {
        assert_eq!(read(text), want, "{text:?}");
    }
}

#[test]
fn what_is_wrong_has_a_line_and_a_column() {
    for (text, want) in [
        ("a: 1\na: 2\n", "error 2:1 the key stands here twice"),
        ("{a: 1, b: 2, a: 3}", "error 1:14 the key stands here twice"),
        ("~: 1\n", "error 1:1 a key must be text, a number or a boolean"),
        ("a: &x [*x]\n", "error 1:8 the alias stands within the value that it names"),
        ("a: !!int x\n", r#"error 1:4 "x" is not a int"#),
        ("<<: 1\n", "error 1:5 only mappings can be merged by <<"),
    ] {
        assert_eq!(read(text), want, "{text:?}");
    }
    for text in ["a: [\n", "a:\n\tb: 1\n", "a: 'x\n", "a: b: c\n", "a\nb: 1\n", "a: *x\n", "- a\nb: 1\n"] {
        assert!(read(text).starts_with("error "), "{text:?} gives {}", read(text));
    }
}

#[test]
fn little_text_can_not_make_a_large_tree() {
    let bomb: String = (1..40).map(|n| format!("a{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1)).collect();
    assert!(read(&format!("a0: &a0 x\n{bomb}")).contains("the aliases make too much of little text"));
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = format!("{}{}", open.repeat(300), close.repeat(300));
        assert!(read(&deep).starts_with("error "), "{open}");
    }
    assert!(read(&"- ".repeat(300)).starts_with("error "));
    let deep: String = (0..300).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(read(&deep).starts_with("error "));
}

/// What the quick reader makes of a text must be what the other one makes of it.
fn agrees(text: &str) -> Result<bool, TestCaseError> {
    let Some(quick) = quick::parse(text, 1) else { return Ok(false) };
    let slow = events::parse(text, 1);
    let slow = slow.map_err(|error| TestCaseError::fail(format!("{text:?} is wrong: {error:?}, not {quick:?}")))?;
    let show_all = |documents: &[Node<'_>]| documents.iter().map(show).collect::<Vec<_>>();
    prop_assert_eq!(show_all(&quick), show_all(&slow), "{:?}", text);
    Ok(true)
}

/// Scalars as they are written, most of them fit for both readers.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[a-zA-Z0-9./-][a-zA-Z0-9./:*%_ -]{0,8}[a-z0-9]",
        2 => "[0-9]{1,4}s?",
        1 => "(on|off|yes|null|~|true|1_0|0x1f|\\.5|-1s|<<)",
        2 => "'[a-z :#{}\\[\\],%*-]{0,6}('')?'",
        2 => "\"[a-z :#{}\\[\\],%*'-]{0,6}(\\\\\"|\\\\n|\\\\x41)?\"",
        1 => "(é|ü €)",
    ]
}

/// Trees as text: `depth` levels of block or flow collections.
fn yaml(depth: u32) -> BoxedStrategy<Vec<String>> {
    let leaf = scalar().prop_map(|scalar| vec![scalar]).boxed();
    let flow = flow(2).prop_map(|text| vec![text]).boxed();
    if depth == 0 {
        return prop_oneof![4 => leaf, 1 => flow].boxed();
    }
    let field = (key(), yaml(depth - 1), 0..3usize).prop_map(|(key, value, style)| in_field(&key, &value, style));
    let mapping = prop::collection::vec(field, 1..4).prop_map(|fields| fields.concat());
    let sequence = prop::collection::vec(yaml(depth - 1).prop_map(|value| in_entry(&value)), 1..4);
    let literal = prop::collection::vec("[a-z#:{ ]{0,6}", 1..4).prop_map(|lines| {
        let mut text = vec!["|".to_owned()];
        text.extend(lines.into_iter().map(|line| format!("  {line}")));
        text
    });
    let sequence = sequence.prop_map(|items| items.concat());
    prop_oneof![2 => leaf, 1 => flow, 5 => mapping, 4 => sequence, 1 => literal].boxed()
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-z]{1,3}", 1 => "'[a-z: ]{1,3}'", 1 => "\"[a-z]{1,3}\"", 1 => "(on|1|a b|é)"]
}

fn flow(depth: u32) -> BoxedStrategy<String> {
    if depth == 0 {
        return scalar().boxed();
    }
    let items = prop::collection::vec(flow(depth - 1), 0..3).prop_map(|items| format!("[{}]", items.join(", ")));
    let fields = prop::collection::vec((key(), prop::sample::select(vec![": ", ":", " : "]), flow(depth - 1)), 0..3)
        .prop_map(|fields| fields.into_iter().map(|(key, colon, value)| format!("{key}{colon}{value}")).collect())
        .prop_map(|fields: Vec<String>| format!("{{{}}}", fields.join(", ")));
    prop_oneof![2 => scalar(), 1 => items, 1 => fields].boxed()
}

fn in_field(key: &str, value: &[String], style: usize) -> Vec<String> {
    match value {
        [line] if !line.starts_with("- ") && !line.ends_with(':') && style < 2 => vec![format!("{key}: {line}")],
        [head, rest @ ..] if head == "|" => {
            let mut lines = vec![format!("{key}: |")];
            lines.extend(rest.iter().cloned());
            lines
        }
        lines => {
            let indent = if lines.iter().any(|line| line.starts_with("- ")) && style == 0 { "" } else { "  " };
            let mut text = vec![format!("{key}:")];
            text.extend(lines.iter().map(|line| format!("{indent}{line}")));
            text
        }
    }
}

fn in_entry(value: &[String]) -> Vec<String> {
    value.iter().enumerate().map(|(index, line)| format!("{}{line}", if index == 0 { "- " } else { "  " })).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn both_readers_make_the_same_tree(lines in yaml(3), end in "(\n|\n\n|  # c\n|)", marker in "(---\n|# c\n)?") {
        agrees(&format!("{marker}{}{end}", lines.join("\n")))?;
    }

    #[test]
    fn both_readers_agree_after_a_change(
        lines in yaml(3),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, "[-a:# \n{}\\[\\],'\"|>&*!?%\t\r]|: |\n  ?|é"), 1..4),
    ) {
        let mut text: Vec<char> = format!("{}\n", lines.join("\n")).chars().collect();
        for (place, kind, piece) in changes {
            let place = place.index(text.len());
            let removed = usize::from(kind != 0);
            let piece: Vec<char> = if kind == 2 { Vec::new() } else { piece.chars().collect() };
            text.splice(place..(place + removed).min(text.len()), piece);
            if text.is_empty() {
                break;
            }
        }
        agrees(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn both_readers_agree_on_noise(text in "([ab]|: |:|- |-|\n|\n  |[ #{}'\"|,]|\\[|\\]|---|\\.\\.\\.|é){0,24}") {
        agrees(&text)?;
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in any::<String>()) {
        let _ = parse(&text, 1);
        let _ = parse(&text, u32::MAX);
    }
}

#[test]
fn the_quick_reader_reads_what_people_write() {
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: default}\n\
        spec:\n  hosts: [\"*\"]\n  gateways:\n  - web\n  http:\n  # A comment.\n  - match:\n    - uri:\n        prefix: /reviews\n\
        \x20     headers:\n        \"x-user\": {exact: 'it''s me'}\n    timeout: 1.5s\n    route:\n    - destination: {host: reviews, \
        subset: v1}\n      weight: 50\n    - destination:\n        host: reviews\n      weight: 50\n";
    let config =
        "data:\n  mesh: |-\n    accessLogFile: /dev/stdout\n\n    # c\n    trustDomain: x\n  other: |\n    a\n";
    for text in [route, config, "{\"kind\": \"List\", \"items\": [{\"a\":1},\n {\"b\":[]}]}\n"] {
        assert!(agrees(text).unwrap(), "{text}");
    }
}

#[test]
fn a_comment_behind_a_dash_moves_no_place() {
    for text in ["a:\n- # c\n  b: c\n", "a:\n  - # c\n    b: c\n", "a:\n- b: c\n- # c\n  b: c\n", "- # c\n  b\n"] {
        agrees(text).unwrap();
    }
}
