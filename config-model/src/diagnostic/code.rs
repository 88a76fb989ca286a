//! The registry of codes: Istio's where Istio has one, so that what users know and have suppressed carries over.

use std::fmt;

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $code:literal, $description:literal;)*) => {
        /// A kind of diagnostic.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $description] $variant,)*
        }

        impl Code {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// `IST0106`
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }

            /// One line on what it means.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => $description,)*
                }
            }
        }
    };
}

codes! {
    ReferencedResourceNotFound = "IST0101", "A resource, host or subset that is named does not exist.";
    SchemaValidation = "IST0106", "A field breaks a rule of its resource; the file is refused.";
    ConflictingMeshGatewayVirtualServiceHosts = "IST0109", "Two VirtualServices have the same host in the mesh.";
    DestinationPortSelectorRequired = "IST0112", "A destination names no port, but its service has several.";
    NoServerCertificateVerificationDestinationLevel = "IST0128", "TLS towards a service does not verify its certificate.";
    NoServerCertificateVerificationPortLevel = "IST0129", "TLS towards a port does not verify its certificate.";
    UnreachableRule = "IST0130", "A rule is never reached: earlier ones take all its requests.";
    IneffectiveMatch = "IST0131", "A match is never used: an earlier one takes all its requests.";
    HostNotFoundInGateway = "IST0132", "A VirtualService has a host that its Gateway does not serve.";
    SchemaWarning = "IST0133", "A field is accepted, though it is hardly what was meant.";
    ServiceEntryAddressesRequired = "IST0134", "A ServiceEntry for TCP has no addresses.";
    ConflictingGateways = "IST0145", "Two Gateways serve the same host on the same port.";
    JwtClaimBasedRoutingWithoutRequestAuthn = "IST0149", "A rule matches claims of a token that nothing verifies.";
    InvalidTelemetryProvider = "IST0157", "A Telemetry names no provider of access logs, nor does anything that it inherits from.";
    MultipleTelemetriesWithoutWorkloadSelectors = "IST0160", "Two Telemetries are for a whole namespace.";
    InvalidGatewayCredential = "IST0161", "A Gateway's certificate can't be used.";
    GatewayPortNotDefinedOnService = "IST0162", "A Gateway's port is not among those of the gateway's Service.";
    Syntax = "TG0001", "The file is not YAML that Kubernetes would read.";
    NotHonoured = "TG0002", "A field or resource is understood, but changes nothing yet.";
    UnknownKind = "TG0003", "Istio has no resource of this kind or version.";
    UnknownSetting = "TG0004", "MeshConfig has a field that is not read here.";
    DuplicateResource = "TG0005", "A resource of this kind, namespace and name exists already.";
    IneffectivePolicy = "TG0006", "A traffic policy has no effect on the service as it is.";
    UnreachablePort = "TG0007", "A port of a ServiceEntry leads nowhere: another service has its host.";
}

impl Code {
    /// Where it is explained, from the repository's root.
    pub fn documentation(self) -> String {
        format!("docs/diagnostics.md#{}", self.as_str().to_ascii_lowercase())
    }

    /// The code with this name, case apart.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
