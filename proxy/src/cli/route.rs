//! `route`: where a request would go, and why. The same table answers that routes traffic.

use std::collections::BTreeMap;

use clap::Args;
use config_model::analyze::bearers;
use config_model::model::{
    ClusterIndex, ClusterTarget, Endpoint, Listener, ListenerAddress, Model, RouteConfigurationIndex,
};
use http::Uri;
use routing::Table;
use routing::explain::{ClusterRules, Explanation, Inquiry, Outcome, explain};
use routing::normalize::{PathRefusal, normalize};
use serde::Serialize;

use super::configuration::{ConfigurationArguments, RoleArgument, Understood};
use super::request::{self, Request};
use super::terminal::{DIM, ERROR, paint};
use super::{Failure, OutputFormat, Terminal};
use crate::explain as connection;

/// Explains where a request would go: host, every rule that is passed over and why, split, subset and its endpoints
///
/// Ends with status 0 whatever the answer is, a 404 too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate route ./config http://shop.example/reviews/7
  tidegate route ./config --method POST http://shop.example/orders -H 'end-user: jason' -H 'cookie: user=1'
  tidegate route ./config tls://shop.example:443
      Where TLS is passed on to; tcp://ADDRESS:PORT for a connection that is not read at all
  tidegate route ./config --listener 8080 http://shop.example/ --draw 0.93 --output json")]
pub(crate) struct RouteArguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// The URL, or only its path if a host header is given; tcp:// or tls:// for connections that are not read as HTTP
    url: Uri,
    /// The method
    #[arg(long, short = 'X', default_value = "GET", value_name = "M")]
    method: String,
    /// A header of the request (repeatable)
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = request::header)]
    headers: Vec<(String, String)>,
    /// Port of the Gateway's server where the request comes in, or the `unix://...` or `pods://HOST:PORT` of a sidecar's listener;
    /// the port of the URL, or the only listener, if not given
    #[arg(long, value_name = "PORT", value_parser = entrance)]
    listener: Option<Entrance>,
    /// Where the draw of a split falls, from 0 to just below 1
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = draw)]
    draw: f64,
    /// How the explanation is written
    #[arg(long, short, value_enum, default_value = "text", env = "TIDEGATE_OUTPUT")]
    output: OutputFormat,
}

/// Where a request comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entrance {
    Port(u16),
    Named(ListenerAddress),
}

impl Entrance {
    fn is_at(&self, address: &ListenerAddress) -> bool {
        match self {
            Self::Port(port) => address.port() == *port && !matches!(address, ListenerAddress::Unix(_)),
            Self::Named(named) => address == named,
        }
    }
}

fn entrance(text: &str) -> Result<Entrance, String> {
    match text.parse::<ListenerAddress>() {
        Ok(named @ (ListenerAddress::Unix(_) | ListenerAddress::Pods { .. })) => Ok(Entrance::Named(named)),
        Ok(ListenerAddress::Ip(_)) | Err(_) => text
            .parse()
            .map(Entrance::Port)
            .map_err(|_| "expected a port, as in 80, or a Unix socket, as in unix:///run/mesh.sock".to_owned()),
    }
}

fn draw(text: &str) -> Result<f64, String> {
    let draw = text.parse().ok().filter(|draw| (0.0..1.0).contains(draw));
    draw.ok_or_else(|| "expected a number from 0 to just below 1, as in 0.5".to_owned())
}

/// The explanation with what only the folder knows.
#[derive(Debug, Serialize)]
struct Answer<'m> {
    #[serde(flatten)]
    explanation: Explanation,
    /// By name of the cluster.
    clusters: BTreeMap<String, ClusterRules>,
    /// By name of the cluster.
    endpoints: BTreeMap<String, &'m [Endpoint]>,
}

/// A path that no rule gets to see.
#[derive(Debug, Serialize)]
struct Refused {
    request: String,
    status: u16,
    reason: String,
}

