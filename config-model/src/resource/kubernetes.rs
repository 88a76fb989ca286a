//! The resources of Kubernetes that say where services and their endpoints are, as far as a proxy reads them.

use serde::{Serialize, Serializer};

use crate::decode::{Bytes, Decode, Located, Map, Path, Report, Text, object};
use crate::document::{Node, Value};
use crate::name::Labels;

object! {
    /// `Service`
    Service (Ignore) {
        /// What it is.
        spec: Option<ServiceSpec> = "spec",
    }
}

object! {
    /// What a Service is.
    ServiceSpec (Ignore) {
        /// `ClusterIP` if empty, `NodePort`, `LoadBalancer`, `ExternalName`.
        r#type: Text = "type",
        /// Its address, or `None` for a headless service.
        cluster_ip: Text = "clusterIP",
        /// Its addresses.
        cluster_ips: Vec<Text> = "clusterIPs",
        /// The name that it stands for, if its type is `ExternalName`.
        external_name: Text = "externalName",
        /// Labels of its pods.
        selector: Labels = "selector",
        /// Its ports.
        ports: Vec<KubernetesServicePort> = "ports",
        /// Whether endpoints count that are not ready.
        publish_not_ready_addresses: Located<bool> = "publishNotReadyAddresses",
        /// `Cluster` if empty, or `Local`: only endpoints on the client's node.
        internal_traffic_policy: Text = "internalTrafficPolicy",
        /// `PreferSameZone` (once `PreferClose`) or `PreferSameNode`.
        traffic_distribution: Text = "trafficDistribution",
    }
}

object! {
    /// A port of a Service.
    KubernetesServicePort (Ignore) {
        /// May be empty if there is only one.
        name: Text = "name",
        /// Its number.
        port: Located<u16> = "port",
        /// Port of the pods; `port` if absent.
        target_port: Option<TargetPort> = "targetPort",
        /// `TCP` if empty, `UDP`, `SCTP`.
        protocol: Text = "protocol",
        /// `http`, `kubernetes.io/h2c`, ...
        app_protocol: Text = "appProtocol",
    }
}

/// A port of a pod, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetPort {
    /// Its number.
    Number(Located<u16>),
    /// Its name among the container's ports.
    Name(Text),
}

impl Decode for TargetPort {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        match node.value {
            Value::String(_) => Text::decode(node, at, report).map(Self::Name),
            _ => Located::decode(node, at, report).map(Self::Number),
        }
    }
}

impl Serialize for TargetPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => number.serialize(serializer),
            Self::Name(name) => name.serialize(serializer),
        }
    }
}

object! {
    /// `Endpoints`
    Endpoints (Ignore) {
        /// Addresses that share ports.
        subsets: Vec<EndpointSubset> = "subsets",
    }
}

object! {
    /// Addresses that share ports.
    EndpointSubset (Ignore) {
        /// Ready ones.
        addresses: Vec<EndpointsAddress> = "addresses",
        /// Others.
        not_ready_addresses: Vec<EndpointsAddress> = "notReadyAddresses",
        /// Their ports.
        ports: Vec<EndpointPort> = "ports",
    }
}

object! {
    /// One address.
    EndpointsAddress (Ignore) {
        /// The address.
        ip: Text = "ip",
        /// Its name within a headless service.
        hostname: Text = "hostname",
        /// The node that it is on.
        node_name: Text = "nodeName",
        /// The pod.
        target_ref: Option<ObjectReference> = "targetRef",
    }
}

object! {
    /// A port of endpoints.
    EndpointPort (Ignore) {
        /// Name of the service's port.
        name: Text = "name",
        /// Its number.
        port: Located<u16> = "port",
        /// `TCP` if empty.
        protocol: Text = "protocol",
        /// `http`, `kubernetes.io/h2c`, ...
        app_protocol: Text = "appProtocol",
    }
}

object! {
    /// A pointer to another resource.
    ObjectReference (Ignore) {
        /// Its kind.
        kind: Text = "kind",
        /// Its namespace; that of the pointer if empty.
        namespace: Text = "namespace",
        /// Its name.
        name: Text = "name",
    }
}

