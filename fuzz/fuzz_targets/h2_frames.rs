//! Frames of HTTP/2 in any order, against a gateway that runs: nothing panics, the connection ends once its client has said all, and
//! the back end sees only clean messages.
//!
//! A frame of the input is its kind, flags, stream and length, a byte each, then so many bytes; what is written are real frames of
//! that content. Kind 255 stands for bytes that are written as they are. The preface and empty SETTINGS go first.

#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
mod gateway;
#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../proxy/http1/tests/wire/strict.rs"]
mod strict;

use libfuzzer_sys::fuzz_target;

const BEGINNING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const RAW: u8 = 255;

fuzz_target!(|input: &[u8]| {
    let mut bytes = BEGINNING.to_vec();
    let mut rest = input;
    while let [kind, flags, stream, length, more @ ..] = rest {
        let (payload, behind) = more.split_at(usize::from(*length).min(more.len()));
        if *kind != RAW {
            bytes.extend_from_slice(&[0, 0, payload.len() as u8, *kind, *flags, 0, 0, 0, *stream]);
        }
        bytes.extend_from_slice(payload);
        rest = behind;
    }
    gateway::exchange(gateway::running().listener, &bytes);
});
