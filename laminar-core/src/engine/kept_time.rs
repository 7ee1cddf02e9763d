//! How far time had come where rows enter a fragment, kept in its state.
//!
//! Splits begin their watermarks anew at a start, from the rows behind the checkpoint. A query that waits for room
//! reads no rows, so without this nothing could tell its time and no other input could move it: it would wait for
//! ever. Invariant: what is kept is of the barrier that freezes the state, so no row of its splits becomes late
//! that would not be late without the restart.

use crate::data::EventTime;
use crate::ids::OperatorId;
use crate::lane::Mark;
use crate::operator::OperatorError;
use crate::shard::hash_word;
use laminar_storage::arena::{Arena, TableKey, TableShape};

/// Under this id no operator keeps anything: ids are hashes of plans, or small.
const TIMES: OperatorId = OperatorId(u64::MAX);

/// Stands for a leaf that does not hold time back.
const IDLE: EventTime = EventTime::MAX;

/// Keeps the time of a leaf.
pub(super) fn keep(arena: &mut Arena, leaf: usize, mark: Mark) -> Result<(), OperatorError> {
    let table = arena.open_table(TableKey { operator: TIMES, part: 0 }, TableShape::fixed(8, 8))?;
    let (slot, _) = arena.upsert(table, hash_word(leaf as u64), &(leaf as u64).to_le_bytes())?;
    let time = if let Mark::At(time) = mark.to_keep() { time } else { IDLE };
    let bytes = time.0.to_le_bytes();
    if arena.value(table, slot) != bytes {
        arena.value_mut(table, slot).copy_from_slice(&bytes);
    }
    Ok(())
}

/// The time of a leaf as it was kept.
pub(super) fn kept(arena: &Arena, leaf: usize) -> Mark {
    let table = arena.tables(TIMES).first().map(|(_, table)| *table);
    let found = table.and_then(|table| {
        let slot = arena.get(table, hash_word(leaf as u64), &(leaf as u64).to_le_bytes())?;
        <[u8; 8]>::try_from(arena.value(table, slot)).ok()
    });
    match found.map(|bytes| EventTime(i64::from_le_bytes(bytes))) {
        None => Mark::UNKNOWN,
        Some(IDLE) => Mark::Idle,
        Some(time) => Mark::At(time),
    }
}
