use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use arrow::datatypes::{DataType, Field, Schema};
use laminar_storage::disk::{DiskErrorKind, SimMachine};

use super::flow::{count_nodes, insert, options, plain};
use super::kit::*;
use crate::data::{ChangeMode, StreamSchema};
use crate::engine::{
    Deployment, Driver, EngineError, EngineOptions, FatalHook, Insert, NewObject, OnConflict, ReadLevel, ReadObject,
    ReadRequest,
};
use crate::graph::{EmitMode, OperatorSpec, PipelineKind};
use crate::ids::ObjectId;

fn four_shards(reactors: u16) -> EngineOptions {
    EngineOptions { shards: Some(4), ..options(reactors) }
}

pub fn open(machine: &SimMachine, reactors: u16, feeds: &Arc<Feeds>, seed: u64) -> Driver {
    open_telling(machine, reactors, feeds, seed, None)
}

pub fn open_telling(
    machine: &SimMachine,
    reactors: u16,
    feeds: &Arc<Feeds>,
    seed: u64,
    on_fatal: Option<FatalHook>,
) -> Driver {
    let options = EngineOptions { on_fatal, ..four_shards(reactors) };
    Driver::on_disk(options, registry(feeds), Arc::new(TinyCompiler), seed, machine).unwrap().0
}

pub fn deploy(driver: &mut Driver, add: Vec<NewObject>) {
    driver.wait(|handle, reply| handle.deploy(Deployment { add, drop: vec![] }, reply)).unwrap();
}

pub fn rows_of(driver: &mut Driver, object: u64) -> Vec<Vec<i64>> {
    let epoch = driver.wait(|handle, reply| handle.flush(reply)).unwrap();
    let request = ReadRequest {
        objects: vec![ReadObject { object: ObjectId(object), columns: None }],
        level: ReadLevel::Consistent,
        after: Some(epoch),
    };
    let rows = driver.wait(|handle, reply| handle.read(request, reply)).unwrap();
    all_rows(&rows.objects[0])
}

/// source → filter → materialize (a multiset)
pub fn kept(id: u64, source: u64) -> NewObject {
    pipeline(
        id,
        PipelineKind::View,
        vec![
            node(1, read_source(source), &[], plain()),
            node(2, at_least(0), &[0], plain()),
            node(3, OperatorSpec::Materialize { retention: None }, &[1], plain()),
        ],
    )
}

/// source → output
pub fn plain_stream(id: u64, source: u64) -> NewObject {
    let nodes = vec![node(1, read_source(source), &[], plain()), node(2, OperatorSpec::Output, &[0], plain())];
    pipeline(id, PipelineKind::Stream, nodes)
}

/// source → exchange → count per key and second → materialize
pub fn counted_view(id: u64, source: u64) -> NewObject {
    let mut nodes = count_nodes(source);
    let output = nodes[2].output.clone();
    nodes.push(node(4, OperatorSpec::Materialize { retention: None }, &[2], output));
    pipeline(id, PipelineKind::View, nodes)
}

/// source → exchange → count per key → materialize: a view that changes
pub fn changing_view(id: u64, source: u64) -> NewObject {
    let mut nodes = count_nodes(source);
    let OperatorSpec::Aggregate { window, emit, .. } = &mut nodes[2].operator else { unreachable!("the third node") };
    (*window, *emit) = (None, EmitMode::Changes);
    let fields = ["key", "n"].map(|name| Field::new(name, DataType::Int64, false));
    let columns = Arc::new(Schema::new(fields.to_vec()));
    let output = StreamSchema { columns, mode: ChangeMode::Changelog, key: Some(vec![0]), time: vec![] };
    nodes[2].output = output.clone();
    nodes.push(node(4, OperatorSpec::Materialize { retention: None }, &[2], output));
    pipeline(id, PipelineKind::View, nodes)
}

/// The schema of a relation's rows.
pub fn output_of(relation: &NewObject) -> StreamSchema {
    match &relation.spec {
        crate::graph::ObjectSpec::Pipeline(p) => p.nodes.last().unwrap().output.clone(),
        crate::graph::ObjectSpec::Table(t) => t.schema.clone(),
        _ => unreachable!("only relations have rows"),
    }
}

