//! Who writes access logs: MeshConfig's `extensionProviders`, and the one that Istio brings along.

use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Level};
use crate::model::AccessLog;
use crate::resource::{EnvoyFileAccessLog, ExtensionProvider, MeshConfig, Resource};

use super::{STDOUT, format};

/// Istio's own provider of access logs, unless MeshConfig has one of this name.
const BUILT_IN: &str = "envoy";

/// Providers of Istio's own that take no access logs by a file or over a connection.
const WITHOUT_LOGS: [&str; 2] = ["prometheus", "stackdriver"];

/// All providers that there are.
pub(crate) struct Providers<'a> {
    mesh: Option<(&'a Arc<Resource>, &'a MeshConfig)>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(crate) enum Provider<'a> {
    /// One of MeshConfig's, which is there.
    Written(&'a Arc<Resource>, &'a MeshConfig, &'a ExtensionProvider),
    /// Istio's own, which writes to standard output as MeshConfig has it.
    BuiltIn(Option<(&'a Arc<Resource>, &'a MeshConfig)>),
    /// One of Istio's own that has nothing to do with access logs.
    Other,
}

impl<'a> Providers<'a> {
    pub(crate) fn new(mesh: Option<(&'a Arc<Resource>, &'a MeshConfig)>) -> Self {
        Self { mesh }
    }

    /// Names of those that write where a Telemetry names none.
    pub(crate) fn defaults(&self) -> Vec<&'a str> {
        let defaults = self.mesh.and_then(|(_, config)| config.default_providers.as_ref());
        defaults.iter().flat_map(|defaults| &defaults.access_logging).map(|name| &*name.value).collect()
    }

    /// The provider of that name, whose case doesn't count. Istio's own come first, but for what MeshConfig says of them.
    pub(crate) fn find(&self, name: &str) -> Option<Provider<'a>> {
        let own = WITHOUT_LOGS.iter().chain([&BUILT_IN]).copied().find(|own| own.eq_ignore_ascii_case(name));
        let (resource, config) = match (self.mesh, own) {
            (Some(mesh), _) => mesh,
            (None, Some(BUILT_IN)) => return Some(Provider::BuiltIn(None)),
            (None, own) => return own.map(|_| Provider::Other),
        };
        let mut written = config.extension_providers.iter();
        let found = match own {
            Some(own) => written.find(|provider| *provider.name.value == *own),
            None => written.find(|provider| provider.name.eq_ignore_ascii_case(name)),
        };
        match (found, own) {
            (Some(provider), _) => Some(Provider::Written(resource, config, provider)),
            (None, Some(BUILT_IN)) => Some(Provider::BuiltIn(self.mesh)),
            (None, own) => own.map(|_| Provider::Other),
        }
    }

    /// Names that a Telemetry could mean.
    pub(crate) fn names(&self) -> Vec<&'a str> {
        let written = self.mesh.iter().flat_map(|(_, config)| &config.extension_providers);
        written.map(|provider| &*provider.name.value).chain([BUILT_IN]).collect()
    }
}

impl<'a> Provider<'a> {
    /// Whether access logs may go to it at all.
    pub(crate) fn takes_logs(self) -> bool {
        match self {
            Self::Written(_, _, provider) => kind(provider).is_some(),
            Self::BuiltIn(_) => true,
            Self::Other => false,
        }
    }

    /// What it is, if access logs could go to it and don't here.
    pub(crate) fn unsupported(self) -> Option<&'static str> {
        match self {
            Self::Written(_, _, provider) => kind(provider).filter(|kind| *kind != FILE),
            Self::BuiltIn(_) | Self::Other => None,
        }
    }

    /// The log that it writes.
    pub(super) fn log(self, diagnostics: &mut Vec<Diagnostic>) -> Option<AccessLog> {
        let (resource, config, provider) = match self {
            Self::Written(resource, config, provider) => (resource, config, provider),
            Self::BuiltIn(mesh) => return self::log(STDOUT, mesh, None, diagnostics),
            Self::Other => return None,
        };
        let file = provider.envoy_file_access_log.as_ref()?;
        let path = if file.path.is_empty() { STDOUT } else { &*file.path.value };
        // Istio has it for its own provider alone.
        let is_as_mesh = *provider.name.value == *BUILT_IN && file.log_format.is_none() && !*file.omit_empty_values;
        let own = (!is_as_mesh).then_some(file);
        self::log(path, Some((resource, config)), own, diagnostics)
    }
}

/// The field of providers that write to files.
const FILE: &str = "envoyFileAccessLog";

/// What `provider` is, if access logs may go to it.
fn kind(provider: &ExtensionProvider) -> Option<&'static str> {
    provider.kinds().find(|kind| [FILE, "envoyHttpAls", "envoyTcpAls", "envoyOtelAls"].contains(kind))
}

/// A log at `path` that looks as `file` has it, or else as MeshConfig has its own.
fn log(
    path: &str,
    mesh: Option<(&Arc<Resource>, &MeshConfig)>,
    file: Option<&EnvoyFileAccessLog>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<AccessLog> {
    let format = match (file, mesh) {
        (Some(file), _) => format::of_provider(file.log_format.as_ref()),
        (None, Some((_, config))) => format::of_mesh(config),
        (None, None) => format::of_provider(None),
    };
    let omits_absent = file.is_some_and(|file| *file.omit_empty_values);
    match (format, mesh) {
        (Ok(format), _) => Some(AccessLog { path: path.to_owned(), format, omits_absent, filter: None }),
        (Err(message), Some((resource, config))) => {
            let position = file.map_or(config.access_log_format.position, |file| file.position);
            let message = format!("the log's format can't be used, so that it isn't written: {message}");
            diagnostics.push(Diagnostic::new(Code::SchemaWarning, Level::Warning, &resource.origin(position), message));
            None
        }
        (Err(_), None) => None,
    }
}
