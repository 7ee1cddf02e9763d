//! The byte form of manifest records (docs/format.md): little endian, counted, no padding.
//!
//! Invariant: decoding never panics, never allocates more than the input's size times a constant,
//! and accepts only what encoding writes: nothing is left over, every code is known.

use super::catalog::{Catalog, CatalogChange, CatalogEntry, ObjectKind};
use super::record::{Checkpoint, CheckpointDraft, Cursor, IslandState, OutboxMark, PageFileMark, WalMark};
use crate::ids::{CheckpointNumber, Epoch, Incarnation, IslandId, Lsn, ObjectId, OutboxPosition, ReactorId, ShardId};
use crate::wal::WalLog;

/// One record of the manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// First record of a file: which generation the file is, and how long it is at least.
    FileStart { generation: u64, file_bytes: u64 },
    /// The whole catalog.
    Catalog(Catalog),
    /// One change of it.
    CatalogChange(CatalogChange),
    /// One checkpoint.
    Checkpoint(Checkpoint),
}

/// What is wrong with a record's bytes.
pub(super) type Decoded<T> = Result<T, &'static str>;

/// Appends the byte form of a value.
trait Encode {
    fn encode(&self, out: &mut Vec<u8>);
}

/// Reads a value's byte form.
trait Decode: Sized {
    /// Fewest bytes of one value; bounds the counts that are believed.
    const MIN_BYTES: usize;
    fn decode(input: &mut &[u8]) -> Decoded<Self>;
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Encode for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
        impl Decode for $type {
            const MIN_BYTES: usize = size_of::<$type>();
            fn decode(input: &mut &[u8]) -> Decoded<Self> {
                let (bytes, rest) = input.split_first_chunk().ok_or("it ends within a number")?;
                *input = rest;
                Ok(<$type>::from_le_bytes(*bytes))
            }
        }
    )*};
}
integer!(u8, u16, u32, u64);

/// A struct is its fields, one after the other.
macro_rules! fields {
    ($($type:ident { $($field:tt: $of:ty),* })*) => {$(
        impl Encode for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }
        }
        impl Decode for $type {
            const MIN_BYTES: usize = 0 $(+ <$of as Decode>::MIN_BYTES)*;
            fn decode(input: &mut &[u8]) -> Decoded<Self> {
                Ok(Self { $($field: <$of>::decode(input)?),* })
            }
        }
    )*};
}
fields! {
    Incarnation { 0: u32 }
    ShardId { 0: u16 }
    ReactorId { 0: u16 }
    ObjectId { 0: u64 }
    IslandId { 0: u64 }
    CheckpointNumber { 0: u64 }
    Lsn { 0: u64 }
    OutboxPosition { 0: u64 }
    Epoch { incarnation: Incarnation, number: u32 }
    Cursor { split: String, position: Vec<u8> }
    PageFileMark { shard: ShardId, bytes: Vec<u8> }
    OutboxMark { sink: ObjectId, shard: ShardId, position: OutboxPosition, acknowledged: OutboxPosition }
    WalLog { incarnation: Incarnation, reactor: ReactorId }
    WalMark { log: WalLog, end: Option<Lsn>, floor: Lsn, shards: Vec<(ShardId, Lsn)> }
    IslandState {
        island: IslandId, epoch: Epoch, cursors: Vec<Cursor>, pages: Vec<PageFileMark>, outboxes: Vec<OutboxMark>
    }
    Checkpoint {
        number: CheckpointNumber, incarnation: Incarnation, catalog_version: u64,
        retained: Vec<CheckpointNumber>, draft: CheckpointDraft
    }
    CatalogEntry {
        id: ObjectId, name: String, kind: ObjectKind, sql: String, plan: String, plan_version: u32, settings: String
    }
    CatalogChange { upserts: Vec<CatalogEntry>, drops: Vec<ObjectId> }
}

/// Behind the fields stands the count of a list that is always empty (decision 0061).
impl Encode for CheckpointDraft {
    fn encode(&self, out: &mut Vec<u8>) {
        self.shard_count.encode(out);
        self.islands.encode(out);
        self.wal.encode(out);
        0_u32.encode(out);
    }
}

impl Decode for CheckpointDraft {
    const MIN_BYTES: usize = 16;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        let draft = Self { shard_count: u32::decode(input)?, islands: Vec::decode(input)?, wal: Vec::decode(input)? };
        if u32::decode(input)? != 0 {
            return Err("a list that is always empty has items");
        }
        Ok(draft)
    }
}

impl Encode for ObjectKind {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code());
    }
}

impl Decode for ObjectKind {
    const MIN_BYTES: usize = 1;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        Self::from_code(u8::decode(input)?).ok_or("an object kind is unknown")
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.encode(out);
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    const MIN_BYTES: usize = 1;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        match u8::decode(input)? {
            0 => Ok(None),
            1 => T::decode(input).map(Some),
            _ => Err("an option is neither 0 nor 1"),
        }
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
}

impl<A: Decode, B: Decode> Decode for (A, B) {
    const MIN_BYTES: usize = A::MIN_BYTES + B::MIN_BYTES;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        Ok((A::decode(input)?, B::decode(input)?))
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        for item in self {
            item.encode(out);
        }
    }
}

impl<T: Decode> Decode for Vec<T> {
    const MIN_BYTES: usize = 4;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        let count = u32::decode(input)? as usize;
        if count > input.len() / T::MIN_BYTES.max(1) {
            return Err("a count exceeds the record");
        }
        (0..count).map(|_| T::decode(input)).collect()
    }
}

impl Encode for String {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl Decode for String {
    const MIN_BYTES: usize = 4;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        Self::from_utf8(Vec::decode(input)?).map_err(|_| "a text is not UTF-8")
    }
}

impl Encode for Catalog {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.next_id.encode(out);
        (self.entries.len() as u32).encode(out);
        for entry in self.entries.values() {
            entry.encode(out);
        }
    }
}

impl Decode for Catalog {
    const MIN_BYTES: usize = 20;
    fn decode(input: &mut &[u8]) -> Decoded<Self> {
        let (version, next_id) = (u64::decode(input)?, u64::decode(input)?);
        let entries: Vec<CatalogEntry> = Vec::decode(input)?;
        let count = entries.len();
        let entries: std::collections::BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.id, entry)).collect();
        if entries.len() != count {
            return Err("an object id occurs twice");
        }
        Ok(Self { version, next_id, entries })
    }
}

impl Record {
    /// The record's byte form: a code, then its fields.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::FileStart { generation, file_bytes } => {
                out.push(1);
                generation.encode(out);
                file_bytes.encode(out);
            }
            Self::Catalog(catalog) => {
                out.push(2);
                catalog.encode(out);
            }
            Self::CatalogChange(change) => {
                out.push(3);
                change.encode(out);
            }
            Self::Checkpoint(checkpoint) => {
                out.push(4);
                checkpoint.encode(out);
            }
        }
    }

    /// Reads a record from its whole byte form.
    pub(super) fn decode(mut input: &[u8]) -> Decoded<Self> {
        let input = &mut input;
        let record = match u8::decode(input)? {
            1 => Self::FileStart { generation: u64::decode(input)?, file_bytes: u64::decode(input)? },
            2 => Self::Catalog(Catalog::decode(input)?),
            3 => Self::CatalogChange(CatalogChange::decode(input)?),
            4 => Self::Checkpoint(Checkpoint::decode(input)?),
            _ => return Err("its code is unknown"),
        };
        if input.is_empty() { Ok(record) } else { Err("bytes are left over") }
    }
}
