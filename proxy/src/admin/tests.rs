//! The admin as its users see it: what each path answers, and that nobody can keep others from it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

use config_model::model::ListenerAddress;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::control::{Applied, ListenerStatus, State};

struct Fixture {
    context: Context,
    orders: UnboundedReceiver<Order>,
}

impl Fixture {
    fn new() -> Self {
        let (orders, inbox) = unbounded_channel();
        let workload = crate::telemetry::DestinationLabels::unknown().workload;
        let context = Context {
            status: Arc::new(Status::new(Instant::now(), SystemTime::UNIX_EPOCH)),
            metrics: Metrics::new((*workload).clone(), "test"),
            orders,
            levels: None,
            identity: Identity {
                version: "0.0.0 (test)".to_owned(),
                namespace: "edge".to_owned(),
                labels: [("istio".into(), "ingressgateway".into())].into(),
                config: "/etc/config".to_owned(),
                workers: 3,
            },
        };
        Self { context, orders: inbox }
    }

    fn ask(&self, method: &str, target: &str) -> (StatusCode, String) {
        self.ask_with(method, target, &[], "")
    }

    fn ask_with(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(target).header("host", "127.0.0.1:15000");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        text_of(answer_to(&request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap(), &self.context))
    }
}

fn text_of(answer: Answer) -> (StatusCode, String) {
    let status = answer.status();
    let body = futures(answer.into_body().collect());
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// A body that is there already needs no runtime.
fn futures<E: std::fmt::Debug>(collect: impl Future<Output = Result<http_body_util::Collected<Bytes>, E>>) -> Bytes {
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(collect).poll(&mut task) {
        std::task::Poll::Ready(collected) => collected.unwrap().to_bytes(),
        std::task::Poll::Pending => panic!("the body is not there yet"),
    }
}

#[test]
fn ready_answers_200_only_while_we_serve() {
    let fixture = Fixture::new();
    assert_eq!(fixture.ask("GET", "/ready"), (StatusCode::SERVICE_UNAVAILABLE, "INITIALIZING\n".to_owned()));
    fixture.context.status.reach(State::Live);
    assert_eq!(fixture.ask("GET", "/ready"), (StatusCode::OK, "LIVE\n".to_owned()));
    fixture.context.status.reach(State::Draining);
    assert_eq!(fixture.ask("GET", "/ready"), (StatusCode::SERVICE_UNAVAILABLE, "DRAINING\n".to_owned()));
}

#[test]
fn every_path_that_looks_is_a_get_and_every_path_that_changes_is_a_post() {
    let fixture = Fixture::new();
    for page in PAGES {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "NONSENSE"] {
            let allowed = if page.changes { method == "POST" } else { matches!(method, "GET" | "HEAD") };
            let (status, _) = fixture.ask(method, page.path);
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, allowed, "{method} {}", page.path);
        }
    }
}

#[test]
fn a_wrong_method_is_told_the_right_one_and_an_unknown_path_the_list() {
    let fixture = Fixture::new();
    let request = Request::builder().uri("/quitquitquit").body(Bytes::new()).unwrap();
    let answer = answer_to(&request, &fixture.context);
    assert_eq!(answer.headers().get(header::ALLOW).unwrap(), "POST");
    let (status, text) = fixture.ask("GET", "/nothing/here");
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("/help"));
    let (_, help) = fixture.ask("GET", "/help");
    assert!(PAGES.iter().all(|page| help.contains(page.path)));
}

#[test]
fn orders_are_given_by_post_and_by_nothing_else() {
    let mut fixture = Fixture::new();
    for path in ["/quitquitquit", "/drain_listeners"] {
        fixture.ask("GET", path);
        fixture.ask("HEAD", path);
        assert!(fixture.orders.try_recv().is_err(), "{path}");
    }
    assert_eq!(fixture.ask("POST", "/drain_listeners"), (StatusCode::OK, "OK\n".to_owned()));
    assert_eq!(fixture.ask("POST", "/quitquitquit").0, StatusCode::OK);
    assert_eq!(fixture.orders.try_recv(), Ok(Order::Drain));
    assert_eq!(fixture.orders.try_recv(), Ok(Order::DrainAndEnd));
}

#[test]
fn a_web_page_of_another_site_changes_nothing() {
    let mut fixture = Fixture::new();
    for origin in ["http://evil.example", "null", "http://127.0.0.1:8080"] {
        let (status, _) = fixture.ask_with("POST", "/quitquitquit", &[("origin", origin)], "");
        assert_eq!(status, StatusCode::FORBIDDEN, "{origin}");
    }
    assert!(fixture.orders.try_recv().is_err());
    let (status, _) = fixture.ask_with("POST", "/quitquitquit", &[("origin", "http://127.0.0.1:15000")], "");
    assert_eq!(status, StatusCode::OK);
}

