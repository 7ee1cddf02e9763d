//! What the last record looked like: the bytes between its values.
//!
//! Producers write records of one shape: the same keys in the same order with the same spacing. A
//! shape keeps, for each value, the literal bytes that stood before it (`,"price":`), so that the
//! next record is matched by comparing words instead of by parsing keys. Invariant: a shape only
//! ever says where a value *may* begin; what does not match is walked by the grammar.

use crate::value::word::load;

/// Bytes of a literal that are compared as words; a longer one is not learned.
const WORDS: usize = 6;

/// What stands behind a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The value of this column.
    Column(u32),
    /// A value that no column wants.
    Skip,
    /// The end of the record.
    End,
}

/// One literal and what follows it.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    words: [u64; WORDS],
    /// Keeps the bytes of the last word that belong to the literal.
    mask: u64,
    /// Index of the last word.
    last: u32,
    /// Length in bytes.
    pub len: u32,
    /// What follows.
    pub target: Target,
}

impl Gap {
    /// Learns the bytes `from..to` of a record; none when there are none or too many.
    fn new(bytes: &[u8], from: usize, to: usize, target: Target) -> Option<Self> {
        let len = to - from;
        if len == 0 || len > WORDS * 8 {
            return None;
        }
        let last = (len - 1) / 8;
        let mask = u64::MAX >> (64 - 8 * (len - last * 8));
        let mut words = [0; WORDS];
        for (index, word) in words[..=last].iter_mut().enumerate() {
            *word = load(bytes, from + index * 8);
        }
        words[last] &= mask;
        Some(Self { words, mask, last: last as u32, len: len as u32, target })
    }

    /// Whether the literal stands at `at`.
    #[inline(always)]
    pub fn stands(&self, bytes: &[u8], at: usize) -> bool {
        let last = self.last as usize;
        for index in 0..last {
            if load(bytes, at + index * 8) != self.words[index] {
                return false;
            }
        }
        load(bytes, at + last * 8) & self.mask == self.words[last]
    }
}

/// The literals of one record, in order; the last one ends it where the whole record was learned.
#[derive(Debug, Default)]
pub struct Shape {
    gaps: Vec<Gap>,
    /// Set while a record is walked whose shape cannot be kept (a key twice, a long literal).
    spoiled: bool,
}

impl Shape {
    /// The literal at a step.
    #[inline(always)]
    pub fn gap(&self, step: usize) -> Option<&Gap> {
        self.gaps.get(step)
    }

    /// Keeps the first `steps` literals and begins to learn behind them.
    pub fn relearn(&mut self, steps: usize) {
        self.gaps.truncate(steps);
        self.spoiled = false;
    }

    /// Learns the next literal: the bytes `from..to` of the record.
    #[inline]
    pub fn learn(&mut self, bytes: &[u8], from: usize, to: usize, target: Target) {
        if self.spoiled {
            return;
        }
        match Gap::new(bytes, from, to, target) {
            Some(gap) => self.gaps.push(gap),
            None => self.spoiled = true,
        }
    }

    /// Gives up on this record's shape.
    pub fn spoil(&mut self) {
        self.gaps.clear();
        self.spoiled = true;
    }
}
