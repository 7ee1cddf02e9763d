//! Named crash points: places where the process can be made to die, so that a test meets in one run a window that
//! random kills find in hundreds.
//!
//! Invariant: a build without debug assertions can arm nothing and a point is no code there. Elsewhere a point that is
//! not armed is one load, at groups, barriers and commits, never per row.

macro_rules! points {
    ($($point:ident = $name:literal, $when:literal;)*) => {
        /// A place where the process can be made to die.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CrashPoint {
            $(#[doc = $when] $point,)*
        }

        impl CrashPoint {
            /// All of them, in the order of a life.
            pub const ALL: &[Self] = &[$(Self::$point),*];

            /// Its name on a command line.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$point => $name,)* }
            }

            /// What has happened when it is reached, and what has not.
            pub const fn when(self) -> &'static str {
                match self { $(Self::$point => $when,)* }
            }
        }
    };
}

points! {
    IncarnationRenamed = "incarnation-renamed", "start: the new INCARNATION has its name, the directory is not synced";
    ManifestRenamed = "manifest-renamed", "a new MANIFEST has its name, the directory is not synced";
    MarkerRead = "marker-read", "a sink's target has said how far it is; nothing is sent yet";
    ReplayHalf = "replay-half", "start: some replayed rows have entered, some not";
    WalAllocated = "wal-allocated", "a new log segment is allocated, not synced";
    WalRecycled = "wal-recycled", "a released log segment has its new name, the directory is not synced";
    WalSubmitted = "wal-submitted", "a group of pushed rows is on its way to the disk";
    WalDurable = "wal-durable", "a group of pushed rows is durable, nobody is answered";
    DdlWritten = "ddl-written", "a change of the catalog is written to MANIFEST, not synced";
    DdlDurable = "ddl-durable", "a change of the catalog is synced, the client is not answered";
    BarrierInjected = "barrier-injected", "a checkpoint's barrier is on its way";
    SnapshotHalf = "snapshot-half", "the image of one shard is durable, that of another is not";
    OutboxWritten = "outbox-written", "staged rows of a checkpoint are written, not synced";
    CheckpointDurable = "checkpoint-durable", "state and staged rows are durable on every reactor, MANIFEST is not written";
    CheckpointWritten = "checkpoint-written", "a checkpoint is written to MANIFEST, not synced";
    CheckpointPublished = "checkpoint-published", "a checkpoint is synced in MANIFEST, nobody knows of it";
    FreedHalf = "freed-half", "one log of an earlier life is removed, another is not";
    CommitBegins = "commit-begins", "a checkpoint may be committed to a target, nothing is sent";
    CommitHalfSent = "commit-half-sent", "some rows of a commit are sent, some not";
    CommitPrepared = "commit-prepared", "all rows of a commit are sent, it is not ended";
    CommitNamed = "commit-named", "a commit's file has its final name, the directory is not synced";
    CommitDone = "commit-done", "a commit is done at the target, nothing is freed here";
}

impl CrashPoint {
    /// Reads `NAME` or `NAME:N`: the point, and at which time it is reached (1 = the first).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<(Self, u32), String> {
        let (name, times) = text.split_once(':').unwrap_or((text, "1"));
        let point = Self::ALL.iter().find(|point| point.name() == name);
        let point = *point.ok_or_else(|| format!("no crash point is called '{name}'"))?;
        match times.parse() {
            Ok(times) if times > 0 => Ok((point, times)),
            _ => Err(format!("'{times}' behind '{name}:' is no count from 1 on")),
        }
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

    use super::CrashPoint;

    /// The number of the armed point; no point has this one.
    static POINT: AtomicUsize = AtomicUsize::new(usize::MAX);
    static LEFT: AtomicU32 = AtomicU32::new(0);

    pub fn arm(point: CrashPoint, times: u32) {
        LEFT.store(times, Ordering::SeqCst);
        POINT.store(point as usize, Ordering::SeqCst);
    }

    pub fn reach(point: CrashPoint) {
        if POINT.load(Ordering::Relaxed) == point as usize && LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
            eprintln!("crash point {} is reached", point.name());
            // As a kill does: no destructor runs, nothing is flushed.
            std::process::abort();
        }
    }
}

/// Lets the process die when a point is reached so many times; false when this build has no points.
#[cfg(debug_assertions)]
pub fn arm(point: CrashPoint, times: u32) -> bool {
    armed::arm(point, times);
    true
}

/// Lets the process die when a point is reached so many times; false when this build has no points.
#[cfg(not(debug_assertions))]
pub const fn arm(_point: CrashPoint, _times: u32) -> bool {
    false
}

/// Says that a point is reached.
#[cfg(debug_assertions)]
pub fn reach(point: CrashPoint) {
    armed::reach(point);
}

/// Says that a point is reached: nothing, in this build.
#[cfg(not(debug_assertions))]
pub const fn reach(_point: CrashPoint) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_known_by_its_name_and_a_count() {
        for point in CrashPoint::ALL {
            assert_eq!(CrashPoint::parse(point.name()), Ok((*point, 1)));
            assert_eq!(CrashPoint::parse(&format!("{}:7", point.name())), Ok((*point, 7)));
            assert_eq!(CrashPoint::ALL.iter().filter(|other| other.name() == point.name()).count(), 1);
        }
        for (text, words) in
            [("nowhere", "'nowhere'"), ("wal-submitted:0", "'0'"), ("wal-submitted:x", "'x'"), ("", "''")]
        {
            assert!(CrashPoint::parse(text).unwrap_err().contains(words), "{text}");
        }
    }
}
