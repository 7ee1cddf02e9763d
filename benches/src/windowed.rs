//! The workload of the windowed benchmarks: count and sum by key in tumbling windows, in a whole database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use laminar_core::connector::Registry;
use laminar_db::{Database, DatabaseOptions};
use laminar_formats::JsonEncoderFactory;

use crate::harness::cpu_seconds;
use crate::pacing::runtime;
use crate::prepared::{Prepared, Probe};

const BATCH_ROWS: usize = 8_192;

const PATIENCE: Duration = Duration::from_secs(300);

/// Shape of the rows.
#[derive(Clone, Copy)]
pub struct Workload {
    /// Rows in all splits together.
    pub rows: usize,
    /// Splits of the source.
    pub splits: usize,
    /// Different keys.
    pub keys: i64,
    /// Rows in a second of event time, in all splits together.
    pub rows_per_second: usize,
    /// Window size in microseconds.
    pub window_us: i64,
    /// How far the watermark stays behind the newest row, in microseconds.
    pub delay_us: i64,
}

impl Workload {
    /// The rows' schema.
    pub fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("key", DataType::Int64, false),
            Field::new("value", DataType::Int64, false),
            Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), false),
        ]))
    }

    /// Seeded batches per split; event time is in order within a split.
    pub fn batches(&self) -> Vec<Vec<RecordBatch>> {
        (0..self.splits).map(|split| self.split(split)).collect()
    }

    fn split(&self, split: usize) -> Vec<RecordBatch> {
        let mut rng = fastrand::Rng::with_seed(7 + split as u64);
        let rows = self.rows / self.splits;
        let step = 1e6 * self.splits as f64 / self.rows_per_second as f64;
        (0..rows)
            .step_by(BATCH_ROWS)
            .map(|first| {
                let range = first..(first + BATCH_ROWS).min(rows);
                let keys: Int64Array = range.clone().map(|_| rng.i64(0..self.keys)).collect();
                let values: Int64Array = range.clone().map(|_| rng.i64(0..1_000)).collect();
                let times: TimestampMicrosecondArray = range.map(|row| Some((row as f64 * step) as i64)).collect();
                RecordBatch::try_new(Self::schema(), vec![Arc::new(keys), Arc::new(values), Arc::new(times)])
                    .expect("columns of one length")
            })
            .collect()
    }

    /// A database that runs the query with checkpoints each second, its source's gate closed.
    pub async fn deploy(&self, source: &Prepared, probe: &Probe, reactors: usize) -> (Database, tempfile::TempDir) {
        self.deploy_with(source, probe, reactors, (Duration::from_secs(1), "at_least_once")).await
    }

    /// The same with another interval of checkpoints and another delivery.
    pub async fn deploy_with(
        &self,
        source: &Prepared,
        probe: &Probe,
        reactors: usize,
        (interval, delivery): (Duration, &str),
    ) -> (Database, tempfile::TempDir) {
        let registry = Registry::default().source(source.clone());
        let (database, directory) = open(registry, probe, reactors, interval).await;
        let window = format!("INTERVAL '{} microseconds'", self.window_us);
        let delay = format!("INTERVAL '{} microseconds'", self.delay_us);
        let script = format!(
            "CREATE SOURCE rows_in (key BIGINT NOT NULL, value BIGINT NOT NULL, ts TIMESTAMP NOT NULL,
                 WATERMARK FOR ts AS ts - {delay}) FROM PREPARED;
             CREATE STREAM sums AS SELECT key, TUMBLE_START(ts, {window}) AS window_start, window_time AS closed,
                 count(*) AS n, sum(value) AS total
                 FROM rows_in GROUP BY key, TUMBLE(ts, {window}) EMIT ON WINDOW CLOSE;
             CREATE SINK sums_out FROM sums INTO PROBE (format = 'json', delivery = '{delivery}');"
        );
        database.deploy(&script).await.expect("the query runs");
        (database, directory)
    }

    /// From the first row to the last of `groups` results at the sink.
    pub fn stream(&self, source: &Prepared, groups: u64, reactors: usize, interval: Duration, delivery: &str) -> Took {
        let probe = Probe::default();
        runtime().block_on(async {
            let (database, _directory) = self.deploy_with(source, &probe, reactors, (interval, delivery)).await;
            let (cpu, wall) = (cpu_seconds(), Instant::now());
            source.open();
            while probe.records() < groups {
                assert!(wall.elapsed() < PATIENCE, "{} of {groups} results", probe.records());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let took = Took { cpu: cpu_seconds() - cpu, wall: wall.elapsed().as_secs_f64() };
            database.shutdown().await.expect("a clean end");
            assert_eq!(probe.records(), groups, "each group leaves once");
            took
        })
    }
}

/// What one run took, in seconds.
pub struct Took {
    /// User + system time of the process.
    pub cpu: f64,
    /// Wall time.
    pub wall: f64,
}

/// An empty database of four shards whose sinks write to the probe.
pub async fn open(
    registry: Registry,
    probe: &Probe,
    reactors: usize,
    interval: Duration,
) -> (Database, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let options = DatabaseOptions {
        reactors: Some(reactors),
        shard_count: Some(4),
        checkpoint_interval: interval,
        ..DatabaseOptions::in_directory(directory.path())
    };
    let registry = registry.sink(probe.clone()).encoder(JsonEncoderFactory);
    (Database::open(options, registry).await.expect("a database"), directory)
}
