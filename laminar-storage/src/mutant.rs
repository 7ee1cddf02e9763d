//! Planted defects, to prove that the crash checker and the simulator see them.
//!
//! Invariant: in a build without debug assertions no defect can be switched on; the question is then the
//! constant `false` and costs nothing. Elsewhere it is asked at barriers, groups and syncs, never per row.

/// A defect that a checker must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A log counts a group as durable without a sync.
    SkipSync,
    /// A log counts a group as durable when its write is submitted.
    AcknowledgeEarly,
    /// An outbox reports its sync before it was done, so that the manifest overtakes it.
    PublishBeforeOutboxSync,
    /// The log reader takes the last valid group for a torn tail.
    CutValidTail,
    /// A shard's barrier misses a changed block.
    ForgetDirtyBlock,
    /// A sink commits the rows of a checkpoint before the checkpoint is published.
    CommitBeforePublish,
    /// The barrier of one lane is dropped, and the receiver goes on without it.
    DropBarrier,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::SkipSync,
        Self::AcknowledgeEarly,
        Self::PublishBeforeOutboxSync,
        Self::CutValidTail,
        Self::ForgetDirtyBlock,
        Self::CommitBeforePublish,
        Self::DropBarrier,
    ];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SkipSync => "skip-sync",
            Self::AcknowledgeEarly => "acknowledge-early",
            Self::PublishBeforeOutboxSync => "publish-before-outbox-sync",
            Self::CutValidTail => "cut-valid-tail",
            Self::ForgetDirtyBlock => "forget-dirty-block",
            Self::CommitBeforePublish => "commit-before-publish",
            Self::DropBarrier => "drop-barrier",
        }
    }
}

#[cfg(debug_assertions)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether a defect is switched on in this thread.
#[cfg(debug_assertions)]
pub fn active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether a defect is switched on: never, in this build.
#[cfg(not(debug_assertions))]
pub const fn active(_mutant: Mutant) -> bool {
    false
}

/// Switches one defect on (or all off) for this thread; false when this build has none.
#[cfg(debug_assertions)]
pub fn plant(mutant: Option<Mutant>) -> bool {
    ACTIVE.set(mutant);
    true
}

/// Switches one defect on (or all off) for this thread; false when this build has none.
#[cfg(not(debug_assertions))]
pub const fn plant(mutant: Option<Mutant>) -> bool {
    mutant.is_none()
}
