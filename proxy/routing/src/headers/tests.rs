use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// Every command yields the value of `x-source`, as it was when it was asked for.
struct Source;

impl Values for Source {
    fn command(&self, _: &Command, head: &Head, out: &mut Vec<u8>) {
        out.extend_from_slice(head.value(b"x-source").unwrap_or_default());
    }
}

/// Every command yields these bytes.
struct Bytes(Vec<u8>);

impl Values for Bytes {
    fn command(&self, _: &Command, _: &Head, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

fn additions(additions: &[(&str, &str)]) -> Vec<HeaderAddition> {
    let addition =
        |(name, value): &(&str, &str)| HeaderAddition { name: (*name).into(), value: Format::parse(value).unwrap() };
    additions.iter().map(addition).collect()
}

fn mutation(remove: &[&str], set: &[(&str, &str)], add: &[(&str, &str)]) -> Mutation {
    let remove: Vec<Arc<str>> = remove.iter().map(|&name| name.into()).collect();
    Mutation::compile(&HeaderMutation { remove, set: super::tests::additions(set), add: super::tests::additions(add) })
}

fn head(fields: &[(&str, &str)]) -> Head {
    let mut head = Head::default();
    fields.iter().for_each(|(name, value)| head.append(name.as_bytes(), value.as_bytes()));
    head
}

fn values<'h>(head: &'h Head, name: &str) -> Vec<&'h str> {
    head.values(name.as_bytes()).map(|value| std::str::from_utf8(value).unwrap()).collect()
}

#[test]
fn operations_of_one_of_several_destinations_come_before_the_routes() {
    let to = |set: &str| {
        let set = additions(&[("x-source", set)]);
        Mutation::of_destination(&HeaderMutation { set, ..HeaderMutation::default() }, true)
    };
    let mut head = head(&[("x-source", "sent")]);
    apply(&[&mutation(&[], &[("x-source", "%PROTOCOL%-route")], &[]), &to("destination")], &mut head, &Source);
    assert_eq!(values(&head, "x-source"), ["destination-route"]);
    apply(&[&mutation(&["x-source"], &[], &[]), &to("destination")], &mut head, &Source);
    assert_eq!(values(&head, "x-source"), [""; 0]);
}

#[test]
fn answers_say_nothing_of_the_connection_for_a_rule() {
    let written = [("connection", "close"), ("Upgrade", "h2c"), ("x-a", "kept")];
    let mut head = head(&[]);
    apply(&[&mutation(&[], &written, &written).for_answers()], &mut head, &Source);
    assert_eq!(values(&head, "connection"), [""; 0]);
    assert_eq!(values(&head, "upgrade"), [""; 0]);
    assert_eq!(values(&head, "x-a"), ["kept", "kept"]);
}

#[test]
fn remove_takes_all_set_replaces_all_and_add_appends() {
    let mut head = head(&[
        ("x-set", "old"),
        ("x-set", "older"),
        ("x-add", "first"),
        ("x-gone", "a"),
        ("x-gone", "b"),
        ("x-kept", "k"),
    ]);
    apply(&[&mutation(&["x-gone"], &[("x-set", "new")], &[("x-add", "more")])], &mut head, &Source);
    assert_eq!(values(&head, "x-set"), ["new"]);
    assert_eq!(values(&head, "x-add"), ["first", "more"]);
    assert_eq!(values(&head, "x-gone"), [""; 0]);
    assert_eq!(values(&head, "x-kept"), ["k"]);
}

#[test]
fn a_header_may_be_removed_set_and_added_in_that_order() {
    let mut head = head(&[("x", "sent")]);
    apply(&[&mutation(&["x"], &[("x", "set")], &[("x", "added")])], &mut head, &Source);
    assert_eq!(values(&head, "x"), ["set", "added"]);
}

#[test]
fn of_route_and_destination_both_append_and_the_destinations_set_stands() {
    let route = mutation(&["x-r"], &[("x-a", "route"), ("x-back", "route")], &[("x-add", "route")]);
    let destination = mutation(&["x-d", "x-back"], &[("x-a", "destination")], &[("x-add", "destination")]);
    let mut head = head(&[("x-r", "1"), ("x-d", "1"), ("x-a", "sent"), ("x-back", "sent")]);
    apply(&[&route, &destination], &mut head, &Source);
    assert_eq!(values(&head, "x-a"), ["destination"]);
    assert_eq!(values(&head, "x-add"), ["route", "destination"]);
    assert_eq!((head.value(b"x-r"), head.value(b"x-d")), (None, None));
    // Everything is removed before anything is set, as in Envoy.
    assert_eq!(values(&head, "x-back"), ["route"]);
}

#[test]
fn formats_see_the_head_after_the_removals_and_before_anything_is_set() {
    let set = [("x-source", "new"), ("x-copy", "<%REQ(x-source)%>")];
    let mut kept = head(&[("x-source", "abc")]);
    apply(&[&mutation(&[], &set, &[])], &mut kept, &Source);
    assert_eq!(values(&kept, "x-copy"), ["<abc>"]);
    let mut removed = head(&[("x-source", "abc")]);
    apply(&[&mutation(&["x-source"], &set, &[])], &mut removed, &Source);
    assert_eq!(values(&removed, "x-copy"), ["<>"]);
}

#[test]
fn a_value_that_comes_out_empty_changes_nothing() {
    let mut head = head(&[("x-from", "client")]);
    apply(&[&mutation(&[], &[("x-from", "%REQ(x-source)%")], &[("x-more", "%REQ(x-source)%")])], &mut head, &Source);
    assert_eq!(values(&head, "x-from"), ["client"]);
    assert_eq!(head.value(b"x-more"), None);
}

#[test]
fn a_command_may_cut_its_value_and_a_doubled_percent_sign_is_one() {
    let mut head = head(&[("x-source", "abcdef")]);
    apply(&[&mutation(&[], &[("x-cut", "=%REQ(x-source):3%!"), ("x-percent", "100%%")], &[])], &mut head, &Source);
    assert_eq!(values(&head, "x-cut"), ["=abc!"]);
    assert_eq!(values(&head, "x-percent"), ["100%"]);
}

#[test]
fn what_is_removed_set_or_added_is_named() {
    let mutation = mutation(&["x-gone"], &[("x-set", "1")], &[("x-add", "1")]);
    assert!(["x-gone", "x-set", "x-add"].iter().all(|name| mutation.names(name)));
    assert!(!mutation.names("x-other") && !Mutation::default().names("x-gone"));
}

#[test]
fn nothing_to_do_takes_no_memory() {
    assert!(Mutation::compile(&HeaderMutation::default()).is_empty());
    assert_eq!(size_of::<Mutation>(), size_of::<usize>());
}

proptest! {
    #[test]
    fn no_value_injects_another_field(value: Vec<u8>) {
        let mut head = Head::default();
        let mutation = mutation(&[], &[("x-set", "a%REQ(x)%b")], &[("x-add", "%REQ(x)%")]);
        apply(&[&mutation], &mut head, &Bytes(value));
        for field in head.fields() {
            prop_assert!(field.value.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t'));
            prop_assert_eq!(field.value.trim_ascii(), field.value);
        }
        prop_assert!(head.count() <= 2);
    }
}
