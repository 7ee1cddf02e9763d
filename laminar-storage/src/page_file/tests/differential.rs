//! Random operations against the heap twin: any schedule of stores, barriers, steps, give-ups, crashes and drops leaves
//! the arena equal to the twin, and a load equal to the twin as it was at the mark's barrier.

use super::super::fold::{self, Bounds};
use super::*;
use crate::arena::heap::HeapArena;
use crate::arena::{Arena, ArenaOptions, KeyBatch, ScanCursor, TableKey, TableShape};
use crate::disk::{Disk, Schedule, SimDisk, SimMachine};
use crate::ids::{ObjectId, OperatorId, ShardId};
use proptest::prelude::*;
use std::path::Path;

const PATH: &str = "d/shard-2.pages";
const SHARD: ShardId = ShardId(2);
const OPTIONS: ArenaOptions = ArenaOptions::new(ObjectId(77));

#[derive(Clone, Debug)]
enum Op {
    /// Upserts a run of keys in one batch and stores a value to each.
    Store {
        part: u8,
        from: u16,
        count: u16,
        value: u8,
    },
    Remove {
        part: u8,
        from: u16,
        count: u16,
    },
    Drop {
        part: u8,
    },
    /// Barrier, unless one is open.
    Freeze,
    /// Steps of the open image.
    Write {
        steps: u8,
        budget: u32,
    },
    /// Drives the open image to its mark.
    Finish,
    /// Gives the open image up.
    Abandon,
    /// Restores from the newest mark after a power cut: whole and compared, or to be read back while it is used.
    Crash {
        seed: u64,
    },
    /// Reads restored state back.
    Load {
        steps: u8,
    },
    /// Moves segments to the scratch file, whether they were read back or not, and empty ones back to memory.
    Spill {
        segments: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let part = 0..4u8;
    prop_oneof![
        6 => (part.clone(), 0..3000u16, 1..900u16, any::<u8>())
            .prop_map(|(part, from, count, value)| Op::Store { part, from, count, value }),
        2 => (part.clone(), 0..3000u16, 1..900u16).prop_map(|(part, from, count)| Op::Remove { part, from, count }),
        1 => part.prop_map(|part| Op::Drop { part }),
        3 => Just(Op::Freeze),
        3 => (1..12u8, 1..400_000u32).prop_map(|(steps, budget)| Op::Write { steps, budget }),
        3 => Just(Op::Finish),
        1 => Just(Op::Abandon),
        2 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        2 => (1..60u8).prop_map(|steps| Op::Load { steps }),
        2 => (0..4u8).prop_map(|segments| Op::Spill { segments }),
    ]
}

fn shape(part: u8) -> TableShape {
    match part % 4 {
        0 => TableShape::fixed(4, 8),
        1 => TableShape::variable(100),
        2 => TableShape::variable(0),
        _ => TableShape::fixed(4, 600),
    }
}

fn table_key(part: u8) -> TableKey {
    TableKey { operator: OperatorId(9), part: i64::from(part) - 2 }
}

/// Keys of variable tables are of very different lengths, so that blobs of several classes are used.
fn key(part: u8, number: u16) -> Vec<u8> {
    let fixed = u32::from(number).to_be_bytes();
    if part.is_multiple_of(3) { fixed.to_vec() } else { fixed.repeat(1 + number as usize % 40) }
}

fn hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

/// The world under test and its twin.
struct World {
    machine: SimMachine,
    disk: SimDisk,
    file: PageFile,
    arena: Arena,
    twin: HeapArena,
    /// The twin at the open barrier.
    frozen: Option<HeapArena>,
    marks: Vec<(PageFileMark, HeapArena)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let machine = SimMachine::new(seed);
        machine.set_schedule(Schedule::Shuffled);
        let mut disk = machine.disk();
        disk.create_dir(Path::new("d")).unwrap();
        let mut blocking = crate::disk::Blocking::new(&mut disk);
        blocking.sync_dir(Path::new("")).unwrap();
        let file = PageFile::create(&mut disk, Path::new(PATH), SHARD).unwrap();
        let (arena, twin) = (Arena::new(OPTIONS).unwrap(), HeapArena::new());
        Self { machine, disk, file, arena, twin, frozen: None, marks: Vec::new() }
    }

