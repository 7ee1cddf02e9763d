//! Timing: CPU and wall seconds of closures, run in turn, as min, median and max.

use std::time::Instant;

/// How much to run.
pub struct Settings {
    /// Counted runs of each side.
    pub runs: usize,
    /// Scales the amount of data.
    pub scale: f64,
}

impl Settings {
    /// `rows` scaled.
    pub fn rows(&self, rows: usize) -> usize {
        ((rows as f64 * self.scale) as usize).max(1)
    }
}

/// One side of a comparison: a name and what to run; it returns a check value that must be the same each time.
pub struct Side<'a> {
    /// Its name in the report.
    pub name: &'a str,
    /// One run.
    pub run: Box<dyn FnMut() -> u64 + 'a>,
}

impl<'a> Side<'a> {
    /// A side.
    pub fn new(name: &'a str, run: impl FnMut() -> u64 + 'a) -> Self {
        Self { name, run: Box::new(run) }
    }
}

/// What one side took, in seconds a run, sorted.
pub struct Timing {
    /// User + system CPU seconds of the process.
    pub cpu: Vec<f64>,
    /// Wall seconds.
    pub wall: Vec<f64>,
}

/// Runs the sides in turn, prints rows/s by CPU time and the ratio of each side to the last, returns the timings.
///
/// # Panics
/// When a side's check value changes between runs.
pub fn compare(settings: &Settings, rows: usize, mut sides: Vec<Side<'_>>) -> Vec<Timing> {
    let mut timings: Vec<Timing> = sides.iter().map(|_| Timing { cpu: vec![], wall: vec![] }).collect();
    let checks: Vec<u64> = sides.iter_mut().map(|s| (s.run)()).collect();
    for _ in 0..settings.runs {
        for (i, side) in sides.iter_mut().enumerate() {
            let (cpu, wall) = (cpu_seconds(), Instant::now());
            let check = (side.run)();
            timings[i].wall.push(wall.elapsed().as_secs_f64());
            timings[i].cpu.push(cpu_seconds() - cpu);
            assert_eq!(check, checks[i], "{}: the check value changed between runs", side.name);
        }
    }
    let last = sides.len() - 1;
    let ratios: Vec<Vec<f64>> =
        timings.iter().map(|t| t.cpu.iter().zip(&timings[last].cpu).map(|(a, b)| b / a).collect()).collect();
    for (i, side) in sides.iter().enumerate() {
        let rate = |seconds: f64| rows as f64 / seconds / 1e6;
        let (min, median, max) = spread(&timings[i].cpu);
        print!(
            "  {:<34} {:>8.2} M rows/cpu-s ({:.2}–{:.2}), {:>7.1} ns/row",
            side.name,
            rate(median),
            rate(max),
            rate(min),
            median / rows as f64 * 1e9
        );
        if i == last {
            println!();
        } else {
            let (low, middle, high) = spread(&ratios[i]);
            println!("   {middle:.2} × {} ({low:.2}–{high:.2})", sides[last].name);
        }
    }
    timings
}

/// Minimum, median and maximum.
pub fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1])
}

const TICKS_PER_SECOND: f64 = 100.0;

/// User + system CPU seconds of this process so far, all its threads, in steps of a clock tick (10 ms).
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / TICKS_PER_SECOND
}

/// Seconds of processor time that the host took from this machine so far, all cores, in steps of a clock tick; 0 where it
/// does not tell.
pub fn stolen_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().and_then(|cpu| cpu.split_whitespace().nth(8)).and_then(|ticks| ticks.parse().ok());
    ticks.unwrap_or(0.0) / TICKS_PER_SECOND
}

/// Seconds so far in which some thread of this machine waited for memory to be made free (0), or for a device (1); 0 where
/// the system does not tell.
pub fn pressed_seconds() -> [f64; 2] {
    ["memory", "io"].map(|of| {
        let told = std::fs::read_to_string(format!("/proc/pressure/{of}")).unwrap_or_default();
        let total = told.lines().next().and_then(|some| some.split("total=").nth(1)).and_then(|us| us.parse().ok());
        total.unwrap_or(0.0) / 1e6
    })
}

/// Prints processor and core count, once a run.
pub fn print_machine() {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown", |m| m.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    println!("machine: {model}, {cores} cores; profile: {}", if cfg!(debug_assertions) { "dev" } else { "optimised" });
}
