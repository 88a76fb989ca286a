//! Clients of HTTP/1.0, over real sockets. The answers are Envoy's with `accept_http_10`, but for what RFC 9110 keeps from such clients.

use super::*;

/// Answers one request on each connection, as its path says.
fn back_end() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = read_head(&mut stream);
            assert!(head.is_empty() || head.contains(" HTTP/1.1\r\n") && !head.contains("keep-alive"), "{head}");
            let answer: &[u8] = match head.split(' ').nth(1) {
                Some("/length") => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
                Some("/chunked") => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                Some("/hints") => {
                    b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"
                }
                Some("/cut") => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
                _ => b"HTTP/1.1 200 OK\r\n\r\nabc",
            };
            let _ = stream.write_all(answer);
        }
    });
    port
}

struct Served {
    gateway: Gateway,
    address: SocketAddr,
    _folder: TempDir,
}

fn served() -> Served {
    let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &forward("STATIC", &[("127.0.0.1", back_end())]))]);
    let options = GatewayOptions { http10: true, ..options(folder.path(), &[(80, 0)]) };
    let gateway = Gateway::start(options, None).unwrap();
    let address = loopback(gateway.status().applied().listeners[0].bound.as_ref().unwrap().ip_and_port().unwrap());
    Served { gateway, address, _folder: folder }
}

/// All that comes until the connection ends, or, if it is kept, up to where `body` ends; and whether it was reset.
fn ask(stream: &mut TcpStream, request: &str, kept: bool) -> (String, bool) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(1) => answer.extend_from_slice(&byte),
            end => return (String::from_utf8(answer).unwrap(), end.is_err()),
        }
        if kept && answer.ends_with(b"\r\n\r\nabc") {
            return (String::from_utf8(answer).unwrap(), false);
        }
    }
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nhost: a.example\r\n{fields}\r\n")
}

#[test]
fn its_connection_ends_with_the_answer_which_has_no_chunks() {
    let served = served();
    for (path, fields, length) in [
        ("/length", "", true),
        ("/chunked", "", false),
        ("/chunked", "connection: keep-alive\r\n", false),
        ("/unframed", "connection: keep-alive\r\n", false),
        ("/hints", "expect: 100-continue\r\nte: trailers\r\n", true),
        ("/length", "connection: upgrade\r\nupgrade: websocket\r\n", true),
    ] {
        let mut stream = TcpStream::connect(served.address).unwrap();
        let (answer, was_reset) = ask(&mut stream, &get(path, fields), false);
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nabc"), "{path}: {answer}");
        assert!(
            answer.contains("\r\nconnection: close\r\n") && !answer.contains("transfer-encoding"),
            "{path}: {answer}"
        );
        assert_eq!((answer.contains("content-length: 3"), was_reset), (length, false), "{path}: {answer}");
    }
    served.gateway.stop();
}

#[test]
fn its_connection_is_kept_if_it_asks_and_the_length_is_known() {
    let served = served();
    let mut stream = TcpStream::connect(served.address).unwrap();
    for _ in 0..2 {
        let (answer, _) = ask(&mut stream, &get("/length", "connection: Keep-Alive\r\n"), true);
        assert!(
            answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.contains("\r\nconnection: keep-alive\r\n"),
            "{answer}"
        );
    }
    served.gateway.stop();
}

#[test]
fn a_cut_answer_ends_in_a_reset_since_its_end_would_look_like_a_whole_one() {
    let served = served();
    let mut stream = TcpStream::connect(served.address).unwrap();
    let (_, was_reset) = ask(&mut stream, &get("/cut", ""), false);
    assert!(was_reset);
    served.gateway.stop();
}

#[test]
fn a_request_without_a_host_or_in_chunks_gets_400_and_any_without_the_switch_426() {
    let served = served();
    for request in
        ["GET / HTTP/1.0\r\n\r\n", "POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"]
    {
        let answer = exchange(served.address, request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    served.gateway.stop();
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
    let answer = exchange(running.bound(80).unwrap(), &get("/", ""));
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    running.gateway.stop();
}
