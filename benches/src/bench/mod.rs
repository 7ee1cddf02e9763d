//! The benchmarks, one file each; the file's header states the question it answers.

use crate::harness::Settings;

/// One benchmark.
pub struct Bench {
    /// What it is called on the command line.
    pub name: &'static str,
    /// The question it answers.
    pub question: &'static str,
    /// Runs and prints it.
    pub run: fn(&Settings),
}

/// All benchmarks.
pub const ALL: &[Bench] = &[];
