//! The bytes of a staged frame in an outbox (docs/format.md, "Staged frames").
//!
//! Layout, little endian: number of the checkpoint that the frame belongs to u64 (0 where delivery is at
//! least once), number of records u32, then each: flags u8 (1 key, 2 value, 4 timestamp),
//! key length u32 and bytes, value length u32 and bytes, timestamp i64 in milliseconds; only what
//! the flags name. Invariant: [`decode`] of [`encode`] is the same number and records.

use crate::connector::FrameRecord;
use crate::ids::CheckpointNumber;

const KEY: u8 = 1;
const VALUE: u8 = 2;
const TIMESTAMP: u8 = 4;

/// Bytes before the first record.
pub const HEAD_BYTES: usize = 12;

/// Bytes of one record.
pub fn size(record: &FrameRecord) -> usize {
    let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, |bytes| 4 + bytes.len());
    1 + part(&record.key) + part(&record.value) + record.timestamp_ms.map_or(0, |_| 8)
}

/// Writes records.
pub fn encode(checkpoint: CheckpointNumber, records: &[FrameRecord]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + records.iter().map(size).sum::<usize>());
    bytes.extend_from_slice(&checkpoint.0.to_le_bytes());
    bytes.extend_from_slice(&(records.len() as u32).to_le_bytes());
    for record in records {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        bytes.push(
            flag(record.key.is_some(), KEY)
                | flag(record.value.is_some(), VALUE)
                | flag(record.timestamp_ms.is_some(), TIMESTAMP),
        );
        for part in [&record.key, &record.value].into_iter().flatten() {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        if let Some(timestamp) = record.timestamp_ms {
            bytes.extend_from_slice(&timestamp.to_le_bytes());
        }
    }
    bytes
}

/// Reads records; none when the bytes are not what [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Option<(CheckpointNumber, Vec<FrameRecord>)> {
    let mut rest = bytes;
    let checkpoint = CheckpointNumber(u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?));
    let count = take_u32(&mut rest)? as usize;
    // A record takes at least one byte, so a wrong count cannot make a large allocation.
    let mut records = Vec::with_capacity(count.min(rest.len()));
    for _ in 0..count {
        let flags = take(&mut rest, 1)?[0];
        let key = if flags & KEY == 0 { None } else { Some(take_part(&mut rest)?) };
        let value = if flags & VALUE == 0 { None } else { Some(take_part(&mut rest)?) };
        let timestamp_ms =
            if flags & TIMESTAMP == 0 { None } else { Some(i64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?)) };
        records.push(FrameRecord { key, value, timestamp_ms });
    }
    rest.is_empty().then_some((checkpoint, records))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
}

fn take_part(rest: &mut &[u8]) -> Option<Vec<u8>> {
    let len = take_u32(rest)? as usize;
    take(rest, len).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_cut_bytes_are_refused() {
        let records = vec![
            FrameRecord { key: Some(b"k".to_vec()), value: Some(b"value".to_vec()), timestamp_ms: Some(-5) },
            FrameRecord { key: None, value: None, timestamp_ms: None },
            FrameRecord { key: Some(Vec::new()), value: None, timestamp_ms: None },
        ];
        let bytes = encode(CheckpointNumber(7), &records);
        assert_eq!(bytes.len(), HEAD_BYTES + records.iter().map(size).sum::<usize>());
        assert_eq!(decode(&bytes), Some((CheckpointNumber(7), records)));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
