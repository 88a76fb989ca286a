//! A gateway from its start to its end, over real sockets and files.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::{TempDir, tempdir};

use super::*;
use crate::control::{Applied, PortMap};
use crate::telemetry::Target;

mod attempts;
mod framing;
mod http10;
mod mirrors;
mod trusted;

const PATIENCE: Duration = Duration::from_secs(30);

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

/// Answers every request with `text`.
fn direct(text: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  hosts: ['*']\n  gateways: \
         [web]\n  http: [{{directResponse: {{status: 200, body: {{string: {text}}}}}}}]\n"
    )
}

/// Sends every request to `host`, whose endpoints are `endpoints`, as `address: port`.
fn forward(resolution: &str, endpoints: &[(&str, u16)]) -> String {
    let endpoints: String = endpoints
        .iter()
        .map(|(address, port)| format!("  - {{address: {address}, ports: {{http: {port}}}}}\n"))
        .collect();
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: s}}\nspec:\n  hosts: [s.example]\n  location: \
         MESH_EXTERNAL\n  resolution: {resolution}\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  endpoints:\n{endpoints}\
         ---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec:\n  hosts: ['*']\n  gateways: \
         [web]\n  http: [{{route: [{{destination: {{host: s.example}}}}]}}]\n"
    )
}

fn options(folder: &Path, ports: &[(u16, u16)]) -> GatewayOptions {
    GatewayOptions { workers: 2, port_map: PortMap::new(ports.iter().copied()), ..GatewayOptions::new(folder) }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let directory = tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
    directory
}

struct Running {
    folder: TempDir,
    gateway: Gateway,
}

impl Running {
    fn start(files: &[(&str, &str)]) -> Self {
        let folder = folder(files);
        let gateway = Gateway::start(options(folder.path(), &[(80, 0), (81, 0)]), None).unwrap();
        Self { folder, gateway }
    }

    /// Puts a file in place, and waits until the program has taken note of it.
    fn replace(&self, name: &str, text: &str) -> Arc<Applied> {
        let mut news = self.gateway.status().subscribe();
        fs::write(self.folder.path().join(".new"), text).unwrap();
        fs::rename(self.folder.path().join(".new"), self.folder.path().join(name)).unwrap();
        wait(&mut news)
    }

    fn remove(&self, name: &str) -> Arc<Applied> {
        let mut news = self.gateway.status().subscribe();
        fs::remove_file(self.folder.path().join(name)).unwrap();
        wait(&mut news)
    }

    /// What is bound for a Gateway's port.
    fn bound(&self, port: u16) -> Option<SocketAddr> {
        let applied = self.gateway.status().applied();
        applied.listeners.iter().find(|listener| listener.address.port() == port)?.bound.as_ref()?.ip_and_port()
    }

    fn get(&self, port: u16) -> String {
        exchange(self.bound(port).unwrap(), "GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n")
    }

    fn admin(&self, request: &str) -> String {
        exchange(self.gateway.admin(), &format!("{request} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    }
}

fn wait(news: &mut tokio::sync::watch::Receiver<Arc<Applied>>) -> Arc<Applied> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, news.changed()).await.unwrap().unwrap() });
    Arc::clone(&news.borrow())
}

fn loopback(bound: SocketAddr) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, bound.port()).into()
}

fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(loopback(address)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The head of a request, as far as it comes.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.extend_from_slice(&byte);
    }
    String::from_utf8(head).unwrap()
}