object! {
    /// `EndpointSlice`; its service is named by the label `kubernetes.io/service-name`.
    EndpointSlice (Ignore) {
        /// `IPv4`, `IPv6` or `FQDN`.
        address_type: Text = "addressType",
        /// The endpoints.
        endpoints: Vec<SliceEndpoint> = "endpoints",
        /// Their ports.
        ports: Vec<EndpointPort> = "ports",
    }
}

object! {
    /// One endpoint of a slice.
    SliceEndpoint (Ignore) {
        /// Its addresses, of which the first counts.
        addresses: Vec<Text> = "addresses",
        /// Its state.
        conditions: Option<EndpointConditions> = "conditions",
        /// Its name within a headless service.
        hostname: Text = "hostname",
        /// The node that it is on.
        node_name: Text = "nodeName",
        /// The zone that it is in.
        zone: Text = "zone",
        /// The pod.
        target_ref: Option<ObjectReference> = "targetRef",
    }
}

object! {
    /// State of an endpoint.
    EndpointConditions (Ignore) {
        /// True if absent.
        ready: Option<Located<bool>> = "ready",
        /// Answers, even if it is on its way out.
        serving: Option<Located<bool>> = "serving",
        /// On its way out.
        terminating: Option<Located<bool>> = "terminating",
    }
}

object! {
    /// `Pod`
    Pod (Ignore) {
        /// What it is.
        spec: Option<PodSpec> = "spec",
        /// How it is.
        status: Option<PodStatus> = "status",
    }
}

object! {
    /// What a pod is.
    PodSpec (Ignore) {
        /// Its service account; `default` if empty.
        service_account_name: Text = "serviceAccountName",
        /// The node that it is on.
        node_name: Text = "nodeName",
        /// Its containers.
        containers: Vec<Container> = "containers",
    }
}

object! {
    /// A container of a pod.
    Container (Ignore) {
        /// Its name.
        name: Text = "name",
        /// Its ports.
        ports: Vec<ContainerPort> = "ports",
    }
}

object! {
    /// A port of a container.
    ContainerPort (Ignore) {
        /// A name that services may use.
        name: Text = "name",
        /// Its number.
        container_port: Located<u16> = "containerPort",
        /// `TCP` if empty.
        protocol: Text = "protocol",
    }
}

object! {
    /// How a pod is.
    PodStatus (Ignore) {
        /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
        phase: Text = "phase",
        /// Its address.
        pod_ip: Text = "podIP",
        /// Its addresses.
        pod_ips: Vec<PodIp> = "podIPs",
        /// `Ready` and others.
        conditions: Vec<PodCondition> = "conditions",
    }
}

object! {
    /// An address of a pod.
    PodIp (Ignore) {
        /// The address.
        ip: Text = "ip",
    }
}

object! {
    /// A condition of a pod.
    PodCondition (Ignore) {
        /// `Ready`, `ContainersReady`, ...
        r#type: Text = "type",
        /// `True`, `False` or `Unknown`.
        status: Text = "status",
    }
}

object! {
    /// `Secret`
    Secret (Ignore) {
        /// `kubernetes.io/tls`, `Opaque`, ...
        r#type: Text = "type",
        /// Values as base64.
        data: Map<Located<Bytes>> = "data",
        /// Values as text, which go before `data`.
        string_data: Map<Redacted> = "stringData",
    }
}

impl Secret {
    /// A value by its key; what is written as text goes first.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        let text = self.string_data.get(key).map(|text| text.0.value.as_bytes());
        text.or_else(|| self.data.get(key).map(|bytes| &*bytes.value.0))
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Redacted(pub Text);

impl std::fmt::Debug for Redacted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Decode for Redacted {
    fn decode(node: &Node<'_>, at: &Path<'_>, report: &mut Report) -> Option<Self> {
        Text::decode(node, at, report).map(Self)
    }
}

impl Serialize for Redacted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

object! {
    /// `ConfigMap`
    ConfigMap (Ignore) {
        /// Texts.
        data: Map<Text> = "data",
    }
}
