//! The engine beside two other readers of HTTP/1.1. The strict one, written from RFC 9112 alone, says the same of any bytes,
//! pipelined messages included. hyper's reader accepts every head that the engine accepts, and finds the same in it.
//!
//! Bytes that begin like a response are read as one, and all others as requests.

#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../proxy/http1/tests/wire/check.rs"]
mod check;
#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../proxy/http1/tests/wire/engine.rs"]
mod engine;
#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../proxy/http1/tests/wire/strict.rs"]
mod strict;

use engine::{End, Fields, Kind, Read, Start};
use http1::Version;
use httparse::{EMPTY_HEADER, Header, Status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(b"HTTP/") {
        compare(Kind::Response { to_head: false }, bytes);
        compare(Kind::Response { to_head: true }, bytes);
    } else {
        compare(Kind::Request, bytes);
    }
});

fn compare(kind: Kind, mut bytes: &[u8]) {
    loop {
        let told = engine::read_whole(kind, bytes);
        check::agrees_with_strict(kind, bytes, &told);
        let Ok(Some(read)) = told else { return };
        agrees_with_hyper(kind, bytes, &read);
        if read.end != End::Complete || read.consumed == bytes.len() {
            return;
        }
        bytes = &bytes[read.consumed..];
    }
}

fn agrees_with_hyper(kind: Kind, bytes: &[u8], read: &Read) {
    let mut headers = [EMPTY_HEADER; http1::FIELDS_MAX];
    let (end, start, minor, fields) = match kind {
        Kind::Request => request(bytes, &mut headers),
        Kind::Response { .. } => response(bytes, &mut headers),
    }
    .expect("hyper refuses what is accepted");
    assert!(read.end != End::Complete || end + read.body.len() <= read.consumed);
    assert_eq!((minor == 1, start), (read.version == Version::Http11, comparable(&read.start)));
    let dropped = |name: &[u8]| name == b"content-length" || name == b"transfer-encoding";
    let fields: Fields = match &read.start.0[..] {
        // They have no length, so the engine drops the fields that say one.
        status if kind != Kind::Request && (status.starts_with(b"1") || status == b"204") => {
            fields.into_iter().filter(|(name, _)| !dropped(name)).collect()
        }
        _ => fields,
    };
    assert_eq!(fields, read.fields);
}

/// hyper's reader tells a reason only if it is ASCII.
fn comparable(start: &Start) -> Start {
    let (first, second) = start.clone();
    (first, if second.is_ascii() { second } else { Vec::new() })
}

/// Where the head ends, its start, its version, and its fields.
type Head = (usize, Start, u8, Fields);

fn request<'a>(bytes: &'a [u8], headers: &mut [Header<'a>]) -> Option<Head> {
    let mut request = httparse::Request::new(headers);
    let Ok(Status::Complete(end)) = request.parse(bytes) else { return None };
    Some((end, (request.method?.into(), request.path?.into()), request.version?, fields(request.headers)))
}

fn response<'a>(bytes: &'a [u8], headers: &mut [Header<'a>]) -> Option<Head> {
    let mut response = httparse::Response::new(headers);
    let Ok(Status::Complete(end)) = response.parse(bytes) else { return None };
    let start = (response.code?.to_string().into(), response.reason?.into());
    Some((end, start, response.version?, fields(response.headers)))
}

fn fields(headers: &[Header<'_>]) -> Fields {
    headers.iter().map(|header| (header.name.to_ascii_lowercase().into(), header.value.to_vec())).collect()
}