impl RouteArguments {
    pub(crate) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let Understood { model, endpoints, resources } = self.configuration.understand()?;
        let listener = self.listener(&model)?;
        if connection::is_meant(&self.url) {
            let of = |index: ClusterIndex| endpoints.get(index.0 as usize).into_iter().flatten().collect();
            let answer =
                connection::explain(&self.url, listener, (&model, &Table::compile(&model)), of, self.fraction());
            let answer = answer.map_err(Failure)?;
            return terminal.write(&match self.output {
                OutputFormat::Text => answer.text(),
                OutputFormat::Json => serde_json::to_string_pretty(&answer).unwrap_or_default() + "\n",
            });
        }
        let routes = self.routes(listener)?;
        let mut request = Request::new(&self.method, &self.url, &self.headers).map_err(Failure)?;
        let text = match self.explain(&model, routes, &mut request) {
            Ok(mut explanation) => {
                explanation.tell_bearers(|host| bearers(&resources, host));
                self.elsewhere(listener) + &self.render(&Answer::new(explanation, &model, &endpoints))
            }
            Err(refusal) => self.render_refusal(&request, refusal),
        };
        terminal.write(&text)
    }

    fn explain(
        &self,
        model: &Model,
        configuration: RouteConfigurationIndex,
        request: &mut Request,
    ) -> Result<Explanation, PathRefusal> {
        let path = self.url.path().to_owned();
        let path = normalize(path.as_bytes(), model.mesh.path_normalization)?;
        request.show_path(path.matching());
        let draw = self.fraction();
        let inquiry = Inquiry { configuration, head: request, path: &path, draw };
        Ok(explain(model, &Table::compile(model), &inquiry))
    }

    /// The draw, a fraction of 1, as one of 2^64; the cast saturates.
    fn fraction(&self) -> u64 {
        (self.draw * 2f64.powi(64)) as u64
    }

    /// The routes of `listener` for a connection to the URL's host.
    fn routes(&self, listener: &Listener) -> Result<RouteConfigurationIndex, Failure> {
        let host = self.url.host().unwrap_or("").to_ascii_lowercase();
        let refused = || {
            Failure(format!(
                "the handshake is refused: no TLS server on {} is for {host:?}",
                connection::place(&listener.address)
            ))
        };
        listener.routes_for(Some(&host).filter(|host| !host.is_empty()).map(String::as_str)).ok_or_else(refused)
    }

    /// The listener where the request comes in.
    fn listener<'m>(&self, model: &'m Model) -> Result<&'m Listener, Failure> {
        let at = |entrance: &Entrance| model.listeners.iter().find(|listener| entrance.is_at(&listener.address));
        let default_port = if self.url.scheme_str() == Some("https") { 443 } else { 80 };
        let name = |listener: &Listener| connection::place(&listener.address).replace("port ", "");
        let known = model.listeners.iter().map(name).collect::<Vec<_>>().join(", ");
        match (&self.listener, &model.listeners[..]) {
            (_, []) => Err(Failure(
                "there is no listener: no Gateway's selector matches the proxy's labels (--labels)".to_owned(),
            )),
            (Some(wanted @ Entrance::Port(port)), _) => {
                at(wanted).ok_or_else(|| Failure(format!("no listener has port {port}; there is {known}")))
            }
            (Some(wanted @ Entrance::Named(named)), _) => {
                at(wanted).ok_or_else(|| Failure(format!("no listener is on {named}; there is {known}")))
            }
            (None, [only]) => Ok(only),
            (None, _) => at(&Entrance::Port(self.url.port_u16().unwrap_or(default_port)))
                .ok_or_else(|| Failure(format!("which listener? Name one of {known} with --listener"))),
        }
    }

    /// A word on a URL whose port has no listener, so that it is explained at the only one there is.
    fn elsewhere(&self, listener: &Listener) -> String {
        let is_https = self.url.scheme_str() == Some("https");
        let said = self.url.port_u16().or_else(|| is_https.then_some(443));
        // A sidecar takes requests for ports that it doesn't listen on.
        let is_asked = self.listener.is_none() && self.configuration.role == RoleArgument::Gateway;
        let place = connection::place(&listener.address);
        match (said, is_asked, self.output) {
            (Some(port), true, OutputFormat::Text) if port != listener.address.port() => {
                format!("no listener has port {port}; this is how it would be at {place}, the only one\n")
            }
            _ => String::new(),
        }
    }

    fn render(&self, answer: &Answer<'_>) -> String {
        match self.output {
            OutputFormat::Text => answer.text(),
            OutputFormat::Json => serde_json::to_string_pretty(answer).unwrap_or_default() + "\n",
        }
    }

    fn render_refusal(&self, request: &Request, refusal: PathRefusal) -> String {
        let refused = Refused { request: request.describe(), status: 400, reason: refusal.to_string() };
        match self.output {
            OutputFormat::Text => format!("{}\n\nanswer {}: {refusal}\n", refused.request, paint(ERROR, "400")),
            OutputFormat::Json => serde_json::to_string_pretty(&refused).unwrap_or_default() + "\n",
        }
    }
}