/// relation → materialize
pub fn copy_of(id: u64, relation: u64, of: &NewObject) -> NewObject {
    let schema = output_of(of);
    let columns = (0..schema.columns.fields().len()).collect();
    pipeline(
        id,
        PipelineKind::View,
        vec![
            node(1, OperatorSpec::Relation { object: ObjectId(relation), columns }, &[], schema.clone()),
            node(2, OperatorSpec::Materialize { retention: None }, &[0], schema),
        ],
    )
}

#[test]
fn acknowledged_rows_survive_a_power_cut_and_a_change_of_the_core_count() {
    let mut machine = SimMachine::new(1);
    let mut expected = Vec::new();
    for (life, reactors) in [1, 2, 4, 3, 1].into_iter().enumerate() {
        let mut driver = open(&machine, reactors, &Feeds::new(0), life as u64 + 1);
        if life == 0 {
            deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), table(3)]);
        }
        for i in 0..5 {
            let row = (life as i64, i, i);
            driver.wait(|handle, reply| handle.insert(insert(1, &[row]), reply)).unwrap();
            expected.push(vec![row.0, row.1, row.2]);
            if i == 2 && life % 2 == 0 {
                driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
            }
        }
        let key = life as i64;
        driver.wait(|handle, reply| handle.insert(insert(3, &[(key, 7, 7)]), reply)).unwrap();
        expected.sort();
        assert_eq!(rows_of(&mut driver, 2), expected, "life {life}");
        drop(driver);
        machine = machine.crash(life as u64);
    }
    let mut driver = open(&machine, 2, &Feeds::new(0), 99);
    assert_eq!(rows_of(&mut driver, 2), expected);
    assert_eq!(rows_of(&mut driver, 3), (0..5).map(|key| vec![key, 7, 7]).collect::<Vec<_>>());
}

/// Found by the simulator (seed 10971): the last checkpoint failed, and the end was told as an orderly one.
#[test]
fn an_orderly_end_whose_last_checkpoint_fails_says_so() {
    let mut failed = 0;
    for operation in 0..12 {
        let machine = SimMachine::new(operation);
        let told = Arc::new(Mutex::new(false));
        let telling = told.clone();
        let on_fatal = move |_: &EngineError| *telling.lock().unwrap() = true;
        let mut driver = open_telling(&machine, 2, &Feeds::new(0), operation + 1, Some(Arc::new(on_fatal)));
        deploy(&mut driver, vec![source(1, None, 0), kept(2, 1)]);
        driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1)]), reply)).unwrap();
        machine.fail_at(machine.operations() + operation, DiskErrorKind::Io);
        let answer = driver.wait(|handle, reply| handle.shutdown(reply));
        assert_eq!(answer.is_err(), *told.lock().unwrap(), "operation {operation}: {answer:?}");
        failed += usize::from(answer.is_err());
    }
    assert!(failed > 1, "{failed} ends failed");
}

#[test]
fn a_second_row_with_the_same_key_is_refused_or_replaces_the_first() {
    let machine = SimMachine::new(1);
    let mut driver = open(&machine, 2, &Feeds::new(0), 1);
    deploy(&mut driver, vec![table(1)]);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 10, 0), (2, 20, 0)]), reply)).unwrap();
    let again = driver.wait(|handle, reply| handle.insert(insert(1, &[(3, 30, 0), (2, 21, 0)]), reply));
    assert!(matches!(again, Err(EngineError::DuplicateKey { .. })), "{again:?}");
    assert_eq!(rows_of(&mut driver, 1), [vec![1, 10, 0], vec![2, 20, 0]]);
    let replace = Insert { on_conflict: OnConflict::Replace, ..insert(1, &[(2, 22, 0), (2, 23, 0), (4, 40, 0)]) };
    driver.wait(|handle, reply| handle.insert(replace, reply)).unwrap();
    let keep = Insert { on_conflict: OnConflict::Keep, ..insert(1, &[(4, 41, 0), (5, 50, 0)]) };
    driver.wait(|handle, reply| handle.insert(keep, reply)).unwrap();
    let expected = [vec![1, 10, 0], vec![2, 23, 0], vec![4, 40, 0], vec![5, 50, 0]];
    assert_eq!(rows_of(&mut driver, 1), expected);
    drop(driver);
    let mut driver = open(&machine.crash(5), 1, &Feeds::new(0), 2);
    assert_eq!(rows_of(&mut driver, 1), expected);
}

