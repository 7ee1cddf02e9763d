//! Watermarks: made per split, combined as a minimum.
//!
//! Invariants: a watermark never goes back; a row is judged by the watermark that the rows before it
//! established, so the cut of batches never changes an answer; what is taken out is counted.

mod combine;
mod split;

pub use combine::Combine;
pub use split::{Observed, SplitWatermark};
