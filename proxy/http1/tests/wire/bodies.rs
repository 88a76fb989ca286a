//! Bodies in chunks: what is taken, and each shape that is not.

use http1::BodyFault;

use crate::check;
use crate::engine::{End, Kind, Plan, Read};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n";

fn told(fields: &str, body: &[u8]) -> Read {
    let bytes = [HEAD.as_bytes(), fields.as_bytes(), b"\r\n", body].concat();
    let plans = [Plan::bytewise(), Plan::split_at(bytes.len() - body.len() / 2), Plan { block: 1, ..Plan::bytewise() }];
    let told = check::splits_tell_the_same(Kind::Request, &bytes, &plans);
    check::agrees_with_strict(Kind::Request, &bytes, &told);
    told.unwrap().unwrap()
}

fn faulty_with(body: &[u8], fault: BodyFault) {
    assert_eq!(told("", body).end, End::Fault(fault), "{:?}", body.escape_ascii().to_string());
}

#[test]
fn sizes_and_extensions_are_read_as_the_rfc_has_them() {
    let table: [(&[u8], &[u8]); 14] = [
        (b"0\r\n\r\n", b""),
        (b"000\r\n\r\n", b""),
        (b"0000000000000000\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"0a\r\n\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n\r\n\r\n\r\n"),
        (b"5;x=y\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5;\r\nhello\r\n0;\r\n\r\n", b"hello"),
        (b"5; x=\"a;\\\"b\" ;\ty\r\nhello\r\n0;z\r\n\r\n", b"hello"),
        (b"5;\xff\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"1\r\n\0\r\n0\r\n\r\n", b"\0"),
    ];
    for (body, data) in table {
        let read = told("", body);
        assert_eq!((&read.body[..], read.end), (data, End::Complete), "{:?}", body.escape_ascii().to_string());
    }
}

#[test]
fn a_malformed_size_is_a_fault() {
    let table: [&[u8]; 27] = [
        b"\r\n",
        b"\n",
        b" 5\r\n",
        b"\t5\r\n",
        b"5 \r\n",
        b"5 ;x\r\n",
        b"5\t\r\n",
        b"5\n",
        b"5\r\r\n",
        b"5\rhello",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5h\r\n",
        b"g\r\n",
        b"zz\r\n",
        b"5,5\r\n",
        b"5_0\r\n",
        b"5\0\r\n",
        b"\xb2\r\n",
        b";x\r\n",
        b"10000000000000005\r\n",
        b"00000000000000000\r\n",
        b"5\r\nhello\r\n\r\n",
        b"5;a\nhello\r\n",
        b"5;a\rb\r\n",
        b"5;a\0\r\n",
    ];
    for body in table {
        faulty_with(body, BodyFault::ChunkSize);
    }
    faulty_with(b"5\r\nhello\r\n 0\r\n\r\n", BodyFault::ChunkSize);
}

#[test]
fn garbage_after_a_chunk_is_a_fault() {
    for body in [
        "5\r\nhelloXX\r\n",
        "5\r\nhello\n",
        "5\r\nhello\r0",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\r\n",
        "5\r\nhello \r\n",
    ] {
        faulty_with(body.as_bytes(), BodyFault::ChunkEnd);
    }
}

#[test]
fn extensions_have_256_bytes_in_sum() {
    let chunks = |each: usize, count: usize| {
        let chunk = format!("1;{}\r\nx\r\n", "a".repeat(each - 1));
        format!("{}0\r\n\r\n", chunk.repeat(count)).into_bytes()
    };
    for (each, count) in [(256, 1), (1, 256), (64, 4)] {
        assert_eq!(told("", &chunks(each, count)).end, End::Complete);
    }
    for (each, count) in [(257, 1), (1, 257), (64, 5), (70_000, 1)] {
        faulty_with(&chunks(each, count), BodyFault::Extensions);
    }
}

#[test]
fn a_size_of_sixteen_digits_is_awaited_and_not_allocated() {
    let read = told("", b"ffffffffffffffff\r\nhello");
    assert_eq!((&read.body[..], read.end), (&b"hello"[..], End::More));
}

#[test]
fn trailers_are_told_apart_from_the_head() {
    let read = told("X-A: 1\r\n", b"0\r\nX-A: 2\r\nX-B:\t 3 \r\nX-C:\r\n\r\n");
    let trailers = [("x-a", "2"), ("x-b", "3"), ("x-c", "")].map(|(name, value)| (name.into(), value.into()));
    assert_eq!(read.trailers, trailers);
    assert_eq!(read.fields.last(), Some(&(b"x-a".to_vec(), b"1".to_vec())));
    assert_eq!(read.end, End::Complete);
}

#[test]
fn a_malformed_trailer_is_a_fault() {
    for line in
        ["X", ": b", "X : b", " X: b", "X: a\r\n b", "X: a\0", "X: a\nY: b", "X: a\rY: b", "\r", "X: a\r", "X\n"]
    {
        faulty_with(format!("0\r\n{line}\r\n\r\n").as_bytes(), BodyFault::Trailer);
    }
    faulty_with(b"0\r\n\n", BodyFault::Trailer);
    faulty_with(b"0\r\nX: a\r\n\n", BodyFault::Trailer);
}

#[test]
fn trailers_count_among_the_hundred_fields() {
    let fields = "X: y\r\n".repeat(38);
    let body = |count: usize| format!("0\r\n{}\r\n", "T: u\r\n".repeat(count)).into_bytes();
    assert_eq!(told(&fields, &body(60)).trailers.len(), 60);
    assert_eq!(told(&fields, &body(61)).end, End::Fault(BodyFault::TrailersTooLarge));
    assert_eq!(told(&"X: y\r\n".repeat(98), b"0\r\n\r\n").end, End::Complete);
}

#[test]
fn trailers_have_60_kib_at_most() {
    let body = |length: usize| format!("0\r\nX: {}\r\n\r\n", "a".repeat(length - 7)).into_bytes();
    assert_eq!(told("", &body(60 * 1024)).end, End::Complete);
    faulty_with(&body(60 * 1024 + 1), BodyFault::TrailersTooLarge);
    faulty_with(format!("0\r\n{}", "a".repeat(70_000)).as_bytes(), BodyFault::TrailersTooLarge);
}

#[test]
fn more_is_needed_until_the_empty_line_after_the_trailers() {
    let body = b"5;x\r\nhello\r\n0\r\nX: y\r\n\r\n";
    for length in 0..body.len() {
        let read = told("", &body[..length]);
        assert_eq!((read.end, read.body.len()), (End::More, length.saturating_sub(5).min(5)), "{length}");
    }
}
