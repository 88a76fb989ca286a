//! What holds for any bytes. The property tests make such bytes from a grammar, the fuzz targets from what they find.

use http1::{Framing, Version};

use crate::engine::{self, End, Kind, Outcome, Plan, Read};
use crate::strict::{self, Length, Stop};

/// It does not matter in what pieces a message comes.
pub(crate) fn splits_tell_the_same(kind: Kind, bytes: &[u8], plans: &[Plan]) -> Outcome {
    let whole = engine::read_whole(kind, bytes);
    for plan in plans {
        assert_eq!(engine::read(kind, bytes, plan), whole, "{plan:?}");
    }
    whole
}

/// What is read, and written out again, is the same message, with one length at most; and for the strict reader too.
pub(crate) fn writes_what_it_read(kind: Kind, read: &Read, chunk: usize) {
    if matches!(read.end, End::Fault(_)) {
        return;
    }
    let bytes = engine::write(kind, read, chunk);
    let again = match engine::read_whole(kind, &bytes) {
        Ok(Some(again)) => again,
        other => panic!("{other:?} of {:?}", bytes.escape_ascii().to_string()),
    };
    let consumed = if read.end == End::Complete { bytes.len() } else { 0 };
    assert_eq!(again, Read { consumed, ..read.clone() });
    has_at_most_one_length(&read.fields);
    is_canonical(&read.written, &read.fields);
    agrees_with_strict(kind, &bytes, &Ok(Some(again)));
}

fn has_at_most_one_length(fields: &engine::Fields) {
    let lengths = fields.iter().filter(|(name, _)| name == b"content-length" || name == b"transfer-encoding");
    assert!(lengths.count() <= 1);
}

/// The fields are written as lines `name: value`, and as nothing else.
pub(crate) fn is_canonical(written: &[u8], fields: &engine::Fields) {
    let lines = fields.iter().map(|(name, value)| [name, &b": "[..], value, b"\r\n"].concat());
    assert_eq!(written.escape_ascii().to_string(), lines.collect::<Vec<_>>().concat().escape_ascii().to_string());
    assert!(fields.iter().all(|(name, _)| !name.is_empty() && name.to_ascii_lowercase() == *name));
}

/// The strict reader says the same of `bytes` as the engine did.
pub(crate) fn agrees_with_strict(kind: Kind, bytes: &[u8], told: &Outcome) {
    let strict = match kind {
        Kind::Request => strict::request(bytes),
        Kind::Response { to_head } => strict::response(bytes, to_head),
    };
    match (told, &strict) {
        (Ok(Some(read)), Ok(message)) => is_same(read, message),
        (Ok(None), Err(Stop::More)) | (Err(_), Err(Stop::Refused(_))) => {}
        _ => panic!("{:?}: engine {told:?}, strict {strict:?}", bytes.escape_ascii().to_string()),
    }
}

fn is_same(read: &Read, message: &strict::Message) {
    assert_eq!(read.start, message.start);
    assert_eq!(read.version == Version::Http11, message.minor == 1);
    assert_eq!(read.fields, message.fields);
    let length = match read.framing {
        Framing::None => Length::None,
        Framing::Length(length) => Length::Bytes(length),
        Framing::Chunked => Length::Chunks,
        Framing::UntilClose => Length::UntilClose,
    };
    assert_eq!(length, message.length);
    match (read.end, message.end) {
        (End::Fault(_), Err(Stop::Refused(_))) => return,
        (End::Complete, Ok(())) => assert_eq!(read.consumed, message.consumed),
        (End::More, Err(Stop::More)) => {}
        ends => panic!("the body's ends differ: {ends:?}"),
    }
    assert_eq!((&read.body, &read.trailers), (&message.body, &message.trailers));
}

/// All of that, for a message and whatever follows it on the connection.
pub(crate) fn everything(kind: Kind, bytes: &[u8], plans: &[Plan], chunk: usize) {
    let mut rest = bytes;
    for _ in 0..8 {
        let told = splits_tell_the_same(kind, rest, plans);
        agrees_with_strict(kind, rest, &told);
        let Ok(Some(read)) = told else { return };
        writes_what_it_read(kind, &read, chunk);
        if read.end != End::Complete || read.consumed == rest.len() {
            return;
        }
        rest = &rest[read.consumed..];
    }
}
