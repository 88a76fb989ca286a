//! The demo as a newcomer meets it, but without a terminal: what it prints is what one can do.

#![allow(clippy::unwrap_used, reason = "a test ends where it can't go on")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

const PODS: [&str; 3] = ["reviews-v1-", "reviews-v2-", "reviews-v3-"];

impl Drop for Demo {
    /// So that a test that fails leaves nothing behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
    }
}

/// A demo that runs, and the lines that it has printed.
struct Demo {
    process: Child,
    output: BufReader<ChildStdout>,
    printed: Vec<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let mut process = command.arg("demo").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output, printed: Vec::new() }
    }

    /// Reads until a line that contains `text`, and returns it.
    fn line(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "no {text:?} in {:#?}", self.printed);
            self.printed.push(line.clone());
            if line.contains(text) {
                return line.trim().to_owned();
            }
        }
    }

    /// The address in the next curl line.
    fn url(&mut self) -> String {
        let line = self.line("curl http://localhost:");
        let port = line.rsplit_once(':').and_then(|(_, rest)| rest.split('/').next()).unwrap();
        format!("127.0.0.1:{port}")
    }

    /// Ends it as Ctrl-C would. Returns its status and what it printed from now on.
    fn interrupt(self) -> (ExitStatus, String) {
        let sent = Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
        self.end()
    }

    fn end(mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        (self.process.wait().unwrap(), rest)
    }
}

/// How many of `count` requests, each on a connection of its own, each version answers.
fn answers(address: &str, count: usize) -> [usize; 3] {
    let mut answers = [0; 3];
    for _ in 0..count {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /reviews/0 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        answers[PODS.iter().position(|pod| answer.contains(pod)).unwrap()] += 1;
    }
    answers
}

#[test]
fn the_gateway_splits_evenly_over_two_versions_and_past_it_all_three_answer() {
    let mut demo = Demo::start(&[]);
    let (gateway, service) = (demo.url(), demo.url());
    assert_eq!(answers(&service, 30), [10, 10, 10]);
    let [v1, v2, v3] = answers(&gateway, 100);
    // The demo's own requests take their part of the sequence, so that these may be some off.
    assert!(v1.abs_diff(v2) <= 30 && v1 + v2 == 100 && v3 == 0, "{v1} {v2} {v3}");
    let (status, rest) = demo.interrupt();
    assert!(status.success() && rest.contains("Stopped; 0 requests failed."), "{status} {rest}");
    assert!(!rest.contains('\x1b'), "control sequences without a terminal: {rest}");
}

#[test]
fn an_edited_weight_is_followed_and_a_broken_file_is_told_while_traffic_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let routes = folder.path().join("virtual-service-reviews.yaml");
    let mut demo = Demo::start(&["--config", folder.path().to_str().unwrap()]);
    let gateway = demo.url();
    demo.line("configured 50%");
    let even = std::fs::read_to_string(&routes).unwrap();
    let replace = |text: &str| {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &routes).unwrap();
    };
    replace(&even.replacen("weight: 50", "weight: 0", 1));
    demo.line("is in force");
    assert_eq!(answers(&gateway, 20), [0, 20, 0]);
    demo.line("v1 configured 0% observed 0% (0)  v2 configured 100%");

    replace(&even.replace("prefix:", "prefx:"));
    let error = demo.line("Error [IST0106]");
    assert!(error.contains("virtual-service-reviews.yaml:13:9) spec.http[0].match[0].uri.prefx: "), "{error}");
    assert!(error.ends_with("did you mean prefix?"), "{error}");
    assert_eq!(answers(&gateway, 20), [0, 20, 0]);

    let (status, rest) = demo.interrupt();
    assert!(status.success() && rest.contains("Stopped; 0 requests failed."), "{status} {rest}");
}

#[test]
fn a_demo_with_a_duration_ends_by_itself() {
    let (status, printed) = Demo::start(&["--duration", "1s"]).end();
    assert!(status.success() && printed.contains("Stopped; 0 requests failed."), "{status} {printed}");
}
