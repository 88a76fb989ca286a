//! `VirtualService`, as `networking/v1/virtual_service.proto` has it.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Percent, PortSelector};
use crate::decode::{Bytes, Decode, Duration, Located, Map, Path, Report, Text, Unknown, choice, object};
use crate::document::{Node, Value};
use crate::model::{Format, Pattern, RewritePattern};
use crate::name::Labels;
use crate::origin::Position;

object! {
    /// Where requests for some hosts go.
    VirtualService {
        /// Host names, perhaps with a leading wildcard; none for a delegate.
        hosts: Vec<Text> = "hosts",
        /// `NAME`, `NAMESPACE/NAME` or `mesh`; none is the same as `mesh` alone.
        gateways: Vec<Text> = "gateways",
        /// Rules for HTTP; the first that matches is used.
        http: Vec<HttpRoute> = "http",
        /// Rules for TLS that is passed through.
        tls: Vec<TlsRoute> = "tls",
        /// Rules for other connections.
        tcp: Vec<TcpRoute> = "tcp",
        /// `.`, `*` or namespaces; none means the default of the mesh.
        export_to: Vec<Text> = "exportTo",
    }
}

object! {
    /// A service, and perhaps a subset and a port of it.
    Destination {
        /// Name in the registry; without a dot it is completed by the resource's namespace.
        host: Text = "host",
        /// Name of a subset; empty for the whole service.
        subset: Text = "subset",
        /// The port; may be left out if the service has only one.
        port: Option<PortSelector> = "port",
    }
}

object! {
    /// One rule.
    HttpRoute {
        /// For the access log.
        name: Text = "name",
        /// Any of these has to match; none matches everything.
        r#match: Vec<HttpMatchRequest> = "match",
        /// Weighted destinations.
        route: Vec<HttpRouteDestination> = "route",
        /// Answer with a redirect instead.
        redirect: Option<Box<HttpRedirect>> = "redirect",
        /// Answer as written instead.
        direct_response: Option<Box<HttpDirectResponse>> = "directResponse",
        /// Go on with the rules of another VirtualService.
        delegate: Option<Box<Delegate>> = "delegate",
        /// Change path or authority before forwarding.
        rewrite: Option<Box<HttpRewrite>> = "rewrite",
        /// For the whole exchange; none if absent.
        timeout: Option<Located<Duration>> = "timeout",
        /// Tries after a failure.
        retries: Option<Box<HttpRetry>> = "retries",
        /// Delays and errors on purpose.
        fault: Option<Box<HttpFaultInjection>> = "fault",
        /// A second destination, whose answers are dropped.
        mirror: Option<Box<Destination>> = "mirror",
        /// Several of those.
        mirrors: Vec<HttpMirrorPolicy> = "mirrors",
        /// Deprecated form of `mirrorPercentage`. Its schema in Kubernetes has the second name too.
        mirror_percent: Option<Located<u32>> = "mirrorPercent" / "mirror_percent",
        /// Share of requests that `mirror` gets; all if absent.
        mirror_percentage: Option<Percent> = "mirrorPercentage",
        /// Cross-origin resource sharing.
        cors_policy: Option<Box<CorsPolicy>> = "corsPolicy",
        /// Changes to headers.
        headers: Option<Box<Headers>> = "headers",
    }
}

object! {
    /// The VirtualService whose rules go on from here.
    Delegate {
        /// Its name.
        name: Text = "name",
        /// Its namespace; that of the root if empty.
        namespace: Text = "namespace",
    }
}

object! {
    /// Changes to headers on both ways.
    Headers {
        /// Before the request is forwarded.
        request: Option<HeaderOperations> = "request",
        /// Before the answer is returned.
        response: Option<HeaderOperations> = "response",
    }
}

