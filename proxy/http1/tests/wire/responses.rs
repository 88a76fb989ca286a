//! Heads of responses: how long the body is, and what is malformed.

use http1::{FIELDS_MAX, Framing, HEAD_BYTES_MAX, ResponseFault, Version};

use crate::check;
use crate::engine::{End, Fault, Kind, Outcome, Plan, Read};

fn told(bytes: &[u8], to_head: bool) -> Outcome {
    let kind = Kind::Response { to_head };
    let told = check::splits_tell_the_same(kind, bytes, &[Plan::bytewise(), Plan::split_at(bytes.len() / 2)]);
    check::agrees_with_strict(kind, bytes, &told);
    told
}

fn accepted(bytes: &[u8], to_head: bool) -> Read {
    match told(bytes, to_head) {
        Ok(Some(read)) => read,
        other => panic!("{:?}: {other:?}", bytes.escape_ascii().to_string()),
    }
}

fn refused_with(bytes: &[u8], fault: ResponseFault) {
    for to_head in [false, true] {
        let shown = bytes.iter().take(120).copied().collect::<Vec<_>>().escape_ascii().to_string();
        assert_eq!(told(bytes, to_head).map(|read| read.is_some()), Err(Fault::Response(fault)), "{shown}");
    }
}

#[test]
fn the_length_of_a_body_follows_from_method_status_and_fields() {
    const LENGTH: &str = "Content-Length: 4\r\n";
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    let table = [
        ("HTTP/1.1 200", LENGTH, Framing::Length(4), Framing::None),
        ("HTTP/1.1 200", CHUNKED, Framing::Chunked, Framing::None),
        ("HTTP/1.1 200", "", Framing::UntilClose, Framing::None),
        ("HTTP/1.1 200", "Content-Length: 0\r\n", Framing::Length(0), Framing::None),
        ("HTTP/1.0 200", LENGTH, Framing::Length(4), Framing::None),
        ("HTTP/1.0 200", "", Framing::UntilClose, Framing::None),
        ("HTTP/1.1 204", LENGTH, Framing::None, Framing::None),
        ("HTTP/1.1 204", CHUNKED, Framing::None, Framing::None),
        ("HTTP/1.1 204", "", Framing::None, Framing::None),
        ("HTTP/1.1 205", LENGTH, Framing::Length(4), Framing::None),
        ("HTTP/1.1 304", LENGTH, Framing::None, Framing::None),
        ("HTTP/1.1 304", CHUNKED, Framing::None, Framing::None),
        ("HTTP/1.1 304", "", Framing::None, Framing::None),
        ("HTTP/1.1 100", LENGTH, Framing::None, Framing::None),
        ("HTTP/1.1 101", "", Framing::None, Framing::None),
        ("HTTP/1.1 199", CHUNKED, Framing::None, Framing::None),
        ("HTTP/1.1 500", "", Framing::UntilClose, Framing::None),
        ("HTTP/1.1 999", LENGTH, Framing::Length(4), Framing::None),
    ];
    for (line, fields, framing, to_head) in table {
        let bytes = format!("{line} Reason\r\n{fields}\r\n");
        assert_eq!(accepted(bytes.as_bytes(), false).framing, framing, "{line} {fields}");
        assert_eq!(accepted(bytes.as_bytes(), true).framing, to_head, "HEAD: {line} {fields}");
    }
}

#[test]
fn a_length_stays_where_it_says_something_and_goes_where_it_may_not_stand() {
    let table = [("200", true), ("304", true), ("204", false), ("100", false), ("101", false)];
    for (status, stays) in table {
        for field in ["content-length: 4\r\n", "transfer-encoding: chunked\r\n"] {
            let bytes = format!("HTTP/1.1 {status} \r\nX-A: 1\r\n{field}X-B: 2\r\n\r\n");
            let written = accepted(bytes.as_bytes(), true).written;
            let kept = if stays { field } else { "" };
            assert_eq!(String::from_utf8_lossy(&written), format!("x-a: 1\r\n{kept}x-b: 2\r\n"), "{status}");
        }
    }
}

#[test]
fn a_length_in_doubt_is_a_fault_even_without_a_body() {
    for status in [200, 204, 304, 100] {
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 4\r\nContent-Length: 6\r\n",
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "Content-Length: 4, 4\r\n",
            "Content-Length: -4\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: cow\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            refused_with(format!("HTTP/1.1 {status} OK\r\n{fields}\r\n").as_bytes(), ResponseFault::Framing);
        }
    }
    refused_with(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ResponseFault::Framing);
}

