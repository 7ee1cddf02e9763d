//! The queue of one partition: librdkafka's batch consume behind a safe type.
//!
//! The only file of the crate with `unsafe`: rdkafka has no batch consume and hides its queue
//! handle. Invariants: a [`PartitionQueue`] keeps its consumer alive; a [`Taken`] batch gives every
//! message back exactly once; the waker outlives the callback that calls it.

use std::ffi::{CString, c_void};
use std::ptr;
use std::sync::Arc;

use laminar_core::connector::{RawRecord, Wake};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as sys;

/// Messages taken by one call at most; bounds the scratch array.
pub const MOST_PER_CALL: usize = 1024;

/// What a partition queue holds.
pub enum Event<'a> {
    /// A record.
    Record(RawRecord<'a>),
    /// The partition's end was reached; the next record will have this offset or a greater one.
    End(i64),
    /// The partition cannot be read on.
    Failed(RDKafkaErrorCode),
}

/// A partition's own queue, cut off from the consumer's.
pub struct PartitionQueue<C: ConsumerContext> {
    raw: *mut sys::rd_kafka_queue_t,
    scratch: Vec<*mut sys::rd_kafka_message_t>,
    wake: *mut Arc<dyn Wake>,
    topic: CString,
    partition: i32,
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queue handles may be used from any thread, and `Wake` is `Send + Sync`; `scratch` holds pointers only
// while a `Taken` borrows the queue mutably, so none moves to another thread.
unsafe impl<C: ConsumerContext> Send for PartitionQueue<C> {}

/// Called by a librdkafka thread, under the queue's lock, when the empty queue got its first entry.
unsafe extern "C" fn became_nonempty(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: `wake` is the box of the `PartitionQueue` that registered it; `Drop` unregisters under
    // the queue's lock before the box is freed.
    let wake = unsafe { &*wake.cast::<Arc<dyn Wake>>() };
    wake.wake();
}

impl<C: ConsumerContext> PartitionQueue<C> {
    /// Cuts the partition's queue off; call it before the partition is assigned, so that no record
    /// goes to the consumer's own queue. None: the topic's name holds a NUL or librdkafka refuses.
    pub fn open(consumer: Arc<BaseConsumer<C>>, topic: &str, partition: i32, wake: Arc<dyn Wake>) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let native = consumer.client().native_ptr();
        // SAFETY: `native` lives as long as `consumer`, which the result keeps; `topic` is NUL-terminated.
        let raw = unsafe { sys::rd_kafka_queue_get_partition(native, topic.as_ptr(), partition) };
        if raw.is_null() {
            return None;
        }
        let wake = Box::into_raw(Box::new(wake));
        // SAFETY: `raw` is a live handle; `wake` points to a box that only `Drop` frees.
        unsafe {
            sys::rd_kafka_queue_forward(raw, ptr::null_mut());
            sys::rd_kafka_queue_cb_event_enable(raw, Some(became_nonempty), wake.cast());
        }
        Some(Self { raw, scratch: vec![ptr::null_mut(); MOST_PER_CALL], wake, topic, partition, consumer })
    }

    /// Takes what is there, at most `most` entries, without waiting. Fewer than `most` means that the
    /// queue was empty at that moment, so the waker will be called for the next entry.
    pub fn take(&mut self, most: usize) -> Taken<'_> {
        let most = most.clamp(1, MOST_PER_CALL);
        // SAFETY: the array has `MOST_PER_CALL` ≥ `most` places; the handle is live.
        let count = unsafe { sys::rd_kafka_consume_batch_queue(self.raw, 0, self.scratch.as_mut_ptr(), most) };
        let count = usize::try_from(count).unwrap_or(0).min(most);
        Taken { messages: &self.scratch[..count] }
    }

    /// The partition's oldest and next offset as the last fetch told them; none before the first. Takes
    /// a short lock, so it is for status only.
    pub fn known_range(&self) -> Option<(i64, i64)> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the consumer is alive, both places are valid for the call.
        let error = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.consumer.client().native_ptr(),
                self.topic.as_ptr(),
                self.partition,
                &raw mut low,
                &raw mut high,
            )
        };
        (error == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some((low, high))
    }
}

impl<C: ConsumerContext> Drop for PartitionQueue<C> {
    fn drop(&mut self) {
        // SAFETY: the handle is live; unregistering takes the lock under which the callback runs, so
        // afterwards nobody uses `wake`; the consumer is released after this.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.raw, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.raw);
            drop(Box::from_raw(self.wake));
        }
    }
}

/// Messages taken out of a queue; they return to librdkafka when this drops.
pub struct Taken<'a> {
    messages: &'a [*mut sys::rd_kafka_message_t],
}

impl Taken<'_> {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// The entries in order.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        self.messages.iter().map(|message| {
            // SAFETY: librdkafka filled the place with a message that we own until `Drop`.
            let message = unsafe { &**message };
            match RDKafkaErrorCode::from(message.err) {
                RDKafkaErrorCode::NoError => Event::Record(record(message)),
                RDKafkaErrorCode::PartitionEOF => Event::End(message.offset),
                code => Event::Failed(code),
            }
        })
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for message in self.messages {
            // SAFETY: each pointer came from librdkafka and is given back here only.
            unsafe { sys::rd_kafka_message_destroy(*message) };
        }
    }
}

fn record(message: &sys::rd_kafka_message_t) -> RawRecord<'_> {
    let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: a live message and a valid place.
    let timestamp = unsafe { sys::rd_kafka_message_timestamp(message, &raw mut kind) };
    RawRecord {
        payload: slice(message, message.payload, message.len).unwrap_or_default(),
        key: slice(message, message.key, message.key_len),
        offset: u64::try_from(message.offset).unwrap_or(0),
        timestamp_ms: (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE).then_some(timestamp),
    }
}

/// The bytes at `data`; they live as long as the message that owns them.
fn slice(_owner: &sys::rd_kafka_message_t, data: *mut c_void, len: usize) -> Option<&[u8]> {
    if data.is_null() {
        return None;
    }
    // SAFETY: librdkafka guarantees `len` readable bytes at a non-null `data` for the message's life.
    Some(unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len) })
}
