//! Exactly-once delivery against a target with transactions whose commits fail in every way.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use laminar_storage::disk::SimMachine;

use super::durable::{counted_view, deploy, kept, output_of, rows_of};
use super::flow::{insert, options};
use super::kit::*;
use crate::connector::{Applier, ConnectorError, Frame, Readiness, SinkFactory, SinkIdentity};
use crate::engine::status::ObjectState;
use crate::engine::{Deployment, Driver, EngineError, EngineOptions, NewObject, Reply};
use crate::graph::{Delivery, ObjectSpec, SinkSpec};
use crate::ids::{CheckpointNumber, ObjectId, ShardId};

/// How a commit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Done and answered.
    Done,
    /// Refused before anything happened.
    Before,
    /// Done, and the answer is lost.
    After,
    /// Unknown: decided when the next life fences this one. The flag says how.
    Open(bool),
    /// The connector is out of order.
    Panic,
}

type Row = Vec<i64>;

#[derive(Default)]
struct State {
    committed: Vec<Row>,
    marker: Option<CheckpointNumber>,
    transactions: usize,
    /// A transaction whose end nobody knows yet.
    open: Option<(Vec<Row>, CheckpointNumber, bool)>,
    owner: u64,
    identities: Vec<String>,
    /// How the next commits end; then they succeed.
    outcomes: VecDeque<Outcome>,
    away: bool,
}

/// A target that holds rows and a marker.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<State>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = self.lock().committed.clone();
        rows.sort();
        rows
    }
}

struct LedgerFactory(Ledger);

struct LedgerApplier {
    ledger: Ledger,
    me: u64,
}

fn away() -> ConnectorError {
    ConnectorError::external("LDB-0000", "the target is away")
}

impl SinkFactory for LedgerFactory {
    fn name(&self) -> &'static str {
        "test"
    }
    fn create(&self, _: &SinkSpec, identity: SinkIdentity) -> Result<Box<dyn Applier>, ConnectorError> {
        let mut state = self.0.lock();
        if !state.identities.contains(&identity.to_string()) {
            state.identities.push(identity.to_string());
        }
        Ok(Box::new(LedgerApplier { ledger: self.0.clone(), me: 0 }))
    }
}

impl Applier for LedgerApplier {
    fn start(&mut self, known: CheckpointNumber) -> Result<Option<CheckpointNumber>, ConnectorError> {
        let mut state = self.ledger.lock();
        if state.away {
            return Err(away());
        }
        if state.marker.is_some_and(|marker| marker > known) {
            return Ok(state.marker);
        }
        state.owner += 1;
        self.me = state.owner;
        if let Some((rows, marker, true)) = state.open.take() {
            state.committed.extend(rows);
            state.marker = Some(marker);
        }
        Ok(state.marker)
    }

    fn send(&mut self, _: &Arc<Frame>) -> Result<Readiness, ConnectorError> {
        unreachable!("frames go in transactions only")
    }

    fn acknowledged(&mut self, _: Duration, _: &mut Vec<(ShardId, u64)>) -> Result<(), ConnectorError> {
        unreachable!("frames go in transactions only")
    }

    fn commit(&mut self, checkpoint: CheckpointNumber, frames: &[Arc<Frame>]) -> Result<(), ConnectorError> {
        let mut state = self.ledger.lock();
        if state.away {
            return Err(away());
        }
        assert_eq!(state.owner, self.me, "a fenced life does not write");
        assert!(state.open.is_none(), "after an unknown outcome the applier starts anew");
        assert!(!frames.is_empty(), "a checkpoint without rows needs no transaction");
        let row =
            |value: &Vec<u8>| std::str::from_utf8(value).unwrap().split(',').map(|n| n.parse().unwrap()).collect();
        let records = frames.iter().flat_map(|frame| &frame.records);
        let rows: Vec<Row> = records.map(|record| row(record.value.as_ref().unwrap())).collect();
        let outcome = state.outcomes.pop_front().unwrap_or(Outcome::Done);
        match outcome {
            Outcome::Before => return Err(away()),
            Outcome::Open(done) => {
                state.open = Some((rows, checkpoint, done));
                return Err(away());
            }
            Outcome::Panic => {
                drop(state);
                panic!("the connector is out of order");
            }
            Outcome::Done | Outcome::After => {
                state.transactions += 1;
                assert!(state.marker < Some(checkpoint), "markers rise");
                state.committed.extend(rows);
                state.marker = Some(checkpoint);
            }
        }
        if outcome == Outcome::After { Err(away()) } else { Ok(()) }
    }
}

