//! Both shells keep the same contract.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use laminar_storage::disk::{Completion, Disk, DiskOp, FileId, IoBuffer};

use super::*;

/// Echoes numbers through a mailbox; stops at 0.
struct Echo {
    inbox: Arc<Mailbox<u64>>,
    out: mpsc::Sender<u64>,
    turns: Arc<AtomicU64>,
    until: Option<u64>,
}

impl Turning for Echo {
    fn turn(&mut self, now: Now) -> Turn {
        self.turns.fetch_add(1, Ordering::Relaxed);
        let mut letters = std::collections::VecDeque::new();
        self.inbox.take(&mut letters);
        for letter in letters {
            if letter == 0 {
                return Turn::Stopped;
            }
            self.out.send(letter).unwrap();
        }
        if let Some(until) = self.until.filter(|until| now.micros >= *until) {
            self.out.send(until).unwrap();
            self.until = None;
        }
        Turn::Idle(self.until)
    }

    fn has_work(&mut self) -> bool {
        self.inbox.waiting()
    }

    fn took_long(&mut self, _micros: u64) {}
}

fn start(seat: Seat, dir: &Path, make: Make) -> StoppedReactor {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let watch = Arc::new(Watch::start(clock.clone()).unwrap());
    let start = Start { name: "reactor-test".to_owned(), core: None, data_dir: dir.to_owned(), clock, watch };
    seat.start(start, make).unwrap()
}

fn both(test: impl Fn(Backend)) {
    test(Backend::Thread);
    test(Backend::Glommio);
}

#[test]
fn letters_from_another_thread_arrive_and_an_idle_reactor_does_not_spin() {
    both(|backend| {
        let dir = tempfile::tempdir().unwrap();
        let seat = Seat::new(backend);
        let inbox = Arc::new(Mailbox::new(seat.bell() as Arc<dyn Unpark>));
        let (out, echoes) = mpsc::channel();
        let turns = Arc::new(AtomicU64::new(0));
        let (theirs, counted) = (inbox.clone(), turns.clone());
        let make = move |_| Box::new(Echo { inbox: theirs, out, turns: counted, until: None }) as Box<dyn Turning>;
        let reactor = start(seat, dir.path(), Box::new(make));
        for n in 1..=1000 {
            inbox.post(n);
            assert_eq!(echoes.recv_timeout(Duration::from_secs(20)).unwrap(), n, "{backend:?}");
        }
        assert!(turns.load(Ordering::Relaxed) <= 3 * 1000 + 100, "{backend:?} turned without work");
        inbox.post(0);
        reactor.join().unwrap();
    });
}

/// Without the watch, glommio loses one wake in some ten thousand when cores are scarce.
#[test]
fn no_wake_is_lost_while_other_threads_want_the_cores() {
    let dir = tempfile::tempdir().unwrap();
    let seat = Seat::new(Backend::Glommio);
    let inbox = Arc::new(Mailbox::new(seat.bell() as Arc<dyn Unpark>));
    let (out, echoes) = mpsc::channel();
    let theirs = inbox.clone();
    let make = move |_| Box::new(Echo { inbox: theirs, out, turns: Arc::default(), until: None }) as Box<dyn Turning>;
    let reactor = start(seat, dir.path(), Box::new(make));
    let over = Arc::new(AtomicU64::new(0));
    let burners: Vec<_> = (0..std::thread::available_parallelism().map_or(2, usize::from))
        .map(|_| {
            let over = over.clone();
            std::thread::spawn(move || while over.load(Ordering::Relaxed) == 0 {})
        })
        .collect();
    for n in 1..=30_000 {
        inbox.post(n);
        assert_eq!(echoes.recv_timeout(Duration::from_secs(60)), Ok(n));
    }
    over.store(1, Ordering::Relaxed);
    burners.into_iter().for_each(|burner| burner.join().unwrap());
    inbox.post(0);
    reactor.join().unwrap();
}

#[test]
fn a_sleep_with_an_end_wakes_by_itself() {
    both(|backend| {
        let dir = tempfile::tempdir().unwrap();
        let seat = Seat::new(backend);
        let inbox = Arc::new(Mailbox::new(seat.bell() as Arc<dyn Unpark>));
        let (out, echoes) = mpsc::channel();
        let theirs = inbox.clone();
        let make = move |_| {
            Box::new(Echo { inbox: theirs, out, turns: Arc::default(), until: Some(30_000) }) as Box<dyn Turning>
        };
        let reactor = start(seat, dir.path(), Box::new(make));
        assert_eq!(echoes.recv_timeout(Duration::from_secs(20)).unwrap(), 30_000);
        inbox.post(0);
        reactor.join().unwrap();
    });
}

