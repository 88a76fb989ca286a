//! HTTP/3 from a client of another make to a running gateway.

#![expect(clippy::unwrap_used, reason = "a test ends where it can't go on")]

mod back_end;
#[path = "../tls/certificates.rs"]
#[expect(dead_code, reason = "shared with the tests of TLS")]
mod certificates;
mod client;
#[path = "../tls/peers.rs"]
#[expect(dead_code, reason = "shared with the tests of TLS")]
mod peers;
mod stage;

use std::net::UdpSocket;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use h3::error::Code;
use http::{Method, Request};
use tidegate::process::Order;

use back_end::{BackEnd, LARGE};
use certificates::secret_of;
use client::{Client, PATIENCE, dial, read};
use peers::Running;
use stage::{SIMPLE, Stage, configuration, request};

#[tokio::test]
async fn requests_go_the_way_of_all_others() {
    let stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    assert_eq!(client.certificate(), stage.own.der());

    let answer = client.get("https://a.example/head?q").await;
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.head.status(), 200);
    assert_eq!(answer.head.headers()["server"], "istio-envoy");
    assert!(text.starts_with("GET /head?q HTTP/1.1\r\n"), "{text}");
    for line in ["host: a.example\r\n", "x-forwarded-proto: https\r\n", "x-forwarded-for: 127.0.0.1\r\n"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("transfer-encoding"), "a request without a body stays one: {text}");
    stage.logged(&["\"GET /head?q HTTP/3\" 200 - via_upstream", " a.example "]).await;

    let body = vec![b'b'; 300_000];
    let sized = Request::post("https://a.example/echo").header("content-length", body.len()).body(()).unwrap();
    assert_eq!(client.ask(sized, &body).await.unwrap().body, body);
    let chunked = client.ask(request(Method::POST, "/echo"), b"some").await.unwrap();
    assert_eq!(chunked.body, b"4\r\nsome\r\n0\r\n\r\n");

    let answer = client.get("https://a.example/trailers").await;
    assert_eq!(answer.body, b"hi");
    assert_eq!(answer.trailers.unwrap()["x-end"], "yes");
    let answer = client.ask(request(Method::HEAD, "/head"), b"").await.unwrap();
    assert_eq!((answer.head.status().as_u16(), answer.body.len()), (200, 0));
}

#[tokio::test]
async fn what_is_refused_elsewhere_is_refused_here() {
    let stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    let status = async |client: &mut Client, request: Request<()>| {
        client.ask(request, b"").await.map(|answer| answer.head.status().as_u16()).ok()
    };
    for (host, expected) in [("b.example", 404), ("c.example", 421)] {
        let elsewhere = Request::get(format!("https://{host}/")).body(()).unwrap();
        assert_eq!(status(&mut client, elsewhere).await, Some(expected), "{host}");
    }
    let connect = Request::connect("https://a.example/").body(()).unwrap();
    assert_eq!(status(&mut client, connect).await, Some(404));
    let large = Request::get("https://a.example/").header("x-large", "x".repeat(61 * 1024)).body(()).unwrap();
    assert_eq!(status(&mut client, large).await, Some(431));
    let many = (0..101).fold(Request::get("https://a.example/"), |request, at| request.header(format!("x-{at}"), "x"));
    assert_eq!(status(&mut client, many.body(()).unwrap()).await, Some(431));
    assert_eq!(status(&mut client, request(Method::GET, "/%00")).await, Some(400));
    for (name, value) in
        [("connection", "close"), ("transfer-encoding", "chunked"), ("te", "gzip"), ("content-length", "+1")]
    {
        let malformed = Request::get("https://a.example/").header(name, value).body(()).unwrap();
        assert_eq!(status(&mut client, malformed).await, None, "{name}: the stream is reset");
    }
    assert_eq!(status(&mut client, request(Method::GET, "/head")).await, Some(200), "the connection lives on");
}

#[tokio::test]
async fn a_body_of_another_length_than_the_head_says_reaches_no_back_end_as_whole() {
    let stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    for body in [&b"abc"[..], b"abcde"] {
        let post = Request::post("https://a.example/echo").header("content-length", 4).body(()).unwrap();
        let answer = client.ask(post, body).await;
        assert!(answer.is_err() || answer.as_ref().is_ok_and(|answer| answer.head.status() == 400), "{answer:?}");
    }
    assert_eq!(client.get("https://a.example/head").await.head.status(), 200);
}

