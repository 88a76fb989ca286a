//! A message on its way through: buffers that grow, bodies longer than a block, what is left over, and tunnels.

use http1::{BodyFault, Framing, Message};

fn message_of(bytes: &[u8]) -> Message {
    let mut message = Message::new(vec![0; 4096].into());
    fill(&mut message, bytes);
    message
}

fn fill(message: &mut Message, bytes: &[u8]) {
    message.space()[..bytes.len()].copy_from_slice(bytes);
    message.filled(bytes.len());
}

fn response_to_get(bytes: &[u8]) -> Message {
    let mut message = message_of(bytes);
    assert_eq!(message.parse_response(false), Ok(true));
    message
}

/// Decodes, and consumes all that is there.
fn take(message: &mut Message) -> Result<Vec<u8>, BodyFault> {
    message.decode()?;
    let data = message.data().to_vec();
    message.consume(data.len());
    Ok(data)
}

#[test]
fn a_message_does_not_grow_unseen() {
    assert_eq!(std::mem::size_of::<Message>(), 248);
}

#[test]
fn a_pipelined_request_is_what_is_left_over() {
    let mut message = message_of(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\nGET /c");
    assert_eq!(message.parse_request(), Ok(true));
    assert!(message.is_complete());
    let rest = message.leftover().to_vec();
    message.reset();
    assert!(message.is_empty() && message.leftover().is_empty() && message.head().count() == 0);
    fill(&mut message, &rest);
    assert_eq!(message.parse_request(), Ok(true));
    assert_eq!((message.head().target(), message.head().value(b"host")), (&b"/b"[..], Some(&b"b"[..])));
    assert_eq!(message.leftover(), b"GET /c");
}

#[test]
fn bytes_that_came_before_there_is_a_head_are_kept_as_they_are() {
    let mut message = message_of(b"PRI * HT");
    assert_eq!(message.parse_request(), Ok(false));
    assert_eq!((message.received(), message.is_empty()), (&b"PRI * HT"[..], false));
}

#[test]
fn a_body_longer_than_a_block_comes_block_by_block() {
    let body: Vec<u8> = (0..100u8).collect();
    let mut message = message_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n\0\x01\x02");
    assert_eq!(message.parse_request(), Ok(true));
    let mut got = take(&mut message).unwrap();
    assert_eq!((message.remaining(), message.has_block()), (97, false));
    message.give_block(vec![0; 7].into());
    let mut rest = &body[3..];
    while !message.is_complete() {
        let count = message.space().len().min(rest.len());
        fill(&mut message, &rest[..count]);
        rest = &rest[count..];
        got.extend(take(&mut message).unwrap());
        message.rewind();
    }
    assert_eq!(got, body);
    assert_eq!((message.head().value(b"host"), message.remaining()), (Some(&b"a"[..]), 0));
    assert_eq!(message.take_block().map(|block| block.len()), Some(7));
}

#[test]
fn a_body_that_has_room_behind_its_head_comes_there_and_is_read_as_often_as_need_be() {
    let mut message = message_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    assert_eq!(message.parse_request(), Ok(true));
    assert!(message.fits_in_place());
    assert_eq!(message.length(), Some(53));
    assert_eq!(take(&mut message).unwrap(), b"abc");
    message.read_body_again();
    assert_eq!(message.data(), b"abc");
    message.consume(3);
    fill(&mut message, b"defGET");
    assert_eq!((take(&mut message).unwrap(), message.is_complete()), (b"def".to_vec(), true));
    message.read_body_again();
    assert_eq!((message.data(), message.has_ended()), (&b"abcdef"[..], true));
    assert_eq!((message.body_in_place(), message.leftover()), (&b"abcdef"[..], &b"GET"[..]));
}

#[test]
fn a_body_of_unknown_length_and_one_that_is_too_long_have_no_room_behind_their_heads() {
    let fits = |framing: &str| {
        let mut message = message_of(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes());
        assert_eq!(message.parse_request(), Ok(true));
        message.fits_in_place()
    };
    // The buffer has 4096 bytes, of which the head takes 50.
    assert_eq!(["4046", "4047"].map(|length| fits(&format!("Content-Length: {length}"))), [true, false]);
    assert!(!fits("Transfer-Encoding: chunked"));
}

#[test]
fn what_follows_a_body_in_a_block_is_left_over() {
    let mut message = message_of(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    assert_eq!(message.parse_request(), Ok(true));
    message.give_block(vec![0; 64].into());
    fill(&mut message, b"abcGET / ");
    assert_eq!(take(&mut message), Ok(b"abc".to_vec()));
    assert!(message.is_complete());
    assert_eq!(message.leftover(), b"GET / ");
}

#[test]
fn data_is_decoded_only_when_what_was_decoded_is_consumed() {
    let mut message = message_of(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_eq!(message.parse_request(), Ok(true));
    message.decode().unwrap();
    message.consume(1);
    fill(&mut message, b"2\r\nde\r\n0\r\n\r\n");
    message.decode().unwrap();
    assert_eq!((message.data(), message.has_ended()), (&b"bc"[..], false));
    message.consume(99);
    message.decode().unwrap();
    assert_eq!((message.data(), message.has_ended(), message.is_complete()), (&b"de"[..], true, false));
    message.consume(2);
    assert!(message.is_complete());
}

#[test]
fn a_full_buffer_grows_and_keeps_what_it_has() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nX-A: 0123456789\r\n\r\n";
    let mut message = Message::new(vec![0; 10].into());
    fill(&mut message, &request[..10]);
    assert_eq!(message.parse_request(), Ok(false));
    assert!(message.space().is_empty());
    assert_eq!(message.grow(vec![0; 30].into()).len(), 10);
    assert_eq!((message.capacity(), message.received()), (30, &request[..10]));
    assert_eq!(message.space().len(), 20);
    fill(&mut message, &request[10..30]);
    assert_eq!(message.parse_request(), Ok(false));
    message.grow(vec![0; 100].into());
    fill(&mut message, &request[30..]);
    assert_eq!(message.parse_request(), Ok(true));
    assert_eq!(message.head().value(b"x-a"), Some(&b"0123456789"[..]));
}

#[test]
fn an_informational_response_is_skipped_and_the_next_one_read() {
    let mut message =
        response_to_get(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 20");
    assert!(message.is_complete() && message.head().status() == 100);
    message.skip_informational();
    assert_eq!(message.parse_response(false), Ok(true));
    assert_eq!((message.head().status(), message.head().value(b"link")), (103, Some(&b"</x>"[..])));
    message.skip_informational();
    assert_eq!((message.parse_response(false), message.received()), (Ok(false), &b"HTTP/1.1 20"[..]));
    fill(&mut message, b"0 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(message.parse_response(false), Ok(true));
    assert_eq!((message.head().status(), message.head().count()), (200, 1));
    assert_eq!(take(&mut message), Ok(b"ok".to_vec()));
}

#[test]
fn an_informational_response_that_says_how_long_it_is_has_no_body() {
    let mut message = response_to_get(b"HTTP/1.1 100 Continue\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 \r\n\r\n");
    message.skip_informational();
    assert_eq!(message.parse_response(false), Ok(true));
    assert_eq!((message.head().status(), message.leftover()), (204, &b""[..]));
}

#[test]
fn a_tunnel_takes_all_that_comes() {
    let mut message = response_to_get(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\0raw");
    assert_eq!((message.framing(), message.has_ended()), (Framing::None, true));
    message.become_tunnel();
    assert_eq!((message.framing(), message.has_ended()), (Framing::UntilClose, false));
    assert_eq!(take(&mut message), Ok(b"\0raw".to_vec()));
    message.rewind();
    fill(&mut message, b"HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(take(&mut message), Ok(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()));
    assert_eq!((message.closed(), message.has_ended()), (Ok(()), true));
}

#[test]
fn the_end_of_a_connection_ends_only_a_body_without_a_length() {
    let table: [(&[u8], Result<(), BodyFault>); 8] = [
        (b"HTTP/1.1 200 OK\r\n\r\nab", Ok(())),
        (b"HTTP/1.0 200 OK\r\n\r\n", Ok(())),
        (b"HTTP/1.1 204 \r\n\r\n", Ok(())),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", Ok(())),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", Err(BodyFault::BrokenOff)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Ok(())),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", Err(BodyFault::BrokenOff)),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", Err(BodyFault::BrokenOff)),
    ];
    for (bytes, closed) in table {
        let mut message = response_to_get(bytes);
        take(&mut message).unwrap();
        assert_eq!(message.closed(), closed, "{:?}", bytes.escape_ascii().to_string());
        assert_eq!(message.is_complete(), closed.is_ok());
    }
}

#[test]
fn bytes_that_went_another_way_count_for_the_length() {
    let mut message = response_to_get(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab");
    assert_eq!((take(&mut message), message.remaining()), (Ok(b"ab".to_vec()), 8));
    message.pass_by(3);
    assert_eq!((message.remaining(), message.has_ended()), (5, false));
    message.pass_by(5);
    assert_eq!((message.remaining(), message.is_complete()), (0, true));
    let mut until_close = response_to_get(b"HTTP/1.1 200 OK\r\n\r\n");
    until_close.pass_by(3);
    assert_eq!((until_close.remaining(), until_close.has_ended()), (0, false));
}

#[test]
fn nothing_of_one_message_is_seen_in_the_next() {
    let first = b"POST /a HTTP/1.1\r\nHost: a\r\nCookie:a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n";
    let mut message = message_of(first);
    assert_eq!(message.parse_request(), Ok(true));
    take(&mut message).unwrap();
    assert_eq!(message.trailers().count(), 1);
    message.give_block(vec![0; 8].into());
    message.reset();
    assert_eq!((message.space().len(), message.take_block()), (4096, None));
    fill(&mut message, b"GET / HTTP/1.1\r\nHost: b\r\n\r\n");
    assert_eq!(message.parse_request(), Ok(true));
    let mut written = Vec::new();
    message.head().write_fields(&mut written);
    assert_eq!((&written[..], message.trailers().count()), (&b"host: b\r\n"[..], 0));
    assert_eq!((message.framing(), message.is_complete()), (Framing::None, true));
}
