//! `ServiceEntry` and `WorkloadEntry`, as `networking/v1/service_entry.proto` and `workload_entry.proto` have them.

use super::WorkloadSelector;
use crate::decode::{Located, Map, Text, choice, object};
use crate::name::Labels;

choice! {
    /// Whether a service is part of the mesh.
    Location {
        /// It is not.
        MeshExternal = "MESH_EXTERNAL",
        /// It is.
        MeshInternal = "MESH_INTERNAL",
    }
}

choice! {
    /// How endpoints are found.
    Resolution {
        /// The address that the client asked for.
        None = "NONE",
        /// As written.
        Static = "STATIC",
        /// By DNS; every address is an endpoint.
        Dns = "DNS",
        /// By DNS; the first address is used.
        DnsRoundRobin = "DNS_ROUND_ROBIN",
        /// By DNS, from the host of each request.
        DynamicDns = "DYNAMIC_DNS",
    }
}

object! {
    /// A service that is not in Kubernetes.
    ServiceEntry {
        /// Its names.
        hosts: Vec<Text> = "hosts",
        /// Its virtual addresses.
        addresses: Vec<Text> = "addresses",
        /// Its ports.
        ports: Vec<ServicePort> = "ports",
        /// Whether it is part of the mesh.
        location: Located<Location> = "location",
        /// How endpoints are found.
        resolution: Located<Resolution> = "resolution",
        /// The endpoints.
        endpoints: Vec<WorkloadEntry> = "endpoints",
        /// Labels of WorkloadEntries and Pods of the same namespace that are endpoints.
        workload_selector: Option<WorkloadSelector> = "workloadSelector",
        /// `.`, `*`, `~` or namespaces; none means the default of the mesh.
        export_to: Vec<Text> = "exportTo",
        /// Names that a server's certificate may have.
        subject_alt_names: Vec<Text> = "subjectAltNames",
    }
}

object! {
    /// A port of a service.
    ServicePort {
        /// 1 to 65535.
        number: Located<u16> = "number",
        /// HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS; TCP if empty.
        protocol: Text = "protocol",
        /// A label.
        name: Text = "name",
        /// Port of the endpoints; `number` if absent.
        target_port: Located<u16> = "targetPort",
    }
}

object! {
    /// One endpoint of a service, or one workload.
    WorkloadEntry {
        /// An address, a name, or `unix:///path`.
        address: Text = "address",
        /// Port by name of the service's port.
        ports: Map<Located<u16>> = "ports",
        /// Its labels.
        labels: Labels = "labels",
        /// Its network.
        network: Text = "network",
        /// `region/zone/subzone`
        locality: Text = "locality",
        /// Its share; 0 is the same as 1.
        weight: Located<u32> = "weight",
        /// Its service account.
        service_account: Text = "serviceAccount",
    }
}
