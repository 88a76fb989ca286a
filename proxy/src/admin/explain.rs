//! `/explain`: where a request or a connection would go, and why, by the same function that decides for traffic.

use std::collections::BTreeMap;

use bytes::Bytes;
use config_model::analyze::bearers;
use config_model::model::{ClusterIndex, ClusterTarget, Endpoint, EndpointAddress, Listener, ListenerAddress};
use http::{Request, StatusCode, Uri};
use routing::explain::{ClusterRules, Explanation, Inquiry, Outcome};
use routing::normalize::normalize;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{self, Answer};
use super::clusters::host_status;
use super::{Context, parameter, wants_json};
use crate::cli;
use crate::explain as connection;
use crate::snapshot::Snapshot;

/// What is asked. As JSON in the body, or as parameters of the query: `?method=GET&url=...&header=end-user:jason`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(default = "get")]
    method: String,
    /// Whole, or a path if there is a header `host`; `tcp://` or `tls://` for a connection that is not read as HTTP.
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, Values>,
    /// Port or address and port of the listener; may be left out where the URL's port tells, or there is only one.
    listener: Option<Value>,
}

/// One value, or several fields of one name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

fn get() -> String {
    "GET".to_owned()
}

/// `/explain`
pub(super) fn explain(request: &Request<Bytes>, context: &Context) -> Answer {
    let Some(snapshot) = context.status.snapshot() else {
        return answer::text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is in force yet\n");
    };
    let question = match question(request).and_then(|question| Ok((question.url()?, question))) {
        Err(reason) => return answer::text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
        Ok((url, question)) if connection::is_meant(&url) => {
            return of_connection(&question, &url, &snapshot, wants_json(request));
        }
        Ok((_, question)) => question,
    };
    let explained = explanation(&question, &snapshot).map(|mut explanation| {
        explanation.tell_bearers(|host| bearers(&context.status.applied().resources, host));
        explanation
    });
    match explained {
        Err(reason) => answer::text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
        Ok(explanation) if wants_json(request) => {
            answer::json(StatusCode::OK, &with_endpoints(&explanation, &snapshot))
        }
        Ok(explanation) => answer::text(StatusCode::OK, text(&explanation, &snapshot)),
    }
}

/// What becomes of a connection that is not read as HTTP.
fn of_connection(question: &Question, url: &Uri, snapshot: &Snapshot, as_json: bool) -> Answer {
    let endpoints = |index: ClusterIndex| -> Vec<&Endpoint> {
        let entries = snapshot.cluster(index).into_iter().flat_map(|cluster| cluster.endpoints.entries());
        entries.map(|entry| -> &Endpoint { &entry.endpoint }).collect()
    };
    let told = question
        .listener(snapshot, url)
        .and_then(|listener| connection::explain(url, listener, (&snapshot.model, &snapshot.table), endpoints, 0));
    match told {
        Err(reason) => answer::text(StatusCode::BAD_REQUEST, format!("{reason}\n")),
        Ok(told) if as_json => {
            answer::json(StatusCode::OK, &json!({ "version": &*snapshot.version, "explanation": told }))
        }
        Ok(told) => answer::text(StatusCode::OK, anstream::adapter::strip_str(&told.text()).to_string()),
    }
}

fn question(request: &Request<Bytes>) -> Result<Question, String> {
    if !request.body().is_empty() {
        return serde_json::from_slice(request.body())
            .map_err(|error| format!("the body is not what is expected: {error}"));
    }
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let fields = form_urlencoded::parse(query).filter(|(key, _)| key == "header");
    let mut headers = BTreeMap::new();
    for (_, field) in fields {
        let (name, value) = field.split_once(':').ok_or("a header is NAME:VALUE")?;
        match headers.entry(name.trim().to_owned()).or_insert_with(|| Values::Many(Vec::new())) {
            Values::Many(values) => values.push(value.trim().to_owned()),
            Values::One(_) => {}
        }
    }
    Ok(Question {
        method: parameter(request, "method").unwrap_or_else(get),
        url: parameter(request, "url").ok_or("name a url: {\"url\": \"http://shop.example/reviews/7\"}")?,
        headers,
        listener: parameter(request, "listener").map(Value::String),
    })
}

impl Question {
    fn url(&self) -> Result<Uri, String> {
        self.url.parse().map_err(|error| format!("the url can't be read: {error}"))
    }

