//! The command line: what can be asked, and which part answers. Each command is a module with its arguments and a `run`.
//! Exit status: 2 for a wrong command line, 1 for a configuration that can't be used or has findings, else 0.

mod check;
mod configuration;
mod demo;
mod findings;
mod gateway;
mod list;
mod listing;
mod manual;
pub(crate) mod request;
mod route;
mod table;
pub(crate) mod terminal;
mod value;
pub(crate) mod words;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use terminal::{Failure, Terminal};
pub(crate) use value::Color;
use value::OutputFormat;

pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("TIDEGATE_COMMIT"), ")");
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("TIDEGATE_COMMIT"),
    "\nfeatures: gateway, http1, http2 (clients)",
);
const EXAMPLES: &str = "\
Examples:
  tidegate demo
      Bookinfo's 50/50 canary in front of three live back ends; nothing else is needed
  tidegate gateway --config ./config --port-map 80:8080
      Serve the Gateways of a folder of YAML files
  tidegate check ./config
      What is wrong with the folder, with file, line and cure
  tidegate route ./config --method GET http://shop.example/reviews/7
      Where a request would go, and why";

/// Routes HTTP traffic as Istio's Gateways, VirtualServices and DestinationRules say.
///
/// Configuration is a folder of YAML files with Istio's resources, and Kubernetes' Services, EndpointSlices and Pods where the
/// endpoints come from there. Sidecars are not offered yet.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = VERSION, long_version = LONG_VERSION, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    /// When to use colours; NO_COLOR switches them off too
    #[arg(long, global = true, value_enum, default_value = "auto", env = "TIDEGATE_COLOR", value_name = "WHEN")]
    pub(crate) color: Color,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Gateway(gateway::GatewayArguments),
    Demo(demo::DemoArguments),
    #[command(visible_aliases = ["analyze", "validate"])]
    Check(check::CheckArguments),
    Route(route::RouteArguments),
    #[command(flatten)]
    List(list::ListCommand),
    /// Lists what a configuration comes to, by istioctl's name for it
    #[command(subcommand, visible_alias = "pc")]
    ProxyConfig(list::ListCommand),
    Completion(manual::CompletionArguments),
    Man(manual::ManArguments),
}

impl Command {
    fn run(self, terminal: &Terminal) -> Result<ExitCode, Failure> {
        match self {
            Self::Gateway(arguments) => arguments.run()?,
            Self::Demo(arguments) => arguments.run(terminal.color())?,
            Self::Check(arguments) => return arguments.run(terminal),
            Self::Route(arguments) => arguments.run(terminal)?,
            Self::List(list) | Self::ProxyConfig(list) => list.run(terminal)?,
            Self::Completion(arguments) => terminal.write(&arguments.render())?,
            Self::Man(arguments) => terminal.write(&arguments.render()?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads the command line, does what it says, and returns the exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Only a closed stream can fail here, and then nobody reads.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let terminal = Terminal::new(cli.color);
    cli.command.run(&terminal).unwrap_or_else(|failure| {
        terminal.error(&failure);
        ExitCode::FAILURE
    })
}