object! {
    /// Changes to the headers of one message: removed, then set, then added.
    HeaderOperations {
        /// Replaces all fields of the name.
        set: Map<Located<Format>> = "set",
        /// Appends a field.
        add: Map<Located<Format>> = "add",
        /// Removes all fields of the name.
        remove: Vec<Text> = "remove",
    }
}

object! {
    /// Conditions, all of which have to hold.
    HttpMatchRequest {
        /// For the access log.
        name: Text = "name",
        /// The path.
        uri: Option<StringMatch> = "uri",
        /// `http` or `https`.
        scheme: Option<StringMatch> = "scheme",
        /// The method.
        method: Option<StringMatch> = "method",
        /// Host with its port, as it was sent.
        authority: Option<StringMatch> = "authority",
        /// Header fields; a name with only empty conditions has to be there.
        headers: Map<StringMatch> = "headers",
        /// Port of the listener.
        port: Located<u16> = "port",
        /// Labels that the proxy must have.
        source_labels: Labels = "sourceLabels",
        /// Replaces the list of the VirtualService for this entry.
        gateways: Vec<Text> = "gateways",
        /// Parameters of the query.
        query_params: Map<StringMatch> = "queryParams",
        /// `uri` compares without case, if exact or prefix.
        ignore_uri_case: Located<bool> = "ignoreUriCase",
        /// Header fields that must not match.
        without_headers: Map<StringMatch> = "withoutHeaders",
        /// Namespace that the proxy must be in.
        source_namespace: Text = "sourceNamespace",
        /// Prefix of statistics.
        stat_prefix: Text = "statPrefix" later,
    }
}

/// A comparison of one text.
#[derive(Debug, Clone, PartialEq)]
pub enum StringMatch {
    /// The whole text.
    Exact(Text),
    /// Its beginning.
    Prefix(Text),
    /// The whole text, by an expression of RE2.
    Regex(Box<Located<Pattern>>),
    /// `{}`: the value has to be there.
    Present(Position),
}

impl StringMatch {
    /// Where it begins: the text of the condition, or the braces.
    pub fn position(&self) -> Position {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text.position,
            Self::Regex(pattern) => pattern.position,
            Self::Present(position) => *position,
        }
    }

    /// `exact`, `prefix`, `regex`, or `present` for an empty one.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Exact(_) => "exact",
            Self::Prefix(_) => "prefix",
            Self::Regex(_) => "regex",
            Self::Present(_) => "present",
        }
    }
}

impl Decode for StringMatch {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        if let Value::String(text) = &node.value {
            let hint = format!("write {{exact: {text:?}}}");
            report.error(node.position, at, format_args!("must be a mapping, found {}", node.describe()), Some(&hint));
            return None;
        }
        let mut found: Option<Self> = None;
        for (key, value) in report.mapping(node, at)? {
            let at = at.field(&key.name);
            let read = match &*key.name {
                _ if value.is_null() => continue,
                "exact" => Text::decode(value, &at, report).map(Self::Exact),
                "prefix" => Text::decode(value, &at, report).map(Self::Prefix),
                "regex" if at.parent().is_entry_of("withoutHeaders") && value.is_text("*") => {
                    // Istio reads this one as "is there", though it is no expression.
                    Some(Self::Present(value.position))
                }
                "regex" => Box::decode(value, &at, report).map(Self::Regex),
                _ => {
                    let parent = at.parent();
                    report.unknown_field(key, parent, &["exact", "prefix", "regex"], Unknown::Refuse);
                    None
                }
            };
            if let (Some(_), Some(before)) = (&read, &found) {
                let message = format_args!("must not stand beside {}", before.kind());
                report.error(key.position, &at, message, Some("keep one of exact, prefix and regex"));
            }
            found = read.or(found);
        }
        Some(found.unwrap_or(Self::Present(node.position)))
    }
}

impl Serialize for StringMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Exact(text) | Self::Prefix(text) => map.serialize_entry(self.kind(), text)?,
            Self::Regex(pattern) => map.serialize_entry(self.kind(), pattern)?,
            Self::Present(_) => {}
        }
        map.end()
    }
}