fn start_error(folder: &Path, ports: &[(u16, u16)]) -> String {
    match Gateway::start(options(folder, ports), None) {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_gateway_serves_at_once_and_tells_that_it_is_live() {
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
    assert!(running.get(80).ends_with("one"));
    assert!(running.admin("GET /ready").ends_with("LIVE\n"));
    let dump = running.admin("GET /config_dump");
    assert!(dump.contains("\"VirtualService\"") && dump.contains("b.yaml"), "{dump}");
    running.gateway.stop();
}

#[test]
fn a_changed_file_is_in_force_and_a_refused_one_changes_nothing_until_corrected() {
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
    let first = running.gateway.status().applied();
    let second = running.replace("b.yaml", &direct("two"));
    assert!(running.get(80).ends_with("two"));
    assert_ne!(first.version, second.version);

    let refused = running.replace("b.yaml", "apiVersion: [\nkind: {{\n");
    assert_eq!(refused.version, second.version);
    assert!(running.get(80).ends_with("two"));
    let errors = running.admin("GET /config/errors");
    assert!(errors.contains("\"file\": \"b.yaml\""), "{errors}");
    assert!(running.admin("GET /stats/prometheus").contains("tidegate_config_errors 1"));

    let corrected = running.replace("b.yaml", &direct("one"));
    assert_eq!((corrected.version.clone(), corrected.errors.len()), (first.version.clone(), 0));
    assert!(running.get(80).ends_with("one"));
    running.gateway.stop();
}

#[test]
fn what_is_in_force_and_cannot_work_is_found_and_refused_by_nobody() {
    let lost = direct("one").replace("[web]", "[web, wep]");
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &lost)]);
    let errors = || running.admin("GET /stats/prometheus").contains("tidegate_config_findings{level=\"Error\"} 1");
    let told = running.admin("GET /config/errors");
    assert!(told.contains("IST0101") && told.contains("did you mean web?"), "{told}");
    assert!(errors() && running.get(80).ends_with("one"));

    let applied = running.replace("b.yaml", &direct("two"));
    assert_eq!((applied.errors.len(), applied.warnings.len()), (0, 0));
    assert!(!errors());
    let applied = running.replace("b.yaml", &lost);
    assert_eq!((applied.errors.len(), applied.warnings.len()), (0, 1));
    assert!(errors() && running.get(80).ends_with("one"));
    running.gateway.stop();
}

#[test]
fn listeners_come_and_go_and_the_others_connections_stay() {
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
    let mut kept = TcpStream::connect(loopback(running.bound(80).unwrap())).unwrap();
    kept.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(running.bound(81), None);
    running.replace("late.yaml", &GATEWAY.replace("web", "late").replace("80", "81"));
    let late = running.bound(81).unwrap();
    assert!(running.get(81).starts_with("HTTP/1.1 404 "), "no route is bound to it");
    running.remove("late.yaml");
    let end = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(loopback(late)).is_ok() {
        assert!(std::time::Instant::now() < end, "the listener is still there");
    }
    kept.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("one"), "{answer}");
    running.gateway.stop();
}

#[test]
fn other_endpoints_keep_the_compiled_table() {
    let (one, two) =
        (forward("STATIC", &[("127.0.0.1", 9001)]), forward("STATIC", &[("127.0.0.1", 9001), ("127.0.0.1", 9002)]));
    let (service, routes) = one.split_once("---\n").unwrap();
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", service), ("c.yaml", routes)]);
    let before = running.gateway.status().snapshot().unwrap();
    running.replace("b.yaml", two.split_once("---\n").unwrap().0);
    let after = running.gateway.status().snapshot().unwrap();
    assert!(Arc::ptr_eq(&before.table, &after.table));
    assert_ne!(before.version, after.version);
    let clusters = running.admin("GET /clusters");
    assert!(clusters.contains("::127.0.0.1:9002::health_flags::healthy"), "{clusters}");
    let first = |snapshot: &crate::snapshot::Snapshot| {
        Arc::clone(&snapshot.clusters[0].endpoints.get(balance::EntryIndex(0)).unwrap().state)
    };
    assert!(Arc::ptr_eq(&first(&before), &first(&after)), "an endpoint that stays keeps its state");
    running.gateway.stop();
}

