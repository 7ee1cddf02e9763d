//! A bounded ring with one producer and one consumer.
//!
//! Invariants: `head` counts values taken and is written by the consumer only; `tail` counts values
//! put and is written by the producer only; slots in `head..tail` are initialised and belong to the
//! consumer, all others belong to the producer. Both counts wrap; the capacity is a power of two.

use std::mem::MaybeUninit;

use super::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: CacheLine<AtomicUsize>,
    tail: CacheLine<AtomicUsize>,
}

/// Keeps the two counters out of each other's cache line.
#[repr(align(64))]
struct CacheLine<T>(T);

// SAFETY: a slot is touched by one side at a time (the file's invariant, kept by `Producer::push`
// and `Consumer::pop`), so sharing the ring moves values of `T` between threads and no more.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; the ring owns the values in it.
unsafe impl<T: Send> Send for Shared<T> {}

/// The side that puts values in. One thread at a time.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    head_seen: usize,
}

/// The side that takes values out. One thread at a time.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    tail_seen: usize,
}

/// A ring of at least `capacity` slots.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.next_power_of_two();
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        head: CacheLine(AtomicUsize::new(0)),
        tail: CacheLine(AtomicUsize::new(0)),
    });
    (Producer { shared: shared.clone(), tail: 0, head_seen: 0 }, Consumer { shared, head: 0, tail_seen: 0 })
}

impl<T> Producer<T> {
    /// Puts a value, or gives it back when the ring is full.
    ///
    /// # Errors
    /// The value, when there is no free slot.
    pub fn push(&mut self, value: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == capacity {
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == capacity {
                return Err(value);
            }
        }
        self.shared.slots[self.tail & (capacity - 1)].with_mut(|slot| {
            // SAFETY: `tail - head < capacity`, so the slot is outside `head..tail` and belongs to
            // the producer; the acquire load of `head` ordered the consumer's read before this.
            unsafe { (*slot).write(value) };
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value.
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let capacity = self.shared.slots.len();
        let value = self.shared.slots[self.head & (capacity - 1)].with(|slot| {
            // SAFETY: `head < tail`, so the slot is initialised and belongs to the consumer; the
            // acquire load of `tail` ordered the producer's write before this. The slot is given
            // back below and never read again before the next write.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(value)
    }

    /// Whether nothing waits.
    pub fn is_empty(&mut self) -> bool {
        if self.head == self.tail_seen {
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
        }
        self.head == self.tail_seen
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let capacity = self.slots.len();
        let mut head = self.head.0.load(Ordering::Acquire);
        let tail = self.tail.0.load(Ordering::Acquire);
        while head != tail {
            self.slots[head & (capacity - 1)].with_mut(|slot| {
                // SAFETY: both sides are gone, so `head..tail` holds initialised values that
                // nobody else can reach; each is dropped once.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}