#[test]
fn a_view_over_a_table_begins_with_its_rows_and_follows_its_changes() {
    let machine = SimMachine::new(3);
    let mut driver = open(&machine, 2, &Feeds::new(0), 1);
    deploy(&mut driver, vec![table(1)]);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 10, 0), (2, 20, 0)]), reply)).unwrap();
    deploy(&mut driver, vec![copy_of(2, 1, &table(1))]);
    assert_eq!(rows_of(&mut driver, 2), [vec![1, 10, 0], vec![2, 20, 0]]);
    let replace = Insert { on_conflict: OnConflict::Replace, ..insert(1, &[(2, 22, 0), (3, 30, 0)]) };
    driver.wait(|handle, reply| handle.insert(replace, reply)).unwrap();
    let expected = [vec![1, 10, 0], vec![2, 22, 0], vec![3, 30, 0]];
    assert_eq!(rows_of(&mut driver, 2), expected);
    drop(driver);
    let mut driver = open(&machine.crash(5), 4, &Feeds::new(0), 2);
    assert_eq!(rows_of(&mut driver, 1), expected);
    assert_eq!(rows_of(&mut driver, 2), expected);
}

/// Kills at random moments, on random core counts: in the end the view equals the recomputation.
#[test]
fn a_windowed_view_is_exact_after_kills_at_random_moments() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let feeds = Feeds::new(3);
        let mut machine = SimMachine::new(seed);
        let mut expected = Counts::default();
        let mut driver = open(&machine, 2, &feeds, seed);
        deploy(
            &mut driver,
            vec![source(1, Some("test"), 2 * SECOND), counted_view(2, 1), copy_of(3, 2, &counted_view(2, 1))],
        );
        for step in 0..40 {
            expected.push(&feeds, &mut random, step * SECOND / 3, SECOND);
            for _ in 0..random.usize(0..40) {
                driver.round();
            }
            if random.u8(0..4) == 0 {
                driver.handle().checkpoint(crate::engine::Reply::ignored());
            }
            driver.advance(random.u64(0..300_000)).unwrap();
            if random.u8(0..5) == 0 {
                for _ in 0..random.usize(0..30) {
                    driver.round();
                }
                drop(driver);
                machine = if random.bool() { machine.crash(random.u64(..)) } else { machine.kill(random.u64(..)) };
                driver = open(&machine, [1, 2, 4][random.usize(0..3)], &feeds, random.u64(..));
            }
        }
        feeds.end();
        driver.settle().unwrap();
        let expected = expected.rows();
        assert_eq!(rows_of(&mut driver, 2), expected, "seed {seed}");
        assert_eq!(rows_of(&mut driver, 3), expected, "the view over the view, seed {seed}");
    }
}

