//! Which access logs a proxy writes.
//! Source: Istio, `Telemetries.AccessLogging` and `mergeLogs` of `pilot/pkg/model/telemetry.go`. Start at [`access_logs`].

mod format;
pub(crate) mod providers;
pub(crate) mod telemetries;

use crate::diagnostic::{Code, Diagnostic, Level};
use crate::model::AccessLog;
use crate::resource::MeshConfig;

use super::Proxy;
use super::set::ResourceSet;
use providers::Providers;
use telemetries::Merged;

/// Where a log goes of which nothing is said.
const STDOUT: &str = "/dev/stdout";

/// The logs of `proxy`; nothing if neither a Telemetry nor MeshConfig says anything of them. The log that MeshConfig has by itself is
/// for proxies that no Telemetry and no default provider says anything of.
pub(super) fn access_logs(
    resources: &ResourceSet,
    proxy: &Proxy,
    root_namespace: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<AccessLog>> {
    let mesh = resources.mesh_config();
    let providers = Providers::new(mesh);
    let telemetries = telemetries::of(resources, proxy, root_namespace);
    let merged = telemetries::merge(&telemetries, providers.defaults());
    let named = merged.iter().filter_map(|(name, state)| Some((providers.find(name)?, *state)));
    let named: Vec<_> = named.filter(|(provider, _)| provider.takes_logs()).collect();
    if named.is_empty() {
        return of_mesh(resources, diagnostics);
    }
    let writing = named.into_iter().filter_map(|(provider, state)| match state {
        Merged::Disabled => None,
        Merged::Writes(filter) => Some(AccessLog { filter: filter.cloned(), ..provider.log(diagnostics)? }),
    });
    Some(writing.collect())
}

/// The log that MeshConfig has by itself. Without a file, but with a look, it goes to standard output.
fn of_mesh(resources: &ResourceSet, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<AccessLog>> {
    let (resource, config) = resources.mesh_config()?;
    if !says_anything(config) {
        return None;
    }
    let path = config.access_log_file.as_ref().map_or(STDOUT, |file| &*file.value).to_owned();
    if path.is_empty() {
        return Some(Vec::new());
    }
    match format::of_mesh(config) {
        Ok(format) => Some(vec![AccessLog { path, format, omits_absent: false, filter: None }]),
        Err(message) => {
            let origin = resource.origin(config.access_log_format.position);
            let message = format!("accessLogFormat can't be used, so that it has no effect: {message}");
            diagnostics.push(Diagnostic::new(Code::SchemaWarning, Level::Warning, &origin, message));
            None
        }
    }
}

fn says_anything(config: &MeshConfig) -> bool {
    let has_look = !config.access_log_format.is_empty() || config.access_log_encoding.is_written();
    config.access_log_file.is_some() || has_look
}
