//! What the next checkpoint writes though it did not change, so that space, heads and deltas stay bounded.
//!
//! Changed blocks go to deltas and stay there: nothing is written again only because it stands in a delta. The slot of a
//! segment and a delta are the same here: extents with living blocks and dead ones. Where dead blocks take too much space, the
//! emptiest extents hand their living blocks on; where deltas have too many pages or are too many, segments are written whole.
//!
//! Invariants: in the long run an arena takes at most twice its image plus [`SLACK_BLOCKS`], deltas have [`PAGE_ROWS`] rows a page
//! of the arena on average (1/32 of its bytes, which a restart reads) and are at most [`DELTAS`]; and what a checkpoint writes
//! for this is bounded by what changed (`Allowance`). Decision 0064.

use super::delta::DELTA_BYTES;
use super::image::{ArenaState, LiveDelta, SEGMENT_BLOCKS, SEGMENT_PAGES};
use super::slot::units;
use crate::arena::{Arena, BLOCK_BYTES, FoldRequest};

/// Dead blocks that an arena may have beyond the number of its living ones.
const SLACK_BLOCKS: u64 = (1 << 20) / BLOCK_BYTES as u64;
/// Rows in the heads of deltas for each page of the arena, on average.
const PAGE_ROWS: usize = 8;
/// Deltas of an arena: each is a read at restart and a row in the table.
const DELTAS: usize = 4096;
/// Deltas with less than half of what they could hold: so many, and one more for each [`ROW_BLOCKS`] that change from checkpoint
/// to checkpoint, so that the table costs little beside the blocks.
const SMALL_DELTAS: usize = 64;
const ROW_BLOCKS: u64 = 4;
const DELTA_BLOCKS: u32 = (DELTA_BYTES / BLOCK_BYTES) as u32;
/// Blocks that may be handed on even if little changed.
const LEAST_BLOCKS: u64 = (4 << 20) / BLOCK_BYTES as u64;
/// Pages of which blocks are handed on, so that it is noted in one turn.
const MOST_PAGES: usize = 16_384;

/// Tells the arena what its next image should contain besides the changes.
pub(super) fn plan(state: &ArenaState, arena: &mut Arena) {
    let changed = arena.pages.blocks.frozen_blocks();
    let segments = whole(state, changed);
    let mut moves = Moves { state, allowance: changed + LEAST_BLOCKS, blocks: Vec::new() };
    moves.for_space();
    moves.of_small_deltas(changed);
    let blocks = moves.blocks;
    arena.pages.blocks.request_fold(FoldRequest { blocks, segments });
}

/// Segments to write whole: heads have too many rows, or there are too many deltas.
fn whole(state: &ArenaState, changed: u64) -> Vec<u32> {
    let rows: usize = state.rows.iter().map(super::rows::Rows::len).sum();
    let mut rows_left = rows.saturating_sub(PAGE_ROWS * SEGMENT_PAGES as usize * state.segments.len());
    let mut blocks_left = state.deltas.len().saturating_sub(DELTAS) as u64 * u64::from(DELTA_BLOCKS);
    if rows_left == 0 && blocks_left == 0 {
        return Vec::new();
    }
    // The bound on rows is worth several times the changes: a restart reads them all.
    let most = 1 + 4 * (changed + LEAST_BLOCKS) / u64::from(SEGMENT_BLOCKS);
    let mut order: Vec<u32> = (0..state.segments.len() as u32).collect();
    match rows_left {
        0 => order.sort_by_key(|segment| std::cmp::Reverse(state.delta_blocks[*segment as usize])),
        _ => order.sort_by_key(|segment| std::cmp::Reverse(state.rows[*segment as usize].len())),
    }
    let mut chosen = Vec::new();
    for segment in order.into_iter().take(most as usize) {
        if rows_left == 0 && blocks_left == 0 {
            break;
        }
        rows_left = rows_left.saturating_sub(state.rows[segment as usize].len());
        blocks_left = blocks_left.saturating_sub(u64::from(state.delta_blocks[segment as usize]));
        chosen.push(segment);
    }
    chosen
}

