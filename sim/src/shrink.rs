//! Makes a failing scenario smaller: leaves out steps as long as it still fails in the same way.

use crate::run::run;
use crate::scenario::Scenario;

/// Runs at most.
const RUNS: usize = 150;

/// The steps that a scenario does not need to fail as it did, ascending. Tries ever smaller pieces from the end.
pub fn shrink(scenario: &Scenario, failure: &str) -> Vec<usize> {
    shrink_while(scenario, &|smaller| run(smaller).failure.is_some_and(|what| kind(&what) == kind(failure)))
}

fn shrink_while(scenario: &Scenario, fails: &dyn Fn(&Scenario) -> bool) -> Vec<usize> {
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
                if fails(&scenario.without(&tried)) {
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

/// A failure without what depends on the data: its words, but no number and nothing in brackets.
fn kind(failure: &str) -> String {
    let mut depth = 0_usize;
    let mut kind = String::new();
    for letter in failure.chars() {
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            letter if depth == 0 && !letter.is_ascii_digit() && letter != '-' => kind.push(letter),
            _ => {}
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Step;

    #[test]
    fn failures_are_of_one_kind_when_only_their_data_differs() {
        let (some, other) = ("exact holds [1, -2], which is no answer", "exact holds [7, [8]], which is no answer");
        assert_eq!(kind(some), kind(other));
        assert_ne!(kind(some), kind("exact holds [1, -2] once too often"));
        assert_eq!(kind("checkpoint 7 after 12"), kind("checkpoint 1 after -3"));
    }

    #[test]
    fn only_the_steps_that_a_failure_needs_are_left() {
        let steps: Vec<Step> = (0..30).map(Step::Rounds).collect();
        let scenario = Scenario { steps, ..Scenario::of(1) };
        let needs = |smaller: &Scenario| [3, 17].iter().all(|step| smaller.steps.contains(&Step::Rounds(*step)));
        let gone = shrink_while(&scenario, &needs);
        assert_eq!(gone, (0..30).filter(|step| ![3, 17].contains(step)).collect::<Vec<_>>());
    }
}
