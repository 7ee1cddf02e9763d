//! What the engine may cost, counted: syncs of a checkpoint, allocations of a batch. Times are not
//! asserted anywhere; these counts do not depend on the machine.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use laminar_core::engine::OnConflict;
use laminar_sim::{World, WorldOptions};
use laminar_storage::disk::DiskCounts;

/// Counts the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count_one() {
    // A thread that ends allocates after its counter is gone; nobody asks for that count.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn options(shards: u16, reactors: u16) -> WorldOptions {
    // No checkpoint but those that are asked for.
    let checkpoint_interval = Duration::from_secs(3600);
    WorldOptions {
        seed: 1,
        shards,
        reactors,
        batch_rows: 4096,
        checkpoint_interval,
        outbox_bytes: 256 << 20,
        spill_bytes: None,
        in_memory: &[],
    }
}

const SOURCE: &str = "CREATE SOURCE s (k BIGINT, v BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '1 second')";

/// `count` rows over `keys` keys in one second of event time.
fn rows(world: &World, count: usize, keys: i64, second: i64) -> RecordBatch {
    let each = |f: &dyn Fn(i64) -> i64| -> Vec<i64> { (0..count as i64).map(f).collect() };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(each(&|i| i % keys))),
        Arc::new(Int64Array::from(each(&|i| i % 10))),
        Arc::new(TimestampMicrosecondArray::from(each(&|i| second * 1_000_000 + i % 1000))),
    ];
    RecordBatch::try_new(world.schema("s").unwrap(), columns).unwrap()
}

fn push(world: &mut World, rows: RecordBatch) {
    world.insert(vec![("s", rows, OnConflict::Error)]).unwrap();
}

/// Syncs (of files, of directories) of one checkpoint over `views` keyed views after `count` new rows.
fn syncs(shards: u16, reactors: u16, views: usize, count: usize) -> (u64, u64) {
    let mut world = World::new(options(shards, reactors)).unwrap();
    world.define(SOURCE).unwrap();
    for view in 0..views {
        let create = format!("CREATE MATERIALIZED VIEW q{view} AS SELECT k, sum(v) AS total FROM s GROUP BY k");
        world.define(&create).unwrap();
    }
    // The first checkpoint makes the files; the ones after it are the rule.
    for second in 0..3 {
        let more = rows(&world, 100, 64, second);
        push(&mut world, more);
        world.read("q0").unwrap();
        world.checkpoint().unwrap();
    }
    let more = rows(&world, count, 64, 3);
    push(&mut world, more);
    world.read("q0").unwrap();
    let counters = world.machine().counters();
    let before = counters.read();
    world.checkpoint().unwrap();
    let DiskCounts { syncs, directory_syncs, .. } = counters.read();
    (syncs - before.syncs, directory_syncs - before.directory_syncs)
}

#[test]
fn checkpoint_costs_the_same_syncs_whatever_the_number_of_rows() {
    for (shards, reactors, views) in [(1, 1, 1), (4, 1, 1), (4, 2, 1), (4, 4, 1), (4, 1, 3), (4, 4, 3)] {
        let few = syncs(shards, reactors, views, 10);
        let many = syncs(shards, reactors, views, 20_000);
        assert_eq!(few, many, "{shards} shards, {reactors} reactors, {views} views");
        // The page file of each shard, then the manifest; no directory, for no file is new.
        assert_eq!(few, (u64::from(shards) + 1, 0), "{shards} shards, {reactors} reactors, {views} views");
    }
}

/// Allocations of `batches` batches of `count` rows on their way through filter, exchange and tumble.
fn allocations(world: &mut World, batches: i64, count: usize, first: i64) -> u64 {
    let batches: Vec<RecordBatch> = (first..first + batches).map(|second| rows(world, count, 64, second)).collect();
    let before = ALLOCATIONS.get();
    for batch in batches {
        push(world, batch);
    }
    ALLOCATIONS.get() - before
}

#[test]
fn allocations_grow_with_batches_not_rows_from_filter_over_exchange_to_tumble() {
    let mut world = World::in_memory(options(4, 2));
    world.define(SOURCE).unwrap();
    let query = "CREATE STREAM q AS SELECT k, count(*) AS n, sum(v) AS total, window_start, window_end
        FROM s WHERE v > 2 GROUP BY k, TUMBLE(ts, INTERVAL '1 second')";
    world.define(query).unwrap();
    // Buffers that are kept grow to the size of the greatest batch first.
    allocations(&mut world, 50, 4000, 0);
    let few = allocations(&mut world, 100, 250, 50);
    let many = allocations(&mut world, 100, 4000, 150);
    let twice = allocations(&mut world, 200, 250, 250);
    println!("100 batches of 250 rows: {few} allocations; of 4000 rows: {many}; 200 of 250: {twice}");
    assert!(many * 100 <= few * 110, "16 times the rows: {many} allocations instead of {few}");
    assert!(twice * 100 >= few * 180 && twice * 100 <= few * 220, "twice the batches: {twice} instead of {few}");
}
