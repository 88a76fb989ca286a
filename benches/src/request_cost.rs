//! What one request costs the whole program in user space: a gateway with one worker under callgrind, back ends on loopback,
//! keep-alive on both sides, answers of 1 KiB. Two runs of different length, whose difference counts no start and no end.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::backends::{self, Client};
use crate::callgrind::{self, CallgrindError};
use crate::http2::Http2Client;

/// A gateway whose requests are counted.
pub(crate) struct RequestCost {
    /// Of the benchmark.
    pub(crate) name: &'static str,
    /// Of the DestinationRule, `trafficPolicy`.
    traffic_policy: &'static str,
    /// Of the rule, beside its match and its destinations.
    rule: &'static str,
    load: Load,
}

/// What clients speak.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// A request at a time on each connection.
    Http1,
    /// Many at once on few connections.
    Http2,
}

/// Host and prefix match and a 50/50 split, with the least of policies that is real, with all that guard requests, and for clients of
/// HTTP/2.
pub(crate) const ALL: [RequestCost; 3] = [
    RequestCost { name: "request/h1-small", traffic_policy: ROUND_ROBIN, rule: "", load: Load::Http1 },
    RequestCost {
        name: "request/h1-small-armed",
        traffic_policy: "loadBalancer: {simple: LEAST_REQUEST}, outlierDetection: {consecutive5xxErrors: 5, maxEjectionPercent: \
                         100}, connectionPool: {tcp: {maxConnections: 1000}, http: {http1MaxPendingRequests: 1000, \
                         http2MaxRequests: 1000, maxRetries: 10}}",
        rule: "timeout: 15s\n    retries: {attempts: 3, perTryTimeout: 5s, retryOn: '5xx,reset,connect-failure'}",
        load: Load::Http1,
    },
    RequestCost { name: "request/h2-small", traffic_policy: ROUND_ROBIN, rule: "", load: Load::Http2 },
];

const ROUND_ROBIN: &str = "loadBalancer: {simple: ROUND_ROBIN}";
/// Requests under way at once, each on a connection of its own if that is HTTP/1.1. All send, then all are answered: the worker
/// finds many at once, as under load.
const AT_ONCE: u32 = 64;
/// Those of them that share a connection of HTTP/2.
const STREAMS: u32 = 16;
/// Times that they are sent in the short run; by then every pool is full.
const ROUNDS_SHORT: u64 = 10;
const ROUNDS_LONG: u64 = 50;
/// Valgrind starts in seconds, and makes everything fifty times slower.
const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &str = "GET /reviews/7 HTTP/1.1\r\nHost: reviews.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

