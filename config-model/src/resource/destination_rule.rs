//! `DestinationRule`, as `networking/v1/destination_rule.proto` has it.

use super::{LabelSelector, PortSelector};
use crate::decode::{Duration, Located, Map, Text, choice, object};
use crate::name::Labels;

object! {
    /// What holds for traffic to a service after it was routed, and the service's subsets.
    DestinationRule {
        /// The service, perhaps with a leading wildcard.
        host: Text = "host",
        /// For all its subsets.
        traffic_policy: Option<Box<TrafficPolicy>> = "trafficPolicy",
        /// Versions of the service.
        subsets: Vec<Subset> = "subsets",
        /// `.`, `*` or namespaces; none means the default of the mesh.
        export_to: Vec<Text> = "exportTo",
        /// Proxies that this rule is for; all if absent.
        workload_selector: Option<LabelSelector> = "workloadSelector",
    }
}

object! {
    /// A part of a service's endpoints.
    Subset {
        /// The name that routes use.
        name: Text = "name",
        /// Labels that an endpoint must have.
        labels: Labels = "labels",
        /// Overrides the rule's policy, block by block.
        traffic_policy: Option<Box<TrafficPolicy>> = "trafficPolicy",
    }
}

object! {
    /// Policies for traffic to a service.
    TrafficPolicy {
        /// Endpoint choice.
        load_balancer: Option<LoadBalancerSettings> = "loadBalancer",
        /// Limits.
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool",
        /// Ejection of endpoints that fail.
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
        /// TLS towards the service.
        tls: Option<ClientTlsSettings> = "tls",
        /// Replaces all this for single ports.
        port_level_settings: Vec<PortTrafficPolicy> = "portLevelSettings",
        /// Tunnels of TCP through HTTP.
        tunnel: Option<TunnelSettings> = "tunnel",
        /// PROXY protocol towards the service.
        proxy_protocol: Option<ProxyProtocol> = "proxyProtocol",
        /// Limit of retries as a share of requests.
        retry_budget: Option<RetryBudget> = "retryBudget",
    }
}

object! {
    /// Policies for one port.
    PortTrafficPolicy {
        /// The service's port.
        port: Option<PortSelector> = "port",
        /// Endpoint choice.
        load_balancer: Option<LoadBalancerSettings> = "loadBalancer",
        /// Limits.
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool",
        /// Ejection of endpoints that fail.
        outlier_detection: Option<OutlierDetection> = "outlierDetection",
        /// TLS towards the service.
        tls: Option<ClientTlsSettings> = "tls",
    }
}

object! {
    /// A tunnel through HTTP.
    TunnelSettings {
        /// `CONNECT` or `POST`.
        protocol: Text = "protocol",
        /// Where the tunnel ends.
        target_host: Text = "targetHost",
        /// The port there.
        target_port: Located<u16> = "targetPort",
    }
}

choice! {
    /// Version of the PROXY protocol.
    ProxyProtocolVersion {
        /// Text.
        V1 = "V1",
        /// Binary.
        V2 = "V2",
    }
}

object! {
    /// PROXY protocol towards a service.
    ProxyProtocol {
        /// Its version.
        version: Located<ProxyProtocolVersion> = "version",
    }
}

object! {
    /// Limit of retries.
    RetryBudget {
        /// Of active requests; 20 if absent.
        percent: Option<Located<f64>> = "percent",
        /// Retries that are always allowed.
        min_retry_concurrency: Located<u32> = "minRetryConcurrency",
        /// The span over which requests are counted; those that are active if absent or 0.
        budget_interval: Option<Located<Duration>> = "budgetInterval",
    }
}

choice! {
    /// Endpoint choice without further settings.
    SimpleLb {
        /// As `LEAST_REQUEST`.
        Unspecified = "UNSPECIFIED",
        /// Deprecated name of `LEAST_REQUEST`.
        LeastConn = "LEAST_CONN",
        /// Any.
        Random = "RANDOM",
        /// The address that the client asked for.
        Passthrough = "PASSTHROUGH",
        /// One after the other.
        RoundRobin = "ROUND_ROBIN",
        /// The less busy of two.
        LeastRequest = "LEAST_REQUEST",
    }
}

