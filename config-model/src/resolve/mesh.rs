//! Settings of the mesh, defaults filled in.
//! Source: MeshConfig.

use crate::model::{ForwardedClientCertificate, Mesh, PathNormalization, ProxyHeaders, ServerHeader, Topology};
use crate::resource::{ForwardClientCertDetails, HeaderSwitch, HeaderWish, MeshConfig, NormalizationType};

use super::set::ResourceSet;

/// The mesh as MeshConfig has it.
pub(super) fn mesh(resources: &ResourceSet) -> Mesh {
    let mut mesh = Mesh::default();
    let Some((_, config)) = resources.mesh_config() else { return mesh };
    mesh.path_normalization = path_normalization(config);
    mesh.topology = topology(config);
    mesh.headers = headers(config);
    if !config.root_namespace.is_empty() {
        mesh.root_namespace = config.root_namespace.to_string();
    }
    if !config.trust_domain.is_empty() {
        mesh.trust_domain = config.trust_domain.to_string();
    }
    mesh
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

fn headers(config: &MeshConfig) -> ProxyHeaders {
    let written = config.default_config.as_ref().and_then(|config| config.proxy_headers.as_ref());
    let Some(written) = written else { return ProxyHeaders::default() };
    let is_on = |switch: &Option<HeaderSwitch>| !switch.as_ref().is_some_and(|switch| *switch.disabled);
    let is_wished = |wish: &Option<HeaderWish>| wish.as_ref().is_some_and(|wish| *wish.enabled);
    ProxyHeaders {
        server: match &written.server {
            Some(server) if *server.disabled => ServerHeader::OfBackEnd,
            Some(server) if !server.value.is_empty() => ServerHeader::Named(server.value.to_string()),
            _ => ServerHeader::Usual,
        },
        attempt_count: is_on(&written.attempt_count),
        request_id: is_on(&written.request_id),
        debug: is_on(&written.envoy_debug_headers),
        forwarded_host: is_wished(&written.x_forwarded_host),
        forwarded_port: is_wished(&written.x_forwarded_port),
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
