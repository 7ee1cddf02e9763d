//! With 1 GiB of state of which a tenth changes from checkpoint to checkpoint, at half of the full load: how much longer does
//! a row wait because of checkpoints, and how much is written for what changed?
//!
//! Beside the rows that fold into the state, ticks pass through the same reactors to a sink, two a millisecond by an
//! open schedule: whatever holds a reactor up, a barrier included, holds up a tick, and every tick behind it counts from its
//! own moment. The same load without checkpoints and the hiccup probe stand beside it. A machine that others share stands
//! still at times: beside the quantile over all ticks stands the median of the intervals' own quantiles, in each of which
//! there is one checkpoint.
//!
//! The changing tenth lies in runs of keys all over the state. It is the same one all the time, or another one in each
//! interval (a checkpoint that falls between has both). Every key of the tenth is touched several times in an interval. What
//! changed is what the reactors count: blocks of 64 bytes that were stored to since the last checkpoint; an entry is one such block
//! here. What was written is all that went to the page files. (The system's count of what a process writes is of no use: where
//! a part of a large page of its cache is written again, it counts all of the page. The device gets the part.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use laminar_core::connector::Registry;
use laminar_core::engine::status::{ImageBytes, LONG_TURNS_US};
use laminar_db::{Database, Status};

use crate::harness::{Settings, pressed_seconds, stolen_seconds};
use crate::pacing::{Hiccups, Lateness, runtime};
use crate::prepared::{Keep, Prepared, Probe};
use crate::windowed::{Workload, open};

/// Groups of the query; with their index about 1 GiB.
const KEYS: usize = 15_000_000;
const REACTORS: usize = 2;
/// Of checkpoints while the full rate is looked for.
const INTERVAL: Duration = Duration::from_secs(2);
/// Keys of one run of a tenth, in each split.
const RUN: usize = 400;
const TENTHS: usize = 10;
/// Rows of a batch.
const BATCH: usize = 8_192;
/// Splits of the ticks, so that each reactor has some, and ticks a second of each.
const TICK_SPLITS: usize = 8;
const TICKS_PER_SECOND: usize = 250;
/// So many that each part of the state changes several times.
const CHECKPOINTS: usize = 30;
/// Intervals before what is written is counted: all of the state has changed once.
const SETTLING: usize = 11;
const NEVER: Duration = Duration::from_secs(3_600);
const PATIENCE: Duration = Duration::from_secs(300);

/// Which tenth of the keys changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changing {
    Same,
    Moving,
}

/// What one run found.
struct Found {
    ticks: Lateness,
    hiccups: Lateness,
    /// Processor time that the host took meanwhile, in seconds.
    stolen: f64,
    /// Waits for memory and devices meanwhile, in seconds.
    pressed: [f64; 2],
    state_bytes: u64,
    checkpoints: u64,
    counts: Counts,
}

/// What is counted up from the start of the database.
#[derive(Clone, Copy, Default)]
struct Counts {
    images: ImageBytes,
    /// Over all reactors.
    turns_over: [u64; LONG_TURNS_US.len()],
}

impl Counts {
    fn of(status: &Status) -> Self {
        let mut counts = Self::default();
        for reactor in &status.reactors {
            counts.images.changed += reactor.images.changed;
            counts.images.written += reactor.images.written;
            for (all, one) in counts.turns_over.iter_mut().zip(&reactor.turns_over) {
                *all += one;
            }
        }
        counts
    }

    fn since(self, before: Self) -> Self {
        let mut turns_over = self.turns_over;
        turns_over.iter_mut().zip(before.turns_over).for_each(|(now, then)| *now -= then);
        let images = ImageBytes {
            changed: self.images.changed - before.images.changed,
            written: self.images.written - before.images.written,
        };
        Self { images, turns_over }
    }
}

