//! Records that wait to be written, gathered into groups.
//!
//! Invariant: groups leave in order and without a gap in position; a group is larger than its limit only when it is
//! one record that is.

use std::collections::VecDeque;

use super::RECORD_HEADER_BYTES;
use super::SyncPolicy;
use super::frame::{HEADER_BYTES, frame_bytes, open_frame};
use super::options::LogOptions;
use crate::disk::IoBuffer;
use crate::error::{Result, StorageError};

/// What a group is gathered in.
pub(super) enum Buffer {
    /// For a write that is synced when somebody asks.
    Heap(Vec<u8>),
    /// For a write through.
    Through(IoBuffer),
}

impl Buffer {
    #[inline]
    fn len(&self) -> usize {
        match self {
            Self::Heap(bytes) => bytes.len(),
            Self::Through(buffer) => buffer.len(),
        }
    }

    #[inline]
    fn extend_from_slice(&mut self, bytes: &[u8]) {
        match self {
            Self::Heap(buffer) => buffer.extend_from_slice(bytes),
            Self::Through(buffer) => buffer.extend_from_slice(bytes),
        }
    }

    /// Adds zeros at the end, until it is so long.
    pub(super) fn pad(&mut self, len: usize) {
        match self {
            Self::Heap(buffer) => buffer.resize(len, 0),
            Self::Through(buffer) => buffer.pad(len),
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(buffer) => buffer,
            Self::Through(buffer) => buffer,
        }
    }
}

/// Records that are written together, in one frame.
pub(super) struct Group {
    /// Room for the frame's header, then the records.
    pub(super) buffer: Buffer,
    /// Position of the first record.
    pub(super) first: u64,
    /// How many records.
    pub(super) count: u32,
}

impl Group {
    pub(super) fn payload_bytes(&self) -> usize {
        self.buffer.len() - HEADER_BYTES
    }

    /// Position after the last record.
    pub(super) fn end(&self) -> u64 {
        self.first + self.payload_bytes() as u64
    }
}

pub(super) struct Groups {
    options: LogOptions,
    policy: SyncPolicy,
    /// Nothing joins these any more.
    closed: VecDeque<Group>,
    closed_bytes: usize,
    /// Position after everything in groups that are closed or gone.
    closed_end: u64,
    gathering: Option<Group>,
    /// How long the buffer that gathers may become, all limits considered.
    buffer_limit: usize,
    /// Payload of the group that left last.
    last_bytes: usize,
    /// Buffers whose groups are written through.
    spare: Vec<IoBuffer>,
}

/// One gathers and one is on its way, as a rule.
const SPARE_BUFFERS: usize = 2;

impl Groups {
    /// The first record begins at `start`.
    pub(super) fn new(options: LogOptions, policy: SyncPolicy, start: u64) -> Self {
        Self {
            options,
            policy,
            closed: VecDeque::new(),
            closed_bytes: 0,
            closed_end: start,
            gathering: None,
            buffer_limit: 0,
            last_bytes: 0,
            spare: Vec::new(),
        }
    }

