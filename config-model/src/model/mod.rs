//! The runtime model: listeners, route configurations, virtual hosts, routes, clusters and endpoints, every reference
//! resolved and every default filled in. It says what Envoy's messages of the same names say, in the same vocabulary, so
//! that a control plane can fill it directly; nothing in it knows of a custom resource.

mod address;
mod cluster;
mod cluster_policy;
mod endpoint;
mod format;
mod json;
mod listener;
mod log_filter;
mod route;
mod route_policy;
mod tcp;
mod tls;

pub use address::ListenerAddress;
pub use cluster::{
    BackEndProtocol, Cluster, ClusterIndex, ClusterName, ClusterTarget, Direction, Discovery, ProxyProtocolVersion,
};
pub use cluster_policy::{
    Balancing, ClusterPolicy, ConnectionPool, Failover, Keepalive, LocalityPolicy, Nearness, OutlierDetection,
    OwnService, Pings, RetryBudget, Warmup, ZoneAware,
};
pub use endpoint::{Endpoint, EndpointAddress, EndpointList, Health, Locality, Workload};
pub use format::{Command, Format, FormatError, GrpcStatusForm, Piece};
pub use json::{Json, JsonObject};
pub use listener::{
    Binding, Detection, FilterChain, FilterChains, Listener, NetworkFilter, RouteConfiguration,
    RouteConfigurationIndex, TransportSocket, VirtualHost, chain_for,
};
pub use log_filter::LogFilter;
pub use route::{
    Action, Condition, Destination, DirectResponse, Forward, HeaderAddition, HeaderMutation, HeaderOperations,
    MatchCondition, PathMatch, PathRewrite, Pattern, Redirect, RedirectPort, Rewrite, RewritePattern, Route,
    RouteMatch, Scheme, TextMatch,
};
pub use route_policy::{
    AbortStatus, CorsPolicy, Fault, FaultAbort, FaultDelay, Fraction, GRPC_STATUS_NAMES, HashSource, Mirror,
    RetryConditions, RetryOn, RetryPolicy, RoutePolicy, SplitPolicy,
};
pub use tcp::{TcpProxy, TcpProxyIndex, TcpRoute, Tunnel, TunnelMethod, WeightedCluster};
pub use tls::{
    AuthoritySource, CertificateSource, CipherSuite, ClientCertificates, Credential, DownstreamTls, PeerValidation,
    SecretName, TlsVersion, TlsVersions, UpstreamTls,
};

use serde::Serialize;

/// How paths are normalised before matching and forwarding.
/// Source: MeshConfig, `pathNormalization.normalization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub enum PathNormalization {
    /// Nothing was set: our own, stricter rules. Forwarded as with `Base`, matched with slashes merged, and what would gain a
    /// dot segment by decoding is refused.
    #[default]
    Strict,
    /// Left as it came.
    None,
    /// RFC 3986 normalisation, and a backslash is a slash.
    Base,
    /// `Base`, then doubled slashes are merged.
    MergeSlashes,
    /// `%2f` and `%5c` are decoded first, then as `MergeSlashes`.
    DecodeAndMergeSlashes,
}

/// An access log: where it goes and how a line looks.
/// Source: MeshConfig, `accessLogFile`, `accessLogFormat`, `accessLogEncoding`, `extensionProviders[].envoyFileAccessLog`;
/// Telemetry, `accessLogging`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    /// `/dev/stdout` or another path.
    pub path: String,
    /// Format of a text line, or of each field of a JSON line.
    pub format: AccessLogFormat,
    /// Whether what is absent leaves nothing behind, not even `-`, `null` or its field.
    pub omits_absent: bool,
    /// Which requests have a line; all if there is none.
    pub filter: Option<LogFilter>,
}

/// The look of one access-log line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum AccessLogFormat {
    /// A line of text. [`Format::istio_default`] unless one was given.
    Text(Format),
    /// A JSON object with these members.
    Json(JsonObject<Format>),
}

/// What stands in front of a gateway, and what is believed of what it says.
/// Source: MeshConfig, `defaultConfig.gatewayTopology`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Topology {
    /// Proxies that each request has come through, and whose `x-forwarded-for` and `x-forwarded-proto` are believed.
    pub trusted_proxies: u32,
    /// What becomes of `x-forwarded-client-cert`.
    pub client_certificate: ForwardedClientCertificate,
}

/// What becomes of `x-forwarded-client-cert`. Source: Envoy, `forward_client_cert_details`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum ForwardedClientCertificate {
    /// A client's certificate takes its place; without one it goes.
    #[default]
    Set,
    /// A client's certificate is appended to it; without one it goes.
    Append,
    /// It stays if the client has shown a certificate, and goes otherwise.
    Keep,
    /// It stays.
    AlwaysKeep,
    /// It goes.
    Drop,
}

/// What MeshConfig says, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mesh {
    /// Path normalisation.
    pub path_normalization: PathNormalization,
    /// The namespace whose resources hold for the whole mesh, `istio-system` if absent.
    pub root_namespace: String,
    /// `trustDomain`, `cluster.local` if absent.
    pub trust_domain: String,
    /// What stands in front of gateways.
    pub topology: Topology,
    /// What the proxy says of itself.
    pub headers: ProxyHeaders,
}

/// What the proxy says of itself, and of what it does, in heads. Source: MeshConfig, `defaultConfig.proxyHeaders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProxyHeaders {
    /// `server` of answers.
    pub server: ServerHeader,
    /// Whether back ends are told the number of the try.
    pub attempt_count: bool,
    /// Whether requests get an id.
    pub request_id: bool,
    /// Whether the other fields `x-envoy-...` are written.
    pub debug: bool,
    /// Whether back ends are told in `x-forwarded-host` which host was asked for, if a rule has rewritten it.
    pub forwarded_host: bool,
    /// Whether they are told in `x-forwarded-port` which port the request came to.
    pub forwarded_port: bool,
}

/// What answers have as `server`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ServerHeader {
    /// What proxies of this kind say.
    Usual,
    /// This.
    Named(String),
    /// What the back end says, if anything.
    OfBackEnd,
}

impl Default for ProxyHeaders {
    fn default() -> Self {
        Self {
            server: ServerHeader::Usual,
            attempt_count: true,
            request_id: true,
            debug: true,
            forwarded_host: false,
            forwarded_port: false,
        }
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            path_normalization: PathNormalization::Strict,
            root_namespace: "istio-system".to_owned(),
            trust_domain: "cluster.local".to_owned(),
            topology: Topology::default(),
            headers: ProxyHeaders::default(),
        }
    }
}

/// Everything that routes: compiled anew when a resource other than endpoints changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Model {
    /// What to bind, ordered by address.
    pub listeners: Vec<Listener>,
    /// Route tables, named by the listeners.
    pub route_configurations: Vec<RouteConfiguration>,
    /// Routes of connections, named by the listeners.
    pub tcp_proxies: Vec<TcpProxy>,
    /// Every cluster that exists, ordered by name. Their endpoints are looked up apart, so that a pod that comes or goes
    /// leaves this model as it is.
    pub clusters: Vec<Cluster>,
    /// Settings of the mesh.
    pub mesh: Mesh,
    /// The access logs, perhaps none; `None` where nothing is said of them, so that the command line decides.
    pub access_logs: Option<Vec<AccessLog>>,
    /// Where the proxy is: its label `istio-locality`, else its labels `topology.kubernetes.io/region`, `/zone` and
    /// `topology.istio.io/subzone`.
    pub locality: Locality,
}
