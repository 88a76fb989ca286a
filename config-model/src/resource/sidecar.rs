//! `Sidecar`, as `networking/v1/sidecar.proto` has it.

use super::{ConnectionPoolSettings, Destination, ServerTlsSettings, WorkloadSelector};
use crate::decode::{Located, Text, choice, object};

object! {
    /// What the proxies beside workloads listen on and know.
    Sidecar {
        /// The proxies; all of the namespace if absent.
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        /// Ports for traffic to the workload.
        ingress: Vec<IstioIngressListener> = "ingress",
        /// Ports for traffic from the workload.
        egress: Vec<IstioEgressListener> = "egress",
        /// Limits for traffic to the workload.
        inbound_connection_pool: Option<ConnectionPoolSettings> = "inboundConnectionPool",
        /// What is done with unknown hosts.
        outbound_traffic_policy: Option<OutboundTrafficPolicy> = "outboundTrafficPolicy",
    }
}

choice! {
    /// How traffic gets to a listener.
    CaptureMode {
        /// As the mesh says.
        Default = "DEFAULT",
        /// By redirection in the kernel.
        Iptables = "IPTABLES",
        /// The listener is bound.
        None = "NONE",
    }
}

object! {
    /// A port for traffic to the workload.
    IstioIngressListener {
        /// The port.
        port: Option<SidecarPort> = "port",
        /// Address to bind.
        bind: Text = "bind",
        /// How traffic gets here.
        capture_mode: Located<CaptureMode> = "captureMode",
        /// Where the workload listens.
        default_endpoint: Text = "defaultEndpoint",
        /// TLS at this port.
        tls: Option<Box<ServerTlsSettings>> = "tls",
        /// Limits.
        connection_pool: Option<ConnectionPoolSettings> = "connectionPool",
    }
}

object! {
    /// A port for traffic from the workload.
    IstioEgressListener {
        /// The port; none for all others.
        port: Option<SidecarPort> = "port",
        /// Address to bind.
        bind: Text = "bind",
        /// How traffic gets here.
        capture_mode: Located<CaptureMode> = "captureMode",
        /// `NAMESPACE/HOST` of services that are known here.
        hosts: Vec<Text> = "hosts",
    }
}

object! {
    /// A port of a sidecar.
    SidecarPort {
        /// Its number.
        number: Located<u16> = "number",
        /// Its protocol.
        protocol: Text = "protocol",
        /// A label.
        name: Text = "name",
        /// Deprecated, without effect.
        target_port: Located<u16> = "targetPort",
    }
}

choice! {
    /// What is done with unknown hosts.
    OutboundTrafficPolicyMode {
        /// Refused.
        RegistryOnly = "REGISTRY_ONLY",
        /// Passed on.
        AllowAny = "ALLOW_ANY",
    }
}

object! {
    /// What is done with unknown hosts.
    OutboundTrafficPolicy {
        /// The mode.
        mode: Located<OutboundTrafficPolicyMode> = "mode",
        /// The service that unknown traffic goes to.
        egress_proxy: Option<Destination> = "egressProxy",
    }
}