#[test]
fn server_info_says_who_we_are() {
    let (status, text) = Fixture::new().ask("GET", "/server_info");
    let info: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(info["state"], "INITIALIZING");
    assert_eq!(info["version"], "0.0.0 (test)");
    assert_eq!(info["node"]["labels"]["istio"], "ingressgateway");
    assert_eq!(info["command_line_options"]["workers"], 3);
}

#[test]
fn listeners_say_what_is_bound_for_what_and_what_is_not() {
    let fixture = Fixture::new();
    let address = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into();
    let socket = ListenerAddress::Unix("/run/mesh.sock".into());
    fixture.context.status.set_applied(Applied {
        listeners: vec![
            ListenerStatus { address: address(80), bound: Some(address(8080)), error: None },
            ListenerStatus { address: address(81), bound: None, error: Some("in use".to_owned()) },
            ListenerStatus { address: socket.clone(), bound: Some(socket), error: None },
        ],
        ..(*fixture.context.status.applied()).clone()
    });
    let (_, text) = fixture.ask("GET", "/listeners");
    let unix = "unix:///run/mesh.sock_0::/run/mesh.sock\n";
    assert_eq!(text, format!("0.0.0.0_80::0.0.0.0:8080\n0.0.0.0_81::not bound: in use\n{unix}"));
    let (_, json) = fixture.ask("GET", "/listeners?format=json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["listener_statuses"][0]["local_address"]["socket_address"]["port_value"], 8080);
    assert_eq!(json["listener_statuses"][2]["local_address"]["pipe"]["path"], "/run/mesh.sock");
    let (_, errors) = fixture.ask("GET", "/config/errors");
    let errors: serde_json::Value = serde_json::from_str(&errors).unwrap();
    assert_eq!(errors["listeners"][0]["error"], "in use");
}

#[test]
fn before_the_first_configuration_there_is_nothing_to_explain() {
    let fixture = Fixture::new();
    let (status, _) = fixture.ask_with("POST", "/explain", &[], r#"{"url": "http://a.example/"}"#);
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fixture.ask("GET", "/clusters"), (StatusCode::OK, String::new()));
    assert_eq!(fixture.ask("GET", "/config_dump").0, StatusCode::OK);
}

/// A fixture with a configuration in force: two services, a split, and a Secret.
fn configured() -> Fixture {
    configured_with(&[])
}

/// The example with further files.
fn configured_with(more: &[(&'static str, &str)]) -> Fixture {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: edge-cert}\ntype: kubernetes.io/tls\nstringData: {tls.crt: \
                  CERTIFICATE, tls.key: very-private}\n";
    let mut files = crate::control::tests::example();
    files.push(("secret.yaml", secret.to_owned()));
    files.extend(more.iter().map(|(name, text)| (*name, (*text).to_owned())));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let (snapshot, resources) = crate::control::tests::snapshot_of(&files);
    let fixture = Fixture::new();
    fixture.context.status.set_applied(Applied {
        version: Arc::clone(&snapshot.version),
        resources,
        ..(*fixture.context.status.applied()).clone()
    });
    fixture.context.status.set_snapshots(Arc::new(crate::snapshot::SnapshotStore::new(Arc::new(snapshot))));
    fixture
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_dump_has_the_words_of_the_author_the_model_and_no_secret() {
    let (status, text) = configured().ask("GET", "/config_dump");
    assert_eq!(status, StatusCode::OK);
    assert!(!text.contains("very-private") && !text.contains("CERTIFICATE"), "{text}");
    let dump = json(&text);
    let resources = dump["resources"].as_array().unwrap();
    let of_kind = |kind: &str| resources.iter().find(|resource| resource["kind"] == kind).unwrap();
    assert_eq!(of_kind("Secret")["spec"], "[redacted]");
    assert_eq!(of_kind("VirtualService")["file"], "routes.yaml");
    assert_eq!(of_kind("VirtualService")["spec"]["http"][1]["route"][0]["destination"]["subset"], "v1");
    assert_eq!(dump["model"]["listeners"][0]["address"], "0.0.0.0:80");
    assert_eq!(dump["endpoints"]["outbound|80|v1|a.example"][0]["address"]["socket_address"]["port_value"], 9001);
}

#[test]
fn clusters_are_told_in_the_words_of_envoy() {
    let fixture = configured();
    let (_, text) = fixture.ask("GET", "/clusters");
    for line in [
        "outbound|80|v2|a.example::default_priority::max_connections::4294967295\n",
        "outbound|80|v2|a.example::127.0.0.1:9002::health_flags::healthy\n",
        "outbound|80|v2|a.example::127.0.0.1:9002::priority::0\n",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, text) = fixture.ask_with("GET", "/clusters", &[("accept", "application/json")], "");
    let statuses = json(&text);
    let cluster = statuses["cluster_statuses"].as_array().unwrap();
    let cluster = cluster.iter().find(|cluster| cluster["name"] == "outbound|80||b.example").unwrap();
    assert_eq!(cluster["host_statuses"][0]["health_status"]["eds_health_status"], "HEALTHY");
}

#[test]
fn the_version_is_told_as_text_and_as_json() {
    let fixture = configured();
    let version = fixture.context.status.applied().version.to_string();
    assert_eq!(fixture.ask("GET", "/config/version"), (StatusCode::OK, format!("{version}\n")));
    let (_, text) = fixture.ask("GET", "/config/version?format=json");
    assert_eq!(json(&text)["version"], version);
}

#[test]
fn an_explanation_is_asked_for_by_a_body_or_by_parameters_and_both_mean_the_same() {
    let fixture = configured();
    let body = r#"{"method": "GET", "url": "http://x.example/whole/1", "headers": {"end-user": ["a", "b"]}}"#;
    let by_body = fixture.ask_with("POST", "/explain?format=json", &[], body);
    let target = "/explain?format=json&method=GET&url=http://x.example/whole/1&header=end-user:a&header=end-user:b";
    assert_eq!(by_body, fixture.ask("POST", target));
    let explained = json(&by_body.1);
    assert_eq!(explained["explanation"]["outcome"]["destinations"][0]["cluster"], "outbound|80||b.example");
    assert_eq!(explained["endpoints"]["outbound|80||b.example"].as_array().unwrap().len(), 1);
    let (_, text) = fixture.ask_with("POST", "/explain", &[], body);
    let endpoints = "endpoints of outbound|80||b.example\n  by LEAST_REQUEST  ";
    assert!(text.contains(endpoints) && text.contains("\n  127.0.0.1:9003\n"), "{text}");
    let rules = &explained["clusters"]["outbound|80||b.example"];
    assert_eq!(rules["policies"], serde_json::json!(["LEAST_REQUEST"]));
}

#[test]
fn connections_that_are_not_http_are_explained_too() {
    let tcp = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: raw}\nspec:\n  selector: {istio: \
               ingressgateway}\n  servers:\n  - {port: {number: 9100, name: raw, protocol: TCP}, hosts: ['*']}\n---\n\
               apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: raw}\nspec:\n  hosts: \
               ['*']\n  gateways: [raw]\n  tcp:\n  - route: [{destination: {host: b.example, port: {number: 80}}}]\n";
    let fixture = configured_with(&[("tcp.yaml", tcp)]);
    let told = fixture.ask_with("POST", "/explain?format=json", &[], r#"{"url": "tcp://10.0.0.1:9100"}"#);
    let explained = json(&told.1);
    assert_eq!((told.0, &explained["explanation"]["listener"]), (StatusCode::OK, &serde_json::json!("0.0.0.0:9100")));
    let destination = &explained["explanation"]["destinations"][0];
    assert_eq!(destination["cluster"], "outbound|80||b.example");
    assert_eq!(destination["endpoints"].as_array().unwrap().len(), 1);
    let (_, text) = fixture.ask("POST", "/explain?url=tcp://10.0.0.1:9100");
    assert!(text.contains("taken ") && text.contains("\n  127.0.0.1:9003\n") && !text.contains('\u{1b}'), "{text}");
    let (status, text) = fixture.ask("POST", "/explain?url=tcp://10.0.0.1:80");
    assert!(status == StatusCode::BAD_REQUEST && text.contains("takes no connections but HTTP or TLS"), "{text}");
}

#[test]
fn tls_that_is_passed_on_is_explained_by_its_server_name() {
    let tls = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: passed}\nspec:\n  selector: {istio: \
               ingressgateway}\n  servers:\n  - {port: {number: 9443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, \
               hosts: ['*.pass.example']}\n---\n\
               apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: passed}\nspec:\n  hosts: \
               ['*.pass.example']\n  gateways: [passed]\n  tls:\n  - match: [{port: 9443, sniHosts: \
               [a.pass.example]}]\n    route: [{destination: {host: b.example, port: {number: 80}}}]\n";
    let fixture = configured_with(&[("tls.yaml", tls)]);
    let (status, text) = fixture.ask("POST", "/explain?format=json&url=tls://A.pass.example:9443");
    let explained = &json(&text)["explanation"];
    assert_eq!((status, &explained["listener"]), (StatusCode::OK, &serde_json::json!("0.0.0.0:9443")));
    assert_eq!(explained["destinations"][0]["cluster"], "outbound|80||b.example");
    let (status, text) = fixture.ask("POST", "/explain?url=tls://b.pass.example:9443");
    assert!(status == StatusCode::BAD_REQUEST && text.contains("passes no TLS for \"b.pass.example\" on"), "{text}");
}

#[test]
fn a_question_that_can_not_be_answered_says_why() {
    let fixture = configured();
    for (body, part) in [
        ("", "name a url"),
        ("{", "the body is not what is expected"),
        (r#"{"url": "http://a.example/", "header": {}}"#, "unknown field `header`"),
        (r#"{"url": "/only/a/path"}"#, "no host"),
        (r#"{"url": "ftp://a.example/"}"#, "use http or https"),
        (r#"{"url": "http://a.example/", "listener": 81}"#, "no such listener"),
        (r#"{"url": "http://a.example/", "listener": "10.0.0.1:80"}"#, "0.0.0.0:80"),
        (r#"{"url": "http://a.example/%00"}"#, "400"),
    ] {
        let (status, text) = fixture.ask_with("POST", "/explain", &[], body);
        assert!(status == StatusCode::BAD_REQUEST && text.contains(part), "{body}: {text}");
    }
    for listener in [r#"80"#, r#""80""#, r#""0.0.0.0:80""#] {
        let body = format!(r#"{{"url": "/x", "headers": {{"host": "a.example"}}, "listener": {listener}}}"#);
        assert_eq!(fixture.ask_with("POST", "/explain", &[], &body).0, StatusCode::OK, "{listener}");
    }
}

#[test]
fn metrics_are_answered_in_prometheus_format() {
    let (status, text) = Fixture::new().ask("GET", "/stats/prometheus");
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("# TYPE "), "{text}");
}

proptest! {
    #[test]
    fn any_request_gets_an_answer(
        method in prop::sample::select(vec!["GET", "POST", "HEAD"]),
        page in 0..PAGES.len(),
        query in "[ -~]{0,40}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let fixture = Fixture::new();
        let target = format!("{}?{query}", PAGES[page].path);
        if let Ok(request) = Request::builder().method(method).uri(target).body(Bytes::from(body)) {
            prop_assert_ne!(answer_to(&request, &fixture.context).status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
    }
}

fn started() -> (Admin, SocketAddr) {
    let fixture = Fixture::new();
    fixture.context.status.reach(State::Live);
    let admin = Admin::start(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(), fixture.context).unwrap();
    let address = admin.address();
    (admin, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends `bytes` and reads to the end.
fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

const READY: &[u8] = b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

#[test]
fn a_crowd_of_silent_clients_keeps_nobody_out() {
    let (_admin, address) = started();
    let crowd: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = connect(address);
            // One that had to go may have been told so already.
            let _ = stream.write_all(b"GET /ready HT");
            stream
        })
        .collect();
    assert!(exchange(address, READY).starts_with("HTTP/1.1 200 OK"));
    drop(crowd);
}

#[test]
fn bytes_that_are_no_request_harm_nobody() {
    let (_admin, address) = started();
    let long = [b"GET / HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 200_000]].concat();
    for bytes in [
        &[0; 4000][..],
        &long,
        b"POST /ready HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ] {
        let mut stream = connect(address);
        let _ = stream.write_all(bytes);
        assert!(exchange(address, READY).starts_with("HTTP/1.1 200 OK"));
    }
}

#[test]
fn a_body_beyond_its_bound_is_refused() {
    let (_admin, address) = started();
    let body = vec![b' '; (64 << 10) + 1];
    let head = format!("POST /explain HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer = exchange(address, &[head.as_bytes(), &body].concat());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_takes_too_long_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let ask = async {
        tokio::task::spawn_local(server::serve(listener, Arc::new(Fixture::new().context)));
        client.write_all(b"POST /explain HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n").await.unwrap();
        // Never silent for as long as a silent client may be, on a clock that stands still but for this.
        for _ in 0..6 {
            client.write_all(b" ").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    };
    tokio::task::LocalSet::new().run_until(ask).await;
}

#[test]
fn a_connection_takes_several_requests_one_after_the_other() {
    let (_admin, address) = started();
    let two = [b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\n".as_slice(), READY].concat();
    assert_eq!(exchange(address, &two).matches("200 OK").count(), 2);
}

#[test]
fn the_admin_ends_when_it_is_dropped() {
    let (admin, address) = started();
    drop(admin);
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "still listening");
        std::thread::yield_now();
    }
}