/// Paused and resumed at random moments, with kills in between: a paused view stands still and can be
/// read, its neighbour goes on, and in the end both equal the recomputation.
#[test]
fn a_paused_view_stands_still_over_kills_and_misses_nothing() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(2000 + seed);
        let feeds = Feeds::new(3);
        let mut machine = SimMachine::new(seed);
        let mut expected = Counts::default();
        let mut driver = open(&machine, 2, &feeds, seed);
        let above = copy_of(3, 2, &counted_view(2, 1));
        deploy(&mut driver, vec![source(1, Some("test"), 2 * SECOND), counted_view(2, 1), above, counted_view(4, 1)]);
        let mut still: Option<Vec<Vec<i64>>> = None;
        for step in 0..40 {
            expected.push(&feeds, &mut random, step * SECOND / 3, SECOND);
            for _ in 0..random.usize(0..40) {
                driver.round();
            }
            match random.u8(0..8) {
                0 | 1 => {
                    driver.wait(|handle, reply| handle.pause(ObjectId(2), reply)).unwrap();
                    let rows = rows_of(&mut driver, 2);
                    assert_eq!(*still.get_or_insert(rows.clone()), rows, "paused, seed {seed}");
                }
                2 if still.take().is_some() => {
                    driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
                }
                3 => driver.handle().checkpoint(crate::engine::Reply::ignored()),
                5 if still.is_some() => {
                    // The second pause comes before its splits are open again.
                    feeds.away.store(true, Ordering::SeqCst);
                    driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
                    driver.wait(|handle, reply| handle.pause(ObjectId(2), reply)).unwrap();
                    feeds.away.store(false, Ordering::SeqCst);
                }
                4 => {
                    drop(driver);
                    machine = if random.bool() { machine.crash(random.u64(..)) } else { machine.kill(random.u64(..)) };
                    driver = open(&machine, [1, 2, 4][random.usize(0..3)], &feeds, random.u64(..));
                }
                _ => {}
            }
            driver.advance(random.u64(0..200_000)).unwrap();
            if let Some(still) = &still {
                assert_eq!(rows_of(&mut driver, 2), *still, "stands still, seed {seed}, step {step}");
                assert_eq!(rows_of(&mut driver, 3), *still, "and what reads it, seed {seed}, step {step}");
            }
        }
        driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
        feeds.end();
        driver.settle().unwrap();
        let expected = expected.rows();
        assert_eq!(rows_of(&mut driver, 2), expected, "seed {seed}");
        assert_eq!(rows_of(&mut driver, 3), expected, "the view over the view, seed {seed}");
        assert_eq!(rows_of(&mut driver, 4), expected, "the neighbour, seed {seed}");
    }
}

/// The power goes when a CREATE has been answered and no checkpoint holds the view: what came after the CREATE
/// is read again, and nothing is read before the view is there to see it.
#[test]
fn a_view_younger_than_the_checkpoint_gets_all_that_came_after_its_create() {
    for seed in 0..20 {
        let (feeds, machine) = (Feeds::new(1), SimMachine::new(seed));
        let mut driver = open(&machine, 2, &feeds, seed);
        deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1)]);
        feeds.push(0, &[(1, 1, 1)]);
        driver.advance(10_000).unwrap();
        driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
        let (send, created) = std::sync::mpsc::channel();
        let answer = crate::engine::Reply::new(move |answer| drop(send.send(answer)));
        driver.handle().deploy(Deployment { add: vec![kept(3, 1)], drop: vec![] }, answer);
        let is_created = |_| {
            driver.round();
            created.try_recv().is_ok()
        };
        assert!((0..10_000).any(is_created));
        feeds.push(0, &[(2, 2, 2)]);
        for _ in 0..seed % 4 {
            driver.round();
        }
        drop(driver);
        let mut driver = open(&machine.crash(seed), 1 + seed as u16 % 2, &feeds, seed);
        feeds.push(0, &[(3, 3, 3)]);
        driver.advance(100_000).unwrap();
        let rows = rows_of(&mut driver, 3);
        assert!(rows.ends_with(&[vec![2, 2, 2], vec![3, 3, 3]]), "seed {seed}: {rows:?}");
    }
}

#[test]
fn a_view_that_replaces_the_only_reader_of_a_source_is_fed() {
    let feeds = Feeds::new(1);
    let mut driver = open(&SimMachine::new(9), 2, &feeds, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1)]);
    feeds.push(0, &[(1, 1, 1)]);
    driver.settle().unwrap();
    let replace = Deployment { add: vec![kept(3, 1)], drop: vec![ObjectId(2)] };
    driver.wait(|handle, reply| handle.deploy(replace, reply)).unwrap();
    feeds.push(0, &[(2, 2, 2)]);
    driver.settle().unwrap();
    assert_eq!(rows_of(&mut driver, 3), [vec![2, 2, 2]]);
}

