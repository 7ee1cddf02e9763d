//! How much faster is the decoder than arrow-json's on events of about 150 bytes and 6 fields?
//!
//! `cargo test -p laminar-formats --profile bench -- --ignored --nocapture decode_speed`; CPU time of the thread,
//! rounds of both taken in turn, median.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::*;

const ROWS: usize = 8192;
const BATCHES: usize = 12;
const ROUNDS: usize = 9;

fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts CPU time");
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("nanoseconds come first")
}

fn events(shuffled: bool) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(42);
    let symbols = ["AAPL", "MSFT", "GOOG", "NVDA", "TSLA"];
    (0..ROWS as u64)
        .map(|row| {
            let mut members = [
                format!("\"event_id\":{}", 1_000_000_000 + row),
                format!("\"account\":\"{:032x}\"", random.u128(..)),
                format!("\"symbol\":\"{}\"", symbols[random.usize(0..5)]),
                format!("\"price\":{}.{:02}", random.u32(10..900), random.u32(0..100)),
                format!("\"quantity\":{}", random.u32(1..1000)),
                format!("\"timestamp\":{}", 1_700_000_000_000 + row),
            ];
            if shuffled {
                random.shuffle(&mut members);
            }
            format!("{{{}}}", members.join(",")).into_bytes()
        })
        .collect()
}

fn schema() -> Arc<Schema> {
    Arc::new(Schema::new(vec![
        Field::new("event_id", DataType::Int64, false),
        Field::new("account", DataType::Utf8, false),
        Field::new("symbol", DataType::Utf8, false),
        Field::new("price", DataType::Float64, false),
        Field::new("quantity", DataType::Int64, false),
        Field::new("timestamp", DataType::Int64, false),
    ]))
}

fn ours(events: &[Vec<u8>], batches: &mut Vec<RecordBatch>) -> f64 {
    let names: Vec<String> = schema().fields().iter().map(|field| field.name().clone()).collect();
    let options = JsonOptions::from_options(&Options::new()).unwrap();
    let mut decoder = JsonDecoder::new(&names, schema(), &options).unwrap();
    batches.clear();
    let start = cpu_ns();
    for _ in 0..BATCHES {
        for event in events {
            decoder.push(&RawRecord { payload: event, ..RawRecord::default() }).unwrap();
        }
        batches.push(decoder.finish().unwrap());
    }
    (cpu_ns() - start) as f64 / (ROWS * BATCHES) as f64
}

fn theirs(events: &[Vec<u8>], batches: &mut Vec<RecordBatch>) -> f64 {
    let mut decoder = arrow_json::ReaderBuilder::new(schema()).with_batch_size(ROWS).build_decoder().unwrap();
    batches.clear();
    let start = cpu_ns();
    for _ in 0..BATCHES {
        for event in events {
            decoder.decode(event).unwrap();
        }
        batches.push(decoder.flush().unwrap().unwrap());
    }
    (cpu_ns() - start) as f64 / (ROWS * BATCHES) as f64
}

#[test]
#[ignore = "a measurement, not a check"]
fn decode_speed() {
    for shuffled in [false, true] {
        let events = events(shuffled);
        let bytes = events.iter().map(Vec::len).sum::<usize>() as f64 / ROWS as f64;
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let mut rounds: Vec<(f64, f64)> =
            (0..ROUNDS).map(|_| (ours(&events, &mut a), theirs(&events, &mut b))).collect();
        assert_eq!(a, b, "both decode the same rows");
        rounds.sort_by(|x, y| (x.1 / x.0).total_cmp(&(y.1 / y.0)));
        let (ours, theirs) = rounds[ROUNDS / 2];
        println!(
            "shuffled {shuffled}: {bytes:.0} bytes, ours {ours:.0} ns/row ({:.0} MB/s), arrow-json {theirs:.0} ns/row, ratio {:.2} ({:.2} to {:.2})",
            bytes * 1000.0 / ours,
            theirs / ours,
            rounds[0].1 / rounds[0].0,
            rounds[ROUNDS - 1].1 / rounds[ROUNDS - 1].0
        );
    }
}
