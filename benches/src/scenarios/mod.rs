//! What is measured: one scenario for each question.

mod balance;
mod endpoints;
mod routing;

/// A benchmark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    /// What is done, and to how much: `decide/10-prefixes`.
    pub(crate) name: &'static str,
    /// Operations in a run.
    pub(crate) operations: u32,
    /// Builds what the operation needs, which doesn't count, and returns it. It is given the operation's number.
    pub(crate) prepare: fn() -> Box<dyn FnMut(u32)>,
}

/// Every benchmark within this process.
pub(crate) fn all() -> impl Iterator<Item = Scenario> {
    routing::SCENARIOS.iter().chain(balance::SCENARIOS).chain(endpoints::SCENARIOS).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_benchmark_has_a_name_of_its_own_and_runs() {
        let mut names = BTreeSet::new();
        for scenario in all() {
            assert!(names.insert(scenario.name), "{} twice", scenario.name);
            let mut operation = (scenario.prepare)();
            (0..scenario.operations.min(20)).for_each(&mut operation);
        }
    }
}
