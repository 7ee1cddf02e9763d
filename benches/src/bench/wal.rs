//! How near does WAL group commit come to a raw write + fdatasync of the same bytes?
//!
//! Both in the long run: the log goes over the files that checkpoints have released, the probe over a file of as many
//! bytes, so that both write to blocks that were written before.

use std::time::Instant;

use laminar_storage::disk::{Disk, DiskOp, IoMode, RealDisk};
use laminar_storage::ids::{Incarnation, ReactorId, ShardId};
use laminar_storage::log::{DirectoryId, LogOptions};
use laminar_storage::wal::Wal;

use crate::harness::{Settings, spread};

const RECORD_BYTES: usize = 128;
const COMMITS: usize = 200;
/// Segments that the log goes round in.
const FILES: u64 = 3;

/// Compares per batch size, by wall time (the disk is the limit), runs in turn.
pub fn run(settings: &Settings) {
    for per_commit in [1, 100, 1_000, 10_000] {
        let commits = settings.rows(COMMITS).min(2_000_000 / per_commit);
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..=settings.runs {
            let (a, b) = (group_commit(per_commit, commits), raw_probe(per_commit, commits));
            if round > 0 {
                ours.push(a);
                raw.push(b);
            }
        }
        let ratios: Vec<f64> = ours.iter().zip(&raw).map(|(a, b)| a / b).collect();
        let ((_, rate, _), (low, ratio, high)) = (spread(&ours), spread(&ratios));
        println!(
            "  {RECORD_BYTES}-byte records × {per_commit:>6} per commit: {:>9.0} rec/s, {ratio:.2} × raw probe ({low:.2}–{high:.2})",
            rate
        );
    }
}

/// Records a second through the WAL: append a batch, wait until it is durable; what is behind it is released at once.
fn group_commit(per_commit: usize, commits: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let mut disk = RealDisk::open(directory.path(), IoMode::Inline).expect("a disk");
    Wal::prepare_directories(&mut disk).expect("directories");
    let mut wal =
        Wal::create(DirectoryId::default(), Incarnation(1), ReactorId(0), LogOptions::default()).expect("a log");
    let mut commit = |record: &[u8], count: usize| {
        for _ in 0..count {
            wal.append(ShardId(0), &[record]).expect("room");
        }
        wal.settle(&mut disk).expect("the disk works");
        let durable = wal.durable();
        wal.release_before(&mut disk, durable);
    };
    let filling = vec![7; 1 << 20];
    for _ in 0..FILES * (LogOptions::default().segment_bytes >> 20) {
        commit(&filling, 1);
    }
    let start = Instant::now();
    for _ in 0..commits {
        commit(&[7; RECORD_BYTES], per_commit);
    }
    (commits * per_commit) as f64 / start.elapsed().as_secs_f64()
}

/// The same bytes through one write and one sync a commit, over and over a file that is as long as the log's.
fn raw_probe(per_commit: usize, commits: usize) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let mut disk = RealDisk::open(directory.path(), IoMode::Inline).expect("a disk");
    let file = disk.create("probe".as_ref()).expect("a file");
    let bytes = per_commit * RECORD_BYTES;
    let len = FILES * LogOptions::default().segment_bytes;
    let mut done = Vec::new();
    let mut run = |disk: &mut RealDisk, op: DiskOp| {
        disk.submit(op);
        disk.wait();
        disk.completions(&mut done);
        done.drain(..).for_each(|c| c.result.expect("the disk works"));
    };
    run(&mut disk, DiskOp::Allocate { file, offset: 0, len });
    run(&mut disk, DiskOp::Write { file, offset: 0, data: vec![7; len as usize] });
    run(&mut disk, DiskOp::Sync { file });
    let start = Instant::now();
    for commit in 0..commits {
        let offset = (commit * bytes) as u64 % (len - bytes as u64);
        run(&mut disk, DiskOp::Write { file, offset, data: vec![7; bytes] });
        run(&mut disk, DiskOp::Sync { file });
    }
    (commits * per_commit) as f64 / start.elapsed().as_secs_f64()
}
