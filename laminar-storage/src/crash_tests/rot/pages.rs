//! Rot of a page file: header, roots, tables, deltas and a segment that was written whole.

use std::path::PathBuf;

use super::damage::{Damage, Plan};
use super::subject::{Subject, Tally};
use crate::Result;
use crate::arena::{Arena, ArenaOptions, ScanCursor, TableId, TableKey, TableShape};
use crate::disk::{Disk, SimDisk, SimMachine};
use crate::ids::{ObjectId, OperatorId, ShardId};
use crate::page_file::{Finish, PageFile, PageFileMark, WriteStep};

const UNIT: usize = 4096;
const TABLE: TableKey = TableKey { operator: OperatorId(3), part: 0 };
const SHARD: ShardId = ShardId(0);
/// One segment is read whole.
const MEMORY: usize = 4 << 20;

type Rows = Vec<(u64, u64)>;

fn path() -> PathBuf {
    PathBuf::from("state/0000.pages")
}

fn options(id: ObjectId) -> ArenaOptions {
    ArenaOptions { memory_limit: 16 << 20, ..ArenaOptions::new(id) }
}

fn table(arena: &mut Arena) -> TableId {
    arena.open_table(TABLE, TableShape::fixed(8, 8)).unwrap()
}

fn fill(arena: &mut Arena, range: std::ops::Range<u64>, value: u64) {
    let table = table(arena);
    for number in range {
        let key = number.to_be_bytes();
        let (slot, _) = arena.upsert(table, xxhash_rust::xxh3::xxh3_64(&key), &key).unwrap();
        arena.value_mut(table, slot).copy_from_slice(&value.to_le_bytes());
    }
}

fn rows(arena: &mut Arena) -> Rows {
    let table = table(arena);
    let mut rows = Rows::new();
    let mut cursor = Some(ScanCursor::default());
    while let Some(at) = cursor {
        cursor = arena.scan(table, at, 1000, |_, key, value| {
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
            rows.push((number(key).swap_bytes(), number(value)));
        });
    }
    rows.sort_unstable();
    rows
}

fn checkpoint(file: &mut PageFile, disk: &mut SimDisk, arena: &mut Arena) -> PageFileMark {
    arena.freeze();
    let mut arrived = Vec::new();
    loop {
        if file.write_step(arena, disk, &mut (64 << 10)).unwrap() == WriteStep::Done
            && let Finish::Done(mark) = file.finish(disk).unwrap()
        {
            return mark;
        }
        disk.wait();
        disk.completions(&mut arrived);
        for completion in arrived.drain(..) {
            file.complete(&completion).unwrap();
        }
    }
}

/// A file with an image for each number of rows; the marks of all, and the rows of the last.
fn written(arena: u64, fills: &[u64]) -> (SimMachine, Vec<PageFileMark>, Rows) {
    let machine = SimMachine::new(1);
    let mut disk = machine.disk();
    let mut file = PageFile::create(&mut disk, &path(), SHARD).unwrap();
    let mut arena = Arena::new(options(ObjectId(arena))).unwrap();
    let mut marks = Vec::new();
    for (value, count) in fills.iter().enumerate() {
        fill(&mut arena, 0..*count, value as u64);
        marks.push(checkpoint(&mut file, &mut disk, &mut arena));
    }
    let rows = rows(&mut arena);
    (machine.crash(0), marks, rows)
}

fn load(machine: &SimMachine, mark: PageFileMark) -> Result<Rows> {
    let (_, mut arenas) = PageFile::load(&mut machine.disk(), &path(), SHARD, &[mark], options)?;
    Ok(rows(&mut arenas[0]))
}

/// Offsets of the units in which something stands.
fn used(content: &[u8]) -> Vec<usize> {
    let units = content.chunks(UNIT).enumerate();
    units.filter(|(_, unit)| unit.iter().any(|byte| *byte != 0)).map(|(index, _)| index * UNIT).collect()
}

/// Tables, roots and deltas: every byte that is not zero, and some that are.
pub(super) fn suffer_deltas() -> Tally {
    let (machine, marks, all) = written(5, &[40, 10, 50]);
    let content = machine.content(&path()).unwrap();
    let units = used(&content);
    assert!(units.len() > 6 && units.len() < 40, "{units:?}");
    let end = units[units.len() - 1] + UNIT;
    let (stranger, _, _) = written(6, &[40, 10, 50]);
    let other = stranger.content(&path()).unwrap();
    let plan = Plan {
        bytes: (0..end).filter(|at| content[*at] != 0 || at % 61 == 0).collect(),
        bits: 1,
        cuts: (0..end + UNIT).step_by(31).collect(),
        unit: UNIT,
        others: used(&other).into_iter().map(|at| other[at..at + UNIT].to_vec()).collect(),
        units,
        strangers: vec![other],
        noises: 3000,
    };
    let newest = marks[marks.len() - 1];
    suffer(&machine, &plan, all, newest)
}

/// A segment that was written whole: some bytes of it.
pub(super) fn suffer_segment() -> Tally {
    let (machine, marks, all) = written(5, &[12_000, 100]);
    let content = machine.content(&path()).unwrap();
    let bytes = (0..content.len()).filter(|at| content[*at] != 0).step_by(9001).collect();
    let plan =
        Plan { bytes, bits: 1, cuts: (0..content.len()).step_by(90_011).collect(), noises: 30, ..Plan::default() };
    suffer(&machine, &plan, all, marks[marks.len() - 1])
}

fn suffer(machine: &SimMachine, plan: &Plan, all: Rows, mark: PageFileMark) -> Tally {
    assert_eq!(load(machine, mark).unwrap(), all);
    let subject = Subject {
        machine,
        path: path(),
        states: vec![all],
        witnesses: Vec::new(),
        floor: 0,
        memory: MEMORY,
        read: &|machine| load(machine, mark),
    };
    subject.suffer(plan)
}

/// A mark is refused unless all of its bytes are the ones that were written.
pub(super) fn suffer_mark() -> u64 {
    let (_, marks, _) = written(5, &[40]);
    let bytes = marks[0].encode();
    let mut cases = 0;
    let plan = Plan { bytes: (0..bytes.len()).collect(), bits: 8, ..Plan::default() };
    plan.each(&bytes, |damage| {
        let Damage::Patch(patches) = &damage else { return };
        let mut bad = bytes;
        patches.iter().for_each(|(at, bytes)| bad[*at..*at + bytes.len()].copy_from_slice(bytes));
        assert_eq!(PageFileMark::decode(&bad), (!damage.changes(&bytes)).then_some(marks[0]), "{damage:?}");
        cases += 1;
    });
    cases
}