/// Finds the full rate, then runs at half of it with and without checkpoints.
pub fn run(settings: &Settings) {
    let keys = settings.rows(KEYS) / (TENTHS * RUN * REACTORS) * (TENTHS * RUN * REACTORS);
    let full = full_rate(keys);
    let rate = full / 2.0;
    println!(
        "  {keys} keys; full rate {:.2} M rows/s on {REACTORS} reactors; load {:.2} M rows/s",
        full / 1e6,
        rate / 1e6
    );
    // Twice the time in which each key of a tenth is touched.
    let period = Duration::from_secs((2.0 * (keys / TENTHS) as f64 / rate).ceil() as u64);
    println!("  a checkpoint each {period:?}");
    for (name, changing, interval) in [
        ("without checkpoints", Changing::Same, NEVER),
        ("the same tenth", Changing::Same, period),
        ("another tenth each time", Changing::Moving, period),
    ] {
        let found = paced(keys, rate, (changing, period), interval);
        println!("  {name}: {:.2} GiB of state", found.state_bytes as f64 / f64::from(1 << 30));
        found.ticks.line("  tick at the sink");
        found.hiccups.line("  hiccup probe (1 ms sleeps)");
        println!(
            "    the host took {:.0} ms of processor time; threads waited {:.0} ms for memory, {:.0} ms for the disk",
            found.stolen * 1000.0,
            found.pressed[0] * 1000.0,
            found.pressed[1] * 1000.0
        );
        let usual = |of: &Lateness| of.usual_ms(0.999, period);
        println!(
            "    p99.9 over the probe: {:.3} ms; of each {period:?} by itself, median: {:.3} ms (tick {:.3}, probe {:.3})",
            found.ticks.ms(0.999) - found.hiccups.ms(0.999),
            usual(&found.ticks) - usual(&found.hiccups),
            usual(&found.ticks),
            usual(&found.hiccups)
        );
        let turns = LONG_TURNS_US.iter().zip(found.counts.turns_over);
        let turns: Vec<String> = turns.map(|(limit, count)| format!("{} ms: {count}", limit / 1_000)).collect();
        println!("    turns of a reactor longer than {}", turns.join(", "));
        if found.checkpoints > 0 {
            let ImageBytes { changed, written } = found.counts.images;
            let each = |bytes: u64| bytes as f64 / found.checkpoints as f64 / f64::from(1 << 20);
            println!(
                "    {} checkpoints; changed {:.1} MiB each, written {:.1} MiB each: {:.2} ×",
                found.checkpoints,
                each(changed),
                each(written),
                written as f64 / changed as f64
            );
        }
    }
}

/// Rows of one split in batches.
fn batches(keys: impl Iterator<Item = i64>) -> Vec<RecordBatch> {
    let keys: Vec<i64> = keys.collect();
    let batch = |keys: &[i64]| {
        let values = Int64Array::from(vec![1; keys.len()]);
        // All in one window that stays open.
        let times = TimestampMicrosecondArray::from(vec![1_000_000; keys.len()]);
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(keys.to_vec())), Arc::new(values), Arc::new(times)];
        RecordBatch::try_new(Workload::schema(), columns).expect("columns of one length")
    };
    keys.chunks(BATCH).map(batch).collect()
}

/// The keys of a split, in the order in which they get their places.
fn load(keys: usize, split: usize) -> Vec<RecordBatch> {
    batches((0..keys / REACTORS).map(|key| (key * REACTORS + split) as i64))
}

/// The keys of a split's tenth, shuffled.
fn tenth(keys: usize, split: usize, tenth: usize) -> Vec<RecordBatch> {
    let mut chosen: Vec<i64> = (0..keys / REACTORS)
        .filter(|key| key / RUN % TENTHS == tenth)
        .map(|key| (key * REACTORS + split) as i64)
        .collect();
    fastrand::Rng::with_seed(tenth as u64).shuffle(&mut chosen);
    batches(chosen.into_iter())
}

/// The load, then `rows` rows of the schedule: in each interval's share the batches of its tenth, over and over.
fn split(keys: usize, split: usize, (rows, share): (usize, usize), changing: Changing) -> Vec<RecordBatch> {
    let tenths = if changing == Changing::Same { 1 } else { TENTHS };
    let tenths: Vec<Vec<RecordBatch>> = (0..tenths).map(|number| tenth(keys, split, number)).collect();
    let mut all = load(keys, split);
    let intervals = rows.div_ceil(share);
    for interval in 0..intervals {
        let chosen = &tenths[interval % tenths.len()];
        all.extend(chosen.iter().cycle().take(share / BATCH).cloned());
    }
    all
}

/// Rows with their moment as event time.
fn ticks(seconds: usize) -> Vec<RecordBatch> {
    let schema = Arc::new(Schema::new(vec![Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false)]));
    let times = |second: usize| {
        let first = second * TICKS_PER_SECOND;
        (first..first + TICKS_PER_SECOND).map(|tick| (tick * 1_000_000 / TICKS_PER_SECOND) as i64)
    };
    let batch = |second| {
        let times = TimestampMicrosecondArray::from_iter_values(times(second));
        RecordBatch::try_new(schema.clone(), vec![Arc::new(times)]).expect("one column")
    };
    (0..seconds).map(batch).collect()
}

