//! `Gateway`, as `networking/v1/gateway.proto` has it.

use crate::decode::{Located, Text, choice, object};
use crate::name::Labels;

object! {
    /// Ports that a proxy at the mesh's edge opens.
    Gateway {
        /// The ports.
        servers: Vec<Server> = "servers",
        /// Labels of the proxies that it is for.
        selector: Labels = "selector",
    }
}

object! {
    /// One port.
    Server {
        /// The port.
        port: Option<Port> = "port",
        /// Address to bind; all if empty.
        bind: Text = "bind",
        /// Hosts served: `HOST`, `NAMESPACE/HOST`, `./HOST` or `*/HOST`.
        hosts: Vec<Text> = "hosts",
        /// TLS, or the redirect to it.
        tls: Option<Box<ServerTlsSettings>> = "tls",
        /// Where traffic without a rule goes.
        default_endpoint: Text = "defaultEndpoint" later,
        /// For statistics.
        name: Text = "name",
    }
}

object! {
    /// A port and its protocol.
    Port {
        /// 1 to 65535.
        number: Located<u16> = "number",
        /// HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS.
        protocol: Text = "protocol",
        /// A label.
        name: Text = "name",
        /// Deprecated, without effect.
        target_port: Located<u16> = "targetPort",
    }
}

choice! {
    /// How a server does TLS.
    ServerTlsMode {
        /// It doesn't: the connection is routed by server name as it is.
        Passthrough = "PASSTHROUGH",
        /// With its own certificate.
        Simple = "SIMPLE",
        /// The client needs one too.
        Mutual = "MUTUAL",
        /// As passthrough, without needing a VirtualService.
        AutoPassthrough = "AUTO_PASSTHROUGH",
        /// With the mesh's certificates.
        IstioMutual = "ISTIO_MUTUAL",
        /// The client may have one.
        OptionalMutual = "OPTIONAL_MUTUAL",
    }
}

choice! {
    /// A version of TLS.
    TlsProtocol {
        /// Our choice.
        Auto = "TLS_AUTO",
        /// 1.0
        V1_0 = "TLSV1_0",
        /// 1.1
        V1_1 = "TLSV1_1",
        /// 1.2
        V1_2 = "TLSV1_2",
        /// 1.3
        V1_3 = "TLSV1_3",
    }
}

object! {
    /// TLS of a server.
    ServerTlsSettings {
        /// Answer plain requests with a redirect to https.
        https_redirect: Located<bool> = "httpsRedirect",
        /// How.
        mode: Located<ServerTlsMode> = "mode",
        /// Path of the certificate.
        server_certificate: Text = "serverCertificate",
        /// Path of its key.
        private_key: Text = "privateKey",
        /// Path of the authorities for clients.
        ca_certificates: Text = "caCertificates",
        /// Path of a list of revoked certificates.
        ca_crl: Text = "caCrl",
        /// Secret with all that.
        credential_name: Text = "credentialName",
        /// Secrets, for certificates of several kinds of key.
        credential_names: Vec<Text> = "credentialNames",
        /// Secret with the authorities for clients.
        ca_cert_credential_name: Text = "caCertCredentialName",
        /// Paths, for certificates of several kinds of key.
        tls_certificates: Vec<TlsCertificate> = "tlsCertificates",
        /// Names that a client's certificate may have.
        subject_alt_names: Vec<Text> = "subjectAltNames",
        /// Hashes of public keys that a client may have.
        verify_certificate_spki: Vec<Text> = "verifyCertificateSpki",
        /// Hashes of certificates that a client may have.
        verify_certificate_hash: Vec<Text> = "verifyCertificateHash",
        /// Least version.
        min_protocol_version: Located<TlsProtocol> = "minProtocolVersion",
        /// Greatest version.
        max_protocol_version: Located<TlsProtocol> = "maxProtocolVersion",
        /// Names as OpenSSL has them.
        cipher_suites: Vec<Text> = "cipherSuites",
        /// Whether any certificate of a client will do.
        insecure_skip_verify: Option<Located<bool>> = "insecureSkipVerify",
    }
}

object! {
    /// Paths of a certificate.
    TlsCertificate {
        /// The certificate.
        server_certificate: Text = "serverCertificate",
        /// Its key.
        private_key: Text = "privateKey",
        /// The authorities for clients.
        ca_certificates: Text = "caCertificates",
    }
}