/// Writes and syncs a file from inside its turns, or writes it through, then reads it back.
struct Writer {
    disk: Box<dyn Disk>,
    file: FileId,
    left: u64,
    in_flight: bool,
    done: mpsc::Sender<Vec<u8>>,
    arrived: Vec<Completion>,
}

impl Turning for Writer {
    fn turn(&mut self, _now: Now) -> Turn {
        self.disk.completions(&mut self.arrived);
        for completion in self.arrived.drain(..) {
            completion.result.unwrap();
            self.in_flight = false;
        }
        if self.in_flight {
            return Turn::Idle(None);
        }
        if self.left == 0 {
            let mut content = vec![0; 4 << 20];
            let read = self.disk.read_at(self.file, 0, &mut content).unwrap();
            content.truncate(read);
            self.done.send(content).unwrap();
            return Turn::Stopped;
        }
        self.left -= 1;
        self.in_flight = true;
        let (file, offset) = (self.file, self.left / 3);
        let byte = b'0' + offset as u8;
        let op = match self.left % 3 {
            // Of two sizes, the smaller of which goes through the ring.
            2 if offset % 2 == 0 => through(file, 4096 + 512 * offset, &[byte; 512]),
            2 => through(file, LARGE_AT, &vec![byte; 1 << 20]),
            1 => DiskOp::Write { file, offset, data: vec![byte] },
            _ => DiskOp::Sync { file },
        };
        self.disk.submit(op);
        Turn::Busy
    }

    fn has_work(&mut self) -> bool {
        self.disk.completions(&mut self.arrived);
        !self.arrived.is_empty()
    }

    fn took_long(&mut self, _micros: u64) {}
}

const LARGE_AT: u64 = 1 << 20;

fn through(file: FileId, offset: u64, bytes: &[u8]) -> DiskOp {
    DiskOp::WriteThrough { file, offset, data: Arc::new(IoBuffer::from(bytes)) }
}

#[test]
fn writes_and_syncs_complete_while_the_engine_sleeps() {
    both(|backend| {
        let dir = tempfile::tempdir().unwrap();
        let (done, content) = mpsc::channel();
        let make = move |mut disk: Box<dyn Disk>| {
            let file = disk.create(Path::new("log")).unwrap();
            Box::new(Writer { disk, file, left: 24, in_flight: false, done, arrived: vec![] }) as Box<dyn Turning>
        };
        let reactor = start(Seat::new(backend), dir.path(), Box::new(make));
        let content = content.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(&content[..8], b"01234567", "{backend:?}");
        let sectors: Vec<u8> = content[4096..8192].chunks(1024).map(|two| two[0]).collect();
        assert_eq!(sectors, b"0246", "{backend:?}");
        assert!(content.len() == 2 << 20 && content[1 << 20..].iter().all(|byte| *byte == b'1'), "{backend:?}");
        reactor.join().unwrap();
    });
}

/// Never idle: the executor must still see wakes of other threads soon (trap: 100 ms pre-emption).
struct Busy {
    inbox: Arc<Mailbox<u64>>,
}

impl Turning for Busy {
    fn turn(&mut self, _now: Now) -> Turn {
        if self.inbox.waiting() { Turn::Stopped } else { Turn::Busy }
    }

    fn has_work(&mut self) -> bool {
        true
    }

    fn took_long(&mut self, _micros: u64) {}
}

#[test]
fn a_busy_reactor_takes_its_letters() {
    both(|backend| {
        let dir = tempfile::tempdir().unwrap();
        let seat = Seat::new(backend);
        let inbox = Arc::new(Mailbox::new(seat.bell() as Arc<dyn Unpark>));
        let theirs = inbox.clone();
        let reactor = start(seat, dir.path(), Box::new(move |_| Box::new(Busy { inbox: theirs }) as Box<dyn Turning>));
        let posted = Instant::now();
        inbox.post(1);
        reactor.join().unwrap();
        assert!(posted.elapsed() < Duration::from_secs(20));
    });
}