/// A database with its state loaded and in a first checkpoint.
async fn loaded(
    keys: usize,
    sources: (&Prepared, &Prepared),
    probe: &Probe,
    interval: Duration,
) -> (Database, tempfile::TempDir) {
    let registry = Registry::default().source(sources.0.clone()).source(sources.1.clone());
    let (database, directory) = open(registry, probe, REACTORS, interval).await;
    let script = "
        CREATE SOURCE rows_in (key BIGINT NOT NULL, value BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
            WATERMARK FOR ts AS ts) FROM PREPARED;
        CREATE STREAM sums AS SELECT key, TUMBLE_START(ts, INTERVAL '1 hour') AS window_start, count(*) AS n,
            sum(value) AS total FROM rows_in GROUP BY key, TUMBLE(ts, INTERVAL '1 hour') EMIT ON WINDOW CLOSE;
        CREATE SINK sums_out FROM sums INTO PROBE (format = 'json');
        CREATE SOURCE ticks_in (ts TIMESTAMP NOT NULL, WATERMARK FOR ts AS ts) FROM TICKS;
        CREATE STREAM ticks AS SELECT ts FROM ticks_in;
        CREATE SINK ticks_out FROM ticks INTO PROBE (format = 'json');";
    database.deploy(script).await.expect("the queries run");
    sources.0.load();
    let began = Instant::now();
    while sources.0.delivered() < keys as u64 {
        assert!(began.elapsed() < PATIENCE, "{} of {keys} keys", sources.0.delivered());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    database.checkpoint().await.expect("a checkpoint");
    (database, directory)
}

fn full_rate(keys: usize) -> f64 {
    const SECONDS: f64 = 6.0;
    // More than any machine takes in that time: batches are shared, so it costs nothing.
    let (rows, share) = (200_000_000, 2_000_000);
    let splits = (0..REACTORS).map(|number| split(keys, number, (rows, share), Changing::Same)).collect();
    let source = Prepared::loading("prepared", splits, (keys / REACTORS) as u64, None);
    let idle = Prepared::loading("ticks", vec![ticks(1); TICK_SPLITS], 0, None);
    runtime().block_on(async {
        let (database, _directory) = loaded(keys, (&source, &idle), &Probe::default(), INTERVAL).await;
        let (before, began) = (source.delivered(), Instant::now());
        source.open();
        tokio::time::sleep(Duration::from_secs_f64(SECONDS)).await;
        let rate = (source.delivered() - before) as f64 / began.elapsed().as_secs_f64();
        database.shutdown().await.expect("a clean end");
        rate
    })
}

fn paced(keys: usize, rate: f64, (changing, period): (Changing, Duration), interval: Duration) -> Found {
    let each = rate / REACTORS as f64;
    let share = (each * period.as_secs_f64()) as usize;
    let splits = (0..REACTORS)
        .map(|number| split(keys, number, (share * (SETTLING + CHECKPOINTS + 4), share), changing))
        .collect();
    let source = Prepared::loading("prepared", splits, (keys / REACTORS) as u64, Some(each));
    let seconds = CHECKPOINTS * period.as_secs() as usize;
    let schedule = Prepared::loading("ticks", vec![ticks(seconds); TICK_SPLITS], 0, Some(TICKS_PER_SECOND as f64));
    let probe = Probe::keeping(Keep::Records);
    runtime().block_on(async {
        let (database, _directory) = loaded(keys, (&source, &schedule), &probe, interval).await;
        source.open();
        tokio::time::sleep(period * SETTLING as u32).await;
        let status = database.status().await.expect("a status");
        let (checkpoint, before) = (status.checkpoint.newest, Counts::of(&status));
        let (hiccups, stolen, pressed) = (Hiccups::start(), stolen_seconds(), pressed_seconds());
        let began = schedule.open();
        let wall = Instant::now();
        let all = (seconds * TICKS_PER_SECOND * TICK_SPLITS) as u64;
        while probe.records() < all {
            assert!(wall.elapsed() < PATIENCE, "{} of {all} ticks", probe.records());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (hiccups, stolen) = (hiccups.end(), stolen_seconds() - stolen);
        let [memory, disk] = pressed_seconds();
        let status = database.status().await.expect("a status");
        let counts = Counts::of(&status).since(before);
        let mut latency = Lateness::new();
        for (time_ms, arrived) in probe.arrivals() {
            latency.note(time_ms * 1000, arrived - began - time_ms * 1000);
        }
        assert_eq!(latency.len(), all, "each tick arrives once");
        let state_bytes = status.pipelines.iter().map(|pipeline| pipeline.state_bytes).sum();
        database.shutdown().await.expect("a clean end");
        Found {
            ticks: latency,
            hiccups,
            stolen,
            pressed: [memory - pressed[0], disk - pressed[1]],
            state_bytes,
            checkpoints: status.checkpoint.newest - checkpoint,
            counts,
        }
    })
}
