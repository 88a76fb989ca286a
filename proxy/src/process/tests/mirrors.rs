//! Copies of requests, over real sockets.

use super::*;

/// Requests go to one port, copies of them to another, which has at most one at a time.
fn mirrored(port: u16, copies: u16) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: m}}\nspec:\n  hosts: [m.example]\n  location: \
         MESH_EXTERNAL\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints: [{{address: \
         127.0.0.1, ports: {{http: {copies}}}}}]\n---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: \
         {{name: m}}\nspec:\n  host: m.example\n  trafficPolicy: {{connectionPool: {{http: {{http2MaxRequests: 1}}}}}}\n---\n{}",
        forward("STATIC", &[("127.0.0.1", port)]).replace("http: [{", "http: [{mirror: {host: m.example}, ")
    )
}

#[test]
fn copies_that_nobody_answers_count_against_the_limit_of_their_destination() {
    let back_end = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Connections are made, and nobody ever takes them.
    let mirror = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let routes = mirrored(port(&back_end), port(&mirror));
    let options = |folder: &Path| GatewayOptions { workers: 1, ..options(folder, &[(80, 0)]) };
    let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &routes)]);
    let running = Running { gateway: Gateway::start(options(folder.path()), None).unwrap(), folder };
    std::thread::spawn(move || {
        for stream in back_end.incoming() {
            let mut stream = stream.unwrap();
            read_head(&mut stream);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        }
    });
    for _ in 0..3 {
        assert!(running.get(80).starts_with("HTTP/1.1 204 "));
    }
    let counts = || {
        let metrics = running.admin("GET /stats/prometheus");
        ["envoy_cluster_upstream_rq_total", "envoy_cluster_upstream_rq_pending_overflow"].map(|name| {
            let line = metrics.lines().find(|line| line.starts_with(name) && line.contains("m.example"));
            line.and_then(|line| line.rsplit_once(' ')).map_or(0, |(_, value)| value.parse().unwrap())
        })
    };
    let end = Instant::now() + PATIENCE;
    while counts() != [1, 2] {
        assert!(Instant::now() < end, "sent and refused: {:?}", counts());
    }
    running.gateway.stop();
}
