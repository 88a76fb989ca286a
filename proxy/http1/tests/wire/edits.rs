//! Fields that are set, appended and removed: whatever is put into them, the head that is written is well-formed.

use http1::{Head, Message, Name, Names};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::check;
use crate::engine::{self, Fields, Kind};

const NAMES: [&str; 6] = ["x-a", "x-b", "cookie", "date", "x-envoy-a", "x-request-id"];

#[derive(Debug, Clone)]
enum Edit {
    Set(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    Remove(&'static str),
    /// All of the names that start with `x-envoy-`.
    RemoveEnvoy,
    /// All whose value is longer.
    Retain(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let name = || prop::sample::select(&NAMES[..]);
    let value = || {
        let hostile =
            prop::sample::select(vec![&b"\r\nx-evil: 1"[..], b"a\n", b"\0", b"\r\n\r\nGET / HTTP/1.1\r\n", b" \t"]);
        prop_oneof![vec(any::<u8>(), 0..24), hostile.prop_map(<[u8]>::to_vec)]
    };
    prop_oneof![
        (name(), value()).prop_map(|(name, value)| Edit::Set(name, value)),
        (name(), value()).prop_map(|(name, value)| Edit::Append(name, value)),
        name().prop_map(Edit::Remove),
        Just(Edit::RemoveEnvoy),
        (0usize..20).prop_map(Edit::Retain),
    ]
}

fn apply(edit: &Edit, head: &mut Head) {
    match edit {
        Edit::Set(name, value) => head.set(name.as_bytes(), value),
        Edit::Append(name, value) => head.append(name.as_bytes(), value),
        Edit::Remove(name) => head.remove(name.as_bytes()),
        Edit::RemoveEnvoy => head.remove_all(Names::of(&[Name::Envoy])),
        Edit::Retain(longest) => head.retain(|field| field.value.len() <= *longest),
    }
}

/// The same, to a list.
fn apply_to_list(edit: &Edit, fields: &mut Fields) {
    match edit {
        Edit::Set(name, value) => {
            fields.retain(|field| field.0 != name.as_bytes());
            fields.push((name.as_bytes().to_vec(), cleaned(value)));
        }
        Edit::Append(name, value) => fields.push((name.as_bytes().to_vec(), cleaned(value))),
        Edit::Remove(name) => fields.retain(|field| field.0 != name.as_bytes()),
        Edit::RemoveEnvoy => fields.retain(|field| !field.0.starts_with(b"x-envoy-")),
        Edit::Retain(longest) => fields.retain(|field| field.1.len() <= *longest),
    }
}

/// What of `value` can stand in a field: blanks in place of control bytes, and none at the ends.
fn cleaned(value: &[u8]) -> Vec<u8> {
    let clean = |byte: &u8| if matches!(byte, 0..=8 | 10..=31 | 127) { b' ' } else { *byte };
    let text: Vec<u8> = value.iter().map(clean).collect();
    let is_blank = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = text.iter().position(|byte| !is_blank(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_blank(byte)).map_or(start, |at| at + 1);
    text[start..end].to_vec()
}

fn parsed() -> Message {
    parse(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nCookie:\tc\r\nX-B: 2 \r\nX-Envoy-A: 3\r\nX-A: 4\r\nDate: 5\r\n\r\n")
}

fn parse(text: &[u8]) -> Message {
    let mut message = Message::new(vec![0; 1024].into());
    message.space()[..text.len()].copy_from_slice(text);
    message.filled(text.len());
    assert_eq!(message.parse_request(), Ok(true));
    message
}

fn list(head: &Head) -> Fields {
    head.fields().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
}

#[test]
fn lines_that_came_and_lines_that_were_added_are_told_apart_even_at_the_same_place() {
    let mut message = parse(b"GET / HTTP/1.1\r\nHost: a\r\nX-C: 3\r\n\r\n");
    let after_host = "GET / HTTP/1.1\r\nHost: a\r\n".len();
    message.head_mut().retain(|field| field.name == b"host");
    // A line that is removed again takes as many bytes of what was added as there are before this one.
    message.head_mut().append(b"x-a", &vec![b'a'; after_host - b"x-a: \r\n".len()]);
    message.head_mut().remove(b"x-a");
    message.head_mut().append(b"x-b", b"2");
    let mut written = Vec::new();
    message.head().write_fields(&mut written);
    assert_eq!(written, b"host: a\r\nx-b: 2\r\n");
}

proptest! {
    #[test]
    fn an_edited_head_is_what_the_edits_say_and_no_line_is_injected(edits in vec(edit(), 0..24)) {
        let mut message = parsed();
        let mut fields = list(message.head());
        for edit in &edits {
            apply(edit, message.head_mut());
            apply_to_list(edit, &mut fields);
            prop_assert_eq!(&list(message.head()), &fields);
        }
        // Host may be gone, as `retain` asks for its length only.
        message.head_mut().set(b"host", b"a");
        fields.retain(|field| field.0 != b"host");
        fields.push((b"host".to_vec(), b"a".to_vec()));
        let mut written = Vec::new();
        message.head().write_fields(&mut written);
        check::is_canonical(&written, &fields);
        let request = [b"GET / HTTP/1.1\r\n", &written[..], b"\r\n"].concat();
        let told = engine::read_whole(Kind::Request, &request);
        check::agrees_with_strict(Kind::Request, &request, &told);
        prop_assert_eq!(told.unwrap().unwrap().fields, fields);
    }

    #[test]
    fn an_absent_name_is_surely_absent(edits in vec(edit(), 0..24)) {
        let mut message = parsed();
        edits.iter().for_each(|edit| apply(edit, message.head_mut()));
        let head = message.head();
        for (name, _) in list(head) {
            prop_assert!(head.names().has(Name::of(&name)));
            prop_assert!(head.value(&name).is_some() && head.values_of(Name::of(&name)).count() >= head.values(&name).count());
        }
    }
}