/// Why there is no figure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestCostError {
    #[error("{0}")]
    Callgrind(#[from] CallgrindError),
    #[error("no gateway at {}: cargo build --release", .0.display())]
    NotBuilt(PathBuf),
    #[error("{doing}: {error}")]
    Io { doing: &'static str, error: io::Error },
    #[error("the gateway {0}")]
    Gateway(String),
    #[error("an answer with status {0} where 200 was due")]
    Status(u16),
}

impl RequestCost {
    /// Instructions a request.
    pub(crate) fn measure(&self) -> Result<u64, RequestCostError> {
        let program = std::env::current_exe().map_err(during("finding the program"))?.with_file_name("tidegate");
        if !program.exists() {
            return Err(RequestCostError::NotBuilt(program));
        }
        let short = self.run(&program, ROUNDS_SHORT)?;
        let long = self.run(&program, ROUNDS_LONG)?;
        Ok(long.saturating_sub(short) / (u64::from(AT_ONCE) * (ROUNDS_LONG - ROUNDS_SHORT)))
    }

    /// Instructions of a gateway from start to end, that serves so many rounds of requests.
    fn run(&self, program: &Path, rounds: u64) -> Result<u64, RequestCostError> {
        let counts = callgrind::counts_file(program);
        let folder = counts.with_extension("config");
        let (port, admin) = free_ports().map_err(during("finding free ports"))?;
        fs::create_dir_all(&folder).map_err(during("making the configuration's folder"))?;
        fs::write(folder.join("bench.yaml"), self.configuration(port)?).map_err(during("writing the configuration"))?;
        let mut gateway = Gateway::start(program, &counts, &folder, admin)?;
        let loaded = gateway.wait_for(port).and_then(|()| self.load.run(local(port), rounds));
        let ended = gateway.end(admin);
        let _ = fs::remove_dir_all(&folder);
        loaded.and(ended)?;
        Ok(callgrind::take_count(&counts)?)
    }

    /// One endpoint for v1, two for v2.
    fn configuration(&self, port: u16) -> Result<String, RequestCostError> {
        let mut endpoints = String::new();
        for version in ["v1", "v2", "v2"] {
            let backend = backends::start().map_err(during("starting a back end"))?.port();
            endpoints +=
                &format!("  - {{address: 127.0.0.1, ports: {{http: {backend}}}, labels: {{version: {version}}}}}\n");
        }
        let text =
            include_str!("request_cost.yaml").replace("PORT", &port.to_string()).replace("  - ENDPOINTS\n", &endpoints);
        Ok(text.replace("TRAFFIC", self.traffic_policy).replace("RULE", self.rule))
    }
}

fn during(doing: &'static str) -> impl Fn(io::Error) -> RequestCostError {
    move |error| RequestCostError::Io { doing, error }
}

/// Two ports that are free now.
fn free_ports() -> io::Result<(u16, u16)> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (bind()?, bind()?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

impl Load {
    /// Sends `rounds` times as many requests as are under way at once.
    fn run(self, gateway: SocketAddr, rounds: u64) -> Result<(), RequestCostError> {
        match self {
            Self::Http1 => load_http1(gateway, rounds),
            Self::Http2 => load_http2(gateway, rounds),
        }
    }
}

fn load_http1(gateway: SocketAddr, rounds: u64) -> Result<(), RequestCostError> {
    let connect = |_| Client::connect(gateway);
    let mut clients = (0..AT_ONCE).map(connect).collect::<io::Result<Vec<_>>>().map_err(during("connecting"))?;
    for _ in 0..rounds {
        clients.iter_mut().try_for_each(|client| client.send(REQUEST)).map_err(during("sending"))?;
        for client in &mut clients {
            let status = client.receive().map_err(during("receiving"))?;
            if status != 200 {
                return Err(RequestCostError::Status(status));
            }
        }
    }
    Ok(())
}

fn load_http2(gateway: SocketAddr, rounds: u64) -> Result<(), RequestCostError> {
    let connect = |_| Http2Client::connect(gateway);
    let clients = (0..AT_ONCE / STREAMS).map(connect).collect::<io::Result<Vec<_>>>();
    let mut clients = clients.map_err(during("connecting"))?;
    for _ in 0..rounds {
        let mut send = clients.iter_mut().map(|client| client.send("reviews.example", "/reviews/7", STREAMS));
        send.try_for_each(|sent| sent).map_err(during("sending"))?;
        clients.iter_mut().try_for_each(|client| client.receive(STREAMS)).map_err(during("receiving"))?;
    }
    Ok(())
}

/// A gateway under callgrind; it is killed if it is still there when this goes out of scope.
struct Gateway(Child);

impl Gateway {
    fn start(program: &Path, counts: &Path, folder: &Path, admin: u16) -> Result<Self, RequestCostError> {
        // Valgrind runs one thread at a time: without this, one of them may starve the worker.
        let mut command = callgrind::command(program, counts, &["--fair-sched=try"]);
        command.arg("gateway").arg("--config").arg(folder);
        command.args(["--namespace", "default", "--labels", "istio=ingressgateway", "--workers", "1"]);
        command.args(["--access-log", "off", "--admin", &local(admin).to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().map(Self).map_err(during("starting valgrind"))
    }

    /// Waits until the gateway takes connections.
    fn wait_for(&mut self, port: u16) -> Result<(), RequestCostError> {
        let start = Instant::now();
        while Client::connect(local(port)).is_err() {
            if let Some(status) = self.0.try_wait().map_err(during("looking after the gateway"))? {
                return Err(RequestCostError::Gateway(format!("ended with {status} before it took connections")));
            }
            if start.elapsed() > PATIENCE {
                return Err(RequestCostError::Gateway(format!("took no connection for {PATIENCE:?}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Asks the gateway to end, which writes the counts, and waits for it.
    fn end(&mut self, admin: u16) -> Result<(), RequestCostError> {
        let ask = "POST /quitquitquit HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
        Client::connect(local(admin)).and_then(|mut client| client.send(ask)).map_err(during("asking for the end"))?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.0.try_wait().map_err(during("looking after the gateway"))? {
                let failed = RequestCostError::Gateway(format!("ended with {status}"));
                return if status.success() { Ok(()) } else { Err(failed) };
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(RequestCostError::Gateway(format!("did not end within {PATIENCE:?}")))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_names_its_port_and_three_back_ends() {
        let text = ALL[1].configuration(18_080).unwrap();
        assert!(text.contains("number: 18080"), "{text}");
        assert_eq!(text.matches("address: 127.0.0.1,").count(), 3, "{text}");
        assert!(!text.contains("PORT") && !text.contains("ENDPOINTS"), "{text}");
        assert!(!text.contains("TRAFFIC") && !text.contains("RULE") && text.contains("outlierDetection"), "{text}");
    }

    #[test]
    fn every_answer_of_a_load_is_looked_at() {
        let backend = backends::start().unwrap();
        assert!(Load::Http1.run(backend, 2).is_ok());
    }
}
