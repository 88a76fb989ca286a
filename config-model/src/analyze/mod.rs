//! What resources say about each other that can't be meant: names that lead nowhere, rules that are never reached, Gateways
//! that are in each other's way. Nothing here refuses a file.
//! Source: Istio's analyzers, whose codes, levels and words are kept. Start at [`analyze`].

mod bearers;
mod credentials;
mod destinations;
mod empty;
mod gateways;
mod nodes;
mod policies;
mod ports;
mod reachability;
mod splits;
mod telemetry;
mod virtual_services;

use crate::diagnostic::{Code, Diagnostic, Level};
use crate::name::Labels;
use crate::origin::Origin;
use crate::resolve::set::Kind;
use crate::resolve::{Proxy, ResourceSet};

pub use bearers::bearers;

/// Everything that is found in `resources`, by file and place. With a `proxy`, its own labels count as those of a workload.
///
/// The cost is a few microseconds for each rule: at load this is for after the new configuration is in force.
pub fn analyze(resources: &ResourceSet, proxy: Option<&Proxy>) -> Vec<Diagnostic> {
    let diagnostics = resources.diagnostics().to_vec();
    let mut findings = Findings { resources, proxy, diagnostics, comparisons_left: COMPARISONS_MAX };
    virtual_services::analyze(&mut findings);
    destinations::analyze(&mut findings);
    policies::analyze(&mut findings);
    empty::analyze(&mut findings);
    splits::analyze(&mut findings);
    reachability::analyze(&mut findings);
    gateways::analyze(&mut findings);
    credentials::analyze(&mut findings);
    nodes::analyze(&mut findings);
    telemetry::analyze(&mut findings);
    ports::analyze(&mut findings);
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
    comparisons_left: usize,
}

/// Names that are compared in search of one that was meant; thousands of wrong names among thousands of right ones would
/// take minutes, and nobody reads so many hints.
const COMPARISONS_MAX: usize = 50_000;

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
    /// The name that could have been meant, if there is still time to look for it.
    fn near<T: Kind>(&mut self, namespace: &str, name: &str) -> Option<String> {
        if self.may_compare() { self.resources.near::<T>(namespace, name) } else { None }
    }

    /// Whether a name may be compared with those of all resources once more.
    fn may_compare(&mut self) -> bool {
        let left = self.comparisons_left.checked_sub(self.resources.len());
        self.comparisons_left = left.unwrap_or(0);
        left.is_some()
    }

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