object! {
    /// A destination and its share.
    HttpRouteDestination {
        /// The service.
        destination: Option<Destination> = "destination",
        /// Share = weight / sum of the weights.
        weight: Located<i32> = "weight",
        /// Changes to headers for this destination only.
        headers: Option<Box<Headers>> = "headers",
    }
}

choice! {
    /// How a redirect finds its port.
    RedirectPortSelection {
        /// 80 for http, 443 for https.
        FromProtocolDefault = "FROM_PROTOCOL_DEFAULT",
        /// The port that the request came in on.
        FromRequestPort = "FROM_REQUEST_PORT",
    }
}

object! {
    /// A redirect.
    HttpRedirect {
        /// Replaces the path.
        uri: Text = "uri",
        /// Replaces the host.
        authority: Text = "authority",
        /// Replaces the port.
        port: Option<Located<u16>> = "port",
        /// Finds the port.
        derive_port: Option<Located<RedirectPortSelection>> = "derivePort",
        /// `http` or `https`.
        scheme: Text = "scheme",
        /// 301 if absent.
        redirect_code: Located<u32> = "redirectCode",
        /// Replaces the matched prefix of the path.
        prefix_rewrite: Text = "prefixRewrite",
    }
}

object! {
    /// An answer that is made here.
    HttpDirectResponse {
        /// 200 to 599.
        status: Located<u32> = "status",
        /// The body, empty if absent.
        body: Option<HttpBody> = "body",
    }
}

object! {
    /// A body, in one of two forms.
    HttpBody {
        /// As text.
        string: Option<Text> = "string",
        /// As base64.
        bytes: Option<Located<Bytes>> = "bytes",
    }
}

object! {
    /// Changes to the target of a request.
    HttpRewrite {
        /// Replaces the path, or the prefix that matched.
        uri: Text = "uri",
        /// Replaces the authority.
        authority: Text = "authority",
        /// Replaces parts of the path.
        uri_regex_rewrite: Option<RegexRewrite> = "uriRegexRewrite",
    }
}

object! {
    /// Replaces every match of an expression.
    RegexRewrite {
        /// The expression, not anchored.
        r#match: Option<Located<RewritePattern>> = "match",
        /// What stands there then; `\1` is the first group.
        rewrite: Text = "rewrite",
    }
}

object! {
    /// When and how often a failed try is repeated.
    HttpRetry {
        /// Tries after the first one; 0 switches retries off.
        attempts: Located<i32> = "attempts",
        /// For each try, the first included.
        per_try_timeout: Option<Located<Duration>> = "perTryTimeout",
        /// Conditions, by commas.
        retry_on: Text = "retryOn",
        /// Whether other localities may be tried.
        retry_remote_localities: Option<Located<bool>> = "retryRemoteLocalities",
        /// Whether an endpoint that failed is left out; true if absent.
        retry_ignore_previous_hosts: Option<Located<bool>> = "retryIgnorePreviousHosts",
        /// Least pause between tries.
        backoff: Option<Located<Duration>> = "backoff",
    }
}

choice! {
    /// What is done with a preflight from an origin that is not allowed.
    UnmatchedPreflights {
        /// As `FORWARD`.
        Unspecified = "UNSPECIFIED",
        /// Sent on to the back end.
        Forward = "FORWARD",
        /// Answered 200 without headers that allow anything.
        Ignore = "IGNORE",
    }
}