    /// Position after the last record.
    pub(super) fn end(&self) -> u64 {
        self.gathering.as_ref().map_or(self.closed_end, Group::end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.gathering.is_none()
    }

    /// Bytes of the records.
    pub(super) fn bytes(&self) -> usize {
        self.closed_bytes + self.gathering.as_ref().map_or(0, Group::payload_bytes)
    }

    /// Bytes of the frames that they will be.
    pub(super) fn frame_bytes(&self) -> usize {
        self.closed.iter().chain(&self.gathering).map(|group| frame_bytes(group.payload_bytes())).sum()
    }

    /// Adds one record made of parts; returns the position after it.
    #[inline]
    pub(super) fn append(&mut self, tag: u32, parts: &[&[u8]]) -> Result<u64> {
        let payload: usize = parts.iter().map(|part| part.len()).sum();
        let bytes = RECORD_HEADER_BYTES + payload;
        let limit = self.buffer_limit;
        let group = match &mut self.gathering {
            Some(group) if group.buffer.len() + bytes <= limit && payload <= self.options.max_record_bytes => group,
            _ => self.open(payload)?,
        };
        let header = u64::from(tag) << 32 | payload as u64;
        group.buffer.extend_from_slice(&header.to_le_bytes());
        for part in parts {
            group.buffer.extend_from_slice(part);
        }
        group.count += 1;
        Ok(group.end())
    }

    /// The group for a record of this payload: a new one, unless the last one takes it, all limits considered anew.
    #[cold]
    fn open(&mut self, payload: usize) -> Result<&mut Group> {
        let LogOptions { max_record_bytes, max_group_bytes, max_pending_bytes: limit, .. } = self.options;
        if payload > max_record_bytes {
            return Err(StorageError::RecordTooLarge { bytes: payload, limit: max_record_bytes });
        }
        let bytes = RECORD_HEADER_BYTES + payload;
        let pending = self.bytes();
        if pending > 0 && pending + bytes > limit {
            return Err(StorageError::LogBusy { pending, limit });
        }
        let group = match self.gathering.take() {
            Some(group) if group.payload_bytes() + bytes <= max_group_bytes => group,
            full => {
                self.gathering = full;
                self.close();
                self.empty_group(bytes)
            }
        };
        let room = (max_group_bytes.saturating_sub(group.payload_bytes())).min(limit.saturating_sub(pending));
        self.buffer_limit = group.buffer.len() + bytes.max(room);
        Ok(self.gathering.insert(group))
    }

    fn empty_group(&mut self, payload: usize) -> Group {
        let buffer = match self.policy {
            // Groups are much alike from one to the next: room for as much spares growing in steps.
            SyncPolicy::OnRequest => Buffer::Heap(open_frame(payload.max(self.last_bytes))),
            SyncPolicy::EveryGroup => {
                let spare = self.spare.pop_if(|spare| payload <= self.options.max_group_bytes.max(spare.capacity()));
                let mut buffer = spare.unwrap_or_else(|| IoBuffer::with_capacity(HEADER_BYTES + payload));
                buffer.pad(HEADER_BYTES);
                Buffer::Through(buffer)
            }
        };
        Group { buffer, first: self.closed_end, count: 0 }
    }

    /// Takes the buffer of a group back that was written.
    pub(super) fn give_back(&mut self, mut buffer: IoBuffer) {
        // What one large record has needed is not kept; it has taken no buffer from the others.
        if self.spare.len() < SPARE_BUFFERS && buffer.len() <= frame_bytes(self.options.max_group_bytes) {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Lets nothing join the last group any more.
    pub(super) fn close(&mut self) {
        if let Some(group) = self.gathering.take() {
            self.closed_end = group.end();
            self.closed_bytes += group.payload_bytes();
            self.closed.push_back(group);
        }
    }

    /// Adds a group without records.
    pub(super) fn stamp(&mut self) {
        self.close();
        let group = self.empty_group(0);
        self.closed.push_back(group);
    }

    /// The group that is next to be written.
    pub(super) fn front(&self) -> Option<&Group> {
        self.closed.front().or(self.gathering.as_ref())
    }

    /// Takes the group that is next to be written.
    pub(super) fn take(&mut self) -> Option<Group> {
        if self.closed.is_empty() {
            self.close();
        }
        let group = self.closed.pop_front()?;
        self.last_bytes = group.payload_bytes();
        self.closed_bytes -= self.last_bytes;
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: LogOptions =
        LogOptions { segment_bytes: 1 << 20, max_record_bytes: 400, max_group_bytes: 1000, max_pending_bytes: 2500 };

    fn payloads(groups: &mut Groups) -> Vec<usize> {
        std::iter::from_fn(|| groups.take()).map(|group| group.payload_bytes()).collect()
    }

    #[test]
    fn records_share_groups_up_to_each_limit() {
        for policy in [SyncPolicy::EveryGroup, SyncPolicy::OnRequest] {
            let mut groups = Groups::new(OPTIONS, policy, 7);
            groups.append(1, &[&[1; 100]]).unwrap();
            let refused = groups.append(1, &[&[1; 401]]).unwrap_err();
            assert_eq!(refused.code(), "LDB-1005", "also where the group has room for it");
            let refused =
                std::iter::repeat_with(|| groups.append(1, &[&[1; 60], &[2; 40]])).find_map(Result::err).unwrap();
            assert_eq!(refused.code(), "LDB-1006");
            assert_eq!((groups.bytes(), groups.end()), (23 * 108, 7 + 23 * 108), "nothing above the limit");
            groups.append(1, &[&[1; 2500 - 23 * 108 - 8]]).unwrap();
            assert_eq!(payloads(&mut groups), [972, 972, 556]);
            assert!(groups.is_empty());
        }
    }

    #[test]
    fn a_group_that_was_opened_near_the_limit_grows_when_the_backlog_is_gone() {
        let mut groups = Groups::new(OPTIONS, SyncPolicy::EveryGroup, 0);
        for _ in 0..22 {
            groups.append(1, &[&[1; 100]]).unwrap();
        }
        assert_eq!(groups.take().unwrap().payload_bytes(), 972);
        for _ in 0..5 {
            groups.append(1, &[&[1; 100]]).unwrap();
        }
        assert_eq!(payloads(&mut groups), [972, 972]);
    }

    #[test]
    fn a_closed_group_takes_nothing_and_a_stamp_is_empty() {
        let mut groups = Groups::new(OPTIONS, SyncPolicy::OnRequest, 0);
        groups.append(1, &[&[1; 92]]).unwrap();
        groups.close();
        groups.append(1, &[&[1; 92]]).unwrap();
        groups.stamp();
        let taken: Vec<_> = std::iter::from_fn(|| groups.take()).map(|g| (g.first, g.end(), g.count)).collect();
        assert_eq!(taken, [(0, 100, 1), (100, 200, 1), (200, 200, 0)]);
    }

    #[test]
    fn a_record_larger_than_a_group_goes_alone_and_leaves_the_buffers_of_the_others() {
        let options = LogOptions { max_record_bytes: 300 << 10, max_pending_bytes: 1 << 20, ..OPTIONS };
        let mut groups = Groups::new(options, SyncPolicy::EveryGroup, 0);
        let take = |groups: &mut Groups| match groups.take().unwrap().buffer {
            Buffer::Through(buffer) => buffer,
            Buffer::Heap(_) => panic!("a log that writes through gathers for that"),
        };
        groups.append(1, &[&[1; 100]]).unwrap();
        let small = take(&mut groups);
        let place = small.as_ptr();
        groups.give_back(small);
        groups.append(1, &[&vec![1; 300 << 10]]).unwrap();
        let large = take(&mut groups);
        groups.give_back(large);
        groups.append(1, &[&[1; 100]]).unwrap();
        assert_eq!(take(&mut groups).as_ptr(), place);
    }
}
