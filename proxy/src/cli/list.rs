//! `listeners`, `routes`, `clusters` and `endpoints`: what a configuration comes to, as tables.

use clap::{Args, Subcommand};

use super::configuration::{ConfigurationArguments, Understood};
use super::listing::{self, Filter, Row};
use super::{Failure, OutputFormat, Terminal, table};

/// What is listed.
#[derive(Debug, Subcommand)]
pub(crate) enum ListCommand {
    /// Lists the sockets that would be bound, and the hosts served there
    #[command(alias = "listener")]
    Listeners(ListArguments),
    /// Lists the routes of each host in the order in which they are tried
    Routes(ListArguments),
    /// Lists services and subsets with the number of their endpoints
    #[command(alias = "cluster")]
    Clusters(ListArguments),
    /// Lists the endpoints of services and subsets
    #[command(alias = "endpoint")]
    Endpoints(ListArguments),
}

/// Which rows, and how they are written.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidegate routes ./config --host shop.example
  tidegate clusters ./config --port 9080 --output json")]
pub(crate) struct ListArguments {
    #[command(flatten)]
    configuration: ConfigurationArguments,
    /// Only rows that serve this host
    #[arg(long)]
    host: Option<String>,
    /// Only rows with this port
    #[arg(long)]
    port: Option<u16>,
    /// How rows are written
    #[arg(long, short, value_enum, default_value = "text", env = "TIDEGATE_OUTPUT")]
    output: OutputFormat,
}

impl ListCommand {
    pub(crate) fn run(&self, terminal: &Terminal) -> Result<(), Failure> {
        let (Self::Listeners(arguments)
        | Self::Routes(arguments)
        | Self::Clusters(arguments)
        | Self::Endpoints(arguments)) = self;
        let Understood { model, endpoints, .. } = arguments.configuration.understand()?;
        let filter = Filter { host: arguments.host.clone(), port: arguments.port };
        let output = arguments.output;
        let text = match self {
            Self::Listeners(_) => write(&listing::listeners(&model, &filter), output),
            Self::Routes(_) => write(&listing::routes(&model, &filter), output),
            Self::Clusters(_) => write(&listing::clusters(&model, &endpoints, &filter), output),
            Self::Endpoints(_) => write(&listing::endpoints(&model, &endpoints, &filter), output),
        };
        terminal.write(&text)
    }
}

fn write<const N: usize>(rows: &[impl Row<N>], output: OutputFormat) -> String {
    match output {
        OutputFormat::Text => table::of(rows),
        OutputFormat::Json => serde_json::to_string_pretty(rows).unwrap_or_default() + "\n",
    }
}