object! {
    /// Endpoint choice.
    LoadBalancerSettings {
        /// One of the simple ways.
        simple: Option<Located<SimpleLb>> = "simple",
        /// The same endpoint for the same key.
        consistent_hash: Option<Box<ConsistentHashLb>> = "consistentHash",
        /// Preference for near endpoints.
        locality_lb_setting: Option<Box<LocalityLoadBalancerSetting>> = "localityLbSetting",
        /// The same, aware of zones.
        zone_aware_lb_setting: Option<Box<ZoneAwareLoadBalancerSetting>> = "zoneAwareLbSetting",
        /// Deprecated form of `warmup`.
        warmup_duration_secs: Option<Located<Duration>> = "warmupDurationSecs",
        /// Slow start of new endpoints.
        warmup: Option<Box<WarmupConfiguration>> = "warmup",
    }
}

object! {
    /// The same endpoint for the same key.
    ConsistentHashLb {
        /// The key is this header.
        http_header_name: Option<Text> = "httpHeaderName",
        /// The key is this cookie.
        http_cookie: Option<HttpCookie> = "httpCookie",
        /// The key is the client's address.
        use_source_ip: Option<Located<bool>> = "useSourceIp",
        /// The key is this parameter of the query.
        http_query_parameter_name: Option<Text> = "httpQueryParameterName",
        /// By a ring.
        ring_hash: Option<RingHash> = "ringHash",
        /// By a Maglev table.
        maglev: Option<MagLev> = "maglev",
        /// Deprecated form of `ringHash.minimumRingSize`.
        minimum_ring_size: Located<u64> = "minimumRingSize",
    }
}

object! {
    /// A hash ring.
    RingHash {
        /// Least number of points; 1024 if absent.
        minimum_ring_size: Located<u64> = "minimumRingSize",
    }
}

object! {
    /// A Maglev table.
    MagLev {
        /// A prime; 65537 if absent.
        table_size: Located<u64> = "tableSize",
    }
}

object! {
    /// The cookie that is a key.
    HttpCookie {
        /// Its name.
        name: Text = "name",
        /// Its path.
        path: Text = "path",
        /// Made with this life if the request has none; 0 for the session.
        ttl: Option<Located<Duration>> = "ttl",
        /// Further attributes.
        attributes: Vec<HttpCookieAttribute> = "attributes",
    }
}

object! {
    /// An attribute of a cookie.
    HttpCookieAttribute {
        /// Its name.
        name: Text = "name",
        /// Its value, if it has one.
        value: Text = "value",
    }
}

object! {
    /// Slow start.
    WarmupConfiguration {
        /// Its length.
        duration: Option<Located<Duration>> = "duration",
        /// Weight at the beginning; 10 if absent.
        minimum_percent: Option<Located<f64>> = "minimumPercent",
        /// Exponent of growth; 1 if absent.
        aggression: Option<Located<f64>> = "aggression",
    }
}

object! {
    /// Limits of connections and requests.
    ConnectionPoolSettings {
        /// For connections.
        tcp: Option<TcpSettings> = "tcp",
        /// For requests.
        http: Option<Box<HttpSettings>> = "http",
    }
}

object! {
    /// Limits of connections.
    TcpSettings {
        /// At once.
        max_connections: Located<i32> = "maxConnections",
        /// Until a connection is there; 5 s if absent.
        connect_timeout: Option<Located<Duration>> = "connectTimeout",
        /// Probes on idle connections.
        tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive",
        /// Longest life.
        max_connection_duration: Option<Located<Duration>> = "maxConnectionDuration",
        /// Without a byte.
        idle_timeout: Option<Located<Duration>> = "idleTimeout",
    }
}

object! {
    /// Probes on idle connections.
    TcpKeepalive {
        /// Unanswered ones before the connection counts as dead.
        probes: Located<u32> = "probes",
        /// Idle time before the first.
        time: Option<Located<Duration>> = "time",
        /// Time between two.
        interval: Option<Located<Duration>> = "interval",
    }
}

choice! {
    /// Whether HTTP/1.1 becomes HTTP/2 towards the service.
    H2UpgradePolicy {
        /// As the mesh says.
        Default = "DEFAULT",
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE",
        /// Yes.
        Upgrade = "UPGRADE",
    }
}

object! {
    /// Limits of requests.
    HttpSettings {
        /// Waiting for a connection.
        http1_max_pending_requests: Located<i32> = "http1MaxPendingRequests",
        /// At once, in HTTP/1.1 too.
        http2_max_requests: Located<i32> = "http2MaxRequests",
        /// On one connection; 0 is no limit.
        max_requests_per_connection: Located<i32> = "maxRequestsPerConnection",
        /// Retries at once.
        max_retries: Located<i32> = "maxRetries",
        /// Without a request; 1 h if absent.
        idle_timeout: Option<Located<Duration>> = "idleTimeout",
        /// HTTP/2 towards the service.
        h2_upgrade_policy: Located<H2UpgradePolicy> = "h2UpgradePolicy",
        /// The client's protocol towards the service.
        use_client_protocol: Located<bool> = "useClientProtocol",
        /// Streams at once on one connection.
        max_concurrent_streams: Located<i32> = "maxConcurrentStreams",
        /// Pings on HTTP/2 connections.
        http2_keep_alive: Option<ConnectionKeepalive> = "http2KeepAlive",
    }
}

