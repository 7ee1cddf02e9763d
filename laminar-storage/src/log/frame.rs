//! The frame: the unit that every log, the manifest and the incarnation file write and verify.
//!
//! 40 bytes of header, the payload, zeroes up to the next 512-byte sector (docs/format.md).
//! Both checksums are CRC32C seeded with the place (log id, segment, offset).
//!
//! Invariant: bytes written for one place never verify at another, and no length is believed before
//! the header's own checksum has verified and the length was compared with the limit.

use super::identity::LogId;

/// Frames begin at multiples of this; a device writes that much whole or not at all.
pub(crate) const SECTOR: usize = 512;
/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 40;
/// The unit in which a frame says how long its file is.
pub(crate) const FILE_BLOCK: u64 = 4096;
/// The frame layout described here.
pub(crate) const FRAME_VERSION: u16 = 1;

/// What a frame belongs to; the first four bytes on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Wal,
    Outbox,
    Manifest,
    Incarnation,
}

impl FrameKind {
    pub(crate) const fn magic(self) -> [u8; 4] {
        match self {
            Self::Wal => *b"LDBw",
            Self::Outbox => *b"LDBo",
            Self::Manifest => *b"LDBm",
            Self::Incarnation => *b"LDBi",
        }
    }
}

/// Where a frame stands; seeds its checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) log: LogId,
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Place {
    fn seed(self) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.log.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

/// The header's fields apart from the checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_bytes: u32,
    /// Position of the first payload byte in the log (or the record's number, in the manifest).
    pub(crate) position: u64,
    /// Everything before this position was durable when the frame was written.
    pub(crate) horizon: u64,
    /// Records in the payload.
    pub(crate) count: u32,
    /// Least length of the file in blocks; 0 = not said.
    pub(crate) file_blocks: u16,
    payload_crc: u32,
}

impl FrameHeader {
    /// Bytes from the start of this frame to the start of the next.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.payload_bytes as usize) as u64
    }

    /// Bytes that the file has at least, unless it was cut short.
    pub(crate) fn file_bytes(&self) -> u64 {
        u64::from(self.file_blocks) * FILE_BLOCK
    }

    /// Whether the payload is the one that was written here.
    pub(crate) fn verifies(&self, payload: &[u8], place: Place) -> bool {
        payload.len() == self.payload_bytes as usize && crc32c::crc32c_append(place.seed(), payload) == self.payload_crc
    }
}

/// Size on disk of a frame with this payload.
pub(crate) const fn frame_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).div_ceil(SECTOR) * SECTOR
}

/// A buffer with room for the header, to append the payload to.
pub(crate) fn open_frame(payload_capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(frame_bytes(payload_capacity));
    buffer.resize(HEADER_BYTES, 0);
    buffer
}

/// Fills in the header of a buffer from [`open_frame`] and pads it to whole sectors.
pub(crate) fn close_frame(buffer: &mut Vec<u8>, kind: FrameKind, place: Place, numbers: FrameNumbers) {
    fill_header(buffer, kind, place, numbers);
    buffer.resize(frame_bytes(buffer.len() - HEADER_BYTES), 0);
}

/// Fills in the header of a frame that is not padded yet: room for the header, then the payload.
pub(crate) fn fill_header(buffer: &mut [u8], kind: FrameKind, place: Place, numbers: FrameNumbers) {
    let payload_bytes = buffer.len() - HEADER_BYTES;
    let seed = place.seed();
    let payload_crc = crc32c::crc32c_append(seed, &buffer[HEADER_BYTES..]);
    buffer[..4].copy_from_slice(&kind.magic());
    buffer[8..12].copy_from_slice(&payload_crc.to_le_bytes());
    buffer[12..16].copy_from_slice(&(payload_bytes as u32).to_le_bytes());
    buffer[16..24].copy_from_slice(&numbers.position.to_le_bytes());
    buffer[24..32].copy_from_slice(&numbers.horizon.to_le_bytes());
    buffer[32..36].copy_from_slice(&numbers.count.to_le_bytes());
    buffer[36..38].copy_from_slice(&FRAME_VERSION.to_le_bytes());
    buffer[38..40].copy_from_slice(&numbers.file_blocks.to_le_bytes());
    let header_crc = crc32c::crc32c_append(seed, &buffer[8..HEADER_BYTES]);
    buffer[4..8].copy_from_slice(&header_crc.to_le_bytes());
}

