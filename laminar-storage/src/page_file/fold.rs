//! When deltas are folded back: which blocks and segments the next checkpoint rewrites though they did not change.
//!
//! A segment with more than a quarter of its blocks in deltas is written whole (the arena decides that at the barrier).
//! Here: deltas that are mostly dead hand their living blocks on, so that their space comes back.
//! Invariant: after a checkpoint with its fold, deltas take at most twice their living blocks plus a constant.

use super::image::ArenaState;
use crate::arena::{Arena, BLOCK_BYTES};
use std::collections::BTreeSet;

/// Living delta blocks of an arena above this are folded into segments, whatever the share.
const DELTA_LIMIT_BLOCKS: u64 = (1 << 30) / BLOCK_BYTES as u64;
/// More deltas than this are merged, the emptiest first: each costs a read at restart and a row in the table.
const DELTA_COUNT: usize = 64;
/// Deltas merged at once, so that a checkpoint never writes much more than what changed.
const MERGE_BLOCKS: u32 = (4 << 20) / BLOCK_BYTES as u32;
const SEGMENT_BLOCKS: u32 = (crate::arena::SEGMENT_BYTES / BLOCK_BYTES) as u32;

/// Tells the arena what its next image should contain besides the changes.
pub(super) fn plan(state: &ArenaState, arena: &mut Arena) {
    let mut total: u64 = state.delta_blocks.iter().map(|blocks| u64::from(*blocks)).sum();
    let mut by_weight: Vec<usize> = (0..state.delta_blocks.len()).collect();
    if total > DELTA_LIMIT_BLOCKS {
        by_weight.sort_by_key(|segment| std::cmp::Reverse(state.delta_blocks[*segment]));
    }
    for segment in by_weight {
        let blocks = state.delta_blocks[segment];
        let fold = total > DELTA_LIMIT_BLOCKS && blocks > 0;
        total -= if fold { u64::from(blocks) } else { 0 };
        arena.pages.blocks.set_delta_blocks(segment, if fold { SEGMENT_BLOCKS } else { blocks });
    }
    let victims = victims(state);
    let mut blocks = Vec::new();
    if !victims.is_empty() {
        for (page, rows) in &state.pages {
            let mask = rows.iter().filter(|row| victims.contains(&row.0)).fold(0, |mask, row| mask | row.1);
            if mask != 0 {
                blocks.push((*page, mask));
            }
        }
    }
    arena.pages.blocks.request_fold(blocks);
}

fn victims(state: &ArenaState) -> BTreeSet<u64> {
    let surplus = state.deltas.len().saturating_sub(DELTA_COUNT);
    let mut rows: Vec<_> = state.deltas.iter().map(|(number, delta)| (delta.live, delta.blocks, *number)).collect();
    rows.sort_unstable();
    let mut moved = 0;
    let mut victims = BTreeSet::new();
    for (at, (live, blocks, number)) in rows.into_iter().enumerate() {
        let merged = at < 2 * surplus && live < MERGE_BLOCKS / 16;
        if (live * 2 < blocks || merged) && moved + live <= MERGE_BLOCKS {
            moved += live;
            victims.insert(number);
        }
    }
    victims
}
