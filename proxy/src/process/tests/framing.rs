//! Rules of a route that write fields by which a body's length is told, over real sockets.

use std::sync::mpsc::{Receiver, channel};

use super::*;

const RULES: &str = "headers: {request: {set: {content-length: '9', transfer-encoding: gzip}}, \
                     response: {set: {content-length: '9', transfer-encoding: gzip}}}";

/// Answers one request on each connection, as its path says, and passes on the heads that it has seen.
fn back_end() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, heads) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = read_head(&mut stream);
            let answer: &[u8] = match head.split(' ').nth(1) {
                Some("/chunked") => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                Some("/nothing") => b"HTTP/1.1 204 No Content\r\n\r\n",
                _ => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
            };
            let _ = stream.write_all(answer);
            let _ = tell.send(head);
        }
    });
    (port, heads)
}

/// Fields of `head` that say how long a body is.
fn framing(head: &str) -> Vec<&str> {
    head.lines().filter(|line| line.starts_with("content-length:") || line.starts_with("transfer-encoding:")).collect()
}

#[test]
fn no_rule_changes_what_is_said_of_the_length_of_a_body() {
    let (port, heads) = back_end();
    let routes = forward("STATIC", &[("127.0.0.1", port)]).replace("http: [{", &format!("http: [{{{RULES}, "));
    let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &routes)]);
    let options = GatewayOptions { http10: true, ..options(folder.path(), &[(80, 0), (81, 0)]) };
    let running = Running { folder, gateway: Gateway::start(options, None).unwrap() };
    let chunked: &[&str] = &["transfer-encoding: chunked"];
    for (request, version, body, asked, told) in [
        ("GET /chunked", "1.1", "", &[][..], chunked),
        ("GET /length", "1.1", "", &[], &["content-length: 3"]),
        ("GET /nothing", "1.1", "", &[], &[]),
        ("GET /chunked", "1.0", "", &[], &[]),
        ("POST /length", "1.1", "", &["content-length: 0"], &["content-length: 3"]),
        ("POST /length", "1.1", "content-length: 2\r\n\r\nhi", &["content-length: 2"], &["content-length: 3"]),
        ("POST /chunked", "1.1", "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", chunked, chunked),
    ] {
        let end = if body.is_empty() { "\r\n" } else { body };
        let request = format!("{request} HTTP/{version}\r\nhost: a.example\r\nconnection: close\r\n{end}");
        let answer = exchange(running.bound(80).unwrap(), &request);
        let head = answer.split("\r\n\r\n").next().unwrap();
        assert_eq!(framing(head), told, "{request}: {answer}");
        let head = heads.recv_timeout(PATIENCE).unwrap();
        assert_eq!(framing(&head), asked, "{request}: {head}");
    }
    running.gateway.stop();
}