    fn pump(&mut self) {
        let mut arrived = Vec::new();
        self.disk.wait();
        self.disk.completions(&mut arrived);
        for completion in &arrived {
            assert!(self.file.complete(completion).unwrap());
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Store { part, from, count, value } => self.store(part, from..from + count, value),
            Op::Remove { part, from, count } => self.remove(part, from..from + count),
            Op::Drop { part } => {
                let tables = self.arena.tables(OperatorId(9));
                if let Some((_, table)) = tables.iter().find(|(at, _)| *at == table_key(part).part) {
                    self.arena.drop_table(*table).unwrap();
                }
                assert_eq!(
                    self.twin.drop_table(table_key(part)),
                    self.arena.tables(OperatorId(9)).len() < tables.len()
                );
            }
            Op::Freeze => {
                if self.frozen.is_none() {
                    self.arena.freeze();
                    self.frozen = Some(self.twin.clone());
                }
            }
            Op::Write { steps, budget } => {
                for _ in 0..steps {
                    self.file.write_step(&mut self.arena, &mut self.disk, &mut i64::from(budget)).unwrap();
                    self.pump();
                }
            }
            Op::Finish => self.finish(),
            Op::Abandon => {
                self.file.abandon(&mut self.arena);
                self.frozen = None;
            }
            Op::Crash { seed } => self.crash(seed),
            Op::Load { steps } => {
                for _ in 0..steps {
                    self.arena.load_step().unwrap();
                }
            }
            Op::Spill { segments } => {
                for _ in 0..segments {
                    let (before, next) = (self.arena.bytes_spilled(), self.arena.spillable());
                    assert_eq!(self.arena.spill(&mut self.disk).unwrap(), next);
                    assert_eq!(self.arena.bytes_spilled(), before + next);
                }
                self.arena.reclaim();
                assert!(self.arena.bytes_spilled() <= self.arena.bytes_used());
            }
        }
    }

    fn store(&mut self, part: u8, numbers: std::ops::Range<u16>, value: u8) {
        let table = self.arena.open_table(table_key(part), shape(part)).unwrap();
        self.twin.open_table(table_key(part), shape(part).value_len as usize);
        let keys: Vec<Vec<u8>> = numbers.map(|number| key(part, number)).collect();
        let hashes: Vec<u64> = keys.iter().map(|key| hash(key)).collect();
        let mut offsets = vec![0];
        let mut bytes = Vec::new();
        for key in &keys {
            bytes.extend_from_slice(key);
            offsets.push(bytes.len() as i32);
        }
        let batch = KeyBatch::Variable { offsets: &offsets, bytes: &bytes };
        let (mut slots, mut inserted) = (Vec::new(), Vec::new());
        self.arena.upsert_batch(table, &hashes, batch, &mut slots, &mut inserted).unwrap();
        let mut folder = self.arena.fold(table).unwrap();
        let mut created = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            if self.twin.upsert(table_key(part), hashes[row], key).unwrap() {
                created.push(row as u32);
            }
            let twin = self.twin.value_mut(table_key(part), hashes[row], key).unwrap();
            let own = folder.value_mut(slots[row]);
            assert_eq!(own, twin);
            for cells in [own, twin] {
                if let Some(last) = cells.last_mut() {
                    *last = last.wrapping_add(value);
                }
                if let Some(first) = cells.first_mut() {
                    *first = value;
                }
            }
        }
        assert_eq!(inserted, created);
    }

    fn remove(&mut self, part: u8, numbers: std::ops::Range<u16>) {
        let tables = self.arena.tables(OperatorId(9));
        let Some((_, table)) = tables.iter().find(|(at, _)| *at == table_key(part).part) else { return };
        for number in numbers {
            let key = key(part, number);
            let removed = self.arena.remove(*table, hash(&key), &key);
            assert_eq!(removed, self.twin.remove(table_key(part), hash(&key), &key));
        }
    }

    fn finish(&mut self) {
        let Some(frozen) = self.frozen.take() else { return };
        while self.file.write_step(&mut self.arena, &mut self.disk, &mut 100_000).unwrap() != WriteStep::Done {
            self.pump();
        }
        let mark = loop {
            if let Finish::Done(mark) = self.file.finish(&mut self.disk).unwrap() {
                break mark;
            }
            self.pump();
        };
        let mark = PageFileMark::decode(&mark.encode()).unwrap();
        self.marks.push((mark, frozen));
        if self.marks.len() > 2 {
            self.marks.remove(0);
        }
        let kept: Vec<_> = self.marks.iter().map(|kept| kept.0).collect();
        self.file.retain_only(&kept);
    }

    fn crash(&mut self, seed: u64) {
        self.machine = self.machine.crash(seed);
        self.machine.set_schedule(Schedule::Shuffled);
        self.disk = self.machine.disk();
        self.frozen = None;
        let kept: Vec<_> = self.marks.iter().map(|kept| kept.0).collect();
        let Some((_, twin)) = self.marks.last() else {
            *self = Self::new(seed);
            return;
        };
        self.twin = twin.clone();
        let open = if seed.is_multiple_of(4) { PageFile::load } else { PageFile::restore };
        let (file, mut arenas) = open(&mut self.disk, Path::new(PATH), SHARD, &kept, |_| OPTIONS).unwrap();
        self.file = file;
        self.arena = arenas.pop().unwrap();
        if seed.is_multiple_of(2) {
            compare(&self.arena, &self.twin);
        }
    }
}