fn open(machine: &SimMachine, reactors: u16, feeds: &Arc<Feeds>, ledger: &Ledger, seed: u64) -> Driver {
    let options = EngineOptions { shards: Some(4), ..options(reactors) };
    open_with(machine, options, feeds, ledger, seed)
}

fn open_with(machine: &SimMachine, options: EngineOptions, feeds: &Arc<Feeds>, ledger: &Ledger, seed: u64) -> Driver {
    let registry = registry(feeds).sink(LedgerFactory(ledger.clone())).encoder(NumbersFormat);
    Driver::on_disk(options, registry, Arc::new(TinyCompiler), seed, machine).unwrap().0
}

fn exact(id: u64, from: u64, of: &NewObject) -> NewObject {
    let sink = sink(id, from, output_of(of));
    let ObjectSpec::Sink(spec) = sink.spec else { unreachable!("a sink") };
    object(ObjectSpec::Sink(SinkSpec { delivery: Delivery::ExactlyOnce, ..spec }))
}

/// Kills and power cuts at random moments, commits that fail before, after and with unknown outcome, a
/// target that is away, on random core counts: every result reaches the target exactly once.
#[test]
fn every_result_arrives_exactly_once_whatever_fails_whenever() {
    let mut hit = [0; 5];
    for seed in 0..16 {
        let mut random = fastrand::Rng::with_seed(3000 + seed);
        let (feeds, ledger) = (Feeds::new(2), Ledger::default());
        let mut machine = SimMachine::new(seed);
        let mut expected = Counts::default();
        // Every other one works at the edge of what its sink may keep.
        let outbox_bytes = if seed % 2 == 0 { 512 } else { 1 << 20 };
        let small = |reactors| EngineOptions { shards: Some(4), outbox_bytes, ..options(reactors) };
        let mut driver = open_with(&machine, small(2), &feeds, &ledger, seed);
        let view = counted_view(2, 1);
        let sink = exact(3, 2, &view);
        deploy(&mut driver, vec![source(1, Some("test"), SECOND), view, sink]);
        for step in 0..40 {
            expected.push(&feeds, &mut random, step * SECOND / 2, SECOND / 2);
            ledger.lock().away = random.u8(0..4) == 0;
            if random.bool() {
                let outcomes =
                    [Outcome::Before, Outcome::After, Outcome::Open(true), Outcome::Open(false), Outcome::Panic];
                let chosen = random.usize(0..outcomes.len());
                ledger.lock().outcomes.push_back(outcomes[chosen]);
                hit[chosen] += 1;
            }
            if random.bool() {
                driver.handle().checkpoint(Reply::ignored());
            }
            for _ in 0..random.usize(0..60) {
                driver.round();
            }
            driver.advance(random.u64(0..400_000)).unwrap();
            if random.u8(0..3) == 0 {
                driver.handle().checkpoint(Reply::ignored());
                for _ in 0..random.usize(0..60) {
                    driver.round();
                }
                drop(driver);
                machine = if random.bool() { machine.crash(random.u64(..)) } else { machine.kill(random.u64(..)) };
                let reactors = [1, 2, 4][random.usize(0..3)];
                driver = open_with(&machine, small(reactors), &feeds, &ledger, random.u64(..));
            }
        }
        ledger.lock().away = false;
        feeds.end();
        driver.advance(30_000_000).unwrap();
        let expected = expected.rows();
        assert_eq!(ledger.rows(), expected, "seed {seed}");
        assert_eq!(ledger.lock().identities.len(), 1, "the writer's name stays over restarts");
    }
    assert!(hit.iter().all(|hits| *hits > 20), "every outcome was tried: {hit:?}");
}

