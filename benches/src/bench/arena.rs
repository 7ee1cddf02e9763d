//! What does a keyed state access cost, what does dirty tracking add, and how much does a checkpoint write?

use std::path::Path;
use std::time::Instant;

use laminar_storage::arena::{Arena, ArenaOptions, KeyBatch, Slot, TableId, TableKey, TableShape};
use laminar_storage::disk::{IoMode, RealDisk};
use laminar_storage::ids::{ObjectId, OperatorId, ShardId};
use laminar_storage::page_file::{Finish, PageFile, WriteStep};

use crate::harness::{Settings, Side, compare};

const KEYS: usize = 1_000_000;
const VALUE_BYTES: u32 = 24;
const BATCH: usize = 8192;

struct Keyed {
    arena: Arena,
    table: TableId,
}

/// Keys and their hashes in the order of their use, as a batch of rows holds them.
struct Keys {
    bytes: Vec<u8>,
    hashes: Vec<u64>,
}

impl Keys {
    fn new(keys: impl Iterator<Item = u64>) -> Self {
        let bytes: Vec<u8> = keys.flat_map(u64::to_be_bytes).collect();
        let hashes = bytes.chunks_exact(8).map(xxhash_rust::xxh3::xxh3_64).collect();
        Self { bytes, hashes }
    }

    fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.hashes.iter().copied().zip(self.bytes.chunks_exact(8))
    }

    fn batches(&self) -> impl Iterator<Item = (&[u64], KeyBatch<'_>)> {
        let bytes = self.bytes.chunks(BATCH * 8).map(|bytes| KeyBatch::Fixed { bytes, width: 8 });
        self.hashes.chunks(BATCH).zip(bytes)
    }
}

/// Runs the questions about arenas.
pub fn run(settings: &Settings) {
    let keys = settings.rows(KEYS);
    let mut tracked = filled(keys);
    let mut untracked = filled(keys);
    let mut table: std::collections::HashMap<u64, [u64; 2]> = (0..keys as u64).map(|k| (k, [0; 2])).collect();
    let order = shuffled(keys);
    let wanted = Keys::new(order.iter().copied());
    println!("  {keys} keys of 8 bytes, values of {VALUE_BYTES} bytes, random order:");
    compare(
        settings,
        keys,
        vec![
            Side::new("arena point lookup", || lookup(&tracked, &wanted)),
            Side::new("std HashMap lookup", || order.iter().filter(|k| table.contains_key(k)).count() as u64),
        ],
    );
    compare(
        settings,
        keys,
        vec![
            Side::new("arena point update", || update(&mut tracked, &wanted)),
            Side::new("std HashMap update", || {
                order.iter().for_each(|k| table.entry(*k).and_modify(|v| v[0] += 1).or_default()[1] += 1);
                order.len() as u64
            }),
        ],
    );
    let mut tracked = filled(keys);
    compare(
        settings,
        keys,
        vec![
            Side::new("probe + fold, dirty tracking", || fold::<true>(&mut tracked, &wanted)),
            Side::new("probe + fold, without", || fold::<false>(&mut untracked, &wanted)),
        ],
    );
    image(keys);
}

fn filled(keys: usize) -> Keyed {
    let mut arena = Arena::new(ArenaOptions::new(ObjectId(1))).expect("an arena");
    let key = TableKey { operator: OperatorId(1), part: 0 };
    let table = arena.open_table(key, TableShape::fixed(8, VALUE_BYTES)).expect("a table");
    let (mut slots, mut inserted) = (Vec::new(), Vec::new());
    for (hashes, batch) in Keys::new(0..keys as u64).batches() {
        arena.upsert_batch(table, hashes, batch, &mut slots, &mut inserted).expect("room for the keys");
    }
    Keyed { arena, table }
}

fn shuffled(keys: usize) -> Vec<u64> {
    let mut order: Vec<u64> = (0..keys as u64).collect();
    fastrand::Rng::with_seed(42).shuffle(&mut order);
    order
}

