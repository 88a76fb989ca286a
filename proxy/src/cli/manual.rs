//! `completion` and `man`: what a shell and `man` want to know of this command line, made from its definition.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Failure};

/// Prints the completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidegate completion bash > /etc/bash_completion.d/tidegate")]
pub(crate) struct CompletionArguments {
    /// The shell
    shell: Shell,
}

/// Prints the manual page of tidegate or of one of its commands
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  tidegate man check | man -l -")]
pub(crate) struct ManArguments {
    /// A command; without it the page of tidegate itself
    command: Option<String>,
}

impl CompletionArguments {
    /// The script.
    pub(crate) fn render(&self) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "tidegate", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

impl ManArguments {
    /// The page.
    pub(crate) fn render(&self) -> Result<String, Failure> {
        let mut tidegate = Cli::command();
        tidegate.build();
        let command = match &self.command {
            None => tidegate,
            Some(name) => {
                let found = tidegate.find_subcommand(name).cloned();
                found.ok_or_else(|| Failure(format!("there is no command `{name}`; `tidegate --help` lists them")))?
            }
        };
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Failure(format!("the manual page: {error}")))?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_gets_a_script_that_names_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = CompletionArguments { shell }.render();
            assert!(script.contains("completion") && script.contains("man"), "{shell}");
        }
    }

    #[test]
    fn a_command_has_its_own_page_and_an_unknown_one_is_refused() {
        let page = |command: Option<&str>| ManArguments { command: command.map(str::to_owned) }.render();
        assert!(page(None).unwrap().contains(".TH tidegate"));
        assert!(page(Some("completion")).unwrap().contains("bash"));
        assert!(page(Some("waypoint")).is_err());
    }
}