#[test]
fn rows_leave_with_a_published_checkpoint_and_not_before() {
    let (feeds, ledger) = (Feeds::new(0), Ledger::default());
    let machine = SimMachine::new(5);
    let slow = EngineOptions { shards: Some(4), checkpoint_interval: Duration::from_secs(3600), ..options(2) };
    let mut driver = open_with(&machine, slow, &feeds, &ledger, 1);
    let sink = exact(3, 2, &kept(2, 1));
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), sink]);
    driver.advance(1_000_000).unwrap();
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1), (2, 2, 2)]), reply)).unwrap();
    driver.advance(10_000_000).unwrap();
    assert_eq!(ledger.rows(), Vec::<Row>::new(), "no checkpoint, no rows");
    let number = driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    driver.advance(1_000).unwrap();
    assert_eq!(ledger.rows(), [vec![1, 1, 1], vec![2, 2, 2]]);
    assert_eq!(ledger.lock().marker, Some(number), "the marker is the checkpoint's number");
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    driver.advance(1_000).unwrap();
    assert_eq!(ledger.lock().transactions, 1, "a checkpoint without rows makes no transaction");
}

#[test]
fn an_orderly_end_brings_the_last_checkpoint_to_the_target_and_does_not_wait_for_ever() {
    let (feeds, ledger) = (Feeds::new(0), Ledger::default());
    let machine = SimMachine::new(15);
    let slow = || EngineOptions { shards: Some(4), checkpoint_interval: Duration::from_secs(3600), ..options(2) };
    let mut driver = open_with(&machine, slow(), &feeds, &ledger, 1);
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), exact(3, 2, &kept(2, 1))]);
    driver.advance(1_000_000).unwrap();
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1)]), reply)).unwrap();
    driver.wait(|handle, reply| handle.shutdown(reply)).unwrap();
    assert_eq!(ledger.rows(), [vec![1, 1, 1]], "they are there when it has ended");
    drop(driver);
    let machine = machine.crash(1);
    let mut driver = open_with(&machine, slow(), &feeds, &ledger, 2);
    driver.advance(1_000_000).unwrap();
    driver.wait(|handle, reply| handle.insert(insert(1, &[(2, 2, 2)]), reply)).unwrap();
    ledger.lock().away = true;
    driver.wait(|handle, reply| handle.shutdown(reply)).unwrap();
    assert!(driver.now().micros < 10_000_000, "a target that is away delays the end by seconds");
    drop(driver);
    ledger.lock().away = false;
    let mut driver = open_with(&machine.crash(2), slow(), &feeds, &ledger, 3);
    driver.advance(30_000_000).unwrap();
    assert_eq!(ledger.rows(), [vec![1, 1, 1], vec![2, 2, 2]], "and the next start sends them, once");
}

/// Rows and time flow on while the engine waits for a target at its end.
#[test]
fn no_checkpoint_follows_the_last_one() {
    let (feeds, ledger) = (Feeds::new(1), Ledger::default());
    let machine = SimMachine::new(16);
    let quick = || EngineOptions { shards: Some(4), checkpoint_interval: Duration::from_millis(30), ..options(2) };
    let mut driver = open_with(&machine, quick(), &feeds, &ledger, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1), exact(3, 2, &kept(2, 1))]);
    driver.advance(1_000_000).unwrap();
    // A commit that fails lets the end wait a while.
    ledger.lock().outcomes.extend([Outcome::Before, Outcome::Before, Outcome::Before]);
    feeds.push(0, &[(1, 1, 1)]);
    driver.handle().shutdown(Reply::ignored());
    for i in 2..40 {
        driver.advance(20_000).unwrap();
        feeds.push(0, &[(i, i, i)]);
    }
    driver.advance(10_000_000).unwrap();
    drop(driver);
    ledger.lock().outcomes.clear();
    let mut driver = open_with(&machine.crash(1), quick(), &feeds, &ledger, 2);
    driver.advance(10_000_000).unwrap();
    assert_eq!(ledger.rows(), (1..40).map(|i| vec![i, i, i]).collect::<Vec<_>>());
}

