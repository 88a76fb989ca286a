//! Settings of the mesh, defaults filled in.
//! Source: MeshConfig; Istio, default access-log formats.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::diagnostic::{Code, Diagnostic, Level};
use crate::model::{AccessLog, AccessLogFormat, Format, ForwardedClientCertificate, Mesh, PathNormalization, Topology};
use crate::origin::Position;
use crate::resource::{AccessLogEncoding, ForwardClientCertDetails, MeshConfig, NormalizationType};

use super::set::ResourceSet;

/// The namespace whose resources hold for the whole mesh, if MeshConfig does not say.
const ROOT_NAMESPACE: &str = "istio-system";

/// The trust domain, if MeshConfig does not say.
const TRUST_DOMAIN: &str = "cluster.local";

/// Istio's default line as text.
const DEFAULT_LINE: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% ",
    "%BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ",
    "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%\n",
);

/// The same as fields of JSON.
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

/// The mesh as MeshConfig has it, and what of it could not be used.
pub(super) fn mesh(resources: &ResourceSet) -> (Mesh, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut mesh = Mesh {
        access_log: None,
        path_normalization: PathNormalization::Strict,
        root_namespace: ROOT_NAMESPACE.to_owned(),
        trust_domain: TRUST_DOMAIN.to_owned(),
        topology: Topology::default(),
    };
    let Some((resource, config)) = resources.mesh_config() else { return (mesh, diagnostics) };
    mesh.path_normalization = path_normalization(config);
    mesh.topology = topology(config);
    if !config.root_namespace.is_empty() {
        mesh.root_namespace = config.root_namespace.to_string();
    }
    if !config.trust_domain.is_empty() {
        mesh.trust_domain = config.trust_domain.to_string();
    }
    match access_log(config) {
        Ok(log) => mesh.access_log = log,
        Err((position, message)) => {
            let origin = resource.origin(position);
            let message = format!("accessLogFormat can't be used, so that it has no effect: {message}");
            diagnostics.push(Diagnostic::new(Code::SchemaWarning, Level::Warning, &origin, message));
        }
    }
    (mesh, diagnostics)
}

fn path_normalization(config: &MeshConfig) -> PathNormalization {
    let written = config.path_normalization.as_ref().map(|path| path.normalization).filter(|kind| kind.is_written());
    match written.map(|kind| kind.value) {
        None => PathNormalization::Strict,
        Some(NormalizationType::None) => PathNormalization::None,
        Some(NormalizationType::Default | NormalizationType::Base) => PathNormalization::Base,
        Some(NormalizationType::MergeSlashes) => PathNormalization::MergeSlashes,
        Some(NormalizationType::DecodeAndMergeSlashes) => PathNormalization::DecodeAndMergeSlashes,
    }
}

fn topology(config: &MeshConfig) -> Topology {
    let written = config.default_config.as_ref().and_then(|config| config.gateway_topology.as_ref());
    let Some(written) = written else { return Topology::default() };
    let client_certificate = match *written.forward_client_cert_details {
        ForwardClientCertDetails::Undefined | ForwardClientCertDetails::SanitizeSet => ForwardedClientCertificate::Set,
        ForwardClientCertDetails::AppendForward => ForwardedClientCertificate::Append,
        ForwardClientCertDetails::ForwardOnly => ForwardedClientCertificate::Keep,
        ForwardClientCertDetails::AlwaysForwardOnly => ForwardedClientCertificate::AlwaysKeep,
        ForwardClientCertDetails::Sanitize => ForwardedClientCertificate::Drop,
    };
    Topology { trusted_proxies: *written.num_trusted_proxies, client_certificate }
}

/// The access log, if MeshConfig says anything of it. Without a file, but with a look, it goes where the command line's would.
fn access_log(config: &MeshConfig) -> Result<Option<AccessLog>, (Position, String)> {
    let written = &config.access_log_format;
    let is_json = *config.access_log_encoding == AccessLogEncoding::Json;
    if config.access_log_file.is_none() && written.is_empty() && !config.access_log_encoding.is_written() {
        return Ok(None);
    }
    let format = if is_json {
        json_fields(written).map(AccessLogFormat::Json)
    } else {
        let line = if written.is_empty() { DEFAULT_LINE } else { &*written.value };
        Format::parse(line).map(AccessLogFormat::Text).map_err(|error| error.to_string())
    };
    let format = format.map_err(|message| (written.position, message))?;
    let file = config.access_log_file.as_ref().map_or("/dev/stdout", |file| &*file.value);
    let file = (!file.is_empty()).then(|| file.to_owned());
    Ok(Some(AccessLog { file, format }))
}

/// The fields of a JSON line: those of the object `written`, in its order, or the default ones if it is empty.
fn json_fields(written: &str) -> Result<Vec<(String, Format)>, String> {
    let parse = |name: &str, text: &str| match Format::parse(text) {
        Ok(format) => Ok((name.to_owned(), format)),
        Err(error) => Err(format!("{name}: {error}")),
    };
    if written.is_empty() {
        return DEFAULT_FIELDS.iter().map(|(name, text)| parse(name, text)).collect();
    }
    let Ordered(fields) = serde_json::from_str(written).map_err(|error| error.to_string())?;
    fields.iter().map(|(name, text)| parse(name, text)).collect()
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
