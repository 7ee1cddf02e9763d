//! The rot corpus: small files by the real writers, damaged in every way, read by the real readers.
//!
//! Every bit of them is flipped, every length tried, every sector zeroed, swapped, repeated and replaced by one of
//! another place or file. A reader must refuse and name the place, or give what was written (see `subject`).

mod allocations;
mod damage;
mod logs;
mod pages;
mod records;
mod subject;
mod whole;

use logs::Ending;

/// How many cases each test has at least.
const CLOSED_LOG: u64 = 80_000;
const KILLED_LOG: u64 = 80_000;
const OUTBOX: u64 = 40_000;
const MANIFEST: u64 = 60_000;
const INCARNATION: u64 = 60_000;
const PAGES: u64 = 5_000;
const STARTS: u64 = 2_500;
const _: () = assert!(CLOSED_LOG + KILLED_LOG + OUTBOX + MANIFEST + INCARNATION + PAGES + STARTS >= 300_000);

#[test]
fn rot_of_a_closed_log_is_refused_or_harmless() {
    let tally = logs::suffer_wal(Ending::Closed);
    assert!(tally.cases >= CLOSED_LOG, "{tally:?}");
    // Only what also takes the witness away: a sector swapped with one of the last record, a replaced file.
    assert!(tally.refused > tally.cases / 3 && tally.cut < tally.cases / 100, "{tally:?}");
}

#[test]
fn rot_of_a_log_after_a_kill_costs_at_most_the_group_that_nothing_covers() {
    let tally = logs::suffer_wal(Ending::Killed);
    assert!(tally.cases >= KILLED_LOG, "{tally:?}");
    assert!(tally.refused > tally.cases / 3 && tally.cut > 100, "{tally:?}");
}

#[test]
fn rot_of_an_outbox_never_changes_what_is_sent() {
    let tally = logs::suffer_outbox();
    assert!(tally.cases >= OUTBOX && tally.refused > tally.cases / 4 && tally.cut == 0, "{tally:?}");
}

#[test]
fn rot_of_the_manifest_costs_at_most_a_record_that_nothing_covers() {
    let tally = records::suffer_manifest();
    assert!(tally.cases >= MANIFEST && tally.refused > tally.cases / 4 && tally.cut > 100, "{tally:?}");
}

#[test]
fn rot_of_the_incarnation_file_is_mended_or_refused_and_no_number_comes_twice() {
    let tally = records::suffer_incarnation();
    assert!(tally.cases >= INCARNATION && tally.refused > 0 && tally.cut == 0, "{tally:?}");
    whole::suffer_old_incarnation();
}

#[test]
fn whatever_stands_in_the_lock_file_the_lock_holds() {
    assert_eq!(records::suffer_lock(), 600);
}

#[test]
fn rot_of_a_page_file_never_changes_a_row() {
    let mut tally = pages::suffer_deltas();
    tally.add(&pages::suffer_segment());
    assert!(tally.cases >= PAGES && tally.refused > tally.cases / 10 && tally.cut == 0, "{tally:?}");
    assert!(pages::suffer_mark() >= 250);
}

#[test]
fn rot_of_any_file_never_changes_what_a_start_finds() {
    let (cases, refused) = whole::suffer();
    assert!(cases >= STARTS && refused > cases / 10, "{refused} of {cases} were refused");
}