#[test]
fn a_sink_over_rows_that_exist_writes_them_once_also_after_a_restart() {
    let (feeds, ledger) = (Feeds::new(0), Ledger::default());
    let machine = SimMachine::new(6);
    let mut driver = open(&machine, 2, &feeds, &ledger, 1);
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1)]);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1), (2, 2, 2)]), reply)).unwrap();
    deploy(&mut driver, vec![exact(3, 2, &kept(2, 1))]);
    driver.advance(2_000_000).unwrap();
    assert_eq!(ledger.rows(), [vec![1, 1, 1], vec![2, 2, 2]]);
    drop(driver);
    let mut driver = open(&machine.crash(1), 4, &feeds, &ledger, 2);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(3, 3, 3)]), reply)).unwrap();
    driver.advance(2_000_000).unwrap();
    assert_eq!(ledger.rows(), [vec![1, 1, 1], vec![2, 2, 2], vec![3, 3, 3]]);
}

/// A copy of a directory with a source (1), a view (2) and a sink (3), whose original has gone on for one checkpoint,
/// and what the target holds.
fn behind(seed: u64, ledger: &Ledger) -> (SimMachine, Vec<Row>) {
    let machine = SimMachine::new(seed);
    let mut driver = open(&machine, 2, &Feeds::new(0), ledger, 1);
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), exact(3, 2, &kept(2, 1))]);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(1, 1, 1)]), reply)).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    driver.advance(1_000_000).unwrap();
    let copy = machine.kill(1);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(2, 2, 2)]), reply)).unwrap();
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    driver.advance(1_000_000).unwrap();
    let rows = ledger.rows();
    assert_eq!(rows, [vec![1, 1, 1], vec![2, 2, 2]]);
    (copy, rows)
}

fn is_fenced_as_older(driver: &mut Driver) {
    let state = state_of(driver, 3);
    assert!(matches!(&state, ObjectState::Failed(why) if why.contains("older copy")), "{state:?}");
}

#[test]
fn a_directory_older_than_its_target_stops_the_sink_for_good_and_sends_nothing() {
    let (feeds, ledger) = (Feeds::new(0), Ledger::default());
    let (copy, before) = behind(7, &ledger);
    let owner = ledger.lock().owner;
    let mut driver = open(&copy, 2, &feeds, &ledger, 2);
    driver.wait(|handle, reply| handle.insert(insert(1, &[(3, 3, 3)]), reply)).unwrap();
    driver.advance(30_000_000).unwrap();
    assert_eq!(ledger.rows(), before, "nothing is sent to a target that is ahead");
    is_fenced_as_older(&mut driver);
    assert_eq!(rows_of(&mut driver, 2), [vec![1, 1, 1], vec![3, 3, 3]], "what it reads goes on");
    drop(driver);
    let mut driver = open(&copy.crash(3), 1, &feeds, &ledger, 3);
    driver.advance(30_000_000).unwrap();
    assert!(matches!(state_of(&mut driver, 3), ObjectState::Failed(_)), "also after the next start");
    assert_eq!(ledger.rows(), before);
    assert_eq!(ledger.lock().owner, owner, "the life that it was copied from goes on");
}

