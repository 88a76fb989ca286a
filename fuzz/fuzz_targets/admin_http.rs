//! Any bytes to the operator's interface: nothing panics, and the answer has an end.

#![no_main]

#[allow(dead_code, reason = "other targets use the rest")]
mod gateway;
#[allow(dead_code, reason = "other targets use the rest")]
#[path = "../../proxy/http1/tests/wire/strict.rs"]
mod strict;

use libfuzzer_sys::{Corpus, fuzz_target};

/// Paths that do what they are asked for: the gateway would be gone.
const ENDINGS: [&[u8]; 2] = [b"quitquitquit", b"drain_listeners"];

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if ENDINGS.iter().any(|path| bytes.windows(path.len()).any(|window| window == *path)) {
        return Corpus::Reject;
    }
    let answered = gateway::exchange(gateway::running().admin, bytes);
    assert!(answered.is_empty() || answered.starts_with(b"HTTP/1."), "{:?}", String::from_utf8_lossy(&answered));
    Corpus::Keep
});
