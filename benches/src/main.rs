//! `laminar-bench`: each benchmark answers one question and measures a peer or a limit in the same run.
//!
//! Data is seeded and made before the clock starts; one warm-up and N counted runs of A and B in
//! turn; every run is checked, and a run whose check fails ends the program. Ratios count, absolute
//! times drift with the machine.

#![allow(clippy::expect_used, reason = "a benchmark that cannot run ends with the reason")]

mod bench;
mod harness;
mod pacing;
mod prepared;
mod windowed;

use std::process::ExitCode;

use clap::Parser;

/// Runs benchmarks by name.
#[derive(Parser)]
#[command(name = "laminar-bench", version)]
struct Cli {
    /// Benchmarks to run; none = all.
    names: Vec<String>,
    /// Counted runs of each side.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Scales the amount of data.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Lists the benchmarks with their questions.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        for bench in bench::ALL {
            println!("{:<14} {}", bench.name, bench.question);
        }
        return ExitCode::SUCCESS;
    }
    let unknown: Vec<&String> = cli.names.iter().filter(|n| !bench::ALL.iter().any(|b| b.name == n.as_str())).collect();
    if !unknown.is_empty() {
        eprintln!("laminar-bench: no benchmark called {unknown:?}; --list names them");
        return ExitCode::from(2);
    }
    harness::print_machine();
    let settings = harness::Settings { runs: cli.runs, scale: cli.scale };
    for bench in bench::ALL.iter().filter(|b| cli.names.is_empty() || cli.names.iter().any(|n| n == b.name)) {
        println!("\n{}: {}", bench.name, bench.question);
        (bench.run)(&settings);
    }
    ExitCode::SUCCESS
}
