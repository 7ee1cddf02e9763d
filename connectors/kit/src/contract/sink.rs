//! What every at-least-once applier promises: all frames arrive in order, acknowledged as a prefix.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use laminar_core::connector::{Applier, ConnectorError, Frame, FrameRecord, Readiness};
use laminar_core::ids::ShardId;

use super::NEWEST;

/// One record as found at the target: key and body.
pub type Written = (Option<Vec<u8>>, Option<Vec<u8>>);

const PATIENCE: Duration = Duration::from_secs(30);

/// Proves an applier. `make` gives a fresh one on the same target, `read` lists what the target
/// holds, in order, or nothing where the target keeps nothing.
///
/// # Panics
/// On the first broken promise, saying which.
pub fn sink(make: &mut dyn FnMut() -> Box<dyn Applier>, read: &mut dyn FnMut() -> Option<Vec<Written>>) {
    let frames: Vec<Arc<Frame>> = (0..20).map(|number| Arc::new(frame(number))).collect();
    let mut applier = make();
    started(applier.start(NEWEST));
    send_all(applier.as_mut(), &frames[..12]);
    await_acknowledged(applier.as_mut(), &frames[..12]);
    arrived(read(), &frames[..12]);
    // Sent but not awaited, then gone: the engine sends again from the first unacknowledged frame.
    send_all(applier.as_mut(), &frames[12..14]);
    drop(applier);
    let mut applier = make();
    started(applier.start(NEWEST));
    send_all(applier.as_mut(), &frames[12..]);
    await_acknowledged(applier.as_mut(), &frames[12..]);
    arrived(read(), &frames);
}

/// The frame of that number: five records, of shard 0 or 1 by turns.
pub(super) fn frame(number: u64) -> Frame {
    let shard = ShardId(u16::from(number % 2 == 1));
    let record = |row: u64| {
        let name = format!("{{\"shard\":{},\"frame\":{number},\"row\":{row}}}", shard.0);
        FrameRecord {
            key: None,
            value: Some(name.into_bytes()),
            timestamp_ms: Some(1_700_000_000_000 + i64::try_from(number).unwrap_or(0)),
        }
    };
    Frame { shard, sequence: number / 2, records: (0..5).map(record).collect() }
}

fn started(result: Result<Option<laminar_core::ids::CheckpointNumber>, ConnectorError>) {
    if let Err(error) = result {
        panic!("the applier starts: {error}");
    }
}

fn send_all(applier: &mut dyn Applier, frames: &[Arc<Frame>]) {
    let deadline = Instant::now() + PATIENCE;
    for frame in frames {
        loop {
            assert!(Instant::now() < deadline, "a busy applier takes frames again");
            match applier.send(frame) {
                Ok(Readiness::Accepted) => break,
                Ok(Readiness::Busy) => {
                    let mut progress = Vec::new();
                    if let Err(error) = applier.acknowledged(Duration::from_millis(100), &mut progress) {
                        panic!("the target takes what was sent: {error}");
                    }
                }
                Err(error) => panic!("the target takes frames: {error}"),
            }
        }
    }
}

fn await_acknowledged(applier: &mut dyn Applier, frames: &[Arc<Frame>]) {
    let mut wanted = BTreeMap::new();
    for frame in frames {
        wanted.insert(frame.shard, frame.sequence);
    }
    let mut reached: BTreeMap<ShardId, u64> = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    while reached != wanted {
        assert!(Instant::now() < deadline, "all that was sent is acknowledged; reached {reached:?} of {wanted:?}");
        let mut news = Vec::new();
        if let Err(error) = applier.acknowledged(Duration::from_millis(200), &mut news) {
            panic!("the target takes what was sent: {error}");
        }
        for (shard, sequence) in news {
            let before = reached.insert(shard, sequence);
            assert!(before.is_none_or(|before| before <= sequence), "an acknowledgement never goes back");
            assert!(wanted.get(&shard).is_some_and(|last| sequence <= *last), "only what was sent is acknowledged");
        }
    }
}

/// Every record is there; first arrivals of one shard are in order. Duplicates are allowed.
fn arrived(found: Option<Vec<Written>>, frames: &[Arc<Frame>]) {
    let Some(found) = found else { return };
    for shard in [ShardId(0), ShardId(1)] {
        let mut cursor = found.iter();
        let records = frames.iter().filter(|frame| frame.shard == shard).flat_map(|frame| &frame.records);
        for record in records {
            let there = cursor.any(|(_, value)| *value == record.value);
            assert!(there, "shard {} finds its records at the target in order: {record:?}", shard.0);
        }
    }
}
