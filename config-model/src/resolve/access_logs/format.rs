//! How a line of an access log looks, from what is written of it.
//! Source: Istio, default access-log formats.

use std::sync::Arc;

use crate::model::{AccessLogFormat, Format, Json, JsonObject};
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
        Some(labels) => object(&labels.fields, |text| &text.value).map(AccessLogFormat::Json),
        None => text(written.map_or("", |format| &format.text.value)),
    }
}

fn text(written: &str) -> Result<AccessLogFormat, String> {
    if written.is_empty() {
        return Ok(AccessLogFormat::Text(Format::istio_default()));
    }
    Format::parse(written).map(AccessLogFormat::Text).map_err(|error| error.to_string())
}

/// The members of the object `written`, or the default ones if it is empty.
fn json(written: &str) -> Result<AccessLogFormat, String> {
    let members: JsonObject<String> = if written.is_empty() {
        let member = |(name, text): &(&str, &str)| (Arc::from(*name), Json::Text((*text).to_owned()));
        DEFAULT_FIELDS.iter().map(member).collect()
    } else {
        serde_json::from_str(written).map_err(|error| error.to_string())?
    };
    object(&members, |text| text).map(AccessLogFormat::Json)
}

/// The formats that the texts of an object are.
fn object<T>(members: &JsonObject<T>, text: impl Fn(&T) -> &str) -> Result<JsonObject<Format>, String> {
    let format = |(name, value): (&Arc<str>, &Json<T>)| {
        let format = value.try_map(&|of| Format::parse(text(of))).map_err(|error| format!("{name}: {error}"))?;
        Ok((Arc::clone(name), format))
    };
    members.iter().map(format).collect()
}
