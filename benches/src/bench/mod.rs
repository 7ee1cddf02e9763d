//! The benchmarks, one file each; the file's header states the question it answers.

mod arena;
mod checkpoint;
mod exactly_once;
mod exchange;
mod json;
mod latency;
mod tumble;
mod wal;

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
pub const ALL: &[Bench] = &[
    Bench {
        name: "arena",
        question: "what does a keyed state access cost, what does dirty tracking add, how much does a checkpoint write?",
        run: arena::run,
    },
    Bench {
        name: "checkpoint",
        question: "with 1 GiB of state, a tenth of it changing per checkpoint, at half load: how long does a row wait, what is written?",
        run: checkpoint::run,
    },
    Bench {
        name: "exactly-once",
        question: "how long until a row's result is committed exactly once, and what does a checkpoint interval of 100 ms cost?",
        run: exactly_once::run,
    },
    Bench {
        name: "exchange",
        question: "how fast do rows change reactors by key, against DataFusion's RepartitionExec?",
        run: exchange::run,
    },
    Bench {
        name: "json",
        question: "how fast do JSON events of 150 bytes and 6 fields become Arrow columns, against arrow-json?",
        run: json::run,
    },
    Bench {
        name: "latency",
        question: "how long after the row that closes a window do its results reach the sink, at half load (open loop)?",
        run: latency::run,
    },
    Bench {
        name: "tumble",
        question: "count and sum by key in tumbling windows against DataFusion's batch GROUP BY; what does a second core add?",
        run: tumble::run,
    },
    Bench {
        name: "wal",
        question: "how near does WAL group commit come to a raw write + fdatasync of the same bytes?",
        run: wal::run,
    },
];
