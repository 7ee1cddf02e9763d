use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema};

use super::kit::*;
use crate::aggregate::{AggregateFunction, AggregateSpec};
use crate::data::{ChangeMode, StreamSchema};
use crate::engine::{Backend, Deployment, Driver, EngineError, EngineOptions, Insert, OnConflict, Snapshot, start};
use crate::graph::{EmitMode, OperatorSpec, PipelineKind, WindowKind, WindowSpec};
use crate::ids::ObjectId;

pub fn options(reactors: u16) -> EngineOptions {
    EngineOptions { reactors, batch_rows: 7, ..EngineOptions::default() }
}

fn driver(reactors: u16, feeds: &Arc<Feeds>, seed: u64) -> Driver {
    Driver::new(options(reactors), registry(feeds), Arc::new(TinyCompiler), seed)
}

fn deploy(driver: &mut Driver, add: Vec<crate::engine::NewObject>) {
    driver.wait(|handle, reply| handle.deploy(Deployment { add, drop: vec![] }, reply)).unwrap();
}

fn follow(driver: &mut Driver, object: u64) -> Collector {
    let collector = Collector::default();
    let subscriber = Box::new(collector.clone());
    driver.wait(|handle, reply| handle.subscribe(ObjectId(object), Snapshot::First, subscriber, reply)).unwrap();
    driver.settle().unwrap();
    collector
}

pub fn insert(object: u64, rows: &[(i64, i64, i64)]) -> Insert {
    Insert { object: ObjectId(object), rows: vec![batch(rows)], on_conflict: OnConflict::Error, request: None }
}

pub fn plain() -> StreamSchema {
    stream(ChangeMode::Append, None, vec![2])
}

/// source → filter → output
fn filtered(id: u64, source: u64, least: i64) -> crate::engine::NewObject {
    pipeline(
        id,
        PipelineKind::Stream,
        vec![
            node(1, read_source(source), &[], plain()),
            node(2, at_least(least), &[0], plain()),
            node(3, OperatorSpec::Output, &[1], plain()),
        ],
    )
}

fn window_schema() -> StreamSchema {
    let time = schema().field(2).data_type().clone();
    StreamSchema {
        columns: Arc::new(Schema::new(vec![
            Field::new("key", DataType::Int64, false),
            Field::new("window_start", time.clone(), false),
            Field::new("window_end", time, false),
            Field::new("n", DataType::Int64, false),
        ])),
        mode: ChangeMode::Append,
        key: Some(vec![0, 1, 2]),
        time: vec![1, 2],
    }
}

/// source → exchange by key → count per key and second
pub fn count_nodes(source: u64) -> Vec<crate::graph::NodeSpec> {
    let count = AggregateSpec {
        function: AggregateFunction::Count,
        argument: None,
        filter: None,
        order: None,
        name: "n".into(),
        returns: DataType::Int64,
    };
    vec![
        node(1, read_source(source), &[], plain()),
        node(2, OperatorSpec::Exchange { keys: vec![0] }, &[0], plain()),
        node(
            3,
            OperatorSpec::Aggregate {
                keys: vec![0],
                window: Some(WindowSpec { kind: WindowKind::Tumble { size: SECOND, offset: 0 }, time: 2 }),
                aggregates: vec![count],
                emit: EmitMode::OnWindowClose,
                lateness: 0,
            },
            &[1],
            window_schema(),
        ),
    ]
}

/// … → output
fn counted(id: u64, source: u64) -> crate::engine::NewObject {
    let mut nodes = count_nodes(source);
    nodes.push(node(4, OperatorSpec::Output, &[2], window_schema()));
    pipeline(id, PipelineKind::Stream, nodes)
}

#[test]
fn pushed_rows_flow_through_a_filter_to_a_subscriber() {
    let mut driver = driver(1, &Feeds::new(0), 1);
    deploy(&mut driver, vec![source(1, None, 0), filtered(2, 1, 10)]);
    let collector = follow(&mut driver, 2);
    let answer =
        driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 5, 0), (2, 10, 1), (3, 11, 2)]), reply)).unwrap();
    assert_eq!((answer.rows, answer.read), (3, true));
    driver.wait(|handle, reply| handle.flush(reply)).unwrap();
    assert_eq!(collector.rows(), [(vec![2, 10, 1], 1), (vec![3, 11, 2], 1)]);
}

#[test]
fn a_push_source_that_nobody_reads_says_so() {
    let mut driver = driver(2, &Feeds::new(0), 1);
    deploy(&mut driver, vec![source(1, None, 0)]);
    let answer = driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 5, 0)]), reply)).unwrap();
    assert!(!answer.read);
    let unknown = driver.wait(|handle, reply| handle.insert(insert(9, &[(1, 5, 0)]), reply));
    assert!(matches!(unknown, Err(EngineError::NoSuchObject(ObjectId(9)))), "{unknown:?}");
}

