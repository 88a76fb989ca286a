//! `Telemetry`, as `telemetry/v1/telemetry.proto` has it. Of what it says only access logs are honoured.

use super::{Duration, LabelSelector};
use crate::decode::{Located, Map, Text, choice, object};
use crate::model::LogFilter;

object! {
    /// What traffic leaves behind.
    Telemetry {
        /// The workloads; all of the namespace if absent.
        selector: Option<LabelSelector> = "selector",
        /// A Gateway or Service of Kubernetes in place of workloads; superseded by the next.
        target_ref: Option<PolicyTargetReference> = "targetRef" later,
        /// Gateways or Services of Kubernetes in place of workloads.
        target_refs: Vec<PolicyTargetReference> = "targetRefs" later,
        /// Traces.
        tracing: Vec<Tracing> = "tracing" later,
        /// Metrics.
        metrics: Vec<Metrics> = "metrics" later,
        /// Access logs.
        access_logging: Vec<AccessLogging> = "accessLogging",
    }
}

object! {
    /// A resource that a policy is for.
    PolicyTargetReference {
        /// Its group; that of Kubernetes' own kinds if empty.
        group: Text = "group",
        /// Its kind.
        kind: Text = "kind",
        /// Its name.
        name: Text = "name",
        /// Must be empty: its namespace is that of the policy.
        namespace: Text = "namespace",
    }
}

choice! {
    /// Which side of a request a proxy is on.
    WorkloadMode {
        /// Either.
        ClientAndServer = "CLIENT_AND_SERVER",
        /// The side that sends it: a gateway, or a sidecar for traffic of its workload.
        Client = "CLIENT",
        /// The side that it is for.
        Server = "SERVER",
    }
}

object! {
    /// Requests that settings are for.
    LogSelector {
        /// The proxy's side of them.
        mode: Located<WorkloadMode> = "mode",
    }
}

object! {
    /// One of MeshConfig's `extensionProviders`.
    ProviderRef {
        /// Its name.
        name: Text = "name",
    }
}

object! {
    /// Where access logs go.
    AccessLogging {
        /// The proxy's side of the requests.
        r#match: Option<LogSelector> = "match",
        /// Those that write; those of the parent if empty.
        providers: Vec<ProviderRef> = "providers",
        /// Whether they don't.
        disabled: Option<Located<bool>> = "disabled",
        /// Which requests are logged.
        filter: Option<AccessLoggingFilter> = "filter",
    }
}

object! {
    /// Which requests are logged.
    AccessLoggingFilter {
        /// An expression in CEL.
        expression: Option<Located<LogFilter>> = "expression",
    }
}

object! {
    /// How traces are made, and where they go.
    Tracing {
        /// The proxy's side of the requests.
        r#match: Option<LogSelector> = "match",
        /// Who takes them.
        providers: Vec<ProviderRef> = "providers",
        /// Percent of the requests.
        random_sampling_percentage: Option<Located<f64>> = "randomSamplingPercentage",
        /// Whether none are sent.
        disable_span_reporting: Option<Located<bool>> = "disableSpanReporting",
        /// Tags by their names.
        custom_tags: Map<CustomTag> = "customTags",
        /// Whether the request's id tells if it is traced.
        use_request_id_for_trace_sampling: Option<Located<bool>> = "useRequestIdForTraceSampling",
        /// Whether there are Istio's own tags.
        enable_istio_tags: Option<Located<bool>> = "enableIstioTags",
        /// Whether the trace ends at this proxy.
        disable_context_propagation: Option<Located<bool>> = "disableContextPropagation",
    }
}

object! {
    /// A tag of a span: one of these.
    CustomTag {
        /// A text.
        literal: Option<TagText> = "literal",
        /// A variable of the proxy's environment.
        environment: Option<TagSource> = "environment",
        /// A field of the request.
        header: Option<TagSource> = "header",
        /// A format of Envoy's.
        formatter: Option<TagText> = "formatter",
    }
}

object! {
    /// The text of a tag.
    TagText {
        /// The text.
        value: Text = "value",
    }
}

object! {
    /// Where a tag's text comes from.
    TagSource {
        /// The name of the variable or field.
        name: Text = "name",
        /// The text if there is none.
        default_value: Text = "defaultValue",
    }
}

object! {
    /// Which metrics there are.
    Metrics {
        /// Who takes them.
        providers: Vec<ProviderRef> = "providers",
        /// Changes of Istio's own.
        overrides: Vec<MetricsOverrides> = "overrides",
        /// Time between two reports.
        reporting_interval: Option<Located<Duration>> = "reportingInterval",
    }
}

object! {
    /// Changes of metrics.
    MetricsOverrides {
        /// Which.
        r#match: Option<MetricSelector> = "match",
        /// Whether they go.
        disabled: Option<Located<bool>> = "disabled",
        /// Tags by their names.
        tag_overrides: Map<TagOverride> = "tagOverrides",
    }
}

choice! {
    /// Istio's metrics.
    IstioMetric {
        /// All of them.
        AllMetrics = "ALL_METRICS",
        /// Requests.
        RequestCount = "REQUEST_COUNT",
        /// How long they took.
        RequestDuration = "REQUEST_DURATION",
        /// Bytes of their bodies.
        RequestSize = "REQUEST_SIZE",
        /// Bytes of their answers' bodies.
        ResponseSize = "RESPONSE_SIZE",
        /// Connections that opened.
        TcpOpenedConnections = "TCP_OPENED_CONNECTIONS",
        /// Connections that closed.
        TcpClosedConnections = "TCP_CLOSED_CONNECTIONS",
        /// Bytes sent over them.
        TcpSentBytes = "TCP_SENT_BYTES",
        /// Bytes received over them.
        TcpReceivedBytes = "TCP_RECEIVED_BYTES",
        /// Messages of gRPC requests.
        GrpcRequestMessages = "GRPC_REQUEST_MESSAGES",
        /// Messages of gRPC answers.
        GrpcResponseMessages = "GRPC_RESPONSE_MESSAGES",
    }
}

object! {
    /// Metrics that a change is for.
    MetricSelector {
        /// One of Istio's.
        metric: Option<Located<IstioMetric>> = "metric",
        /// Another one.
        custom_metric: Option<Text> = "customMetric",
        /// The proxy's side of the requests.
        mode: Located<WorkloadMode> = "mode",
    }
}

choice! {
    /// What becomes of a tag.
    TagOverrideOperation {
        /// It gets a value.
        Upsert = "UPSERT",
        /// It goes.
        Remove = "REMOVE",
    }
}

object! {
    /// What becomes of a tag.
    TagOverride {
        /// Whether it gets a value.
        operation: Located<TagOverrideOperation> = "operation",
        /// An expression in CEL.
        value: Text = "value",
    }
}