#[test]
fn names_of_endpoints_are_looked_up_before_we_are_ready() {
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = backend.local_addr().unwrap().port();
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &forward("DNS", &[("localhost", port)]))]);
    let clusters = running.admin("GET /clusters");
    assert!(clusters.contains(&format!("::127.0.0.1:{port}::weight::1")), "{clusters}");
    running.gateway.stop();
}

#[test]
fn an_explanation_names_the_rule_and_the_endpoints() {
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &forward("STATIC", &[("127.0.0.1", 9001)]))]);
    for format in ["", "&format=json"] {
        let text = running.admin(&format!("POST /explain?url=http://a.example/x{format}"));
        assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
        assert!(text.contains("outbound|80||s.example") && text.contains("9001"), "{text}");
    }
    assert!(running.admin("POST /explain?url=http://a.example/x&listener=82").starts_with("HTTP/1.1 400 "));
    running.gateway.stop();
}

#[test]
fn a_drain_finishes_what_is_under_way_and_accepts_nothing_more() {
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = backend.local_addr().unwrap().port();
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &forward("STATIC", &[("127.0.0.1", port)]))]);
    let bound = loopback(running.bound(80).unwrap());
    let mut client = TcpStream::connect(bound).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").unwrap();
    let (mut upstream, _) = backend.accept().unwrap();
    let read = upstream.read(&mut [0; 1024]).unwrap();
    assert!(read > 0, "the request is under way");

    let mut news = running.gateway.status().subscribe();
    running.admin("POST /drain_listeners");
    wait(&mut news);
    assert!(running.admin("GET /ready").ends_with("DRAINING\n"));
    let end = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(bound).is_ok() {
        assert!(std::time::Instant::now() < end, "still accepting");
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").unwrap();
    let mut answer = String::new();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("connection: close") && answer.ends_with("late"), "{answer}");
    running.gateway.stop();
}

/// Whether a worker has a connection: until then it is the kernel's, which may drop it with the listener.
fn has_accepted(running: &Running) -> bool {
    let stats = running.admin("GET /stats");
    let mut active = stats.lines().filter(|line| line.starts_with("envoy_listener_downstream_cx_active{"));
    active.any(|line| line.ends_with(" 1"))
}

#[test]
fn a_connection_that_came_before_the_drain_is_served_once() {
    let running = Running::start(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
    let bound = loopback(running.bound(80).unwrap());
    let mut client = TcpStream::connect(bound).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while !has_accepted(&running) {
        assert!(std::time::Instant::now() < end, "not accepted");
    }
    running.gateway.order(Order::DrainAndEnd);
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").unwrap();
    let end = std::time::Instant::now() + PATIENCE;
    while TcpStream::connect(bound).is_ok() {
        assert!(std::time::Instant::now() < end, "still accepting");
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("one"), "{answer}");
    running.gateway.stop();
}

/// Asks once on a connection that stays, and yields the head of the answer.
fn ask(client: &mut TcpStream) -> String {
    client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").unwrap();
    let head = read_head(client);
    let mut body = [0; 3];
    client.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"one");
    head
}

#[test]
fn who_is_connected_may_ask_once_more_unless_the_program_ends() {
    for (order, drain, is_answered) in [
        (Order::Drain, 10_000, true),
        (Order::HandOver, 3_600_000, true),
        (Order::HandOver, 1_000, false),
        (Order::DrainAndEnd, 3_600_000, false),
    ] {
        let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
        let options = GatewayOptions { drain: Duration::from_millis(drain), ..options(folder.path(), &[(80, 0)]) };
        let running = Running { folder, gateway: Gateway::start(options, None).unwrap() };
        let bound = loopback(running.bound(80).unwrap());
        let mut client = TcpStream::connect(bound).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(!ask(&mut client).contains("connection: close"), "{order:?}");
        running.gateway.order(order);
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(bound).is_ok() {
            assert!(Instant::now() < end, "still accepting");
        }
        if is_answered {
            assert!(ask(&mut client).contains("connection: close"), "{order:?}");
        }
        assert_eq!(client.read(&mut [0]).unwrap(), 0, "{order:?}");
        running.gateway.stop();
    }
}

