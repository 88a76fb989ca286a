//! What is counted of a request's tries, over real sockets.

use super::*;

/// Answers every request with `answer`, and closes.
fn back_end(answer: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn every_answer_of_500_or_more_is_a_failure_of_its_endpoint_also_those_that_a_retry_hides() {
    let port = back_end("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    for (retries, failures) in [("{attempts: 0}", 1), ("{attempts: 2, retryOn: 5xx, backoff: 1ms}", 3)] {
        let routes = forward("STATIC", &[("127.0.0.1", port)]);
        let routes = routes.replace("http: [{", &format!("http: [{{retries: {retries}, "));
        let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &routes)]);
        assert!(running.get(80).starts_with("HTTP/1.1 503 "));
        let clusters = running.admin("GET /clusters");
        assert!(clusters.contains(&format!("::rq_error::{failures}\n")), "{retries}: {clusters}");
        running.gateway.stop();
    }
}
