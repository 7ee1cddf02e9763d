//! The records of a page file as bytes: header, root, arena table. All integers little endian.
//!
//! Invariant: decoding accepts exactly what encoding makes; lengths are checked before anything is allocated.

use crate::arena::SEGMENT_BYTES;
use crate::ids::{ObjectId, ShardId};

/// The unit of space: one disk page, so that no write touches a neighbour's sector.
pub(super) const UNIT_BYTES: u64 = 4096;
/// A slot holds one segment, or is cut up for deltas, tables and roots.
pub(super) const SLOT_BYTES: u64 = SEGMENT_BYTES as u64;

const FILE_MAGIC: &[u8; 8] = b"LDBPAGES";
/// Version of the file's format.
pub(super) const FILE_VERSION: u32 = 2;
const ROOT_KIND: u32 = 0x544f_4f52;
const TABLE_KIND: u32 = 0x4c42_5441;
const HEADER_BYTES: usize = 24;
const ROW_BYTES: usize = 24;
/// Segments and deltas of an arena, so that its table lies in one slot.
pub(super) const TABLE_ROWS: usize = (SEGMENT_BYTES - HEADER_BYTES) / ROW_BYTES;

/// Where a segment of an arena lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SegmentRow {
    /// Byte offset of its slot; 0: the segment is zeros.
    pub(super) offset: u64,
    /// The image that wrote the slot. Deltas apply if they are younger.
    pub(super) generation: u64,
    pub(super) crc: u32,
}

/// Where a delta of an arena lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeltaRow {
    pub(super) offset: u64,
    pub(super) generation: u64,
    pub(super) len: u32,
    /// Of its head, which has those of the blocks.
    pub(super) crc: u32,
}

/// Where an arena's table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArenaRow {
    pub(super) id: ObjectId,
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) crc: u32,
}

pub(super) fn encode_header(shard: ShardId) -> Vec<u8> {
    let mut bytes = vec![0; UNIT_BYTES as usize];
    bytes[..8].copy_from_slice(FILE_MAGIC);
    bytes[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
    bytes[12..14].copy_from_slice(&shard.0.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..28]);
    bytes[28..32].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The header's (version, shard), or what is wrong.
pub(super) fn decode_header(bytes: &[u8]) -> Result<(u32, ShardId), &'static str> {
    if bytes.len() < 32 || &bytes[..8] != FILE_MAGIC {
        return Err("no page file begins here");
    }
    if crc32c::crc32c(&bytes[..28]) != word(bytes, 28) {
        return Err("the header's checksum does not match");
    }
    Ok((word(bytes, 8), ShardId(word(bytes, 12) as u16)))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

fn row(out: &mut Vec<u8>, a: u64, b: u64, c: u32, d: u32) {
    out.extend_from_slice(&a.to_le_bytes());
    out.extend_from_slice(&b.to_le_bytes());
    out.extend_from_slice(&c.to_le_bytes());
    out.extend_from_slice(&d.to_le_bytes());
}

pub(super) fn encode_root(shard: ShardId, generation: u64, arenas: &[ArenaRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + arenas.len() * ROW_BYTES);
    out.extend_from_slice(&ROOT_KIND.to_le_bytes());
    out.extend_from_slice(&u32::from(shard.0).to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&(arenas.len() as u64).to_le_bytes());
    for arena in arenas {
        row(&mut out, arena.id.0, arena.offset, arena.len, arena.crc);
    }
    out
}

pub(super) fn decode_root(bytes: &[u8], shard: ShardId, generation: u64) -> Option<Vec<ArenaRow>> {
    if bytes.len() < HEADER_BYTES || word(bytes, 0) != ROOT_KIND || word(bytes, 4) != u32::from(shard.0) {
        return None;
    }
    let rows = bytes[HEADER_BYTES..].chunks_exact(ROW_BYTES);
    if long(bytes, 8) != generation || !rows.remainder().is_empty() || long(bytes, 16) != rows.len() as u64 {
        return None;
    }
    Some(
        rows.map(|row| ArenaRow {
            id: ObjectId(long(row, 0)),
            offset: long(row, 8),
            len: word(row, 16),
            crc: word(row, 20),
        })
        .collect(),
    )
}

pub(super) fn encode_table(id: ObjectId, segments: &[SegmentRow], deltas: &[DeltaRow]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + (segments.len() + deltas.len()) * ROW_BYTES);
    out.extend_from_slice(&TABLE_KIND.to_le_bytes());
    out.extend_from_slice(&(segments.len() as u32).to_le_bytes());
    out.extend_from_slice(&id.0.to_le_bytes());
    out.extend_from_slice(&(deltas.len() as u64).to_le_bytes());
    for segment in segments {
        row(&mut out, segment.offset, segment.generation, segment.crc, 0);
    }
    for delta in deltas {
        row(&mut out, delta.offset, delta.generation, delta.len, delta.crc);
    }
    out
}

pub(super) fn decode_table(bytes: &[u8], id: ObjectId) -> Option<(Vec<SegmentRow>, Vec<DeltaRow>)> {
    if bytes.len() < HEADER_BYTES || word(bytes, 0) != TABLE_KIND || long(bytes, 8) != id.0 {
        return None;
    }
    let (segments, deltas) = (word(bytes, 4) as usize, long(bytes, 16));
    let rows = bytes[HEADER_BYTES..].chunks_exact(ROW_BYTES);
    let fits = (segments as u64).checked_add(deltas) == Some(rows.len() as u64);
    if !fits || !rows.remainder().is_empty() {
        return None;
    }
    let first = rows.clone().take(segments).map(|row| SegmentRow {
        offset: long(row, 0),
        generation: long(row, 8),
        crc: word(row, 16),
    });
    let second = rows.skip(segments).map(|row| DeltaRow {
        offset: long(row, 0),
        generation: long(row, 8),
        len: word(row, 16),
        crc: word(row, 20),
    });
    Some((first.collect(), second.collect()))
}
