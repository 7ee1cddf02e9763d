//! What checkpoints write for what changed, in the long run, and what the file takes.

use super::*;
use crate::arena::BLOCK_BYTES;

/// Keys of the arena; each entry is a block of its own.
const KEYS: u64 = 120_000;
const SETTLING: usize = 20;
const CHECKPOINTS: usize = 40;
const SHAPE: TableShape = TableShape::fixed(8, 48);

/// What the checkpoints after the first ones came to.
#[derive(Debug)]
struct Cost {
    /// Bytes written for each byte in a block that changed.
    written: f64,
    /// Bytes of the file for each of the arena, while two checkpoints are kept.
    space: f64,
    /// Rows in heads of deltas for each page.
    rows: f64,
    deltas: usize,
}

fn touch(arena: &mut Arena, keys: impl Iterator<Item = u64>, value: u64) -> u64 {
    let table = arena.open_table(TABLE, SHAPE).unwrap();
    let mut touched = 0;
    for number in keys {
        let key = number.to_be_bytes();
        let (slot, _) = arena.upsert(table, hash(&key), &key).unwrap();
        arena.value_mut(table, slot)[..8].copy_from_slice(&value.to_le_bytes());
        touched += 1;
    }
    touched
}

/// Checkpoints of an arena of which the keys change that `changes` names for each round, each once.
fn cost<I: Iterator<Item = u64>>(mut changes: impl FnMut(usize) -> I) -> Cost {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    touch(&mut arena, 0..KEYS, 0);
    let mut marks = vec![checkpoint(&mut file, &mut disk, &mut arena).unwrap()];
    let (mut changed, mut before) = (0, 0);
    for round in 0..SETTLING + CHECKPOINTS {
        if round == SETTLING {
            (changed, before) = (0, file.written_bytes());
        }
        changed += touch(&mut arena, changes(round), round as u64) * BLOCK_BYTES as u64;
        marks.push(checkpoint(&mut file, &mut disk, &mut arena).unwrap());
        file.retain_only(&marks[marks.len() - 2..]);
    }
    let state = &file.arenas[&ObjectId(5)];
    let rows: usize = state.rows.iter().map(super::super::rows::Rows::len).sum();
    let cost = Cost {
        written: (file.written_bytes() - before) as f64 / changed as f64,
        space: file.file_bytes() as f64 / (arena.pages.segments() * crate::arena::SEGMENT_BYTES) as f64,
        rows: rows as f64 / arena.pages.page_count() as f64,
        deltas: state.deltas.len(),
    };
    same_after_restart(&machine, &marks[marks.len() - 2..], &mut arena);
    cost
}

fn same_after_restart(machine: &SimMachine, marks: &[PageFileMark], arena: &mut Arena) {
    let mut back = load(&mut machine.crash(1).disk(), marks).unwrap().1.pop().unwrap();
    let (own, other) = (arena.open_table(TABLE, SHAPE).unwrap(), back.open_table(TABLE, SHAPE).unwrap());
    for number in (0..KEYS).step_by(97) {
        let key = number.to_be_bytes();
        let (slot, loaded) = (arena.get(own, hash(&key), &key).unwrap(), back.get(other, hash(&key), &key).unwrap());
        assert_eq!(arena.value(own, slot), back.value(other, loaded), "key {number}");
    }
}

/// Keys all over the arena, one of `of` on average.
fn spread(random: &mut fastrand::Rng, of: usize) -> impl Iterator<Item = u64> + use<> {
    let mut keys = random.choose_multiple(0..KEYS, KEYS as usize / of);
    keys.sort_unstable();
    keys.into_iter()
}

/// Runs of keys all over the arena that are one of ten parts of it.
fn tenth(number: usize) -> impl Iterator<Item = u64> {
    (0..KEYS).filter(move |key| key / 300 % 10 == number as u64 % 10)
}

#[test]
fn what_changes_again_and_again_is_written_about_once() {
    let cost = cost(|_| tenth(3));
    assert!(cost.written <= 1.1 && cost.space <= 2.0, "{cost:?}");
}

#[test]
fn what_moves_through_the_state_is_written_about_once() {
    let cost = cost(tenth);
    assert!(cost.written <= 1.1 && cost.space <= 3.0, "{cost:?}");
}

#[test]
fn where_all_changes_segments_are_written_whole() {
    let cost = cost(|_| 0..KEYS);
    assert!(cost.written <= 1.2 && cost.space <= 3.0 && cost.deltas < 8, "{cost:?}");
}

#[test]
fn changes_all_over_cost_less_than_twice_and_their_heads_stay_small() {
    let mut random = fastrand::Rng::with_seed(7);
    let cost = cost(|_| spread(&mut random, 10));
    assert!(cost.written <= 1.7 && cost.space <= 3.0 && cost.rows <= 9.0, "{cost:?}");
}

#[test]
fn hot_and_cold_keys_cost_less_than_twice_what_they_change() {
    let mut random = fastrand::Rng::with_seed(7);
    let cost = cost(|_| {
        // As many of the first ten as of the next ninety, and so on.
        let draw = |_| ((KEYS as f64).powf(random.f64()) as u64).min(KEYS - 1) * 7_919 % KEYS;
        let mut keys: Vec<u64> = (0..KEYS as usize / 10).map(draw).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
    });
    assert!(cost.written <= 2.0 && cost.space <= 3.0, "{cost:?}");
}

#[test]
fn many_small_checkpoints_leave_few_deltas() {
    let mut random = fastrand::Rng::with_seed(7);
    let cost = cost(|_| std::iter::repeat_with(|| random.u64(..KEYS)).take(20).collect::<Vec<_>>().into_iter());
    assert!(cost.deltas <= 80, "{cost:?}");
}

#[test]
fn dead_blocks_take_no_more_space_than_living_ones() {
    let mut random = fastrand::Rng::with_seed(7);
    let cost = cost(|_| spread(&mut random, 3));
    assert!(cost.written <= 1.5 && cost.space <= 3.0, "{cost:?}");
}

#[test]
fn a_segment_whose_blocks_all_stand_in_deltas_gives_its_slot_up() {
    const SEGMENT: usize = 2;
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    touch(&mut arena, 0..KEYS, 1);
    let mut marks = vec![checkpoint(&mut file, &mut disk, &mut arena).unwrap()];
    let pages = crate::arena::SEGMENT_BYTES / crate::arena::PAGE_BYTES;
    let slot = |file: &PageFile| file.arenas[&ObjectId(5)].segments[SEGMENT].offset;
    assert_ne!(slot(&file), 0);
    for half in [u64::from(u32::MAX), !u64::from(u32::MAX)] {
        touch(&mut arena, 0..10, half);
        for page in SEGMENT * pages..(SEGMENT + 1) * pages {
            arena.pages.blocks.mark(&arena.pages.region, page, half);
        }
        marks.push(checkpoint(&mut file, &mut disk, &mut arena).unwrap());
    }
    assert_eq!(slot(&file), 0);
    let free = file.free_bytes();
    file.retain_only(&marks[2..]);
    assert!(file.free_bytes() >= free + crate::arena::SEGMENT_BYTES as u64, "no mark names the slot any more");
    same_after_restart(&machine, &marks[2..], &mut arena);
    touch(&mut arena, 0..KEYS, 3);
    marks.push(checkpoint(&mut file, &mut disk, &mut arena).unwrap());
    same_after_restart(&machine, &marks[2..], &mut arena);
}
