//! The simulator as a command: many seeds, or one of them step by step.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use laminar_sim::mutant::{self, Mutant};
use laminar_sim::{Report, Scenario, Size, run, shrink};

const HELP: &str = "\
Simulates whole databases by seed and checks what they promise.

  --seeds N             so many seeds (500)
  --from N              the first of them (1)
  --jobs N              so many at once (1)
  --small               one source, one query and its exactly-once sink each; rows and faults as in the others
  --check-determinism   runs each twice and compares
  --replay SEED         runs one
  --without A,B,…       leaves out these steps of it
  --bug NAME            plants a defect and stops at the first seed that finds it
  --list-bugs           the defects there are
  --trace               prints what happens, with virtual time
  --help                this text
";

struct Options {
    seeds: u64,
    from: u64,
    jobs: u64,
    size: Size,
    twice: bool,
    replay: Option<u64>,
    without: Vec<usize>,
    bug: Option<Mutant>,
    trace: bool,
}

impl Options {
    fn scenario(&self, seed: u64) -> Scenario {
        match self.size {
            Size::Whole => Scenario::of(seed),
            Size::Small => Scenario::small(seed),
        }
    }

    /// The command that shows a scenario again.
    fn again(&self, scenario: &Scenario) -> String {
        let bug = self.bug.map_or_else(String::new, |bug| format!(" --bug {}", bug.name()));
        format!("cargo run -p sim -- {} --trace{bug}", scenario.replay())
    }
}

/// What the command line asks for.
enum Asked {
    Run(Options),
    Text(String),
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(Asked::Text(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Asked::Run(options)) => {
            // What a simulated engine panics with stands in its report.
            std::panic::set_hook(Box::new(|_| {}));
            match options.replay {
                Some(seed) => replay(seed, &options),
                None => sweep(&options),
            }
        }
        Err(why) => {
            eprintln!("{why}; --help shows what there is");
            ExitCode::from(2)
        }
    }
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut options = Options {
        seeds: 500,
        from: 1,
        jobs: 1,
        size: Size::Whole,
        twice: false,
        replay: None,
        without: Vec::new(),
        bug: None,
        trace: false,
    };
    while let Some(word) = words.next() {
        let mut number = || -> Result<u64, String> {
            let value = words.next().ok_or(format!("{word} needs a number"))?;
            value.parse().map_err(|_| format!("{word} needs a number, not '{value}'"))
        };
        match word.as_str() {
            "--help" => return Ok(Asked::Text(HELP.to_owned())),
            "--list-bugs" => return Ok(Asked::Text(Mutant::ALL.map(|bug| format!("{}\n", bug.name())).concat())),
            "--bug" => {
                let name = words.next().unwrap_or_default();
                let known = Mutant::ALL.into_iter().find(|bug| bug.name() == name);
                options.bug = Some(known.ok_or(format!("there is no bug '{name}'; --list-bugs shows them"))?);
                if !mutant::plant(options.bug) {
                    return Err("a release build has no bugs to plant; build without --release".to_owned());
                }
            }
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--jobs" => options.jobs = number()?.max(1),
            "--replay" => options.replay = Some(number()?),
            "--small" => options.size = Size::Small,
            "--check-determinism" => options.twice = true,
            "--trace" => options.trace = true,
            "--without" => {
                let list = words.next().ok_or("--without needs numbers of steps")?;
                let numbers = list.split(',').map(str::parse);
                options.without = numbers.collect::<Result<_, _>>().map_err(|_| format!("'{list}' are no numbers"))?;
            }
            _ => return Err(format!("'{word}' is no option")),
        }
    }
    Ok(Asked::Run(options))
}

fn replay(seed: u64, options: &Options) -> ExitCode {
    let scenario = options.scenario(seed).without(&options.without);
    let report = run(&scenario);
    if options.trace {
        println!("{}", scenario.sql());
        report.trace.iter().for_each(|line| println!("{line}"));
    }
    println!("{} virtual seconds, {} lives, trace {:016x}", report.micros / 1_000_000, report.lives + 1, report.hash);
    if options.twice && run(&scenario).hash != report.hash {
        println!("a second run is another one");
        return ExitCode::FAILURE;
    }
    match report.failure {
        None => ExitCode::SUCCESS,
        Some(what) => {
            println!("FAILS: {what}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Sum {
    micros: u64,
    lives: u64,
    rows: usize,
    produced: usize,
    faults: usize,
    failed: BTreeSet<u64>,
}

fn sweep(options: &Options) -> ExitCode {
    let next = AtomicU64::new(options.from);
    let sum = Mutex::new(Sum::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                mutant::plant(options.bug);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= options.from + options.seeds {
                        break;
                    }
                    let scenario = options.scenario(seed);
                    let report = one(&scenario, options);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.micros += report.micros;
                    sum.lives += report.lives + 1;
                    sum.rows += report.rows;
                    sum.produced += scenario.produced();
                    sum.faults += scenario.faults();
                    if report.failure.is_some() {
                        sum.failed.insert(seed);
                        if options.bug.is_some() {
                            next.store(u64::MAX / 2, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (virtual_s, real_s) = (sum.micros as f64 / 1e6, began.elapsed().as_secs_f64());
    println!(
        "{} seeds, {} lives, {} faults, {} rows produced and {} compared; {} failed",
        options.seeds,
        sum.lives,
        sum.faults,
        sum.produced,
        sum.rows,
        sum.failed.len()
    );
    println!(
        "{virtual_s:.0} virtual seconds in {real_s:.1} s on {} threads: {:.0} a second; {:.2} lives, {:.1} faults and \
         {:.0} rows a virtual second",
        options.jobs,
        virtual_s / real_s,
        sum.lives as f64 / virtual_s,
        sum.faults as f64 / virtual_s,
        sum.produced as f64 / virtual_s
    );
    if sum.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a seed; of one that fails it prints how to see it again.
fn one(scenario: &Scenario, options: &Options) -> Report {
    let (seed, again) = (scenario.seed, options.again(scenario));
    let mut report = run(scenario);
    if let Some(what) = &report.failure {
        let gone: Vec<String> = shrink(scenario, what).iter().map(usize::to_string).collect();
        let without = if gone.is_empty() { String::new() } else { format!(" --without {}", gone.join(",")) };
        println!("seed {seed}: {what}\n  {again}{without}");
    } else if options.twice {
        let second = run(scenario);
        if second.hash != report.hash {
            let at = report.trace.iter().zip(&second.trace).position(|(a, b)| a != b);
            let line = at.map_or("the same lines with other numbers", |at| report.trace[at].as_str());
            let what = format!("a second run is another one: {line}");
            // No single run shows it, so there is nothing to make smaller.
            println!("seed {seed}: {what}\n  {again} --check-determinism");
            report.failure = Some(what);
        }
    }
    report
}
