//! Test vectors of the formats: the bytes here stand in docs/format.md too, and neither may change alone.

use super::super::delta::{DeltaBuilder, DeltaPage, decode, head_bytes};
use super::super::layout::{
    ArenaRow, DeltaRow, FILE_VERSION, SegmentRow, decode_header, decode_root, decode_table, encode_header, encode_root,
    encode_table,
};
use super::super::mark::PageFileMark;
use crate::arena::tests::Bytes;
use crate::arena::{Arena, ArenaOptions, TableKey, TableShape};
use crate::ids::{ObjectId, OperatorId, ShardId};

const FORMAT: &str = include_str!("../../../../docs/format.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_documented(name: &str, bytes: &[u8]) {
    let line = format!("{name}: `{}`", hex(bytes));
    assert!(FORMAT.contains(&line), "docs/format.md lacks the vector {line}");
}

#[test]
fn file_header_root_table_and_mark_have_the_documented_bytes() {
    let header = encode_header(ShardId(3));
    is_documented("file header (first 32 bytes)", &header[..32]);
    assert!(header[32..].iter().all(|byte| *byte == 0));
    assert_eq!(decode_header(&header), Ok((FILE_VERSION, ShardId(3))));

    let rows = [ArenaRow { id: ObjectId(5), offset: 8192, len: 72, crc: 0x0102_0304 }];
    let root = encode_root(ShardId(3), 9, &rows);
    is_documented("root", &root);
    assert_eq!(decode_root(&root, ShardId(3), 9), Some(rows.to_vec()));
    assert_eq!(decode_root(&root, ShardId(3), 8), None);

    let segments = [SegmentRow::default(), SegmentRow { offset: 2 << 20, generation: 7, crc: 0xaabb_ccdd }];
    let deltas = [DeltaRow { offset: 12_288, generation: 9, len: 128, crc: 0x1122_3344 }];
    let table = encode_table(ObjectId(5), &segments, &deltas);
    is_documented("arena table", &table);
    assert_eq!(decode_table(&table, ObjectId(5)), Some((segments.to_vec(), deltas.to_vec())));

    let mark = PageFileMark {
        shard: ShardId(3),
        generation: 9,
        root_offset: 4096,
        root_len: root.len() as u32,
        root_crc: crc32c::crc32c(&root),
    };
    is_documented("mark", &mark.encode());
}

#[test]
fn a_delta_has_the_documented_bytes() {
    let builder = DeltaBuilder { pages: vec![(515, 0b10)], blocks: vec![0xee; 64] };
    let (bytes, crc) = builder.encode(ObjectId(5), 9);
    assert_eq!(bytes.len(), builder.len());
    is_documented("delta", &bytes);
    assert_eq!((head_bytes(&bytes, 128), head_bytes(&bytes, 63)), (Some(64), None));
    assert_eq!(crc, crc32c::crc32c(&bytes[..64]));
    let pages = decode(&bytes[..64], 128, ObjectId(5), 9).unwrap();
    assert_eq!(pages, [DeltaPage { page: 515, crc: crc32c::crc32c(&bytes[64..]), mask: 0b10, at: 64 }]);
    assert_eq!((decode(&bytes[..64], 128, ObjectId(5), 8), decode(&bytes[..64], 127, ObjectId(5), 9)), (None, None));
}

/// The interesting blocks of an arena with one table, one key and one blob.
#[test]
fn an_arena_has_the_documented_bytes() {
    let mut arena = Arena::new(ArenaOptions::new(ObjectId(5))).unwrap();
    let key = TableKey { operator: OperatorId(0x0a0b), part: -2 };
    let table = arena.open_table(key, TableShape::variable(8)).unwrap();
    let hash = 0x1234_5678_9abc_def0;
    let (slot, _) = arena.upsert(table, hash, b"k").unwrap();
    let blob = arena.put_blob(table, b"hello").unwrap();
    arena.value_mut(table, slot).copy_from_slice(&blob.as_u64().to_le_bytes());
    arena.freeze();
    let region = &arena.pages.region;
    let page = |number: usize| (2 << 20) + number * 4096;
    is_documented("arena header", region.bytes(0, 24));
    for (at, name) in ["of table records", "of a bucket", "of a slab", "of blobs"].iter().enumerate() {
        is_documented(&format!("descriptor {name}"), region.bytes((512 + at) * 16, 16));
    }
    is_documented("table record", region.bytes(page(0), 64));
    is_documented("chunk of a bucket", region.bytes(page(1) + (hash as usize % 64) * 64, 64));
    is_documented("entry", region.bytes(page(2), 64));
    is_documented("page of blobs (first 48 bytes)", region.bytes(page(3), 48));
    let image = Bytes(region.bytes(0, 2 << 21).to_vec());
    let copy = Arena::restore(ArenaOptions::new(ObjectId(5)), &[true; 2], Box::new(image)).unwrap();
    let table = copy.all_tables()[0].1;
    let slot = copy.get(table, hash, b"k").unwrap();
    assert_eq!(copy.value(table, slot), blob.as_u64().to_le_bytes());
}
