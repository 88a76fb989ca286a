//! Heads of requests: each refusal with its status, and every form that looks odd and is taken.

use http1::{FIELDS_MAX, Framing, HEAD_BYTES_MAX, Refusal, Version};

use crate::check;
use crate::engine::{self, Fault, Kind, Outcome, Plan, Read};

/// What the engine says, in whatever pieces it comes, and the strict reader agrees.
fn told(bytes: &[u8]) -> Outcome {
    let plans = [Plan::bytewise(), Plan::split_at(bytes.len() / 2)];
    let told = check::splits_tell_the_same(Kind::Request, bytes, &plans);
    check::agrees_with_strict(Kind::Request, bytes, &told);
    told
}

fn accepted(bytes: &[u8]) -> Read {
    match told(bytes) {
        Ok(Some(read)) => read,
        other => panic!("{:?}: {other:?}", bytes.escape_ascii().to_string()),
    }
}

/// A request with these fields beside Host.
fn with_fields(fields: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: a.example\r\n", fields, b"\r\n"].concat()
}

fn refused_with(bytes: &[u8], refusal: Refusal) {
    let shown = bytes.iter().take(120).copied().collect::<Vec<_>>().escape_ascii().to_string();
    assert_eq!(told(bytes).map(|read| read.is_some()), Err(Fault::Request(refusal)), "{shown}");
}

#[test]
fn a_refusal_has_the_status_that_is_promised() {
    let table = [
        (Refusal::RequestLine, 400),
        (Refusal::Target, 400),
        (Refusal::Field, 400),
        (Refusal::Host, 400),
        (Refusal::Framing, 400),
        (Refusal::Coding, 501),
        (Refusal::Version, 505),
        (Refusal::TargetTooLong, 414),
        (Refusal::TooLarge, 431),
    ];
    for (refusal, status) in table {
        assert_eq!(refusal.status(), status, "{refusal}");
    }
}

#[test]
fn a_malformed_request_line_is_refused() {
    let table: [(&[u8], Refusal); 41] = [
        (b"\n", Refusal::RequestLine),
        (b"\r\n\r\nGET / HTTP/1.1", Refusal::RequestLine),
        (b"\n\r\nGET / HTTP/1.1", Refusal::RequestLine),
        (b"\r\nGET / HTTP/1.1\nHost: a", Refusal::RequestLine),
        (b"GET / HTTP/1.1\n", Refusal::RequestLine),
        (b"GET /", Refusal::RequestLine),
        (b"GET", Refusal::RequestLine),
        (b"GET ", Refusal::RequestLine),
        (b" GET / HTTP/1.1", Refusal::RequestLine),
        (b"GET  / HTTP/1.1", Refusal::RequestLine),
        (b"GET /  HTTP/1.1", Refusal::RequestLine),
        (b"GET / HTTP/1.1 ", Refusal::RequestLine),
        (b"GET / x HTTP/1.1", Refusal::RequestLine),
        (b"GET\t/ HTTP/1.1", Refusal::RequestLine),
        (b"GE(T / HTTP/1.1", Refusal::RequestLine),
        (b"G\0T / HTTP/1.1", Refusal::RequestLine),
        (b"G\xc3\x8bT / HTTP/1.1", Refusal::RequestLine),
        (b"GET / http/1.1", Refusal::RequestLine),
        (b"GET / HTTP/1", Refusal::RequestLine),
        (b"GET / HTTP/1.", Refusal::RequestLine),
        (b"GET / HTTP/11", Refusal::RequestLine),
        (b"GET / HTTP/1.10", Refusal::RequestLine),
        (b"GET / HTTP/01.1", Refusal::RequestLine),
        (b"GET / HTTP/+1.1", Refusal::RequestLine),
        (b"GET / HTTP/1.x", Refusal::RequestLine),
        (b"GET / HTTPS/1.1", Refusal::RequestLine),
        (b"GET / HTTP/1.1\r", Refusal::RequestLine),
        (b"HTTP/1.1 200 OK", Refusal::RequestLine),
        (b"HTTP/1.1 / HTTP/1.1", Refusal::RequestLine),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc", Refusal::RequestLine),
        (b"GET /\x01 HTTP/1.1", Refusal::Target),
        (b"GET /\0 HTTP/1.1", Refusal::Target),
        (b"GET /\t HTTP/1.1", Refusal::Target),
        (b"GET /\r HTTP/1.1", Refusal::Target),
        (b"GET /\x7f HTTP/1.1", Refusal::Target),
        (b"GET /\xff HTTP/1.1", Refusal::Target),
        (b"GET /a#b HTTP/1.1", Refusal::Target),
        (b"GET / HTTP/1.2", Refusal::Version),
        (b"GET / HTTP/2.0", Refusal::Version),
        (b"GET / HTTP/0.9", Refusal::Version),
        (b"PRI * HTTP/2.0\r\n\r\nSM", Refusal::Version),
    ];
    for (line, refusal) in table {
        refused_with(&[line, b"\r\nHost: a.example\r\n\r\n"].concat(), refusal);
    }
}

