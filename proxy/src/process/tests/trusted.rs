//! Clients that are trusted with saying how often their requests are tried, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Answers each request with 503, or not at all if its path says so; and counts them. None of them may carry what steers.
fn back_end() -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let head = read_head(&mut stream);
            assert!(!head.contains("x-envoy-retry-on") && !head.contains("x-envoy-internal"), "{head}");
            if head.starts_with("GET /silent") {
                assert!(head.contains("x-envoy-expected-rq-timeout-ms: 50\r\n"), "{head}");
                silent.push(stream);
            } else {
                let _ = stream.write_all(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        }
    });
    (port, seen)
}

fn status(address: SocketAddr, path: &str, fields: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\nx-envoy-internal: true\r\n{fields}\r\n"
    );
    exchange(address, &request).split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn only_trusted_clients_say_how_often_and_how_long_they_are_tried() {
    let retries = "x-envoy-retry-on: 5xx\r\nx-envoy-max-retries: 3\r\n";
    for (trusted, tries) in [("127.0.0.0/8", 4), ("10.0.0.0/8", 1)] {
        let (port, seen) = back_end();
        let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &forward("STATIC", &[("127.0.0.1", port)]))]);
        let trusted_clients = vec![trusted.parse().unwrap()];
        let options = GatewayOptions { trusted_clients, ..options(folder.path(), &[(80, 0)]) };
        let gateway = Gateway::start(options, None).unwrap();
        let address = loopback(gateway.status().applied().listeners[0].bound.as_ref().unwrap().ip_and_port().unwrap());
        assert_eq!((status(address, "/", retries), seen.load(Ordering::Relaxed)), ("503".to_owned(), tries));
        if tries > 1 {
            assert_eq!(status(address, "/silent", "x-envoy-upstream-rq-timeout-ms: 50\r\n"), "504");
        }
        gateway.stop();
    }
}
