//! One file of the simulated machine: what readers see, what is durable, and every version between.
//!
//! Invariant: `history` holds, per 512-byte sector, the versions written since the last sync, oldest
//! first; a sector without history is the same in `seen` and `durable`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::crash::Kept;
use super::image::Image;
use super::random::Random;

/// The unit that a device writes whole or not at all.
pub(super) const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct SimFile {
    seen: Image,
    durable: Image,
    history: BTreeMap<usize, Vec<[u8; SECTOR]>>,
    lengths: Vec<usize>,
    /// After a failed sync the kernel forgets which pages were dirty: later syncs report success
    /// and write nothing.
    sync_broken: bool,
}

impl SimFile {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.seen.to_bytes()
    }

    pub(super) fn read_at(&self, offset: u64, into: &mut [u8]) -> usize {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.seen.len());
        let count = into.len().min(self.seen.len() - start);
        self.seen.read(start, &mut into[..count]);
        count
    }

    pub(super) fn write(&mut self, offset: usize, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = offset + data.len();
        self.grow(end);
        self.seen.write(offset, data);
        self.remember(offset / SECTOR, (end - 1) / SECTOR);
    }

    /// Writes only some of the sectors, as a failed or interrupted write does.
    pub(super) fn write_some(&mut self, offset: usize, data: &[u8], random: &mut Random) {
        let end = offset + data.len();
        let mut at = offset;
        while at < end {
            let next = ((at / SECTOR + 1) * SECTOR).min(end);
            if random.coin() {
                self.write(at, &data[at - offset..next - offset]);
            }
            at = next;
        }
    }

    /// Writes only a beginning, as a short write does.
    pub(super) fn write_front(&mut self, offset: usize, data: &[u8], random: &mut Random) {
        self.write(offset, &data[..random.below(data.len())]);
    }

    pub(super) fn grow(&mut self, len: usize) {
        if len > self.seen.len() {
            self.set_len(len);
        }
    }

    pub(super) fn set_len(&mut self, len: usize) {
        let old = self.seen.len();
        if len == old {
            return;
        }
        self.seen.resize(len);
        self.lengths.push(len);
        if len < old && !len.is_multiple_of(SECTOR) {
            self.remember(len / SECTOR, len / SECTOR);
        }
        if len < old {
            // What was cut away reads as zero when the file grows again, whatever was there before.
            // Where nothing was ever written there is nothing to cut away.
            for sector in len.div_ceil(SECTOR)..old.div_ceil(SECTOR) {
                let blank = self.durable.is_blank(sector * SECTOR) && !self.history.contains_key(&sector);
                if !blank {
                    self.history.entry(sector).or_default().push([0; SECTOR]);
                }
            }
        }
    }

    fn remember(&mut self, first: usize, last: usize) {
        for sector in first..=last {
            let mut version = [0; SECTOR];
            let start = (sector * SECTOR).min(self.seen.len());
            let end = (start + SECTOR).min(self.seen.len());
            self.seen.read(start, &mut version[..end - start]);
            self.history.entry(sector).or_default().push(version);
        }
    }

    pub(super) fn sync(&mut self) {
        if self.sync_broken {
            return;
        }
        self.durable.resize(self.seen.len());
        for sector in self.history.keys() {
            self.durable.share_chunk(&self.seen, sector * SECTOR);
        }
        self.history.clear();
        self.lengths.clear();
    }

    /// Makes durable what the sectors of a range hold, and how long the file is.
    pub(super) fn sync_sectors(&mut self, offset: usize, len: usize) {
        if self.sync_broken {
            return;
        }
        self.durable.resize(self.seen.len());
        self.lengths.clear();
        let sectors = offset / SECTOR..(offset + len).div_ceil(SECTOR);
        for sector in sectors.clone() {
            self.history.remove(&sector);
        }
        let mut content = [0; SECTOR];
        for sector in sectors {
            let chunk = Image::chunk_of(sector * SECTOR);
            if self.history.range(chunk.start / SECTOR..chunk.end / SECTOR).next().is_none() {
                self.durable.share_chunk(&self.seen, sector * SECTOR);
                continue;
            }
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.seen.len());
            self.seen.read(start, &mut content[..end - start]);
            self.durable.write(start, &content[..end - start]);
        }
    }

    pub(super) fn break_sync(&mut self) {
        self.sync_broken = true;
    }

    /// What the device holds after the power came back: per sector any version since the last sync. Of a torn
    /// write some sectors hold what was there before.
    pub(super) fn after_power_cut(&self, kept: Kept, torn: Option<Range<usize>>, random: &mut Random) -> Self {
        let lengths = self.lengths.len();
        let pick = match kept {
            Kept::Nothing => 0,
            Kept::All | Kept::Torn => lengths,
            Kept::Some => random.below(lengths + 1),
        };
        let len = if pick == 0 { self.durable.len() } else { self.lengths[pick - 1] };
        let mut content = self.durable.clone();
        content.resize(len.max(content.len()));
        let habit = random.below(4);
        for (sector, versions) in &self.history {
            let is_torn = torn.as_ref().is_some_and(|torn| torn.contains(sector));
            let choice = match (kept, habit) {
                (Kept::Nothing, _) | (Kept::Some, 0) => 0,
                (Kept::Torn, _) if is_torn && random.coin() => versions.len() - 1,
                (Kept::All | Kept::Torn, _) | (Kept::Some, 1) => versions.len(),
                (Kept::Some, _) => random.below(versions.len() + 1),
            };
            let start = sector * SECTOR;
            if choice == 0 || start >= content.len() {
                continue;
            }
            let end = (start + SECTOR).min(content.len());
            content.write(start, &versions[choice - 1][..end - start]);
        }
        content.resize(len);
        Self { seen: content.clone(), durable: content, ..Self::default() }
    }

    /// Changes a part durably; a range beyond the end is left out.
    pub(super) fn patch(&mut self, offset: usize, data: &[u8]) {
        for image in [&mut self.seen, &mut self.durable] {
            let start = offset.min(image.len());
            let end = (offset + data.len()).min(image.len());
            image.write(start, &data[..end - start]);
        }
    }

    /// Cuts the file durably.
    pub(super) fn cut(&mut self, len: usize) {
        for image in [&mut self.seen, &mut self.durable] {
            image.resize(len.min(image.len()));
        }
    }

    /// A file whose content is durable.
    pub(super) fn settled(content: &[u8]) -> Self {
        let content = Image::from_bytes(content);
        Self { seen: content.clone(), durable: content, ..Self::default() }
    }
}