#[test]
fn a_line_that_is_no_field_is_refused() {
    let table: [&[u8]; 24] = [
        b"justtext\r\n",
        b": empty name\r\n",
        b"X : blank before the colon\r\n",
        b"X\t: tab before the colon\r\n",
        b" X: blank before the name\r\n",
        b"X: folded\r\n line\r\n",
        b"X: folded\r\n\tline\r\n",
        b"X:\r\n folded before its value\r\n",
        b" \r\n",
        b"X: bare line feed\nY: b\r\n",
        b"X: bare return\rY: b\r\n",
        b"X: return before the end\r\r\n",
        b"\r\r\n",
        b"\rX: b\r\n",
        b"\nX: b\r\n",
        b"X: nul\0\r\n",
        b"X: escape\x1b\r\n",
        b"X: delete\x7f\r\n",
        b"X: \x0bvertical tab\r\n",
        b"X\0: nul\r\n",
        b"X\xe9: obs-text\r\n",
        b"X(Y): b\r\n",
        b"X;Y: b\r\n",
        b"\"X\": b\r\n",
    ];
    for fields in table {
        refused_with(&with_fields(fields), Refusal::Field);
    }
    refused_with(b"GET / HTTP/1.1\r\n Host: a.example\r\nHost: a.example\r\n\r\n", Refusal::Field);
    refused_with(b"GET / HTTP/1.1\r\nHost: a.example\r\n\n", Refusal::Field);
}

#[test]
fn a_bare_carriage_return_stands_nowhere() {
    let request = with_fields(b"X-A: b\r\n");
    for at in 0..=request.len() - 4 {
        let mut with_return = request.clone();
        with_return.insert(at, b'\r');
        assert!(matches!(told(&with_return), Err(Fault::Request(_))), "at {at}");
    }
}

