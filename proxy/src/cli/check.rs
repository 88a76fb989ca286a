//! `check`: everything that is wrong with a configuration, or only questionable.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use config_model::analyze::analyze;
use config_model::diagnostic::{Diagnostic, Level};
use config_model::resolve::resolve;

use super::configuration::{ConfigurationArguments, Files};
use super::findings::{self, Findings, Suppression};
use super::{Failure, OutputFormat, Terminal};
use crate::control::Credentials;

/// Finds what is wrong with a configuration: every error and warning, with file, line and cure
///
/// Ends with status 1 if anything is found at or above the threshold.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate check ./config
  kubectl get gateways,virtualservices,destinationrules,serviceentries,sidecars,services,endpointslices,pods -A -o yaml | tidegate check -
  tidegate check ./config --failure-threshold Warning --suppress IST0101=VirtualService/reviews
  tidegate check --list")]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    configuration: Option<ConfigurationArguments>,
    /// The lowest level that makes the status 1
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        default_value = "Error",
        env = "TIDEGATE_FAILURE_THRESHOLD",
        value_name = "LEVEL"
    )]
    failure_threshold: Threshold,
    /// Leaves out a code, for all resources or for some: CODE, CODE=KIND/NAME, CODE=KIND/NAMESPACE/NAME, with * (repeatable)
    #[arg(long, env = "TIDEGATE_SUPPRESS", value_name = "CODE=KIND/NAME", value_delimiter = ',')]
    suppress: Vec<Suppression>,
    /// Lists all codes
    #[arg(long, exclusive = true)]
    list: bool,
    /// How findings are written
    #[arg(long, short, value_enum, default_value = "text", env = "TIDEGATE_OUTPUT")]
    output: OutputFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Threshold {
    #[value(name = "Info")]
    Info,
    #[value(name = "Warning")]
    Warning,
    #[value(name = "Error")]
    Error,
}

impl From<Threshold> for Level {
    fn from(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Info => Self::Info,
            Threshold::Warning => Self::Warning,
            Threshold::Error => Self::Error,
        }
    }
}

impl CheckArguments {
    pub(crate) fn run(&self, terminal: &Terminal) -> Result<ExitCode, Failure> {
        let Some(configuration) = self.configuration.as_ref().filter(|_| !self.list) else {
            terminal.write(&findings::list())?;
            return Ok(ExitCode::SUCCESS);
        };
        let files = Files::read(&configuration.path)?;
        let findings = Findings::new(found(&files, configuration), &self.suppress);
        terminal.write(&match self.output {
            OutputFormat::Text => findings.text(&files.texts),
            OutputFormat::Json => findings.json(),
        })?;
        Ok(if findings.reach(self.failure_threshold.into()) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// What is wrong with single files, what can't be resolved, and what resources say about each other.
fn found(files: &Files, configuration: &ConfigurationArguments) -> Vec<Diagnostic> {
    let proxy = files.proxy(configuration.role, &configuration.namespace, configuration.labels.clone());
    let resolution = resolve(&files.resources, &proxy);
    // A proxy that nobody named has no workload whose labels could count.
    let named = configuration.labels.as_ref().map(|_| &proxy);
    let mut found = files.findings.clone();
    found.extend(resolution.diagnostics);
    found.extend(analyze(&files.resources, named));
    let unusable = Credentials::check(&resolution.model, &files.resources);
    // What the resources alone tell is told already.
    let is_told = |problem: &Diagnostic| {
        let same = |told: &Diagnostic| {
            (told.position, &told.field, &told.file) == (problem.position, &problem.field, &problem.file)
        };
        found.iter().any(same)
    };
    let unusable: Vec<Diagnostic> = unusable.into_iter().filter(|problem| !is_told(problem)).collect();
    found.extend(unusable);
    found
}
