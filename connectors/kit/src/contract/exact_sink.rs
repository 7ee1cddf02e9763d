//! What every exactly-once applier promises: a checkpoint's rows and its marker in one step, and one life at a time.

use std::sync::Arc;

use laminar_core::connector::{Applier, ConnectorError, Fault, Frame};
use laminar_core::ids::CheckpointNumber;

use super::NEWEST;
use super::sink::frame;

/// Proves an applier. `make` gives a fresh one of the same identity on the same target, `read` lists
/// the bodies that the target shows to its readers, in any order.
///
/// # Panics
/// On the first broken promise, saying which.
pub fn exact_sink(make: &mut dyn FnMut() -> Box<dyn Applier>, read: &mut dyn FnMut() -> Vec<Vec<u8>>) {
    let frames: Vec<Arc<Frame>> = (0..12).map(|number| Arc::new(frame(number))).collect();
    let mut shows = |frames: &[Arc<Frame>], claim: &str| {
        let records = frames.iter().flat_map(|frame| &frame.records);
        let mut wanted: Vec<Vec<u8>> = records.filter_map(|record| record.value.clone()).collect();
        let mut found = read();
        wanted.sort_unstable();
        found.sort_unstable();
        let text =
            |bodies: &[Vec<u8>]| bodies.iter().map(|b| String::from_utf8_lossy(b).into_owned()).collect::<Vec<_>>();
        assert_eq!(text(&found), text(&wanted), "{claim}");
    };
    let mut first = make();
    assert_eq!(started(first.start(NEWEST)), None, "a target that nobody wrote has no marker");
    committed(first.commit(CheckpointNumber(7), &frames[..3]));
    committed(first.commit(CheckpointNumber(8), &frames[3..6]));
    let mut behind = make();
    let found = started(behind.start(CheckpointNumber(7)));
    assert_eq!(found, Some(CheckpointNumber(8)), "a data directory that is behind its target is told so");
    assert!(behind.commit(CheckpointNumber(9), &frames[8..]).is_err(), "and commits nothing");
    drop(behind);
    // Nor has it taken anything from the life that goes on.
    committed(first.commit(CheckpointNumber(1 << 32 | 9), &frames[6..8]));
    shows(&frames[..8], "rows are there when their commit is answered, each once");
    let mut second = make();
    assert_eq!(
        started(second.start(CheckpointNumber(1 << 32 | 9))),
        Some(CheckpointNumber(1 << 32 | 9)),
        "the next life finds the newest marker"
    );
    match first.commit(CheckpointNumber(1 << 32 | 10), &frames[8..]) {
        Err(error) => assert_eq!(error.fault, Fault::Fenced, "an older life stops for good: {error}"),
        Ok(()) => panic!("an older life commits nothing"),
    }
    drop(first);
    shows(&frames[..8], "an older life adds nothing");
    committed(second.commit(CheckpointNumber(1 << 32 | 12), &frames[8..]));
    drop(second);
    shows(&frames, "every row is there, each once");
    assert_eq!(started(make().start(NEWEST)), Some(CheckpointNumber(1 << 32 | 12)), "the newest marker stays");
    shows(&frames, "a start alone changes nothing");
}

fn started(result: Result<Option<CheckpointNumber>, ConnectorError>) -> Option<CheckpointNumber> {
    match result {
        Ok(marker) => marker,
        Err(error) => panic!("the applier starts: {error}"),
    }
}

fn committed(result: Result<(), ConnectorError>) {
    if let Err(error) = result {
        panic!("the target takes what is committed: {error}");
    }
}