/// Whatever the number of reactors, the order of turns and the cut of batches, windowed counts equal
/// those of the rows as a whole.
#[test]
fn windowed_counts_over_an_exchange_equal_the_recomputation() {
    for (reactors, seed) in [(1, 1), (2, 2), (2, 3), (4, 4), (3, 5)] {
        let feeds = Feeds::new(3);
        let mut driver = driver(reactors, &feeds, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        deploy(&mut driver, vec![source(1, Some("test"), 2 * SECOND), counted(2, 1)]);
        let collector = follow(&mut driver, 2);
        let mut expected = Counts::default();
        for step in 0..60 {
            expected.push(&feeds, &mut random, step * SECOND / 3, SECOND);
            for _ in 0..random.usize(0..6) {
                driver.round();
            }
            driver.advance(random.u64(0..30_000)).unwrap();
        }
        feeds.end();
        driver.settle().unwrap();
        driver.wait(|handle, reply| handle.flush(reply)).unwrap();
        let expected: Vec<(Vec<i64>, i64)> = expected.rows().into_iter().map(|row| (row, 1)).collect();
        assert_eq!(collector.rows(), expected, "{reactors} reactors, seed {seed}");
    }
}

#[test]
fn a_window_closes_when_the_only_other_split_goes_idle() {
    let feeds = Feeds::new(2);
    let mut driver = driver(2, &feeds, 7);
    deploy(&mut driver, vec![source(1, Some("test"), 0), counted(2, 1)]);
    let collector = follow(&mut driver, 2);
    feeds.push(0, &[(1, 1, 0), (1, 1, 2 * SECOND)]);
    driver.advance(5_000_000).unwrap();
    driver.wait(|handle, reply| handle.flush(reply)).unwrap();
    assert_eq!(collector.rows(), [], "the silent split still holds time back");
    driver.advance(6_000_000).unwrap();
    driver.wait(|handle, reply| handle.flush(reply)).unwrap();
    assert_eq!(collector.rows(), [(vec![1, 0, SECOND, 1], 1)]);
}

#[test]
fn a_split_that_has_ended_wakes_nobody() {
    let feeds = Feeds::new(1);
    let mut driver = driver(1, &feeds, 7);
    deploy(&mut driver, vec![source(1, Some("test"), 0), counted(2, 1)]);
    feeds.push(0, &[(1, 1, 0)]);
    driver.advance(1_000_000).unwrap();
    feeds.end();
    // It would have been idle after 10 s; the driver refuses to be woken all the time.
    driver.advance(60_000_000).unwrap();
}

#[test]
fn an_object_that_is_read_cannot_be_dropped_and_its_reader_can() {
    let mut driver = driver(2, &Feeds::new(1), 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), filtered(2, 1, 0)]);
    let drop = |ids: &[u64]| Deployment { add: vec![], drop: ids.iter().map(|id| ObjectId(*id)).collect() };
    let refused = driver.wait(|handle, reply| handle.deploy(drop(&[1]), reply));
    assert!(matches!(&refused, Err(EngineError::InUse { readers, .. }) if readers == "p2"), "{refused:?}");
    driver.wait(|handle, reply| handle.deploy(drop(&[2, 1]), reply)).unwrap();
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    assert_eq!(status.objects, []);
    driver.wait(|handle, reply| handle.flush(reply)).unwrap();
}

#[test]
fn a_deployment_that_one_reactor_cannot_build_changes_nothing() {
    let mut driver = driver(2, &Feeds::new(1), 1);
    let mut bad = filtered(2, 1, 0);
    if let crate::graph::ObjectSpec::Pipeline(p) = &mut bad.spec {
        p.nodes[1].operator = OperatorSpec::WindowAssign {
            window: WindowSpec { kind: WindowKind::Tumble { size: SECOND, offset: 0 }, time: 0 },
            lateness: 0,
        };
    }
    let deployment = Deployment { add: vec![source(1, Some("test"), 0), bad], drop: vec![] };
    driver.wait(|handle, reply| handle.deploy(deployment, reply)).unwrap_err();
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    assert_eq!(status.objects, []);
    deploy(&mut driver, vec![source(1, Some("test"), 0), filtered(2, 1, 0)]);
}

#[test]
fn threads_carry_rows_over_an_exchange_and_stop() {
    carry_rows_and_stop(Backend::Thread);
}

#[test]
fn executors_carry_rows_over_an_exchange_and_stop() {
    carry_rows_and_stop(Backend::Glommio);
}

fn carry_rows_and_stop(backend: Backend) {
    let feeds = Feeds::new(2);
    let options = EngineOptions {
        reactors: 2,
        backend,
        batch_rows: 4096,
        epoch_interval: Duration::from_millis(5),
        ..EngineOptions::default()
    };
    let handle = start(options, registry(&feeds), Arc::new(TinyCompiler)).unwrap().0;
    let deployment = Deployment { add: vec![source(1, Some("test"), 0), counted(2, 1)], drop: vec![] };
    handle.wait(|handle, reply| handle.deploy(deployment, reply)).unwrap();
    let collector = Collector::default();
    let subscriber = Box::new(collector.clone());
    handle.wait(|handle, reply| handle.subscribe(ObjectId(2), Snapshot::First, subscriber, reply)).unwrap();
    handle.wait(|handle, reply| handle.flush(reply)).unwrap();
    let rows: Vec<(i64, i64, i64)> = (0..100_000).map(|i| (i % 100, i, i * 100)).collect();
    for split in 0..2 {
        feeds.push(split, &rows);
    }
    feeds.end();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        handle.wait(|handle, reply| handle.flush(reply)).unwrap();
        let total: i64 = collector.rows().iter().map(|(row, _)| row[3]).sum();
        if total == 200_000 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "only {total} rows were counted");
    }
    handle.wait(|handle, reply| handle.shutdown(reply)).unwrap();
    assert!(matches!(handle.wait(|handle, reply| handle.flush(reply)), Err(EngineError::Stopped)));
}
