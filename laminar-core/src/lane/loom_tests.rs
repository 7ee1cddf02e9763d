//! The ring and the bell under the model checker: the same files over loom's atomics.

mod sync {
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
}
mod port {
    pub use crate::reactor::Unpark;
}
#[path = "../reactor/bell.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over the checker's atomics")]
mod bell;
#[path = "ring.rs"]
#[allow(dead_code, clippy::duplicate_mod, reason = "the same file over the checker's atomics")]
mod ring;

use loom::thread;

/// Wakes a loom thread.
struct LoomUnpark(thread::Thread);

impl port::Unpark for LoomUnpark {
    fn unpark(&self) {
        self.0.unpark();
    }
}

// loom's thread handle is not `Send + Sync` by declaration; a channel of the model carries it.
#[test]
fn ring_never_loses_or_tears_a_value() {
    loom::model(|| {
        let (mut put, mut take) = ring::ring::<usize>(2);
        let producer = thread::spawn(move || {
            for value in 1..=3 {
                let mut waiting = value;
                while let Err(back) = put.push(waiting) {
                    waiting = back;
                    thread::yield_now();
                }
            }
        });
        let mut expected = 1;
        while expected <= 3 {
            match take.pop() {
                Some(value) => {
                    assert_eq!(value, expected);
                    expected += 1;
                }
                None => thread::yield_now(),
            }
        }
        producer.join().unwrap();
    });
}

#[test]
fn no_wake_is_lost_between_the_second_look_and_the_sleep() {
    loom::model(|| {
        let (mut put, mut take) = ring::ring::<usize>(2);
        let bell = std::sync::Arc::new(bell::Bell::new(std::sync::Arc::new(LoomUnpark(thread::current()))));
        let ringer = bell.clone();
        let producer = thread::spawn(move || {
            put.push(7).unwrap();
            ringer.ring();
        });
        loop {
            if let Some(value) = take.pop() {
                assert_eq!(value, 7);
                break;
            }
            bell.prepare();
            if take.is_empty() {
                thread::park();
            }
            bell.awake();
        }
        producer.join().unwrap();
    });
}