#[tokio::test]
async fn a_client_that_takes_nothing_holds_its_back_end_up_and_gets_all_in_the_end() {
    let stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    let mut stream = client.send(request(Method::GET, "/large")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(stream.recv_response().await.unwrap().status(), 200);
    // Another request of the same connection is served meanwhile; by then the large answer has come as far as it goes.
    for _ in 0..20 {
        client.get("https://a.example/head").await;
    }
    let sent = stage.back_end.sent.load(Ordering::Relaxed);
    assert!(sent < LARGE, "{sent} bytes have gone to a client that takes none");
    let mut received = 0;
    while let Some(data) = stream.recv_data().await.unwrap() {
        received += bytes::Buf::remaining(&data);
    }
    assert_eq!(received, LARGE);
}

#[tokio::test]
async fn a_reset_stream_ends_its_request_at_the_back_end() {
    let told =
        async |back_end: &mut BackEnd| tokio::time::timeout(PATIENCE, back_end.silent.recv()).await.unwrap().unwrap();
    let mut stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    let mut stream = client.send(request(Method::GET, "/silent")).await.unwrap();
    stream.finish().await.unwrap();
    assert_eq!(told(&mut stage.back_end).await, "came");
    stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    // What is to go has to go.
    assert_eq!(client.get("https://a.example/head").await.head.status(), 200);
    assert_eq!(told(&mut stage.back_end).await, "gone");
    stage.logged(&["\"GET /silent HTTP/3\" 0 DC downstream_remote_disconnect"]).await;
}

#[tokio::test]
async fn a_client_that_only_resets_loses_its_connection() {
    let stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    let resets = async {
        while let Ok(mut stream) = client.send(request(Method::GET, "/silent")).await {
            let _ = stream.finish().await;
            stream.stop_sending(Code::H3_REQUEST_CANCELLED);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, resets).await.unwrap();
    let ended = client.driver.await.unwrap();
    assert!(ended.contains("H3_EXCESSIVE_LOAD"), "{ended}");
}

#[tokio::test]
async fn a_cut_answer_never_looks_whole() {
    let stage = Stage::start(SIMPLE);
    let mut client = stage.connect().await;
    let mut stream = client.send(request(Method::GET, "/cut")).await.unwrap();
    stream.finish().await.unwrap();
    assert!(read(&mut stream).await.is_err());
    assert_eq!(client.get("https://a.example/head").await.head.status(), 200);
}

#[tokio::test]
async fn each_handshake_goes_by_its_server_name_and_shows_the_certificate_of_its_moment() {
    let stage = Stage::start(SIMPLE);
    let address = stage.running.bound(443);
    let mut first = stage.connect().await;
    let unknown = dial(address, "b.example", &stage.authority, None).await.unwrap_err().to_string();
    assert!(unknown.contains("error 112"), "unrecognized_name: {unknown}");
    let renewed = stage.authority.issue("renewed", &["a.example"]);
    stage.replace("secret.yaml", &secret_of("a", &renewed, &renewed));
    assert_eq!(stage.connect().await.certificate(), renewed.der());
    assert_eq!(first.get("https://a.example/head").await.head.status(), 200, "those that stand live on");
}

#[tokio::test]
async fn clients_show_certificates_where_the_server_asks_for_them() {
    let stage = Stage::start("mode: MUTUAL, credentialName: a");
    let address = stage.running.bound(443);
    let (endpoint, quic) = match dial(address, "a.example", &stage.authority, None).await {
        Ok(connection) => connection,
        Err(_) => panic!("a client hears of it after its own part of the handshake"),
    };
    quic.closed().await;
    drop(endpoint);
    let own = stage.authority.issue("client", &["spiffe://a/client"]);
    let (endpoint, quic) = dial(address, "a.example", &stage.authority, Some(&own)).await.unwrap();
    let answer = Client::over(endpoint, quic).await.get("https://a.example/head").await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("x-forwarded-client-cert: Hash=") && text.contains("URI=spiffe://a/client"), "{text}");
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_takes_nothing_more() {
    let stage = Stage::start(SIMPLE);
    let (mut busy, idle) = (stage.connect().await, stage.connect().await);
    let mut upload = busy.send(request(Method::POST, "/echo")).await.unwrap();
    upload.send_data(Bytes::from_static(b"first")).await.unwrap();
    // Its stream has been accepted once a later one is answered.
    busy.get("https://a.example/head").await;
    stage.running.gateway.order(Order::DrainAndEnd);
    let ended = tokio::time::timeout(PATIENCE, idle.driver).await.unwrap().unwrap();
    assert!(ended.contains("H3_NO_ERROR"), "{ended}");
    upload.send_data(Bytes::from_static(b"last")).await.unwrap();
    upload.finish().await.unwrap();
    let answer = read(&mut upload).await.unwrap();
    assert_eq!(answer.body, b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
    let ended = tokio::time::timeout(PATIENCE, busy.driver).await.unwrap().unwrap();
    assert!(ended.contains("H3_NO_ERROR"), "{ended}");
    let Stage { running: Running { mut gateway, folder }, .. } = stage;
    tokio::time::timeout(Duration::from_secs(9), gateway.ended()).await.unwrap();
    drop(folder);
}

#[tokio::test]
async fn https_tells_of_http3_and_http3_does_not() {
    let stage = Stage::start(SIMPLE);
    let address = stage.running.bound(443);
    let asked = peers::Client::new(&stage.authority, None);
    let answer = asked.get(address, "a.example", "a.example", "").unwrap();
    assert!(answer.text.contains("alt-svc: h3=\":443\"; ma=86400\r\n"), "{}", answer.text);
    let answer = stage.connect().await.get("https://a.example/head").await;
    assert!(!answer.head.headers().contains_key("alt-svc"));
}

#[tokio::test]
async fn sockets_come_and_go_with_the_servers_that_want_them() {
    let stage = Stage::start(SIMPLE);
    let address = stage.running.bound(443);
    let mut client = stage.connect().await;
    let tcp_only = configuration(&stage.back_end, &format!("{SIMPLE}, maxProtocolVersion: TLSV1_2"));
    stage.replace("web.yaml", &tcp_only);
    let ended = tokio::time::timeout(PATIENCE, client.driver).await.unwrap().unwrap();
    assert!(ended.contains("H3_NO_ERROR"), "{ended}");
    // The socket is free again.
    let bind = async {
        while UdpSocket::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, bind).await.unwrap();
    stage.replace("web.yaml", &configuration(&stage.back_end, SIMPLE));
    client = tokio::time::timeout(PATIENCE, stage.connect()).await.unwrap();
    assert_eq!(client.get("https://a.example/head").await.head.status(), 200);
}

#[tokio::test]
async fn garbage_is_dropped_or_costs_its_own_connection() {
    let stage = Stage::start(SIMPLE);
    let address = stage.running.bound(443);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 20, 1200] {
        for first in [0x00, 0x40, 0xc0, 0xff] {
            socket.send_to(&vec![first; length], address).unwrap();
        }
    }
    let mut frames: Vec<Vec<u8>> = vec![
        b"\x00\x03abc".to_vec(),          // DATA first.
        b"\x01\x80\x10\x00\x00".to_vec(), // A head of a megabyte.
        b"\x01\x03\xff\xff\xff".to_vec(), // A head that QPACK can't read.
        b"\x40\x41\x00".to_vec(),         // WebTransport.
        b"\x02\x00".to_vec(),             // A frame of HTTP/2.
        b"\x04\x01\x00".to_vec(),         // Settings where none belong.
        b"\xff".to_vec(),                 // Half an integer.
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
    ];
    frames.push([0xd0].repeat(5000));
    for bytes in frames {
        let (_endpoint, quic) = dial(address, "a.example", &stage.authority, None).await.unwrap();
        let (mut send, mut receive) = quic.open_bi().await.unwrap();
        let _ = send.write_all(&bytes).await;
        let _ = send.finish();
        let end = tokio::time::timeout(PATIENCE, receive.read_to_end(1 << 16)).await;
        assert!(end.is_ok(), "{bytes:?} is left without an end");
    }
    assert_eq!(stage.connect().await.get("https://a.example/head").await.head.status(), 200);
}
