//! Figures of the state arena: point lookup, update, fold with and without dirty tracking, image bytes after
//! touching 1 % of the keys, checkpoint and load of a large state. Seed 42; best of the rounds, interleaved.
//! Point access and folds are the best of their rounds in wall time, the rest is CPU time of the thread, so that other work on the machine counts little.
//!
//! `cargo run --release -p laminar-storage --example arena_figures`; with `-- 10` only a restart with 10 GiB.

use laminar_storage::arena::{Arena, ArenaOptions, KeyBatch, Slot, TableId, TableKey, TableShape};
use laminar_storage::disk::{Disk, IoMode, RealDisk};
use laminar_storage::ids::{ObjectId, OperatorId, ShardId};
use laminar_storage::page_file::{Finish, PageFile, PageFileMark, WriteStep};
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

type Error = Box<dyn std::error::Error>;
const TABLE: TableKey = TableKey { operator: OperatorId(1), part: 0 };
const SHAPE: TableShape = TableShape::fixed(8, 16);
const BATCH: usize = 4096;
/// Checkpoints after which blocks of each page stand in about so many deltas.
const SCATTERED: usize = 8;

fn main() -> Result<(), Error> {
    if let Some(gibibytes) = std::env::args().nth(1) {
        return restart(gibibytes.parse::<u64>()? << 30);
    }
    for keys in [10_000, 1_000_000] {
        point_access(keys)?;
        folds(keys)?;
    }
    image(1_000_000)?;
    restart(1 << 30)?;
    idle(400)
}

fn hash(key: u64) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes())
}

/// CPU time of this thread so far.
struct Cpu(u64);

impl Cpu {
    fn now() -> Self {
        let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        Self(schedule.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
    }

    fn elapsed_ns(&self) -> f64 {
        (Self::now().0 - self.0) as f64
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(limit)) >> 64) as u64
    }
}

fn filled(keys: u64) -> Result<(Arena, TableId), Error> {
    let mut arena = Arena::new(ArenaOptions::new(ObjectId(1)))?;
    let table = arena.open_table(TABLE, SHAPE)?;
    let (mut slots, mut inserted) = (Vec::new(), Vec::new());
    let all: Vec<u64> = (0..keys).collect();
    for batch in all.chunks(BATCH) {
        let hashes: Vec<u64> = batch.iter().map(|key| hash(*key)).collect();
        let bytes: Vec<u8> = batch.iter().flat_map(|key| key.to_le_bytes()).collect();
        arena.upsert_batch(table, &hashes, KeyBatch::Fixed { bytes: &bytes, width: 8 }, &mut slots, &mut inserted)?;
    }
    Ok((arena, table))
}

fn point_access(keys: u64) -> Result<(), Error> {
    let started = Instant::now();
    let (mut arena, table) = filled(keys)?;
    let insert = started.elapsed().as_nanos() as f64 / keys as f64;
    let mut random = Random(42);
    let wanted: Vec<(u64, u64)> = (0..1_000_000).map(|_| random.below(keys)).map(|key| (key, hash(key))).collect();
    let (mut lookup, mut update) = (f64::MAX, f64::MAX);
    for _ in 0..12 {
        let started = Instant::now();
        for (key, hash) in &wanted {
            let slot = arena.get(table, *hash, &key.to_le_bytes()).ok_or("a key is gone")?;
            black_box(arena.value(table, slot)[0]);
        }
        lookup = lookup.min(started.elapsed().as_nanos() as f64 / wanted.len() as f64);
        let started = Instant::now();
        for (key, hash) in &wanted {
            let slot = arena.get(table, *hash, &key.to_le_bytes()).ok_or("a key is gone")?;
            let value = arena.value_mut(table, slot);
            value[0] = value[0].wrapping_add(1);
        }
        update = update.min(started.elapsed().as_nanos() as f64 / wanted.len() as f64);
    }
    let per_key = arena.bytes_used() as f64 / keys as f64;
    println!(
        "{keys} keys: insert {insert:.0} ns, lookup {lookup:.0} ns, update {update:.0} ns, {per_key:.1} bytes per key (8 + 16 of them payload)"
    );
    Ok(())
}

struct Batch {
    hashes: Vec<u64>,
    bytes: Vec<u8>,
    amounts: Vec<i64>,
}

