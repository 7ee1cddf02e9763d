//! Which delta holds which blocks of one segment.
//!
//! Invariant: rows are in the order of their pages, those of a page in the order of their deltas; the masks of a page
//! are disjoint, and none is empty.

/// Deltas are counted below, pages of a segment above.
const DELTA_BITS: u32 = 48;

/// One page of a segment in one delta; by page, then by delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u64);

impl Place {
    pub(super) fn new(page: u32, delta: u64) -> Self {
        Self(u64::from(page) << DELTA_BITS | delta)
    }

    pub(super) fn page(self) -> u32 {
        (self.0 >> DELTA_BITS) as u32
    }

    pub(super) fn delta(self) -> u64 {
        self.0 & ((1 << DELTA_BITS) - 1)
    }
}

/// Living blocks of one page in one delta.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) place: Place,
    pub(super) mask: u64,
}

impl Row {
    pub(super) fn new(page: u32, delta: u64, mask: u64) -> Self {
        Self { place: Place::new(page, delta), mask }
    }
}

/// See the file's invariant.
#[derive(Default)]
pub(super) struct Rows(Vec<Row>);

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row> {
        self.0.iter()
    }

    /// Living blocks of a page in a delta.
    pub(super) fn living(&self, place: Place) -> u64 {
        let from = self.0.partition_point(|row| row.place < place);
        first_of(&self.0[from..], place)
    }

    /// The same of many, which are in order, in one pass.
    pub(super) fn living_in_order<'a>(
        &'a self,
        places: impl Iterator<Item = Place> + 'a,
    ) -> impl Iterator<Item = u64> + 'a {
        let mut rest = &self.0[..];
        places.map(move |place| {
            rest = &rest[rest.iter().take_while(|row| row.place < place).count()..];
            first_of(rest, place)
        })
    }

    /// Adds rows of deltas that are younger than all rows here, in any order. A block stays in the youngest; `dead`
    /// hears which deltas lose how many.
    ///
    /// One pass over the segment: an insertion for each page would move the rows behind it each time.
    pub(super) fn add(&mut self, younger: &mut [Row], mut dead: impl FnMut(u64, u32)) {
        younger.sort_by_key(|row| row.place);
        let mut out = Vec::with_capacity(self.0.len() + younger.len());
        let mut rest = &self.0[..];
        for younger in younger.chunk_by(|one, next| one.place.page() == next.place.page()) {
            let page = younger[0].place.page();
            let (before, from) = rest.split_at(rest.partition_point(|row| row.place.page() < page));
            let (older, after) = from.split_at(from.iter().take_while(|row| row.place.page() == page).count());
            out.extend_from_slice(before);
            let start = out.len();
            let mut hidden = 0;
            for row in younger.iter().rev().chain(older.iter().rev()) {
                let lost = row.mask & hidden;
                if lost != 0 {
                    dead(row.place.delta(), lost.count_ones());
                }
                let mask = row.mask & !hidden;
                if mask != 0 {
                    out.push(Row { mask, ..*row });
                }
                hidden |= mask;
            }
            out[start..].reverse();
            rest = after;
        }
        out.extend_from_slice(rest);
        self.0 = out;
    }
}

/// Living blocks of a place that these rows begin with, if they do.
fn first_of(rows: &[Row], place: Place) -> u64 {
    rows.iter().take_while(|row| row.place == place).fold(0, |all, row| all | row.mask)
}

#[cfg(test)]
mod tests {
    use super::super::extent::Extents;
    use super::super::image::{ArenaState, SEGMENT_BLOCKS, SEGMENT_PAGES};
    use super::super::layout::{DeltaRow, SLOT_BYTES, SegmentRow};
    use std::collections::BTreeMap;

    const SEGMENTS: u32 = 3;

    type Delta = (DeltaRow, Vec<(u32, u64)>);

    /// One block after the other: the delta in which it stands.
    #[derive(Default)]
    struct Model {
        blocks: BTreeMap<(u32, u32), u64>,
        has_slot: [bool; SEGMENTS as usize],
    }

    impl Model {
        fn add_delta(&mut self, number: u64, pages: &[(u32, u64)]) {
            for (page, mask) in pages {
                for block in (0..64).filter(|block| mask >> block & 1 == 1) {
                    self.blocks.insert((*page, block), number);
                }
                let segment = page / SEGMENT_PAGES;
                self.has_slot[segment as usize] &= self.of_segment(segment).count() < SEGMENT_BLOCKS as usize;
            }
        }

        fn of_segment(&self, segment: u32) -> impl Iterator<Item = (&(u32, u32), &u64)> {
            self.blocks.range((segment * SEGMENT_PAGES, 0)..((segment + 1) * SEGMENT_PAGES, 0))
        }

        fn set_segment(&mut self, segment: u32) {
            self.blocks.retain(|(page, _), _| page / SEGMENT_PAGES != segment);
            self.has_slot[segment as usize] = true;
        }

        /// Page, delta and mask.
        fn rows(&self) -> BTreeMap<(u32, u64), u64> {
            let mut rows = BTreeMap::new();
            for ((page, block), delta) in &self.blocks {
                *rows.entry((*page, *delta)).or_insert(0) |= 1 << block;
            }
            rows
        }
    }

