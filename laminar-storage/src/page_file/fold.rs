//! What the next checkpoint writes though it did not change, so that space, heads and deltas stay bounded.
//!
//! Changed blocks go to deltas and stay there: nothing is written again only because it stands in a delta. The slot of
//! a segment and a delta are the same here: extents with living blocks and dead ones. The emptiest hand their living
//! blocks on where dead ones take too much space or deltas are too many. Where heads have too many rows, or what stands
//! in deltas would be too much even if they were well filled, segments are written whole.
//!
//! Invariants: in the long run an arena takes at most twice its image plus [`SLACK_BLOCKS`], its deltas have
//! [`PAGE_ROWS`] rows a page of the arena on average (1/32 of its bytes, which a restart reads) and are about
//! [`Bounds::deltas`] at most; and what a checkpoint writes for this is bounded by what changed. No block is chosen twice.
//! Decision 0064.

use super::delta::{DELTA_BYTES, DELTA_PAGES};
use super::image::{ArenaState, LiveDelta, SEGMENT_BLOCKS, SEGMENT_PAGES};
use super::layout::TABLE_ROWS;
use super::slot::units;
use crate::arena::{Arena, BLOCK_BYTES, FoldRequest};
use std::collections::BTreeSet;

/// Dead blocks that an arena may have beyond the number of its living ones.
const SLACK_BLOCKS: u64 = (1 << 20) / BLOCK_BYTES as u64;
/// Rows in the heads of deltas for each page of the arena, on average.
const PAGE_ROWS: usize = 8;
/// Deltas with less than half of what they could hold may be [`Bounds::small_deltas`], and one more for each
/// [`ROW_BLOCKS`] that change from checkpoint to checkpoint, so that the table costs little beside the blocks.
const ROW_BLOCKS: u64 = 4;
const DELTA_BLOCKS: u32 = (DELTA_BYTES / BLOCK_BYTES) as u32;
/// Blocks that may be handed on even if little changed.
const LEAST_BLOCKS: u64 = (4 << 20) / BLOCK_BYTES as u64;
/// Pages of which blocks are handed on: it is noted in one turn. Or one for so many blocks that changed.
const MOST_PAGES: u64 = 16_384;
const CHANGED_BLOCKS_PAGE: u64 = 256;

/// How many deltas an arena may have. A test takes smaller ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Even of a small arena.
    pub(super) least_deltas: usize,
    /// Of a large one: twice what its image has, as space is bounded.
    pub(super) segment_deltas: usize,
    /// Segments and deltas that fit its table.
    pub(super) table_rows: usize,
    pub(super) small_deltas: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        let segment_deltas = 2 * (SEGMENT_BLOCKS / DELTA_BLOCKS) as usize;
        Self { least_deltas: 4096, segment_deltas, table_rows: TABLE_ROWS, small_deltas: 64 }
    }
}

impl Bounds {
    /// Deltas of an arena, in the long run. Half of the table's room stays free: one checkpoint adds no more than that,
    /// as its deltas are as long as a slot from the bound on.
    pub(super) fn deltas(&self, segments: usize) -> usize {
        let room = self.table_rows.saturating_sub(segments);
        self.least_deltas.max(self.segment_deltas * segments).min(room / 2)
    }
}

/// Tells the arena what its next image should contain besides the changes.
pub(super) fn plan(state: &ArenaState, arena: &mut Arena) {
    let changed = arena.pages.blocks.frozen_blocks();
    arena.pages.blocks.request_fold(request(state, changed));
}

/// What is wanted after an image with so many blocks that had changed.
pub(super) fn request(state: &ArenaState, changed: u64) -> FoldRequest {
    let whole = whole(state, changed);
    let mut moves = Moves {
        state,
        whole,
        taken: BTreeSet::new(),
        allowance: changed + LEAST_BLOCKS,
        pages: MOST_PAGES.max(changed / CHANGED_BLOCKS_PAGE),
        blocks: Vec::new(),
    };
    moves.for_space();
    moves.for_fewer_deltas(changed);
    FoldRequest { blocks: moves.blocks, segments: moves.whole.into_iter().collect() }
}

/// Segments to write whole: heads have too many rows, or too much stands in deltas.
fn whole(state: &ArenaState, changed: u64) -> BTreeSet<u32> {
    let rows: usize = state.rows.iter().map(super::rows::Rows::len).sum();
    let mut rows_left = rows.saturating_sub(PAGE_ROWS * SEGMENT_PAGES as usize * state.segments.len());
    let mut blocks_left = blocks_above(state);
    if rows_left == 0 && blocks_left == 0 {
        return BTreeSet::new();
    }
    // The bound on rows is worth several times the changes: a restart reads them all.
    let most = 1 + 4 * (changed + LEAST_BLOCKS) / u64::from(SEGMENT_BLOCKS);
    let mut order: Vec<u32> = (0..state.segments.len() as u32).collect();
    match rows_left {
        0 => order.sort_by_key(|segment| std::cmp::Reverse(state.delta_blocks[*segment as usize])),
        _ => order.sort_by_key(|segment| std::cmp::Reverse(state.rows[*segment as usize].len())),
    }
    let mut chosen = BTreeSet::new();
    for segment in order.into_iter().take(most as usize) {
        if rows_left == 0 && blocks_left == 0 {
            break;
        }
        rows_left = rows_left.saturating_sub(state.rows[segment as usize].len());
        blocks_left = blocks_left.saturating_sub(u64::from(state.delta_blocks[segment as usize]));
        chosen.insert(segment);
    }
    chosen
}