object! {
    /// Pings on HTTP/2 connections.
    ConnectionKeepalive {
        /// Time between two.
        interval: Option<Located<Duration>> = "interval",
        /// Time to answer one.
        timeout: Option<Located<Duration>> = "timeout",
    }
}

object! {
    /// Ejection of endpoints that fail.
    OutlierDetection {
        /// Deprecated.
        consecutive_errors: Located<i32> = "consecutiveErrors",
        /// Whether failures to connect are counted apart.
        split_external_local_origin_errors: Located<bool> = "splitExternalLocalOriginErrors",
        /// Failures to connect in a row.
        consecutive_local_origin_failures: Option<Located<u32>> = "consecutiveLocalOriginFailures",
        /// 502, 503 and 504 in a row.
        consecutive_gateway_errors: Option<Located<u32>> = "consecutiveGatewayErrors",
        /// 5xx in a row; 5 if absent, 0 is never.
        consecutive_5xx_errors: Option<Located<u32>> = "consecutive5xxErrors",
        /// Time between two sweeps; 10 s if absent.
        interval: Option<Located<Duration>> = "interval",
        /// Length of the first ejection; 30 s if absent.
        base_ejection_time: Option<Located<Duration>> = "baseEjectionTime",
        /// Share that may be ejected; 10 if absent.
        max_ejection_percent: Located<i32> = "maxEjectionPercent",
        /// Below this share ejections are ignored.
        min_health_percent: Located<i32> = "minHealthPercent",
        /// Statuses that count as errors.
        outlier_detection_http_error_codes: Vec<Located<u32>> = "outlierDetectionHttpErrorCodes",
    }
}

choice! {
    /// How TLS towards a service is done.
    ClientTlsMode {
        /// Not at all.
        Disable = "DISABLE",
        /// With the server's certificate.
        Simple = "SIMPLE",
        /// With both certificates.
        Mutual = "MUTUAL",
        /// With the mesh's certificates.
        IstioMutual = "ISTIO_MUTUAL",
    }
}

object! {
    /// TLS towards a service.
    ClientTlsSettings {
        /// How.
        mode: Located<ClientTlsMode> = "mode",
        /// Path of our certificate.
        client_certificate: Text = "clientCertificate",
        /// Path of its key.
        private_key: Text = "privateKey",
        /// Path of the authorities that are trusted.
        ca_certificates: Text = "caCertificates",
        /// Secret with all that.
        credential_name: Text = "credentialName",
        /// Names that the server's certificate may have.
        subject_alt_names: Vec<Text> = "subjectAltNames",
        /// Server name; the request's host if empty.
        sni: Text = "sni",
        /// Whether any certificate will do.
        insecure_skip_verify: Option<Located<bool>> = "insecureSkipVerify",
        /// Path of a list of revoked certificates.
        ca_crl: Text = "caCrl",
    }
}

object! {
    /// Preference for near endpoints.
    LocalityLoadBalancerSetting {
        /// Fixed shares.
        distribute: Vec<Distribute> = "distribute",
        /// Where to go when a region fails.
        failover: Vec<Failover> = "failover",
        /// Labels by which endpoints are ranked.
        failover_priority: Vec<Text> = "failoverPriority",
        /// True if absent.
        enabled: Option<Located<bool>> = "enabled",
    }
}

object! {
    /// Shares of traffic from one locality.
    Distribute {
        /// `region/zone/subzone`, perhaps with wildcards.
        from: Text = "from",
        /// Percent by locality.
        to: Map<Located<u32>> = "to",
    }
}

object! {
    /// Where to go when a region fails.
    Failover {
        /// A region.
        from: Text = "from",
        /// The next region.
        to: Text = "to",
    }
}

object! {
    /// Preference for endpoints of the same zone.
    ZoneAwareLoadBalancerSetting {
        /// Whether it is on.
        enabled: Option<Located<bool>> = "enabled",
        /// Where to go when a region fails.
        failover: Vec<Failover> = "failover",
        /// Labels by which endpoints are ranked.
        failover_priority: Vec<Text> = "failoverPriority",
        /// Fewest endpoints for which zones count.
        min_cluster_size: Option<Located<u64>> = "minClusterSize",
    }
}
