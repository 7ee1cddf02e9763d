//! Planted defects, to prove that the crash checker sees them.
//!
//! Invariant: outside this crate's own tests no defect can be switched on; the question is then the
//! constant `false`.

/// A defect that the crash checker must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "constructed by the hooks and by tests only"))]
pub(crate) enum Mutant {
    /// A log counts a group as durable without a sync.
    SkipSync,
    /// A log counts a group as durable when its write is submitted.
    AcknowledgeEarly,
    /// An outbox reports its sync before it was done, so that the manifest overtakes it.
    PublishBeforeOutboxSync,
    /// The log reader takes the last valid group for a torn tail.
    CutValidTail,
    /// A shard's barrier misses a changed block; planted by the checker's own engine.
    ForgetDirtyBlock,
}

#[cfg(test)]
thread_local! {
    static ACTIVE: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether a defect is switched on in this thread.
#[cfg(test)]
pub(crate) fn active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

/// Whether a defect is switched on: never, outside of tests.
#[cfg(not(test))]
pub(crate) const fn active(_mutant: Mutant) -> bool {
    false
}

/// Switches one defect on (or all off) for this thread.
#[cfg(test)]
pub(crate) fn plant(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}