fn folds(keys: u64) -> Result<(), Error> {
    let (mut tracked, table) = filled(keys)?;
    let (mut untracked, other) = filled(keys)?;
    let mut random = Random(42);
    let batches: Vec<Batch> = (0..250)
        .map(|_| {
            let rows: Vec<u64> = (0..BATCH).map(|_| random.below(keys)).collect();
            Batch {
                hashes: rows.iter().map(|key| hash(*key)).collect(),
                bytes: rows.iter().flat_map(|key| key.to_le_bytes()).collect(),
                amounts: rows.iter().map(|key| *key as i64 % 100).collect(),
            }
        })
        .collect();
    let rows = (batches.len() * BATCH) as f64;
    let (mut slots, mut inserted) = (Vec::new(), Vec::new());
    let (mut with, mut without, mut ratios) = (f64::MAX, f64::MAX, Vec::new());
    for _ in 0..40 {
        let started = Instant::now();
        for batch in &batches {
            probe(&mut tracked, table, batch, &mut slots, &mut inserted)?;
            let mut folder = tracked.fold(table)?;
            for (slot, amount) in slots.iter().zip(&batch.amounts) {
                let (count, sum) = folder.field_mut::<16>(*slot, 0).split_at_mut(8);
                add(count, 1);
                add(sum, *amount);
            }
        }
        let one = started.elapsed().as_nanos() as f64 / rows;
        let started = Instant::now();
        for batch in &batches {
            probe(&mut untracked, other, batch, &mut slots, &mut inserted)?;
            let mut folder = untracked.fold_untracked(other)?;
            for (slot, amount) in slots.iter().zip(&batch.amounts) {
                let (count, sum) = folder.field_mut::<16>(*slot, 0).split_at_mut(8);
                add(count, 1);
                add(sum, *amount);
            }
        }
        let two = started.elapsed().as_nanos() as f64 / rows;
        with = with.min(one);
        without = without.min(two);
        ratios.push(one / two);
    }
    ratios.sort_by(f64::total_cmp);
    let (ratio, median) = (with / without, ratios[ratios.len() / 2]);
    println!(
        "{keys} keys: probe + fold {with:.1} ns/row with tracking, {without:.1} without: {ratio:.3} × (median of rounds {median:.3} ×)"
    );
    Ok(())
}

fn probe(
    arena: &mut Arena,
    table: TableId,
    batch: &Batch,
    slots: &mut Vec<Slot>,
    inserted: &mut Vec<u32>,
) -> Result<(), Error> {
    Ok(arena.upsert_batch(table, &batch.hashes, KeyBatch::Fixed { bytes: &batch.bytes, width: 8 }, slots, inserted)?)
}

#[inline(always)]
fn add(cell: &mut [u8], amount: i64) {
    if let Ok(cell) = <&mut [u8; 8]>::try_from(cell) {
        *cell = i64::from_le_bytes(*cell).wrapping_add(amount).to_le_bytes();
    }
}

fn checkpoint(file: &mut PageFile, disk: &mut dyn Disk, arena: &mut Arena) -> Result<PageFileMark, Error> {
    arena.freeze();
    let mut arrived = Vec::new();
    loop {
        match file.write_step(arena, disk, &mut (256 << 10))? {
            WriteStep::Done => break,
            WriteStep::Blocked => disk.wait(),
            WriteStep::More => {}
        }
        disk.completions(&mut arrived);
        for completion in arrived.drain(..) {
            file.complete(&completion)?;
        }
    }
    loop {
        if let Finish::Done(mark) = file.finish(disk)? {
            return Ok(mark);
        }
        disk.wait();
        disk.completions(&mut arrived);
        for completion in arrived.drain(..) {
            file.complete(&completion)?;
        }
    }
}

fn image(keys: u64) -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let mut disk = RealDisk::open(directory.path(), IoMode::Thread(None))?;
    let mut file = PageFile::create(&mut disk, Path::new("figures.pages"), ShardId(0))?;
    let (mut arena, table) = filled(keys)?;
    checkpoint(&mut file, &mut disk, &mut arena)?;
    let mut random = Random(42);
    for round in 1..=3 {
        for _ in 0..keys / 100 {
            let key = random.below(keys);
            let slot = arena.get(table, hash(key), &key.to_le_bytes()).ok_or("a key is gone")?;
            arena.value_mut(table, slot)[0] = round;
        }
        let before = file.written_bytes();
        let started = Cpu::now();
        checkpoint(&mut file, &mut disk, &mut arena)?;
        let bytes = file.written_bytes() - before;
        let share = bytes as f64 / arena.bytes_used() as f64 * 100.0;
        println!(
            "{keys} keys, 1 % touched at random: image of {bytes} bytes = {share:.2} % of {} bytes of state, in {:.1} ms",
            arena.bytes_used(),
            started.elapsed_ns() / 1e6
        );
    }
    Ok(())
}

