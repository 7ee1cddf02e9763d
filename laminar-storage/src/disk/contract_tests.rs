//! What every disk must do: one suite over the real disk (both modes) and the simulated one.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{Blocking, Disk, DiskErrorKind, DiskOp, IoBuffer, IoMode, RealDisk, SimMachine};

/// Runs a claim against every disk, each with an empty directory.
fn on_every_disk(claim: impl Fn(&mut dyn Disk)) {
    for mode in [IoMode::Inline, IoMode::Thread(None)] {
        let root = tempfile::tempdir().unwrap();
        claim(&mut RealDisk::open(root.path(), mode).unwrap());
    }
    claim(&mut SimMachine::new(3).disk());
}

fn content(disk: &mut dyn Disk, path: &str) -> Vec<u8> {
    Blocking::new(disk).read_file(Path::new(path), 1 << 20).unwrap()
}

#[test]
fn what_was_written_is_read() {
    on_every_disk(|disk| {
        let file = disk.create(Path::new("a")).unwrap();
        let mut blocking = Blocking::new(disk);
        blocking.write(file, 3, b"tail".to_vec()).unwrap();
        blocking.write(file, 0, b"abc".to_vec()).unwrap();
        blocking.sync(file).unwrap();
        let mut bytes = [9; 10];
        assert_eq!(disk.read_at(file, 2, &mut bytes).unwrap(), 5);
        assert_eq!(&bytes[..5], b"ctail");
        assert_eq!(disk.read_at(file, 100, &mut bytes).unwrap(), 0);
        assert_eq!(disk.len(file).unwrap(), 7);
        let reader = disk.reader(file).unwrap();
        disk.close(file);
        assert_eq!(
            (reader.read_at(4, &mut bytes).unwrap(), &bytes[..3]),
            (3, &b"ail"[..]),
            "a reader outlives the handle"
        );
    });
}

#[test]
fn what_was_written_through_is_read_wherever_it_begins_and_however_long_it_is() {
    on_every_disk(|disk| {
        let file = disk.create(Path::new("a")).unwrap();
        let mut blocking = Blocking::new(disk);
        blocking.run(DiskOp::Allocate { file, offset: 0, len: 4 << 20 }).unwrap();
        blocking.sync(file).unwrap();
        let mut expected = vec![0; 4 << 20];
        // Whole blocks, whole sectors, neither, and more than a huge page; some over the others.
        let places = [(4096, 8192), (512, 512), (1536, 3 * 512), (5, 3), (8190, 4097), (1 << 20, (2 << 20) + 512)];
        for (byte, (offset, len)) in (1..).zip(places) {
            let data = Arc::new(IoBuffer::from(&vec![byte; len][..]));
            blocking.run(DiskOp::WriteThrough { file, offset: offset as u64, data: Arc::clone(&data) }).unwrap();
            assert_eq!(Arc::strong_count(&data), 1, "the buffer can be used again");
            expected[offset..offset + len].fill(byte);
        }
        blocking.write(file, 6000, vec![99; 10]).unwrap();
        expected[6000..6010].fill(99);
        let file = disk.open(Path::new("a")).unwrap();
        let mut found = vec![9; (4 << 20) + 1];
        assert_eq!(disk.read_at(file, 0, &mut found).unwrap(), 4 << 20);
        assert!(found[..4 << 20] == expected);
    });
}

