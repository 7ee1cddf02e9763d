//! What checkpoints write for what changed, in the long run, and what the file takes.

use super::super::fold::Bounds;
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
    /// At the end, and at most after any checkpoint.
    deltas: usize,
    most_deltas: usize,
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
fn cost<I: Iterator<Item = u64>>(changes: impl FnMut(usize) -> I) -> Cost {
    cost_within(Bounds::default(), CHECKPOINTS, changes)
}

fn cost_within<I: Iterator<Item = u64>>(
    bounds: Bounds,
    checkpoints: usize,
    mut changes: impl FnMut(usize) -> I,
) -> Cost {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    file.arenas.entry(arena.id()).or_default().bounds = bounds;
    let mut most_deltas = 0;
    touch(&mut arena, 0..KEYS, 0);
    let mut marks = vec![checkpoint(&mut file, &mut disk, &mut arena).unwrap()];
    let (mut changed, mut before) = (0, 0);
    for round in 0..SETTLING + checkpoints {
        if round == SETTLING {
            (changed, before) = (0, file.written_bytes());
        }
        changed += touch(&mut arena, changes(round), round as u64) * BLOCK_BYTES as u64;
        marks.push(checkpoint(&mut file, &mut disk, &mut arena).unwrap());
        file.retain_only(&marks[marks.len() - 2..]);
        most_deltas = most_deltas.max(file.arenas[&arena.id()].deltas.len());
    }
    let state = &file.arenas[&ObjectId(5)];
    let rows: usize = state.rows.iter().map(super::super::rows::Rows::len).sum();
    let cost = Cost {
        written: (file.written_bytes() - before) as f64 / changed as f64,
        space: file.file_bytes() as f64 / (arena.pages.segments() * crate::arena::SEGMENT_BYTES) as f64,
        rows: rows as f64 / arena.pages.page_count() as f64,
        deltas: state.deltas.len(),
        most_deltas,
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

/// As many of the first ten keys as of the next ninety, and so on.
fn by_rank(random: &mut fastrand::Rng) -> impl Iterator<Item = u64> + use<> {
    let draw = |_| ((KEYS as f64).powf(random.f64()) as u64).min(KEYS - 1) * 7_919 % KEYS;
    let mut keys: Vec<u64> = (0..KEYS as usize / 10).map(draw).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
}

#[test]
fn hot_and_cold_keys_cost_less_than_twice_what_they_change() {
    let mut random = fastrand::Rng::with_seed(7);
    let cost = cost(|_| by_rank(&mut random));
    assert!(cost.written <= 2.0 && cost.space <= 3.0, "{cost:?}");
}

/// A twentieth of the keys that is the same each time, and as many in runs elsewhere.
fn hot_and_cold(random: &mut fastrand::Rng) -> impl Iterator<Item = u64> + use<> {
    let mut keys: Vec<u64> = (0..KEYS).filter(|key| key % (KEYS / 10) < KEYS / 200).collect();
    let runs = std::iter::repeat_with(|| random.u64(..KEYS / 300)).take(20);
    keys.extend(runs.flat_map(|run| run * 300..(run + 1) * 300));
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
}

#[test]
fn many_small_checkpoints_leave_few_deltas() {
    let run = |bounds| {
        let mut random = fastrand::Rng::with_seed(7);
        cost_within(bounds, 220, |_| {
            std::iter::repeat_with(|| random.u64(..KEYS)).take(20).collect::<Vec<_>>().into_iter()
        })
    };
    let cost = run(Bounds::default());
    assert!(cost.most_deltas <= 80, "{cost:?}");
    let cost = run(Bounds { small_deltas: 4096, ..Bounds::default() });
    assert!(cost.most_deltas > 200, "the bound on small deltas alone keeps them few: {cost:?}");
}

/// What a large arena has: twice the deltas of its image, or half of them.
const TIGHT: Bounds = Bounds { least_deltas: 4, segment_deltas: 8, table_rows: 4096, small_deltas: 4096 };
const SCARCE: Bounds = Bounds { segment_deltas: 2, ..TIGHT };

#[test]
fn as_many_deltas_as_space_allows_cost_little() {
    let mut random = fastrand::Rng::with_seed(7);
    let bound = TIGHT.deltas(segments());
    let cost = cost_within(TIGHT, CHECKPOINTS, tenth);
    assert!(cost.written <= 1.1 && cost.most_deltas <= bound, "{cost:?}");
    let cost = cost_within(TIGHT, CHECKPOINTS, |_| hot_and_cold(&mut random));
    assert!(cost.written <= 1.5 && cost.most_deltas <= bound, "{cost:?}");
}

#[test]
fn scarce_deltas_become_longer() {
    let mut random = fastrand::Rng::with_seed(7);
    let bound = SCARCE.deltas(segments());
    let cost = cost_within(SCARCE, CHECKPOINTS, tenth);
    assert!(cost.written <= 1.1 && cost.most_deltas <= bound + 2, "{cost:?}");
    let cost = cost_within(SCARCE, CHECKPOINTS, |_| hot_and_cold(&mut random));
    assert!(cost.written <= 1.7 && cost.most_deltas <= bound + 2, "{cost:?}");
    let cost = cost_within(SCARCE, CHECKPOINTS, |_| by_rank(&mut random));
    assert!(cost.written <= 2.0 && cost.most_deltas <= bound + 2, "{cost:?}");
}

#[test]
fn where_deltas_cannot_hold_what_changes_segments_are_written_and_the_table_fits() {
    let mut random = fastrand::Rng::with_seed(7);
    let tiny = Bounds { table_rows: segments() + 8, ..TIGHT };
    let cost = cost_within(tiny, CHECKPOINTS, tenth);
    assert!(cost.written <= 3.0 && cost.most_deltas <= 8, "{cost:?}");
    let cost = cost_within(tiny, CHECKPOINTS, |_| hot_and_cold(&mut random));
    assert!(cost.written <= 3.0 && cost.most_deltas <= 8, "{cost:?}");
}

#[test]
fn the_table_of_an_arena_of_any_size_has_room_for_what_a_checkpoint_adds() {
    let bounds = Bounds::default();
    assert_eq!([1, 512, 2048, 4096].map(|segments| bounds.deltas(segments)), [4096, 4096, 16_384, 32_768]);
    // 64 GiB is what a slot number reaches.
    for segments in [1, 512, 4096, 8192, 16_384, 32_768] {
        let rows = segments + bounds.deltas(segments);
        // A segment of which more than 13/16 changed is written whole; what is less than that stands in deltas of a slot.
        let added = segments * 53 / 64;
        let bytes = super::super::layout::encode_table(ObjectId(5), &vec![Default::default(); rows + added], &[]).len();
        assert!(bytes <= crate::arena::SEGMENT_BYTES, "{segments} segments: {bytes}");
    }
}

#[test]
fn a_table_that_does_not_fit_fails_the_checkpoint_and_nothing_is_overwritten() {
    let machine = SimMachine::new(1);
    let (mut disk, mut file, mut arena) = fresh(&machine);
    touch(&mut arena, 0..KEYS, 1);
    let mut marks = vec![checkpoint(&mut file, &mut disk, &mut arena).unwrap()];
    file.arenas.get_mut(&arena.id()).unwrap().bounds.table_rows = segments() + 1;
    touch(&mut arena, 0..10, 2);
    let error = checkpoint(&mut file, &mut disk, &mut arena).unwrap_err();
    assert!(matches!(&error, StorageError::Order { detail } if detail.contains("2 deltas")), "{error}");
    let mut back = load(&mut machine.crash(1).disk(), &marks).unwrap().1.pop().unwrap();
    let table = back.open_table(TABLE, SHAPE).unwrap();
    let slot = back.get(table, hash(&[0; 8]), &[0; 8]).unwrap();
    assert_eq!(back.value(table, slot)[0], 1);
    marks.push(checkpoint(&mut file, &mut disk, &mut arena).unwrap());
    same_after_restart(&machine, &marks, &mut arena);
}

/// Segments of the arena under test.
fn segments() -> usize {
    let mut arena = Arena::new(ArenaOptions::new(ObjectId(5))).unwrap();
    touch(&mut arena, 0..KEYS, 0);
    arena.pages.segments()
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
