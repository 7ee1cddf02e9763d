//! Crash images: after every prefix of a run's disk operations, what a power cut may leave of it.
//!
//! A run with log, checkpoints, outboxes, replaced manifests and freed space; of what no sync covers nothing is kept,
//! all, all but a part of the last write, or any legal subset. `LAMINAR_SOAK` = how many times as many subsets.

use super::oracle::Oracle;
use super::{Stop, TURNS, live, new_machine, run};
use crate::disk::{Kept, SimMachine};

/// At least so many images in `make test`.
const IMAGES: u64 = 20_000;
/// Torn ones of each prefix.
const TORN: u64 = 6;

fn soak() -> u64 {
    std::env::var("LAMINAR_SOAK").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// A start must find what the outside world knows.
fn starts(image: &SimMachine, oracle: &Oracle) -> Result<(), String> {
    match run(image, &mut oracle.clone(), 0) {
        Ok(()) => Ok(()),
        Err(Stop::Crash) => Err("a healthy machine stopped".to_owned()),
        Err(Stop::Violation(what)) => Err(what),
    }
}

#[test]
fn every_promise_holds_on_whatever_a_power_cut_leaves() {
    let whole = new_machine(11);
    live(&whole, &mut Oracle::default(), TURNS).unwrap();
    let trace = whole.trace();
    let happened = |what: &str, path: &str| {
        trace.iter().filter(|op| op.what == what && op.path.to_string_lossy().contains(path)).count()
    };
    assert!(happened("rename", "MANIFEST") > 1, "the manifest is replaced");
    assert!(happened("rename", "wal") > 2 && happened("create", "wal") > 1, "the log rolls and uses files again");
    assert!(happened("sync", "outbox") > 10 && happened("write", "state") > 10, "there are checkpoints");
    assert!(happened("remove", "outbox") + happened("rename", "outbox") > 0, "staged rows are freed");
    let subsets = (IMAGES.div_ceil(whole.operations()) - TORN - 2) * soak();
    let mut images = 0;
    for operation in 0..=whole.operations() {
        let machine = new_machine(11);
        let mut oracle = Oracle::default();
        machine.cut_power_at(operation);
        live(&machine, &mut oracle, TURNS).unwrap();
        for (kept, count) in [(Kept::All, 1), (Kept::Nothing, 1), (Kept::Torn, TORN), (Kept::Some, subsets)] {
            for seed in 0..count {
                starts(&machine.crash_keeping(kept, operation << 32 | seed), &oracle)
                    .unwrap_or_else(|what| panic!("operation {operation}, {kept:?}, seed {seed}: {what}"));
                images += 1;
            }
        }
    }
    assert!(images >= IMAGES, "{images} images of {} operations", whole.operations());
}
