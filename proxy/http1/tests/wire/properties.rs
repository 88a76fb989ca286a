//! Properties of any bytes, made from a grammar with faults in it and then damaged.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::check;
use crate::engine::{Kind, Plan};

type Bytes = &'static [u8];

/// One of `sound`, or rarely one of `odd`.
fn mostly(sound: Vec<Bytes>, odd: Vec<Bytes>) -> impl Strategy<Value = Bytes> {
    prop_oneof![12 => select(sound), 1 => select(odd)]
}

fn line_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![40 => Just(&b"\r\n"[..]), 1 => select(vec![&b"\n"[..], b"\r", b"\r\r\n", b"\r\n ", b"\0\r\n", b""])]
}

fn request_line() -> impl Strategy<Value = Vec<Bytes>> {
    (
        mostly(vec![b""], vec![b"\r\n", b"\n", b"\r\n\r\n", b" "]),
        mostly(vec![b"GET", b"POST", b"HEAD", b"get"], vec![b"G(T", b"", b"!#$%"]),
        mostly(vec![b" "], vec![b"  ", b"\t", b""]),
        mostly(vec![b"/", b"/a?b", b"*", b"http://a/", b"/%00"], vec![b"", b"/a b", b"/#", b"/\xe9", b"/\x7f"]),
        mostly(vec![b" HTTP/1.1"], vec![b" HTTP/1.0", b" HTTP/2.0", b" http/1.1", b"", b" HTTP/1.1 "]),
    )
        .prop_map(|(before, method, blank, target, version)| vec![before, method, blank, target, version])
}

fn status_line() -> impl Strategy<Value = Vec<Bytes>> {
    (
        mostly(vec![b"HTTP/1.1 ", b"HTTP/1.0 "], vec![b"HTTP/2 ", b"\r\nHTTP/1.1 ", b"HTTP/1.1", b"ICY "]),
        mostly(vec![b"200", b"204", b"304", b"100", b"404", b"999"], vec![b"2x0", b"099", b"20", b"2000", b""]),
        mostly(vec![b" OK", b" ", b"", b" a b", b" \xff"], vec![b"OK", b" \0", b"\t"]),
    )
        .prop_map(|(version, status, reason)| vec![version, status, reason])
}

fn field() -> impl Strategy<Value = Vec<Bytes>> {
    let names = vec![&b"X-A"[..], b"x-b", b"Cookie", b"Connection", b"Host", b"Content-Length", b"Transfer-Encoding"];
    (
        mostly(names, vec![b"", b" X", b"X ", b"X\0", b"\xe9"]),
        mostly(vec![b":", b": ", b":\t", b":  "], vec![b"", b" :", b"::"]),
        mostly(
            vec![b"a", b"3", b"chunked", b"", b"b c", b"\xff"],
            vec![b"3, 3", b"+3", b"a\rb", b"gzip, chunked", b"a\x01"],
        ),
        mostly(vec![b""], vec![b" ", b"\t", b" \t "]),
    )
        .prop_map(|(name, colon, value, after)| vec![name, colon, value, after])
}

/// Fields that make a whole message likely.
fn sound_fields(is_request: bool) -> impl Strategy<Value = Vec<Vec<Bytes>>> {
    let host = if is_request { vec![&b"Host: a"[..]] } else { vec![] };
    let length =
        select(vec![&b""[..], b"Content-Length: 3", b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED"]);
    length.prop_map(move |length| {
        let lines = host.iter().copied().chain(Some(length)).filter(|line| !line.is_empty());
        lines.map(|line| vec![line]).collect()
    })
}

fn body() -> impl Strategy<Value = Vec<Bytes>> {
    let chunks = vec![
        &b"3\r\nabc\r\n"[..],
        b"0\r\n\r\n",
        b"0\r\n",
        b"A;x=y\r\n0123456789\r\n",
        b"X-T: 1\r\n",
        b"x-t:2 \r\n\r\n",
    ];
    let odd = vec![
        &b"abc"[..],
        b"\r\n",
        b"0x3\r\n",
        b"3 \r\n",
        b"3\nabc\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"X : 1\r\n",
    ];
    prop_oneof![
        vec(mostly(chunks, odd), 0..6),
        Just(vec![&b"3\r\nabc\r\n"[..], b"10\r\n0123456789abcdef\r\n", b"0\r\n", b"X-T:\t1\r\n", b"\r\n", b"GET /"]),
    ]
}

fn message(is_request: bool) -> impl Strategy<Value = Vec<u8>> {
    let start = if is_request { request_line().boxed() } else { status_line().boxed() };
    let fields = (sound_fields(is_request), prop_oneof![2 => Just(vec![]), 1 => vec(field(), 0..4)]);
    let ends = vec(line_end(), 16);
    (start, fields, ends, body(), damage()).prop_map(|(start, (sound, fields), ends, body, damage)| {
        let mut bytes = Vec::new();
        let lines = [vec![start], fields, sound, vec![vec![]]].concat();
        for (line, end) in lines.iter().zip(ends) {
            bytes.extend_from_slice(&line.concat());
            bytes.extend_from_slice(end);
        }
        bytes.extend_from_slice(&body.concat());
        damage.iter().for_each(|(at, byte, how)| spoil(&mut bytes, *at, *byte, *how));
        bytes
    })
}

fn damage() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    let byte = prop_oneof![any::<u8>(), select(&b"\r\n \t:;,0\0"[..])];
    prop_oneof![3 => Just(vec![]), 1 => vec((any::<Index>(), byte, 0..4u8), 1..3)]
}

fn spoil(bytes: &mut Vec<u8>, at: Index, byte: u8, how: u8) {
    let at = at.index(bytes.len() + 1);
    match how {
        0 => bytes.insert(at, byte),
        1 => bytes.truncate(at),
        2 if at < bytes.len() => drop(bytes.remove(at)),
        _ if at < bytes.len() => bytes[at] = byte,
        _ => {}
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    (vec(1usize..40, 1..5), 1usize..80, 1usize..40).prop_map(|(reads, buffer, block)| Plan { reads, buffer, block })
}

fn several(bytes: &[u8], plan: Plan) -> Vec<Plan> {
    Plan::several(bytes).into_iter().chain(Some(plan)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_request_is_the_same_however_it_comes_and_to_the_strict_reader_and_written_again(
        bytes in message(true),
        plan in plan(),
        chunk in 1usize..20,
    ) {
        check::everything(Kind::Request, &bytes, &several(&bytes, plan), chunk);
    }

    #[test]
    fn a_response_is_the_same_however_it_comes_and_to_the_strict_reader_and_written_again(
        bytes in message(false),
        to_head: bool,
        plan in plan(),
        chunk in 1usize..20,
    ) {
        check::everything(Kind::Response { to_head }, &bytes, &several(&bytes, plan), chunk);
    }
}

#[test]
fn a_sound_request_is_split_anywhere() {
    let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nHost:a\r\nX-A:\t1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-T: 1\r\n\r\nGET /";
    let plans: Vec<Plan> = (0..=bytes.len()).map(Plan::split_at).collect();
    check::everything(Kind::Request, bytes, &plans, 2);
}
