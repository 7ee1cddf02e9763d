//! The bars, computed a second time: from what the broker acknowledged, by plain code.
//!
//! Shares nothing with the engine, so that agreement means something.

use std::collections::BTreeMap;

use crate::market::Trade;

/// One minute in milliseconds.
pub const MINUTE_MS: i64 = 60_000;

/// A symbol and the start of its minute (milliseconds since 1970 UTC).
pub type BarKey = (String, i64);

/// One bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Price of the earliest trade.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the latest trade.
    pub close: f64,
    /// Dollars ÷ shares.
    pub vwap: f64,
    /// Shares.
    pub volume: i64,
    /// Number of trades.
    pub trades: u64,
}

#[derive(Clone, Debug)]
struct Folded {
    bar: Bar,
    dollars: f64,
    first_ms: i64,
    last_ms: i64,
}

/// All bars so far.
#[derive(Default)]
pub struct Bars {
    folded: BTreeMap<BarKey, Folded>,
}

impl Bars {
    /// Adds a trade.
    pub fn add(&mut self, trade: &Trade) {
        let start = trade.event_time.div_euclid(MINUTE_MS) * MINUTE_MS;
        let (price, time) = (trade.price, trade.event_time);
        let empty = Bar { open: price, high: price, low: price, close: price, vwap: price, volume: 0, trades: 0 };
        let folded = self.folded.entry((trade.symbol.to_string(), start)).or_insert(Folded {
            bar: empty,
            dollars: 0.0,
            first_ms: time,
            last_ms: time,
        });
        // Of two trades in one millisecond either may come first; `agrees` knows.
        if time < folded.first_ms {
            (folded.first_ms, folded.bar.open) = (time, price);
        }
        if time > folded.last_ms {
            (folded.last_ms, folded.bar.close) = (time, price);
        }
        folded.dollars += price * trade.quantity as f64;
        let bar = &mut folded.bar;
        bar.high = bar.high.max(price);
        bar.low = bar.low.min(price);
        bar.volume += trade.quantity;
        bar.trades += 1;
        bar.vwap = folded.dollars / bar.volume as f64;
    }

    /// The bars that end at `until_ms` or before.
    pub fn closed(&self, until_ms: i64) -> impl Iterator<Item = (&BarKey, &Bar)> {
        self.folded
            .iter()
            .filter(move |((_, start), _)| start + MINUTE_MS <= until_ms)
            .map(|(key, folded)| (key, &folded.bar))
    }
}

impl Bar {
    /// Whether two bars say the same; sums of doubles may differ in their last digits by their order,
    /// and open and close where two trades share their millisecond.
    pub fn agrees(&self, other: &Self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
        let within = |price: f64| price >= self.low && price <= self.high;
        near(self.high, other.high)
            && near(self.low, other.low)
            && near(self.vwap, other.vwap)
            && self.volume == other.volume
            && self.trades == other.trades
            && within(other.open)
            && within(other.close)
    }
}