#[test]
fn a_scratch_file_has_no_name_and_a_range_that_was_given_back_holds_zeros() {
    on_every_disk(|disk| {
        let mut scratch = disk.scratch().unwrap();
        scratch.allocate(1 << 20, 1 << 16).unwrap();
        scratch.write(1 << 20, b"abc").unwrap();
        let read = |scratch: &dyn super::Scratch| {
            let mut bytes = [9; 4];
            let file = std::fs::File::from(scratch.file().try_clone_to_owned().unwrap());
            file.read_exact_at(&mut bytes, 1 << 20).unwrap();
            bytes
        };
        assert_eq!(&read(scratch.as_ref()), b"abc\0");
        scratch.free(1 << 20, 1 << 16);
        assert_eq!(read(scratch.as_ref()), [0; 4]);
        assert_eq!(disk.list(Path::new(".")).unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_scratch_file_leaves_a_part_of_the_volume_to_files_that_must_survive() {
    let machine = SimMachine::new(1);
    machine.set_capacity(64 << 20);
    let mut disk = machine.disk();
    let mut scratch = disk.scratch().unwrap();
    scratch.allocate(0, 60 << 20).unwrap();
    let refused = scratch.allocate(60 << 20, 4096).unwrap_err();
    assert_eq!(refused.kind, DiskErrorKind::NoSpace, "{refused:?}");
    let file = disk.create(Path::new("a")).unwrap();
    let ticket = disk.submit(DiskOp::Allocate { file, offset: 0, len: 4 << 20 });
    disk.wait();
    let mut arrived = Vec::new();
    disk.completions(&mut arrived);
    assert!(arrived.iter().any(|done| done.ticket == ticket && done.result.is_ok()), "{arrived:?}");
}

#[test]
fn every_ticket_completes_exactly_once_and_in_time_for_wait() {
    on_every_disk(|disk| {
        let file = disk.create(Path::new("a")).unwrap();
        let mut open: Vec<_> = (0..50_u64)
            .map(|n| disk.submit(DiskOp::Write { file, offset: n * 100, data: vec![n as u8; 100] }))
            .collect();
        assert!(open.is_sorted());
        let mut arrived = Vec::new();
        while !open.is_empty() {
            disk.wait();
            disk.completions(&mut arrived);
            assert!(!arrived.is_empty(), "wait returns when there is something");
            for completion in arrived.drain(..) {
                completion.result.unwrap();
                let at = open.iter().position(|ticket| *ticket == completion.ticket).expect("once");
                open.remove(at);
            }
        }
        disk.wait();
        disk.completions(&mut arrived);
        assert!(arrived.is_empty());
    });
}

#[test]
fn names_change_as_asked_and_open_files_stay() {
    on_every_disk(|disk| {
        disk.create_dir(Path::new("x/y")).unwrap();
        disk.create_dir(Path::new("x/y")).unwrap();
        let file = disk.create(Path::new("x/y/a")).unwrap();
        assert_eq!(disk.create(Path::new("x/y/a")).unwrap_err().kind, DiskErrorKind::Exists);
        assert_eq!(disk.open(Path::new("x/y/b")).unwrap_err().kind, DiskErrorKind::NotFound);
        let mut blocking = Blocking::new(disk);
        blocking.run(DiskOp::Rename { from: "x/y/a".into(), to: "x/y/b".into() }).unwrap();
        blocking.write(file, 0, b"still there".to_vec()).unwrap();
        blocking.sync_dir(Path::new("x/y")).unwrap();
        assert_eq!(content(disk, "x/y/b"), b"still there");
        assert_eq!(disk.list(Path::new("x/y")).unwrap(), ["b"]);
        assert_eq!(disk.list(Path::new("x")).unwrap(), Vec::<String>::new(), "files only");
        let mut blocking = Blocking::new(disk);
        blocking.run(DiskOp::Remove { path: "x/y/b".into() }).unwrap();
        let again = blocking.run(DiskOp::Remove { path: "x/y/b".into() });
        assert_eq!(again.unwrap_err().kind, DiskErrorKind::NotFound);
        let mut bytes = [0; 5];
        assert_eq!(disk.read_at(file, 0, &mut bytes).unwrap(), 5);
        assert_eq!(disk.list(Path::new("nowhere")).unwrap(), Vec::<String>::new());
    });
}

#[test]
fn allocation_and_truncation_set_the_length_and_read_as_zero() {
    on_every_disk(|disk| {
        let file = disk.create(Path::new("a")).unwrap();
        let mut blocking = Blocking::new(disk);
        blocking.run(DiskOp::Allocate { file, offset: 0, len: 8192 }).unwrap();
        blocking.write(file, 0, vec![1; 100]).unwrap();
        blocking.run(DiskOp::Truncate { file, len: 50 }).unwrap();
        blocking.run(DiskOp::Truncate { file, len: 200 }).unwrap();
        blocking.sync(file).unwrap();
        let expected = [vec![1; 50], vec![0; 150]].concat();
        assert_eq!(content(disk, "a"), expected);
    });
}

#[test]
fn a_closed_file_fails_and_the_next_one_works() {
    on_every_disk(|disk| {
        let file = disk.create(Path::new("a")).unwrap();
        disk.close(file);
        assert!(Blocking::new(disk).sync(file).is_err());
        assert!(disk.len(file).is_err());
        let file = disk.open(Path::new("a")).unwrap();
        Blocking::new(disk).sync(file).unwrap();
    });
}

#[test]
fn the_real_disk_stays_inside_its_directory_and_counts() {
    let root = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::open(&root.path().join("new/data"), IoMode::Thread(None)).unwrap();
    for path in ["../a", "/etc/a", "x/../../a"] {
        assert!(disk.create(Path::new(path)).is_err(), "{path}");
    }
    let counters = disk.counters();
    let file = disk.create(Path::new("a")).unwrap();
    let mut blocking = Blocking::new(&mut disk);
    blocking.write(file, 0, vec![1; 300]).unwrap();
    blocking.sync(file).unwrap();
    blocking.sync_dir(Path::new("")).unwrap();
    blocking.run(DiskOp::WriteThrough { file, offset: 0, data: Arc::new(IoBuffer::from(&[1; 512][..])) }).unwrap();
    let counts = counters.read();
    assert_eq!((counts.writes, counts.write_bytes, counts.syncs, counts.directory_syncs), (2, 812, 2, 1));
    assert_eq!(counts.failures, 0);
}

#[test]
fn the_io_thread_wakes_its_owner_after_each_completion() {
    let root = tempfile::tempdir().unwrap();
    let (woken, wakes) = std::sync::mpsc::channel();
    let wake: super::Wake = std::sync::Arc::new(move || woken.send(()).unwrap());
    let mut disk = RealDisk::open(root.path(), IoMode::Thread(Some(wake))).unwrap();
    let file = disk.create(Path::new("a")).unwrap();
    disk.submit(DiskOp::Write { file, offset: 0, data: vec![1] });
    wakes.recv().unwrap();
    let mut arrived = Vec::new();
    disk.completions(&mut arrived);
    assert_eq!(arrived.len(), 1);
}

/// A WAL through the real disk: closed, read again by another handle.
#[test]
fn a_wal_on_the_real_disk_reads_back() {
    use crate::ids::{Incarnation, Lsn, ReactorId, ShardId};
    use crate::log::{DirectoryId, Known, LogOptions};
    use crate::wal::{Reader, Wal};
    let root = tempfile::tempdir().unwrap();
    let mut disk = RealDisk::open(root.path(), IoMode::Thread(None)).unwrap();
    Wal::prepare_directories(&mut disk).unwrap();
    let place = (Incarnation(1), ReactorId(0));
    let options =
        LogOptions { segment_bytes: 1 << 20, max_record_bytes: 4096, max_group_bytes: 65536, ..LogOptions::default() };
    let options = LogOptions { max_pending_bytes: 1 << 30, ..options };
    let mut wal = Wal::create(DirectoryId(5), place.0, place.1, options).unwrap();
    for n in 0..20_000_u32 {
        wal.append(ShardId(1), &[&n.to_le_bytes(), &[7; 100]]).unwrap();
        if n % 5_000 == 0 {
            wal.settle(&mut disk).unwrap();
        }
    }
    wal.close(&mut disk).unwrap();
    let mut other = RealDisk::open(root.path(), IoMode::Inline).unwrap();
    let mut reader = Reader::open(&mut other, DirectoryId(5), place, Lsn(0), Known::Durable(0)).unwrap();
    let mut count = 0_u32;
    while let Some(record) = reader.next(&mut other).unwrap() {
        assert_eq!(record.payload[..4], count.to_le_bytes());
        count += 1;
    }
    assert_eq!(count, 20_000);
}