/// The numbers that a writer puts into a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameNumbers {
    pub(crate) position: u64,
    pub(crate) horizon: u64,
    pub(crate) count: u32,
    pub(crate) file_blocks: u16,
}

/// What stands at a place where a frame may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A header that verifies; its payload is still to be checked.
    Header(FrameHeader),
    /// A header that verifies, of a layout that this program does not know.
    Newer(u16),
    /// Anything else.
    Nothing,
}

/// Reads a header. `limit` bounds the payload length that is believed.
pub(crate) fn parse_header(bytes: &[u8], kind: FrameKind, place: Place, limit: u64) -> Parsed {
    if bytes.len() < HEADER_BYTES || bytes[..4] != kind.magic() {
        return Parsed::Nothing;
    }
    let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | (u64::from(word(at + 4)) << 32);
    if crc32c::crc32c_append(place.seed(), &bytes[8..HEADER_BYTES]) != word(4) {
        return Parsed::Nothing;
    }
    let version = u16::from_le_bytes([bytes[36], bytes[37]]);
    if version != FRAME_VERSION {
        return Parsed::Newer(version);
    }
    if u64::from(word(12)) > limit {
        return Parsed::Nothing;
    }
    Parsed::Header(FrameHeader {
        payload_crc: word(8),
        payload_bytes: word(12),
        position: long(16),
        horizon: long(24),
        count: word(32),
        file_blocks: u16::from_le_bytes([bytes[38], bytes[39]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { log: LogId(0x1122_3344_5566_7788), segment: 3, offset: 1024 };

    fn sample() -> Vec<u8> {
        let mut frame = open_frame(0);
        frame.extend_from_slice(b"payload of the frozen test vector");
        close_frame(
            &mut frame,
            FrameKind::Wal,
            PLACE,
            FrameNumbers { position: 77, horizon: 66, count: 2, file_blocks: 0 },
        );
        frame
    }

    fn opens(bytes: &[u8], place: Place) -> bool {
        match parse_header(bytes, FrameKind::Wal, place, 4096) {
            Parsed::Header(header) => {
                let end = HEADER_BYTES + header.payload_bytes as usize;
                bytes.get(HEADER_BYTES..end).is_some_and(|payload| header.verifies(payload, place))
            }
            _ => false,
        }
    }

    #[test]
    fn frame_bytes_are_frozen() {
        let frame = sample();
        assert_eq!(frame.len(), 512);
        let hex: String = frame[..HEADER_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, FROZEN_HEADER);
        assert!(frame[HEADER_BYTES + 33..].iter().all(|byte| *byte == 0));
    }
    const FROZEN_HEADER: &str = "4c4442774ae2e4f5e0d31c1a210000004d0000000000000042000000000000000200000001000000";

    #[test]
    fn a_frame_says_how_long_its_file_is_where_the_writer_knows_it() {
        let mut frame = open_frame(0);
        let numbers = FrameNumbers { position: 77, horizon: 66, count: 2, file_blocks: 0x2001 };
        close_frame(&mut frame, FrameKind::Wal, PLACE, numbers);
        assert_eq!(frame[38..40], [0x01, 0x20]);
        let Parsed::Header(header) = parse_header(&frame, FrameKind::Wal, PLACE, 4096) else { panic!("no header") };
        assert_eq!(header.file_bytes(), 0x2001 * 4096);
    }

    #[test]
    fn any_changed_byte_of_header_or_payload_is_refused() {
        let frame = sample();
        assert!(opens(&frame, PLACE));
        for at in 0..HEADER_BYTES + 33 {
            for bit in 0..8 {
                let mut bad = frame.clone();
                bad[at] ^= 1 << bit;
                assert!(!opens(&bad, PLACE), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_verifies_at_its_own_place_only() {
        let frame = sample();
        for place in [Place { offset: 1536, ..PLACE }, Place { segment: 4, ..PLACE }, Place { log: LogId(1), ..PLACE }]
        {
            assert!(!opens(&frame, place), "{place:?}");
        }
        assert_eq!(parse_header(&frame, FrameKind::Outbox, PLACE, 4096), Parsed::Nothing);
    }

    #[test]
    fn a_length_above_the_limit_is_not_believed() {
        assert_eq!(parse_header(&sample(), FrameKind::Wal, PLACE, 32), Parsed::Nothing);
    }
}
