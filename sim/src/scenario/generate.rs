//! Scenarios by seed.
//!
//! Invariants: one seed gives one scenario for ever as long as this file stays as it is; where there are
//! several partitions no row is late, for then the answer does not depend on who was read first.

use super::query::EPOCH;
use super::{Pushed, Query, Row, Scenario, Size, Step, UNREACHED};
use crate::broker::Fate;
use crate::world::Restart;

const SECOND: i64 = 1_000_000;

/// Makes of a seed another one, for what is drawn beside the rest.
const SPILLS: u64 = 0x5350_494c_4c00;

/// Bytes a shard of a tiny limit. To keep the time of what it reads a shard needs three pages, more than seven eighths
/// of it: each query spills with its first checkpoint, if not before.
const TINY: u64 = 13 << 10;

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        Self::with(seed, Size::Whole)
    }

    /// The small scenario of a seed: one query and its sink, with rows and faults as in the others; what needs other
    /// objects is another look, or another row.
    pub fn small(seed: u64) -> Self {
        Self::with(seed, Size::Small)
    }

    fn with(seed: u64, size: Size) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let partitions = random.usize(1..=4);
        let shards = [1, 2, 4][random.usize(0..3)];
        let query = match (query(&mut random), size) {
            // It reads another view.
            (Query::KeyedTwice, Size::Small) => Query::Keyed,
            (query, _) => query,
        };
        let late = partitions == 1 && random.u8(0..3) == 0;
        let delay = random.i64(1..=20) * SECOND / 10;
        let mut scenario = Self {
            seed,
            size,
            shards,
            reactors: reactors(&mut random, shards),
            batch_rows: [1, 7, 100, 4096][random.usize(0..4)],
            checkpoint_ms: [30, 200, 1000, 4000][random.usize(0..4)],
            partitions,
            delay,
            query,
            plain_sink: random.bool() && size == Size::Whole,
            // Drawn beside the rest, which stays as it was before there were limits.
            outbox_bytes: [512, 8 << 10, UNREACHED][fastrand::Rng::with_seed(!seed).usize(0..3)],
            spill_bytes: (fastrand::Rng::with_seed(seed ^ SPILLS).usize(0..4) == 3).then_some(TINY * u64::from(shards)),
            shuffled_disk: random.bool(),
            steps: Vec::new(),
        };
        let count = random.usize(15..60);
        let stray = if late { 3 * delay } else { delay };
        let mut story = Story { random, size, partitions, shards, stray, time: EPOCH, next_row: 1, next_pushed: 1 };
        while scenario.steps.len() < count {
            story.act(&mut scenario.steps);
        }
        scenario
    }
}

fn query(random: &mut fastrand::Rng) -> Query {
    let half = SECOND / 2;
    match random.u8(0..10) {
        0 => Query::Identity,
        1 => Query::Filter,
        2 | 3 => Query::Keyed,
        4 => Query::KeyedTwice,
        tag => {
            let size = random.i64(1..5) * half;
            let slide = if tag < 8 { size } else { half };
            let lateness = if random.bool() { random.i64(1..4) * half } else { 0 };
            Query::Windows { slide, size, lateness }
        }
    }
}

fn reactors(random: &mut fastrand::Rng, shards: u16) -> u16 {
    [1, 2, 4][random.usize(0..3)].min(shards)
}

struct Story {
    random: fastrand::Rng,
    size: Size,
    partitions: usize,
    shards: u16,
    /// How far a row may lie behind the newest time.
    stray: i64,
    time: i64,
    next_row: i64,
    next_pushed: i64,
}

impl Story {
    fn act(&mut self, steps: &mut Vec<Step>) {
        let step = match self.random.u8(0..100) {
            0..27 => self.produce(),
            27..35 => self.insert(),
            35..53 => self.rounds(),
            53..68 => self.advance(),
            68..73 => Step::Checkpoint,
            73..78 => Step::Look,
            78..=80 if self.size == Size::Small => Step::Look,
            78..80 => Step::PauseOrResume,
            80 => Step::CreateOrDrop,
            81..86 => return self.cut_short(steps),
            _ => self.fault(),
        };
        steps.push(step);
    }

    /// Something durable begins, and soon after it the power goes.
    fn cut_short(&mut self, steps: &mut Vec<Step>) {
        if self.random.u8(0..3) == 0 {
            steps.push(self.insert());
        } else {
            steps.extend([self.produce(), Step::Advance(self.random.u64(1..60_000))]);
            if self.random.bool() {
                steps.push(Step::PowerCut(self.random.u64(0..30)));
            }
            steps.push(Step::Checkpoint);
        }
        steps.push(Step::Rounds(self.random.usize(1..12)));
        steps.push(Step::Fall(Restart::PowerCut, reactors(&mut self.random, self.shards)));
    }

    fn rounds(&mut self) -> Step {
        let most = if self.random.bool() { 8 } else { 60 };
        Step::Rounds(self.random.usize(1..most))
    }

    fn advance(&mut self) -> Step {
        let most = if self.random.u8(0..4) == 0 { 6_000_000 } else { 400_000 };
        Step::Advance(self.random.u64(1..most))
    }

    fn fault(&mut self) -> Step {
        let random = &mut self.random;
        match random.u8(0..15) {
            0..3 => Step::Fall(Restart::Kill, reactors(random, self.shards)),
            3..6 => Step::Fall(Restart::PowerCut, reactors(random, self.shards)),
            6 => Step::Fall(Restart::Stop, reactors(random, self.shards)),
            7 => Step::FallTwice(random.u64(0..40), reactors(random, self.shards)),
            8 => Step::PowerCut(random.u64(0..80)),
            9 => Step::DiskError(random.u64(0..80)),
            10 => Step::DiskFull(random.u64(1..3_000_000)),
            11 => match random.u64(1..3_000_000) {
                micros if micros % 2 == 0 => Step::Deaf(micros),
                micros => Step::Away(micros),
            },
            12 => Step::Fate(Fate::Late(random.bool().then(|| random.u64(0..2_000_000)))),
            _ => Step::Fate([Fate::Refused, Fate::Halfway, Fate::AnswerLost][random.usize(0..3)]),
        }
    }

    fn produce(&mut self) -> Step {
        let random = &mut self.random;
        let most = [3, 20, 60][random.usize(0..3)];
        let keys = [1, 5, 40][random.usize(0..3)];
        let mut rows = Vec::new();
        for _ in 0..random.usize(1..=most) {
            self.time += random.i64(0..SECOND / 10);
            rows.push(Row {
                id: self.next_row,
                k: random.i64(0..keys),
                v: random.i64(-20..100),
                ts: self.time - random.i64(0..=self.stray),
                partition: random.usize(0..self.partitions),
            });
            self.next_row += 1;
        }
        Step::Produce(rows)
    }

    fn insert(&mut self) -> Step {
        if self.size == Size::Small {
            return self.produce();
        }
        let into = if self.random.bool() { Pushed::Source } else { Pushed::Table };
        let first = self.next_pushed;
        self.next_pushed += self.random.i64(1..6);
        Step::Insert(into, (first..self.next_pushed).collect())
    }
}
