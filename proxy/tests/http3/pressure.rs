//! What becomes of connections of HTTP/3 as memory runs short. A program of its own: what it holds counts as the gateway's.

#![expect(clippy::unwrap_used, reason = "a test ends where it can't go on")]

#[expect(dead_code, reason = "shared with the other tests of HTTP/3")]
mod back_end;
#[path = "../tls/certificates.rs"]
#[expect(dead_code, reason = "shared with the tests of TLS")]
mod certificates;
#[expect(dead_code, reason = "shared with the other tests of HTTP/3")]
mod client;
#[path = "../tls/peers.rs"]
#[expect(dead_code, reason = "shared with the tests of TLS")]
mod peers;
#[expect(dead_code, reason = "shared with the other tests of HTTP/3")]
mod stage;

use bytes::Bytes;
use http::Method;
use tidegate::pressure::MemoryLimit;
use tokio::time::timeout;

use client::{PATIENCE, read};
use stage::{SIMPLE, Stage, request};

/// What this process may have. A step is a twentieth of it, far more than the test itself takes.
const LIMIT: u64 = 512 << 20;

/// Memory that is in use, in pieces of a megabyte.
#[derive(Default)]
struct Ballast(Vec<Vec<u8>>);

impl Ballast {
    /// Adds to it until the process has `percent` of its limit.
    fn fill(&mut self, percent: u64) {
        while resident() * 100 < LIMIT * percent {
            self.0.push(vec![1; 1 << 20]);
        }
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn idle_connections_go_first_and_then_all_as_soon_as_their_requests_have_ended() {
    let stage = Stage::start_with(SIMPLE, MemoryLimit::Bytes(LIMIT));
    let (mut busy, idle) = (stage.connect().await, stage.connect().await);
    let mut upload = busy.send(request(Method::POST, "/echo")).await.unwrap();
    upload.send_data(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(busy.get("https://a.example/head").await.head.status(), 200);

    let mut ballast = Ballast::default();
    ballast.fill(85);
    let ended = timeout(PATIENCE, idle.driver).await.unwrap().unwrap();
    assert!(ended.contains("H3_NO_ERROR"), "{ended}");
    assert_eq!(busy.get("https://a.example/head").await.head.status(), 200, "one with a request is kept");

    ballast.fill(92);
    let refused = async {
        // Before the goodbye has come, requests are answered, from some moment on by 503.
        while busy.ask(request(Method::GET, "/head"), b"").await.is_ok() {}
    };
    timeout(PATIENCE, refused).await.unwrap();
    upload.send_data(Bytes::from_static(b"last")).await.unwrap();
    upload.finish().await.unwrap();
    assert_eq!(read(&mut upload).await.unwrap().body, b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
    let ended = timeout(PATIENCE, busy.driver).await.unwrap().unwrap();
    assert!(ended.contains("H3_NO_ERROR"), "{ended}");
    drop(ballast);
}