    fn fresh(extents: &mut Extents, deltas: &[Delta]) -> (ArenaState, Model) {
        let (mut state, mut model) = (ArenaState::default(), Model::default());
        extents.space.grow(64);
        state.grow(SEGMENTS as usize);
        for segment in 0..2 {
            let offset = u64::from(segment + 1) * SLOT_BYTES;
            assert!(extents.name(offset, SLOT_BYTES));
            state.set_segment(segment as usize, SegmentRow { offset, generation: 1, crc: 0 }, extents);
            model.set_segment(segment);
        }
        for (row, _) in deltas {
            assert!(extents.name(row.offset, 4096));
        }
        (state, model)
    }

    /// Pages all over or in a few places, masks of all kinds, of none and of all blocks.
    fn delta(random: &mut fastrand::Rng, at: u64) -> Delta {
        let pages = SEGMENTS * SEGMENT_PAGES;
        let first = random.u32(..pages);
        let last = if random.bool() { pages } else { (first + random.u32(1..40)).min(pages) };
        let step = random.u32(1..300);
        let all = random.u32(..8) == 0;
        let mut pages: Vec<u32> = if all { (0..SEGMENT_PAGES).collect() } else { Vec::new() };
        let mut page = first;
        while !all && page < last {
            pages.push(page);
            page += random.u32(1..=step);
        }
        let half = if random.bool() { u64::from(u32::MAX) } else { !u64::from(u32::MAX) };
        let mask = |random: &mut fastrand::Rng| match random.u32(..5) {
            _ if all => half,
            0 => 0,
            1 => u64::MAX,
            2 => 1 << random.u32(..64),
            _ => random.u64(..) & random.u64(..),
        };
        let row = DeltaRow { offset: 10 * SLOT_BYTES + at * 4096, generation: 2, len: 4096, crc: 0 };
        (row, pages.into_iter().map(|page| (page, mask(random))).collect())
    }

    #[track_caller]
    fn same(state: &ArenaState, model: &Model, deltas: &[Delta], extents: &mut Extents) {
        let rows = model.rows();
        for segment in 0..SEGMENTS {
            let first = segment * SEGMENT_PAGES;
            let found = state.rows[segment as usize]
                .iter()
                .map(|row| ((first + row.place.page(), row.place.delta()), row.mask));
            let expected = rows.range((first, 0)..(first + SEGMENT_PAGES, 0)).map(|(place, mask)| (*place, *mask));
            assert!(found.eq(expected), "segment {segment}");
            assert_eq!(state.delta_blocks[segment as usize] as usize, model.of_segment(segment).count());
            assert_eq!(state.segments[segment as usize].offset != 0, model.has_slot[segment as usize]);
        }
        for (number, (row, pages)) in (0..).zip(deltas) {
            let masks = rows.iter().filter(|((_, delta), _)| *delta == number).map(|(_, mask)| mask);
            let live = masks.map(|mask| mask.count_ones()).sum::<u32>();
            let found = state.deltas.get(&number);
            assert_eq!(found.map_or(0, |delta| delta.live), live, "delta {number}");
            assert_eq!(found.is_some(), live != 0, "delta {number}");
            if let Some(found) = found {
                assert!(found.row == *row && found.pages.iter().eq(pages.iter().map(|(page, _)| page)));
            }
            for (page, _) in pages {
                let living = rows.get(&(*page, number)).copied().unwrap_or(0);
                assert_eq!(state.living(*page, number), living, "page {page} in delta {number}");
            }
        }
        // Whoever has living blocks is named, and nobody else.
        extents.settle();
        let slots = model.has_slot.iter().filter(|has| **has).count() as u64 * SLOT_BYTES;
        let before = extents.space.free_bytes();
        let used = state.deltas.len() as u64 * 4096 + slots;
        let mut empty = Extents::default();
        empty.space.grow(64);
        assert_eq!(before + used, empty.space.free_bytes());
    }

    #[test]
    fn deltas_one_by_one_and_all_at_once_are_what_single_blocks_come_to() {
        let mut given_up = 0;
        for seed in 0..10 {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = random.u64(1..40);
            let deltas: Vec<Delta> = (0..count).map(|at| delta(&mut random, at)).collect();
            let (mut of_one, mut of_all) = (Extents::default(), Extents::default());
            let ((mut one, mut model), (mut all, _)) = (fresh(&mut of_one, &deltas), fresh(&mut of_all, &deltas));
            assert_eq!(all.add_deltas(&deltas, &mut of_all), 0);
            for (number, (row, pages)) in (0..).zip(&deltas) {
                assert_eq!(one.add_delta(*row, pages, &mut of_one), number);
                model.add_delta(number, pages);
            }
            same(&one, &model, &deltas, &mut of_one);
            same(&all, &model, &deltas, &mut of_all);
            given_up += model.has_slot[..2].iter().filter(|has| !**has).count();
            // What is loaded can be gone on with.
            let segment = random.u32(..SEGMENTS);
            let (row, pages) = delta(&mut random, count);
            for (state, extents) in [(&mut one, &mut of_one), (&mut all, &mut of_all)] {
                let written = SegmentRow { offset: 5 * SLOT_BYTES, generation: 3, crc: 0 };
                assert!(extents.name(written.offset, SLOT_BYTES) && extents.name(row.offset, 4096));
                state.set_segment(segment as usize, written, extents);
                assert_eq!(state.add_delta(row, &pages, extents), count);
            }
            model.set_segment(segment);
            model.add_delta(count, &pages);
            let deltas = [deltas, vec![(row, pages)]].concat();
            same(&one, &model, &deltas, &mut of_one);
            same(&all, &model, &deltas, &mut of_all);
        }
        assert_ne!(given_up, 0, "in no seed all blocks of a segment stood in deltas");
    }
}