    fn fields(&self) -> Vec<(String, String)> {
        let values = |(name, values): (&String, &Values)| {
            let name = name.to_ascii_lowercase();
            match values {
                Values::One(value) => vec![(name, value.clone())],
                Values::Many(values) => values.iter().map(|value| (name.clone(), value.clone())).collect(),
            }
        };
        self.headers.iter().flat_map(values).collect()
    }

    /// The listener that is named, or else the one of the URL's port, or else the only one.
    fn listener<'s>(&self, snapshot: &'s Snapshot, url: &Uri) -> Result<&'s Listener, String> {
        let listeners = &snapshot.model.listeners;
        let of_port = |port: u16| listeners.iter().find(move |listener| listener.address.port() == port);
        let found = match &self.listener {
            Some(Value::Number(port)) => port.as_u64().and_then(|port| of_port(u16::try_from(port).ok()?)),
            Some(Value::String(text)) => match text.parse::<ListenerAddress>() {
                Ok(address) => listeners.iter().find(|listener| listener.address == address),
                Err(_) => text.parse().ok().and_then(of_port),
            },
            Some(_) => None,
            None if listeners.len() == 1 => listeners.first(),
            None => of_port(url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 })),
        };
        let known = || listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>().join(", ");
        found.ok_or_else(|| format!("no such listener; \"listener\" names one of: {}", known()))
    }
}

fn explanation(question: &Question, snapshot: &Snapshot) -> Result<Explanation, String> {
    let url = question.url()?;
    let mut head = cli::request::Request::new(&question.method, &url, &question.fields())?;
    let listener = question.listener(snapshot, &url)?;
    let path = normalize(url.path().as_bytes(), snapshot.model.mesh.path_normalization)
        .map_err(|refusal| format!("answered with 400 before any rule: {refusal}"))?;
    head.show_path(path.matching());
    let host = url.host().unwrap_or("").to_ascii_lowercase();
    let configuration = listener
        .routes_for(Some(&host))
        .ok_or_else(|| format!("no server of {} takes a connection for {host}", listener.address))?;
    let inquiry = Inquiry { configuration, head: &head, path: &path, draw: 0 };
    Ok(routing::explain::explain(&snapshot.model, &snapshot.table, &inquiry))
}

/// Destinations that exist, by name of the cluster.
fn clusters<'s>(
    explanation: &'s Explanation,
    snapshot: &'s Snapshot,
) -> impl Iterator<Item = &'s crate::snapshot::ClusterRuntime> {
    let destinations = match &explanation.outcome {
        Outcome::Forward { destinations, .. } => &destinations[..],
        _ => &[],
    };
    destinations.iter().filter_map(|share| match &share.target {
        ClusterTarget::Known(index) => snapshot.cluster(*index).map(|cluster| &**cluster),
        ClusterTarget::Missing(_) => None,
    })
}

fn with_endpoints(explanation: &Explanation, snapshot: &Snapshot) -> Value {
    let hosts =
        |cluster: &crate::snapshot::ClusterRuntime| -> Value { cluster.endpoints.entries().map(host_status).collect() };
    let endpoints: serde_json::Map<String, Value> =
        clusters(explanation, snapshot).map(|cluster| (cluster.name.to_string(), hosts(cluster))).collect();
    let rules = clusters(explanation, snapshot)
        .map(|cluster| (cluster.name.to_string(), json!(ClusterRules::of(&cluster.definition))));
    let rules: serde_json::Map<String, Value> = rules.collect();
    json!({ "version": &*snapshot.version, "explanation": explanation, "clusters": rules, "endpoints": endpoints })
}

fn text(explanation: &Explanation, snapshot: &Snapshot) -> String {
    let mut text = explanation.to_text(false);
    for cluster in clusters(explanation, snapshot) {
        text += &format!("endpoints of {}\n  by {}\n", cluster.name, ClusterRules::of(&cluster.definition));
        if cluster.endpoints.ready_count() == 0 {
            text += "  none that takes traffic: 503 no healthy upstream\n";
        }
        for entry in cluster.endpoints.entries() {
            let health = match (entry.is_ready(), entry.state.is_ejected(), &entry.endpoint.address) {
                (false, _, EndpointAddress::Dns { .. }) => " not ready: no address was found for the name",
                (false, ..) => " not ready",
                (true, true, _) => " ejected",
                (true, false, _) => "",
            };
            text += &format!("  {}{health}\n", entry.endpoint.address);
        }
    }
    text
}
