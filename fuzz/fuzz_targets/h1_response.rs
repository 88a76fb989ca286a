//! Responses, to HEAD and to other requests: it does not matter in what pieces they come, what is accepted is the same
//! message when it is written out again, and it never has two lengths.

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

use engine::{Kind, Plan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for to_head in [false, true] {
        check::everything(Kind::Response { to_head }, bytes, &Plan::several(bytes), 5);
    }
});