#[test]
fn what_reads_no_connector_is_not_paused_and_the_reason_is_said() {
    let mut driver = open(&SimMachine::new(9), 1, &Feeds::new(1), 1);
    let copy = copy_of(5, 2, &kept(2, 1));
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), table(3), source(4, Some("test"), 0), copy]);
    let mut refused = |id: u64| match driver.wait(|handle, reply| handle.pause(ObjectId(id), reply)) {
        Err(EngineError::Unsupported { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused(2).contains("s1, which has no connector"));
    assert!(refused(5).contains("PAUSE the streams and views that it reads"));
    assert!(refused(3).contains("is no stream or view"));
    assert!(refused(4).contains("is no stream or view"));
    driver.wait(|handle, reply| handle.resume(ObjectId(2), reply)).unwrap();
}

pub fn open_with(
    machine: &SimMachine,
    options: EngineOptions,
    feeds: &Arc<Feeds>,
    target: &Target,
    seed: u64,
) -> Driver {
    let registry = registry(feeds).sink(TargetFactory(target.clone())).encoder(NumbersFormat);
    Driver::on_disk(options, registry, Arc::new(TinyCompiler), seed, machine).unwrap().0
}

/// Whatever is killed whenever, and although the target is away now and then: every result reaches
/// it at least once, and nothing else does.
#[test]
fn a_sink_loses_nothing_over_kills_and_a_target_that_is_away() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(1000 + seed);
        let (feeds, target) = (Feeds::new(2), Target::default());
        let mut machine = SimMachine::new(seed);
        let mut expected = Counts::default();
        // Every other one works at the edge of what its sink may keep.
        let outbox_bytes = if seed % 2 == 0 { 512 } else { 1 << 20 };
        let small = |reactors| EngineOptions { shards: Some(4), outbox_bytes, ..options(reactors) };
        let mut driver = open_with(&machine, small(2), &feeds, &target, seed);
        let view = counted_view(2, 1);
        let schema = output_of(&view);
        deploy(&mut driver, vec![source(1, Some("test"), SECOND), view, sink(3, 2, schema)]);
        for step in 0..30 {
            expected.push(&feeds, &mut random, step * SECOND / 2, SECOND / 2);
            target.silent.store(random.bool(), Ordering::SeqCst);
            if random.u8(0..3) == 0 {
                driver.handle().checkpoint(crate::engine::Reply::ignored());
            }
            driver.advance(random.u64(0..400_000)).unwrap();
            if random.u8(0..4) == 0 {
                drop(driver);
                machine = if random.bool() { machine.crash(random.u64(..)) } else { machine.kill(random.u64(..)) };
                driver = open_with(&machine, small([1, 2, 4][random.usize(0..3)]), &feeds, &target, random.u64(..));
            }
        }
        target.silent.store(false, Ordering::SeqCst);
        feeds.end();
        driver.advance(20_000_000).unwrap();
        let mut taken = target.taken.lock().unwrap().clone();
        taken.sort();
        taken.dedup();
        let expected = expected.rows();
        assert_eq!(taken, expected, "seed {seed}");
    }
}

/// More than a record of the outbox holds comes at once while the target is away.
#[test]
fn a_batch_larger_than_an_outbox_record_waits_for_the_target_over_a_power_cut() {
    let machine = SimMachine::new(4);
    let (feeds, target) = (Feeds::new(0), Target::default());
    let mut driver = open_with(&machine, four_shards(2), &feeds, &target, 1);
    let stream = plain_stream(2, 1);
    deploy(&mut driver, vec![source(1, None, 0), stream, sink(3, 2, plain())]);
    target.silent.store(true, Ordering::SeqCst);
    let rows: Vec<(i64, i64, i64)> = (0..150_000).map(|i| (i, 1_000_000 + i, i)).collect();
    driver.wait(|handle, reply| handle.insert(insert(1, &rows), reply)).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    drop(driver);
    target.silent.store(false, Ordering::SeqCst);
    let mut driver = open_with(&machine.crash(7), four_shards(1), &feeds, &target, 2);
    driver.advance(20_000_000).unwrap();
    let mut taken = target.taken.lock().unwrap().clone();
    taken.sort();
    assert_eq!(taken, rows.iter().map(|row| vec![row.0, row.1, row.2]).collect::<Vec<_>>());
}