fn restart(bytes: u64) -> Result<(), Error> {
    let directory = tempfile::tempdir()?;
    let mut disk = RealDisk::open(directory.path(), IoMode::Thread(None))?;
    let path = Path::new("figures.pages");
    let mut file = PageFile::create(&mut disk, path, ShardId(0))?;
    let started = Cpu::now();
    let mut keys = 1 << 20;
    let (mut arena, _) = loop {
        let filled = filled(keys)?;
        if filled.0.bytes_used() >= bytes {
            break filled;
        }
        keys = (keys as f64 * (bytes as f64 / filled.0.bytes_used() as f64)).max(keys as f64 * 1.02) as u64;
    };
    println!("{keys} keys, {} bytes: built in {:.1} s (all tries)", arena.bytes_used(), started.elapsed_ns() / 1e9);
    let started = Cpu::now();
    arena.freeze();
    println!("freeze of {} bytes: {:.0} µs", arena.bytes_used(), started.elapsed_ns() / 1e3);
    arena.thaw();
    let (started, wall) = (Cpu::now(), Instant::now());
    let mark = checkpoint(&mut file, &mut disk, &mut arena)?;
    let (cpu, wall) = (started.elapsed_ns() / 1e9, wall.elapsed().as_secs_f64());
    println!("full checkpoint of {} bytes: {cpu:.2} s, wall {wall:.2} s", arena.bytes_used());
    drop((arena, file));
    let (mut file, mut arena) = read_back(&mut disk, path, mark)?;
    let table = arena.open_table(TABLE, SHAPE)?;
    let before = file.written_bytes();
    let (mut random, mut mark) = (Random(42), mark);
    for _ in 0..SCATTERED {
        for _ in 0..keys / 64 {
            let key = random.below(keys);
            let slot = arena.get(table, hash(key), &key.to_le_bytes()).ok_or("a key is gone")?;
            arena.value_mut(table, slot)[0] += 1;
        }
        mark = checkpoint(&mut file, &mut disk, &mut arena)?;
    }
    println!("{SCATTERED} checkpoints of blocks all over: {} bytes written", file.written_bytes() - before);
    drop((arena, file));
    read_back(&mut disk, path, mark)?;
    Ok(())
}

/// Restarts with what a mark names.
fn read_back(disk: &mut dyn Disk, path: &Path, mark: PageFileMark) -> Result<(PageFile, Arena), Error> {
    let (started, wall) = (Cpu::now(), Instant::now());
    let (file, mut arenas) = PageFile::restore(disk, path, ShardId(0), &[mark], ArenaOptions::new)?;
    let mut arena = arenas.pop().ok_or("no arena")?;
    println!(
        "restart with {} bytes: can be used after {:.0} ms",
        arena.bytes_used(),
        wall.elapsed().as_secs_f64() * 1e3
    );
    while arena.load_step()? {}
    let (cpu, wall) = (started.elapsed_ns() / 1e9, wall.elapsed().as_secs_f64());
    println!("read back, verified and looked through: {cpu:.2} s, wall {wall:.2} s");
    Ok((file, arena))
}

fn idle(count: u64) -> Result<(), Error> {
    let before = resident()?;
    let mut arenas = Vec::new();
    for number in 0..count {
        let mut arena = Arena::new(ArenaOptions::new(ObjectId(number)))?;
        let table = arena.open_table(TABLE, SHAPE)?;
        arena.upsert(table, hash(number), &number.to_le_bytes())?;
        arenas.push(arena);
    }
    let megabytes = (resident()? - before) as f64 / 1e6;
    println!("{count} idle arenas with one key each: {megabytes:.1} MB resident");
    Ok(())
}

fn resident() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = status.split_whitespace().nth(1).ok_or("no statm")?.parse()?;
    Ok(pages * 4096)
}
