//! Any list of fields as a request of HTTP/2, and as its trailers: it is refused, or the back end gets a message of HTTP/1.1 that
//! the reader written from RFC 9112 takes.
//!
//! The first byte of the input says whether a body follows, and behind which field the trailers begin. Then come fields, each as the
//! lengths of its name and its value, a byte each, and both.

#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
mod gateway;
#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../proxy/http1/tests/wire/strict.rs"]
mod strict;

use libfuzzer_sys::fuzz_target;

const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let (has_body, trailers_from) = (first & 1 == 1, usize::from(first >> 1));
    let mut blocks = [Vec::new(), Vec::new()];
    let mut count = 0;
    while let [name, value, more @ ..] = rest {
        let (name, more) = more.split_at(usize::from(*name).min(more.len()));
        let (value, more) = more.split_at(usize::from(*value).min(more.len()));
        literal(name, value, &mut blocks[usize::from(has_body && count >= trailers_from)]);
        (rest, count) = (more, count + 1);
    }
    let mut bytes = BEGINNING.to_vec();
    let [head, trailers] = blocks;
    if !has_body {
        frame(HEADERS, END_HEADERS | END_STREAM, &head, &mut bytes);
    } else {
        frame(HEADERS, END_HEADERS, &head, &mut bytes);
        frame(DATA, if trailers.is_empty() { END_STREAM } else { 0 }, b"body", &mut bytes);
        if !trailers.is_empty() {
            frame(HEADERS, END_HEADERS | END_STREAM, &trailers, &mut bytes);
        }
    }
    gateway::exchange(gateway::running().listener, &bytes);
});

fn frame(kind: u8, flags: u8, payload: &[u8], out: &mut Vec<u8>) {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    out.extend_from_slice(&[high, middle, low, kind, flags, 0, 0, 0, 1]);
    out.extend_from_slice(payload);
}

/// A field that is not put into the table. Source: RFC 7541, 6.2.2.
fn literal(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    for text in [name, value] {
        match text.len() {
            short @ ..=126 => out.push(short as u8),
            long => {
                // 127 and more: RFC 7541, 5.1. No text here is longer than 254.
                out.push(127);
                let rest = long - 127;
                if rest < 128 {
                    out.push(rest as u8);
                } else {
                    out.extend_from_slice(&[rest as u8 | 128, (rest >> 7) as u8]);
                }
            }
        }
        out.extend_from_slice(text);
    }
}
