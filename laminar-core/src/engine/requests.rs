//! The idempotency keys of one table or push source: which requests it has taken, and how many rows each was told.
//!
//! Invariants: a request is known from the moment its rows are accepted; it is in the arena from the moment they
//! enter, so that the image of a barrier knows exactly the requests of the rows before it; the newest `limit` are
//! known, in the order in which they were accepted.

use std::collections::{BTreeMap, VecDeque};

use super::EngineError;
use super::attach::arena_id;
use super::core::Engine;
use super::message::Event;
use super::push::Push;
use super::push_record::Record;
use super::request_key::RequestKey;
use crate::data::Batch;
use crate::ids::{ObjectId, OperatorId};
use crate::operator::OperatorError;
use crate::shard::hash_word;
use laminar_storage::arena::{Arena, ArenaOptions, KeyShape, ScanCursor, TableId, TableKey, TableShape};

/// Stands where a fragment's number stands in an arena's id.
const PART: u8 = u8::MAX;

const TABLE: TableKey = TableKey { operator: OperatorId(0), part: 0 };

/// Number of the request → its digests and its rows.
const SHAPE: TableShape = TableShape { value_len: RequestKey::BYTES as u32 + 8, key: KeyShape::Fixed(8) };

/// Room that no request needs, and what one needs with its place in the index, generously.
const BYTES: (u64, u64) = (16 << 20, 256);

/// A request that has been accepted.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    number: u64,
    request: RequestKey,
    rows: u64,
}

/// See the file's invariants.
pub struct Requests {
    object: ObjectId,
    limit: u64,
    /// By the digest of the key: the digest of the body, and rows.
    known: BTreeMap<u128, (u128, u64)>,
    /// The keys by age, the oldest first; that one's number is `first`.
    order: VecDeque<u128>,
    first: u64,
    /// Made when the first key is used.
    stored: Option<Stored>,
}

struct Stored {
    arena: Arena,
    table: TableId,
    oldest: u64,
}

/// The id of the arena that holds an object's requests.
pub fn requests_id(object: ObjectId) -> ObjectId {
    arena_id(object, PART)
}

/// How large an arena may become, if it is one of requests.
pub fn arena_options(id: ObjectId, limit: u64) -> Option<ArenaOptions> {
    let memory_limit = BYTES.0 + BYTES.1.saturating_mul(limit);
    (id.0 as u8 == PART).then(|| ArenaOptions { memory_limit, ..ArenaOptions::new(id) })
}

impl Requests {
    /// The requests of an object as a checkpoint left them; none known without an arena.
    ///
    /// # Errors
    /// The arena holds something else.
    pub fn new(object: ObjectId, limit: u64, arena: Option<Arena>) -> Result<Self, OperatorError> {
        let mut made = Self { object, limit, known: BTreeMap::new(), order: VecDeque::new(), first: 0, stored: None };
        let Some(mut arena) = arena else { return Ok(made) };
        let table = arena.open_table(TABLE, SHAPE)?;
        let mut found: BTreeMap<u64, (RequestKey, u64)> = BTreeMap::new();
        let mut cursor = Some(ScanCursor::default());
        while let Some(from) = cursor {
            cursor = arena.scan(table, from, usize::MAX, |_, number, value| {
                found.extend(number_of(number).zip(entry_of(value)));
            });
        }
        made.first = found.first_key_value().map_or(0, |(number, _)| *number);
        for (request, rows) in found.into_values() {
            made.order.push_back(request.key);
            made.known.insert(request.key, (request.body, rows));
        }
        made.stored = Some(Stored { arena, table, oldest: made.first });
        Ok(made)
    }

    /// The rows that a request was told before.
    fn find(&self, request: RequestKey) -> Result<Option<u64>, Reused> {
        match self.known.get(&request.key) {
            None => Ok(None),
            Some((body, rows)) if *body == request.body => Ok(Some(*rows)),
            Some(_) => Err(Reused),
        }
    }

    /// Makes sure that the next request can be kept.
    fn prepare(&mut self) -> Result<(), OperatorError> {
        if self.stored.is_none() {
            let id = requests_id(self.object);
            let options = arena_options(id, self.limit).unwrap_or(ArenaOptions::new(id));
            let mut arena = Arena::new(options)?;
            let table = arena.open_table(TABLE, SHAPE)?;
            self.stored = Some(Stored { arena, table, oldest: self.first });
        }
        Ok(())
    }

