//! `extensionProviders` of MeshConfig: who takes what traffic leaves behind. Only access logs in files are read; of the others it is
//! known that they are there.
//! Source: `mesh/v1alpha1/config.proto`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Number;

use crate::decode::{Decode, Field, Located, Path, Report, Text, object};
use crate::document::{Key, Node, Value};
use crate::model::{Json, JsonObject};
use crate::origin::Position;

object! {
    /// A provider: one of these, by its name.
    ExtensionProvider (Warn) {
        /// Its name.
        name: Text = "name",
        /// Access logs in a file.
        envoy_file_access_log: Option<EnvoyFileAccessLog> = "envoyFileAccessLog",
        /// Access logs over gRPC.
        envoy_http_als: Option<UnreadProvider> = "envoyHttpAls",
        /// The same for connections.
        envoy_tcp_als: Option<UnreadProvider> = "envoyTcpAls",
        /// Access logs in OpenTelemetry's form.
        envoy_otel_als: Option<UnreadProvider> = "envoyOtelAls",
        /// Authorization over HTTP.
        envoy_ext_authz_http: Option<UnreadProvider> = "envoyExtAuthzHttp",
        /// Authorization over gRPC.
        envoy_ext_authz_grpc: Option<UnreadProvider> = "envoyExtAuthzGrpc",
        /// Traces.
        zipkin: Option<UnreadProvider> = "zipkin",
        /// Traces.
        lightstep: Option<UnreadProvider> = "lightstep",
        /// Traces.
        datadog: Option<UnreadProvider> = "datadog",
        /// Traces, metrics and logs.
        stackdriver: Option<UnreadProvider> = "stackdriver",
        /// Traces.
        opencensus: Option<UnreadProvider> = "opencensus",
        /// Traces.
        skywalking: Option<UnreadProvider> = "skywalking",
        /// Traces.
        opentelemetry: Option<UnreadProvider> = "opentelemetry",
        /// Metrics.
        prometheus: Option<UnreadProvider> = "prometheus",
        /// Secrets.
        sds: Option<UnreadProvider> = "sds",
    }
}

impl ExtensionProvider {
    /// What it is, by the names of its fields: one, unless something is wrong.
    pub fn kinds(&self) -> impl Iterator<Item = &'static str> {
        [
            ("envoyFileAccessLog", self.envoy_file_access_log.is_some()),
            ("envoyHttpAls", self.envoy_http_als.is_some()),
            ("envoyTcpAls", self.envoy_tcp_als.is_some()),
            ("envoyOtelAls", self.envoy_otel_als.is_some()),
            ("envoyExtAuthzHttp", self.envoy_ext_authz_http.is_some()),
            ("envoyExtAuthzGrpc", self.envoy_ext_authz_grpc.is_some()),
            ("zipkin", self.zipkin.is_some()),
            ("lightstep", self.lightstep.is_some()),
            ("datadog", self.datadog.is_some()),
            ("stackdriver", self.stackdriver.is_some()),
            ("opencensus", self.opencensus.is_some()),
            ("skywalking", self.skywalking.is_some()),
            ("opentelemetry", self.opentelemetry.is_some()),
            ("prometheus", self.prometheus.is_some()),
            ("sds", self.sds.is_some()),
        ]
        .into_iter()
        .filter_map(|(kind, is_there)| is_there.then_some(kind))
    }
}

/// A provider of which nothing is read but that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadProvider;

impl Decode for UnreadProvider {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        report.mapping(node, at).map(|_| Self)
    }
}

impl Serialize for UnreadProvider {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

object! {
    /// An access log in a file.
    EnvoyFileAccessLog (Warn) {
        /// The file; `/dev/stdout` if empty.
        path: Text = "path",
        /// How a line looks; Istio's own text if absent.
        log_format: Option<LogFormat> = "logFormat",
        /// Whether absent values leave nothing behind, in place of `-` or `null`.
        omit_empty_values: Located<bool> = "omitEmptyValues",
    }
}

object! {
    /// How a line looks: one of these.
    LogFormat (Warn) {
        /// A format of Envoy's.
        text: Text = "text",
        /// The fields of an object of JSON; Istio's own if there are none.
        labels: Option<JsonLabels> = "labels",
    }
}

/// Members of an object of JSON, with formats in place of its texts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct JsonLabels {
    /// Where the object begins.
    pub position: Position,
    /// The members.
    pub fields: JsonObject<Text>,
}

impl Decode for JsonLabels {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        let fields = members(report.mapping(node, at)?, at, report);
        Some(Self { position: node.position, fields })
    }
}

fn members(fields: &[(Key<'_>, Node<'_>)], at: &Path<'_>, report: &mut Report) -> JsonObject<Text> {
    let member = |(key, value): &(Key<'_>, Node<'_>)| {
        let value = json(value, &at.key(&key.name), report);
        (report.text(&key.name), value)
    };
    fields.iter().map(member).collect()
}

fn json(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Json<Text> {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => Json::Number((*number).into()),
        // JSON has no other numbers.
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::String(_) => Json::Text(Field::read(node, at, report)),
        Value::Sequence(values) => Json::List(values.iter().map(|value| json(value, at, report)).collect()),
        Value::Mapping(fields) => Json::Object(members(fields, at, report)),
    }
}

impl Serialize for JsonLabels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.fields.serialize(serializer)
    }
}

object! {
    /// Providers where a resource names none.
    DefaultProviders (Warn) {
        /// Of traces.
        tracing: Vec<Text> = "tracing" later,
        /// Of metrics.
        metrics: Vec<Text> = "metrics",
        /// Of access logs.
        access_logging: Vec<Text> = "accessLogging",
    }
}
