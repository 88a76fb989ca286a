//! Telemetries that name no provider of access logs, or one that doesn't exist or to which nothing is sent here; and two for one
//! namespace.
//! Source: Istio's analyzers of Telemetries (IST0157, 0160); a name that is unknown is passed over in silence there.

use foldhash::{HashMap, HashMapExt};

use super::{Finding, Findings, did_you_mean};
use crate::decode::suggest;
use crate::diagnostic::{Code, Level};
use crate::origin::Origin;
use crate::resolve::access_logs::providers::Providers;
use crate::resolve::access_logs::telemetries::is_for_all;
use crate::resolve::set::Item;
use crate::resource::{Telemetry, Text};

pub(super) fn analyze(findings: &mut Findings<'_>) {
    let resources = findings.resources;
    let providers = Providers::new(resources.mesh_config());
    defaults(&providers, findings);
    let root_namespace = crate::resolve::root_namespace(resources);
    for telemetry in resources.all::<Telemetry>() {
        references(telemetry, &providers, findings);
        without_providers(telemetry, (&providers, &root_namespace), findings);
    }
    wide(findings);
}

/// Names in MeshConfig.
fn defaults(providers: &Providers<'_>, findings: &mut Findings<'_>) {
    let Some((resource, config)) = findings.resources.mesh_config() else { return };
    let names = config.default_providers.iter().flat_map(|defaults| &defaults.access_logging);
    for (index, name) in names.enumerate() {
        let field = format!("data.mesh.defaultProviders.accessLogging[{index}]");
        reference(providers, name, (&resource.origin(name.position), field), findings);
    }
}

/// Names in a Telemetry.
fn references(telemetry: Item<'_, Telemetry>, providers: &Providers<'_>, findings: &mut Findings<'_>) {
    for (index, logging) in telemetry.spec.access_logging.iter().enumerate() {
        let named = logging.providers.iter().map(|provider| &provider.name).enumerate();
        for (number, name) in named.filter(|(_, name)| !name.is_empty()) {
            let field = format!("spec.accessLogging[{index}].providers[{number}].name");
            reference(providers, name, (&telemetry.origin(name.position), field), findings);
        }
    }
}

fn reference(providers: &Providers<'_>, name: &Text, (origin, field): (&Origin, String), findings: &mut Findings<'_>) {
    let Some(provider) = providers.find(name) else {
        let near = suggest(name, &providers.names()).map(did_you_mean);
        let hint = near.unwrap_or_else(|| "it has to be one of MeshConfig's extensionProviders, or envoy".to_owned());
        return findings.missing("provider", name, origin, (field, Some(hint)));
    };
    let name = &*name.value;
    let (code, message) = match provider.unsupported() {
        Some(kind) => {
            (Code::NotHonoured, format!("{kind}, which is what {name} is, is understood but not honoured yet"))
        }
        None if provider.takes_logs() => return,
        None => (Code::SchemaWarning, format!("{name} takes no access logs")),
    };
    findings.add(Finding { code, level: Level::Warning, origin, field, message, hint: None });
}

/// An entry that is for the providers of the entry before it, of which there is none.
fn without_providers(
    telemetry: Item<'_, Telemetry>,
    (providers, root_namespace): (&Providers<'_>, &str),
    findings: &mut Findings<'_>,
) {
    let Some(first) = telemetry.spec.access_logging.first().filter(|first| first.providers.is_empty()) else { return };
    let is_above = |other: &Item<'_, Telemetry>| {
        other.index != telemetry.index
            && is_for_all(other.spec)
            && [root_namespace, telemetry.namespace()].contains(&other.namespace())
    };
    let names_any =
        |other: Item<'_, Telemetry>| other.spec.access_logging.iter().any(|logging| !logging.providers.is_empty());
    if !providers.defaults().is_empty() || findings.resources.all::<Telemetry>().filter(is_above).any(names_any) {
        return;
    }
    let (name, namespace) = (telemetry.name(), telemetry.namespace());
    let message = format!("The Telemetry {name} in namespace {namespace:?} with empty providers will be ignored.");
    let finding = Finding {
        code: Code::InvalidTelemetryProvider,
        level: Level::Warning,
        origin: &telemetry.origin(first.position),
        field: "spec.accessLogging[0]".to_owned(),
        message,
        hint: Some("write providers: [{name: envoy}]".to_owned()),
    };
    findings.add(finding);
}

/// Several for a whole namespace, of which only the oldest counts.
fn wide(findings: &mut Findings<'_>) {
    let mut by_namespace: HashMap<&str, Vec<Item<'_, Telemetry>>> = HashMap::new();
    for telemetry in findings.resources.by_age::<Telemetry>().into_iter().filter(|item| is_for_all(item.spec)) {
        by_namespace.entry(telemetry.namespace()).or_default().push(telemetry);
    }
    for (namespace, telemetries) in by_namespace.into_iter().filter(|(_, telemetries)| telemetries.len() > 1) {
        let names: Vec<&str> = telemetries.iter().map(|telemetry| telemetry.name()).collect();
        let message = format!(
            "The Telemetries {} in namespace {namespace:?} have no workload selector, which can lead to undefined behavior.",
            names.join(", ")
        );
        for telemetry in &telemetries {
            let finding = Finding {
                code: Code::MultipleTelemetriesWithoutWorkloadSelectors,
                level: Level::Error,
                origin: &telemetry.own_origin(),
                field: String::new(),
                message: message.clone(),
                hint: names.first().map(|oldest| format!("{oldest}, the oldest, is in force")),
            };
            findings.add(finding);
        }
    }
}
