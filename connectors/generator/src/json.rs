//! The same rows as JSON records, for feeders and benchmarks.

use crate::rows::{Kind, Rows};

/// Appends row `row` of a split as one JSON object without line end; times are epoch milliseconds.
pub fn write_json(rows: &Rows, split: u64, row: u64, into: &mut Vec<u8>) {
    let ts_us = match rows.kind() {
        Kind::Trades => rows.trade(split, row).ts_us,
        Kind::Sequence => rows.sample(split, row).ts_us,
    };
    write_json_at(rows, split, row, ts_us, into);
}

/// As [`write_json`], with an event time of the caller's choice.
pub fn write_json_at(rows: &Rows, split: u64, row: u64, ts_us: i64, into: &mut Vec<u8>) {
    let ts_ms = ts_us.div_euclid(1000);
    match rows.kind() {
        Kind::Trades => {
            let trade = rows.trade(split, row);
            number(into, "{\"id\":", trade.id);
            text(into, ",\"symbol\":\"", &rows.symbol(trade.symbol));
            number(into, "\",\"price\":", trade.price_cents / 100);
            let cents = (trade.price_cents % 100) as u8;
            into.extend_from_slice(&[b'.', b'0' + cents / 10, b'0' + cents % 10]);
            number(into, ",\"qty\":", trade.qty);
            text(into, ",\"side\":\"", trade.side.as_str());
            text(into, "\",\"venue\":\"", Rows::venue(trade.venue));
            number(into, "\",\"ts\":", ts_ms);
        }
        Kind::Sequence => {
            let sample = rows.sample(split, row);
            number(into, "{\"ts\":", ts_ms);
            number(into, ",\"k\":", sample.k);
            number(into, ",\"v\":", sample.v);
        }
    }
    into.push(b'}');
}

fn text(into: &mut Vec<u8>, label: &str, value: &str) {
    into.extend_from_slice(label.as_bytes());
    into.extend_from_slice(value.as_bytes());
}

fn number(into: &mut Vec<u8>, label: &str, value: impl std::fmt::Display) {
    use std::io::Write as _;
    // Writing to a vector cannot fail.
    let _ = write!(into, "{label}{value}");
}
