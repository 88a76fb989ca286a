//! `MeshConfig`, from the ConfigMap `istio`, key `mesh`, as far as it concerns a data plane.
//! Source: `mesh/v1alpha1/config.proto`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{
    ConnectionPoolSettings, DefaultProviders, ExtensionProvider, HttpRetry, LocalityLoadBalancerSetting,
    OutlierDetection, TcpKeepalive, ZoneAwareLoadBalancerSetting,
};
use crate::decode::{Decode, Duration, Field, Located, Map, Path, Report, Text, Unknown, choice, object};
use crate::diagnostic::{Code, Level};
use crate::document::{Node, Section, parse};
use crate::origin::Position;

/// Reads the text under `data.mesh`, which is YAML by itself. `section` is the document that it is part of.
pub fn read_mesh_config(mesh: &Text, section: Section<'_>, report: &mut Report) -> Option<MeshConfig> {
    let data = Path::ROOT.field("data");
    let at = data.field("mesh");
    let is_block = is_block_scalar(mesh.position, section);
    // The lines of a block scalar are lines of the file, moved to the right; of any other form only the beginning is known.
    let indent = mesh.position.column.saturating_sub(1);
    let place = |position: Position| match is_block {
        true => Position { column: position.column.saturating_add(indent), ..position },
        false => mesh.position,
    };
    match parse(&mesh.value, mesh.position.line) {
        Ok(documents) => {
            let mut document = documents.into_iter().next()?;
            document.relocate(&place);
            Option::<MeshConfig>::read(&document, &at, report)
        }
        Err(error) => {
            let text = (error.message, error.hint.map(str::to_owned));
            report.add(Code::Syntax, Level::Error, place(error.position), &at, text);
            None
        }
    }
}

/// Whether the text at `position` is a block scalar: `|` or `>` ends the line above it.
fn is_block_scalar(position: Position, section: Section<'_>) -> bool {
    let lines_above = position.line.saturating_sub(section.line) as usize;
    let above = section.text.lines().take(lines_above).filter(|line| !line.trim().is_empty()).last();
    let header = above.map(|line| line.split_once(" #").map_or(line, |(header, _)| header).trim_end());
    header.is_some_and(|header| header.trim_end_matches(['-', '+']).ends_with(['|', '>']))
}

object! {
    /// Settings of the whole mesh.
    MeshConfig (Warn) {
        /// `/dev/stdout` or another path; no log if empty.
        access_log_file: Option<Text> = "accessLogFile",
        /// A format of Envoy; Istio's own if empty.
        access_log_format: Text = "accessLogFormat",
        /// Text or JSON.
        access_log_encoding: Located<AccessLogEncoding> = "accessLogEncoding",
        /// Who takes what traffic leaves behind.
        extension_providers: Vec<ExtensionProvider> = "extensionProviders",
        /// Those of them that do where a resource names none.
        default_providers: Option<DefaultProviders> = "defaultProviders",
        /// How paths are normalised.
        path_normalization: Option<ProxyPathNormalization> = "pathNormalization",
        /// The namespace whose resources hold everywhere; `istio-system` if empty.
        root_namespace: Text = "rootNamespace",
        /// `cluster.local` if empty.
        trust_domain: Text = "trustDomain",
        /// Other names of it.
        trust_domain_aliases: Vec<Text> = "trustDomainAliases" later,
        /// `exportTo` of services that have none.
        default_service_export_to: Vec<Text> = "defaultServiceExportTo",
        /// `exportTo` of VirtualServices that have none.
        default_virtual_service_export_to: Vec<Text> = "defaultVirtualServiceExportTo",
        /// `exportTo` of DestinationRules that have none.
        default_destination_rule_export_to: Vec<Text> = "defaultDestinationRuleExportTo",
        /// What is done with unknown hosts.
        outbound_traffic_policy: Option<MeshOutboundTrafficPolicy> = "outboundTrafficPolicy",
        /// Where redirected connections come in; 15001 if 0.
        proxy_listen_port: Located<u16> = "proxyListenPort",
        /// Where a sidecar is an HTTP proxy; nowhere if 0.
        proxy_http_port: Located<u16> = "proxyHttpPort",
        /// Settings of each proxy.
        default_config: Option<ProxyConfig> = "defaultConfig",
        /// Until a connection is there.
        connect_timeout: Option<Located<Duration>> = "connectTimeout",
        /// Probes on idle connections.
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive",
        /// HTTP/2 towards services.
        h2_upgrade_policy: Located<MeshH2UpgradePolicy> = "h2UpgradePolicy",
        /// Preference for near endpoints.
        locality_lb_setting: Option<LocalityLoadBalancerSetting> = "localityLbSetting",
        /// Time between two look-ups of a name.
        dns_refresh_rate: Option<Located<Duration>> = "dnsRefreshRate" later,
        /// Preference for near endpoints that leaves none with more to do than others.
        zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting> = "zoneAwareLbSetting",
        /// What holds where no DestinationRule has such a block.
        default_traffic_policy: Option<DefaultTrafficPolicy> = "defaultTrafficPolicy",
        /// Retries of routes that say nothing of them.
        default_http_retry_policy: Option<HttpRetry> = "defaultHttpRetryPolicy",
        /// Whether TLS within the mesh is automatic.
        enable_auto_mtls: Option<Located<bool>> = "enableAutoMtls" later,
        /// Whether traces are sent.
        enable_tracing: Located<bool> = "enableTracing" later,
    }
}

