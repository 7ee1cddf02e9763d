//! How far a start has come, for whoever waits for it.
//!
//! Invariant: phases come in their order and the bytes of a phase only grow, up to its total. One writer at a time,
//! any readers; the lock is held for a few words, and no row passes here.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a start does, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StartPhase {
    /// Looks for the newest checkpoint.
    #[default]
    Opening,
    /// Reads the pushed rows that are younger than the checkpoint from the log.
    ReadingLog,
    /// Makes the state of the checkpoint fit for use; most of its bytes are read while it runs, behind whoever needs
    /// them first.
    LoadingState,
    /// Lets the rows of the log enter the queries again.
    ReplayingLog,
    /// Everything runs.
    Ready,
}

impl StartPhase {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::ReadingLog => "reading_log",
            Self::LoadingState => "loading_state",
            Self::ReplayingLog => "replaying_log",
            Self::Ready => "ready",
        }
    }
}

/// Where a start stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartState {
    /// The phase.
    pub phase: StartPhase,
    /// Bytes of the phase that are done; of state, those that can be used.
    pub done_bytes: u64,
    /// Bytes of the phase; 0 where it has none or they are not known.
    pub total_bytes: u64,
    /// Bytes of state of the checkpoint.
    pub state_bytes: u64,
    /// Bytes of pushed rows that are replayed.
    pub log_bytes: u64,
}

/// See the file's invariant.
#[derive(Debug, Default)]
pub struct StartProgress(Mutex<StartState>);

impl StartProgress {
    /// Where the start stands.
    pub fn now(&self) -> StartState {
        *self.state()
    }

    /// The next phase begins, with so many bytes to do.
    pub fn enter(&self, phase: StartPhase, total_bytes: u64) {
        let mut state = self.state();
        *state = StartState { phase, done_bytes: 0, total_bytes, ..*state };
        match phase {
            StartPhase::LoadingState => state.state_bytes = total_bytes,
            StartPhase::ReplayingLog => state.log_bytes = total_bytes,
            StartPhase::Opening | StartPhase::ReadingLog | StartPhase::Ready => {}
        }
    }

    /// More bytes of the phase are done.
    pub fn add(&self, phase: StartPhase, bytes: u64) {
        let mut state = self.state();
        // Reactors load their state beside each other; one may end when the next phase has begun.
        if state.phase == phase {
            state.done_bytes = (state.done_bytes + bytes).min(state.total_bytes);
        }
    }

    fn state(&self) -> MutexGuard<'_, StartState> {
        // A poisoned lock only means that another thread panicked; the words are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_for_their_phase_and_never_beyond_its_total() {
        let progress = StartProgress::default();
        assert_eq!(progress.now(), StartState::default());
        progress.enter(StartPhase::LoadingState, 100);
        progress.add(StartPhase::LoadingState, 60);
        progress.add(StartPhase::LoadingState, 60);
        assert_eq!(progress.now().done_bytes, 100);
        progress.enter(StartPhase::ReplayingLog, 10);
        progress.add(StartPhase::LoadingState, 5);
        let wanted = StartState {
            phase: StartPhase::ReplayingLog,
            done_bytes: 0,
            total_bytes: 10,
            state_bytes: 100,
            log_bytes: 10,
        };
        assert_eq!(progress.now(), wanted);
    }
}