#[test]
fn a_drain_ends_at_its_bound_and_an_order_to_end_is_obeyed_at_once() {
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = backend.local_addr().unwrap().port();
    for (drain, orders) in [
        (Duration::from_millis(50), &[Order::DrainAndEnd][..]),
        (Duration::from_secs(3600), &[Order::DrainAndEnd, Order::End]),
    ] {
        let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &forward("STATIC", &[("127.0.0.1", port)]))]);
        let log = folder.path().join("log");
        let access_log = Target::parse(log.to_str().unwrap());
        let options = GatewayOptions { drain, access_log, ..options(folder.path(), &[(80, 0)]) };
        let running = Running { folder, gateway: Gateway::start(options, None).unwrap() };
        let mut client = TcpStream::connect(loopback(running.bound(80).unwrap())).unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").unwrap();
        let (_upstream, _) = backend.accept().unwrap();
        orders.iter().for_each(|&order| running.gateway.order(order));
        let begun = std::time::Instant::now();
        running.gateway.stop();
        assert!(begun.elapsed() < PATIENCE);
        let lines = fs::read_to_string(log).unwrap();
        assert!(lines.lines().count() == 1 && lines.contains(" DC "), "what is given up is logged: {lines:?}");
    }
}

#[test]
fn a_program_that_is_told_to_end_serves_for_the_delay_and_says_that_it_is_not_ready() {
    let folder = folder(&[("gateway.yaml", GATEWAY), ("routes.yaml", &direct("one"))]);
    let delay = Duration::from_secs(2);
    let options = GatewayOptions { drain_delay: delay, ..options(folder.path(), &[(80, 0)]) };
    let mut running = Running { folder, gateway: Gateway::start(options, None).unwrap() };
    let told = Instant::now();
    running.gateway.order(Order::DrainAndEnd);
    while running.admin("GET /ready").starts_with("HTTP/1.1 200") {
        assert!(told.elapsed() < PATIENCE);
    }
    let mut client = TcpStream::connect(loopback(running.bound(80).unwrap())).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let answer = ask(&mut client);
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("connection: close"), "{answer}");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(running.gateway.ended());
    assert!(told.elapsed() >= delay);
}

#[test]
fn a_client_is_told_that_its_connection_ends_before_it_has_sent_all_of_a_body_that_may_be_long() {
    let running = Running::start(&[("gateway.yaml", GATEWAY), ("routes.yaml", &direct("one"))]);
    let head_of_answer = |running: &Running, head: &str| {
        let mut client = TcpStream::connect(loopback(running.bound(80).unwrap())).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(client, "POST / HTTP/1.1\r\nhost: a.example\r\n{head}").unwrap();
        read_head(&mut client)
    };
    for (body, ends) in [
        ("content-length: 10\r\n\r\nsome", false),
        ("content-length: 100000\r\n\r\nsome", true),
        ("transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n", true),
        ("transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\n\r\n", false),
    ] {
        let answer = head_of_answer(&running, body);
        assert_eq!(answer.contains("connection: close"), ends, "{body}: {answer}");
    }

    // A back end that doesn't wait for it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    running.replace("routes.yaml", &forward("STATIC", &[("127.0.0.1", listener.local_addr().unwrap().port())]));
    let back_end = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        read_head(&mut connection);
        connection.write_all(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n").unwrap();
        connection
    });
    let answer = head_of_answer(&running, "content-length: 10\r\n\r\nsome");
    assert!(answer.contains("connection: close"), "{answer}");
    drop(back_end.join());
    running.gateway.order(Order::End);
}

