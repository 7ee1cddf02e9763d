//! Every way in which the bytes of a file are made wrong.

use std::path::Path;

use crate::disk::SimMachine;

/// What happened to a file.
#[derive(Debug)]
pub(super) enum Damage {
    /// Bytes at offsets were changed.
    Patch(Vec<(usize, Vec<u8>)>),
    /// The file was cut to a length.
    Cut(usize),
    /// The file holds something else.
    Replaced(Vec<u8>),
}

impl Damage {
    /// Whether it makes a difference to a file with this content.
    pub(super) fn changes(&self, content: &[u8]) -> bool {
        match self {
            Self::Patch(patches) => patches.iter().any(|(at, bytes)| content[*at..*at + bytes.len()] != bytes[..]),
            Self::Cut(len) => *len < content.len(),
            Self::Replaced(other) => other != content,
        }
    }

    pub(super) fn apply(&self, machine: &SimMachine, path: &Path) {
        let found = match self {
            Self::Patch(patches) => patches.iter().all(|(at, bytes)| machine.patch(path, *at as u64, bytes)),
            Self::Cut(len) => machine.cut(path, *len as u64),
            Self::Replaced(other) => machine.overwrite(path, other.clone()),
        };
        assert!(found, "{} is not there", path.display());
    }
}

/// Which damages a file gets.
#[derive(Default)]
pub(super) struct Plan {
    /// Bytes that get bits flipped, and all of them.
    pub(super) bytes: Vec<usize>,
    /// How many bits of each; which ones changes from byte to byte.
    pub(super) bits: usize,
    /// Lengths to which the file is cut.
    pub(super) cuts: Vec<usize>,
    /// Bytes of the pieces that are zeroed, swapped, repeated and replaced.
    pub(super) unit: usize,
    /// Offsets of these pieces.
    pub(super) units: Vec<usize>,
    /// Pieces of other files, or of earlier versions of this one.
    pub(super) others: Vec<Vec<u8>>,
    /// Whole other files.
    pub(super) strangers: Vec<Vec<u8>>,
    /// How many times some hundred bytes anywhere become noise.
    pub(super) noises: usize,
}

impl Plan {
    /// Everything for a small file: each bit, each length, each sector.
    pub(super) fn whole(content: &[u8], noises: usize) -> Self {
        Self {
            bytes: (0..content.len()).collect(),
            bits: 8,
            cuts: (0..content.len()).collect(),
            unit: 512,
            units: (0..content.len() / 512).map(|sector| sector * 512).collect(),
            noises,
            ..Self::default()
        }
    }

    /// Calls `try_one` with every damage.
    pub(super) fn each(&self, content: &[u8], mut try_one: impl FnMut(Damage)) {
        let patch = |at: usize, bytes: &[u8]| Damage::Patch(vec![(at, bytes.to_vec())]);
        for at in &self.bytes {
            for bit in 0..self.bits {
                try_one(patch(*at, &[content[*at] ^ (1 << ((at + bit) % 8))]));
            }
            try_one(patch(*at, &[!content[*at]]));
        }
        self.cuts.iter().for_each(|len| try_one(Damage::Cut(*len)));
        let piece = |at: usize| content[at..at + self.unit].to_vec();
        for (index, at) in self.units.iter().enumerate() {
            try_one(patch(*at, &vec![0; self.unit]));
            try_one(patch(*at, &vec![0xFF; self.unit]));
            for other in &self.units[index + 1..] {
                try_one(Damage::Patch(vec![(*at, piece(*other)), (*other, piece(*at))]));
            }
            for other in self.units.iter().filter(|other| *other != at) {
                try_one(patch(*at, &piece(*other)));
            }
            self.others.iter().for_each(|other| try_one(patch(*at, other)));
        }
        self.strangers.iter().for_each(|other| try_one(Damage::Replaced(other.clone())));
        let mut random = fastrand::Rng::with_seed(content.len() as u64);
        for _ in 0..self.noises {
            let at = random.usize(..content.len());
            let len = random.usize(1..700).min(content.len() - at);
            try_one(patch(at, &(0..len).map(|_| random.u8(..)).collect::<Vec<_>>()));
        }
    }
}
