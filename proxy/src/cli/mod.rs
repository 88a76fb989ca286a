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
#[cfg(feature = "http3")]
macro_rules! experiments {
    () => {
        ", http3 (clients, experimental)"
    };
}
#[cfg(not(feature = "http3"))]
macro_rules! experiments {
    () => {
        ""
    };
}
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit: ",
    env!("TIDEGATE_COMMIT"),
    "\nfeatures: gateway, sidecar (outbound), http1, http2 (clients)",
    experiments!(),
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
/// endpoints come from there. It runs at the mesh's edge, or beside a workload for what that asks of others.
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
    Sidecar(gateway::SidecarArguments),
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
            Self::Sidecar(arguments) => arguments.run()?,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Words of a command line as a shell would part them: quotes keep blanks.
    fn words(line: &str) -> Vec<String> {
        let parts = line.split('\'').enumerate();
        let words = parts.flat_map(|(place, part)| {
            let quoted = place % 2 == 1;
            let blanks = move |letter: char| letter == ' ' && !quoted;
            part.split(blanks).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        });
        words.collect()
    }

    fn examples(command: &clap::Command) -> Vec<String> {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mine = text.lines().filter_map(|line| line.find("tidegate ").map(|at| line[at..].to_owned()));
        let lines = mine.filter(|line| !line.contains("tidegate and"));
        let mut all: Vec<String> = lines.map(|line| line.split(['|', '>']).next().unwrap().to_owned()).collect();
        all.extend(command.get_subcommands().flat_map(examples));
        all
    }

    #[test]
    fn the_definition_of_the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_in_a_help_text_is_accepted() {
        let examples = examples(&Cli::command());
        assert!(examples.len() > 15, "{examples:#?}");
        for example in examples {
            let parsed = Cli::try_parse_from(words(&example));
            assert!(parsed.is_ok(), "{example}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn a_command_that_is_not_offered_is_a_wrong_command_line() {
        for line in
            ["tidegate waypoint --config .", "tidegate sidecar", "tidegate", "tidegate gateway", "tidegate routes"]
        {
            assert_eq!(Cli::try_parse_from(words(line)).unwrap_err().exit_code(), 2, "{line}");
        }
        assert_eq!(Cli::try_parse_from(["tidegate", "--version"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn every_flag_of_the_gateway_and_the_demo_has_an_environment_variable() {
        for name in ["gateway", "sidecar", "demo"] {
            let command = Cli::command().find_subcommand(name).unwrap().clone();
            for argument in command.get_arguments() {
                assert!(argument.get_env().is_some(), "{name} --{}", argument.get_id());
            }
        }
    }
}