#[test]
fn there_is_exactly_one_host() {
    for fields in
        [&b""[..], b"Hosts: a\r\n", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhOST: b\r\n", b"Host:\r\nHost: a\r\n"]
    {
        refused_with(&[b"GET / HTTP/1.1\r\n", fields, b"\r\n"].concat(), Refusal::Host);
    }
    refused_with(b"GET http://a.example/ HTTP/1.1\r\n\r\n", Refusal::Host);
    refused_with(b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::Host);
    assert_eq!(accepted(b"GET / HTTP/1.0\r\n\r\n").version, Version::Http10);
}

#[test]
fn a_length_is_one_field_of_one_to_eighteen_digits() {
    let table: [&[u8]; 15] = [
        b"",
        b" ",
        b"+5",
        b"-1",
        b"0x5",
        b"5 6",
        b"5, 5",
        b"5,5",
        b"5,",
        b"5;",
        b"5.0",
        b"\"5\"",
        b"1234567890123456789",
        b"18446744073709551621",
        b"\xb2",
    ];
    for value in table {
        refused_with(&with_fields(&[b"Content-Length: ", value, b"\r\n"].concat()), Refusal::Framing);
    }
    refused_with(&with_fields(b"Content-Length: 5\r\nContent-Length: 6\r\n"), Refusal::Framing);
    refused_with(&with_fields(b"Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n"), Refusal::Framing);
    for (digits, length) in [("0", 0), ("5", 5), ("007", 7), ("999999999999999999", 999_999_999_999_999_999)] {
        let read = accepted(&with_fields(format!("Content-Length: \t{digits}\t \r\n").as_bytes()));
        assert_eq!(read.framing, Framing::Length(length));
    }
}

#[test]
fn a_coding_is_chunked_once_and_alone() {
    let table: [(&[u8], Refusal); 17] = [
        (b"Transfer-Encoding:\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked, chunked\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked, identity\r\n", Refusal::Framing),
        (b"Transfer-Encoding: gzip, chunked\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked,\r\n", Refusal::Framing),
        (b"Transfer-Encoding: ,chunked\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", Refusal::Framing),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Refusal::Framing),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", Refusal::Framing),
        (b"Transfer-Encoding: cow\r\nContent-Length: 5\r\n", Refusal::Framing),
        (b"Transfer-Encoding: cow\r\n", Refusal::Coding),
        (b"Transfer-Encoding: identity\r\n", Refusal::Coding),
        (b"Transfer-Encoding: xchunked\r\n", Refusal::Coding),
        (b"Transfer-Encoding: \"chunked\"\r\n", Refusal::Coding),
        (b"Transfer-Encoding: chunked;q=1\r\n", Refusal::Coding),
    ];
    for (fields, refusal) in table {
        refused_with(&with_fields(fields), refusal);
    }
    for value in ["chunked", "Chunked", "CHUNKED", "\tchunked \t"] {
        let read = accepted(&with_fields(format!("TRANSFER-encoding:{value}\r\n").as_bytes()));
        assert_eq!(read.framing, Framing::Chunked, "{value}");
    }
    assert_eq!(
        accepted(&with_fields(b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n")).framing,
        Framing::Length(5)
    );
}

#[test]
fn http_1_0_knows_no_coding() {
    for value in ["chunked", "cow", "gzip, chunked", ""] {
        let request = format!("POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: {value}\r\n\r\n");
        refused_with(request.as_bytes(), Refusal::Framing);
    }
    assert_eq!(accepted(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nok").body, b"ok");
}

#[test]
fn what_looks_odd_and_means_one_thing_only_is_taken() {
    let table: [(&[u8], &[u8], &[u8]); 11] = [
        (b"GET / HTTP/1.1", b"GET", b"/"),
        (b"\r\nGET / HTTP/1.1", b"GET", b"/"),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS", b"*"),
        (b"GET http://b.example:80/a?b HTTP/1.1", b"GET", b"http://b.example:80/a?b"),
        (b"CONNECT a.example:443 HTTP/1.1", b"CONNECT", b"a.example:443"),
        (b"get / HTTP/1.1", b"get", b"/"),
        (b"!#$%&'*+-.^_`|~1 / HTTP/1.1", b"!#$%&'*+-.^_`|~1", b"/"),
        (b"GET //a//..//%2f%00?=&=? HTTP/1.1", b"GET", b"//a//..//%2f%00?=&=?"),
        (b"GET /\"<>[\\]^`{|}~ HTTP/1.1", b"GET", b"/\"<>[\\]^`{|}~"),
        (b"GET / HTTP/1.0", b"GET", b"/"),
        (b"PRI * HTTP/1.1", b"PRI", b"*"),
    ];
    for (line, method, target) in table {
        let bytes = [line, b"\r\nHost: a.example\r\n\r\n"].concat();
        let read = accepted(&bytes);
        assert_eq!((&read.start.0[..], &read.start.1[..]), (method, target));
        assert_eq!((read.framing, read.consumed), (Framing::None, bytes.len()));
    }
}

#[test]
fn a_field_is_read_with_any_blanks_around_its_value_and_written_with_one() {
    let table: [(&[u8], &[u8], &[u8]); 16] = [
        (b"X-A: b\r\n", b"b", b"x-a: b\r\n"),
        (b"X-A:b\r\n", b"b", b"x-a: b\r\n"),
        (b"X-A:\tb\r\n", b"b", b"x-a: b\r\n"),
        (b"X-A: \tb\r\n", b"b", b"x-a: b\r\n"),
        (b"X-A:  b\r\n", b"b", b"x-a: b\r\n"),
        (b"X-A: b \r\n", b"b", b"x-a: b\r\n"),
        (b"X-A: b\t\r\n", b"b", b"x-a: b\r\n"),
        (b"X-A: b c\td\r\n", b"b c\td", b"x-a: b c\td\r\n"),
        (b"X-A:\r\n", b"", b"x-a: \r\n"),
        (b"X-A: \r\n", b"", b"x-a: \r\n"),
        (b"X-A:\t\r\n", b"", b"x-a: \r\n"),
        (b"X-A: \t \r\n", b"", b"x-a: \r\n"),
        (b"X-A: :b:\r\n", b":b:", b"x-a: :b:\r\n"),
        (b"X-A: \x80\xff\xc3\xa9\r\n", b"\x80\xff\xc3\xa9", b"x-a: \x80\xff\xc3\xa9\r\n"),
        (b"x-a: \xa0\r\n", b"\xa0", b"x-a: \xa0\r\n"),
        (b"x-A: =?\"(,)/\r\n", b"=?\"(,)/", b"x-a: =?\"(,)/\r\n"),
    ];
    for (line, value, written) in table {
        let read = accepted(&with_fields(line));
        assert_eq!(read.fields[1], (b"x-a".to_vec(), value.to_vec()), "{:?}", line.escape_ascii().to_string());
        assert_eq!(read.written, [b"host: a.example\r\n", written].concat());
    }
}

#[test]
fn a_name_may_be_any_token_and_is_told_in_lower_case() {
    let read = accepted(&with_fields(b"!#$%&'*+-.^_`|~AZ09: b\r\nX: c\r\n"));
    assert_eq!(read.fields[1].0, b"!#$%&'*+-.^_`|~az09");
    assert_eq!(read.written, b"host: a.example\r\n!#$%&'*+-.^_`|~az09: b\r\nx: c\r\n");
}

#[test]
fn a_hundred_fields_are_taken_and_one_more_is_not() {
    let fields = |count: usize| with_fields("X: y\r\n".repeat(count - 1).as_bytes());
    assert_eq!(accepted(&fields(FIELDS_MAX)).fields.len(), 100);
    refused_with(&fields(FIELDS_MAX + 1), Refusal::TooLarge);
    refused_with(&fields(10_000), Refusal::TooLarge);
}

#[test]
fn a_head_of_60_kib_is_taken_and_one_byte_more_is_not() {
    let head = |length: usize| {
        let around = with_fields(b"X: \r\n").len();
        with_fields(&[b"X: ", &vec![b'a'; length - around][..], b"\r\n"].concat())
    };
    assert_eq!(accepted(&head(HEAD_BYTES_MAX)).consumed, 60 * 1024);
    refused_with(&head(HEAD_BYTES_MAX + 1), Refusal::TooLarge);
    refused_with(&head(100_000), Refusal::TooLarge);
    let body = [&head(HEAD_BYTES_MAX)[..], &[b'x'; 70_000]].concat();
    assert_eq!(accepted(&body).consumed, HEAD_BYTES_MAX);
}

#[test]
fn a_target_alone_over_the_limit_is_told_apart() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: a.example\r\n\r\n", "a".repeat(length)).into_bytes();
    refused_with(&line(100_000), Refusal::TargetTooLong);
    refused_with(&line(HEAD_BYTES_MAX), Refusal::TargetTooLong);
    refused_with(&line(HEAD_BYTES_MAX - 34), Refusal::TooLarge);
    assert_eq!(accepted(&line(HEAD_BYTES_MAX - 35)).start.1.len(), HEAD_BYTES_MAX - 34);
}

#[test]
fn what_is_wrong_behind_the_limit_does_not_change_the_refusal() {
    let long = "a".repeat(HEAD_BYTES_MAX);
    refused_with(&with_fields(format!("X: {long}\0\r\n").as_bytes()), Refusal::TooLarge);
    refused_with(format!("GET /{long} HTTP/3.0\r\n\r\n").as_bytes(), Refusal::TargetTooLong);
    refused_with(format!("GET {} HTTP/1.1\r\n\r\n", "a".repeat(HEAD_BYTES_MAX - 4)).as_bytes(), Refusal::TargetTooLong);
}

#[test]
fn more_bytes_are_needed_until_the_empty_line_has_come() {
    let request = with_fields(b"X-A: b\r\n");
    for length in 0..request.len() {
        assert_eq!(told(&request[..length]), Ok(None), "{length}");
    }
    // Nothing is said of a line that hasn't ended.
    for begun in [&b"GET  "[..], b"\0", b"GET / HTTP/1.1\r\nX : ", b"GET / HTTP/1.1\r\n\r"] {
        assert_eq!(told(begun), Ok(None));
    }
}

#[test]
fn what_follows_a_request_is_left_over() {
    let first = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc";
    let bytes = [&first[..], b"GET /b HTTP/1.1\r\n"].concat();
    let read = accepted(&bytes);
    assert_eq!((&read.body[..], read.consumed), (&b"abc"[..], first.len()));
    assert_eq!(engine::read_whole(Kind::Request, &bytes[read.consumed..]), Ok(None));
}
