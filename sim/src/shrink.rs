//! Makes a failing scenario smaller: leaves out steps as long as it still fails.

use crate::run::run;
use crate::scenario::Scenario;

/// Runs at most.
const RUNS: usize = 150;

/// The steps that a failing scenario does not need, ascending. Tries ever smaller pieces from the end.
pub fn shrink(scenario: &Scenario) -> Vec<usize> {
    let mut gone: Vec<usize> = Vec::new();
    let mut runs = 0;
    let mut piece = scenario.steps.len().div_ceil(2);
    while piece > 0 {
        let mut end = scenario.steps.len();
        while end > 0 && runs < RUNS {
            let start = end.saturating_sub(piece);
            let more: Vec<usize> = (start..end).filter(|step| !gone.contains(step)).collect();
            if !more.is_empty() {
                let tried: Vec<usize> = gone.iter().copied().chain(more).collect();
                runs += 1;
                if run(&scenario.without(&tried)).failure.is_some() {
                    gone = tried;
                }
            }
            end = start;
        }
        piece /= 2;
    }
    gone.sort_unstable();
    gone
}