impl<'m> Answer<'m> {
    fn new(explanation: Explanation, model: &Model, endpoints: &'m [Vec<Endpoint>]) -> Self {
        let (mut clusters, mut of_clusters) = (BTreeMap::new(), BTreeMap::new());
        if let Outcome::Forward { destinations, .. } = &explanation.outcome {
            for share in destinations {
                let ClusterTarget::Known(index) = share.target else { continue };
                let of_cluster = endpoints.get(index.0 as usize).map_or(&[][..], |endpoints| endpoints);
                of_clusters.insert(share.cluster.clone(), of_cluster);
                if let Some(cluster) = model.clusters.get(index.0 as usize) {
                    clusters.insert(share.cluster.clone(), ClusterRules::of(cluster));
                }
            }
        }
        Self { explanation, clusters, endpoints: of_clusters }
    }

    fn text(&self) -> String {
        let mut text = self.explanation.to_text(true);
        for (cluster, endpoints) in &self.endpoints {
            text += &format!("endpoints of {cluster}\n");
            if let Some(rules) = self.clusters.get(cluster) {
                text += &format!("  by {}  {}\n", rules.policies.join("; "), paint(DIM, rules.origins.join(", ")));
            }
            if endpoints.is_empty() {
                text += &format!("  {}\n", paint(ERROR, "none: 503 no healthy upstream"));
            }
            for endpoint in *endpoints {
                let health = match endpoint.health {
                    config_model::model::Health::Ready => String::new(),
                    config_model::model::Health::NotReady => paint(ERROR, "  not ready"),
                };
                let workload = format!("{} {}", endpoint.workload.name, endpoint.workload.version);
                text += &format!("  {}{health}  {}\n", endpoint.address, paint(DIM, workload));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::configuration::Files;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: RouteArguments,
    }

    /// The port of the listener that a request comes in at, of Gateways with these ports.
    fn port(ports: &[u16], line: &[&str]) -> Result<u16, String> {
        let server = |port: &u16| {
            format!("  - {{port: {{number: {port}, name: p{port}, protocol: HTTP}}, hosts: [a.example]}}\n")
        };
        let servers: String = ports.iter().map(server).collect();
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec:\n  selector: {{a: b}}\n  servers:\n{servers}"
        );
        let files = Files::parse([("g.yaml".into(), text.into())]);
        assert!(!files.is_refused(), "{:?}", files.findings);
        let model = files.understand(RoleArgument::Gateway, "default", None).model;
        let line = Line::try_parse_from([&["route", "folder"], line].concat()).unwrap();
        line.arguments.listener(&model).map(|listener| listener.address.port()).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_request_comes_in_where_it_is_told_or_where_its_url_says_or_at_the_only_listener() {
        let table: [(&[u16], &[&str], Option<u16>); 8] = [
            (&[8080], &["http://a.example/"], Some(8080)),
            (&[8080], &["http://a.example:90/"], Some(8080)),
            (&[80, 8080], &["http://a.example/"], Some(80)),
            (&[80, 8080], &["http://a.example:8080/"], Some(8080)),
            (&[80, 8080], &["http://a.example/", "--listener", "8080"], Some(8080)),
            (&[80, 443], &["https://a.example/"], Some(443)),
            (&[80, 8080], &["http://a.example:90/"], None),
            (&[80], &["http://a.example/", "--listener", "81"], None),
        ];
        for (ports, line, want) in table {
            assert_eq!(port(ports, line).ok(), want, "{ports:?} {line:?}");
        }
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_told() {
        let text = "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\nspec:\n  selector: {a: b}\n  servers:\n  - \
                    {port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}\n";
        let files = Files::parse([("g.yaml".into(), text.into())]);
        let model = files.understand(RoleArgument::Gateway, "default", None).model;
        for (words, port) in [
            (&["http://a.example:8080/"][..], Some(8080)),
            (&["https://a.example/"], Some(443)),
            (&["http://a.example/"], None),
            (&["http://a.example:80/"], None),
            (&["http://a.example:8080/", "--listener", "80"], None),
            (&["http://a.example:8080/", "--output", "json"], None),
            (&["http://a.example:8080/", "--role", "sidecar"], None),
        ] {
            let line = Line::try_parse_from([&["route", "folder"], words].concat()).unwrap();
            let told = line.arguments.elsewhere(line.arguments.listener(&model).ok().unwrap());
            let want = port.map_or_else(String::new, |port: u16| {
                format!("no listener has port {port}; this is how it would be at port 80, the only one\n")
            });
            assert_eq!(told, want, "{words:?}");
        }
    }

    #[test]
    fn a_listener_on_a_unix_socket_is_named_by_its_address() {
        let text = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\nspec:\n  egress:\n  - {port: {number: \
                    0, protocol: HTTP}, bind: 'unix:///run/a', hosts: ['*/*']}\n  - {port: {number: 0, protocol: HTTP}, bind: \
                    'unix://@b', hosts: ['*/*']}\n";
        let files = Files::parse([("s.yaml".into(), text.into())]);
        let model = files.understand(RoleArgument::Sidecar, "default", None).model;
        let found = |name: &str| {
            let line = Line::try_parse_from(["route", "folder", "http://a/", "--listener", name]).unwrap();
            let found = line.arguments.listener(&model).map(|listener| listener.address.to_string());
            found.map_err(|failure| failure.to_string())
        };
        assert_eq!(found("unix://@b"), Ok("unix://@b".to_owned()));
        assert_eq!(
            found("unix:///c"),
            Err("no listener is on unix:///c; there is unix:///run/a, unix://@b".to_owned())
        );
        assert_eq!(found("0"), Err("no listener has port 0; there is unix:///run/a, unix://@b".to_owned()));
        assert!(Line::try_parse_from(["route", "folder", "http://a/", "--listener", "/run/a"]).is_err());
    }

    #[test]
    fn a_listener_for_pods_is_named_by_their_service_or_found_by_its_port() {
        let service = |name: &str| {
            format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: None, ports: [{{name: tcp-x, \
                 port: 5432}}]}}\n---\n"
            )
        };
        let files = Files::parse([("s.yaml".into(), (service("one") + &service("two")).into())]);
        let model = files.understand(RoleArgument::Sidecar, "default", None).model;
        for (line, want) in [
            (&["tcp://10.0.0.1:5432"][..], "pods://one.default.svc.cluster.local:5432"),
            (
                &["tcp://10.0.0.1:5432", "--listener", "pods://two.default.svc.cluster.local:5432"],
                "pods://two.default.svc.cluster.local:5432",
            ),
        ] {
            let line = Line::try_parse_from([&["route", "folder"], line].concat()).unwrap();
            let found = line.arguments.listener(&model).map(|listener| listener.address.to_string());
            assert_eq!(found.ok().as_deref(), Some(want));
        }
    }

    #[test]
    fn a_draw_is_a_number_from_zero_to_just_below_one() {
        assert_eq!((draw("0"), draw("0.999")), (Ok(0.0), Ok(0.999)));
        for text in ["1", "-0.1", "NaN", "half", ""] {
            assert!(draw(text).is_err(), "{text}");
        }
    }
}
