//! Runs a program under `valgrind --tool=callgrind` and reads how many instructions it took in user space.
//!
//! Callgrind is driven directly: a harness on top of it would need a second program of the very same version on every
//! machine, and keeps its baselines as binary files beside the build, where a review doesn't see them.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallgrindError {
    #[error("no valgrind (Debian: apt install valgrind)")]
    Missing,
    #[error("{program}: {error}")]
    Start { program: String, error: io::Error },
    #[error("{program} failed under valgrind: {said}")]
    Failed { program: String, said: String },
    #[error("{path}: no count in it")]
    NoCount { path: PathBuf },
}

/// The part of a benchmark that counts. Callgrind switches on and off where it is entered and left, by its name.
#[inline(never)]
pub(crate) fn counted_section(operation: &mut dyn FnMut(u32), operations: u32) {
    for number in 0..operations {
        operation(number);
    }
}

/// Makes sure that there is a valgrind.
pub(crate) fn find() -> Result<(), CallgrindError> {
    let said = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if said.is_ok_and(|status| status.success()) { Ok(()) } else { Err(CallgrindError::Missing) }
}

/// A command that counts the instructions of `program`, all its threads together, and writes them to `counts`.
pub(crate) fn command(program: &Path, counts: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]).args(options);
    command.arg(format!("--callgrind-out-file={}", counts.display())).arg(program);
    command
}

/// Where a run's counts go: beside this program, under a name of their own.
pub(crate) fn counts_file(program: &Path) -> PathBuf {
    program.with_file_name(format!("callgrind.{}", std::process::id()))
}

/// Runs this program again with `arguments`, and counts what happens in [`counted_section`].
pub(crate) fn count_section(arguments: &[&str]) -> Result<u64, CallgrindError> {
    let program = env::current_exe().map_err(|error| start_error(Path::new("benches"), error))?;
    let counts = counts_file(&program);
    let mut command = command(&program, &counts, &["--toggle-collect=*counted_section*"]);
    let output = command.args(arguments).output().map_err(|error| start_error(&program, error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(CallgrindError::Failed { program: arguments.join(" "), said });
    }
    take_count(&counts)
}

pub(crate) fn start_error(program: &Path, error: io::Error) -> CallgrindError {
    CallgrindError::Start { program: program.display().to_string(), error }
}

/// The count in a file that callgrind wrote, which is removed. A count of zero means that nothing ran: an error.
pub(crate) fn take_count(path: &Path) -> Result<u64, CallgrindError> {
    let text = std::fs::read(path).map_err(|error| start_error(path, error))?;
    let _ = std::fs::remove_file(path);
    total(&String::from_utf8_lossy(&text)).ok_or_else(|| CallgrindError::NoCount { path: path.to_owned() })
}

/// The sum over all parts of a profile: a line `totals: 1234` each.
fn total(profile: &str) -> Option<u64> {
    let totals = profile.lines().filter_map(|line| line.strip_prefix("totals:"));
    let sum = totals.map(|count| count.trim().parse::<u64>()).sum::<Result<u64, _>>().ok()?;
    (sum > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_sum_of_the_totals_of_all_parts() {
        let table = [
            ("version: 1\nevents: Ir\nsummary: 12\n\ntotals: 12\n", Some(12)),
            ("totals: 12\npart: 2\ntotals: 30\n", Some(42)),
            ("summary: 12\n", None),
            ("totals: 0\n", None),
            ("totals: many\n", None),
        ];
        for (profile, count) in table {
            assert_eq!(total(profile), count, "{profile}");
        }
    }

    #[test]
    fn the_section_runs_its_operation_as_often_as_it_says() {
        let mut numbers = Vec::new();
        counted_section(&mut |number| numbers.push(number), 3);
        assert_eq!(numbers, [0, 1, 2]);
    }
}
