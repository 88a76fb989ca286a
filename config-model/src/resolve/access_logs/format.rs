//! How a line of an access log looks, from what is written of it.
//! Source: Istio, default access-log formats.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::{AccessLogFormat, Format};
use crate::resource::{AccessLogEncoding, LogFormat, MeshConfig};

/// Istio's default line as fields of JSON.
const DEFAULT_FIELDS: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
];

/// The look that MeshConfig gives to its own log.
pub(super) fn of_mesh(config: &MeshConfig) -> Result<AccessLogFormat, String> {
    let written = &*config.access_log_format.value;
    match *config.access_log_encoding {
        AccessLogEncoding::Json => json(written),
        AccessLogEncoding::Text => text(written),
    }
}

/// The look that a provider gives to its log.
pub(super) fn of_provider(written: Option<&LogFormat>) -> Result<AccessLogFormat, String> {
    match written.and_then(|format| format.labels.as_ref()) {
        Some(labels) if labels.fields.is_empty() => json(""),
        Some(labels) => {
            let fields = labels.fields.iter().map(|(name, format)| field(&name.value, &format.value));
            fields.collect::<Result<_, _>>().map(AccessLogFormat::Json)
        }
        None => text(written.map_or("", |format| &format.text.value)),
    }
}

fn text(written: &str) -> Result<AccessLogFormat, String> {
    if written.is_empty() {
        return Ok(AccessLogFormat::Text(Format::istio_default()));
    }
    Format::parse(written).map(AccessLogFormat::Text).map_err(|error| error.to_string())
}

/// The fields of the object `written`, in its order, or the default ones if it is empty.
fn json(written: &str) -> Result<AccessLogFormat, String> {
    if written.is_empty() {
        let fields = DEFAULT_FIELDS.iter().map(|(name, text)| field(name, text));
        return fields.collect::<Result<_, _>>().map(AccessLogFormat::Json);
    }
    let Ordered(fields) = serde_json::from_str(written).map_err(|error| error.to_string())?;
    fields.iter().map(|(name, text)| field(name, text)).collect::<Result<_, _>>().map(AccessLogFormat::Json)
}

fn field(name: &str, text: &str) -> Result<(String, Format), String> {
    let format = Format::parse(text).map_err(|error| format!("{name}: {error}"))?;
    Ok((name.to_owned(), format))
}

/// The texts of a JSON object, in the order in which they were written.
struct Ordered(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OrderedVisitor)
    }
}

struct OrderedVisitor;

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Ordered;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Ordered(fields))
    }
}
