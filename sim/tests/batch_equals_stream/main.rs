//! Batch = stream: whatever the cut of batches, the restarts and the number of shards, a view holds
//! what DataFusion answers over the same rows as a whole.
//!
//! `LAMINAR_SEED=n cargo test -p sim --test batch_equals_stream` runs the case of one seed.

#![allow(clippy::unwrap_used, reason = "a test")]

mod case;
mod data;
mod expression;
mod grammar;
mod oracle;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Continuous queries that are compared at least.
const QUERIES: usize = 500;

#[test]
fn every_view_equals_the_batch_answer_over_the_same_rows() {
    if let Ok(seed) = std::env::var("LAMINAR_SEED") {
        let report = case::run(seed.parse().unwrap());
        println!("{}", report.log);
        return;
    }
    let mut done = case::Report::default();
    for seed in 1.. {
        match catch_unwind(AssertUnwindSafe(|| case::run(seed))) {
            Ok(report) => done.add(&report),
            Err(_) => {
                panic!("seed {seed} fails; LAMINAR_SEED={seed} cargo test -p sim --test batch_equals_stream")
            }
        }
        if done.queries >= QUERIES {
            break;
        }
    }
    println!("{done:?}");
    assert!(
        done.restarts > 100 && done.rows_compared > 5000 && done.late_cases > 10,
        "the cases are too tame: {done:?}"
    );
}