/// Space with living and dead blocks.
struct Extent {
    used: u64,
    live: u64,
    what: What,
}

enum What {
    Delta(u64),
    Slot(usize),
}

/// Blocks to be handed on.
struct Moves<'a> {
    state: &'a ArenaState,
    /// Blocks that may still be chosen.
    allowance: u64,
    blocks: Vec<(u32, u64)>,
}

impl Moves<'_> {
    /// The emptiest extents, until what is left is not too much.
    fn for_space(&mut self) {
        let mut extents = self.extents();
        let (used, live) = extents.iter().fold((0, 0), |all, one| (all.0 + one.used, all.1 + one.live));
        let mut excess = used.saturating_sub(2 * live + SLACK_BLOCKS);
        if excess == 0 {
            return;
        }
        extents.sort_unstable_by_key(|extent| (extent.live << 16) / extent.used);
        for extent in extents {
            if excess == 0 || !self.take(extent.live) {
                return;
            }
            excess = excess.saturating_sub(extent.used - extent.live);
            match extent.what {
                What::Delta(number) => self.delta(number),
                What::Slot(segment) => self.slot(segment),
            }
        }
    }

    /// Half of the small deltas become one when there are too many.
    fn of_small_deltas(&mut self, changed: u64) {
        let small = |delta: &LiveDelta| delta.live * 2 < DELTA_BLOCKS;
        let mut deltas: Vec<(u32, u64)> = self
            .state
            .deltas
            .iter()
            .filter(|(_, delta)| small(delta))
            .map(|(number, delta)| (delta.live, *number))
            .collect();
        if (deltas.len() as u64) < SMALL_DELTAS as u64 + changed / ROW_BLOCKS {
            return;
        }
        deltas.sort_unstable();
        deltas.truncate(deltas.len() / 2);
        for (live, number) in deltas {
            if !self.take(u64::from(live)) {
                return;
            }
            self.delta(number);
        }
    }

    fn extents(&self) -> Vec<Extent> {
        let deltas = self.state.deltas.iter().map(|(number, delta)| Extent {
            used: units(delta.row.len as usize) / BLOCK_BYTES as u64,
            live: u64::from(delta.live),
            what: What::Delta(*number),
        });
        let slots = self.state.segments.iter().zip(&self.state.delta_blocks).enumerate();
        let slots = slots.filter(|(_, (row, _))| row.offset != 0).map(|(segment, (_, blocks))| Extent {
            used: u64::from(SEGMENT_BLOCKS),
            live: u64::from(SEGMENT_BLOCKS - blocks),
            what: What::Slot(segment),
        });
        deltas.chain(slots).collect()
    }

    fn take(&mut self, blocks: u64) -> bool {
        let may = self.allowance >= blocks && self.blocks.len() < MOST_PAGES;
        self.allowance -= if may { blocks } else { 0 };
        may
    }

    /// The living blocks of a delta.
    fn delta(&mut self, number: u64) {
        let Some(delta) = self.state.deltas.get(&number) else { return };
        let pages = delta.pages.iter().map(|page| (*page, self.state.living(*page, number)));
        self.blocks.extend(pages.filter(|(_, mask)| *mask != 0));
    }

    /// The blocks of a segment that stand in its slot alone.
    fn slot(&mut self, segment: usize) {
        let first = segment as u32 * SEGMENT_PAGES;
        let mut masks = vec![u64::MAX; SEGMENT_PAGES as usize];
        for row in self.state.rows[segment].iter() {
            masks[row.page() as usize] &= !row.mask;
        }
        let pages = (first..).zip(masks);
        self.blocks.extend(pages.filter(|(_, mask)| *mask != 0));
    }
}