object! {
    /// Cross-origin resource sharing.
    CorsPolicy {
        /// Deprecated form of `allowOrigins`: exact texts.
        allow_origin: Vec<Text> = "allowOrigin",
        /// Origins that may ask.
        allow_origins: Vec<StringMatch> = "allowOrigins",
        /// `access-control-allow-methods`
        allow_methods: Vec<Text> = "allowMethods",
        /// `access-control-allow-headers`
        allow_headers: Vec<Text> = "allowHeaders",
        /// `access-control-expose-headers`
        expose_headers: Vec<Text> = "exposeHeaders",
        /// `access-control-max-age`
        max_age: Option<Located<Duration>> = "maxAge",
        /// `access-control-allow-credentials`
        allow_credentials: Option<Located<bool>> = "allowCredentials",
        /// For origins that are not allowed.
        unmatched_preflights: Located<UnmatchedPreflights> = "unmatchedPreflights",
    }
}

object! {
    /// Trouble on purpose.
    HttpFaultInjection {
        /// Before the request is forwarded.
        delay: Option<Delay> = "delay",
        /// Instead of forwarding.
        abort: Option<Abort> = "abort",
    }
}

object! {
    /// A delay on purpose.
    Delay {
        /// Deprecated form of `percentage`.
        percent: Located<i32> = "percent",
        /// Its length.
        fixed_delay: Option<Located<Duration>> = "fixedDelay",
        /// Never supported by Istio.
        exponential_delay: Option<Located<Duration>> = "exponentialDelay",
        /// Share of requests; `percent` if absent, and none if that is absent too.
        percentage: Option<Percent> = "percentage",
    }
}

object! {
    /// An error on purpose.
    Abort {
        /// Status of the answer.
        http_status: Option<Located<i32>> = "httpStatus",
        /// Status of gRPC, by name.
        grpc_status: Option<Text> = "grpcStatus",
        /// Never supported by Istio.
        http2_error: Option<Text> = "http2Error",
        /// Share of requests; none if absent.
        percentage: Option<Percent> = "percentage",
    }
}

object! {
    /// A mirror and its share.
    HttpMirrorPolicy {
        /// The service.
        destination: Option<Destination> = "destination",
        /// All if absent.
        percentage: Option<Percent> = "percentage",
    }
}

object! {
    /// A rule for TLS that is passed through.
    TlsRoute {
        /// Any of these.
        r#match: Vec<TlsMatchAttributes> = "match",
        /// Weighted destinations.
        route: Vec<RouteDestination> = "route",
    }
}

object! {
    /// A rule for other connections.
    TcpRoute {
        /// Any of these.
        r#match: Vec<L4MatchAttributes> = "match",
        /// Weighted destinations.
        route: Vec<RouteDestination> = "route",
    }
}

object! {
    /// A destination of a connection, and its share.
    RouteDestination {
        /// The service.
        destination: Option<Destination> = "destination",
        /// Share = weight / sum of the weights.
        weight: Located<i32> = "weight",
    }
}

object! {
    /// Conditions on a TLS connection, all of which have to hold.
    TlsMatchAttributes {
        /// Server names.
        sni_hosts: Vec<Text> = "sniHosts",
        /// Addresses that the client asked for.
        destination_subnets: Vec<Text> = "destinationSubnets",
        /// Port of the listener.
        port: Located<u16> = "port",
        /// Labels that the proxy must have.
        source_labels: Labels = "sourceLabels",
        /// Replaces the list of the VirtualService.
        gateways: Vec<Text> = "gateways",
        /// Namespace that the proxy must be in.
        source_namespace: Text = "sourceNamespace",
    }
}

object! {
    /// Conditions on another connection, all of which have to hold.
    L4MatchAttributes {
        /// Addresses that the client asked for.
        destination_subnets: Vec<Text> = "destinationSubnets",
        /// Port of the listener.
        port: Located<u16> = "port",
        /// Addresses of the client.
        source_subnet: Text = "sourceSubnet",
        /// Labels that the proxy must have.
        source_labels: Labels = "sourceLabels",
        /// Replaces the list of the VirtualService.
        gateways: Vec<Text> = "gateways",
        /// Namespace that the proxy must be in.
        source_namespace: Text = "sourceNamespace",
    }
}
