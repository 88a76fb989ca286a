//! Whatever is written as a header's name and value, and whatever a request puts into its commands: what comes out is one
//! header value without a byte that could end it.

#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use config_model::model::{Command, Format, HeaderAddition, HeaderMutation};
use http::HeaderValue;
use http1::Head;
use libfuzzer_sys::fuzz_target;
use routing::headers::{Mutation, Template, Values, apply};

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    format: &'a str,
    name: &'a str,
    remove: &'a str,
    /// What every command yields.
    value: &'a [u8],
    present: Option<&'a [u8]>,
}

struct Anything<'a>(&'a [u8]);

impl Values for Anything<'_> {
    fn command(&self, _: &Command, _: &Head, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

fuzz_target!(|input: Input<'_>| {
    let doubled = Format::parse(&input.format.replace('%', "%%")).expect("doubled percent signs are text");
    assert_eq!(doubled.literal(), Some(input.format));
    let format = match Format::parse(input.format) {
        Ok(format) => format,
        Err(error) => return assert!(input.format.is_char_boundary(error.offset) && !error.message.is_empty()),
    };
    assert_eq!(format.as_str(), input.format);
    check_value(Template::compile(&format).value(&Head::default(), &Anything(input.value)).as_bytes());
    check_mutation(&input, format);
});

fn check_value(value: &[u8]) {
    assert!(value.iter().all(|&byte| byte == b'\t' || byte >= b' ' && byte != 0x7f));
}

/// A mutation changes the fields that it names and no other.
fn check_mutation(input: &Input<'_>, value: Format) {
    let name: Arc<str> = input.name.to_ascii_lowercase().into();
    let remove: Arc<str> = input.remove.to_ascii_lowercase().into();
    let addition = HeaderAddition { name: Arc::clone(&name), value };
    let mutation =
        HeaderMutation { remove: vec![Arc::clone(&remove)], set: vec![addition.clone()], add: vec![addition] };
    let mut head = Head::default();
    if let Some(present) = input.present.and_then(|bytes| HeaderValue::from_bytes(bytes).ok()) {
        head.append(b"x-present", present.as_bytes());
        head.append(b"x-other", present.as_bytes());
    }
    let fields = |head: &Head| -> Vec<(Vec<u8>, Vec<u8>)> {
        head.fields().map(|field| (field.name.to_vec(), field.value.to_vec())).collect()
    };
    let before = fields(&head);
    apply(&[&Mutation::compile(&mutation)], &mut head, &Anything(input.value));
    let after = fields(&head);
    after.iter().for_each(|(_, value)| check_value(value));
    let named = |field: &[u8]| field == name.as_bytes();
    for field in &before {
        assert!(named(&field.0) || field.0 == remove.as_bytes() || after.contains(field));
    }
    assert!(after.iter().all(|field| named(&field.0) || before.contains(field)));
    assert!(after.iter().filter(|field| named(&field.0)).count() <= 2);
}