fn lookup(state: &Keyed, wanted: &Keys) -> u64 {
    wanted.iter().filter(|(hash, key)| state.arena.get(state.table, *hash, key).is_some()).count() as u64
}

fn update(state: &mut Keyed, wanted: &Keys) -> u64 {
    let mut count = 0;
    for (hash, key) in wanted.iter() {
        let slot = state.arena.get(state.table, hash, key).expect("a key");
        let value = state.arena.value_mut(state.table, slot);
        value[0] = value[0].wrapping_add(1);
        count += 1;
    }
    count
}

/// One batch after another: find the slots of all keys, then add to one field of each, column-wise.
fn fold<const TRACK: bool>(state: &mut Keyed, wanted: &Keys) -> u64 {
    let (mut slots, mut inserted) = (Vec::<Slot>::new(), Vec::new());
    for (hashes, batch) in wanted.batches() {
        state.arena.upsert_batch(state.table, hashes, batch, &mut slots, &mut inserted).expect("known keys");
        let add = |field: &mut [u8; 8]| *field = u64::from_le_bytes(*field).wrapping_add(1).to_le_bytes();
        if TRACK {
            let mut folder = state.arena.fold(state.table).expect("a table");
            slots.iter().for_each(|slot| add(folder.field_mut::<8>(*slot, 0)));
        } else {
            let mut folder = state.arena.fold_untracked(state.table).expect("a table");
            slots.iter().for_each(|slot| add(folder.field_mut::<8>(*slot, 0)));
        }
    }
    wanted.hashes.len() as u64
}

/// Bytes of a checkpoint after touching 1 % of the keys, and the time to load the whole state again.
fn image(keys: usize) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut disk = RealDisk::open(directory.path(), IoMode::Inline).expect("a disk");
    let mut file = PageFile::create(&mut disk, Path::new("shard-0"), ShardId(0)).expect("a page file");
    let mut state = filled(keys);
    let state_bytes = state.arena.bytes_used();
    checkpoint(&mut file, &mut state.arena, &mut disk);
    let before = file.written_bytes();
    update(&mut state, &Keys::new(shuffled(keys).into_iter().take(keys / 100)));
    let mark = checkpoint(&mut file, &mut state.arena, &mut disk);
    let written = file.written_bytes() - before;
    let share = written as f64 / state_bytes as f64 * 100.0;
    println!("  image after touching 1 % of the keys: {written} of {state_bytes} bytes = {share:.2} % of the state");
    drop(file);
    let start = Instant::now();
    let (_, mut arenas) = PageFile::restore(&mut disk, Path::new("shard-0"), ShardId(0), &[mark], ArenaOptions::new)
        .expect("it restores");
    let ready = start.elapsed().as_secs_f64();
    let arena = &mut arenas[0];
    assert_eq!(arena.bytes_used(), state_bytes, "the restored state has another size");
    while arena.load_step().expect("the image is sound") {}
    let seconds = start.elapsed().as_secs_f64();
    println!("  restart: can be used after {:.1} ms", ready * 1e3);
    println!("  read back and verified whole: {:.0} MiB/s", state_bytes as f64 / seconds / (1 << 20) as f64);
}

fn checkpoint(file: &mut PageFile, arena: &mut Arena, disk: &mut RealDisk) -> laminar_storage::page_file::PageFileMark {
    use laminar_storage::disk::Disk;
    arena.freeze();
    let mut arrived = Vec::new();
    let mut settle = |file: &mut PageFile, disk: &mut RealDisk| {
        disk.wait();
        disk.completions(&mut arrived);
        for completion in arrived.drain(..) {
            file.complete(&completion).expect("the disk works");
        }
    };
    while file.write_step(arena, disk, &mut (64 << 20)).expect("a step") != WriteStep::Done {
        settle(file, disk);
    }
    loop {
        match file.finish(disk).expect("a finish") {
            Finish::Done(mark) => {
                file.retain_only(&[mark]);
                return mark;
            }
            Finish::Pending => settle(file, disk),
        }
    }
}