#[test]
fn an_access_log_that_was_renamed_goes_on_in_a_new_file_once_it_is_told() {
    let folder = folder(&[("a.yaml", GATEWAY), ("v.yaml", &direct("one"))]);
    let logs = tempdir().unwrap();
    let (log, renamed) = (logs.path().join("log"), logs.path().join("log.1"));
    let options =
        GatewayOptions { access_log: Target::File(log.clone()), ..options(folder.path(), &[(80, 0), (81, 0)]) };
    let running = Running { folder, gateway: Gateway::start(options, None).unwrap() };
    fs::rename(&log, &renamed).unwrap();
    running.gateway.order(Order::ReopenLog);
    let begun = Instant::now();
    while !fs::metadata(&log).is_ok_and(|file| file.len() > 0) {
        running.get(80);
        assert!(begun.elapsed() < PATIENCE, "nothing comes into the new file");
    }
    running.gateway.stop();
}

#[test]
fn what_keeps_a_gateway_from_starting_is_said_in_one_sentence_with_the_cure() {
    let nowhere = start_error(Path::new("/nowhere/at/all"), &[]);
    assert!(nowhere.contains("/nowhere/at/all") && nowhere.contains("--config"), "{nowhere}");

    let broken = folder(&[("a.yaml", GATEWAY), ("b.yaml", "apiVersion: [\nkind: {{\n")]);
    let error = start_error(broken.path(), &[(80, 0)]);
    assert!(error.contains("b.yaml:"), "{error}");

    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let good = folder(&[("a.yaml", GATEWAY)]);
    let error = start_error(good.path(), &[(80, port)]);
    assert!(error.contains("in use") && error.contains("--port-map 80:PORT"), "{error}");

    let mut admin = options(good.path(), &[(80, 0)]);
    admin.admin = (Ipv4Addr::LOCALHOST, port).into();
    let Err(error) = Gateway::start(admin, None) else { panic!("it started") };
    assert!(error.to_string().contains("--admin"), "{error}");
}

#[test]
fn a_port_that_is_taken_later_is_told_and_bound_when_it_is_free() {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = folder(&[("a.yaml", GATEWAY), ("b.yaml", &direct("one"))]);
    let gateway = Gateway::start(options(folder.path(), &[(80, 0), (81, port)]), None).unwrap();
    let running = Running { folder, gateway };
    let applied = running.replace("late.yaml", &GATEWAY.replace("web", "late").replace("80", "81"));
    let errors: Vec<_> = applied.listeners.iter().filter_map(|listener| listener.error.as_deref()).collect();
    assert!(matches!(&errors[..], [error] if error.contains("--port-map 81:PORT")), "{errors:?}");
    assert!(running.get(80).ends_with("one"), "everything else goes on");
    let mut news = running.gateway.status().subscribe();
    drop(taken);
    wait(&mut news);
    assert_eq!(running.bound(81).map(|bound| bound.port()), Some(port));
    running.gateway.stop();
}

#[test]
fn an_emptied_folder_leaves_the_last_configuration_in_force() {
    // Whole folders are moved, so that no look falls between two files.
    let folder = tempdir().unwrap();
    let [config, away, next] = ["config", "away", "next"].map(|name| folder.path().join(name));
    for (place, text) in [(&config, "one"), (&next, "two")] {
        fs::create_dir(place).unwrap();
        fs::write(place.join("a.yaml"), GATEWAY).unwrap();
        fs::write(place.join("b.yaml"), direct(text)).unwrap();
    }
    let gateway = Gateway::start(options(&config, &[(80, 0)]), None).unwrap();
    let running = Running { folder, gateway };
    fs::rename(&config, &away).unwrap();
    fs::create_dir(&config).unwrap();
    running.gateway.order(Order::Reread);
    assert!(running.get(80).ends_with("one"));
    let mut news = running.gateway.status().subscribe();
    fs::rename(&next, &config).unwrap();
    running.gateway.order(Order::Reread);
    // That the folder was empty may be news, too.
    while !running.get(80).ends_with("two") {
        wait(&mut news);
    }
    running.gateway.stop();
}
