//! Light traffic of the demo's own: one request after the other over one kept connection, as a browser would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use super::reviews::Version;

/// Time between two requests.
const INTERVAL: Duration = Duration::from_millis(50);
/// A request that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(5);
/// What is asked for.
pub(crate) const PATH: &str = "/reviews/0";

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A version answered.
    Answered(Version),
    /// Anything else, in a few words.
    Failed(String),
}

/// Sends requests to `gateway` and tells when each began and how it ended, until nobody listens.
pub(crate) async fn send(gateway: SocketAddr, outcomes: mpsc::Sender<(Instant, Outcome)>) {
    let mut client = Client { gateway, connection: None };
    let mut ticks = time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = Instant::now();
        let outcome = match time::timeout(LIMIT, client.request()).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => client.failed(error.to_string()),
            Err(_) => client.failed(format!("no answer within {LIMIT:?}")),
        };
        if outcomes.send((asked, outcome)).await.is_err() {
            return;
        }
    }
}

struct Client {
    gateway: SocketAddr,
    connection: Option<SendRequest<Empty<Bytes>>>,
}

impl Client {
    async fn request(&mut self) -> Result<Outcome, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = PATH.parse()?;
        let host = HeaderValue::try_from(format!("localhost:{}", self.gateway.port()))?;
        request.headers_mut().insert(header::HOST, host);
        let answer = self.connection().await?.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(match Version::of_answer(&body).filter(|_| status == StatusCode::OK) {
            Some(version) => Outcome::Answered(version),
            None => Outcome::Failed(format!("{} {}", status.as_u16(), String::from_utf8_lossy(&body).trim())),
        })
    }

    /// The kept connection, or a new one if it has been closed meanwhile.
    async fn connection(&mut self) -> Result<&mut SendRequest<Empty<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let mut kept = self.connection.take();
        if let Some(connection) = &mut kept
            && connection.ready().await.is_err()
        {
            kept = None;
        }
        let connection = match kept {
            Some(connection) => connection,
            None => {
                let stream = TcpStream::connect(self.gateway).await?;
                let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
                // An error of the connection is seen by the request that is on it.
                tokio::spawn(async move { driver.await.ok() });
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    fn failed(&mut self, reason: String) -> Outcome {
        self.connection = None;
        Outcome::Failed(reason)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::demo::reviews;

    #[tokio::test]
    async fn outcomes_name_the_version_that_answered_and_failures_their_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut outcomes) = mpsc::channel(1);
        let server = tokio::spawn(reviews::serve(listener, Version::V3));
        tokio::spawn(send(address, sender));
        let (_, outcome) = outcomes.recv().await.unwrap();
        assert_eq!(outcome, Outcome::Answered(Version::V3));

        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (sender, mut outcomes) = mpsc::channel(1);
        tokio::spawn(send(unused, sender));
        assert!(matches!(outcomes.recv().await, Some((_, Outcome::Failed(_)))));
        server.abort();
    }
}
