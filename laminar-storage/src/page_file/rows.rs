//! Which delta holds which blocks of one segment.
//!
//! Invariant: rows are in the order of their pages, those of a page in the order of their deltas; the masks of a page
//! are disjoint, and none is empty.

/// Pages of a segment fit below, deltas are counted in the rest.
const DELTA_BITS: u32 = 48;

/// Living blocks of one page in one delta.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Page in its segment, then delta.
    place: u64,
    pub(super) mask: u64,
}

impl Row {
    pub(super) fn page(&self) -> u32 {
        (self.place >> DELTA_BITS) as u32
    }

    pub(super) fn delta(&self) -> u64 {
        self.place & ((1 << DELTA_BITS) - 1)
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

    fn of(&self, page: u32) -> std::ops::Range<usize> {
        let from = self.0.partition_point(|row| row.page() < page);
        from..from + self.0[from..].iter().take_while(|row| row.page() == page).count()
    }

    /// Living blocks of a page in a delta.
    pub(super) fn living(&self, page: u32, delta: u64) -> u64 {
        let rows = &self.0[self.of(page)];
        rows.iter().filter(|row| row.delta() == delta).fold(0, |all, row| all | row.mask)
    }

    /// The blocks of `mask` stand in delta `by` now, the youngest; `dead` hears which deltas lose how many.
    pub(super) fn replace(&mut self, page: u32, mask: u64, by: u64, mut dead: impl FnMut(u64, u32)) {
        let range = self.of(page);
        let mut kept = range.start;
        for at in range.clone() {
            let mut row = self.0[at];
            let lost = row.mask & mask;
            if lost != 0 {
                row.mask &= !mask;
                dead(row.delta(), lost.count_ones());
            }
            if row.mask != 0 {
                self.0[kept] = row;
                kept += 1;
            }
        }
        let place = u64::from(page) << DELTA_BITS | by;
        self.0.splice(kept..range.end, (mask != 0).then_some(Row { place, mask }));
    }
}