/// Blocks in deltas beyond what as many as there may be hold when they are as long as a slot and three quarters full:
/// to fill them more costs more than to write segments.
fn blocks_above(state: &ArenaState) -> u64 {
    if !state.has_many_deltas() {
        return 0;
    }
    let most = state.bounds.deltas(state.segments.len()) as u64 * u64::from(SEGMENT_BLOCKS / 4 * 3);
    let living: u64 = state.delta_blocks.iter().map(|blocks| u64::from(*blocks)).sum();
    living.saturating_sub(most)
}

/// What a delta's living blocks take of one that holds `room` blocks or [`DELTA_PAGES`] pages.
fn fill(delta: &LiveDelta, room: u32) -> u32 {
    let pages = delta.live.min(delta.pages.len() as u32);
    delta.live.max(pages * (room / DELTA_PAGES as u32)).min(room)
}

/// Space with living and dead blocks.
struct Extent {
    used: u64,
    live: u64,
    what: What,
}

enum What {
    Delta(u64),
    Slot(u32),
}

/// Blocks to be handed on.
struct Moves<'a> {
    state: &'a ArenaState,
    /// Segments that are written anyway.
    whole: BTreeSet<u32>,
    /// Deltas of which all living blocks are chosen.
    taken: BTreeSet<u64>,
    /// Blocks that may still be chosen.
    allowance: u64,
    /// Pages that may be chosen.
    pages: u64,
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
            let went = match extent.what {
                What::Delta(number) => self.delta(number),
                What::Slot(segment) => self.slot(segment),
            };
            excess = excess.saturating_sub(extent.used - extent.live);
            if excess == 0 || !went {
                return;
            }
        }
    }

    /// The emptiest deltas become few: until there are not too many, or half of the small ones when those are.
    fn for_fewer_deltas(&mut self, changed: u64) {
        let state = self.state;
        let bound = state.bounds.deltas(state.segments.len());
        let over = (state.deltas.len() - self.taken.len()).saturating_sub(bound);
        let room = if over > 0 { SEGMENT_BLOCKS } else { DELTA_BLOCKS };
        let left = state.deltas.iter().filter(|(number, _)| !self.taken.contains(number));
        let mut deltas: Vec<(u32, u64)> = left.map(|(number, delta)| (fill(delta, room), *number)).collect();
        let small = deltas.iter().filter(|(fill, _)| fill * 2 < DELTA_BLOCKS).count();
        let is_small_too_many = small as u64 >= state.bounds.small_deltas as u64 + changed / ROW_BLOCKS;
        let fewer = over.max(if is_small_too_many { small / 2 } else { 0 });
        let mut gain = fewer as u64 * u64::from(room);
        deltas.sort_unstable();
        for (fill, number) in deltas {
            // What is full becomes no less.
            if gain == 0 || fill == room || !self.delta(number) {
                return;
            }
            gain = gain.saturating_sub(u64::from(room - fill));
        }
    }

    fn extents(&self) -> Vec<Extent> {
        let deltas = self.state.deltas.iter().map(|(number, delta)| Extent {
            used: units(delta.row.len as usize) / BLOCK_BYTES as u64,
            live: u64::from(delta.live),
            what: What::Delta(*number),
        });
        let slots = (0..).zip(self.state.segments.iter().zip(&self.state.delta_blocks));
        let slots = slots.filter(|(_, (row, _))| row.offset != 0).map(|(segment, (_, blocks))| Extent {
            used: u64::from(SEGMENT_BLOCKS),
            live: u64::from(SEGMENT_BLOCKS - blocks),
            what: What::Slot(segment),
        });
        deltas.chain(slots).collect()
    }

    /// Chooses blocks unless they are too many; `false`: they are.
    fn choose(&mut self, blocks: Vec<(u32, u64)>) -> bool {
        let count = blocks.iter().map(|(_, mask)| u64::from(mask.count_ones())).sum();
        if self.allowance < count || self.blocks.len() as u64 >= self.pages {
            return false;
        }
        self.allowance -= count;
        self.blocks.extend(blocks);
        true
    }

    /// The living blocks of a delta.
    fn delta(&mut self, number: u64) -> bool {
        let Some(delta) = self.state.deltas.get(&number) else { return true };
        let stays = delta.pages.iter().filter(|page| !self.whole.contains(&(*page / SEGMENT_PAGES)));
        let pages = stays.map(|page| (*page, self.state.living(*page, number)));
        let blocks = pages.filter(|(_, mask)| *mask != 0).collect();
        let went = self.choose(blocks);
        if went {
            self.taken.insert(number);
        }
        went
    }

    /// The blocks of a segment that stand in its slot alone.
    fn slot(&mut self, segment: u32) -> bool {
        if self.whole.contains(&segment) {
            return true;
        }
        let first = segment * SEGMENT_PAGES;
        let mut masks = vec![u64::MAX; SEGMENT_PAGES as usize];
        for row in self.state.rows[segment as usize].iter() {
            masks[row.place.page() as usize] &= !row.mask;
        }
        self.choose((first..).zip(masks).filter(|(_, mask)| *mask != 0).collect())
    }
}
