//! Counts the instructions of what a request and a change of configuration cost, and fails when a count has risen by more
//! than 3 % over `baseline.toml`. Wall-clock time on a shared machine moves by tens of percent; instructions under
//! callgrind move by less than one. See README.md.

mod backends;
mod baseline;
mod callgrind;
mod http2;
mod models;
mod request_cost;
mod scenarios;

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use baseline::Baseline;
use callgrind::CallgrindError;
use scenarios::Scenario;

const USAGE: &str = "usage: benches/run [--update | --time] [NAME-PART]

Counts the instructions of every benchmark whose name contains NAME-PART, and compares them with benches/baseline.toml.
  --update   writes the counts to the baseline instead
  --time     prints nanoseconds, measured natively; compares nothing
";

/// Next to this crate's manifest.
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.toml");

#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("{0}")]
    Callgrind(#[from] CallgrindError),
    #[error("{0}")]
    RequestCost(#[from] request_cost::RequestCostError),
    #[error("{BASELINE}: {0}")]
    Baseline(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["--one", name] => run_one(name),
        ["--time"] => time(""),
        ["--time", part] => time(part),
        ["--update"] => finish(update("")),
        ["--update", part] => finish(update(part)),
        [] => finish(check("")),
        [part] if !part.starts_with('-') => finish(check(part)),
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn finish(result: Result<bool, BenchError>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(BenchError::Callgrind(CallgrindError::Missing)) if env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: no valgrind here, so nothing was measured (Debian: apt install valgrind)");
            println!("0 passed, 0 failed, 1 skipped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("benches: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Compares; whether nothing has risen.
fn check(part: &str) -> Result<bool, BenchError> {
    let baseline = read_baseline()?;
    let report = baseline.compare(&measure(part)?, part);
    println!("{report}");
    Ok(report.is_good())
}

fn update(part: &str) -> Result<bool, BenchError> {
    let mut baseline = read_baseline()?;
    let counts = measure(part)?;
    println!("{}", baseline.compare(&counts, part));
    baseline.replace(counts, part);
    std::fs::write(BASELINE, baseline.to_string()).map_err(|error| BenchError::Baseline(error.to_string()))?;
    Ok(true)
}

fn read_baseline() -> Result<Baseline, BenchError> {
    let text = match Path::new(BASELINE).exists() {
        true => std::fs::read_to_string(BASELINE).map_err(|error| BenchError::Baseline(error.to_string()))?,
        false => String::new(),
    };
    text.parse().map_err(BenchError::Baseline)
}

/// Instructions of each operation, by name.
fn measure(part: &str) -> Result<BTreeMap<String, u64>, BenchError> {
    callgrind::find()?;
    let mut counts = BTreeMap::new();
    for scenario in scenarios::all().filter(|scenario| scenario.name.contains(part)) {
        let total = callgrind::count_section(&["--one", scenario.name])?;
        counts.insert(scenario.name.to_owned(), total / u64::from(scenario.operations));
    }
    for request in request_cost::ALL.iter().filter(|request| request.name.contains(part)) {
        counts.insert(request.name.to_owned(), request.measure()?);
    }
    Ok(counts)
}

/// What callgrind runs: one scenario, of which only the counted section is counted.
fn run_one(name: &str) -> ExitCode {
    let Some(scenario) = scenarios::all().find(|scenario| scenario.name == name) else {
        eprintln!("benches: no benchmark {name}");
        return ExitCode::from(2);
    };
    let mut operation = (scenario.prepare)();
    callgrind::counted_section(&mut operation, scenario.operations);
    ExitCode::SUCCESS
}

fn time(part: &str) -> ExitCode {
    for Scenario { name, operations, prepare } in scenarios::all().filter(|scenario| scenario.name.contains(part)) {
        let mut operation = prepare();
        callgrind::counted_section(&mut operation, operations);
        let start = Instant::now();
        callgrind::counted_section(&mut operation, operations);
        println!("{name:<34} {:>12.1} ns", start.elapsed().as_nanos() as f64 / f64::from(operations));
    }
    ExitCode::SUCCESS
}