    /// Takes note of a request whose rows are accepted; the oldest beyond the limit are forgotten.
    pub fn accept(&mut self, request: RequestKey, rows: u64) -> Taken {
        let number = self.first + self.order.len() as u64;
        self.order.push_back(request.key);
        self.known.insert(request.key, (request.body, rows));
        while self.order.len() as u64 > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
            self.first += 1;
        }
        Taken { number, request, rows }
    }

    /// Its rows have entered the chains.
    fn enter(&mut self, taken: &Taken) -> Result<(), OperatorError> {
        self.prepare()?;
        let Some(Stored { arena, table, oldest }) = &mut self.stored else { return Ok(()) };
        let (slot, _) = arena.upsert(*table, hash_word(taken.number), &taken.number.to_le_bytes())?;
        let value = arena.value_mut(*table, slot);
        value[..RequestKey::BYTES].copy_from_slice(&taken.request.to_bytes());
        value[RequestKey::BYTES..].copy_from_slice(&taken.rows.to_le_bytes());
        while *oldest + self.limit <= taken.number {
            arena.remove(*table, hash_word(*oldest), &oldest.to_le_bytes());
            *oldest += 1;
        }
        Ok(())
    }

    /// Their arena, if one was needed.
    pub fn arena(&mut self) -> Option<&mut Arena> {
        self.stored.as_mut().map(|stored| &mut stored.arena)
    }
}

/// The key names another request.
struct Reused;

fn number_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn entry_of(value: &[u8]) -> Option<(RequestKey, u64)> {
    Some((RequestKey::from_bytes(value)?, number_of(value.get(RequestKey::BYTES..)?)?))
}

impl Push {
    /// The arena of its requests and the local shard that it belongs to.
    pub fn requests_arena(&mut self) -> Option<(usize, &mut Arena)> {
        let slot = self.feed()?.slot;
        Some((slot, self.requests.as_mut()?.arena()?))
    }
}

impl Engine {
    /// The rows that a request was told before, and will be told again; none = it is new.
    pub(super) fn repeated(
        &mut self,
        object: ObjectId,
        request: Option<RequestKey>,
    ) -> Result<Option<u64>, EngineError> {
        let Some(request) = request else { return Ok(None) };
        let Some(push) = self.push_of(object) else { return Ok(None) };
        let Some(requests) = push.requests.as_mut() else { return Ok(None) };
        match requests.find(request) {
            Ok(None) => requests.prepare().map(|()| None).map_err(EngineError::from),
            Ok(rows) => Ok(rows),
            Err(Reused) => Err(EngineError::KeyReused { object: push.plan.source.name.clone() }),
        }
    }

    /// Takes note of the request of a replayed record.
    pub(super) fn replayed(&mut self, object: ObjectId, record: Record) -> Result<(Batch, Option<Taken>), EngineError> {
        let requests = self.push_of(object).and_then(|push| push.requests.as_mut());
        let taken = requests.zip(record.request).map(|(requests, (request, rows))| requests.accept(request, rows));
        Ok((record.batch, taken))
    }

    /// The rows of a request have entered: the next checkpoint holds both.
    pub(super) fn enter_request(&mut self, object: ObjectId, taken: &Taken) {
        let Some(requests) = self.push_of(object).and_then(|push| push.requests.as_mut()) else { return };
        if let Err(error) = requests.enter(taken) {
            // The rows would be in a checkpoint that does not know their key, and a repetition would enter again.
            self.tell(Event::Fatal(error.into()));
            self.stop();
        }
    }

    /// A checkpoint's barrier has come: what is known of requests becomes its image.
    pub(super) fn freeze_requests(&mut self) {
        for (_, arena) in self.pushes.iter_mut().filter_map(Push::requests_arena) {
            arena.freeze();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(key: u128) -> RequestKey {
        RequestKey { key, body: key * 10 }
    }

    /// The requests as the next life finds them.
    fn restart(requests: Requests, limit: u64) -> Requests {
        let arena = requests.stored.map(|stored| stored.arena);
        Requests::new(ObjectId(1), limit, arena).unwrap()
    }

    fn take(requests: &mut Requests, key: u128) {
        let taken = requests.accept(request(key), key as u64);
        requests.enter(&taken).unwrap();
    }

    #[test]
    fn the_newest_requests_are_known_up_to_the_limit_also_after_restarts() {
        let mut requests = Requests::new(ObjectId(1), 3, None).unwrap();
        for key in 1..=5 {
            take(&mut requests, key);
        }
        for limit in [3, 3, 2] {
            requests = restart(requests, limit);
            let known: Vec<u128> = (1..=5).filter(|key| matches!(requests.find(request(*key)), Ok(Some(_)))).collect();
            assert_eq!(known, [3, 4, 5], "a lower limit forgets with the next request");
        }
        take(&mut requests, 6);
        requests = restart(requests, 2);
        let known: Vec<u128> = (1..=6).filter(|key| matches!(requests.find(request(*key)), Ok(Some(_)))).collect();
        assert_eq!(known, [5, 6]);
        let stored = requests.stored.as_ref().unwrap();
        assert_eq!(stored.arena.len(stored.table), 2);
    }

    #[test]
    fn a_known_key_with_another_body_is_told_apart() {
        let mut requests = Requests::new(ObjectId(1), 3, None).unwrap();
        take(&mut requests, 7);
        assert!(matches!(requests.find(request(7)), Ok(Some(7))));
        assert!(matches!(requests.find(RequestKey { body: 1, ..request(7) }), Err(Reused)));
        assert!(matches!(requests.find(request(8)), Ok(None)));
    }
}