#[test]
fn a_malformed_status_line_is_a_fault() {
    let table: [&[u8]; 26] = [
        b"",
        b"SSH-2.0-OpenSSH",
        b"HTTP/1.1",
        b"HTTP/1.1 ",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 2x0 OK",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 000 OK",
        b"HTTP/1.1 +20 OK",
        b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK",
        b"HTTP/1.1 200\tOK",
        b"HTTP/1.1 200OK",
        b" HTTP/1.1 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.2 200 OK",
        b"HTTP/2.0 200 OK",
        b"HTTP/0.9 200 OK",
        b"HTTP/1.10 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 200 O\0K",
        b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 OK\r",
        b"HTTP/1.1 200 \x1b[2J",
        b"\r\nHTTP/1.1 200 OK",
    ];
    for line in table {
        refused_with(&[line, b"\r\nContent-Length: 0\r\n\r\n"].concat(), ResponseFault::StatusLine);
    }
    refused_with(b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", ResponseFault::StatusLine);
}

#[test]
fn a_reason_is_any_text_and_may_be_missing_with_its_blank() {
    let table: [(&[u8], &[u8]); 7] = [
        (b"HTTP/1.1 200", b""),
        (b"HTTP/1.1 200 ", b""),
        (b"HTTP/1.1 200 OK", b"OK"),
        (b"HTTP/1.1 200  OK ", b" OK "),
        (b"HTTP/1.1 200 Not\tFound", b"Not\tFound"),
        (b"HTTP/1.1 200 \xc3\x9cber\xff", b"\xc3\x9cber\xff"),
        (b"HTTP/1.0 200 200 HTTP/1.1", b"200 HTTP/1.1"),
    ];
    for (line, reason) in table {
        let read = accepted(&[line, b"\r\nContent-Length: 0\r\n\r\n"].concat(), false);
        assert_eq!((&read.start.0[..], &read.start.1[..]), (&b"200"[..], reason));
        assert_eq!(read.version == Version::Http10, line.starts_with(b"HTTP/1.0"));
    }
}

#[test]
fn a_malformed_field_is_a_fault() {
    for line in ["X", ": b", "X : b", " X: b", "X: a\r\n b", "X: a\0", "X: a\nY: b", "X: a\rY: b"] {
        refused_with(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n").as_bytes(), ResponseFault::Field);
    }
    refused_with(b"HTTP/1.1 200 OK\r\n\n", ResponseFault::Field);
}

#[test]
fn the_limits_are_those_of_a_request() {
    let fields = |count: usize| format!("HTTP/1.1 204 \r\n{}\r\n", "X: y\r\n".repeat(count)).into_bytes();
    assert_eq!(accepted(&fields(FIELDS_MAX), false).fields.len(), 100);
    refused_with(&fields(FIELDS_MAX + 1), ResponseFault::TooLarge);
    let head = |length: usize| format!("HTTP/1.1 204 \r\nX: {}\r\n\r\n", "a".repeat(length - 22)).into_bytes();
    assert_eq!(accepted(&head(HEAD_BYTES_MAX), false).consumed, HEAD_BYTES_MAX);
    refused_with(&head(HEAD_BYTES_MAX + 1), ResponseFault::TooLarge);
    refused_with(format!("HTTP/1.1 200 {}", "a".repeat(HEAD_BYTES_MAX)).as_bytes(), ResponseFault::TooLarge);
    refused_with(format!("HTTP/1.1 200 {}\0\r\n\r\n", "a".repeat(HEAD_BYTES_MAX)).as_bytes(), ResponseFault::TooLarge);
    refused_with(
        format!("HTTP/1.1 200 \r\nX: {}\0\r\n", "a".repeat(HEAD_BYTES_MAX)).as_bytes(),
        ResponseFault::TooLarge,
    );
}

#[test]
fn what_follows_a_response_without_a_body_is_left_over() {
    for (status, to_head) in [(204, false), (304, false), (200, true)] {
        let head = format!("HTTP/1.1 {status} \r\nContent-Length: 4\r\n\r\n");
        let read = accepted(format!("{head}EVIL").as_bytes(), to_head);
        assert_eq!((read.end, read.consumed, read.body), (End::Complete, head.len(), Vec::new()));
    }
}