#[test]
fn a_query_at_its_memory_limit_stops_with_the_reason_and_all_others_go_on() {
    let machine = SimMachine::new(8);
    let options = EngineOptions { shards: Some(4), state_bytes: 1 << 20, ..options(2) };
    let mut driver = Driver::on_disk(options, registry(&Feeds::new(0)), Arc::new(TinyCompiler), 8, &machine).unwrap().0;
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), copy_of(3, 2, &kept(2, 1)), table(4)]);
    let mut pushed = 0;
    let failed = loop {
        let rows: Vec<(i64, i64, i64)> = (pushed..pushed + 500).map(|i| (i, i, i)).collect();
        pushed += 500;
        driver.wait(|handle, reply| handle.insert(insert(1, &rows), reply)).unwrap();
        driver.wait(|handle, reply| handle.flush(reply)).unwrap();
        let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
        let failed: Vec<_> = status
            .objects
            .iter()
            .filter(|object| matches!(object.state, crate::engine::status::ObjectState::Failed(_)))
            .map(|object| object.id.0)
            .collect();
        if !failed.is_empty() {
            break failed;
        }
        assert!(pushed < 1_000_000, "the limit of 1 MiB was never reached");
    };
    assert_eq!(failed, [2, 3], "the query and the view over it");
    driver.wait(|handle, reply| handle.insert(insert(4, &[(1, 1, 1)]), reply)).unwrap();
    assert_eq!(rows_of(&mut driver, 4), [vec![1, 1, 1]]);
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    drop(driver);
    let mut driver = open(&machine.crash(1), 2, &Feeds::new(0), 9);
    assert_eq!(rows_of(&mut driver, 4), [vec![1, 1, 1]]);
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    let state = &status.objects.iter().find(|object| object.id.0 == 2).unwrap().state;
    assert!(
        matches!(state, crate::engine::status::ObjectState::Failed(why) if why.contains("memory limit")),
        "{state:?}"
    );
    let drop = Deployment { add: vec![], drop: vec![ObjectId(3), ObjectId(2)] };
    driver.wait(|handle, reply| handle.deploy(drop, reply)).unwrap();
}

#[test]
fn a_sink_that_cannot_run_any_more_refuses_the_start_and_what_it_sends_stays_whole() {
    let (feeds, target) = (Feeds::new(1), Target::default());
    let machine = SimMachine::new(8);
    let reopened = |machine: &SimMachine, registry| {
        Driver::on_disk(options(2), registry, Arc::new(TinyCompiler), 8, machine).map(|opened| opened.0)
    };
    let whole = || registry(&feeds).sink(TargetFactory(target.clone())).encoder(NumbersFormat);
    let mut driver = reopened(&machine, whole()).unwrap();
    deploy(&mut driver, vec![source(1, Some("test"), 0), plain_stream(2, 1), sink(3, 2, plain())]);
    feeds.push(0, &[(1, 1, 1), (2, 2, 2)]);
    driver.advance(1_000_000).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    feeds.push(0, &[(3, 3, 3)]);
    drop(driver);
    let mut machine = machine.crash(1);
    for seed in 2..4 {
        let said = reopened(&machine, registry(&feeds).encoder(NumbersFormat)).err().unwrap().to_string();
        assert!(said.contains("LDB-3020") && said.contains("nothing was changed"), "{said}");
        machine = machine.crash(seed);
    }
    let mut driver = reopened(&machine, whole()).unwrap();
    driver.advance(1_000_000).unwrap();
    assert_eq!(*target.taken.lock().unwrap(), [vec![1, 1, 1], vec![2, 2, 2], vec![3, 3, 3]]);
}

#[test]
fn a_dropped_object_is_gone_after_a_restart_and_its_name_is_free() {
    let machine = SimMachine::new(9);
    let mut driver = open(&machine, 2, &Feeds::new(0), 1);
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1)]);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1)]), reply)).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    let replace = Deployment { add: vec![kept(3, 1)], drop: vec![ObjectId(2)] };
    driver.wait(|handle, reply| handle.deploy(replace, reply)).unwrap();
    driver.wait(|handle, reply| handle.insert(insert(1, &[(2, 2, 2)]), reply)).unwrap();
    drop(driver);
    let mut driver = open(&machine.crash(2), 1, &Feeds::new(0), 2);
    assert_eq!(rows_of(&mut driver, 3), [vec![2, 2, 2]]);
    let status = driver.wait(|handle, reply| handle.status(reply)).unwrap();
    assert_eq!(status.objects.iter().map(|object| object.id.0).collect::<Vec<_>>(), [1, 3]);
}
