//! How fast do JSON events of about 150 bytes and 6 fields become Arrow columns, against arrow-json?

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit};
use laminar_core::connector::{Decoder, DecoderFactory, RawRecord};
use laminar_formats::JsonDecoderFactory;

use crate::harness::{Settings, Side, compare};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 8192;

/// Decodes the same events both ways and compares the sum of a column.
pub fn run(settings: &Settings) {
    let events = events(settings.rows(EVENTS));
    let bytes: usize = events.iter().map(Vec::len).sum();
    println!("  {} events, {} bytes each", events.len(), bytes / events.len());
    let schema = schema();
    compare(
        settings,
        events.len(),
        vec![
            Side::new("laminar JSON decoder", || ours(&events, &schema)),
            Side::new("arrow-json Decoder", || theirs(&events, &schema)),
        ],
    );
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("symbol", DataType::Utf8, true),
        Field::new("price", DataType::Float64, true),
        Field::new("qty", DataType::Int64, true),
        Field::new("side", DataType::Utf8, true),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, None), true),
    ]))
}

fn events(count: usize) -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(42);
    (0..count)
        .map(|i| {
            let (symbol, side) = (rng.u32(0..500), if rng.bool() { "buy" } else { "sell" });
            let (price, qty) = (rng.f64() * 1000.0, rng.i64(1..10_000));
            let (second, micro) = (i % 60, rng.u32(0..1_000_000));
            format!(
                "{{\"id\":{},\"symbol\":\"SYMBOL-{symbol:05}\",\"price\":{price:.4},\"qty\":{qty},\"side\":\"{side}\",\
                 \"ts\":\"2026-01-01T09:{:02}:{second:02}.{micro:06}\",\"venue\":\"XNAS\"}}",
                1_000_000_000 + i,
                (i / 60) % 60,
            )
            .into_bytes()
        })
        .collect()
}

fn ours(events: &[Vec<u8>], schema: &SchemaRef) -> u64 {
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut decoder: Box<dyn Decoder> =
        JsonDecoderFactory.create(&names, schema.clone(), &BTreeMap::new()).expect("a decoder");
    let mut sum = 0;
    for chunk in events.chunks(BATCH) {
        for (offset, payload) in chunk.iter().enumerate() {
            let record = RawRecord { payload, key: None, offset: offset as u64, timestamp_ms: None };
            decoder.push(&record).expect("a well-formed event");
        }
        sum += check(&decoder.finish().expect("a batch"));
    }
    sum
}

fn theirs(events: &[Vec<u8>], schema: &SchemaRef) -> u64 {
    let mut decoder =
        arrow_json::ReaderBuilder::new(schema.clone()).with_batch_size(BATCH).build_decoder().expect("a decoder");
    let mut sum = 0;
    for chunk in events.chunks(BATCH) {
        for payload in chunk {
            decoder.decode(payload).expect("a well-formed event");
        }
        sum += check(&decoder.flush().expect("a batch").expect("rows"));
    }
    sum
}

fn check(batch: &RecordBatch) -> u64 {
    let prices = batch.column(2).as_primitive::<Float64Type>().values();
    prices.iter().map(|p| (p * 10_000.0).round() as u64).sum::<u64>() + batch.column(5).null_count() as u64
}
