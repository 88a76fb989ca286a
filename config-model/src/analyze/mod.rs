//! What resources say about each other that can't be meant: names that lead nowhere, rules that are never reached, Gateways
//! that are in each other's way. Nothing here refuses a file.
//! Source: Istio's analyzers, whose codes, levels and words are kept. Start at [`analyze`].

mod credentials;
mod destinations;
mod gateways;
mod reachability;
mod virtual_services;

use crate::diagnostic::{Code, Diagnostic, Level};
use crate::name::Labels;
use crate::origin::Origin;
use crate::resolve::{Proxy, ResourceSet};

/// Everything that is found in `resources`, by file and place. With a `proxy`, its own labels count as those of a workload.
///
/// The cost is a few microseconds for each rule: at load this is for after the new configuration is in force.
pub fn analyze(resources: &ResourceSet, proxy: Option<&Proxy>) -> Vec<Diagnostic> {
    let mut findings = Findings { resources, proxy, diagnostics: resources.diagnostics().to_vec() };
    virtual_services::analyze(&mut findings);
    destinations::analyze(&mut findings);
    reachability::analyze(&mut findings);
    gateways::analyze(&mut findings);
    credentials::analyze(&mut findings);
    let mut diagnostics = findings.diagnostics;
    let key = |finding: &Diagnostic| (finding.file.clone(), finding.position, finding.code, finding.message.clone());
    diagnostics.sort_by_cached_key(key);
    diagnostics.dedup();
    diagnostics
}

/// What is looked at, and what was found.
struct Findings<'a> {
    resources: &'a ResourceSet,
    proxy: Option<&'a Proxy>,
    diagnostics: Vec<Diagnostic>,
}

/// One thing to report.
struct Finding<'f> {
    code: Code,
    level: Level,
    origin: &'f Origin,
    field: String,
    message: String,
    hint: Option<String>,
}

impl Findings<'_> {
    fn add(&mut self, finding: Finding<'_>) {
        let Finding { code, level, origin, field, message, hint } = finding;
        let field = (!field.is_empty()).then_some(field);
        self.diagnostics.push(Diagnostic { field, hint, ..Diagnostic::new(code, level, origin, message) });
    }

    /// Something is named that isn't there.
    fn missing(&mut self, what: &str, name: &str, origin: &Origin, (field, hint): (String, Option<String>)) {
        let message = format!("Referenced {what} not found: {name:?}");
        let code = Code::ReferencedResourceNotFound;
        self.add(Finding { code, level: Level::Error, origin, field, message, hint });
    }
}

/// `istio=ingressgateway,tier=front`
fn selector_text(selector: &Labels) -> String {
    let pairs: Vec<String> = selector.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// `did you mean NAME?`
fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

#[cfg(test)]
mod tests;