object! {
    /// Blocks of traffic policies for the whole mesh.
    DefaultTrafficPolicy (Warn) {
        /// Limits of connections.
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool",
        /// Ejection of endpoints.
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
    }
}

object! {
    /// Settings of a proxy.
    ProxyConfig (Warn) {
        /// How connections get to a sidecar.
        interception_mode: Located<InterceptionMode> = "interceptionMode",
        /// What stands in front of a gateway.
        gateway_topology: Option<Topology> = "gatewayTopology",
        /// What the proxy says of itself.
        proxy_headers: Option<ProxyHeaders> = "proxyHeaders",
        /// Variables of the proxy's environment.
        proxy_metadata: Map<Text> = "proxyMetadata",
    }
}

object! {
    /// What the proxy says of itself in heads.
    ProxyHeaders (Warn) {
        /// `server` of answers.
        server: Option<ServerHeader> = "server",
        /// The number of the try.
        attempt_count: Option<HeaderSwitch> = "attemptCount",
        /// The request's id.
        request_id: Option<HeaderSwitch> = "requestId",
        /// The other fields `x-envoy-...`.
        envoy_debug_headers: Option<HeaderSwitch> = "envoyDebugHeaders",
        /// The host that was asked for, where a rule has rewritten it.
        x_forwarded_host: Option<HeaderWish> = "xForwardedHost",
        /// The port that was asked.
        x_forwarded_port: Option<HeaderWish> = "xForwardedPort",
    }
}

object! {
    /// `server` of answers.
    ServerHeader (Warn) {
        /// Whether it is that of the back end.
        disabled: Located<bool> = "disabled",
        /// What is said instead of the usual.
        value: Text = "value",
    }
}

object! {
    /// Whether a field is written.
    HeaderSwitch (Warn) {
        /// Whether not.
        disabled: Located<bool> = "disabled",
    }
}

object! {
    /// Whether a field is written that isn't by default.
    HeaderWish (Warn) {
        /// Whether it is.
        enabled: Located<bool> = "enabled",
    }
}

choice! {
    /// How connections get to a sidecar.
    InterceptionMode {
        /// They are redirected, and their destination is looked up.
        Redirect = "REDIRECT",
        /// They keep their addresses.
        Tproxy = "TPROXY",
        /// Clients connect to its ports.
        None = "NONE",
    }
}

object! {
    /// What stands in front of a gateway.
    Topology (Warn) {
        /// Proxies in front of the gateway whose word of the client is taken.
        num_trusted_proxies: Located<u32> = "numTrustedProxies",
        /// What becomes of `x-forwarded-client-cert`.
        forward_client_cert_details: Located<ForwardClientCertDetails> = "forwardClientCertDetails",
        /// Whether connections begin with a header of the PROXY protocol: an object without fields.
        proxy_protocol: Option<NoFields> = "proxyProtocol",
    }
}

choice! {
    /// What becomes of `x-forwarded-client-cert`.
    ForwardClientCertDetails {
        /// As if nothing were said.
        Undefined = "UNDEFINED",
        /// It goes.
        Sanitize = "SANITIZE",
        /// It stays on connections of clients that have shown a certificate.
        ForwardOnly = "FORWARD_ONLY",
        /// There the client's certificate is appended to it.
        AppendForward = "APPEND_FORWARD",
        /// There the client's certificate takes its place.
        SanitizeSet = "SANITIZE_SET",
        /// It stays.
        AlwaysForwardOnly = "ALWAYS_FORWARD_ONLY",
    }
}

/// A message whose presence is all that it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoFields;

impl Decode for NoFields {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        for (key, _) in report.mapping(node, at)? {
            report.unknown_field(key, at, &[], Unknown::Warn);
        }
        Some(Self)
    }
}

impl Serialize for NoFields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

choice! {
    /// Form of an access-log line.
    AccessLogEncoding {
        /// Text.
        Text = "TEXT",
        /// A JSON object.
        Json = "JSON",
    }
}

choice! {
    /// How far paths are normalised.
    NormalizationType {
        /// As Envoy does by default, which is `BASE`.
        Default = "DEFAULT",
        /// Not at all.
        None = "NONE",
        /// By RFC 3986, and a backslash is a slash.
        Base = "BASE",
        /// Doubled slashes are merged too.
        MergeSlashes = "MERGE_SLASHES",
        /// Escaped slashes are decoded first.
        DecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES",
    }
}

object! {
    /// How paths are normalised.
    ProxyPathNormalization (Warn) {
        /// How far.
        normalization: Located<NormalizationType> = "normalization",
    }
}

choice! {
    /// What is done with unknown hosts.
    MeshOutboundTrafficPolicyMode {
        /// Refused.
        RegistryOnly = "REGISTRY_ONLY",
        /// Passed on.
        AllowAny = "ALLOW_ANY",
        /// Passed on by name.
        AllowAnyDynamicDns = "ALLOW_ANY_DYNAMIC_DNS",
    }
}

object! {
    /// What is done with unknown hosts.
    MeshOutboundTrafficPolicy (Warn) {
        /// The mode.
        mode: Located<MeshOutboundTrafficPolicyMode> = "mode",
    }
}

choice! {
    /// Whether HTTP/1.1 becomes HTTP/2 towards services.
    MeshH2UpgradePolicy {
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE",
        /// Yes.
        Upgrade = "UPGRADE",
    }
}