#[test]
fn a_directory_older_than_its_target_finds_out_whatever_it_publishes_before_it_reaches_the_target() {
    let ledger = Ledger::default();
    let (copy, before) = behind(8, &ledger);
    let owner = ledger.lock().owner;
    ledger.lock().away = true;
    let mut driver = open(&copy, 2, &Feeds::new(0), &ledger, 2);
    let reached = ledger.lock().marker.unwrap();
    let mut published = CheckpointNumber(0);
    for row in 3..40 {
        driver.wait(|handle, reply| handle.insert(insert(1, &[(row, row, row)]), reply)).unwrap();
        published = driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    }
    assert!(published > reached, "{published} is beyond the marker {reached}");
    ledger.lock().away = false;
    driver.advance(30_000_000).unwrap();
    assert_eq!(ledger.rows(), before, "nothing is sent to a target that is ahead");
    is_fenced_as_older(&mut driver);
    assert_eq!(ledger.lock().owner, owner, "the life that it was copied from goes on");
}

#[test]
fn more_rows_than_a_stage_may_keep_call_for_a_checkpoint_and_all_pass() {
    let (feeds, ledger) = (Feeds::new(1), Ledger::default());
    let machine = SimMachine::new(8);
    let small = EngineOptions {
        shards: Some(4),
        checkpoint_interval: Duration::from_secs(3600),
        outbox_bytes: 4096,
        ..options(2)
    };
    let mut driver = open_with(&machine, small, &feeds, &ledger, 1);
    deploy(&mut driver, vec![source(1, Some("test"), 0), kept(2, 1), exact(3, 2, &kept(2, 1))]);
    let rows: Vec<(i64, i64, i64)> = (0..5000).map(|i| (i, i, i)).collect();
    for piece in rows.chunks(50) {
        feeds.push(0, piece);
        driver.advance(50_000).unwrap();
    }
    let wanted: Vec<Row> = rows.iter().map(|row| vec![row.0, row.1, row.2]).collect();
    driver.advance(5_000_000).unwrap();
    let arrived = ledger.rows();
    assert!(arrived.len() > 4000, "checkpoints come by themselves: {} of 5000", arrived.len());
    driver.wait(|handle, reply| handle.checkpoint(reply)).unwrap();
    driver.advance(1_000_000).unwrap();
    assert_eq!(ledger.rows(), wanted);
}

#[test]
fn an_engine_without_a_data_directory_refuses_exactly_once() {
    let registry = registry(&Feeds::new(0)).sink(LedgerFactory(Ledger::default())).encoder(NumbersFormat);
    let mut driver = Driver::new(options(1), registry, Arc::new(TinyCompiler), 1);
    let add = vec![source(1, None, 0), kept(2, 1), exact(3, 2, &kept(2, 1))];
    let refused = driver.wait(|handle, reply| handle.deploy(Deployment { add, drop: vec![] }, reply));
    assert!(
        matches!(&refused, Err(EngineError::Refused { reason, .. }) if reason.contains("data directory")),
        "{refused:?}"
    );
    assert_eq!(refused.unwrap_err().code(), "LDB-3004");
}

#[test]
fn a_dropped_sink_is_followed_by_one_with_another_name_at_the_target() {
    let (feeds, ledger) = (Feeds::new(0), Ledger::default());
    let machine = SimMachine::new(9);
    let mut driver = open(&machine, 1, &feeds, &ledger, 1);
    deploy(&mut driver, vec![source(1, None, 0), kept(2, 1), exact(3, 2, &kept(2, 1))]);
    driver.advance(1_000_000).unwrap();
    let again = Deployment { add: vec![exact(4, 2, &kept(2, 1))], drop: vec![ObjectId(3)] };
    driver.wait(|handle, reply| handle.deploy(again, reply)).unwrap();
    driver.advance(1_000_000).unwrap();
    let identities = ledger.lock().identities.clone();
    assert_eq!(identities.len(), 2, "{identities:?}");
    assert!(identities[0].ends_with("-3") && identities[1].ends_with("-4"), "{identities:?}");
}