/// Every table, every row, in the same order, found by key as well as by scan.
fn compare(arena: &Arena, twin: &HeapArena) {
    let tables = arena.all_tables();
    assert_eq!(tables.iter().map(|(key, _)| *key).collect::<Vec<_>>(), twin.tables());
    for (name, table) in tables {
        let mut rows = Vec::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(at) = cursor {
            cursor = arena.scan(table, at, 333, |hash, key, value| rows.push((hash, key.to_vec(), value.to_vec())));
        }
        rows.sort_by_key(|(hash, key, _)| (hash.rotate_left(12), key.clone()));
        assert!(rows == twin.rows(name), "table {name:?} differs from its twin");
        assert_eq!(arena.len(table) as usize, rows.len());
        for (hash, key, value) in rows {
            let slot = arena.get(table, hash, &key).unwrap();
            assert_eq!(arena.value(table, slot), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn any_schedule_leaves_arena_and_image_equal_to_the_twin(seed in any::<u64>(), ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new(seed);
        for op in &ops {
            world.apply(op);
        }
        compare(&world.arena, &world.twin);
        world.apply(&Op::Freeze);
        world.apply(&Op::Finish);
        world.apply(&Op::Crash { seed: seed & !3 });
    }
}

/// Keys of a cut run; their entries are a block each.
const CUT_KEYS: u32 = 120_000;
const CUT_ROUNDS: u8 = 18;
const CUT_SHAPE: TableShape = TableShape::fixed(4, 48);
/// In the first rounds so few that deltas are merged and segments are written whole, then so many that space is what
/// decides.
fn cut_bounds(round: u8) -> Bounds {
    let deltas = if round < 10 { 3 } else { 4096 };
    Bounds { least_deltas: deltas, segment_deltas: 0, table_rows: 16_384, small_deltas: deltas }
}

/// Whether a round stores to a key: to all, to a few, to runs that are a third, or to a half all over.
fn stores(round: u8, key: u32) -> bool {
    match round % 9 {
        1 => true,
        0 | 2 | 5 if round < 12 => key.is_multiple_of(997),
        _ if round > 10 => {
            (u64::from(key) + u64::from(round) * 7_919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & 1 == 0
        }
        third => key / 500 % 3 == u32::from(third) % 3,
    }
}

/// What must occur in a cut run for it to mean something.
#[derive(Debug, Default)]
struct Reached {
    wants_whole: bool,
    hands_on_for_space: bool,
    merges: bool,
    gives_slots_up: bool,
    reuses_space: bool,
}

impl Reached {
    fn look(&mut self, file: &mut PageFile) {
        let state = file.arenas.get_mut(&OPTIONS.id).unwrap();
        self.gives_slots_up |= state.segments.iter().any(|row| row.offset == 0 && row.generation != 0);
        let all = fold::request(state, 0);
        self.wants_whole |= !all.segments.is_empty();
        let bounds = std::mem::replace(&mut state.bounds, cut_bounds(CUT_ROUNDS));
        let space = fold::request(state, 0).blocks.len();
        // Space and number at once.
        state.bounds = cut_bounds(1);
        let both = fold::request(state, 0);
        state.bounds = bounds;
        chosen_once(&all);
        chosen_once(&both);
        self.hands_on_for_space |= space > 0;
        self.merges |= all.blocks.len() > space;
        self.reuses_space = file.written_bytes() > file.file_bytes() * 3 / 2;
    }
}

/// No block is wanted twice, nor one of a segment that is written whole.
fn chosen_once(request: &crate::arena::FoldRequest) {
    let mut chosen = std::collections::BTreeMap::new();
    for (page, mask) in &request.blocks {
        let of_page = chosen.entry(*page).or_insert(0);
        assert_eq!(*of_page & mask, 0, "page {page}");
        *of_page |= mask;
        assert!(!request.segments.contains(&(page / crate::arena::SEGMENT_PAGES as u32)), "page {page}");
    }
}

struct CutRun {
    machine: SimMachine,
    marks: Vec<(PageFileMark, u8)>,
    /// Operations before the page file's.
    first: u64,
    reached: Reached,
}

/// Rounds of stores and a checkpoint, with the power cut instead of disk operation `cut` of the page file.
fn cut_run(cut: Option<u64>) -> CutRun {
    let machine = SimMachine::new(5);
    let mut disk = machine.disk();
    disk.create_dir(Path::new("d")).unwrap();
    crate::disk::Blocking::new(&mut disk).sync_dir(Path::new("")).unwrap();
    let mut marks = Vec::new();
    let mut reached = Reached::default();
    let first = machine.operations();
    if let Some(cut) = cut {
        machine.cut_power_at(first + cut);
    }
    let mut run = || -> crate::Result<()> {
        let mut file = PageFile::create(&mut disk, Path::new(PATH), SHARD)?;
        let mut arena = Arena::new(OPTIONS)?;
        for round in 1..=CUT_ROUNDS {
            file.arenas.entry(OPTIONS.id).or_default().bounds = cut_bounds(round);
            let table = arena.open_table(table_key(0), CUT_SHAPE)?;
            for number in (0..CUT_KEYS).filter(|key| stores(round, *key)) {
                let key = number.to_be_bytes();
                let (slot, _) = arena.upsert(table, hash(&key), &key)?;
                arena.value_mut(table, slot)[0] = round;
            }
            arena.freeze();
            let mut arrived = Vec::new();
            let mark = loop {
                if file.write_step(&mut arena, &mut disk, &mut 200_000)? == WriteStep::Done
                    && let Finish::Done(mark) = file.finish(&mut disk)?
                {
                    break mark;
                }
                disk.wait();
                disk.completions(&mut arrived);
                for completion in arrived.drain(..) {
                    file.complete(&completion)?;
                }
            };
            marks.push((mark, round));
            let newest = marks.len().saturating_sub(2);
            file.retain_only(&marks[newest..].iter().map(|mark| mark.0).collect::<Vec<_>>());
            if cut.is_none() {
                reached.look(&mut file);
            }
        }
        Ok(())
    };
    let result = run();
    assert_eq!(result.is_err(), cut.is_some());
    CutRun { machine, marks, first, reached }
}

#[test]
fn after_a_power_cut_both_retained_marks_load() {
    let CutRun { machine, marks, first, reached } = cut_run(None);
    assert_eq!(marks.len(), usize::from(CUT_ROUNDS));
    let operations = machine.operations() - first;
    let Reached { wants_whole, hands_on_for_space, merges, gives_slots_up, reuses_space } = reached;
    assert!(wants_whole && hands_on_for_space && merges && gives_slots_up && reuses_space, "{reached:?}");
    assert!(operations > 100, "{operations}");
    // A ninth of them, for time: rounds take different numbers of operations, so steps of all kinds are met.
    for cut in (0..operations).step_by(9) {
        let CutRun { machine, marks, .. } = cut_run(Some(cut));
        for seed in [cut, cut + 1_000_000] {
            let crashed = machine.crash(seed);
            let newest = marks.len().saturating_sub(2);
            for (mark, round) in &marks[newest..] {
                let mut disk = crashed.disk();
                let (_, arenas) = PageFile::load(&mut disk, Path::new(PATH), SHARD, &[*mark], |_| OPTIONS)
                    .unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
                let table = arenas[0].all_tables()[0].1;
                for number in (0..CUT_KEYS).step_by(101) {
                    let key = number.to_be_bytes();
                    let last = (1..=*round).rev().find(|round| stores(*round, number)).unwrap();
                    let slot = arenas[0].get(table, hash(&key), &key).unwrap();
                    assert_eq!(arenas[0].value(table, slot)[0], last, "key {number}, cut at {cut}");
                }
            }
        }
    }
}

#[test]
fn the_mutant_that_forgets_a_dirty_block_is_caught() {
    let mut caught = 0;
    for seed in 0..8 {
        let mut world = World::new(seed);
        let (from, count) = (seed as u16 * 100, 700);
        world.apply(&Op::Store { part: 0, from, count, value: 1 });
        world.apply(&Op::Freeze);
        world.apply(&Op::Finish);
        world.apply(&Op::Store { part: 0, from, count: 50, value: 2 });
        assert!(world.arena.pages.blocks.forget_one_dirty_block());
        world.apply(&Op::Freeze);
        world.apply(&Op::Finish);
        let seen =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.apply(&Op::Crash { seed: 4 * seed })));
        caught += u32::from(seen.is_err());
    }
    assert_eq!(caught, 8, "a forgotten block must differ from the twin or fail the load");
}
