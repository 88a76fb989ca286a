//! The admin: what the program is doing, over HTTP, on a thread of its own, so that it answers under any load.
//!
//! Paths and formats are Envoy's where Envoy has them. A GET changes nothing; what changes something is a POST, and a web page
//! of another site may not send it. Start at [`answer_to`], which is a function of a request and the program's state.

mod answer;
mod certs;
mod clusters;
mod configuration;
mod explain;
mod server;
mod state;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde::Serialize;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::control::Status;
use crate::process::{Levels, Order};
use crate::telemetry::Metrics;
use answer::Answer;

/// What the admin can look at, and whom it can ask to do something.
pub(crate) struct Context {
    /// How far the program has come, and what is in force.
    pub(crate) status: Arc<Status>,
    /// All metrics.
    pub(crate) metrics: Metrics,
    /// Takes orders to drain or to end.
    pub(crate) orders: UnboundedSender<Order>,
    /// How much is logged; absent where the program that we are a part of has a log of its own.
    pub(crate) levels: Option<Levels>,
    /// Who we are.
    pub(crate) identity: Identity,
}

/// What `/server_info` says of us, besides the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Identity {
    /// Version and commit.
    pub(crate) version: String,
    /// Our namespace.
    pub(crate) namespace: String,
    /// Our labels.
    pub(crate) labels: config_model::name::Labels,
    /// The configuration folder.
    pub(crate) config: String,
    /// Data threads.
    pub(crate) workers: usize,
}

/// The admin's thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    /// A second handle, to be passed to a successor.
    socket: Option<TcpListener>,
    end: Option<oneshot::Sender<Infallible>>,
}

impl Admin {
    /// Serves what comes in on `listener`, on a thread of its own.
    ///
    /// # Errors
    /// If the system refuses a thread or a descriptor.
    pub(crate) fn start(listener: TcpListener, context: Context) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (address, socket) = (listener.local_addr()?, listener.try_clone()?);
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
            if let Err(error) = serve(listener, context, ended) {
                tracing::error!(target: "admin", "the admin can't run: {error}");
            }
        })?;
        Ok(Self { address, socket: Some(socket), end: Some(end) })
    }

    /// What was bound.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle of the listening socket.
    ///
    /// # Errors
    /// If it is closed, or there are no descriptors left.
    pub(crate) fn socket(&self) -> io::Result<TcpListener> {
        self.socket.as_ref().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), TcpListener::try_clone)
    }

    /// Ends it now.
    pub(crate) fn close(&mut self) {
        self.socket = None;
        self.end = None;
    }
}

fn serve(listener: TcpListener, context: Context, ended: oneshot::Receiver<Infallible>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::select! {
            () = server::serve(listener, Arc::new(context)) => {}
            _ = ended => {}
        }
        Ok(())
    })
}

/// One path.
struct Page {
    path: &'static str,
    /// POST if it changes something, else GET.
    changes: bool,
    summary: &'static str,
    answer: fn(&Request<Bytes>, &Context) -> Answer,
}

const fn look(path: &'static str, summary: &'static str, answer: fn(&Request<Bytes>, &Context) -> Answer) -> Page {
    Page { path, changes: false, summary, answer }
}

const fn change(path: &'static str, summary: &'static str, answer: fn(&Request<Bytes>, &Context) -> Answer) -> Page {
    Page { path, changes: true, summary, answer }
}

/// All paths, in the order of `/help`.
const PAGES: &[Page] = &[
    look("/", "this list", help),
    look("/certs", "certificates in use, and when they expire", certs::certs),
    look("/clusters", "endpoints of each cluster, their health and requests; ?format=json", clusters::clusters),
    look("/config_dump", "resources in force, and what they were understood to mean", configuration::dump),
    look("/config/errors", "files that are refused and listeners that can't be bound, and why", configuration::errors),
    look("/config/version", "hash of the content in force, and since when", configuration::version),
    change(
        "/drain_listeners",
        "stop accepting, finish what is under way, answer once more whoever is connected, and stay",
        state::drain_listeners,
    ),
    change("/explain", "where a request would go, and why: {\"method\", \"url\", \"headers\"}", explain::explain),
    look("/help", "this list", help),
    look("/listeners", "what is bound; ?format=json", clusters::listeners),
    change("/logging", "levels of the log; ?level=debug, or ?paths=source:debug,admin:info", state::logging),
    change("/quitquitquit", "drain, then end with status 0, as SIGTERM does", state::quit),
    look("/ready", "LIVE with 200, any other state with 503", state::ready),
    look("/server_info", "version, state and age of the process", state::server_info),
    look("/stats", "as /stats/prometheus", state::stats),
    look("/stats/prometheus", "metrics in Prometheus' format", state::stats),
];

/// The answer to any request. Whatever is in it, there is one.
pub(crate) fn answer_to(request: &Request<Bytes>, context: &Context) -> Answer {
    let path = match request.uri().path() {
        "/" => "/",
        path => path.trim_end_matches('/'),
    };
    let Some(page) = PAGES.iter().find(|page| page.path == path) else {
        return answer::text(StatusCode::NOT_FOUND, "no such path; /help lists those there are\n");
    };
    match (page.changes, request.method()) {
        (true, &Method::POST) if from_another_site(request) => {
            answer::text(StatusCode::FORBIDDEN, "not from a web page of another site\n")
        }
        (true, &Method::POST) | (false, &Method::GET | &Method::HEAD) => (page.answer)(request, context),
        (true, _) => answer::not_allowed("POST"),
        (false, _) => answer::not_allowed("GET, HEAD"),
    }
}

/// Whether a browser says that a page from elsewhere sent this: such a page can reach a loopback address, too.
fn from_another_site(request: &Request<Bytes>) -> bool {
    let field = |name| request.headers().get(name).map(|value: &http::HeaderValue| value.as_bytes());
    let Some(origin) = field(header::ORIGIN) else { return false };
    let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    authority.is_none() || authority != field(header::HOST)
}

/// The value of a query parameter, decoded.
fn parameter(request: &Request<Bytes>, name: &str) -> Option<String> {
    let query = request.uri().query()?.as_bytes();
    form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Whether JSON was asked for, by `?format=json` or the header `accept`.
fn wants_json(request: &Request<Bytes>) -> bool {
    match parameter(request, "format") {
        Some(format) => format == "json",
        None => {
            let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
            accept.is_some_and(|accept| accept.contains("application/json"))
        }
    }
}

fn help(_: &Request<Bytes>, _: &Context) -> Answer {
    let line = |page: &Page| {
        let method = if page.changes { "POST" } else { "GET " };
        format!("{method} {:<18} {}\n", page.path, page.summary)
    };
    answer::text(StatusCode::OK, PAGES.iter().map(line).collect::<String>())
}
