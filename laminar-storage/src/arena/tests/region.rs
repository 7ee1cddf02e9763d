//! Claims of the raw memory.

use crate::arena::segment::{Region, SEGMENT_BYTES};

#[test]
fn a_committed_segment_is_zero_and_keeps_what_is_stored() {
    let mut region = Region::reserve(8 * SEGMENT_BYTES).unwrap();
    assert!(region.commit_segment(false).unwrap());
    assert!(region.bytes(0, SEGMENT_BYTES).iter().all(|byte| *byte == 0));
    region.bytes_mut(SEGMENT_BYTES - 8, 8).copy_from_slice(&7u64.to_le_bytes());
    assert_eq!(region.u64_at(SEGMENT_BYTES - 8), 7);
}

#[test]
#[should_panic(expected = "outside its committed segments")]
fn an_access_behind_the_committed_segments_is_stopped() {
    let mut region = Region::reserve(8 * SEGMENT_BYTES).unwrap();
    assert!(region.commit_segment(false).unwrap());
    region.bytes(SEGMENT_BYTES - 4, 8);
}

#[test]
fn the_reserved_range_is_the_limit_of_growth() {
    let mut region = Region::reserve(2 * SEGMENT_BYTES).unwrap();
    assert!(region.commit_segment(false).unwrap());
    assert!(region.commit_segment(true).unwrap());
    assert!(!region.commit_segment(false).unwrap());
}
